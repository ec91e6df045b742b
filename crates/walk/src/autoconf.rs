//! How guests come by addresses: what they ask of whoever serves their network, and who answers.
//! DHCP in both versions is dnsmasq's, routers are announced by radvd.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use host::process::Process;
use host::{HostState, Mac};
use ipnet::IpNet;

use crate::cloud::{Cloud, Subnet};
use crate::packet::{Ip, Load, ND_ROUTER_ADVERT, ND_ROUTER_SOLICIT, Net, Packet};

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const ALL_DHCP_SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

pub const DHCP_SERVER: u16 = 67;
pub const DHCP_CLIENT: u16 = 68;
pub const DHCP6_SERVER: u16 = 547;
pub const DHCP6_CLIENT: u16 = 546;

/// The frame's address for a group of IPv6's.
pub fn multicast(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// A DISCOVER, as a client broadcasts it.
pub fn discover(client: Mac) -> Packet {
    let ends = (Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into());
    let load = udp(DHCP_CLIENT, DHCP_SERVER);
    packet((client, Mac::BROADCAST), ends, (64, 328), load)
}

/// A SOLICIT of DHCPv6 (or a question for options alone: its headers are the same).
pub fn solicit_lease(client: Mac) -> Packet {
    let to = ALL_DHCP_SERVERS;
    let ends = (client.link_local().into(), to.into());
    let load = udp(DHCP6_CLIENT, DHCP6_SERVER);
    packet((client, multicast(to)), ends, (1, 104), load)
}

/// A question for routers.
pub fn solicit_router(client: Mac) -> Packet {
    let to = ALL_ROUTERS;
    let ends = (client.link_local().into(), to.into());
    let load = discovery(ND_ROUTER_SOLICIT);
    packet((client, multicast(to)), ends, (255, 56), load)
}

/// A router announces itself to all of its link.
pub fn advert(router: Mac, from: IpAddr) -> Packet {
    let to = ALL_NODES;
    let load = discovery(ND_ROUTER_ADVERT);
    packet((router, multicast(to)), (from, to.into()), (255, 104), load)
}

/// What a server sends to a client; the frame's addresses are found when it leaves.
pub fn answer(ends: (IpAddr, IpAddr)) -> Packet {
    let (load, size) = match ends.0 {
        IpAddr::V4(_) => (udp(DHCP_SERVER, DHCP_CLIENT), 348),
        IpAddr::V6(_) => (udp(DHCP6_SERVER, DHCP6_CLIENT), 160),
    };
    packet((Mac::ZERO, Mac::ZERO), ends, (64, size), load)
}

fn udp(sport: u16, dport: u16) -> Load {
    Load::Udp { sport, dport }
}

fn discovery(kind: u8) -> Load {
    Load::Icmp6 {
        kind,
        code: 0,
        id: 0,
        target: None,
        lladdr: None,
    }
}

fn packet(
    (eth_src, eth_dst): (Mac, Mac),
    (src, dst): (IpAddr, IpAddr),
    (ttl, size): (u8, u32),
    load: Load,
) -> Packet {
    Packet {
        eth_src,
        eth_dst,
        tags: Vec::new(),
        net: Net::Ip(Ip {
            src,
            dst,
            ttl,
            dont_fragment: false,
            size,
            load,
        }),
    }
}

/// What dnsmasq answers a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    /// An address.
    Lease(IpAddr),
    /// Everything but an address: the client makes its own.
    Options,
    /// Nothing, and why.
    None(String),
    /// The state given does not tell.
    Unknown(String),
}

/// dnsmasq's answer: its line for the client in the hosts file, in a range that it was started with.
pub fn offer(state: &HostState, cloud: &Cloud, ns: &str, (client, v6): (Mac, bool)) -> Offer {
    let network = ns.strip_prefix("qdhcp-").unwrap_or(ns);
    if v6 && !wants_addresses(cloud, network) {
        return Offer::Options;
    }
    let path = format!("dhcp/{network}/host");
    let Some(file) = state.files.get(&path) else {
        return Offer::Unknown(format!(
            "dnsmasq's file {path} is not in the state given: cannot tell"
        ));
    };
    let of_client = |text: &&str| {
        let mac = text.split(',').next().and_then(|m| m.parse::<Mac>().ok());
        mac == Some(client)
    };
    let lines = || file.lines.iter().map(|l| l.text.as_str()).filter(of_client);
    if lines().next().is_none() {
        return Offer::None(format!(
            "{client} has no line in dnsmasq's {path}: no offer"
        ));
    }
    let Some(address) = lines().find_map(|text| address_in(text, v6)) else {
        let version = if v6 { 6 } else { 4 };
        return Offer::None(format!(
            "the line of {client} in {path} has no address of IPv{version}: no offer"
        ));
    };
    let server = state.processes.get(&format!("dnsmasq {network}"));
    if server.is_some_and(|p| !ranges(p).iter().any(|net| net.contains(&address))) {
        return Offer::None(format!(
            "dnsmasq was started without a range that has {address}: no offer"
        ));
    }
    Offer::Lease(address)
}

/// The address in a line of dnsmasq's hosts file; IPv6's stand in brackets.
fn address_in(line: &str, v6: bool) -> Option<IpAddr> {
    line.split(',').find_map(|part| {
        let address: IpAddr = part.trim_matches(['[', ']']).parse().ok()?;
        (address.is_ipv6() == v6).then_some(address)
    })
}

/// Do guests of a network ask DHCPv6 for addresses, or for the rest alone?
fn wants_addresses(cloud: &Cloud, network: &str) -> bool {
    let is_stateless = |s: &Subnet| s.ipv6_address_mode.as_deref() == Some("dhcpv6-stateless");
    let mut six = cloud.subnets_of(network).filter(|s| s.is_v6()).peekable();
    six.peek().is_none() || !six.all(is_stateless)
}

/// The ranges that a dnsmasq was started with:
/// `--dhcp-range=set:TAG,10.1.0.0,static,255.255.255.0,86400s`, `…,fd00::,static,64,86400s`.
pub fn ranges(dnsmasq: &Process) -> Vec<IpNet> {
    let options = dnsmasq.argv.iter();
    let options = options.filter_map(|arg| arg.strip_prefix("--dhcp-range="));
    let range = |option: &str| -> Option<IpNet> {
        let mut words = option.split(',').skip_while(|w| w.starts_with("set:"));
        let first: IpAddr = words.next()?.parse().ok()?;
        let length = words.nth(1)?;
        match (first, length.parse::<IpAddr>()) {
            (IpAddr::V4(_), Ok(mask)) => IpNet::with_netmask(first, mask).ok(),
            _ => IpNet::new(first, length.parse().ok()?).ok(),
        }
    };
    options.filter_map(range).collect()
}

/// The ports of UDP that a dnsmasq listens on, that of DHCP first.
pub fn ports(dnsmasq: &Process) -> Vec<u16> {
    let ranges = ranges(dnsmasq);
    let serves = |v6: bool| ranges.iter().any(|net| net.addr().is_ipv6() == v6);
    let mut ports = Vec::new();
    ports.extend(serves(false).then_some(DHCP_SERVER));
    ports.extend(serves(true).then_some(DHCP6_SERVER));
    // It answers for names in any case.
    ports.push(53);
    ports
}

/// By what a router's radvd is found, and its file.
pub fn radvd_key(router: &str) -> String {
    format!("radvd {router}")
}

pub fn radvd_file(router: &str) -> String {
    format!("ra/{router}.radvd.conf")
}

/// Does a router's radvd announce it on a device? An error says why not; with `true` that the
/// state does not tell.
pub fn announces(state: &HostState, ns: &str, dev: &str) -> Result<(), (String, bool)> {
    let Some(router) = ns.strip_prefix("qrouter-") else {
        return Err((format!("{ns} is no router's"), false));
    };
    if state.processes.is_empty() {
        let what = "whether radvd runs is not in the state given: cannot tell";
        return Err((what.to_owned(), true));
    }
    if !state.processes.contains_key(&radvd_key(router)) {
        return Err((format!("no radvd announces {ns}"), false));
    }
    let Some(file) = state.files.get(&radvd_file(router)) else {
        // Its file was not collected: it is what it runs for.
        return Ok(());
    };
    let of_device = file
        .lines
        .iter()
        .map(|l| l.text.trim())
        .skip_while(|line| *line != format!("interface {dev}"));
    let mut of_device = of_device.take_while(|line| *line != "};");
    if of_device.any(|line| line == "AdvSendAdvert on;") {
        return Ok(());
    }
    Err((format!("radvd does not announce {ns} on {dev}"), false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_ranges_say_where_it_listens() {
        let dnsmasq = |ranges: &[&str]| Process {
            argv: ranges
                .iter()
                .map(|r| format!("--dhcp-range=set:subnet-x,{r}"))
                .collect(),
            ..Process::default()
        };
        let both = dnsmasq(&[
            "10.1.0.0,static,255.255.255.0,86400s",
            "fd00::,static,64,86400s",
        ]);
        let nets: Vec<String> = ranges(&both).iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["10.1.0.0/24", "fd00::/64"]);
        assert_eq!(ports(&both), [67, 547, 53]);
        assert_eq!(ports(&dnsmasq(&["nonsense"])), [53]);
        assert_eq!(
            ports(&dnsmasq(&["10.1.0.0,static,255.255.0.0,infinite"])),
            [67, 53]
        );
    }

    #[test]
    fn groups_of_ipv6_have_frames_of_their_own() {
        assert_eq!(multicast(ALL_DHCP_SERVERS), Mac([0x33, 0x33, 0, 1, 0, 2]));
    }
}

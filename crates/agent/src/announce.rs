//! Says who has an address that is new here, so that nobody goes on sending elsewhere: gratuitous
//! ARP, and for IPv6 unsolicited neighbour advertisements. Sent from a raw socket, one after the other
//! for some seconds, by a thread of the namespace that nothing waits for.
//!
//! While another host may still have the same addresses and MACs they are said again and again: it
//! answers who asks for them, and whatever it sends has the switches lead to it.
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use etherparse::{EtherType, Ethernet2Header, Icmpv6Header, Icmpv6Type, IpNumber, Ipv6Header};
use host::diff::diff;
use host::netns::Netns;
use host::{Mac, NsName};
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};
use plan::draft::MAIN;

/// As often as Neutron says it, for those who lose one.
const TIMES: u32 = 3;
const PAUSE: Duration = Duration::from_secs(1);
const EVERYBODY: [u8; 6] = [0xff; 6];
/// All nodes of the link, and the MAC of that.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];

/// Between two times that a contested namespace is said.
const AGAIN: Duration = Duration::from_secs(3);

/// Addresses by the device that has them.
type Addresses = Vec<(String, IpAddr)>;

/// Namespaces that another host may still have.
#[derive(Debug, Default)]
pub(crate) struct Contested {
    spaces: BTreeMap<NsName, Addresses>,
    said_at: Option<Instant>,
}

impl Contested {
    /// Takes what is contested now. What has to be said of it: everything when it is time, and what
    /// is contested no more for a last time, as the other may have spoken since. A host of which the
    /// server has not heard lately may have been replaced itself, and is silent: it would draw to it
    /// what is the other's by now.
    pub(crate) fn go_on(
        &mut self,
        now: Instant,
        is_heard: bool,
        spaces: BTreeMap<NsName, Addresses>,
    ) -> BTreeMap<NsName, Addresses> {
        if !is_heard {
            *self = Contested::default();
            return BTreeMap::new();
        }
        let is_due = self.said_at.is_none_or(|at| now - at >= AGAIN);
        let before = std::mem::replace(&mut self.spaces, spaces);
        let over = before.into_iter();
        let mut said: BTreeMap<NsName, Addresses> = over
            .filter(|(name, _)| !self.spaces.contains_key(name))
            .collect();
        if is_due && !self.spaces.is_empty() {
            self.said_at = Some(now);
            said.extend(self.spaces.clone());
        }
        said
    }

    /// When something has to be said again.
    pub(crate) fn pause(&self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.said_at?);
        (!self.spaces.is_empty()).then(|| AGAIN.saturating_sub(since))
    }
}

/// One address of each device: it tells switches where the device's MAC is, which all of them have.
pub(crate) fn one_of_each(netns: &Netns) -> Addresses {
    let mut addresses = new_addresses(&Netns::default(), netns);
    addresses.dedup_by(|one, other| one.0 == other.0);
    addresses
}

/// Addresses that are new here, which others have to hear of.
pub(crate) fn new_addresses(have: &Netns, want: &Netns) -> Addresses {
    let difference = diff(&have.addrs, &want.addrs).put;
    let new = difference.iter().filter(|put| put.old.is_none());
    let new = new.map(|put| (put.key.dev.clone(), put.key.net.addr()));
    new.filter(|(_, address)| match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    })
    .collect()
}

/// Addresses that are new here for those who ask by a device with proxy ARP, which may be new itself.
pub(crate) fn proxied(have: &Netns, want: &Netns) -> Addresses {
    let known = answered_for(have);
    let wanted = answered_for(want).into_iter();
    wanted.filter(|it| !known.contains(it)).collect()
}

/// Each such address has a route of its own that leads on by another device, as a floating IP's does.
fn answered_for(netns: &Netns) -> BTreeSet<(String, IpAddr)> {
    let answering = netns.sysctls.iter().filter_map(|(key, sysctl)| {
        let device = key
            .strip_prefix("net.ipv4.conf.")?
            .strip_suffix(".proxy_arp")?;
        (sysctl.value == "1" && netns.links.contains_key(device)).then_some(device)
    });
    let answering: Vec<&str> = answering.collect();
    let routes = netns.routes.get(&MAIN).into_iter().flatten();
    let routes = routes.filter(|(key, _)| {
        key.dst.addr().is_ipv4() && key.dst.prefix_len() == key.dst.max_prefix_len()
    });
    let pairs = routes.flat_map(|(key, _)| {
        let others = answering
            .iter()
            .filter(|device| key.dev.as_deref() != Some(**device));
        others.map(|device| ((*device).to_owned(), key.dst.addr()))
    });
    pairs.collect()
}

/// Say these addresses of these devices; returns at once.
pub(crate) fn announce(name: &NsName, addresses: Addresses) {
    if addresses.is_empty() {
        return;
    }
    let name = name.clone();
    std::thread::spawn(move || say_within(&name, &addresses, TIMES));
}

/// Say these once; returns at once.
pub(crate) fn announce_again(spaces: BTreeMap<NsName, Addresses>) {
    if spaces.is_empty() {
        return;
    }
    std::thread::spawn(move || {
        for (name, addresses) in &spaces {
            say_within(name, addresses, 1);
        }
    });
}

fn say_within(name: &NsName, addresses: &[(String, IpAddr)], times: u32) {
    if let Err(error) = crate::netns::join(name).and_then(|()| say(addresses, times)) {
        // A namespace that is gone again has nothing to announce.
        tracing::debug!(%error, %name, "addresses were not announced");
    }
}

fn say(addresses: &[(String, IpAddr)], times: u32) -> io::Result<()> {
    let kind = (AddressFamily::Packet, SockType::Raw);
    let raw = socket(kind.0, kind.1, SockFlag::SOCK_CLOEXEC, None)?;
    // Hosts would take one that says it is no router out of their default routes.
    let forwards = crate::sysctl::read("net.ipv6.conf.all.forwarding");
    let is_router = forwards.is_some_and(|value| value == "1");
    for n in 0..times {
        if n > 0 {
            std::thread::sleep(PAUSE);
        }
        for (device, address) in addresses {
            // Others of the list are still there when one device is gone.
            let Some(link) = link(device) else { continue };
            let Some(mac) = link.addr().map(Mac) else {
                continue;
            };
            let frame = match address {
                IpAddr::V4(address) => arp(mac, *address),
                IpAddr::V6(address) => advertisement(mac, *address, is_router),
            };
            if let Err(error) = sendto(raw.as_raw_fd(), &frame, &link, MsgFlags::empty()) {
                tracing::debug!(%error, device, %address, "an address was not announced");
            }
        }
    }
    Ok(())
}

/// A device of this thread's namespace.
fn link(device: &str) -> Option<LinkAddr> {
    let mut all = getifaddrs().ok()?.filter(|it| it.interface_name == device);
    all.find_map(|it| {
        let address = it.address?;
        let is_link = address.family() == Some(AddressFamily::Packet);
        address.as_link_addr().filter(|_| is_link).copied()
    })
}

fn ethernet(source: Mac, destination: [u8; 6], ether_type: EtherType) -> Vec<u8> {
    let header = Ethernet2Header {
        source: source.0,
        destination,
        ether_type,
    };
    header.to_bytes().to_vec()
}

/// A request for the sender's own address: what `arping -U` sends.
fn arp(mac: Mac, address: Ipv4Addr) -> Vec<u8> {
    let mut frame = ethernet(mac, EVERYBODY, EtherType::ARP);
    // Ethernet and IPv4, their lengths, and that it is a request.
    frame.extend([0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend(mac.0);
    frame.extend(address.octets());
    frame.extend(EVERYBODY);
    frame.extend(address.octets());
    frame
}

/// An advertisement that nobody asked for, which overrides what was known.
fn advertisement(mac: Mac, address: Ipv6Addr, router: bool) -> Vec<u8> {
    let mut frame = ethernet(mac, ALL_NODES_MAC, EtherType::IPV6);
    let mut body = address.octets().to_vec();
    // The option that holds the target's MAC.
    body.extend([2, 1]);
    body.extend(mac.0);
    let kind = Icmpv6Type::NeighborAdvertisement(etherparse::icmpv6::NeighborAdvertisementHeader {
        router,
        solicited: false,
        r#override: true,
    });
    let source = address.octets();
    // Its length can't be too much.
    let Ok(icmp) = Icmpv6Header::with_checksum(kind, source, ALL_NODES.octets(), &body) else {
        return Vec::new();
    };
    let ip = Ipv6Header {
        payload_length: (icmp.header_len() + body.len()) as u16,
        next_header: IpNumber::IPV6_ICMP,
        hop_limit: 255,
        source,
        destination: ALL_NODES.octets(),
        ..Ipv6Header::default()
    };
    frame.extend(ip.to_bytes());
    frame.extend(icmp.to_bytes());
    frame.extend(body);
    frame
}

#[cfg(test)]
mod tests {
    use etherparse::{NetSlice, SlicedPacket, TransportSlice};

    use super::*;

    const MAC: Mac = Mac([0xfa, 0x16, 0x3e, 1, 2, 3]);

    #[test]
    fn floating_ips_behind_a_proxy_are_said_by_the_device_that_answers() {
        let mut want = Netns::default();
        for (device, value) in [("fg-1", "1"), ("fpr-1", "0")] {
            let sysctl = host::netns::Sysctl {
                value: value.to_owned(),
                ..host::netns::Sysctl::default()
            };
            let key = format!("net.ipv4.conf.{device}.proxy_arp");
            want.sysctls.insert(key, sysctl);
            let link = host::netns::Link::default();
            want.links.insert(device.to_owned(), link);
        }
        for (dst, device) in [("172.24.4.9/32", "fpr-1"), ("172.24.4.224/28", "fg-1")] {
            let key = host::netns::RouteKey {
                dst: dst.parse().expect("a net"),
                metric: 0,
                kind: host::netns::RouteKind::Unicast,
                dev: Some(device.to_owned()),
                tos: 0,
            };
            let routes = want.routes.entry(MAIN).or_default();
            routes.insert(key, host::netns::Route::default());
        }
        let address = "172.24.4.9".parse().expect("an address");
        let said = proxied(&Netns::default(), &want);
        let expected = [("fg-1".to_owned(), address)];
        assert_eq!(said, expected);
        assert!(proxied(&want, &want).is_empty());
        // The switch makes the device after the routes were written.
        let mut before = want.clone();
        before.links.remove("fg-1");
        assert_eq!(proxied(&before, &want), expected);
    }

    #[test]
    fn what_is_contested_is_said_in_time_and_once_more_when_it_is_over() {
        let space = |name: &str| {
            let address = "10.0.0.1".parse().expect("an address");
            let addresses = vec![("qr-1".to_owned(), address)];
            (NsName::new(name), addresses)
        };
        let both = BTreeMap::from([space("qrouter-1"), space("qrouter-2")]);
        let one = BTreeMap::from([space("qrouter-1")]);
        let other = BTreeMap::from([space("qrouter-2")]);
        let none = BTreeMap::new();
        let began = Instant::now();
        let mut contested = Contested::default();
        assert_eq!(contested.go_on(began, true, none.clone()), none);
        assert_eq!(contested.pause(began), None);
        assert_eq!(contested.go_on(began, true, both.clone()), both);
        assert_eq!(contested.pause(began), Some(AGAIN));
        // Somebody else's event does not put it off.
        let early = began + AGAIN / 3;
        assert_eq!(contested.go_on(early, true, both.clone()), none);
        assert_eq!(contested.pause(early), Some(AGAIN * 2 / 3));
        assert_eq!(contested.pause(began + AGAIN * 2), Some(Duration::ZERO));
        assert_eq!(contested.go_on(began + AGAIN, true, both.clone()), both);
        assert_eq!(
            contested.go_on(began + AGAIN, true, one),
            other,
            "over for it"
        );
        assert_eq!(
            contested.go_on(began + AGAIN * 2, true, none.clone()).len(),
            1
        );
        assert_eq!(contested.go_on(began + AGAIN * 3, true, none.clone()), none);
        assert_eq!(contested.pause(began + AGAIN * 3), None);
        let later = began + AGAIN * 4;
        assert_eq!(contested.go_on(later, true, both.clone()), both);
        assert_eq!(contested.go_on(later + AGAIN, false, both.clone()), none);
        assert_eq!(contested.pause(later + AGAIN), None);
        assert_eq!(contested.go_on(later + AGAIN, false, none.clone()), none);
    }

    #[test]
    fn a_device_is_said_by_one_of_its_addresses() {
        let mut netns = Netns::default();
        for (dev, net) in [
            ("lo", "127.0.0.1/8"),
            ("qg-1", "172.24.4.9/32"),
            ("qg-1", "172.24.4.7/24"),
            ("qr-1", "fd00::1/64"),
            ("qr-1", "fe80::1/64"),
        ] {
            let key = host::netns::AddrKey {
                dev: dev.to_owned(),
                net: net.parse().expect("a net"),
            };
            netns.addrs.insert(key, host::netns::Addr::default());
        }
        let said = one_of_each(&netns);
        let devices: Vec<&str> = said.iter().map(|(device, _)| device.as_str()).collect();
        assert_eq!(devices, ["qg-1", "qr-1"]);
    }

    #[test]
    fn gratuitous_arp_names_its_sender_twice() {
        let frame = arp(MAC, Ipv4Addr::new(172, 24, 4, 9));
        let packet = SlicedPacket::from_ethernet(&frame).expect("a frame");
        let Some(NetSlice::Arp(arp)) = packet.net else {
            panic!("{packet:?}")
        };
        assert_eq!(arp.sender_hw_addr(), MAC.0);
        assert_eq!(arp.sender_protocol_addr(), [172, 24, 4, 9]);
        assert_eq!(arp.target_protocol_addr(), [172, 24, 4, 9]);
        assert_eq!(frame.len(), 42);
    }

    #[test]
    fn an_advertisement_is_one_that_a_stack_believes() {
        let address: Ipv6Addr = "2001:db8::9".parse().expect("an address");
        let frame = advertisement(MAC, address, true);
        let packet = SlicedPacket::from_ethernet(&frame).expect("a frame");
        let (Some(NetSlice::Ipv6(ip)), Some(TransportSlice::Icmpv6(icmp))) =
            (&packet.net, &packet.transport)
        else {
            panic!("{packet:?}")
        };
        assert_eq!(ip.header().hop_limit(), 255);
        assert_eq!((icmp.type_u8(), icmp.code_u8()), (136, 0));
        assert_eq!(
            icmp.bytes5to8()[0],
            0b1010_0000,
            "a router's, and to be believed"
        );
        let (source, destination) = (ip.header().source(), ip.header().destination());
        assert!(icmp.is_checksum_valid(source, destination));
        assert_eq!(&frame[62..78], &address.octets());
        assert_eq!(&frame[78..], &[2, 1, 0xfa, 0x16, 0x3e, 1, 2, 3]);
    }
}

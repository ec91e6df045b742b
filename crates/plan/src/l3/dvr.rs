//! A distributed router: routed where its ports are.
//!
//! - Every host with a port behind it has `qrouter-ROUTER`, with the same addresses and MACs, and
//!   knows its neighbours by heart: ARP for a distributed address would be answered by every host.
//! - Source NAT is in one place, `snat-ROUTER` on a network node (`sg-` towards each subnet). The
//!   others send to it by a rule and a table for each interface, numbered as its address.
//! - A floating IP of a port here leaves from here, by a pair of devices to the host's
//!   `fip-NETWORK`. One whose port is nowhere, or on a host without a way out, is served with the
//!   source NAT.

use std::net::{IpAddr, Ipv4Addr};

use host::{
    Mac, NsName, Why, names,
    netns::{Family, Link, LinkKind, Neighbour, NeighbourKey, RuleAction, RuleKey, RuleVerdict},
    why::want,
};
use intent::{FloatingIp, Port, Router, RouterId, owner, view::RouterRole};
use ipnet::IpNet;

use super::site::{By, Outside, Site};
use super::{filters, fip, floating_ips, gateway, interfaces, radvd, routes, site};
use crate::{
    AgentMode, Draft,
    dhcp::any,
    draft::{MAIN, To},
    holders,
};

/// The table in which a guest with a floating IP finds its way out.
const FLOATING_TABLE: u32 = 16;

pub(super) fn emit<'a>(draft: &mut Draft<'a>, router: &'a Router, role: &RouterRole) {
    let gateway = gateway(draft, router);
    let all = floating_ips(draft, router);
    let (here, elsewhere): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|floating_ip| is_served_here(draft, floating_ip));
    let port = gateway.as_ref().map(|gateway| gateway.port);
    let pair = port.and_then(|port| pair(draft, router, port, &here));
    qrouter(draft, router, pair.as_ref(), here);
    if let Some(gateway) = gateway
        && role.snat
    {
        let central = elsewhere
            .into_iter()
            .filter(|floating_ip| is_central(draft, floating_ip));
        let central = central.collect();
        snat(draft, router, gateway, central);
    }
}

/// The port that a floating IP leads to, where we know it.
fn port_of<'a>(draft: &Draft<'a>, floating_ip: &FloatingIp) -> Option<&'a Port> {
    let port = draft.view.ports.get(&floating_ip.port_id?)?;
    Some(port)
}

/// Its port is on this host, and this host has a way out of its own.
fn is_served_here(draft: &Draft<'_>, floating_ip: &FloatingIp) -> bool {
    let host = port_of(draft, floating_ip).and_then(Port::host);
    let own_way = matches!(
        draft.settings.agent_mode,
        AgentMode::Dvr | AgentMode::DvrSnat
    );
    own_way && host == Some(&draft.settings.host)
}

/// Its port is on no host that has a way out of its own.
fn is_central(draft: &Draft<'_>, floating_ip: &FloatingIp) -> bool {
    let host = port_of(draft, floating_ip).and_then(Port::host);
    host.is_none_or(|host| !draft.view.has_own_way_out(host))
}

/// The two devices that join a router to the host's namespace of floating IPs.
pub(super) struct Pair {
    pub(super) router_end: End,
    pub(super) fip_end: End,
    pub(super) fip_ns: NsName,
    pub(super) mtu: u32,
}

pub(super) struct End {
    pub(super) device: String,
    pub(super) address: Ipv4Addr,
    pub(super) mac: Mac,
}

/// 169.254.64.0/18, which Neutron cuts into pairs.
const PAIRS: u32 = 0xa9fe_4000;

/// A pair is made only where a floating IP asks for it, and when the host's own gateway port on the
/// external network is there.
fn pair(
    draft: &mut Draft<'_>,
    router: &Router,
    gateway: &Port,
    here: &[&FloatingIp],
) -> Option<Pair> {
    if here.is_empty() {
        return None;
    }
    let id = router.id.to_string();
    if fip::agent_gateway(draft, gateway.network_id).is_none() {
        let about = format!("router {id}");
        draft.note(
            about,
            "its floating IPs here wait for the host's gateway port",
        );
        return None;
    }
    let Some(number) = draft.numbers.link_local_pairs.take(&id) else {
        draft.note(
            format!("router {id}"),
            "no pair of link-local addresses is left",
        );
        return None;
    };
    let mtu = draft
        .network(gateway.network_id)
        .map_or(1500, |network| network.mtu);
    let first = PAIRS + 2 * number;
    let end = |device, address, kind| End {
        device,
        address: Ipv4Addr::from(address),
        mac: mac(router.id, kind),
    };
    Some(Pair {
        router_end: end(names::rfp(&id), first, 0x06),
        fip_end: end(names::fpr(&id), first + 1, 0x0a),
        fip_ns: names::fip(&gateway.network_id.to_string()),
        mtu,
    })
}

/// A MAC of our own making: locally administered, told apart by the router's id.
fn mac(router: RouterId, first: u8) -> Mac {
    let uuid = router.uuid();
    let [a, b, c, d, e, ..] = *uuid.as_bytes();
    Mac([first, a, b, c, d, e])
}

fn qrouter<'a>(
    draft: &mut Draft<'a>,
    router: &'a Router,
    pair: Option<&Pair>,
    here: Vec<&'a FloatingIp>,
) {
    let id = router.id.to_string();
    let outside = pair.and_then(|pair| {
        let port = draft.view.ports.get(&router.gateway.as_ref()?.port_id)?;
        Some(Outside {
            device: pair.router_end.device.clone(),
            port,
            by: By::Pair,
        })
    });
    let site = Site {
        router,
        ns: names::qrouter(&id),
        inside: interfaces(draft, router),
        outside,
        floating: here,
        metadata: true,
    };
    site::emit(draft, &site);
    no_redirects(draft, &site);
    routes::emit(draft, &site);
    filters::emit(draft, &site);
    radvd::emit(draft, &site);
    neighbours(draft, &site);
    ways_to_snat(draft, &site);
    if let Some(pair) = pair {
        join(draft, &site, pair);
        fip::emit(draft, &site, pair);
    }
}

/// The way to source NAT leads back out of the device that a packet came in by: a guest must not
/// be told to go there itself. A device that comes later takes the default along, and has nothing
/// to say in the moment before its own setting is written.
fn no_redirects(draft: &mut Draft<'_>, site: &Site<'_>) {
    for key in [
        "net.ipv4.conf.all.send_redirects",
        "net.ipv4.conf.default.send_redirects",
    ] {
        draft.sysctl(&site.ns, key, "0", site.why());
    }
    for (device, port) in &site.inside {
        let key = format!("net.ipv4.conf.{device}.send_redirects");
        draft.sysctl(&site.ns, &key, "0", Why::of("port", port.id));
    }
}

/// Everyone on the router's subnets who has an address alone, known for good.
fn neighbours(draft: &mut Draft<'_>, site: &Site<'_>) {
    for (device, interface) in &site.inside {
        for (ip, (mac, port)) in holders::of(draft, interface).known {
            let why = Why::of("port", port.id);
            neighbour(draft, &site.ns, device, ip, mac, why);
        }
    }
}

fn neighbour(draft: &mut Draft<'_>, ns: &NsName, dev: &str, ip: IpAddr, mac: Mac, why: Why) {
    let key = NeighbourKey {
        dev: dev.to_owned(),
        ip,
    };
    let neighbour = Neighbour {
        mac: Some(mac),
        state: "PERMANENT".to_owned(),
        why,
        ..Neighbour::default()
    };
    let refused = want(&mut draft.netns(ns).neighbours, key, neighbour);
    draft.contradiction(refused, format!("neighbour {ip} on {dev} in {ns}"));
}

/// From each subnet to its `sg-` address: a rule and a table by the interface's address.
fn ways_to_snat(draft: &mut Draft<'_>, site: &Site<'_>) {
    let ports = draft.view.ports.values().map(|port| &**port);
    let device = site.router.id.to_string();
    let snat: Vec<&Port> = ports
        .filter(|port| port.device_owner == owner::ROUTER_SNAT && port.device_id == device.as_str())
        .collect();
    for (device, interface) in &site.inside {
        for (subnet, net) in draft.prefixes(interface) {
            let of_subnet = snat
                .iter()
                .flat_map(|port| port.fixed_ips.iter().map(move |fixed| (port, fixed)));
            let found = of_subnet
                .into_iter()
                .find(|(_, fixed)| fixed.subnet_id == subnet.id);
            if let Some((port, fixed)) = found {
                let why = Why::of("port", port.id).and("port", interface.id);
                let table = table_of(net);
                let to = To {
                    destination: any(fixed.ip_address),
                    via: Some(fixed.ip_address),
                    dev: device,
                };
                draft.route(&site.ns, table, to, why.clone());
                let mut rule = RuleKey::new(table, Family::of(net.addr()));
                rule.from = Some(net);
                lookup(draft, &site.ns, rule, table, why);
            }
        }
    }
}

/// An address as the number of its table; IPv6 addresses, which are too long, by a checksum that
/// stays clear of the kernel's own tables.
fn table_of(net: IpNet) -> u32 {
    match net.addr() {
        IpAddr::V4(address) => u32::from(address),
        IpAddr::V6(address) => {
            let folded = address.octets().chunks(4).fold(0_u32, |sum, word| {
                let word = word
                    .iter()
                    .fold(0, |word, byte| word << 8 | u32::from(*byte));
                sum.rotate_left(7) ^ word
            });
            folded | 0x4000_0000
        }
    }
}

pub(super) fn lookup(draft: &mut Draft<'_>, ns: &NsName, rule: RuleKey, table: u32, why: Why) {
    let about = format!("rule {} in {ns}", rule.priority);
    let action = RuleAction {
        verdict: RuleVerdict::Lookup(table),
        why,
    };
    let refused = want(&mut draft.netns(ns).rules, rule, action);
    draft.contradiction(refused, about);
}

/// The router's end of the pair, and which guests go out by it.
fn join(draft: &mut Draft<'_>, site: &Site<'_>, pair: &Pair) {
    end(
        draft,
        &site.ns,
        &pair.router_end,
        pair,
        &pair.fip_end,
        &site.why(),
    );
    let to = To {
        destination: any(pair.fip_end.address.into()),
        via: Some(pair.fip_end.address.into()),
        dev: &pair.router_end.device,
    };
    draft.route(&site.ns, FLOATING_TABLE, to, site.why());
    if !routes_ipv6(site) {
        // As Neutron has it. Where there is IPv6 to route it would stand before the way to source
        // NAT, and lead to where nobody knows the way back.
        let other = IpAddr::V6(pair.fip_end.mac.link_local());
        let to = To {
            destination: any(other),
            via: Some(other),
            dev: &pair.router_end.device,
        };
        draft.route(&site.ns, MAIN, to, site.why());
    }
    for floating_ip in &site.floating {
        let Some(fixed) = floating_ip.fixed_ip_address else {
            continue;
        };
        let why = Why::of("floatingip", floating_ip.id);
        let holder = floating_ip.floating_ip_address.to_string();
        let Some(priority) = draft.numbers.floating_priorities.take(&holder) else {
            draft.note(
                format!("floatingip {}", floating_ip.id),
                "no priority for its rule is left",
            );
            continue;
        };
        let mut rule = RuleKey::new(priority, Family::of(fixed));
        rule.from = Some(fixed.into());
        lookup(draft, &site.ns, rule, FLOATING_TABLE, why);
    }
}

fn routes_ipv6(site: &Site<'_>) -> bool {
    let mut ports = site.inside.iter();
    ports.any(|(_, port)| port.addresses().any(|address| address.is_ipv6()))
}

/// One end of the pair: its device, its address, its knowledge of the other.
pub(super) fn end(
    draft: &mut Draft<'_>,
    ns: &NsName,
    own: &End,
    pair: &Pair,
    other: &End,
    why: &Why,
) {
    let link = Link {
        kind: LinkKind::Veth,
        mac: Some(own.mac),
        mtu: pair.mtu,
        up: true,
        peer: Some(other.device.clone()),
        why: why.clone(),
        ..Link::default()
    };
    draft.link(ns, &own.device, link);
    if let Ok(net) = IpNet::new(own.address.into(), 31) {
        draft.address(ns, &own.device, net, why.clone());
    }
    neighbour(
        draft,
        ns,
        &own.device,
        other.address.into(),
        other.mac,
        why.clone(),
    );
}

/// The router's source NAT: all subnets meet here, and leave by the gateway.
fn snat<'a>(
    draft: &mut Draft<'a>,
    router: &'a Router,
    gateway: Outside<'a>,
    floating: Vec<&'a FloatingIp>,
) {
    let id = router.id.to_string();
    let ports = draft.view.ports.values().map(|port| &**port);
    let inside = ports
        .filter(|port| port.device_owner == owner::ROUTER_SNAT && port.device_id == id.as_str())
        .map(|port| (names::sg(&port.id.to_string()), port))
        .collect();
    let site = Site {
        router,
        ns: names::snat(&id),
        inside,
        outside: Some(gateway),
        floating,
        metadata: false,
    };
    site::emit(draft, &site);
    for (key, value) in [
        ("net.ipv4.ip_nonlocal_bind", "1"),
        // A connection that moved here in its middle is not taken for a new one.
        ("net.netfilter.nf_conntrack_tcp_loose", "0"),
    ] {
        draft.sysctl(&site.ns, key, value, site.why());
    }
    routes::emit(draft, &site);
    filters::emit(draft, &site);
}

/// A route for a floating IP, in the namespace that answers for it.
pub(super) fn route_back(draft: &mut Draft<'_>, pair: &Pair, floating_ip: &FloatingIp) {
    let to = To {
        destination: floating_ip.floating_ip_address.into(),
        via: Some(pair.router_end.address.into()),
        dev: &pair.fip_end.device,
    };
    let why = Why::of("floatingip", floating_ip.id);
    draft.route(&pair.fip_ns, MAIN, to, why);
}

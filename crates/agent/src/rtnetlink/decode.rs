//! What rtnetlink says of a namespace, in the nouns that `ip` has for it. Functions of values.
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use host::Mac;
use host::netns::{
    Addr, AddrKey, Family, Link, LinkKind, Neighbour, NeighbourKey, Netns, Nexthop, Route,
    RouteKey, RouteKind, RuleAction, RuleKey, RuleVerdict,
};
use ipnet::IpNet;
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkLayerType, LinkMessage};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop,
    RouteProtocol, RouteType, RouteVia,
};
use netlink_packet_route::rule::{self, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// Devices by the numbers that the kernel has for them.
type Names = BTreeMap<u32, String>;

/// Everything that was said of one namespace.
pub(super) fn netns(messages: &[RouteNetlinkMessage]) -> Netns {
    let mut names = Names::new();
    for message in messages {
        if let RouteNetlinkMessage::NewLink(link) = message {
            names.insert(link.header.index, name_of(link).to_owned());
        }
    }
    let mut netns = Netns::default();
    for message in messages {
        match message {
            RouteNetlinkMessage::NewLink(message) => {
                let link = link(message, &names);
                netns.links.insert(name_of(message).to_owned(), link);
            }
            RouteNetlinkMessage::NewAddress(message) => netns.addrs.extend(addr(message, &names)),
            RouteNetlinkMessage::NewRoute(message) => {
                if let Some((table, key, route)) = route(message, &names) {
                    netns.routes.entry(table).or_default().insert(key, route);
                }
            }
            RouteNetlinkMessage::NewRule(message) => netns.rules.extend(rule(message)),
            RouteNetlinkMessage::NewNeighbour(message) => {
                netns.neighbours.extend(neighbour(message, &names));
            }
            _ => {}
        }
    }
    netns
}

/// Who went meanwhile is shown by number, as `ip` does it.
fn name(names: &Names, index: u32) -> String {
    let known = names.get(&index).cloned();
    known.unwrap_or_else(|| format!("if{index}"))
}

fn name_of(message: &LinkMessage) -> &str {
    let names = message.attributes.iter().find_map(|it| match it {
        LinkAttribute::IfName(name) => Some(name.as_str()),
        _ => None,
    });
    names.unwrap_or_default()
}

/// What `ip addr` shows of a device, its kind left out.
fn link(message: &LinkMessage, names: &Names) -> Link {
    let mut link = Link {
        up: message.header.flags.contains(LinkFlags::Up),
        index: message.header.index.into(),
        ..Link::default()
    };
    if message.header.link_layer_type == LinkLayerType::Loopback {
        link.kind = LinkKind::Loopback;
    }
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Address(bytes) => link.mac = mac(bytes),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Controller(index) => link.master = Some(name(names, *index)),
            _ => {}
        }
    }
    link
}

fn mac(bytes: &[u8]) -> Option<Mac> {
    bytes.try_into().ok().map(Mac)
}

fn addr(message: &AddressMessage, names: &Names) -> Option<(AddrKey, Addr)> {
    let header = &message.header;
    let (mut own, mut other) = (None, None);
    let mut addr = Addr {
        scope: scope(header.scope.into()),
        ..Addr::default()
    };
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(address) => own = Some(*address),
            AddressAttribute::Address(address) => other = Some(*address),
            AddressAttribute::Broadcast(address) => addr.broadcast = Some((*address).into()),
            _ => {}
        }
    }
    if !header.flags.contains(AddressHeaderFlags::Permanent) {
        addr.flags.0.insert("dynamic".to_owned());
    }
    let net = IpNet::new(own.or(other)?, header.prefix_len).ok()?;
    let dev = name(names, header.index);
    Some((AddrKey { dev, net }, addr))
}

/// A scope as the tools name it.
fn scope(scope: u8) -> String {
    match scope {
        0 => "global".to_owned(),
        200 => "site".to_owned(),
        253 => "link".to_owned(),
        254 => "host".to_owned(),
        255 => "nowhere".to_owned(),
        number => number.to_string(),
    }
}

fn family(family: AddressFamily) -> Option<Family> {
    match family {
        AddressFamily::Inet => Some(Family::V4),
        AddressFamily::Inet6 => Some(Family::V6),
        _ => None,
    }
}

/// A network of so many bits; without an address it is all of them.
fn network(family: Family, address: Option<IpAddr>, bits: u8) -> Option<IpNet> {
    let any = match family {
        Family::V4 => Ipv4Addr::UNSPECIFIED.into(),
        Family::V6 => Ipv6Addr::UNSPECIFIED.into(),
    };
    IpNet::new(address.unwrap_or(any), bits).ok()
}

fn route_address(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some((*address).into()),
        RouteAddress::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn via(via: &RouteVia) -> Option<IpAddr> {
    match via {
        RouteVia::Inet(address) => Some((*address).into()),
        RouteVia::Inet6(address) => Some((*address).into()),
        _ => None,
    }
}

fn route(message: &RouteMessage, names: &Names) -> Option<(u32, RouteKey, Route)> {
    let header = &message.header;
    // What the kernel derived for one destination is no entry of a table.
    if header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let family = family(header.address_family)?;
    let (mut table, mut dst) = (u32::from(header.table), None);
    let mut key = RouteKey {
        dst: network(family, None, 0)?,
        metric: 0,
        kind: route_kind(header.kind)?,
        dev: None,
        tos: header.tos,
    };
    let mut route = Route {
        proto: protocol(header.protocol),
        onlink: header.flags.contains(RouteFlags::Onlink),
        ..Route::default()
    };
    let scope_number = u8::from(header.scope);
    if scope_number != 0 {
        route.scope = scope(scope_number);
    }
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(address) => dst = route_address(address),
            RouteAttribute::Gateway(address) => route.via = route_address(address),
            RouteAttribute::Via(address) => route.via = via(address),
            RouteAttribute::PrefSource(address) => route.src = route_address(address),
            RouteAttribute::Oif(index) => key.dev = Some(name(names, *index)),
            RouteAttribute::Priority(metric) => key.metric = *metric,
            RouteAttribute::Metrics(metrics) => route.mtu = mtu(metrics),
            RouteAttribute::MultiPath(hops) => {
                route.nexthops = hops.iter().map(|hop| nexthop(hop, names)).collect();
            }
            _ => {}
        }
    }
    key.dst = network(family, dst, header.destination_prefix_length)?;
    Some((table, key, route))
}

fn mtu(metrics: &[RouteMetric]) -> Option<u32> {
    metrics.iter().find_map(|metric| match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    })
}

fn nexthop(hop: &RouteNextHop, names: &Names) -> Nexthop {
    let mut next = Nexthop {
        dev: Some(name(names, hop.interface_index)),
        weight: u32::from(hop.hops) + 1,
        ..Nexthop::default()
    };
    for attribute in &hop.attributes {
        match attribute {
            RouteAttribute::Gateway(address) => next.via = route_address(address),
            RouteAttribute::Via(address) => next.via = via(address),
            _ => {}
        }
    }
    next
}

fn route_kind(kind: RouteType) -> Option<RouteKind> {
    Some(match kind {
        RouteType::Unicast => RouteKind::Unicast,
        RouteType::Local => RouteKind::Local,
        RouteType::Broadcast => RouteKind::Broadcast,
        RouteType::Multicast => RouteKind::Multicast,
        RouteType::Anycast => RouteKind::Anycast,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Prohibit => RouteKind::Prohibit,
        RouteType::Throw => RouteKind::Throw,
        _ => return None,
    })
}

/// Who made a route, as `ip` names it: nobody in particular is not said.
fn protocol(protocol: RouteProtocol) -> String {
    match protocol {
        RouteProtocol::Boot => String::new(),
        RouteProtocol::IcmpRedirect => "redirect".to_owned(),
        RouteProtocol::Dhcp => "dhcp".to_owned(),
        RouteProtocol::Other(number) => number.to_string(),
        known => known.to_string(),
    }
}

fn rule(message: &RuleMessage) -> Option<(RuleKey, RuleAction)> {
    let header = &message.header;
    let family = family(header.family)?;
    let mut key = RuleKey::new(0, family);
    key.not = header.flags.contains(RuleFlags::Invert);
    let mut table = u32::from(header.table);
    let (mut goto, mut mark, mut mask) = (0, None, u32::MAX);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => key.priority = *priority,
            RuleAttribute::Source(address) => {
                key.from = network(family, Some(*address), header.src_len);
            }
            RuleAttribute::Destination(address) => {
                key.to = network(family, Some(*address), header.dst_len);
            }
            RuleAttribute::Iifname(dev) => key.iif = Some(dev.clone()),
            RuleAttribute::Oifname(dev) => key.oif = Some(dev.clone()),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = *value,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Goto(priority) => goto = *priority,
            attribute => key.rest.extend(rest(attribute)),
        }
    }
    key.fwmark = mark.map(|mark| (mark, mask));
    let verdict = match header.action {
        rule::RuleAction::ToTable => RuleVerdict::Lookup(table),
        rule::RuleAction::Goto => RuleVerdict::Goto(goto),
        rule::RuleAction::Blackhole => RuleVerdict::Blackhole,
        rule::RuleAction::Unreachable => RuleVerdict::Unreachable,
        rule::RuleAction::Prohibit => RuleVerdict::Prohibit,
        _ => RuleVerdict::Nop,
    };
    let action = RuleAction {
        verdict,
        ..RuleAction::default()
    };
    Some((key, action))
}

/// The words of a selector that none of ours has: whoever has one is another rule than ours.
fn rest(attribute: &RuleAttribute) -> Vec<String> {
    match attribute {
        // What every rule says, and what the kernel says of its own.
        RuleAttribute::SuppressPrefixLen(u32::MAX)
        | RuleAttribute::SuppressIfGroup(u32::MAX)
        | RuleAttribute::Protocol(RouteProtocol::Kernel | RouteProtocol::Unspec)
        | RuleAttribute::L3MDev(false) => Vec::new(),
        RuleAttribute::Protocol(by) => vec!["proto".to_owned(), protocol(*by)],
        other => vec![format!("{other:?}")],
    }
}

fn neighbour(message: &NeighbourMessage, names: &Names) -> Option<(NeighbourKey, Neighbour)> {
    let header = &message.header;
    // The others come and go by themselves.
    if header.state != NeighbourState::Permanent {
        return None;
    }
    let mut neighbour = Neighbour {
        state: "PERMANENT".to_owned(),
        router: header.flags.contains(NeighbourFlags::Router),
        ..Neighbour::default()
    };
    let mut ip = None;
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                ip = Some(IpAddr::from(*address));
            }
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                ip = Some(IpAddr::from(*address));
            }
            NeighbourAttribute::LinkLayerAddress(bytes) => neighbour.mac = mac(bytes),
            _ => {}
        }
    }
    let dev = name(names, header.ifindex);
    Some((NeighbourKey { dev, ip: ip? }, neighbour))
}

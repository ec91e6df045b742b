//! What is to be changed in a namespace, as orders to rtnetlink: what `ip` would send for the same
//! words. Functions of values.
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::os::fd::RawFd;

use host::netns::{
    Addr, AddrKey, Family, Link, Neighbour, NeighbourKey, Nexthop, Route, RouteKey, RouteKind,
    RuleAction, RuleKey, RuleVerdict,
};
use ipnet::IpNet;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteMessage, RouteMetric, RouteNextHop, RouteProtocol, RouteScope,
    RouteType, RouteVia,
};
use netlink_packet_route::rule::{self, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

/// One thing to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// In words, should it fail.
    pub what: String,
    pub(super) message: RouteNetlinkMessage,
    /// Whether it makes something, and what about one that is there.
    pub(super) flags: u16,
}

impl Order {
    /// What was to go and is not there is gone: its device, its address or its table went before.
    pub(super) fn is_done_by(&self, error: &io::Error) -> bool {
        use nix::libc::{EADDRNOTAVAIL, ENOENT, ESRCH};
        let removes = matches!(
            self.message,
            RouteNetlinkMessage::DelAddress(_)
                | RouteNetlinkMessage::DelRoute(_)
                | RouteNetlinkMessage::DelRule(_)
                | RouteNetlinkMessage::DelNeighbour(_)
        );
        let is_gone = [EADDRNOTAVAIL, ENOENT, ESRCH].map(Some);
        removes && is_gone.contains(&error.raw_os_error())
    }
}

/// Devices by name, as the kernel numbers them in the namespace of the orders.
pub type Indexes = BTreeMap<String, u32>;

/// What `replace` means: made if it is missing.
const PUT: u16 = NLM_F_CREATE | NLM_F_REPLACE;
/// What `add` means: it must not be there.
const ADD: u16 = NLM_F_CREATE | NLM_F_EXCL;

fn order(what: String, message: RouteNetlinkMessage, flags: u16) -> Order {
    Order {
        what,
        message,
        flags,
    }
}

/// A device of this namespace goes to another, which is open as a file.
pub fn moved(index: u32, dev: &str, to: RawFd) -> Order {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::NetNsFd(to));
    order(
        format!("move device {dev}"),
        RouteNetlinkMessage::SetLink(message),
        0,
    )
}

/// A pair of devices, each in a namespace.
pub fn pair(one: (&str, RawFd), other: (&str, RawFd)) -> Order {
    let end = |(name, netns): (&str, RawFd)| {
        let mut message = LinkMessage::default();
        message.attributes = vec![
            LinkAttribute::IfName(name.to_owned()),
            LinkAttribute::NetNsFd(netns),
        ];
        message
    };
    let mut message = end(one);
    message.attributes.push(LinkAttribute::LinkInfo(vec![
        LinkInfo::Kind(InfoKind::Veth),
        LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(end(other)))),
    ]));
    let what = format!("make the pair {} and {}", one.0, other.0);
    order(what, RouteNetlinkMessage::NewLink(message), ADD)
}

/// What differs of a device's settings; nothing when it has them.
pub fn link(index: u32, name: &str, old: Option<&Link>, new: &Link) -> Option<Order> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let mut words = Vec::new();
    if let Some(mac) = new
        .mac
        .filter(|mac| old.and_then(|old| old.mac) != Some(*mac))
    {
        let address = LinkAttribute::Address(mac.0.to_vec());
        message.attributes.push(address);
        words.push(format!("address {mac}"));
    }
    if new.mtu != 0 && old.is_none_or(|old| old.mtu != new.mtu) {
        message.attributes.push(LinkAttribute::Mtu(new.mtu));
        words.push(format!("mtu {}", new.mtu));
    }
    if old.is_none_or(|old| old.up != new.up) {
        message.header.change_mask = LinkFlags::Up;
        if new.up {
            message.header.flags = LinkFlags::Up;
        }
        words.push(if new.up { "up" } else { "down" }.to_owned());
    }
    let what = format!("set device {name} {}", words.join(" "));
    let message = RouteNetlinkMessage::SetLink(message);
    (!words.is_empty()).then(|| order(what, message, 0))
}

fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

fn family_of(net: IpNet) -> AddressFamily {
    family(Family::of(net.addr()))
}

/// A scope by the tools' name for it.
fn scope(name: &str) -> u8 {
    match name {
        "site" => 200,
        "link" => 253,
        "host" => 254,
        "nowhere" => 255,
        name => name.parse().unwrap_or_default(),
    }
}

fn addr(index: u32, key: &AddrKey) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_of(key.net);
    message.header.prefix_len = key.net.prefix_len();
    message.header.index = index;
    let address = key.net.addr();
    message.attributes = vec![
        AddressAttribute::Local(address),
        AddressAttribute::Address(address),
    ];
    message
}

pub fn put_addr(index: u32, key: &AddrKey, new: &Addr) -> Order {
    let mut message = addr(index, key);
    message.header.scope = scope(&new.scope).into();
    if let Some(IpAddr::V4(broadcast)) = new.broadcast {
        let broadcast = AddressAttribute::Broadcast(broadcast);
        message.attributes.push(broadcast);
    }
    let what = format!("put address {} on {}", key.net, key.dev);
    order(what, RouteNetlinkMessage::NewAddress(message), PUT)
}

pub fn remove_addr(index: u32, key: &AddrKey) -> Order {
    let what = format!("remove address {} from {}", key.net, key.dev);
    order(what, RouteNetlinkMessage::DelAddress(addr(index, key)), 0)
}

/// What a table has of a route's place in it.
fn place(table: u32, key: &RouteKey, indexes: &Indexes) -> Option<RouteMessage> {
    let mut message = RouteMessage::default();
    message.header.address_family = family_of(key.dst);
    message.header.destination_prefix_length = key.dst.prefix_len();
    message.header.tos = key.tos;
    // Numbers that do not fit are said by the attribute alone.
    message.header.table = u8::try_from(table).unwrap_or_default();
    message.attributes.push(RouteAttribute::Table(table));
    if key.dst.prefix_len() > 0 {
        let destination = RouteAttribute::Destination(key.dst.addr().into());
        message.attributes.push(destination);
    }
    if let Some(dev) = &key.dev {
        let index = RouteAttribute::Oif(*indexes.get(dev)?);
        message.attributes.push(index);
    }
    if key.metric != 0 {
        message
            .attributes
            .push(RouteAttribute::Priority(key.metric));
    }
    Some(message)
}

/// None where a device is not there.
pub fn remove_route(table: u32, key: &RouteKey, indexes: &Indexes) -> Option<Order> {
    let mut message = place(table, key, indexes)?;
    message.header.scope = RouteScope::NoWhere;
    let what = format!("remove route {} from table {table}", key.dst);
    Some(order(what, RouteNetlinkMessage::DelRoute(message), 0))
}

/// None where a device is not there.
pub fn put_route(table: u32, key: &RouteKey, route: &Route, indexes: &Indexes) -> Option<Order> {
    let mut message = place(table, key, indexes)?;
    message.header.kind = route_kind(key.kind);
    message.header.protocol = protocol(&route.proto);
    message.header.scope = route_scope(key, route);
    if route.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    attributes.extend(route.via.map(|via| gateway(key.dst, via)));
    attributes.extend(route.src.map(|src| RouteAttribute::PrefSource(src.into())));
    attributes.extend(
        route
            .mtu
            .map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])),
    );
    if !route.nexthops.is_empty() {
        let hop = |hop: &Nexthop| nexthop(key.dst, hop, indexes);
        let hops: Option<Vec<RouteNextHop>> = route.nexthops.iter().map(hop).collect();
        attributes.push(RouteAttribute::MultiPath(hops?));
    }
    let what = format!("put route {} into table {table}", key.dst);
    Some(order(what, RouteNetlinkMessage::NewRoute(message), PUT))
}

/// A gateway of the other version of IP is said in another way.
fn gateway(dst: IpNet, via: IpAddr) -> RouteAttribute {
    match via {
        via if via.is_ipv4() == dst.addr().is_ipv4() => RouteAttribute::Gateway(via.into()),
        IpAddr::V4(via) => RouteAttribute::Via(RouteVia::Inet(via)),
        IpAddr::V6(via) => RouteAttribute::Via(RouteVia::Inet6(via)),
    }
}

fn nexthop(dst: IpNet, hop: &Nexthop, indexes: &Indexes) -> Option<RouteNextHop> {
    let mut next = RouteNextHop::default();
    if let Some(dev) = &hop.dev {
        next.interface_index = *indexes.get(dev)?;
    }
    next.hops = u8::try_from(hop.weight.saturating_sub(1)).unwrap_or(u8::MAX);
    next.attributes.extend(hop.via.map(|via| gateway(dst, via)));
    Some(next)
}

/// The one said, or what `ip` takes where none is.
fn route_scope(key: &RouteKey, route: &Route) -> RouteScope {
    if !route.scope.is_empty() {
        return scope(&route.scope).into();
    }
    let is_direct = route.via.is_none() && route.nexthops.is_empty();
    match key.kind {
        _ if key.dst.addr().is_ipv6() => RouteScope::Universe,
        RouteKind::Local => RouteScope::Host,
        RouteKind::Broadcast | RouteKind::Multicast | RouteKind::Anycast => RouteScope::Link,
        RouteKind::Unicast if is_direct => RouteScope::Link,
        _ => RouteScope::Universe,
    }
}

fn route_kind(kind: RouteKind) -> RouteType {
    match kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Local => RouteType::Local,
        RouteKind::Broadcast => RouteType::Broadcast,
        RouteKind::Multicast => RouteType::Multicast,
        RouteKind::Anycast => RouteType::Anycast,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Prohibit => RouteType::Prohibit,
        RouteKind::Throw => RouteType::Throw,
    }
}

/// Who made a route; `boot` where nobody says.
fn protocol(name: &str) -> RouteProtocol {
    match name {
        "redirect" => RouteProtocol::IcmpRedirect,
        "kernel" => RouteProtocol::Kernel,
        "static" => RouteProtocol::Static,
        "ra" => RouteProtocol::Ra,
        "dhcp" => RouteProtocol::Dhcp,
        name => match name.parse() {
            Ok(number) => RouteProtocol::Other(number),
            Err(_) => RouteProtocol::Boot,
        },
    }
}

/// The route that the kernel makes with an address; it does not make it again for an address that
/// is there and lost it. None for an address that is a network of its own.
pub fn connected(key: &AddrKey, indexes: &Indexes) -> Option<Order> {
    let net = key.net;
    if net.prefix_len() == net.max_prefix_len() {
        return None;
    }
    let is_v4 = net.addr().is_ipv4();
    let place = RouteKey {
        dst: net.trunc(),
        metric: if is_v4 { 0 } else { 256 },
        kind: RouteKind::Unicast,
        dev: Some(key.dev.clone()),
        tos: 0,
    };
    let route = Route {
        proto: "kernel".to_owned(),
        scope: if is_v4 { "link" } else { "" }.to_owned(),
        src: is_v4.then(|| net.addr()),
        ..Route::default()
    };
    put_route(host::netns::MAIN, &place, &route, indexes)
}

fn rule(key: &RuleKey, action: &RuleAction) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(key.family);
    if key.not {
        message.header.flags |= RuleFlags::Invert;
    }
    let attributes = &mut message.attributes;
    attributes.push(RuleAttribute::Priority(key.priority));
    if let Some(from) = key.from {
        message.header.src_len = from.prefix_len();
        attributes.push(RuleAttribute::Source(from.addr()));
    }
    if let Some(to) = key.to {
        message.header.dst_len = to.prefix_len();
        attributes.push(RuleAttribute::Destination(to.addr()));
    }
    attributes.extend(key.iif.clone().map(RuleAttribute::Iifname));
    attributes.extend(key.oif.clone().map(RuleAttribute::Oifname));
    if let Some((mark, mask)) = key.fwmark {
        attributes.push(RuleAttribute::FwMark(mark));
        attributes.push(RuleAttribute::FwMask(mask));
    }
    message.header.action = match action.verdict {
        RuleVerdict::Lookup(table) => {
            message.header.table = u8::try_from(table).unwrap_or_default();
            attributes.push(RuleAttribute::Table(table));
            rule::RuleAction::ToTable
        }
        RuleVerdict::Goto(priority) => {
            attributes.push(RuleAttribute::Goto(priority));
            rule::RuleAction::Goto
        }
        RuleVerdict::Unreachable => rule::RuleAction::Unreachable,
        RuleVerdict::Blackhole => rule::RuleAction::Blackhole,
        RuleVerdict::Prohibit => rule::RuleAction::Prohibit,
        RuleVerdict::Nop => rule::RuleAction::Nop,
    };
    message
}

pub fn add_rule(key: &RuleKey, action: &RuleAction) -> Order {
    let what = format!("add rule {}", key.priority);
    let message = RouteNetlinkMessage::NewRule(rule(key, action));
    order(what, message, ADD)
}

/// Of rules that differ in selectors which none of ours has, the first one goes.
pub fn remove_rule(key: &RuleKey, action: &RuleAction) -> Order {
    let what = format!("remove rule {}", key.priority);
    let message = RouteNetlinkMessage::DelRule(rule(key, action));
    order(what, message, 0)
}

fn neighbour(index: u32, key: &NeighbourKey) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family(Family::of(key.ip));
    message.header.ifindex = index;
    let destination = NeighbourAttribute::Destination(key.ip.into());
    message.attributes.push(destination);
    message
}

pub fn put_neighbour(index: u32, key: &NeighbourKey, new: &Neighbour) -> Order {
    let mut message = neighbour(index, key);
    message.header.state = NeighbourState::Permanent;
    for (said, flag) in [
        (new.router, NeighbourFlags::Router),
        (new.proxy, NeighbourFlags::Proxy),
    ] {
        if said {
            message.header.flags |= flag;
        }
    }
    let mac = new.mac.map(|mac| mac.0.to_vec());
    message
        .attributes
        .extend(mac.map(NeighbourAttribute::LinkLayerAddress));
    let what = format!("put neighbour {} on {}", key.ip, key.dev);
    order(what, RouteNetlinkMessage::NewNeighbour(message), PUT)
}

pub fn remove_neighbour(index: u32, key: &NeighbourKey) -> Order {
    let what = format!("remove neighbour {} from {}", key.ip, key.dev);
    let message = RouteNetlinkMessage::DelNeighbour(neighbour(index, key));
    order(what, message, 0)
}

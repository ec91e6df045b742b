//! What tunnels stand on, of which no plan speaks: the host's tunnel address, the route to the other
//! hosts, and devices that are up and wide enough for packets with a tunnel's headers.
use std::net::IpAddr;

use host::netns::{Addr, AddrKey, Link};
use host::ovs::{Interface, Port};
use host::{HostState, NsName};

use super::links::check;
use super::namespaces::{address, missing_address};
use super::{Difference, Kind};
use crate::routing::by_kernel;
use crate::text;
use crate::tunnel::{devices, overhead};
use crate::world::{World, is_tunnel, option_ip};

pub(super) fn find(world: &World, have: &HostState, found: &mut Vec<Difference>) {
    let Some(root) = have.root() else {
        return;
    };
    cards(world, have, found);
    let Some((local, kind)) = tunnel_address(have) else {
        return;
    };
    let Some(key) = root.addrs.keys().find(|a| a.net.addr() == local) else {
        if let Some(key) = like_others(world, have, local) {
            let addr = Addr {
                scope: "global".to_owned(),
                ..Addr::default()
            };
            let text = address(&key, &addr);
            found.push(missing_address(
                (&have.name, &NsName::root()),
                (&key, &addr),
                text,
            ));
        }
        return;
    };
    let mtu = widest(world, &kind);
    for (dev, link) in devices(world, &have.name, &key.dev) {
        let goal = Link {
            up: true,
            mtu: if link.mtu < mtu { mtu } else { 0 },
            ..Link::default()
        };
        check(have, &NsName::root(), (dev, link), &goal, found);
    }
    routes(have, key, found);
}

/// A provider bridge without a card, where a device of the name that other hosts' bridges have is
/// there and on no bridge.
fn cards(world: &World, have: &HostState, found: &mut Vec<Difference>) {
    for (name, bridge) in &have.bridges {
        let others = world.segments.values().flatten();
        let mut alike = others.filter(|card| card.bridge == *name);
        let own = world.segments.values().flatten();
        let has_one = own
            .into_iter()
            .any(|c| c.host == have.name && c.bridge == *name);
        let joined = bridge.interfaces().any(|(_, i)| i.kind == "patch");
        let loose = |dev: &str| {
            let device = have.root().is_some_and(|r| r.links.contains_key(dev));
            device && world.switch_of(&have.name, dev).is_none()
        };
        if has_one || !joined {
            continue;
        }
        let Some(card) = alike.find(|card| loose(&card.dev)) else {
            continue;
        };
        let (at, dev) = (name.clone(), card.dev.clone());
        let port = Port {
            interfaces: [(dev.clone(), Interface::default())].into(),
            ..Port::default()
        };
        let text = text::port(&dev, &port);
        let spot = (have.name.as_str(), name.as_str(), card.dev.as_str());
        found.push(Difference::new(spot, Kind::Missing, text, move |state| {
            state
                .bridge_mut(&at)
                .ports
                .insert(dev.clone(), port.clone().into());
        }));
    }
}

/// The address that a host's tunnels send from, and their kind.
fn tunnel_address(have: &HostState) -> Option<(IpAddr, String)> {
    let interfaces = have
        .bridges
        .values()
        .flat_map(host::ovs::Bridge::interfaces);
    let mut tunnels = interfaces.filter(|(_, i)| is_tunnel(i));
    tunnels.find_map(|(_, i)| Some((option_ip(i, "local_ip")?, i.kind.clone())))
}

/// The device and prefix of an address that a host does not have: as on another host.
fn like_others(world: &World, have: &HostState, local: IpAddr) -> Option<AddrKey> {
    let root = have.root()?;
    world.hosts.values().find_map(|other| {
        let (address, _) = tunnel_address(other)?;
        let mut addrs = other.root()?.addrs.keys();
        let key = addrs.find(|a| a.net.addr() == address && a.net.contains(&local))?;
        let net = ipnet::IpNet::new(local, key.net.prefix_len()).ok()?;
        root.links.contains_key(&key.dev).then(|| AddrKey {
            dev: key.dev.clone(),
            net,
        })
    })
}

/// The size of the largest packet of a tenant's network with a tunnel's headers.
fn widest(world: &World, kind: &str) -> u32 {
    let tunnelled = world
        .cloud
        .networks
        .values()
        .filter(|n| n.network_type.as_deref() == Some(kind));
    let inner = tunnelled.filter_map(|n| n.mtu).max();
    inner.map_or(0, |mtu| mtu + overhead(kind))
}

/// The kernel makes a route for the tunnel's address; without it no other host is reached.
fn routes(have: &HostState, key: &AddrKey, found: &mut Vec<Difference>) {
    let routes = have.root().map(|r| &r.routes);
    let Some(routes) = routes.filter(|tables| !tables.is_empty()) else {
        return;
    };
    for (table, wanted, route) in by_kernel(key) {
        let there = routes
            .get(&table)
            .is_some_and(|t| t.keys().any(|k| k.dst == wanted.dst));
        if there {
            continue;
        }
        let good = text::route(table, &wanted, &route);
        let undo = move |state: &mut HostState| {
            let root = state.netns_mut(NsName::root());
            let table = root.routes.entry(table).or_default();
            table.insert(wanted.clone(), route.clone());
        };
        let root = NsName::root();
        let spot = (have.name.as_str(), root.as_str(), key.dev.as_str());
        found.push(Difference::new(spot, Kind::Missing, good, undo));
    }
}

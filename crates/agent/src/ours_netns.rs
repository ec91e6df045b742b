//! What of a service's namespace can be there now, and what of it is ours: all that the kernel did not
//! make by itself.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use host::HostState;
use host::netns::{Addr, AddrKey, Link, LinkKind, Netns, Route, RouteKey, Sysctl, is_setting_of};
use host::ovs::Bridge;

use crate::ours::Waiting;

/// The kernel's own tables and rules.
const LOCAL_TABLE: u32 = 255;
const KERNEL_PRIORITIES: [u32; 3] = [0, 32766, 32767];

/// Interfaces that the switch has made a device for, and is done with.
fn made_by_switch(observed: &HostState) -> BTreeSet<&str> {
    let interfaces = observed.bridges.values().flat_map(Bridge::interfaces);
    let made = interfaces.filter(|(_, interface)| interface.ofport.0.is_some_and(|port| port > 0));
    made.map(|(name, _)| name).collect()
}

/// A device of the switch that is not made yet: what stands on it waits, and so do the processes
/// of its namespace. One that was made and is nowhere went with a namespace that somebody deleted:
/// the switch does not notice, so its port goes first, and comes again.
pub(crate) fn fit(want: &mut HostState, observed: &HostState, waiting: &mut Vec<Waiting>) {
    let outside = observed.root().map(|root| &root.links);
    let made = made_by_switch(observed);
    let (mut late, mut lost) = (BTreeSet::new(), BTreeSet::new());
    for (name, shared) in want.netns.iter_mut().filter(|(name, _)| !name.is_root()) {
        let netns = &**shared;
        let inside = observed.netns.get(name).map(|netns| &netns.links);
        // The switch itself asks for a device that it makes, where it made it.
        let is_outside = |dev: &String| {
            made.contains(dev.as_str()) && outside.is_some_and(|links| links.contains_key(dev))
        };
        let is_inside = |dev: &String| inside.is_some_and(|links| links.contains_key(dev));
        let missing = netns.links.iter().filter(|(dev, link)| {
            link.kind != LinkKind::Veth && !is_inside(dev) && !is_outside(dev)
        });
        let missing: BTreeMap<String, host::Why> = missing
            .map(|(dev, link)| (dev.clone(), link.why.clone()))
            .collect();
        if inside.is_some() {
            let gone = missing.keys().filter(|dev| made.contains(dev.as_str()));
            lost.extend(gone.cloned());
        }
        // What other states share is copied only when something is taken out.
        if missing.is_empty() {
            continue;
        }
        let netns = &mut **shared;
        // Made while the switch makes devices, and filled when they are there. One that was read has
        // a device, its own.
        if inside.is_none_or(|links| links.is_empty()) {
            *netns = Netns {
                sysctls: own_settings(netns),
                why: std::mem::take(&mut netns.why),
                ..Netns::default()
            };
        } else {
            without_devices(netns, &missing);
        }
        late.insert(name.clone());
        waiting.extend(missing.into_iter().map(|(dev, why)| Waiting {
            what: format!("device {dev} of {name}"),
            why,
        }));
    }
    for bridge in want.bridges.values_mut() {
        bridge.ports.keep(|name, _| !lost.contains(name));
    }
    want.processes.retain(|_, process| {
        let netns = process.netns.0.as_ref();
        netns.is_none_or(|netns| !late.contains(netns))
    });
}

/// Settings that are no device's.
pub(crate) fn own_settings(netns: &Netns) -> BTreeMap<String, Sysctl> {
    let is_own = |key: &str| !netns.links.keys().any(|dev| is_setting_of(key, dev));
    let own = netns.sysctls.iter().filter(|(key, _)| is_own(key));
    own.map(|(key, sysctl)| (key.clone(), sysctl.clone()))
        .collect()
}

/// Takes devices out, with what stands on them.
fn without_devices(netns: &mut Netns, missing: &BTreeMap<String, host::Why>) {
    let stands = |dev: &str| !missing.contains_key(dev);
    netns.links.keep(|dev, _| stands(dev));
    netns.addrs.retain(|key, _| stands(&key.dev));
    netns.neighbours.retain(|key, _| stands(&key.dev));
    for routes in netns.routes.values_mut() {
        routes.retain(|key, _| key.dev.as_deref().is_none_or(stands));
    }
    netns.routes.retain(|_, routes| !routes.is_empty());
    let is_of_missing = |key: &str| missing.keys().any(|dev| is_setting_of(key, dev));
    netns.sysctls.retain(|key, _| !is_of_missing(key));
}

/// Devices, addresses, routes, rules and neighbours.
pub(crate) fn cut(netns: &Netns, want: &Netns, ours: &mut Netns) {
    let links = netns
        .links
        .iter()
        .filter(|(name, _)| want.links.contains_key(*name));
    ours.links = links
        .map(|(name, link)| (name.clone(), cut_link(link, &want.links[name])))
        .collect();
    let addrs = netns
        .addrs
        .iter()
        .filter(|(key, addr)| want.addrs.contains_key(*key) || is_set_by_hand(key, addr));
    ours.addrs = addrs
        .map(|(key, addr)| (key.clone(), cut_addr(addr, want.addrs.get(key))))
        .collect();
    for (table, routes) in &netns.routes {
        let wanted = want.routes.get(table);
        let cut = |(key, route): (&RouteKey, &Route)| {
            let wanted = wanted.and_then(|routes| routes.get(key));
            let ours = wanted.is_some() || (*table != LOCAL_TABLE && is_route_by_hand(key, route));
            ours.then(|| (key.clone(), cut_route(route, wanted)))
        };
        let routes: BTreeMap<RouteKey, Route> = routes.iter().filter_map(cut).collect();
        if !routes.is_empty() || wanted.is_some() {
            ours.routes.insert(*table, routes);
        }
    }
    let rules = netns.rules.iter().filter(|(key, _)| {
        want.rules.contains_key(*key) || !KERNEL_PRIORITIES.contains(&key.priority)
    });
    ours.rules = rules
        .map(|(key, action)| (key.clone(), action.clone()))
        .collect();
    let neighbours = netns
        .neighbours
        .iter()
        .filter(|(key, neighbour)| want.neighbours.contains_key(*key) || neighbour.is_permanent());
    ours.neighbours = neighbours
        .map(|(key, neighbour)| (key.clone(), neighbour.clone()))
        .collect();
}

/// What the kernel chose of a device is as wanted.
fn cut_link(link: &Link, want: &Link) -> Link {
    Link {
        kind: want.kind.clone(),
        mac: want.mac.and(link.mac),
        mtu: if want.mtu == 0 { 0 } else { link.mtu },
        master: want.master.as_ref().and(link.master.clone()),
        peer: want.peer.clone(),
        up: link.up,
        ..Link::default()
    }
}

/// The kernel makes link-local addresses, and those that routers announce.
fn is_set_by_hand(key: &AddrKey, addr: &Addr) -> bool {
    let link_local = matches!(key.net.addr(), IpAddr::V6(ip) if ip.is_unicast_link_local());
    key.dev != "lo" && !link_local && !addr.flags.contains("dynamic")
}

fn cut_addr(addr: &Addr, want: Option<&Addr>) -> Addr {
    let mut cut = addr.clone();
    if let Some(want) = want {
        // A broadcast address that is not shown was not asked for.
        if cut.broadcast.is_none() || want.broadcast.is_none() {
            cut.broadcast = want.broadcast;
        }
        cut.scope.clone_from(&want.scope);
    }
    cut
}

fn is_route_by_hand(key: &RouteKey, route: &Route) -> bool {
    let multicast = key.dst.addr().is_multicast();
    !multicast
        && !["kernel", "ra", "redirect"].contains(&route.proto.as_str())
        && key.dev.as_deref() != Some("lo")
}

/// Who set a route and its scope are spelled in many ways: they count where somebody wants them.
fn cut_route(route: &Route, want: Option<&Route>) -> Route {
    let mut cut = route.clone();
    if let Some(want) = want {
        cut.proto.clone_from(&want.proto);
        if want.scope.is_empty() || cut.scope.is_empty() {
            cut.scope.clone_from(&want.scope);
        }
    }
    cut
}

//! What of a service's namespace is ours: all that the kernel did not make by itself.
use std::collections::BTreeMap;
use std::net::IpAddr;

use host::netns::{Addr, AddrKey, Link, Netns, Route, RouteKey};

/// The kernel's own tables and rules.
const LOCAL_TABLE: u32 = 255;
const KERNEL_PRIORITIES: [u32; 3] = [0, 32766, 32767];

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

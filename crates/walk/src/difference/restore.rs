//! What comes back with a thing that is put right: with a device its addresses and its routes,
//! with a namespace the rules that every one is born with, with one end of a pair the other's
//! carrier.
use std::collections::BTreeSet;

use host::netns::{AddrKey, Link, LinkKind, Netns};
use host::ovs::matches::PortRef;
use host::ovs::{Action, Bridge};
use host::{HostState, NsName};

use crate::routing::by_kernel;
use crate::wanted::usual_rules;
use crate::world::far_end;

/// A device of a namespace is there again: with the other end of its pair, with the ports that it
/// had as a bridge, and for the switch that could not open it.
pub(super) fn device(state: &mut HostState, ns: &NsName, dev: &str, want: &Netns) {
    one_device(state, ns, dev, want);
    let peer = want.links.get(dev).and_then(|link| link.peer.as_deref());
    if let Some(peer) = peer.filter(|peer| want.links.contains_key(*peer)) {
        one_device(state, ns, peer, want);
    }
}

fn one_device(state: &mut HostState, ns: &NsName, dev: &str, want: &Netns) {
    let netns = state.netns_mut(ns.clone());
    if let Some(link) = want.links.get(dev) {
        let link = || link.clone();
        netns.links.entry(dev.to_owned()).or_insert_with(link);
    }
    let of_it = |link: &Link| link.master.as_deref() == Some(dev);
    for (port, wanted) in want.links.iter().filter(|(_, link)| of_it(link)) {
        if let Some(link) = netns.links.get_mut(port) {
            link.master.clone_from(&wanted.master);
        }
    }
    for (key, addr) in want.addrs.iter().filter(|(key, _)| key.dev == dev) {
        let addr = || addr.clone();
        netns.addrs.entry(key.clone()).or_insert_with(addr);
    }
    for (key, row) in want.neighbours.iter().filter(|(key, _)| key.dev == dev) {
        let row = || row.clone();
        netns.neighbours.entry(key.clone()).or_insert_with(row);
    }
    routes(netns, dev, Some(want));
    opened(state, dev);
}

/// The switch opens a device that it could not open before.
fn opened(state: &mut HostState, dev: &str) {
    for bridge in state.bridges.values_mut() {
        let number = orphan(bridge);
        let interfaces = bridge
            .ports
            .values_mut()
            .flat_map(|port| &mut port.interfaces);
        for (_, interface) in interfaces.filter(|(name, _)| *name == dev) {
            interface.error.0 = None;
            interface.ofport.0 = interface.ofport.0.or(number);
        }
    }
}

/// The only port number in a bridge's flows that no interface has: flows name a port that is gone
/// by its number.
pub(super) fn orphan(bridge: &Bridge) -> Option<u32> {
    let mut numbers = BTreeSet::new();
    for (key, flow) in bridge.flows.iter() {
        let outputs = flow.actions.iter().filter_map(|action| match action {
            Action::Output(port) => Some(port),
            _ => None,
        });
        for port in key.matches.in_port.iter().chain(outputs) {
            if let PortRef::Number(number) = port
                && bridge.port_name(*number).is_none()
            {
                numbers.insert(*number);
            }
        }
    }
    (numbers.len() == 1)
        .then(|| numbers.first().copied())
        .flatten()
}

/// The routes by a device: the kernel's for its addresses, and those that are wanted.
pub(super) fn routes(netns: &mut Netns, dev: &str, want: Option<&Netns>) {
    let own: Vec<AddrKey> = netns
        .addrs
        .keys()
        .filter(|a| a.dev == dev)
        .cloned()
        .collect();
    let tables = want.into_iter().flat_map(|w| &w.routes);
    let wanted = tables.flat_map(|(table, routes)| {
        let by_it = routes
            .iter()
            .filter(|(key, _)| key.dev.as_deref() == Some(dev));
        by_it.map(|(key, route)| (*table, key.clone(), route.clone()))
    });
    for (table, key, route) in own.iter().flat_map(by_kernel).chain(wanted) {
        let table = netns.routes.entry(table).or_default();
        let there = table.keys().any(|k| k.dst == key.dst && k.kind == key.kind);
        if !there {
            table.insert(key, route);
        }
    }
}

/// A namespace is there again, and with it the far ends of the pairs that began in it.
pub(super) fn namespace(state: &mut HostState, ns: &NsName, want: &HostState) {
    let Some(whole) = want.netns.get(ns) else {
        return;
    };
    let mut netns = whole.clone();
    usual_rules(&mut netns);
    for dev in whole.links.keys() {
        routes(&mut netns, dev, Some(whole));
    }
    state.netns.insert(ns.clone(), netns);
    for dev in whole.links.keys() {
        opened(state, dev);
    }
    for dev in whole.links.keys() {
        if let Some((other, end)) = far_end(want, ns, dev)
            && let Some(there) = want.netns.get(&other)
            && state.netns.contains_key(&other)
        {
            device(state, &other, &end, there);
        }
    }
}

/// A device that comes up gives the other end of its pair its carrier back.
pub(super) fn carrier(state: &mut HostState, ns: &NsName, dev: &str) {
    if let Some((other, end)) = far_end(state, ns, dev)
        && let Some(link) = state.netns_mut(other).links.get_mut(&end)
    {
        link.flags.0.remove("NO-CARRIER");
    }
    for link in state
        .netns_mut(ns.clone())
        .links
        .values_mut()
        .filter(|l| l.kind == LinkKind::Bridge)
    {
        link.flags.0.remove("NO-CARRIER");
    }
    forward(state, ns, dev);
}

/// Linux bridges forward again by a device that is up again, by the other end of its pair, and by
/// its own ports, where it is a bridge.
fn forward(state: &mut HostState, ns: &NsName, dev: &str) {
    let other = far_end(state, ns, dev);
    for (place, netns) in &mut state.netns {
        for (name, link) in netns.links.iter_mut().filter(|(_, link)| link.up) {
            let near = place == ns && (name == dev || link.master.as_deref() == Some(dev));
            let far = other
                .as_ref()
                .is_some_and(|(at, end)| at == place && end == name);
            if let Some(port) = &mut link.bridge_port.0
                && port.state == "disabled"
                && (near || far)
            {
                "forwarding".clone_into(&mut port.state);
            }
        }
    }
}

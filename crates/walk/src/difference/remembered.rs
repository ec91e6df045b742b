//! MAC tables that remember a guest where it is not: `NORMAL` then sends its frames there, until
//! the guest speaks or the entry has aged.
use std::collections::BTreeMap;

use host::ovs::bridge::{FdbEntry, FdbKey};
use host::ovs::matches::PortRef;
use host::ovs::{Bridge, print_fdb};
use host::{HostState, names};

use super::{Difference, Kind};
use crate::cloud::Port;
use crate::world::{World, is_tunnel};

const BRIDGE: &str = "br-int";

pub(super) fn find(world: &World, have: &HostState, found: &mut Vec<Difference>) {
    let Some(bridge) = have.bridges.get(BRIDGE) else {
        return;
    };
    let guests: BTreeMap<host::Mac, &Port> = world
        .cloud
        .ports
        .values()
        .filter(|p| p.is_guest())
        .filter_map(|p| Some((p.mac()?, p)))
        .collect();
    for (key, entry) in &bridge.fdb {
        let Some(guest) = guests.get(&key.mac) else {
            continue;
        };
        let Some(port) = name_of(bridge, &entry.port) else {
            continue;
        };
        let own = [names::qvo(&guest.id), names::tap(&guest.id)];
        let plugged = own.iter().any(|name| bridge.interface(name).is_some());
        let of_a_guest = port.starts_with("qvo") || port.starts_with("tap");
        let astray = plugged || of_a_guest || leaves_tunnels(world, have, guest, port);
        if own.iter().any(|name| name == port) || !astray {
            continue;
        }
        let gone = *key;
        let undo = move |state: &mut HostState| {
            state.bridge_mut(BRIDGE).fdb.remove(&gone);
        };
        let spot = (have.name.as_str(), BRIDGE, port);
        let text = line(bridge, key, entry);
        found.push(Difference::new(spot, Kind::Extra, text, undo));
    }
}

/// Does a port lead to a bridge without tunnels, where the guest's network is reached by them?
fn leaves_tunnels(world: &World, have: &HostState, guest: &Port, port: &str) -> bool {
    let bridge = &have.bridges[BRIDGE];
    let peer = bridge.interface(port).and_then(|i| i.options.get("peer"));
    let beyond = peer.and_then(|peer| {
        let mut bridges = have.bridges.values();
        bridges.find(|other| other.interface(peer).is_some())
    });
    let network = world.cloud.networks.get(&guest.network_id);
    let kind = network.and_then(|n| n.network_type.as_deref());
    let tunnelled = kind.is_some_and(|kind| ["vxlan", "gre", "geneve"].contains(&kind));
    tunnelled && beyond.is_some_and(|other| !other.interfaces().any(|(_, i)| is_tunnel(i)))
}

fn name_of<'a>(bridge: &'a Bridge, port: &'a PortRef) -> Option<&'a str> {
    match port {
        PortRef::Name(name) => Some(name),
        PortRef::Number(number) => bridge.port_name(*number),
        _ => None,
    }
}

/// An entry as `fdb/show` has it, the port by its number.
fn line(bridge: &Bridge, key: &FdbKey, entry: &FdbEntry) -> String {
    let number = name_of(bridge, &entry.port).and_then(|name| bridge.ofport(name));
    let entry = FdbEntry {
        port: number.map_or_else(|| entry.port.clone(), PortRef::Number),
        ..entry.clone()
    };
    let table = print_fdb(&BTreeMap::from([(*key, entry)]));
    let words: Vec<&str> = table
        .lines()
        .last()
        .into_iter()
        .flat_map(str::split_whitespace)
        .collect();
    words.join(" ")
}

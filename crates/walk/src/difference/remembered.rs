//! MAC tables that remember a guest where it is not: `NORMAL` then sends its frames there, until
//! the guest speaks or the entry has aged.
use std::collections::BTreeMap;

use host::ovs::bridge::{FdbEntry, FdbKey};
use host::ovs::matches::PortRef;
use host::ovs::{Bridge, print_fdb};
use host::{HostState, names};

use super::{Difference, Kind};
use crate::cloud::Port;
use crate::world::World;

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
        if own.iter().any(|name| name == port) || !(plugged || of_a_guest) {
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

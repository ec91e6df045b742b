//! What is remembered of guests and is not so (any more): MAC tables that have one where it is
//! not, where `NORMAL` then sends its frames, and neighbours with a MAC that is not the guest's.
//! It lasts until the guest speaks or the entry has aged.
use std::collections::BTreeMap;
use std::net::IpAddr;

use host::netns::{NeighbourKey, print_neighbour};
use host::ovs::bridge::{FdbEntry, FdbKey};
use host::ovs::matches::PortRef;
use host::ovs::{Bridge, print_fdb};
use host::{HostState, names};
use ipnet::IpNet;

use super::{Difference, Kind};
use crate::cloud::Port;
use crate::world::{World, is_tunnel};

const BRIDGE: &str = "br-int";

pub(super) fn find(world: &World, have: &HostState, found: &mut Vec<Difference>) {
    macs(world, have, found);
    neighbours(world, have, found);
}

fn neighbours(world: &World, have: &HostState, found: &mut Vec<Difference>) {
    for (ns, netns) in &have.netns {
        let learned = netns.neighbours.iter().filter(|(_, n)| !n.is_permanent());
        for (key, neighbour) in learned {
            let guest = at_address(world, key);
            let (Some(mac), Some(own)) = (neighbour.mac, guest.and_then(Port::mac)) else {
                continue;
            };
            if mac == own {
                continue;
            }
            let (at, gone) = (ns.clone(), key.clone());
            let undo = move |state: &mut HostState| {
                state.netns_mut(at.clone()).neighbours.remove(&gone);
            };
            let spot = (have.name.as_str(), ns.as_str(), key.dev.as_str());
            let text = print_neighbour(key, neighbour).trim_end().to_owned();
            found.push(Difference::new(spot, Kind::Extra, text, undo));
        }
    }
}

/// The guest that has a neighbour's address for itself, on the network of the device by which the
/// neighbour is reached: no other port may send from it.
fn at_address<'w>(world: &'w World, key: &NeighbourKey) -> Option<&'w Port> {
    let ports = || world.cloud.ports.values();
    let start = key.dev.get(3..).filter(|start| start.len() == 11)?;
    let by = ports().find(|p| p.id.starts_with(start))?;
    let near = || ports().filter(|p| p.network_id == by.network_id);
    let pairs = near().flat_map(|p| &p.allowed_address_pairs);
    let shared = pairs.filter_map(|pair| {
        let net = pair.ip_address.parse::<IpNet>();
        net.ok()
            .or_else(|| pair.ip_address.parse::<IpAddr>().ok().map(IpNet::from))
    });
    if shared.into_iter().any(|net| net.contains(&key.ip)) {
        return None;
    }
    let mut guests = near().filter(|p| p.is_guest());
    guests.find(|p| p.fixed_ips.iter().any(|fixed| fixed.ip_address == key.ip))
}

fn macs(world: &World, have: &HostState, found: &mut Vec<Difference>) {
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

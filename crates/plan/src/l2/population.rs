//! What is known of ports on other hosts (layer 2 population), in br-tun.
//!
//! - A tunnel goes to a host that has a port of a network of ours, and floods of a network go
//!   only to hosts that have ports of it: tables 0 and 22.
//! - A known MAC is sent into the one tunnel that leads to it: table 20.
//! - An ARP request for a known address is answered here and goes nowhere: table 21.
//!
//! Without layer 2 population there is a tunnel to every host and every flood goes into all;
//! MACs are learned from what comes back. Distributed routers' interfaces are everywhere, so they
//! are never announced.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use host::{
    Mac, Why,
    ovs::{Action, Field, Match, PortRef},
};
use intent::{HostName, NetworkId, NetworkType, owner, view::Neighbour};

use super::{
    At, Carrier, LocalNet, tun,
    tunnel::{into_tunnels, tunnel_port, tunnel_to},
};
use crate::Draft;

pub(super) fn emit(draft: &mut Draft<'_>, nets: &[LocalNet<'_>]) {
    let bridge = draft.settings.tunnel_bridge.clone();
    answering(draft, &bridge);
    let announced = announced(draft);
    if !draft.settings.l2_population {
        tunnels_to_all(draft);
    }
    for net in nets {
        let Carrier::Tunnel { kind, id } = net.carrier else {
            continue;
        };
        let neighbours = announced
            .get(&net.network.id)
            .map_or(&[][..], Vec::as_slice);
        let tunnels = match draft.settings.l2_population {
            true => tunnels_of(draft, net, neighbours, kind),
            false => all_tunnels(draft, kind),
        };
        if !tunnels.is_empty() {
            let at = At::new(&bridge, tun::FLOOD, 1);
            let matches = Match::any().vlan(net.vlan);
            draft.flow(at, matches, into_tunnels(id, &tunnels), net.why());
        }
        if draft.settings.l2_population {
            for neighbour in neighbours {
                known(draft, &bridge, net, neighbour);
            }
        }
    }
}

/// Ports of other hosts by network.
fn announced<'a>(draft: &Draft<'a>) -> BTreeMap<NetworkId, Vec<&'a Neighbour>> {
    let mut by_network: BTreeMap<NetworkId, Vec<&Neighbour>> = BTreeMap::new();
    for neighbour in draft.view.neighbours.values() {
        if neighbour.device_owner != owner::ROUTER_INTERFACE_DVR {
            let list = by_network.entry(neighbour.network_id).or_default();
            list.push(neighbour);
        }
    }
    by_network
}

/// Requests go to the answering table only where somebody answers there.
fn answering(draft: &mut Draft<'_>, bridge: &str) {
    let on = draft.settings.l2_population && draft.settings.arp_responder;
    if !on {
        return;
    }
    let requests = Match::any().arp().eth_dst(Mac::BROADCAST);
    let at = At::new(bridge, tun::PATCH_LV, 1);
    draft.flow(at, requests, vec![Action::GotoTable(tun::ARP)], Why::base());
    let at = At::new(bridge, tun::ARP, 0);
    draft.flow(
        at,
        Match::any(),
        vec![Action::GotoTable(tun::FLOOD)],
        Why::base(),
    );
}

fn tunnels_to_all(draft: &mut Draft<'_>) {
    let settings = draft.settings;
    for peer in draft.view.peers.values() {
        for kind in &settings.tunnel_types {
            tunnel_port(draft, peer, *kind, &Why::of("agent", &peer.host));
        }
    }
}

fn all_tunnels(draft: &Draft<'_>, kind: NetworkType) -> BTreeSet<String> {
    let peers = draft.view.peers.values();
    peers
        .filter_map(|peer| tunnel_to(draft, peer, kind))
        .collect()
}

/// Tunnels to the hosts that have ports of this network; those are made here.
fn tunnels_of(
    draft: &mut Draft<'_>,
    net: &LocalNet<'_>,
    neighbours: &[&Neighbour],
    kind: NetworkType,
) -> BTreeSet<String> {
    let hosts: BTreeSet<&HostName> = neighbours.iter().map(|n| &n.host).collect();
    let mut tunnels = BTreeSet::new();
    for host in hosts {
        let Some(peer) = draft.view.peers.get(host) else {
            let text =
                format!("host {host} has ports of it, but no tunnel endpoint is known there");
            draft.note(format!("network {}", net.network.id), text);
            continue;
        };
        let why = net.why().and("agent", host);
        tunnel_port(draft, peer, kind, &why);
        tunnels.extend(tunnel_to(draft, peer, kind));
    }
    tunnels
}

/// One port elsewhere: where its MAC is, and who has its addresses.
fn known(draft: &mut Draft<'_>, bridge: &str, net: &LocalNet<'_>, neighbour: &Neighbour) {
    let Carrier::Tunnel { kind, id } = net.carrier else {
        return;
    };
    let peer = draft.view.peers.get(&neighbour.host);
    let Some(tunnel) = peer.and_then(|peer| tunnel_to(draft, peer, kind)) else {
        return;
    };
    let why = Why::of("port", neighbour.port_id);
    let mac = Mac(neighbour.mac_address.0);
    let at = At::new(bridge, tun::UNICAST, 2);
    let to_it = Match::any().vlan(net.vlan).eth_dst(mac);
    let out = into_tunnels(id, &[tunnel].into());
    draft.flow(at, to_it, out, why.clone());
    if !draft.settings.arp_responder {
        return;
    }
    for address in &neighbour.addresses {
        if let IpAddr::V4(address) = address {
            let at = At::new(bridge, tun::ARP, 1);
            let asked = Match::any()
                .arp()
                .vlan(net.vlan)
                .ip4(Field::ArpTpa, *address);
            draft.flow(at, asked, arp_answer(mac, *address), why.clone());
        }
    }
}

/// Turn a request into its answer and send it back where it came from.
fn arp_answer(mac: Mac, address: Ipv4Addr) -> Vec<Action> {
    let mac = u128::from(mac.to_bits());
    vec![
        Action::set(Field::ArpOp, 2),
        Action::copy(Field::ArpSha, Field::ArpTha),
        Action::copy(Field::ArpSpa, Field::ArpTpa),
        Action::set(Field::ArpSha, mac),
        Action::set(Field::ArpSpa, u32::from(address).into()),
        Action::copy(Field::EthSrc, Field::EthDst),
        Action::set(Field::EthSrc, mac),
        Action::Output(PortRef::InPort),
    ]
}

//! What is known of ports on other hosts (layer 2 population), in br-tun.
//!
//! - A tunnel goes to a host that has a port of a network of ours, and floods of a network go
//!   only to hosts that have ports of it: tables 0 and 22.
//! - A known MAC is sent into the one tunnel that leads to it: table 20.
//! - Who asks for a known address is answered here: `answer`.
//!
//! Without layer 2 population there is a tunnel to every host and every flood goes into all;
//! MACs are learned from what comes back. Distributed routers' interfaces are everywhere, so they
//! are never announced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::{Why, ovs::Match};
use intent::{HostName, NetworkId, NetworkType, owner, view::Neighbour};

use super::{
    At, Carrier, LocalNet,
    answer::{self, Answers},
    part::{Flows, NeighbourOf},
    tun,
    tunnel::{into_tunnels, tunnel_port, tunnel_to},
};
use crate::Draft;

pub(super) fn emit(draft: &mut Draft<'_>, nets: &[LocalNet<'_>]) {
    let bridge = draft.settings.tunnel_bridge.clone();
    answer::base(draft, &bridge);
    let announced = announced(draft);
    if !draft.settings.l2_population {
        tunnels_to_all(draft);
    }
    let mut memo = std::mem::take(&mut draft.memo.l2);
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
            let known_here = neighbours.iter().filter_map(|it| origin(draft, net, it));
            for from in known_here.collect::<Vec<_>>() {
                let flows = memo.neighbour(from, known);
                draft.put_flows(&bridge, &flows);
            }
        }
    }
    draft.memo.l2 = memo;
}

/// Ports of other hosts by network.
fn announced<'a>(draft: &Draft<'a>) -> BTreeMap<NetworkId, Vec<&'a Arc<Neighbour>>> {
    let mut by_network: BTreeMap<NetworkId, Vec<&Arc<Neighbour>>> = BTreeMap::new();
    for neighbour in draft.view.neighbours.values() {
        if neighbour.device_owner != owner::ROUTER_INTERFACE_DVR {
            let list = by_network.entry(neighbour.network_id).or_default();
            list.push(neighbour);
        }
    }
    by_network
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
    neighbours: &[&Arc<Neighbour>],
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

/// One port elsewhere, when a tunnel leads to it: all that its flows depend on.
fn origin(
    draft: &Draft<'_>,
    net: &LocalNet<'_>,
    neighbour: &Arc<Neighbour>,
) -> Option<NeighbourOf> {
    let Carrier::Tunnel { kind, id } = net.carrier else {
        return None;
    };
    let peer = draft.view.peers.get(&neighbour.host)?;
    Some(NeighbourOf {
        neighbour: neighbour.clone(),
        tunnel: tunnel_to(draft, peer, kind)?,
        id,
        vlan: net.vlan,
        answers: Answers::of(draft.settings),
    })
}

/// Where its MAC is, and who has its addresses.
fn known(from: &NeighbourOf) -> Flows {
    let mut flows = Flows::default();
    let why = Why::of("port", from.neighbour.port_id);
    let mac = from.neighbour.mac_address;
    let to_it = Match::any().vlan(from.vlan).eth_dst(mac);
    let out = into_tunnels(from.id, &[from.tunnel.clone()].into());
    flows.put((tun::UNICAST, 2), to_it, out, why);
    answer::known(&mut flows, from.answers, from.vlan, &from.neighbour);
    flows
}

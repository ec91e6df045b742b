//! The world outside: the gateway of each external network and whatever is behind it. Nothing of
//! it is in any snapshot; it is taken to be there, to answer, and to know the way to the external
//! networks' own addresses and to no others.
use std::collections::BTreeSet;
use std::net::IpAddr;

use host::Mac;

use crate::cloud::{Network, Subnet};
use crate::memory::Owner;
use crate::packet::{Net, Packet};
use crate::sim::{Fate, Party, Request, Sim, Spot, StepId};
use crate::stack;
use crate::world::World;

/// A stand-in for the gateway's MAC where nobody remembers it.
const STAND_IN: Mac = Mac([0x02, b'o', b'u', b't', b'e', b'r']);

/// The MACs of the gateways out there: what namespaces remember of them, else a stand-in.
pub fn macs(world: &World) -> Vec<Mac> {
    let spaces = world.hosts.values().flat_map(|h| h.netns.values());
    let known = spaces.flat_map(|ns| &ns.neighbours);
    let gateways = known.filter(|(key, _)| is_outside(world, key.ip));
    let found: BTreeSet<Mac> = gateways.filter_map(|(_, n)| n.mac).collect();
    match found.is_empty() {
        true => vec![STAND_IN],
        false => found.into_iter().collect(),
    }
}

/// The MAC that the outside sends from.
pub fn mac(world: &World) -> Mac {
    world.gateways.first().copied().unwrap_or(STAND_IN)
}

const HOST: &str = "outside";

fn spot(segment: &str) -> Spot<'_> {
    Spot {
        host: HOST,
        place: segment,
        device: "gateway",
    }
}

/// The physical network of an external network.
pub fn segment_of<'w>(world: &'w World, network: &Network) -> Option<&'w str> {
    let physical = network.physical_network.as_deref()?;
    if let Some((name, _)) = world.segments.get_key_value(physical) {
        return Some(name);
    }
    // No agent told its mappings: with one provider bridge there is nothing to confuse.
    match world.segments.keys().collect::<Vec<_>>().as_slice() {
        [only] => Some(only),
        _ => None,
    }
}

/// The subnets whose gateways are out there, with the tag their frames carry.
fn subnets<'w>(world: &'w World, segment: &str) -> impl Iterator<Item = (&'w Subnet, Option<u16>)> {
    let on_it = move |n: &&Network| segment_of(world, n).is_some_and(|s| s == segment);
    let networks: Vec<&Network> = world.cloud.networks.values().filter(on_it).collect();
    networks.into_iter().flat_map(move |network| {
        let tag = match network.network_type.as_deref() {
            Some("vlan") => network.segmentation_id.map(|id| id as u16),
            _ => None,
        };
        world.cloud.subnets_of(&network.id).map(move |s| (s, tag))
    })
}

/// Is this gateway out there, or is it a port of the cloud?
fn is_outside(world: &World, address: IpAddr) -> bool {
    let gateway = world
        .cloud
        .subnets
        .values()
        .any(|s| s.gateway_ip == Some(address));
    gateway && world.cloud.port_by_ip(address).is_none()
}

/// The outside's address in the external network that has an address.
pub fn source_for(world: &World, dst: IpAddr) -> Option<(String, IpAddr)> {
    world.segments.keys().find_map(|segment| {
        subnets(world, segment).find_map(|(subnet, _)| {
            let near = subnet.cidr?.contains(&dst);
            let gateway = subnet.gateway_ip?;
            (near && is_outside(world, gateway)).then(|| (segment.clone(), gateway))
        })
    })
}

/// Any external network, for packets that no network of its own wants.
pub fn any_source(world: &World, v6: bool) -> Option<(String, IpAddr)> {
    world.segments.keys().find_map(|segment| {
        subnets(world, segment).find_map(|(subnet, _)| {
            let gateway = subnet.gateway_ip?;
            let fits = gateway.is_ipv6() == v6 && is_outside(world, gateway);
            fits.then(|| (segment.clone(), gateway))
        })
    })
}

/// A frame comes out of the cloud.
pub fn receive(sim: &mut Sim<'_>, segment: &str, packet: Packet, parent: StepId) {
    let world = sim.world;
    if !world.gateways.contains(&packet.eth_dst) && !packet.eth_dst.is_multicast() {
        let what = "not for the gateway";
        sim.stop(parent, spot(segment), &packet, what, Fate::Ignored);
        return;
    }
    if !subnets(world, segment).any(|(_, tag)| tag == packet.vlan()) {
        let what = "no external network has these frames";
        sim.stop(parent, spot(segment), &packet, what, Fate::Ignored);
        return;
    }
    match packet.net.clone() {
        Net::Arp(arp) => {
            let owner = Owner::Outside(segment.to_owned());
            if arp.op != 1 {
                sim.mem.learn_neighbour(owner, arp.spa.into(), arp.sha);
                let step = sim.step(Some(parent), spot(segment), &packet, "takes the answer");
                sim.end(
                    step,
                    &packet,
                    Fate::Taken(Party::Outside(segment.to_owned())),
                );
                return;
            }
            if !is_outside(world, arp.tpa.into()) {
                let what = format!("nobody out here is known to have {}", arp.tpa);
                sim.stop(parent, spot(segment), &packet, what, Fate::Ignored);
                return;
            }
            sim.mem.learn_neighbour(owner, arp.spa.into(), arp.sha);
            let mut reply = stack::arp_reply(&arp, mac(world));
            reply.tags.clone_from(&packet.tags);
            let what = format!("the gateway {} answers", arp.tpa);
            let step = sim.step(Some(parent), spot(segment), &reply, what);
            sim.onto_segment(segment, "", "", &reply, step);
        }
        Net::Ip(ip) if !packet.eth_dst.is_multicast() => {
            take(sim, segment, packet, ip.dst, parent);
        }
        Net::Ip(_) => {
            sim.stop(
                parent,
                spot(segment),
                &packet,
                "nobody wants it",
                Fate::Ignored,
            );
        }
    }
}

fn take(sim: &mut Sim<'_>, segment: &str, packet: Packet, dst: IpAddr, parent: StepId) {
    let world = sim.world;
    let inside = world
        .cloud
        .subnet_with(dst)
        .filter(|_| !is_outside(world, dst));
    if let Some(subnet) = inside {
        let cidr = subnet.cidr.map(|c| c.to_string()).unwrap_or_default();
        let what = format!("{dst} of {} ({cidr}) is not out here: lost", subnet.name);
        sim.stop(parent, spot(segment), &packet, what, Fate::Dropped);
        return;
    }
    let party = Party::Outside(segment.to_owned());
    let step = sim.step(
        Some(parent),
        spot(segment),
        &packet,
        format!("{dst} has it"),
    );
    sim.end(step, &packet, Fate::Taken(party.clone()));
    if packet
        .ip()
        .is_some_and(|ip| crate::guest::wants_answer(&ip.load))
    {
        sim.requests.push(Request {
            party,
            packet,
            dev: "gateway".to_owned(),
            step,
        });
    }
}

/// The outside sends a packet: by the external network that has the address.
pub fn send(sim: &mut Sim<'_>, segment: &str, mut packet: Packet, parent: StepId) {
    let world = sim.world;
    let Some((src, dst)) = packet.ip().map(|ip| (ip.src, ip.dst)) else {
        sim.onto_segment(segment, "", "", &packet, parent);
        return;
    };
    let way = subnets(world, segment).find(|(s, _)| s.cidr.is_some_and(|c| c.contains(&dst)));
    let Some((subnet, tag)) = way else {
        let what = format!("the outside has no route to {dst}");
        sim.stop(parent, spot(segment), &packet, what, Fate::Dropped);
        return;
    };
    let own = mac(world);
    let near = subnet.gateway_ip.filter(|g| g.is_ipv4() == dst.is_ipv4());
    let question = match (near.unwrap_or(src), dst) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Packet::arp_request(own, from, to),
        (IpAddr::V6(_), IpAddr::V6(to)) => Packet::nd_solicit(own, own.link_local(), to),
        _ => return,
    };
    let tags: Vec<u16> = tag.into_iter().collect();
    let owner = Owner::Outside(segment.to_owned());
    let answer = sim.ask(owner, dst, parent, |sim| {
        let question = Packet {
            tags: tags.clone(),
            ..question
        };
        let what = format!("who has {dst}?");
        let step = sim.step(None, spot(segment), &question, what);
        sim.onto_segment(segment, "", "", &question, step);
    });
    let Some(answer) = answer else {
        let what = format!("nobody answers for {dst} on the external network");
        sim.stop(parent, spot(segment), &packet, what, Fate::Dropped);
        return;
    };
    (packet.eth_src, packet.eth_dst) = (own, answer);
    packet.tags = tags;
    let step = sim.step(
        Some(parent),
        spot(segment),
        &packet,
        "onto the external network",
    );
    sim.onto_segment(segment, "", "", &packet, step);
}

//! Guests: machines whose inside nobody sees. They have their port's MAC and addresses, the routes
//! that DHCP gave them, answer echoes, and accept what is sent to any of their ports.
use std::net::IpAddr;

use host::{Mac, NsName};
use ipnet::IpNet;

use crate::autoconf;
use crate::cloud::Port;
use crate::memory::{Owner, is_echo_reply};
use crate::packet::{
    ICMP_ECHO, ICMP6_ECHO, Ip, Load, ND_ADVERT, ND_ROUTER_ADVERT, ND_SOLICIT, Net, Packet, TCP_ACK,
    TCP_SYN,
};
use crate::service::METADATA;
use crate::sim::{Fate, Party, Place, Request, Sim, Spot, StepId};
use crate::stack;
use crate::world::{Plug, World};

/// Is this a packet that an endpoint answers?
pub fn wants_answer(load: &Load) -> bool {
    match load {
        Load::Icmp { kind, .. } => *kind == ICMP_ECHO,
        Load::Icmp6 { kind, .. } => *kind == ICMP6_ECHO,
        Load::Tcp { flags, .. } => flags & (TCP_SYN | TCP_ACK) == TCP_SYN,
        Load::Udp { .. } => true,
        Load::Other(_) => false,
    }
}

fn spot<'a>(port: &'a Port, name: &'a str) -> Spot<'a> {
    Spot {
        host: &port.host,
        place: name,
        device: "eth0",
    }
}

/// A guest's network card takes in a frame.
pub fn receive(sim: &mut Sim<'_>, id: &str, packet: Packet, parent: StepId) {
    let world = sim.world;
    let Some(port) = world.cloud.ports.get(id) else {
        return;
    };
    let name = world.cloud.call(port);
    let spot = spot(port, &name);
    let ours = port.mac() == Some(packet.eth_dst) || packet.eth_dst.is_multicast();
    if !ours || packet.vlan().is_some() {
        let what = format!("{name} is not {}: not for this one", packet.eth_dst);
        sim.stop(parent, spot, &packet, what, Fate::Ignored);
        return;
    }
    match packet.net.clone() {
        Net::Arp(arp) if arp.op == 1 => {
            if !has(port, arp.tpa.into()) {
                let what = format!("{name} does not have {}", arp.tpa);
                sim.stop(parent, spot, &packet, what, Fate::Ignored);
                return;
            }
            let step = sim.step(
                Some(parent),
                spot,
                &packet,
                format!("{name} has {}", arp.tpa),
            );
            sim.end(step, &packet, Fate::Taken(Party::Guest(id.to_owned())));
            let owner = Owner::Guest(id.to_owned());
            sim.mem.learn_neighbour(owner, arp.spa.into(), arp.sha);
            if let Some(mac) = port.mac() {
                enter(sim, port, stack::arp_reply(&arp, mac), step);
            }
        }
        Net::Arp(arp) => {
            let owner = Owner::Guest(id.to_owned());
            sim.mem.learn_neighbour(owner, arp.spa.into(), arp.sha);
            let step = sim.step(
                Some(parent),
                spot,
                &packet,
                format!("{name} takes the answer"),
            );
            sim.end(step, &packet, Fate::Taken(Party::Guest(id.to_owned())));
        }
        Net::Ip(ip) => take(sim, port, packet, &ip, parent),
    }
}

fn take(sim: &mut Sim<'_>, port: &Port, packet: Packet, ip: &Ip, parent: StepId) {
    let name = sim.world.cloud.call(port);
    let at = spot(port, &name);
    if let Load::Icmp6 {
        kind,
        target: Some(target),
        lladdr,
        ..
    } = ip.load
    {
        return discover(sim, port, &packet, ip, (kind, target, lladdr), parent);
    }
    let offered = matches!(
        ip.load,
        Load::Udp {
            dport: autoconf::DHCP_CLIENT | autoconf::DHCP6_CLIENT,
            ..
        }
    );
    let announced = matches!(ip.load.icmp(), Some((ND_ROUTER_ADVERT, _)));
    if !has(port, ip.dst) && !offered && !announced {
        let what = format!("{name} does not have {}", ip.dst);
        sim.stop(parent, at, &packet, what, Fate::Ignored);
        return;
    }
    let party = Party::Guest(port.id.clone());
    let answer = wants_answer(&ip.load) && !offered;
    let what = match &ip.load {
        load if is_echo_reply(load) => format!("{name} has its answer"),
        _ => format!("{name} takes it"),
    };
    let step = sim.step(Some(parent), at, &packet, what);
    sim.end(step, &packet, Fate::Taken(party.clone()));
    if answer {
        sim.requests.push(Request {
            party,
            packet,
            dev: "eth0".to_owned(),
            step,
        });
    }
}

fn discover(
    sim: &mut Sim<'_>,
    port: &Port,
    packet: &Packet,
    ip: &Ip,
    (kind, target, lladdr): (u8, std::net::Ipv6Addr, Option<Mac>),
    parent: StepId,
) {
    let name = sim.world.cloud.call(port);
    let owner = Owner::Guest(port.id.clone());
    let Some(mac) = port.mac() else {
        return;
    };
    if kind == ND_ADVERT {
        if let Some(from) = lladdr {
            sim.mem.learn_neighbour(owner, target.into(), from);
        }
        let step = sim.step(Some(parent), spot(port, &name), packet, "takes the answer");
        sim.end(step, packet, Fate::Taken(Party::Guest(port.id.clone())));
        return;
    }
    if kind != ND_SOLICIT || !has(port, target.into()) {
        let what = format!("{name} does not have {target}");
        sim.stop(parent, spot(port, &name), packet, what, Fate::Ignored);
        return;
    }
    if let Some(from) = lladdr {
        sim.mem.learn_neighbour(owner, ip.src, from);
    }
    let step = sim.step(
        Some(parent),
        spot(port, &name),
        packet,
        format!("{name} has {target}"),
    );
    let reply = stack::nd_advert(packet, ip, target, mac);
    enter(sim, port, reply, step);
}

fn has(port: &Port, ip: IpAddr) -> bool {
    let own = || port.mac().map(|mac| IpAddr::V6(mac.link_local()));
    port.fixed_ips.iter().any(|f| f.ip_address == ip) || own() == Some(ip)
}

/// A frame leaves a guest: it comes in where the port is plugged.
pub fn enter(sim: &mut Sim<'_>, port: &Port, packet: Packet, parent: StepId) {
    let name = sim.world.cloud.call(port);
    match sim.world.plug(port) {
        Plug::Device { host, dev } => {
            let ns = NsName::root();
            sim.arrive(Place::Device { host, ns, dev }, packet, parent);
        }
        Plug::Switch { host, bridge, port } => {
            sim.note(format!("{host}: its devices are not in the state given"));
            let at = Place::Switch {
                host,
                bridge,
                port,
                tunnel: None,
            };
            sim.arrive(at, packet, parent);
        }
        Plug::Missing { host, tap } => {
            let what = format!("{host} has no {tap}: {name} is not plugged in");
            sim.stop(parent, spot(port, &name), &packet, what, Fate::Dropped);
        }
        Plug::UnknownHost { host } => {
            let what = format!("the state of {host} is not given");
            sim.stop(parent, spot(port, &name), &packet, what, Fate::Unknown);
        }
    }
}

/// A guest sends a packet: to whom its routes say. The frame's own addresses stay when they were
/// given.
pub fn send(sim: &mut Sim<'_>, id: &str, mut packet: Packet, to: Option<Mac>, parent: StepId) {
    let world = sim.world;
    let Some(port) = world.cloud.ports.get(id) else {
        return;
    };
    let name = world.cloud.call(port);
    let Some((src, dst)) = packet.ip().map(|ip| (ip.src, ip.dst)) else {
        return enter(sim, port, packet, parent);
    };
    let link_mtu = world
        .cloud
        .networks
        .get(&port.network_id)
        .and_then(|n| n.mtu);
    if let Some(mtu) = link_mtu
        && packet.size() > mtu
    {
        let what = format!("{} bytes do not fit the network's mtu {mtu}", packet.size());
        sim.stop(parent, spot(port, &name), &packet, what, Fate::Dropped);
        return;
    }
    if let Some(mac) = to {
        packet.eth_dst = mac;
        return enter(sim, port, packet, parent);
    }
    let Some((hop, how)) = next_hop(world, port, dst) else {
        let what = format!("{name} has no route to {dst}");
        sim.stop(parent, spot(port, &name), &packet, what, Fate::Dropped);
        return;
    };
    let owner = Owner::Guest(id.to_owned());
    let own = packet.eth_src;
    let question = match (port.ip(hop.is_ipv6()).unwrap_or(src), hop) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Packet::arp_request(own, from, to),
        (IpAddr::V6(_), IpAddr::V6(to)) => {
            // From the packet's own address, if that is its own: whoever is asked knows it then.
            let from = match src {
                IpAddr::V6(from) if has(port, src) => from,
                _ => own.link_local(),
            };
            Packet::nd_solicit(own, from, to)
        }
        _ => return,
    };
    let mac = sim.ask(owner, hop, parent, |sim| {
        let what = format!("who has {hop}?");
        let step = sim.step(None, spot(port, &name), &question, what);
        enter(sim, port, question, step);
    });
    let Some(mac) = mac else {
        let what = format!("nobody answers for {hop} ({how})");
        sim.stop(parent, spot(port, &name), &packet, what, Fate::Dropped);
        return;
    };
    let before = packet.clone();
    packet.eth_dst = mac;
    let what = format!("{name} sends to {hop} ({how})");
    let step = sim.step(Some(parent), spot(port, &name), &packet, what);
    sim.changed(step, &before, &packet);
    enter(sim, port, packet, step);
}

/// Whom a guest sends to, and by which route: on its link, by a route of DHCP, or its gateway.
pub fn next_hop(world: &World, port: &Port, dst: IpAddr) -> Option<(IpAddr, String)> {
    if matches!(dst, IpAddr::V6(dst) if dst.is_unicast_link_local()) {
        return Some((dst, "on its link".to_owned()));
    }
    let mut best: Option<(u8, IpAddr, String)> = None;
    let mut offer = |net: IpNet, hop: IpAddr, how: &str| {
        let better = best
            .as_ref()
            .is_none_or(|(len, ..)| net.prefix_len() > *len);
        if net.contains(&dst) && better {
            best = Some((net.prefix_len(), hop, how.to_owned()));
        }
    };
    for fixed in &port.fixed_ips {
        let Some(subnet) = world.cloud.subnets.get(&fixed.subnet_id) else {
            continue;
        };
        if let Some(cidr) = subnet.cidr {
            offer(cidr, dst, "on its link");
        }
        let told = dhcp_routes(world, port, &subnet.id);
        for (net, hop) in told.iter().flatten() {
            offer(*net, *hop, "a route that DHCP gave");
        }
        for route in &subnet.host_routes {
            offer(
                route.destination,
                route.nexthop,
                "a host route of its subnet",
            );
        }
        let any: Option<IpNet> = match dst {
            IpAddr::V4(_) => "0.0.0.0/0".parse().ok(),
            IpAddr::V6(_) => "::/0".parse().ok(),
        };
        if let (Some(any), Some(gateway)) = (any, subnet.gateway_ip)
            && gateway.is_ipv4() == dst.is_ipv4()
        {
            offer(any, gateway, "its gateway");
        }
        let metadata: Option<IpNet> = METADATA.parse().ok().map(IpAddr::into);
        if let (None, Some(net), Some(server)) = (&told, metadata, dhcp_server(world, port))
            && subnet.gateway_ip.is_none()
        {
            offer(net, server, "the DHCP server of an isolated network");
        }
    }
    best.map(|(_, hop, how)| (hop, how))
}

fn dhcp_server(world: &World, port: &Port) -> Option<IpAddr> {
    let mut ports = world.cloud.ports.values();
    let server =
        ports.find(|p| p.network_id == port.network_id && p.device_owner == "network:dhcp")?;
    server.ip(false)
}

/// The routes in dnsmasq's options for a subnet; nothing when no host has the file.
fn dhcp_routes(world: &World, port: &Port, subnet: &str) -> Option<Vec<(IpNet, IpAddr)>> {
    let path = format!("dhcp/{}/opts", port.network_id);
    let file = world.hosts.values().find_map(|h| h.files.get(&path))?;
    let start = format!("tag:subnet-{subnet},option:classless-static-route,");
    let line = file
        .lines
        .iter()
        .find_map(|l| l.text.strip_prefix(start.as_str()));
    let words: Vec<&str> = line.unwrap_or("").split(',').collect();
    let pairs = words.chunks_exact(2).filter_map(|pair| match pair {
        [net, hop] => Some((net.parse().ok()?, hop.parse().ok()?)),
        _ => None,
    });
    Some(pairs.collect())
}

//! What whoever took a packet sends back: the packet turned round, dnsmasq's offer, or a router's
//! announcement.
use std::net::{IpAddr, Ipv6Addr};

use crate::autoconf::{self, DHCP_SERVER, DHCP6_SERVER, Offer};
use crate::memory::Owner;
use crate::packet::{
    ICMP_ECHO, ICMP_ECHO_REPLY, ICMP6_ECHO, ICMP6_ECHO_REPLY, Load, ND_ROUTER_ADVERT,
    ND_ROUTER_SOLICIT, Packet, TCP_ACK, TCP_SYN,
};
use crate::question::{Goal, Plan, Sender};
use crate::sim::{End, Fate, Party, Request, Sim, Spot, StepId};
use crate::world::World;
use crate::{guest, outside, stack};

pub(super) fn respond(sim: &mut Sim<'_>, request: &Request) -> StepId {
    let (host, place) = match &request.party {
        Party::Guest(id) => {
            let port = sim.world.cloud.ports.get(id);
            port.map_or_else(Default::default, |p| {
                (p.host.clone(), sim.world.cloud.call(p))
            })
        }
        Party::Outside(segment) => ("outside".to_owned(), segment.clone()),
        Party::Netns { host, ns } => (host.clone(), ns.to_string()),
    };
    let spot = Spot {
        host: &host,
        place: &place,
        device: &request.dev,
    };
    if let Party::Netns { host, ns } = &request.party {
        let seat = (host.as_str(), ns, request.dev.as_str());
        match (udp_port(&request.packet), icmp_type(&request.packet)) {
            (Some(DHCP_SERVER), _) => return lease(sim, seat, request, spot, false),
            (Some(DHCP6_SERVER), _) => return lease(sim, seat, request, spot, true),
            (_, Some(ND_ROUTER_SOLICIT)) => return announce(sim, seat, request, spot),
            _ => {}
        }
    }
    let reply = turned(&request.packet);
    let step = sim.step(
        Some(request.step),
        spot,
        &reply,
        format!("answers: {reply}"),
    );
    match &request.party {
        Party::Guest(id) => guest::send(sim, id, reply, None, step),
        Party::Outside(segment) => outside::send(sim, segment, reply, step),
        Party::Netns { host, ns } => stack::originate(sim, (host, ns, &request.dev), reply, step),
    }
    step
}

fn udp_port(packet: &Packet) -> Option<u16> {
    match &packet.ip()?.load {
        Load::Udp { dport, .. } => Some(*dport),
        _ => None,
    }
}

fn icmp_type(packet: &Packet) -> Option<u8> {
    packet.ip()?.load.icmp().map(|(kind, _)| kind)
}

/// The address by which a device speaks to its own link.
fn link_local(sim: &Sim<'_>, (host, ns, dev): stack::Seat<'_>) -> Option<IpAddr> {
    let netns = sim.world.netns(host, ns)?;
    let made = netns.links.get(dev)?.mac.map(|mac| mac.link_local());
    let addrs = netns.addrs.keys().filter(|a| a.dev == dev);
    let own: Vec<Ipv6Addr> = addrs
        .filter_map(|a| match a.net.addr() {
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some(ip),
            _ => None,
        })
        .collect();
    // The one that its MAC makes is nearer to guests' than that of metadata.
    let near = own.iter().find(|ip| Some(**ip) == made);
    near.or(own.first()).copied().map(IpAddr::V6)
}

/// radvd announces the router to everybody on the link.
fn announce(sim: &mut Sim<'_>, seat: stack::Seat<'_>, request: &Request, spot: Spot<'_>) -> StepId {
    let Some(own) = link_local(sim, seat) else {
        let what = format!("{} has no address on its link", request.dev);
        return sim.stop(request.step, spot, &request.packet, what, Fate::Dropped);
    };
    let reply = autoconf::advert(host::Mac::ZERO, own);
    let step = sim.step(Some(request.step), spot, &reply, format!("sends {reply}"));
    stack::originate(sim, seat, reply, step);
    step
}

/// dnsmasq offers an address: to the client's own MAC, or, in IPv6, to its address on the link.
fn lease(
    sim: &mut Sim<'_>,
    seat: stack::Seat<'_>,
    request: &Request,
    spot: Spot<'_>,
    v6: bool,
) -> StepId {
    let (host, ns, dev) = seat;
    let world = sim.world;
    let client = request.packet.eth_src;
    let Some((state, netns)) = world.hosts.get(host).zip(world.netns(host, ns)) else {
        return request.step;
    };
    let refuse = |sim: &mut Sim<'_>, what: String, fate: Fate| {
        sim.stop(request.step, spot, &request.packet, what, fate)
    };
    let (what, address) = match autoconf::offer(state, &world.cloud, ns.as_str(), (client, v6)) {
        Offer::Lease(address) => (format!("dnsmasq offers {address}"), Some(address)),
        Offer::Options => ("dnsmasq tells its options".to_owned(), None),
        Offer::None(what) => return refuse(sim, what, Fate::Dropped),
        Offer::Unknown(what) => return refuse(sim, what, Fate::Unknown),
    };
    let mut addrs = netns.addrs.keys().filter(|a| a.dev == dev);
    let near = address.and_then(|address| addrs.find(|a| a.net.contains(&address)));
    if let (Some(address), None) = (address, near) {
        let what = format!("{dev} has no address in the subnet of {address}: no offer");
        return refuse(sim, what, Fate::Dropped);
    }
    let asked_from = request.packet.ip().map(|ip| ip.src).filter(|_| v6);
    let server = match v6 {
        true => link_local(sim, seat),
        false => near.map(|a| a.net.addr()),
    };
    let Some(ends) = server.zip(asked_from.or(address)) else {
        return refuse(
            sim,
            format!("{dev} has no address on its link"),
            Fate::Dropped,
        );
    };
    let reply = autoconf::answer(ends);
    let step = sim.step(Some(request.step), spot, &reply, what);
    if !v6 {
        // dnsmasq puts the client's MAC into the kernel's table itself: it has no address yet.
        let key = Owner::Device {
            host: host.to_owned(),
            ns: ns.clone(),
            dev: dev.to_owned(),
        };
        sim.mem.neighbours.insert((key, ends.1), client);
    }
    stack::originate(sim, seat, reply, step);
    step
}

/// The answer to a packet: turned round.
fn turned(packet: &Packet) -> Packet {
    let mut reply = packet.clone();
    std::mem::swap(&mut reply.eth_src, &mut reply.eth_dst);
    reply.tags.clear();
    if let Some(ip) = reply.ip_mut() {
        std::mem::swap(&mut ip.src, &mut ip.dst);
        ip.ttl = 64;
        match &mut ip.load {
            Load::Icmp { kind, .. } if *kind == ICMP_ECHO => *kind = ICMP_ECHO_REPLY,
            Load::Icmp6 { kind, .. } if *kind == ICMP6_ECHO => *kind = ICMP6_ECHO_REPLY,
            Load::Tcp {
                sport,
                dport,
                flags,
            } => {
                std::mem::swap(sport, dport);
                *flags = TCP_SYN | TCP_ACK;
            }
            Load::Udp { sport, dport } => std::mem::swap(sport, dport),
            _ => {}
        }
    }
    reply
}

/// Did the sender get an answer, from the address that it asked?
pub(super) fn is_answer(world: &World, plan: &Plan, end: &End) -> bool {
    let Fate::Taken(party) = &end.fate else {
        return false;
    };
    let (Some(got), Some(sent)) = (end.packet.ip(), plan.packet.ip()) else {
        return false;
    };
    let ours = match (&plan.sender, party) {
        (Sender::Guest(id), Party::Guest(got)) => id == got,
        (Sender::Outside(_), Party::Outside(_)) => true,
        (Sender::Netns { host, ns }, Party::Netns { host: h, ns: n }) => host == h && ns == n,
        _ => false,
    };
    match plan.goal {
        Goal::Dhcp { .. } => {
            let asked = sent.load.ports().map(|(client, _)| client);
            return ours && asked.is_some() && got.load.ports().map(|(_, to)| to) == asked;
        }
        Goal::Announcer { .. } => {
            return ours && matches!(got.load.icmp(), Some((ND_ROUTER_ADVERT, _)));
        }
        _ => {}
    }
    let from = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    let _ = world;
    let ports = match (got.load.ports(), sent.load.ports()) {
        (Some((gs, gd)), Some((ss, sd))) => gs == sd && gd == ss,
        _ => true,
    };
    ours && got.src == sent.dst && got.dst == sent.src && from(got.src) && ports
}

//! What whoever took a packet sends back: the packet turned round, or dnsmasq's offer.
use std::net::IpAddr;

use crate::memory::Owner;
use crate::packet::{
    ICMP_ECHO, ICMP_ECHO_REPLY, ICMP6_ECHO, ICMP6_ECHO_REPLY, Ip, Load, Net, Packet, TCP_ACK,
    TCP_SYN,
};
use crate::question::{Goal, Plan, Sender};
use crate::sim::{End, Fate, Party, Request, Sim, Spot, StepId};
use crate::world::World;
use crate::{guest, outside, service, stack};

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
    if let (Party::Netns { host, ns }, Some(67)) = (&request.party, dport(&request.packet)) {
        return lease(sim, (host, ns), request, spot);
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
        Party::Netns { host, ns } => stack::originate(sim, (host, ns), reply, step),
    }
    step
}

fn dport(packet: &Packet) -> Option<u16> {
    match &packet.ip()?.load {
        Load::Udp { dport, .. } => Some(*dport),
        _ => None,
    }
}

/// dnsmasq offers an address, to the client's own MAC.
fn lease(
    sim: &mut Sim<'_>,
    (host, ns): (&str, &host::NsName),
    request: &Request,
    spot: Spot<'_>,
) -> StepId {
    let world = sim.world;
    let client = request.packet.eth_src;
    let offer = world
        .hosts
        .get(host)
        .map(|s| service::offer(s, ns.as_str(), client));
    let address = match offer {
        Some(Ok(address)) => address,
        Some(Err(what)) => {
            let fate = if what.ends_with("cannot tell") {
                Fate::Unknown
            } else {
                Fate::Dropped
            };
            return sim.stop(request.step, spot, &request.packet, what, fate);
        }
        None => return request.step,
    };
    let own = world.netns(host, ns).and_then(|n| {
        let mut addrs = n.addrs.keys();
        addrs
            .find(|a| a.dev == request.dev && a.net.contains(&address))
            .map(|a| a.net.addr())
    });
    let Some(own) = own else {
        let what = format!(
            "{} has no address in the subnet of {address}: no offer",
            request.dev
        );
        return sim.stop(request.step, spot, &request.packet, what, Fate::Dropped);
    };
    let reply = Packet {
        eth_src: host::Mac::ZERO,
        eth_dst: host::Mac::ZERO,
        tags: Vec::new(),
        net: Net::Ip(Ip {
            src: own,
            dst: address,
            ttl: 64,
            dont_fragment: false,
            size: 348,
            load: Load::Udp {
                sport: 67,
                dport: 68,
            },
        }),
    };
    let what = format!("dnsmasq offers {address}");
    let step = sim.step(Some(request.step), spot, &reply, what);
    // dnsmasq puts the client's MAC into the kernel's table itself: it has no address to be asked by.
    let key = Owner::Device {
        host: host.to_owned(),
        ns: ns.clone(),
        dev: request.dev.clone(),
    };
    sim.mem.neighbours.insert((key, address), client);
    stack::originate(sim, (host, ns), reply, step);
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
    if matches!(plan.goal, Goal::Dhcp { .. }) {
        return ours && matches!(got.load, Load::Udp { dport: 68, .. });
    }
    let from = |ip: IpAddr| !ip.is_unspecified() && !ip.is_multicast();
    let _ = world;
    let ports = match (got.load.ports(), sent.load.ports()) {
        (Some((gs, gd)), Some((ss, sd))) => gs == sd && gd == ss,
        _ => true,
    };
    ours && got.src == sent.dst && got.dst == sent.src && from(got.src) && ports
}

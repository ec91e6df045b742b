//! One packet there and its answer back, over one world: what happened, without yet asking why.
use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::memory::Owner;
use crate::packet::{
    ICMP_ECHO, ICMP_ECHO_REPLY, ICMP6_ECHO, ICMP6_ECHO_REPLY, Ip, Load, Net, Packet, TCP_ACK,
    TCP_SYN,
};
use crate::question::{Goal, Plan, Sender};
use crate::report::{Resolution, Step, Verdict};
use crate::sim::{Asked, End, Fate, Party, Request, Sim, Spot, StepId};
use crate::world::World;
use crate::{guest, letters, outside, service, stack};

/// What happened to a packet and its answer.
#[derive(Clone, Debug)]
pub struct Trace {
    pub verdict: Verdict,
    pub replied: bool,
    pub forward: Vec<Step>,
    pub reverse: Vec<Step>,
    pub arp: Vec<Resolution>,
    /// Where the packet was lost, when it was.
    pub lost: Option<Loss>,
    /// Where the answer was lost, when that was.
    pub reply_lost: Option<Loss>,
    /// The hosts that saw a copy of the packet.
    pub reached: BTreeSet<String>,
    /// The packet as its addressee saw it.
    pub arrived: Option<Packet>,
    pub notes: Vec<String>,
}

/// Where something ended.
#[derive(Clone, Debug)]
pub struct Loss {
    pub step: Step,
    /// The steps up to there.
    pub way: Vec<Step>,
    /// It was a question for a MAC that went unanswered.
    pub arp: Option<String>,
    pub unknown: bool,
}

/// What two walks must have in common to count as the same: their ends, what arrived, and what
/// acted on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub verdict: Verdict,
    pub replied: bool,
    arrived: Option<String>,
    way: Vec<String>,
}

impl Outcome {
    /// How well the packet fared: there, and the answer back.
    pub fn ends(&self) -> (bool, bool) {
        (self.verdict == Verdict::Delivered, self.replied)
    }
}

impl Trace {
    pub fn outcome(&self) -> Outcome {
        let delivered = self.verdict == Verdict::Delivered;
        let there = self.forward.iter().filter(|_| delivered);
        let back = self.reverse.iter().filter(|_| self.replied);
        let mark = |step: &Step| format!("{} {}", step.host, step.place);
        let mut way: Vec<String> = there.chain(back).map(mark).collect();
        way.dedup();
        way.extend(self.reached.iter().map(|host| format!("seen on {host}")));
        Outcome {
            verdict: self.verdict,
            replied: self.replied,
            arrived: self.arrived.as_ref().map(Packet::to_string),
            way,
        }
    }

    /// Did it get there, and the answer back?
    pub fn ends(&self) -> (Verdict, bool) {
        (self.verdict, self.replied)
    }
}

/// Send the packet, and the answer if one is due.
pub fn trace(world: &World, plan: &Plan) -> Trace {
    let mut sim = Sim::new(world);
    let root = start(&mut sim, plan);
    send(&mut sim, plan, root);
    sim.run();
    let ends = std::mem::take(&mut sim.ends);
    let asked = sim.asked.len();
    let reached = ends
        .iter()
        .flat_map(|end| sim.way(end.step))
        .map(|id| sim.nodes[id].step.host.clone())
        .collect();
    let taken = ends.iter().find(|end| is_goal(world, plan, end)).cloned();
    let requests = std::mem::take(&mut sim.requests);
    let target = target_of(&plan.goal);
    let lost = match &taken {
        Some(_) => None,
        None => Some(loss(&sim, &ends, &sim.asked[..asked], &target, root)),
    };
    let verdict = match (&taken, &lost) {
        (Some(_), _) => Verdict::Delivered,
        (None, Some(loss)) if loss.unknown => Verdict::Unknown,
        _ => Verdict::Dropped,
    };
    let forward_end = taken.as_ref().map(|end| end.step);
    let answer = answer(&mut sim, plan, &requests, taken.as_ref());
    let forward = match (forward_end, &lost) {
        (Some(step), _) => steps(&sim, step),
        (None, Some(loss)) => loss.way.clone(),
        (None, None) => Vec::new(),
    };
    Trace {
        verdict,
        replied: answer.replied,
        forward,
        reverse: answer.way,
        arp: sim.asked.iter().map(|a| resolution(&sim, a)).collect(),
        lost,
        reply_lost: answer.lost,
        reached,
        arrived: taken.map(|end| end.packet),
        notes: sim.notes,
    }
}

fn start(sim: &mut Sim<'_>, plan: &Plan) -> StepId {
    let host = match &plan.sender {
        Sender::Guest(id) => sim
            .world
            .cloud
            .ports
            .get(id)
            .map_or("", |p| p.host.as_str()),
        Sender::Outside(_) => "outside",
        Sender::Netns { host, .. } => host,
    };
    let spot = Spot {
        host,
        place: &plan.from_name,
        device: "",
    };
    let what = format!("{} sends {}", plan.from_name, plan.packet);
    sim.step(None, spot, &plan.packet, what)
}

fn send(sim: &mut Sim<'_>, plan: &Plan, root: StepId) {
    let packet = plan.packet.clone();
    match &plan.sender {
        Sender::Guest(id) => {
            // A broadcast leaves as it is; everything else finds its next hop's MAC first.
            guest::send(sim, id, packet, plan.dst_mac, root);
        }
        Sender::Outside(segment) => outside::send(sim, segment, packet, root),
        Sender::Netns { host, ns } => stack::originate(sim, (host, ns), packet, root),
    }
}

/// Did this end at the addressee, with the packet that was sent?
fn is_goal(world: &World, plan: &Plan, end: &End) -> bool {
    let Fate::Taken(party) = &end.fate else {
        return false;
    };
    let same_kind = match (&end.packet.net, &plan.packet.net) {
        (Net::Arp(got), Net::Arp(sent)) => got.op == sent.op,
        (Net::Ip(got), Net::Ip(sent)) => got.load.proto() == sent.load.proto(),
        _ => false,
    };
    let dst = match &plan.goal {
        // Address translation may have given it another; the owner has what it asks for.
        Goal::Owner(ip) => Some(*ip),
        _ => None,
    };
    same_kind && plan.goal.is(world, party, dst)
}

/// The names by which a step shows that it is near whom the packet is for.
#[derive(Clone, Debug, Default)]
struct Target {
    /// The start of a port's id, as device names have it.
    port: Option<String>,
    host: Option<String>,
    place: Option<String>,
}

fn target_of(goal: &Goal) -> Target {
    match goal {
        Goal::Guest(id) => Target {
            port: Some(short(id)),
            ..Target::default()
        },
        Goal::Outside => Target {
            host: Some("outside".to_owned()),
            ..Target::default()
        },
        Goal::Dhcp { network } => Target {
            place: Some(host::names::qdhcp(network).to_string()),
            ..Target::default()
        },
        Goal::Owner(_) | Goal::Metadata => Target::default(),
    }
}

fn short(id: &str) -> String {
    id.chars().take(11).collect()
}

/// Of all the ends of a flood, the one that matters: nearest to the addressee, then on the
/// longest way; copies for others never do while there is another.
fn loss(sim: &Sim<'_>, ends: &[End], asked: &[Asked], target: &Target, root: StepId) -> Loss {
    let best = ends.iter().max_by_key(|end| weight(sim, end, target));
    let Some(best) = best else {
        let way = steps(sim, root);
        return Loss {
            step: way.last().cloned().unwrap_or_default(),
            way,
            arp: None,
            unknown: true,
        };
    };
    let way = steps(sim, best.step);
    let step = way.last().cloned().unwrap_or_default();
    let unanswered = asked
        .iter()
        .find(|a| a.answer.is_none() && sim.way(best.step).contains(&a.needed_by));
    if let Some(question) = unanswered {
        return unanswered_loss(sim, question, way);
    }
    Loss {
        step,
        way,
        arp: None,
        unknown: best.fate == Fate::Unknown,
    }
}

/// Nobody answered for a MAC: the place is where the question, or its answer, was lost.
fn unanswered_loss(sim: &Sim<'_>, question: &Asked, mut way: Vec<Step>) -> Loss {
    let owner = sim.world.cloud.port_by_ip(question.address);
    let target = Target {
        port: owner.map(|p| short(&p.id)),
        host: owner.map(|p| p.host.clone()).filter(|h| !h.is_empty()),
        place: None,
    };
    let best = question
        .ends
        .iter()
        .max_by_key(|end| weight(sim, end, &target));
    let arp_way = best.map(|end| steps(sim, end.step)).unwrap_or_default();
    let step = arp_way.last().or(way.last()).cloned().unwrap_or_default();
    let unknown = best.is_some_and(|end| end.fate == Fate::Unknown);
    let last = way.pop();
    way.extend(arp_way);
    way.extend(last);
    Loss {
        step,
        way,
        arp: Some(question.address.to_string()),
        unknown,
    }
}

type Weight = (u8, u8, u8, usize);

fn weight(sim: &Sim<'_>, end: &End, target: &Target) -> Weight {
    let node = &sim.nodes[end.step].step;
    let near_port = target
        .port
        .as_ref()
        .is_some_and(|p| node.device.contains(p.as_str()));
    let near_place = target.place.as_ref().is_some_and(|p| *p == node.place);
    let near_host = target.host.as_ref().is_some_and(|h| *h == node.host);
    let fate = match end.fate {
        Fate::Dropped => 2,
        Fate::Unknown => 1,
        Fate::Taken(_) | Fate::Ignored => 0,
    };
    let elsewhere = is_noise(sim, end, target);
    let near = u8::from(near_port || near_place) * 2 + u8::from(near_host);
    let real = if elsewhere { 0 } else { fate };
    (
        near * u8::from(fate > 0),
        real,
        fate,
        sim.way(end.step).len(),
    )
}

/// A copy that flooding sent to somebody else, and what discarded it there.
fn is_noise(sim: &Sim<'_>, end: &End, target: &Target) -> bool {
    let last = &sim.nodes[end.step].step;
    if let Some(guest) = guest_of(last) {
        let way = sim.way(end.step);
        let mut places = way.iter().map(|id| &sim.nodes[*id].step);
        let sender = places.find_map(guest_of);
        return target.port.as_deref() != Some(guest) && sender != Some(guest);
    }
    let mut cards = sim.world.segments.values().flatten();
    let provider = cards.any(|c| c.host == last.host && c.bridge == last.place);
    provider || last.device.starts_with("int-")
}

/// The start of the id of the guest's port that a device belongs to.
fn guest_of(step: &Step) -> Option<&str> {
    let prefixes = ["tap", "qvb", "qvo", "qbr"];
    prefixes.iter().find_map(|p| step.device.strip_prefix(p))
}

fn steps(sim: &Sim<'_>, end: StepId) -> Vec<Step> {
    let mut steps: Vec<Step> = sim
        .way(end)
        .into_iter()
        .map(|id| sim.nodes[id].step.clone())
        .collect();
    letters::mark(sim.world, &mut steps);
    steps
}

fn resolution(sim: &Sim<'_>, asked: &Asked) -> Resolution {
    let who = match &asked.owner {
        Owner::Device { host, ns, dev } => format!("{dev} of {ns} on {host}"),
        Owner::Guest(id) => {
            let port = sim.world.cloud.ports.get(id);
            port.map_or(id.clone(), |p| sim.world.cloud.call(p))
        }
        Owner::Outside(_) => "outside".to_owned(),
    };
    let answered = asked.ends.iter().rev().find(|end| {
        let arp = end.packet.arp().is_some_and(|a| a.op == 2);
        matches!(end.fate, Fate::Taken(_)) && (arp || end.packet.ip().is_some())
    });
    let owner = sim.world.cloud.port_by_ip(asked.address);
    let target = Target {
        port: owner.map(|p| short(&p.id)),
        ..Target::default()
    };
    let best = || {
        asked
            .ends
            .iter()
            .max_by_key(|end| weight(sim, end, &target))
    };
    let end = match asked.answer {
        Some(_) => answered,
        None => best(),
    };
    Resolution {
        who,
        address: asked.address.to_string(),
        mac: asked.answer.map(|mac| mac.to_string()),
        steps: end.map(|end| steps(sim, end.step)).unwrap_or_default(),
    }
}

struct Answer {
    replied: bool,
    way: Vec<Step>,
    lost: Option<Loss>,
}

/// Send the answer of whoever took the packet, and see whether the sender gets it.
fn answer(sim: &mut Sim<'_>, plan: &Plan, requests: &[Request], taken: Option<&End>) -> Answer {
    let none = Answer {
        replied: false,
        way: Vec::new(),
        lost: None,
    };
    if plan.packet.arp().is_some() {
        return arp_answer(sim, plan);
    }
    let by_goal = taken.and_then(|end| requests.iter().find(|r| r.step == end.step));
    let Some(request) = by_goal.or_else(|| requests.first().filter(|_| taken.is_none())) else {
        return none;
    };
    let asked = sim.asked.len();
    let first = respond(sim, request);
    sim.run();
    let ends = std::mem::take(&mut sim.ends);
    let got = ends.iter().find(|end| is_answer(sim.world, plan, end));
    if let Some(end) = got {
        return Answer {
            replied: true,
            way: tail(sim, first, end.step),
            lost: None,
        };
    }
    let target = match &plan.sender {
        Sender::Guest(id) => target_of(&Goal::Guest(id.clone())),
        Sender::Outside(_) => target_of(&Goal::Outside),
        Sender::Netns { host, ns } => Target {
            host: Some(host.clone()),
            place: Some(ns.to_string()),
            port: None,
        },
    };
    let mut lost = loss(sim, &ends, &sim.asked[asked..], &target, first);
    let known = steps(sim, request.step).len();
    if lost.way.len() > known {
        lost.way.drain(..known);
    }
    Answer {
        replied: false,
        way: lost.way.clone(),
        lost: Some(lost),
    }
}

/// An ARP request that was sent as such: its answer is already under way with it.
fn arp_answer(sim: &Sim<'_>, plan: &Plan) -> Answer {
    let Net::Arp(arp) = &plan.packet.net else {
        return Answer {
            replied: false,
            way: Vec::new(),
            lost: None,
        };
    };
    let owner = match &plan.sender {
        Sender::Guest(id) => Owner::Guest(id.clone()),
        Sender::Outside(segment) => Owner::Outside(segment.clone()),
        Sender::Netns { host, ns } => Owner::Device {
            host: host.clone(),
            ns: ns.clone(),
            dev: String::new(),
        },
    };
    Answer {
        replied: sim.mem.neighbours.contains_key(&(owner, arp.tpa.into())),
        way: Vec::new(),
        lost: None,
    }
}

/// The steps after the packet was taken.
fn tail(sim: &Sim<'_>, first: StepId, end: StepId) -> Vec<Step> {
    let way = sim.way(end);
    let from = way.iter().position(|id| *id == first).unwrap_or(0);
    let mut steps: Vec<Step> = way[from..]
        .iter()
        .map(|id| sim.nodes[*id].step.clone())
        .collect();
    letters::mark(sim.world, &mut steps);
    steps
}

fn respond(sim: &mut Sim<'_>, request: &Request) -> StepId {
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
fn is_answer(world: &World, plan: &Plan, end: &End) -> bool {
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

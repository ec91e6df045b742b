//! One packet there and its answer back, over one world: what happened, without yet asking why.
mod lost;
mod reply;

use std::collections::BTreeSet;

use crate::memory::{Met, Owner};
use crate::packet::{Net, Packet};
use crate::question::{Goal, Plan, Sender};
use crate::report::{Resolution, Step, Verdict};
use crate::sim::{Asked, End, Entry, Fate, Request, Sim, Spot, StepId};
use crate::world::World;
use crate::{guest, letters, outside, stack};
use lost::{Target, loss, short, target_of, weight};
use reply::{is_answer, respond};

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
    /// The answer as the sender saw it.
    pub answered: Option<Packet>,
    /// What came into switches, there and back, with every copy and every question for a MAC.
    pub entered: Vec<Entry>,
    /// Connections from before this walk that its packets belong to.
    pub met: Vec<Met>,
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
    answered: Option<String>,
    way: Vec<String>,
    /// Where packet and answer ended that did not arrive, and by which rule.
    ended: Vec<String>,
}

impl Outcome {
    /// Is the only thing that differs where, and by what, the packet was lost?
    pub fn is_lost_elsewhere(&self, other: &Outcome) -> bool {
        let moved = Outcome {
            ended: self.ended.clone(),
            ..other.clone()
        };
        *self == moved && self != other
    }

    /// Does another packet, or another answer, arrive than did?
    pub fn is_written_over(&self, other: &Outcome) -> bool {
        let differ = |one: &Option<String>, other: &Option<String>| match (one, other) {
            (Some(one), Some(other)) => one != other,
            _ => false,
        };
        differ(&self.arrived, &other.arrived) || differ(&self.answered, &other.answered)
    }

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
        let end = |loss: &Loss| {
            let step = &loss.step;
            let rule = step.rule.as_deref().unwrap_or(&step.what);
            let asked = loss.arp.as_deref().unwrap_or("");
            format!("{} {} {rule} {asked}", step.host, step.place)
        };
        let losses = [&self.lost, &self.reply_lost];
        Outcome {
            verdict: self.verdict,
            replied: self.replied,
            arrived: self.arrived.as_ref().map(Packet::to_string),
            answered: self.answered.as_ref().map(Packet::to_string),
            ended: losses.into_iter().flatten().map(end).collect(),
            way,
        }
    }

    /// Did it get there, and the answer back?
    pub fn ends(&self) -> (Verdict, bool) {
        (self.verdict, self.replied)
    }
}

/// Does the packet arrive, and the answer? The same as [`trace`] says, without its words.
pub fn ends(world: &World, plan: &Plan) -> (Verdict, bool) {
    let mut sim = Sim::new(world);
    sim.quiet = true;
    let root = start(&mut sim, plan);
    send(&mut sim, plan, root);
    sim.run();
    let ends = std::mem::take(&mut sim.ends);
    let asked = sim.asked.len();
    let taken = ends.iter().find(|end| is_goal(world, plan, end)).cloned();
    let requests = std::mem::take(&mut sim.requests);
    let verdict = match &taken {
        Some(_) => Verdict::Delivered,
        None if loss(
            &sim,
            &ends,
            &sim.asked[..asked],
            &target_of(&plan.goal),
            root,
        )
        .unknown =>
        {
            Verdict::Unknown
        }
        None => Verdict::Dropped,
    };
    let answer = answer(&mut sim, plan, &requests, taken.as_ref());
    (verdict, answer.replied)
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
        answered: answer.packet,
        entered: sim.entered,
        met: sim.met,
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
        Sender::Netns { host, ns } => stack::originate(sim, (host, ns, ""), packet, root),
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

#[derive(Default)]
struct Answer {
    replied: bool,
    packet: Option<Packet>,
    way: Vec<Step>,
    lost: Option<Loss>,
}

/// Send the answer of whoever took the packet, and see whether the sender gets it.
fn answer(sim: &mut Sim<'_>, plan: &Plan, requests: &[Request], taken: Option<&End>) -> Answer {
    if plan.packet.arp().is_some() {
        return arp_answer(sim, plan);
    }
    let by_goal = taken.and_then(|end| requests.iter().find(|r| r.step == end.step));
    let Some(request) = by_goal.or_else(|| requests.first().filter(|_| taken.is_none())) else {
        return Answer::default();
    };
    let asked = sim.asked.len();
    let first = respond(sim, request);
    sim.run();
    let ends = std::mem::take(&mut sim.ends);
    let got = ends.iter().find(|end| is_answer(sim.world, plan, end));
    if let Some(end) = got {
        return Answer {
            replied: true,
            packet: Some(end.packet.clone()),
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
        way: lost.way.clone(),
        lost: Some(lost),
        ..Answer::default()
    }
}

/// An ARP request that was sent as such: its answer is already under way with it.
fn arp_answer(sim: &Sim<'_>, plan: &Plan) -> Answer {
    let Net::Arp(arp) = &plan.packet.net else {
        return Answer::default();
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
        ..Answer::default()
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

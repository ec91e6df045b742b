//! Of all the ends of a flood, which one matters.
use super::{Loss, steps};
use crate::question::Goal;
use crate::report::Step;
use crate::sim::{Asked, End, Fate, Sim, StepId};

/// The names by which a step shows that it is near whom the packet is for.
#[derive(Clone, Debug, Default)]
pub(super) struct Target {
    /// The start of a port's id, as device names have it.
    pub(super) port: Option<String>,
    pub(super) host: Option<String>,
    pub(super) place: Option<String>,
}

pub(super) fn target_of(goal: &Goal) -> Target {
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
        Goal::Announcer { port } => Target {
            port: port.as_deref().map(short),
            ..Target::default()
        },
        Goal::Owner(_) | Goal::Metadata => Target::default(),
    }
}

pub(super) fn short(id: &str) -> String {
    id.chars().take(11).collect()
}

/// Of all the ends of a flood, the one that matters: nearest to the addressee, then on the
/// longest way; copies for others never do while there is another.
pub(super) fn loss(
    sim: &Sim<'_>,
    ends: &[End],
    asked: &[Asked],
    target: &Target,
    root: StepId,
) -> Loss {
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

pub(super) type Weight = (u8, u8, usize);

pub(super) fn weight(sim: &Sim<'_>, end: &End, target: &Target) -> Weight {
    let node = &sim.nodes[end.step].step;
    let near_port = target
        .port
        .as_ref()
        .is_some_and(|p| node.device.contains(p.as_str()));
    let near_place = target.place.as_ref().is_some_and(|p| *p == node.place);
    let near_host = target.host.as_ref().is_some_and(|h| *h == node.host);
    let fate = match end.fate {
        // A namespace or a filter discards on purpose; a table's default what nobody wanted.
        Fate::Dropped if !on_switch(sim, node) => 3,
        Fate::Dropped => 2,
        Fate::Unknown => 1,
        Fate::Taken(_) | Fate::Ignored => 0,
    };
    let elsewhere = is_noise(sim, end, target);
    let near = u8::from(near_port || near_place) * 2 + u8::from(near_host);
    let fate = if elsewhere { 0 } else { fate };
    (near * u8::from(fate > 0), fate, sim.way(end.step).len())
}

fn on_switch(sim: &Sim<'_>, step: &Step) -> bool {
    sim.world.bridge(&step.host, &step.place).is_some()
}

/// A copy that flooding sent to somebody else, and what discarded it there.
fn is_noise(sim: &Sim<'_>, end: &End, target: &Target) -> bool {
    let last = &sim.nodes[end.step].step;
    // A DHCP server's device is called as guests' are.
    if target.place.as_ref() == Some(&last.place) {
        return false;
    }
    if let Some(guest) = guest_of(last) {
        let way = sim.way(end.step);
        let mut places = way.iter().map(|id| &sim.nodes[*id].step);
        let sender = places.find_map(guest_of);
        return target.port.as_deref() != Some(guest) && sender != Some(guest);
    }
    let mut cards = sim.world.segments.values().flatten();
    let provider = cards.any(|c| c.host == last.host && c.bridge == last.place);
    provider || last.device.starts_with("int-") && last.host != "outside"
}

/// The start of the id of the guest's port that a device belongs to.
fn guest_of(step: &Step) -> Option<&str> {
    let prefixes = ["tap", "qvb", "qvo", "qbr"];
    prefixes.iter().find_map(|p| step.device.strip_prefix(p))
}

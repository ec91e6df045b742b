//! Who reaches whom: a walk for every pair of guests, or, where there are many, for every pair of
//! classes of guests that no rule tells apart.
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::thread::{self, available_parallelism};

use serde::{Deserialize, Serialize};

use crate::cloud::Port;
use crate::question::{Question, plan};
use crate::report::Verdict;
use crate::run::ends;
use crate::world::World;

/// What to ask.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Names, ids or networks of senders; all guests when empty.
    pub from: Vec<String>,
    pub to: Vec<String>,
    pub proto: Option<String>,
    pub port: Option<u16>,
    /// Ask every pair, however many there are.
    pub every_pair: bool,
}

/// One row: does `from` reach `to`, and the answer come back?
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Row {
    pub from: String,
    pub to: String,
    /// `yes`, `no`, `one-way` (delivered, but the answer is lost), `unknown`.
    pub reaches: Reaches,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reaches {
    Yes,
    No,
    OneWay,
    Unknown,
}

impl Reaches {
    pub fn word(self) -> &'static str {
        match self {
            Reaches::Yes => "yes",
            Reaches::No => "no",
            Reaches::OneWay => "one-way",
            Reaches::Unknown => "unknown",
        }
    }
}

/// A row that is different in two answers to the same question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub from: String,
    pub to: String,
    pub before: Option<Reaches>,
    pub after: Option<Reaches>,
}

/// Up to this many guests every pair is asked by itself.
const FEW: usize = 40;

/// What makes two guests alike to every rule: network, groups, pairs, filtering.
type Class = (String, BTreeSet<String>, bool, String);
/// The numbers of a sender's class and of a target's.
type Classes = (usize, usize);

/// The table of who reaches whom.
pub fn reach(world: &World, wish: &Wish) -> Vec<Row> {
    let senders = chosen(world, &wish.from);
    let targets = chosen(world, &wish.to);
    let apart = wish.every_pair || senders.len().max(targets.len()) <= FEW;
    let mut numbers: BTreeMap<Class, usize> = BTreeMap::new();
    let mut numbered = |ports: &[&Port]| -> Vec<usize> {
        let mut number = |port: &Port| {
            let next = numbers.len();
            *numbers.entry(class_of(port, apart)).or_insert(next)
        };
        ports.iter().map(|port| number(port)).collect()
    };
    let (down, across) = (numbered(&senders), numbered(&targets));
    let names = |ports: &[&Port]| -> Vec<String> {
        ports.iter().map(|port| world.cloud.call(port)).collect()
    };
    let (from_names, to_names) = (names(&senders), names(&targets));
    // The first pair of two classes speaks for all.
    let mut speakers = BTreeMap::new();
    let mut pairs = Vec::new();
    for (n, from) in senders.iter().enumerate() {
        for (m, to) in targets.iter().enumerate() {
            if to.id != from.id {
                let classes = (down[n], across[m]);
                speakers.entry(classes).or_insert((*from, *to));
                pairs.push((n, m, classes));
            }
        }
    }
    let known = ask_all(world, wish, speakers);
    let row = |(n, m, classes): (usize, usize, Classes)| Row {
        from: from_names[n].clone(),
        to: to_names[m].clone(),
        reaches: known[&classes],
    };
    pairs.into_iter().map(row).collect()
}

/// Every question is one of its own: they are shared out among the processor's cores.
fn ask_all(
    world: &World,
    wish: &Wish,
    speakers: BTreeMap<Classes, (&Port, &Port)>,
) -> BTreeMap<Classes, Reaches> {
    let speakers: Vec<_> = speakers.into_iter().collect();
    let cores = available_parallelism().map_or(1, NonZero::get);
    let shares = speakers.chunks(speakers.len().div_ceil(cores).max(1));
    thread::scope(|scope| {
        let answers: Vec<_> = shares
            .map(|share| {
                let answer = |(classes, (from, to)): &(Classes, (&Port, &Port))| {
                    (*classes, ask(world, wish, from, to))
                };
                scope.spawn(move || share.iter().map(answer).collect::<Vec<_>>())
            })
            .collect();
        let joined = answers.into_iter().map(|answer| match answer.join() {
            Ok(answers) => answers,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.flatten().collect()
    })
}

fn class_of(port: &Port, apart: bool) -> Class {
    let groups = port.security_groups.iter().cloned().collect();
    let filtered = port.port_security_enabled.unwrap_or(true);
    let own = if apart {
        port.id.clone()
    } else {
        String::new()
    };
    (port.network_id.clone(), groups, filtered, own)
}

fn chosen<'w>(world: &'w World, names: &[String]) -> Vec<&'w Port> {
    let cloud = &world.cloud;
    let wanted = |port: &Port| {
        names.is_empty()
            || names.iter().any(|name| {
                let network = cloud.networks.get(&port.network_id);
                *name == port.name
                    || port.id.starts_with(name.as_str())
                    || network.is_some_and(|n| n.name == *name || n.id == *name)
            })
    };
    cloud
        .ports
        .values()
        .filter(|p| p.is_guest() && wanted(p))
        .collect()
}

fn ask(world: &World, wish: &Wish, from: &Port, to: &Port) -> Reaches {
    let question = Question {
        from: from.id.clone(),
        to: to.id.clone(),
        proto: wish.proto.clone(),
        port: wish.port,
        ..Question::default()
    };
    let Ok(plan) = plan(world, &question) else {
        return Reaches::Unknown;
    };
    match ends(world, &plan) {
        (Verdict::Delivered, true) => Reaches::Yes,
        (Verdict::Delivered, false) => Reaches::OneWay,
        (Verdict::Dropped, _) => Reaches::No,
        (Verdict::Unknown, _) => Reaches::Unknown,
    }
}

/// What changed between two tables: what did a change open, what did it close?
pub fn compare(before: &[Row], after: &[Row]) -> Vec<Changed> {
    let table = |rows: &[Row]| -> BTreeMap<(String, String), Reaches> {
        rows.iter()
            .map(|r| ((r.from.clone(), r.to.clone()), r.reaches))
            .collect()
    };
    let (before, after) = (table(before), table(after));
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).cloned().collect();
    keys.into_iter()
        .map(|key| Changed {
            before: before.get(&key).copied(),
            after: after.get(&key).copied(),
            from: key.0,
            to: key.1,
        })
        .filter(|changed| changed.before != changed.after)
        .collect()
}

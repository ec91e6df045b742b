//! Which flow of a table acts: the matching one of highest priority, and conjunctions: flows that
//! match a part each, and act when every part of one has matched.
use std::collections::{BTreeMap, BTreeSet};

use host::ovs::bridge::Flows;
use host::ovs::flow::{Flow, FlowKey};
use host::ovs::matches::{Match, PortRef};
use host::ovs::{Action, Field};

use super::{Found, Pipe};

/// The flow of a table that acts on the frame.
pub(super) fn find<'a>(pipe: &Pipe<'a>, learned: Option<&'a Flows>, table: u8) -> Found<'a> {
    search(pipe, learned, table, 0)
}

/// The flows of a table, highest priority first, learned ones among them.
fn candidates<'a>(
    flows: &'a Flows,
    learned: Option<&'a Flows>,
    table: u8,
) -> Vec<(&'a FlowKey, &'a Flow)> {
    let of = |flows: &'a Flows| {
        let first = FlowKey {
            table,
            ..FlowKey::default()
        };
        flows
            .range(first..)
            .take_while(move |(key, _)| key.table == table)
    };
    let mut all: Vec<_> = of(flows).chain(learned.into_iter().flat_map(of)).collect();
    all.sort_by_key(|(key, _)| std::cmp::Reverse(key.priority));
    all
}

fn search<'a>(pipe: &Pipe<'a>, learned: Option<&'a Flows>, table: u8, conj_id: u32) -> Found<'a> {
    let all = candidates(&pipe.bridge.flows, learned, table);
    let mut soft: Vec<(u16, &Flow)> = Vec::new();
    for group in all.chunk_by(|a, b| a.0.priority == b.0.priority) {
        for (key, flow) in group {
            match matches(pipe, &key.matches, conj_id) {
                Fit::No => {}
                Fit::Unknown(what) => return Found::Unknown(what),
                Fit::Yes if is_conjunctive(flow) => {
                    if conj_id == 0 {
                        soft.push((key.priority, flow));
                    }
                }
                Fit::Yes => return Found::Flow(key, flow),
            }
        }
        let Some((key, _)) = group.first() else {
            continue;
        };
        if let Some(found) = complete(pipe, learned, &soft, table, key.priority) {
            return found;
        }
    }
    Found::Miss
}

fn is_conjunctive(flow: &Flow) -> bool {
    let part = |a: &Action| matches!(a, Action::Conjunction { .. });
    flow.actions.iter().any(part)
}

/// A conjunction of this priority all of whose parts have matched leads to the flow that matches
/// its number.
fn complete<'a>(
    pipe: &Pipe<'a>,
    learned: Option<&'a Flows>,
    soft: &[(u16, &Flow)],
    table: u8,
    priority: u16,
) -> Option<Found<'a>> {
    let mut parts: BTreeMap<(u32, u8), BTreeSet<u8>> = BTreeMap::new();
    for (_, flow) in soft.iter().filter(|(p, _)| *p == priority) {
        for action in &flow.actions {
            if let Action::Conjunction { id, clause, of } = action {
                parts.entry((*id, *of)).or_default().insert(*clause);
            }
        }
    }
    let whole = parts
        .into_iter()
        .filter(|((_, of), seen)| seen.len() == usize::from(*of));
    for ((id, _), _) in whole {
        match search(pipe, learned, table, id) {
            Found::Flow(key, flow) if key.matches.fields.contains_key(&Field::ConjId) => {
                return Some(Found::Flow(key, flow));
            }
            Found::Unknown(what) => return Some(Found::Unknown(what)),
            _ => {}
        }
    }
    None
}

enum Fit {
    Yes,
    No,
    Unknown(String),
}

fn matches(pipe: &Pipe<'_>, wanted: &Match, conj_id: u32) -> Fit {
    if let Some(port) = &wanted.in_port
        && !is_port(pipe, port)
    {
        return Fit::No;
    }
    for (field, bits) in &wanted.fields {
        let content = match field {
            Field::ConjId => Some(u128::from(conj_id)),
            field => pipe.get(*field),
        };
        if !content.is_some_and(|content| bits.accepts(content)) {
            return Fit::No;
        }
    }
    match wanted.unknown.first() {
        None => Fit::Yes,
        Some(what) => Fit::Unknown(format!("match {what}")),
    }
}

/// Is the port that the frame came in by the one named?
fn is_port(pipe: &Pipe<'_>, port: &PortRef) -> bool {
    match port {
        PortRef::Name(name) => *name == pipe.in_port,
        PortRef::Number(number) => pipe.bridge.ofport(&pipe.in_port) == Some(*number),
        PortRef::Local => pipe.in_port == pipe.name,
        _ => false,
    }
}

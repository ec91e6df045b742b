//! Which flow of a table acts: the matching one of highest priority, and conjunctions: flows that
//! match a part each, and act when every part of one has matched.
use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;
use std::ops::Bound;

use host::ovs::bridge::Flows;
use host::ovs::flow::{Flow, FlowKey};
use host::ovs::matches::{Match, PortRef};
use host::ovs::{Action, Field};

use super::{Found, Pipe};

/// The flow of a table that acts on the frame.
pub(super) fn find<'a>(pipe: &Pipe<'a>, learned: &'a Flows, table: u8) -> Found<'a> {
    search(pipe, learned, table, 0)
}

/// The flows of a table, highest priority first.
fn descending(flows: &Flows, table: u8) -> impl Iterator<Item = (&FlowKey, &Flow)> {
    let first = |table: u8| FlowKey {
        table,
        ..FlowKey::default()
    };
    let end = match table.checked_add(1) {
        Some(next) => Bound::Excluded(first(next)),
        None => Bound::Unbounded,
    };
    flows.range((Bound::Included(first(table)), end)).rev()
}

/// The next of two lists that each go down by priority.
fn next<'a, I>(one: &mut Peekable<I>, other: &mut Peekable<I>) -> Option<(&'a FlowKey, &'a Flow)>
where
    I: Iterator<Item = (&'a FlowKey, &'a Flow)>,
{
    match (one.peek(), other.peek()) {
        (Some((a, _)), Some((b, _))) if b.priority > a.priority => other.next(),
        (None, _) => other.next(),
        _ => one.next(),
    }
}

fn search<'a>(pipe: &Pipe<'a>, learned: &'a Flows, table: u8, conj_id: u32) -> Found<'a> {
    let mut flows = descending(&pipe.bridge.flows, table).peekable();
    let mut fresh = descending(learned, table).peekable();
    // Parts of conjunctions that match, all of one priority.
    let mut soft: Vec<&Flow> = Vec::new();
    let mut priority = 0;
    while let Some((key, flow)) = next(&mut flows, &mut fresh) {
        if key.priority != priority {
            if let Some(found) = complete(pipe, learned, &soft, table) {
                return found;
            }
            soft.clear();
            priority = key.priority;
        }
        match matches(pipe, &key.matches, conj_id) {
            Fit::No => {}
            Fit::Unknown(what) => return Found::Unknown(what),
            Fit::Yes if is_conjunctive(flow) => {
                if conj_id == 0 {
                    soft.push(flow);
                }
            }
            Fit::Yes => return Found::Flow(key, flow),
        }
    }
    complete(pipe, learned, &soft, table).unwrap_or(Found::Miss)
}

fn is_conjunctive(flow: &Flow) -> bool {
    let part = |a: &Action| matches!(a, Action::Conjunction { .. });
    flow.actions.iter().any(part)
}

/// A conjunction all of whose parts have matched leads to the flow that matches
/// its number.
fn complete<'a>(
    pipe: &Pipe<'a>,
    learned: &'a Flows,
    soft: &[&Flow],
    table: u8,
) -> Option<Found<'a>> {
    let mut parts: BTreeMap<(u32, u8), BTreeSet<u8>> = BTreeMap::new();
    for flow in soft {
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

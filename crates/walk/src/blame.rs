//! Which difference is to blame: the one that, put right in a copy of the world, changes what
//! happens to the packet. Where no single one does, the smallest set of them together.
use std::cell::OnceCell;

use crate::difference::{Difference, Kind, connections};
use crate::question::Plan;
use crate::report::Verdict;
use crate::run::{Outcome, Trace, trace};
use crate::world::World;

/// The difference that makes this packet fare as it does, if one does.
pub fn blame(world: &World, plan: &Plan, seen: &Trace) -> Option<Difference> {
    let healthy = seen.ends() == (Verdict::Delivered, true);
    let all = world.differences();
    let stale = connections::along(&seen.met);
    let counted = all
        .iter()
        .chain(&stale)
        .filter(|d| !healthy || d.kind != Kind::Extra || d.filters);
    let differences: Vec<&Difference> = counted.collect();
    if differences.is_empty() {
        return None;
    }
    let before = seen.outcome();
    let right = OnceCell::new();
    let right =
        || right.get_or_init(|| without(world, plan, differences.iter().copied()).outcome());
    if healthy && *right() == before {
        return None;
    }
    let outcomes: Vec<Outcome> = differences
        .iter()
        .map(|d| without(world, plan, [*d]).outcome())
        .collect();
    // What nobody asked for is to blame only where it does harm, lets pass what would be stopped,
    // or writes another address into it: hosts may well hold more than was asked of them.
    let harms = |d: &Difference, o: &Outcome| {
        let opens = d.filters && (o.ends() < before.ends() || o.is_written_over(&before));
        d.kind != Kind::Extra || opens || o.ends() > before.ends() || o.is_lost_elsewhere(&before)
    };
    let counts = |d: &Difference, o: &Outcome| *o != before && harms(d, o);
    let tried = differences.iter().zip(&outcomes);
    let counted: Vec<_> = tried.filter(|(d, o)| counts(d, o)).collect();
    let best = match counted.as_slice() {
        [only] => Some(only),
        several => several
            .iter()
            .max_by_key(|(d, outcome)| score(seen, d, (outcome, right()))),
    };
    if let Some((difference, _)) = best {
        return Some((**difference).clone());
    }
    match healthy {
        true => None,
        false => together(world, plan, seen, &differences),
    }
}

/// What happens where these differences are not.
fn without<'a>(
    world: &World,
    plan: &Plan,
    undone: impl IntoIterator<Item = &'a Difference>,
) -> Trace {
    let mut world = world.clone();
    for difference in undone {
        difference.undo(&mut world);
    }
    world.index();
    trace(&world, plan)
}

/// How good an explanation is: one that gets the packet through beats one that only changes its
/// way, what alone has the packet fare as where all is right beats what does not, what is gone or
/// changed beats what is too much, and where the packet was beats elsewhere.
fn score(
    seen: &Trace,
    difference: &Difference,
    (outcome, right): (&Outcome, &Outcome),
) -> (u8, bool, bool, u8, bool) {
    let better = match (outcome.verdict, outcome.replied) {
        (Verdict::Delivered, true) => 3,
        (Verdict::Delivered, false) => 2,
        (_, true) => 1,
        (_, false) => 0,
    };
    let lost = seen.lost.as_ref().or(seen.reply_lost.as_ref());
    let near = lost.is_some_and(|l| l.step.host == difference.host);
    let kind = match difference.kind {
        Kind::Changed => 2,
        Kind::Missing => 1,
        Kind::Extra => 0,
    };
    // What only moves the place of the loss explains less than what changes anything else.
    let elsewhere = outcome.is_lost_elsewhere(&seen.outcome());
    (better, outcome == right, !elsewhere, kind, near)
}

/// Several things are wrong at once: leave out of all of them what does not matter, and name the
/// first of what remains.
fn together(
    world: &World,
    plan: &Plan,
    seen: &Trace,
    differences: &[&Difference],
) -> Option<Difference> {
    let goal = without(world, plan, differences.iter().copied()).ends();
    if goal == seen.ends() {
        return None;
    }
    let fine = |undone: &[&Difference]| without(world, plan, undone.iter().copied()).ends() == goal;
    let needed = smallest(&fine, &[], differences);
    let lost = seen.lost.as_ref().or(seen.reply_lost.as_ref());
    let near = |d: &&&Difference| lost.is_some_and(|l| l.step.host == d.host);
    needed
        .iter()
        .find(near)
        .or(needed.first())
        .copied()
        .cloned()
}

/// Of the candidates those that are needed beside what is undone already, found by halves.
fn smallest<'a>(
    fine: &impl Fn(&[&'a Difference]) -> bool,
    undone: &[&'a Difference],
    candidates: &[&'a Difference],
) -> Vec<&'a Difference> {
    if candidates.is_empty() || fine(undone) {
        return Vec::new();
    }
    if candidates.len() == 1 {
        return candidates.to_vec();
    }
    let (left, right) = candidates.split_at(candidates.len() / 2);
    let late = smallest(fine, &[undone, left].concat(), right);
    let mut needed = smallest(fine, &[undone, &late].concat(), left);
    needed.extend(late);
    needed
}

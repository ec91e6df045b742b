//! From what happened to what to say: the verdict's place, what is to blame, what would help.
use crate::blame::blame;
use crate::difference::{Difference, Kind};
use crate::fix::fix;
use crate::question::{Plan, Question, QuestionError, plan};
use crate::report::{At, Step, Verdict, Walk};
use crate::run::{Loss, Trace, trace};
use crate::world::World;

/// Follow a packet and its answer through a world, and say why.
pub fn walk(world: &World, question: &Question) -> Result<Walk, QuestionError> {
    let plan = plan(world, question)?;
    let trace = trace(world, &plan);
    let loss = trace.lost.as_ref().or(trace.reply_lost.as_ref());
    let culprit = blame(world, &plan, &trace);
    let mut command = None;
    let at = match (&culprit, loss) {
        (Some(culprit), loss) => Some(blamed(culprit, loss, &trace)),
        (None, Some(loss)) => {
            let (at, fix) = by_design(world, &plan, loss, trace.lost.is_none());
            command = fix;
            Some(at)
        }
        (None, None) => None,
    };
    Ok(Walk {
        verdict: trace.verdict,
        replied: trace.replied,
        summary: summary(&plan, &trace, at.as_ref()),
        at,
        fix: command,
        arp: trace.arp,
        forward: trace.forward,
        reverse: trace.reverse,
        notes: trace.notes,
    })
}

/// A host is at fault.
fn blamed(culprit: &Difference, loss: Option<&Loss>, trace: &Trace) -> At {
    let missing = culprit.kind == Kind::Missing;
    let rule = culprit.culprit();
    let acting = loss.and_then(acting);
    let what = match culprit.kind {
        Kind::Missing => "should be there and is not",
        Kind::Changed => "is not as it should be",
        Kind::Extra => "should not be there",
    };
    let then = match loss {
        Some(loss) if loss.arp.is_some() => format!(
            "; nobody answers for {}, and so the packet does not leave",
            loss.arp.as_deref().unwrap_or("")
        ),
        Some(loss) => format!(
            "; then {} in {}: {}",
            loss.step.host, loss.step.place, loss.step.what
        ),
        None if trace.replied => "; the packet arrives all the same, on another way".to_owned(),
        None => String::new(),
    };
    At {
        host: culprit.host.clone(),
        place: culprit.place.clone(),
        device: culprit.device.clone(),
        missing,
        dropped_by: acting.filter(|by| *by != rule),
        rule,
        wanted: culprit.wanted.clone(),
        would_pass: None,
        why: format!("{} on {}{then}", what, culprit.host),
        intent: culprit.intent.clone(),
        fault: true,
    }
}

/// The rule that acted where the packet was lost.
fn acting(loss: &Loss) -> Option<String> {
    loss.step.rule.clone()
}

/// No host is at fault: the policy, or the network as it was designed.
fn by_design(world: &World, plan: &Plan, loss: &Loss, reply: bool) -> (At, Option<String>) {
    let fix = fix(world, plan, loss, reply);
    let step = fix.asker.as_ref().unwrap_or(&loss.step);
    let (rule, dropped_by) = match (&fix.rule, deciding(loss)) {
        _ if fix.asker.is_some() => (String::new(), None),
        (Some(rule), _) if step.host == "outside" => (rule.clone(), None),
        (_, Some(by)) => (by, step.rule.clone()),
        (_, None) => (
            step.rule.clone().unwrap_or_else(|| without_rule(loss)),
            None,
        ),
    };
    let at = At {
        host: step.host.clone(),
        place: step.place.clone(),
        device: step.device.clone(),
        rule,
        dropped_by,
        would_pass: fix.rule.filter(|_| step.host != "outside"),
        why: fix.why.unwrap_or_else(|| step.what.clone()),
        intent: step.intent.clone(),
        ..At::default()
    };
    (at, fix.command)
}

/// A loss without a rule: a table in which nothing matches is named itself, else the last rule
/// before it.
fn without_rule(loss: &Loss) -> String {
    let what = &loss.step.what;
    if what.starts_with("no flow of table") || what.starts_with("no route to") {
        return what.clone();
    }
    let mut back = loss.way.iter().rev();
    back.find_map(|s| s.rule.clone()).unwrap_or_default()
}

/// A table that only discards is where others send what they have decided on: then the flow that
/// sent it there decided, unless it too only says that no connection was known.
fn deciding(loss: &Loss) -> Option<String> {
    let is_sink = |s: &Step| {
        let rule = s.rule.as_deref().unwrap_or("");
        rule.contains("priority=0 actions=drop") && rule.contains("table=")
    };
    let mut back = loss.way.iter().rev();
    let sink = back.next().filter(|s| is_sink(s))?;
    let before = back.find(|s| s.host == sink.host && s.place == sink.place && s.rule.is_some())?;
    let rule = before.rule.as_deref()?;
    let sends = rule.contains("resubmit(,93)") && !rule.contains("ct_state");
    sends.then(|| rule.to_owned())
}

fn summary(plan: &Plan, trace: &Trace, at: Option<&At>) -> String {
    let (from, to) = (&plan.from_name, &plan.to_name);
    let packet = &plan.packet;
    let place = at
        .map(|at| format!("{} in {}", at.host, at.place))
        .unwrap_or_default();
    let fault = at.is_some_and(|at| at.fault);
    match (trace.verdict, trace.replied) {
        (Verdict::Delivered, true) if fault => format!(
            "delivered and answered, but not as it should be: {from} to {to}, {packet} ({place})"
        ),
        (Verdict::Delivered, true) => format!("delivered and answered: {from} to {to}, {packet}"),
        (Verdict::Delivered, false) if plan.packet.arp().is_none() => {
            format!("delivered, but the answer is lost: {from} to {to}, {packet} ({place})")
        }
        (Verdict::Delivered, false) => format!("delivered: {from} to {to}, {packet}"),
        (Verdict::Dropped, true) => {
            format!("not delivered to {to}, but answered by another: {from}, {packet} ({place})")
        }
        (Verdict::Dropped, false) => format!("dropped: {from} to {to}, {packet} ({place})"),
        (Verdict::Unknown, _) => format!("unknown: {from} to {to}, {packet} ({place})"),
    }
}

//! Break one thing of a healthy snapshot: a flow, a rule, a route, a member of a set, a tag, a
//! device, a setting, a program. Where packets then fare otherwise than before, the walk names
//! the thing that was broken; where they fare as before, nothing is blamed that was not before.
//!
//! A run takes a sample; `NUCLEON_BREAK=FIRST,STEP` takes another, `0,1` breaks everything, one
//! thing by one, and asks all questions.
#[path = "../common/mod.rs"]
mod common;
mod damage;
#[path = "../injected/hand.rs"]
#[allow(
    dead_code,
    reason = "what one thing broken does to several files is a part of it"
)]
mod hand;

use std::fmt::Write as _;

use common::{check_question, read_folder, reference};
use damage::{Damage, Files};
use serde_json::Value;
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot::Parts;
use walk::world::World;

/// The pairs that were tried with real packets.
fn questions(world: &World, files: &Files) -> Vec<Question> {
    let checks: Value = serde_json::from_str(&files["checks.json"]).unwrap();
    let checks = checks.as_object().unwrap();
    checks
        .keys()
        .map(|name| check_question(world, name))
        .collect()
}

fn ends(walk: &Walk) -> (Verdict, bool) {
    (walk.verdict, walk.replied)
}

fn squeeze(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace(": ", ":")
}

/// Does the walk name the broken thing? A device by its name, everything else in its own words.
fn is_named(walk: &Walk, damage: &Damage) -> bool {
    let Some(at) = &walk.at else {
        return false;
    };
    let said = squeeze(&at.rule);
    damage
        .named
        .iter()
        .any(|name| match name.strip_prefix("device ") {
            Some(dev) => at.device == dev && at.host == damage.host,
            None if name.ends_with(' ') || name.contains("process") => {
                said.starts_with(&squeeze(name))
            }
            None => said == squeeze(name),
        })
}

/// What happened in a run.
#[derive(Default)]
struct Report {
    damages: usize,
    walks: usize,
    mattered: usize,
    wrong: usize,
    text: String,
}

/// Break things, and ask of each broken world some of the questions: all in turn.
fn break_one_by_one(case: &str, (first, step): (usize, usize), asked: usize) -> Report {
    let mut files = read_folder(&reference("dataplane").join(case));
    common::forget(&mut files);
    let parts = Parts::read(&files);
    let healthy = parts.clone().assemble().world;
    let questions = questions(&healthy, &files);
    let ask = |world: &World, n: usize| walk::walk(world, &questions[n]).unwrap();
    let before: Vec<Walk> = (0..questions.len()).map(|n| ask(&healthy, n)).collect();
    let damages = damage::all(&files);
    assert!(damages.len() > 500, "{case} has things to break");
    let mut report = Report::default();
    for damage in damages.iter().skip(first).step_by(step) {
        let mut own = files.clone();
        own.extend(damage.files.iter().cloned());
        let mut broken = parts.clone();
        broken.read_host(&damage.host, &own);
        let world = broken.assemble().world;
        report.damages += 1;
        for n in
            (0..asked.min(questions.len())).map(|n| (report.damages * 7 + n * 5) % questions.len())
        {
            let (question, before, after) = (&questions[n], &before[n], ask(&world, n));
            report.walks += 1;
            let same = ends(before) == ends(&after);
            report.mattered += usize::from(!same);
            if is_named(&after, damage) || same && after.at == before.at {
                continue;
            }
            report.wrong += 1;
            let _ = writeln!(
                report.text,
                "{case} {}\n   {} > {} {:?}: {:?} {} > {:?} {}\n   names {}",
                damage.what,
                question.from,
                question.to,
                question.port,
                before.verdict,
                before.replied,
                after.verdict,
                after.replied,
                after.at.as_ref().map_or("nothing", |at| at.rule.as_str()),
            );
        }
    }
    report
}

/// Every `step`th damage, or those that the environment asks for.
fn check(case: &str, step: usize) {
    let asked = std::env::var("NUCLEON_BREAK").ok();
    let sample = asked.map_or((2, step), |text| {
        let (first, step) = text.split_once(',').expect("FIRST,STEP");
        (first.parse().unwrap(), step.parse().unwrap())
    });
    let questions = if sample.1 == 1 { usize::MAX } else { 8 };
    let report = break_one_by_one(case, sample, questions);
    println!(
        "{case}: {} things broken, {} walks, {} of them fared otherwise",
        report.damages, report.walks, report.mattered
    );
    assert!(report.mattered > 0, "nothing that was broken mattered");
    assert_eq!(report.wrong, 0, "{} walks\n{}", report.wrong, report.text);
}

#[test]
fn what_is_broken_on_legacy_hosts_is_named() {
    check("vxlan-legacy-hybrid", 47);
}

#[test]
fn what_is_broken_on_hosts_with_gre_is_named() {
    check("gre-legacy-hybrid", 79);
}

#[test]
fn what_is_broken_on_distributed_hosts_is_named() {
    check("vxlan-dvr-hybrid", 61);
}

#[test]
fn what_is_broken_on_hosts_with_the_native_firewall_is_named() {
    check("vxlan-legacy-ovsfw", 53);
}

//! Break one thing of a healthy snapshot: a flow, a rule, a route, a member of a set is taken out.
//! Where a packet then fares otherwise than before, the walk names the thing that was taken out;
//! where it fares as before, nothing is blamed that was not before.
mod common;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use common::{read_folder, reference};
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot;

type Files = BTreeMap<String, String>;

/// Lines that say one thing each, in the files that say what forwards packets.
fn can_be_taken_out(file: &str, line: &str) -> bool {
    let name = file.rsplit('/').next().unwrap();
    match name {
        "iptables-save.txt" => line.starts_with("-A ") && !file.contains("qdhcp"),
        "ipset-save.txt" => line.starts_with("add "),
        // What the kernel adds for the host itself is its own business.
        "ip-route-all.txt" => {
            let ours =
                file.contains("ns-qrouter") || file.contains("ns-snat") || file.contains("ns-fip");
            ours && !line.contains("table local")
        }
        "ip-rule.txt" => file.contains("ns-qrouter") && line.contains("lookup 1"),
        "ip-neigh.txt" => line.contains("PERMANENT"),
        "host" => true,
        name => name.starts_with("flows-"),
    }
}

fn questions() -> Vec<Question> {
    let ask = |from: &str, to: &str, proto: &str, port: Option<u16>| Question {
        from: from.to_owned(),
        to: to.to_owned(),
        proto: Some(proto.to_owned()),
        port,
        ..Question::default()
    };
    vec![
        ask("red1", "red3", "icmp", None),
        ask("red2", "green2", "tcp", Some(22)),
        ask("green2", "red1", "tcp", Some(8000)),
        ask("red2", "outside", "icmp", None),
        ask("red1", "outside", "tcp", Some(80)),
        ask("red3", "metadata", "tcp", Some(80)),
        ask("red2", "dhcp:red", "dhcp", None),
    ]
}

fn ends(walk: &Walk) -> (Verdict, bool) {
    (walk.verdict, walk.replied)
}

fn squeeze(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .replace(": ", ":")
}

fn without(files: &Files, file: &str, at: usize) -> Files {
    let mut files = files.clone();
    let text = files.get_mut(file).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(n, _)| *n != at)
        .map(|(_, l)| *l);
    *text = kept.map(|l| format!("{l}\n")).collect();
    files
}

/// Take out every `step`th line and compare; what is wrong is listed.
fn break_one_by_one(case: &str, first: usize, step: usize) -> (usize, String) {
    let files = read_folder(&reference("faults").join(case));
    let healthy = snapshot::load(&files).world;
    let before: Vec<Walk> = questions()
        .iter()
        .map(|q| walk::walk(&healthy, q).unwrap())
        .collect();
    let (mut mattered, mut wrong) = (0, String::new());
    let places: Vec<(String, usize, String)> = files
        .iter()
        .filter(|(file, _)| !file.starts_with("api/"))
        .flat_map(|(file, text)| {
            text.lines()
                .enumerate()
                .map(move |(n, l)| (file.clone(), n, l.to_owned()))
        })
        .filter(|(file, _, line)| can_be_taken_out(file, line))
        .collect();
    assert!(places.len() > 200, "{case} has things to break");
    for (file, n, line) in places.into_iter().skip(first).step_by(step) {
        let world = snapshot::load(&without(&files, &file, n)).world;
        for (question, before) in questions().iter().zip(&before) {
            let after = walk::walk(&world, question).unwrap();
            let named = after.at.as_ref().map_or("", |at| at.rule.as_str());
            let is_named = squeeze(named) == format!("MISSING {}", squeeze(&line));
            let same = ends(before) == ends(&after);
            mattered += usize::from(!same);
            let fine = is_named || same && after.at == before.at;
            if !fine {
                let _ = writeln!(
                    wrong,
                    "{case} {} > {}: {:?}\n   without {file}: {line}\n   names   {named}",
                    question.from,
                    question.to,
                    ends(&after)
                );
            }
        }
    }
    (mattered, wrong)
}

fn check(case: &str, first: usize, step: usize) {
    let (mattered, wrong) = break_one_by_one(case, first, step);
    assert!(mattered > 0, "nothing that was broken mattered");
    assert_eq!(wrong, "", "{wrong}");
}

#[test]
fn what_is_taken_out_of_a_legacy_host_is_named() {
    check("00-healthy-legacy-hybrid", 2, 23);
}

#[test]
fn what_is_taken_out_of_a_distributed_host_is_named() {
    check("30-healthy-dvr-hybrid", 2, 17);
}

#[test]
fn what_is_taken_out_of_a_host_with_the_native_firewall_is_named() {
    check("40-healthy-legacy-ovsfw", 2, 31);
}

//! Snapshots of a real Neutron with one fault each, and what real packets then did: the walk of
//! every probe must have the verdict, the answer and the culprit that the real packet had.
mod common;

use std::fmt::Write as _;

use common::{read_folder, reference};
use serde_json::Value;
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot;

fn question(probe: &Value) -> Question {
    let text = |key: &str| probe[key].as_str().map(str::to_owned);
    let proto = text("proto").unwrap();
    Question {
        from: text("from").unwrap(),
        to: text("to").unwrap(),
        port: probe["dport"].as_u64().map(|p| p as u16),
        dst_ip: match proto.as_str() {
            "dhcp" => None,
            _ => text("dst_ip").and_then(|ip| ip.parse().ok()),
        },
        src_ip: text("src_ip").and_then(|ip| ip.parse().ok()),
        src_mac: text("src_mac").and_then(|mac| mac.parse().ok()),
        dst_mac: text("dst_mac").and_then(|mac| mac.parse().ok()),
        size: probe["size"].as_u64().map(|s| s as u32),
        proto: Some(proto),
        ..Question::default()
    }
}

/// The walk's culprit is the probe's: the same text, or the same state in the walk's words.
fn same_culprit(walk: &Walk, probe: &Value) -> bool {
    let want = probe["culprit"].as_str();
    let got = walk.at.as_ref().map(|at| at.rule.as_str());
    match (want, got) {
        (None, got) => got.is_none(),
        (Some(_), None) => false,
        (Some(want), Some(got)) => {
            let file = probe["culprit_in_file"]["text"].as_str();
            // A rule that policy lacks is no fault of a host: it is named as what would help.
            let would = walk.at.as_ref().and_then(|at| at.would_pass.as_deref());
            squeeze(got) == squeeze(want)
                || would.is_some_and(|rule| want == format!("MISSING {rule}"))
                || file.is_some_and(|text| squeeze(text).contains(&squeeze(got)))
        }
    }
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_probe_is_explained_as_the_real_packet_was() {
    let mut table = String::new();
    let mut wrong = 0;
    let mut cases: Vec<_> = std::fs::read_dir(reference("faults"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 10, "the cases are there");
    for case in cases {
        let files = read_folder(&case);
        let truth: Value = serde_json::from_str(&files["truth.json"]).unwrap();
        let snapshot = snapshot::load(&files);
        assert_eq!(snapshot.problems, Vec::<String>::new());
        let _ = writeln!(table, "== {}", case.file_name().unwrap().to_string_lossy());
        for probe in truth["probes"].as_array().unwrap() {
            let walk = walk::walk(&snapshot.world, &question(probe)).unwrap();
            let delivered = walk.verdict == Verdict::Delivered;
            let fine = delivered == probe["delivered"]
                && walk.replied == probe["replied"]
                && walk.verdict != Verdict::Unknown
                && same_culprit(&walk, probe);
            wrong += usize::from(!fine);
            let _ = writeln!(
                table,
                "{} {} > {} {} {}: {:?} replied {}{}",
                if fine { "ok  " } else { "BAD " },
                probe["from"],
                probe["to"],
                probe["proto"],
                probe["dport"],
                walk.verdict,
                walk.replied,
                if fine {
                    String::new()
                } else {
                    format!(
                        "\n      want {} {} {}\n      got  {}\n      by   {:?}",
                        probe["delivered"],
                        probe["replied"],
                        probe["culprit"],
                        walk.at.as_ref().map_or("-", |at| &at.rule),
                        walk.at
                            .as_ref()
                            .map(|at| (&at.host, &at.place, &at.device, &at.why)),
                    )
                }
            );
        }
    }
    assert_eq!(wrong, 0, "{wrong} probes are explained wrongly:\n{table}");
}

//! `nucleon walk` over hosts that are there, by way of the API and of a lab; and with `--live` the
//! real packet beside the one that is foretold.

use crate::rig::{NUCLEON, Rig, labs_folder, soon};
use lab::Daemon;
use serde_json::Value;
use std::process::{Command, Output};

/// Three guests: b lets a in, closed lets nobody in.
fn cloud() -> Rig {
    let mut rig = Rig::cloud();
    let red = rig.net("red", &serde_json::json!({}));
    rig.subnet(&red, "10.1.0.0/24", &serde_json::json!({}));
    for group in ["open", "closed"] {
        rig.group(group);
    }
    rig.rule("open", &serde_json::json!({"protocol": "icmp"}));
    rig.rule("open", &serde_json::json!({"protocol": "tcp"}));
    rig.rule("open", &serde_json::json!({"protocol": "udp"}));
    rig.add_in_group("a", "c1", "red", "open");
    rig.add_in_group("b", "c2", "red", "open");
    rig.add_in_group("closed", "c2", "red", "closed");
    rig.guest("a").must_ping(rig.guest("b").ip());
    soon("a server has a lease for a", || {
        walk(&rig, &["a", "dhcp"], true).status.success()
    });
    rig
}

fn walk(rig: &Rig, words: &[&str], by_api: bool) -> Output {
    let mut command = Command::new(NUCLEON);
    command.arg("walk").args(words);
    match by_api {
        true => command.args(["--api", rig.lab.api().unwrap()]),
        false => command
            .args(["--lab", rig.lab.name(), "--lab-dir"])
            .arg(labs_folder()),
    };
    command.output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// What a walk over a lab's hosts says, that ends with this code.
pub(crate) fn walks(rig: &Rig, words: &[&str], by_api: bool, code: i32) -> String {
    let output = walk(rig, words, by_api);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    text
}

/// What was seen at a device on the way there and beyond.
fn seen(report: &Value, device: &str) -> Value {
    let mut points = report["points"].as_array().unwrap().iter();
    let point = points.find(|point| point["device"] == device && point["way"] != "back");
    point.unwrap_or_else(|| panic!("nobody looked at {device}: {report:#}"))["seen"].clone()
}

/// An answer is a refusal where nobody listens; the walk takes guests to listen everywhere.
fn answers_of_udp_and_leases_are_seen(rig: &Rig) {
    for (words, by_api) in [
        (&["a", "b", "--proto", "udp", "--port", "7"][..], false),
        (&["a", "dhcp"], true),
    ] {
        let words = [words, &["--live", "--json"]].concat();
        let text = walks(rig, &words, by_api, 0);
        let report: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(report["disagreement"], Value::Null, "{text}");
        let back = report["points"].as_array().unwrap().iter();
        let seen = back.filter(|p| p["way"] == "back" && p["seen"] == true);
        assert!(seen.count() >= 3, "{text}");
    }
}

#[test]
fn what_is_foretold_is_seen() {
    let rig = cloud();
    let tap = |guest: &str| host::names::tap(&rig.guest(guest).guest.port.id.to_string());
    for by_api in [true, false] {
        let text = walks(&rig, &["a", "b"], by_api, 0);
        assert!(text.starts_with("delivered and answered: a to b"), "{text}");
        let text = walks(&rig, &["a", "closed"], by_api, 1);
        assert!(
            text.contains("no rule of closed's security groups (closed) allows icmp"),
            "{text}"
        );
    }
    let text = walks(&rig, &["a", "b", "--live"], false, 0);
    assert!(
        text.contains("what was seen agrees with what was foretold"),
        "{text}"
    );
    let text = walks(&rig, &["a", "closed", "--live", "--json"], true, 0);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["disagreement"], Value::Null);
    assert_eq!(seen(&report, &tap("closed")), false);
    assert_eq!(seen(&report, &tap("closed").replace("tap", "qvb")), true);
    let text = walks(
        &rig,
        &["a", "b", "--port", "22", "--live", "--json"],
        false,
        0,
    );
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(seen(&report, &tap("b")), true);

    // What does not leave, and what is no packet of a guest's own, is not sent.
    let text = walks(&rig, &["a", "10.1.0.99", "--live"], false, 1);
    assert!(text.contains("the packet would not leave a"), "{text}");
    answers_of_udp_and_leases_are_seen(&rig);

    // By hand, behind the agent's back.
    rig.lab.kill(Daemon::Agent, "c2").unwrap();
    let id = rig.guest("b").guest.port.id.to_string();
    let chain = host::names::port_chain(host::names::PortChain::Ingress, &id);
    let rules = rig.run("c2", &format!("iptables -S {chain}"));
    for rule in rules.lines().filter(|rule| rule.contains("-p icmp")) {
        rig.run("c2", &rule.replacen("-A", "iptables -D", 1));
    }
    let text = walks(&rig, &["a", "b", "--live"], false, 0);
    assert!(
        text.contains("MISSING -A neutron-openvswi-i") || text.contains("foretold: dropped"),
        "{text}"
    );
    let text = walks(&rig, &["a", "b", "--live", "--wanted"], false, 1);
    let first = format!("they first disagree on c2 at qbr{}/{}", &id[..11], tap("b"));
    assert!(text.contains(&first), "{text}");
}

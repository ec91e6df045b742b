//! What administrators ask hosts by way of the API.

use crate::rig::{NUCLEON, Rig, soon};
use lab::Daemon;
use lab::client::Answer;
use serde_json::{Value, json};
use std::process::{Command, Output};

fn ask(rig: &Rig, host: &str, question: &str, parameters: &Value) -> Answer {
    let path = format!("/nucleon/hosts/{host}/ask/{question}");
    let answer = rig
        .client()
        .ask(&http::Method::POST, &path, Some(parameters));
    answer.unwrap()
}

fn doctor(rig: &Rig, hosts: &[&str]) -> Output {
    let mut command = Command::new(NUCLEON);
    command.args(["doctor", "--api", rig.lab.api().unwrap()]);
    command.args(hosts.iter().flat_map(|host| ["--host", host]));
    command.output().unwrap()
}

fn lines_of(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn hosts_answer_what_they_are_asked() {
    let mut rig = Rig::cloud();
    rig.network("red", "10.1.0.0/24");
    rig.add("a", "c1", "red");
    let port = rig.guest("a").guest.port.id.to_string();

    // The same texts as tools/collect.sh writes, which a snapshot is loaded from.
    let answer = ask(&rig, "c1", "snapshot", &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.body["host"], "c1");
    let files: host::snapshot::Files =
        serde_json::from_value(answer.body["files"].clone()).unwrap();
    let snapshot = host::snapshot::load("c1", &files);
    assert_eq!(snapshot.problems, []);
    let bridges: Vec<_> = snapshot.state.bridges.keys().collect();
    assert_eq!(bridges, ["br-ex", "br-int", "br-phy", "br-tun"]);
    let root = snapshot.state.root().unwrap();
    assert!(root.links.contains_key(&host::names::tap(&port)));
    assert!(files["ns-root/iptables-save.txt"].contains("neutron-openvswi-sg-chain"));

    let answer = ask(&rig, "c1", "weather", &json!({}));
    let said = answer.body["error"].as_str().unwrap();
    assert!(
        said.contains("does not know the question 'weather'"),
        "{said}"
    );
    assert_eq!(ask(&rig, "c9", "drift", &json!({})).status, 404);

    sees_a_frame_that_was_injected(&mut rig);

    // What waits for others, such as a network's DHCP server to be plugged, is no drift.
    soon("all hosts are as they should be", || {
        doctor(&rig, &[]).status.success()
    });
    let lines = lines_of(&doctor(&rig, &[]));
    for host in ["net", "c1", "c2"] {
        assert!(
            lines.contains(&format!("{host}: 0 things differ")),
            "{lines}"
        );
    }
    // Nothing tells of an emptied set, so that it is there until somebody looks.
    let mut lines = String::new();
    soon("the doctor sees an emptied set", || {
        rig.run("c1", "ipset flush");
        let output = doctor(&rig, &["c1"]);
        lines = lines_of(&output);
        output.status.code() == Some(1)
    });
    let member = lines.lines().find(|line| line.starts_with("+ member "));
    let member = member.unwrap_or_else(|| panic!("{lines}"));
    assert!(
        member.contains(" of ipset NIPv4") && member.contains("# "),
        "{member}"
    );
    assert!(!lines.contains("c2:"), "{lines}");
    soon("looking is followed by healing", || {
        doctor(&rig, &["c1"]).status.success()
    });

    rig.lab.kill(Daemon::Agent, "c2").unwrap();
    soon("the doctor says who does not answer", || {
        let output = doctor(&rig, &[]);
        lines = lines_of(&output);
        output.status.code() == Some(1) && lines.contains("! c2: host c2 is not connected")
    });
}

/// A frame that a's host is given as a's crosses the tunnel and is seen where b is.
fn sees_a_frame_that_was_injected(rig: &mut Rig) {
    rig.add("b", "c2", "red");
    let rig = &*rig;
    let (a, b) = (&rig.guest("a").guest.port, &rig.guest("b").guest.port);
    rig.guest("a").must_ping(rig.guest("b").ip());
    let bare = |mac: &str| mac.replace(':', "");
    let frame = format!("{}{}88b5{}", bare(&b.mac), bare(&a.mac), "2a".repeat(46));
    let where_from = json!({
        "bridge": "br-int", "port": host::names::qvo(&a.id.to_string()), "frame": frame,
    });
    let where_to = json!({
        "device": host::names::tap(&b.id.to_string()), "filter": "ether proto 0x88b5",
        "frames": 1, "seconds": 20,
    });
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| ask(rig, "c2", "capture", &where_to));
        soon("the frame is seen", || {
            let said = ask(rig, "c1", "inject", &where_from).body;
            assert_eq!(said["injected"], true, "{said}");
            seen.is_finished()
        });
        let seen = seen.join().unwrap().body;
        assert_eq!(seen["frames"][0]["bytes"], frame, "{seen}");
    });
    let nowhere = json!({"device": "nothing0", "seconds": 1});
    let said = ask(rig, "c2", "capture", &nowhere).body;
    assert!(
        said["error"].as_str().unwrap().contains("nothing0"),
        "{said}"
    );
}

//! What administrators ask hosts by way of the API.

use crate::rig::Rig;
use lab::client::Answer;
use serde_json::{Value, json};

fn ask(rig: &Rig, host: &str, question: &str, parameters: &Value) -> Answer {
    let path = format!("/nucleon/hosts/{host}/ask/{question}");
    let answer = rig
        .client()
        .ask(&http::Method::POST, &path, Some(parameters));
    answer.unwrap()
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
}

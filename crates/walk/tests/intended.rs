//! Hosts out of intent alone: of the recorded clouds only the API's answers are read, and the hosts
//! that the plan makes of them let the same packets pass as the real ones did.
mod common;

use common::{check_question, read_folder, reference};
use serde_json::Value;
use walk::question::Question;
use walk::report::Verdict;
use walk::snapshot::Parts;

fn scenario(name: &str) {
    let mut files = read_folder(&reference("dataplane").join(name));
    let checks: Value = serde_json::from_str(&files["checks.json"]).unwrap();
    files.retain(|path, _| path.starts_with("api/"));
    let intended = Parts::read(&files).imagine();
    assert_eq!(intended.world.hosts.len(), 3, "{:?}", intended.problems);
    let mut wrong = Vec::new();
    for what in checks.as_object().unwrap().keys() {
        let question = check_question(&intended.world, what);
        let walk = walk::walk(&intended.world, &question).unwrap();
        let passed = walk.verdict == Verdict::Delivered && walk.replied;
        if passed == what.contains("must fail") || walk.verdict == Verdict::Unknown {
            wrong.push(format!("{what}: {}\n{:#?}", walk.summary, walk.at));
        }
    }
    assert!(wrong.is_empty(), "{name}: {}", wrong.join("\n"));
}

#[test]
fn a_legacy_cloud_is_walked_without_its_hosts() {
    scenario("vxlan-legacy-hybrid");
}

#[test]
fn a_distributed_cloud_is_walked_without_its_hosts() {
    scenario("vxlan-dvr-hybrid");
}

#[test]
fn a_cloud_of_gre_is_walked_without_its_hosts() {
    scenario("gre-legacy-hybrid");
}

#[test]
fn a_gateway_that_no_router_has_is_said_with_the_command_that_gives_it_one() {
    let folder = reference("dataplane").join("vxlan-legacy-hybrid");
    let mut files = read_folder(&folder);
    files.retain(|path, _| path.starts_with("api/"));
    let ports: Value = serde_json::from_str(&files["api/ports.json"]).unwrap();
    let mut ports = ports["ports"].as_array().unwrap().iter();
    let gateway = ports.find(|port| port["fixed_ips"][0]["ip_address"] == "10.2.2.1");
    let gone = serde_json::json!({"delete": {"ports": [gateway.unwrap()["id"]]}});
    walk::changes::apply(&mut files, &gone).unwrap();
    let world = Parts::read(&files).imagine().world;
    let subnet = world.cloud.subnet_with("10.2.2.1".parse().unwrap());
    let subnet = subnet.unwrap().id.clone();
    let router = world.cloud.routers.keys().next().unwrap();
    for (from, to) in [("green2", "red1"), ("red1", "green2")] {
        let question = Question {
            from: from.to_owned(),
            to: to.to_owned(),
            ..Question::default()
        };
        let walk = walk::walk(&world, &question).unwrap();
        assert_eq!(walk.verdict, Verdict::Dropped);
        let command = format!("openstack router add subnet {router} {subnet}");
        assert_eq!(walk.fix.as_deref(), Some(command.as_str()), "{from}");
        let at = walk.at.unwrap();
        if from == "green2" {
            assert_eq!(
                at.why,
                "nobody on the network green has 10.2.2.1, the gateway of its subnet 10.2.2.0/24"
            );
            assert_eq!((at.place.as_str(), at.rule.as_str()), ("green2", ""));
        }
    }
}

#[test]
fn an_address_that_nobody_has_is_said_by_who_asks_for_it() {
    let mut files = read_folder(&reference("dataplane").join("vxlan-legacy-hybrid"));
    files.retain(|path, _| path.starts_with("api/"));
    let world = Parts::read(&files).imagine().world;
    for (from, network) in [("green1", "green"), ("red1", "green")] {
        let question = Question {
            from: from.to_owned(),
            to: "10.2.2.99".to_owned(),
            ..Question::default()
        };
        let walk = walk::walk(&world, &question).unwrap();
        assert_eq!((walk.verdict, &walk.fix), (Verdict::Dropped, &None));
        let why = walk.at.unwrap().why;
        assert_eq!(
            why,
            format!("nobody on the network {network} has 10.2.2.99")
        );
    }
}

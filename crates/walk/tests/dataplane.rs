//! Four recorded clouds of a real Neutron (vxlan and gre, filters in bridges and in flows, central
//! and distributed routers), and what real packets did there: every pair that was tried has the
//! verdict that the real packet had.
mod common;

use common::{read_folder, reference};
use serde_json::Value;
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot;
use walk::world::World;

fn ask(world: &World, from: &str, to: &str, change: impl FnOnce(&mut Question)) -> Walk {
    let mut question = Question {
        from: from.to_owned(),
        to: to.to_owned(),
        ..Question::default()
    };
    change(&mut question);
    walk::walk(world, &question).unwrap()
}

/// A check by its name, as a walk: `ping red1->red2`, `tcp green1->red1:8000 (remote group)`.
fn check(world: &World, name: &str) -> Walk {
    let (kind, rest) = name.split_once(' ').unwrap();
    let floating = || {
        let mut all = world.cloud.floating_ips.values();
        all.find_map(|f| f.floating_ip_address).unwrap().to_string()
    };
    let pair = || rest.split_once("->").unwrap();
    match kind {
        "ping" => {
            let (from, to) = pair();
            let to = match to {
                "fip" => floating(),
                to if to.starts_with("ext") => "outside".to_owned(),
                to => to.to_owned(),
            };
            ask(world, from, &to, |q| q.proto = Some("icmp".to_owned()))
        }
        "dhcp" => ask(world, rest, "dhcp", |q| q.proto = Some("dhcp".to_owned())),
        "metadata" => ask(world, rest, "metadata", |_| {}),
        "tcp" => {
            let (from, to) = pair();
            let (to, port) = to.split_once(':').unwrap();
            let port = port.split(' ').next().unwrap().parse().unwrap();
            ask(world, from, to, |q| {
                q.proto = Some("tcp".to_owned());
                q.port = Some(port);
            })
        }
        "spoofed" => ask(world, "red2", "red3", |q| {
            q.src_ip = "10.1.0.77".parse().ok()
        }),
        other => panic!("a check of kind {other}"),
    }
}

fn scenario(name: &str) {
    let folder = reference("dataplane").join(name);
    let files = read_folder(&folder);
    let snapshot = snapshot::load(&files);
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let checks: Value = serde_json::from_str(&files["checks.json"]).unwrap();
    let checks = checks.as_object().unwrap();
    assert!(checks.len() > 20, "{name} has checks");
    for (what, result) in checks {
        let walk = check(&snapshot.world, what);
        let passed = walk.verdict == Verdict::Delivered && walk.replied;
        let must_pass = !what.contains("must fail");
        assert_eq!(result[0], true, "{what} was as it should be");
        assert_eq!(
            passed, must_pass,
            "{name}: {what}: {}\n{:#?}",
            walk.summary, walk.at
        );
        let at_fault = walk.at.as_ref().is_some_and(|at| at.fault);
        assert!(!at_fault, "{name}: {what}: {:#?}", walk.at);
    }
}

#[test]
fn vxlan_with_filters_in_bridges() {
    scenario("vxlan-legacy-hybrid");
}

#[test]
fn gre_with_filters_in_bridges() {
    scenario("gre-legacy-hybrid");
}

#[test]
fn distributed_routers() {
    scenario("vxlan-dvr-hybrid");
}

#[test]
fn filters_in_flows() {
    scenario("vxlan-legacy-ovsfw");
}

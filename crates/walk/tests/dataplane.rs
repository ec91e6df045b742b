//! Four recorded clouds of a real Neutron (vxlan and gre, filters in bridges and in flows, central
//! and distributed routers), and what real packets did there: every pair that was tried has the
//! verdict that the real packet had.
mod common;

use common::{check_question, read_folder, reference};
use serde_json::Value;
use walk::question::plan;
use walk::report::Verdict;
use walk::run;
use walk::snapshot;

fn scenario(name: &str) {
    let folder = reference("dataplane").join(name);
    let files = read_folder(&folder);
    let snapshot = snapshot::load(&files);
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let checks: Value = serde_json::from_str(&files["checks.json"]).unwrap();
    let checks = checks.as_object().unwrap();
    assert!(checks.len() > 20, "{name} has checks");
    for (what, result) in checks {
        let question = check_question(&snapshot.world, what);
        let walk = walk::walk(&snapshot.world, &question).unwrap();
        let plan = plan(&snapshot.world, &question).unwrap();
        let quick = run::ends(&snapshot.world, &plan);
        assert_eq!(quick, (walk.verdict, walk.replied), "{what}, without words");
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

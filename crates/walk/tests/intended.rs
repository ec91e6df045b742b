//! Hosts out of intent alone: of the recorded clouds only the API's answers are read, and the hosts
//! that the plan makes of them let the same packets pass as the real ones did.
mod common;

use common::{check_question, read_folder, reference};
use serde_json::Value;
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

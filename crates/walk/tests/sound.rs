//! Hosts on which nothing is wrong: nothing of them differs from what is wanted.
mod common;

use common::{read_folder, reference};
use walk::snapshot;

#[test]
fn recorded_hosts_without_faults_are_as_they_should_be() {
    for case in [
        "faults/00-healthy-legacy-hybrid",
        "faults/30-healthy-dvr-hybrid",
        "faults/40-healthy-legacy-ovsfw",
        "dataplane/gre-legacy-hybrid",
        "dataplane/vxlan-dvr-hybrid",
        "dataplane/vxlan-legacy-hybrid",
        "dataplane/vxlan-legacy-ovsfw",
    ] {
        let world = snapshot::load(&read_folder(&reference(case))).world;
        assert_eq!(
            world.wanted.len(),
            3,
            "{case}: of each host it is known what is wanted"
        );
        let differences = world.differences();
        assert!(differences.is_empty(), "{case}: {differences:#?}");
    }
}

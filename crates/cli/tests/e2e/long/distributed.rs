//! Distributed routers by other wires, and for a longer while.

use crate::distributed::{Wire, soak, walk};
use lab::topology::TunnelType;
use std::time::Duration;

#[test]
fn packets_go_as_the_walk_says_by_gre() {
    walk::walk(Wire::Tunnel(TunnelType::Gre));
}

#[test]
fn packets_go_as_the_walk_says_by_a_providers_vlans() {
    walk::walk(Wire::Vlan);
}

/// For `NUCLEON_SOAK_SECONDS`, with dice that fall by `NUCLEON_SOAK_SEED`.
#[test]
fn nothing_is_left_behind_by_a_long_while_of_everything() {
    let number = |name: &str, default| {
        let given = std::env::var(name).ok();
        given.map_or(default, |given| given.parse().expect(name))
    };
    let seconds = number("NUCLEON_SOAK_SECONDS", 240);
    soak::soak(Duration::from_secs(seconds), number("NUCLEON_SOAK_SEED", 1));
}

//! Distributed routers by other wires, and for a longer while.

use crate::distributed::orders::{Gateway, Interface, Rest, Step, try_orders};
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

/// All at once, and each with a while before the last call.
#[test]
fn source_nat_and_metadata_work_in_every_order_of_calls() {
    let calls = [Interface(0), Interface(1), Gateway];
    let mut orders: Vec<Vec<Step>> = Vec::new();
    for first in 0..3 {
        for second in (0..3).filter(|at| *at != first) {
            let (first, second, last) = (calls[first], calls[second], calls[3 - first - second]);
            orders.push(vec![first, second, last]);
            orders.push(vec![first, second, Rest, last]);
        }
    }
    let orders: Vec<&[Step]> = orders.iter().map(Vec::as_slice).collect();
    try_orders(&orders);
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

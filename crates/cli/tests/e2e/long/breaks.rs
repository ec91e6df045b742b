//! Many things broken at random, by each kind of tunnel.

use crate::breaks::{broken, number};
use lab::topology::TunnelType;

fn many(tunnel_type: TunnelType) {
    let seed = number("NUCLEON_SEED").unwrap_or_else(rand::random);
    let breaks = number("NUCLEON_BREAKS").unwrap_or(100);
    broken(seed, tunnel_type, usize::try_from(breaks).unwrap());
}

#[test]
fn vxlan() {
    many(TunnelType::Vxlan);
}

#[test]
fn gre() {
    many(TunnelType::Gre);
}

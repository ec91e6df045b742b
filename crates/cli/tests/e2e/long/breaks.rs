//! Many things broken at random, by each kind of tunnel and of router.

use crate::breaks::{Kind, broken, number};
use lab::topology::TunnelType;

fn many(tunnels: TunnelType, distributed: bool) {
    let seed = number("NUCLEON_SEED").unwrap_or_else(rand::random);
    let breaks = number("NUCLEON_BREAKS").unwrap_or(100);
    let kind = Kind {
        tunnels,
        distributed,
    };
    broken(seed, kind, usize::try_from(breaks).unwrap());
}

#[test]
fn vxlan() {
    many(TunnelType::Vxlan, false);
}

#[test]
fn gre() {
    many(TunnelType::Gre, false);
}

#[test]
fn vxlan_with_distributed_routers() {
    many(TunnelType::Vxlan, true);
}

//! How many addresses a network has and how many are taken: computed, never stored.

use intent::{IpRange, Network, NetworkId, State, Subnet, SubnetId, number_of};

use crate::pools;

/// Counts as wide as IPv6 is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub total_in_subnet: u128,
    pub total_in_pools: u128,
    pub used_in_subnet: u128,
    pub used_in_pools: u128,
}

impl Counts {
    /// `total_ips`: what can be given out, or is.
    pub const fn total(&self) -> u128 {
        self.total_in_pools
    }

    pub const fn used(&self) -> u128 {
        self.used_in_subnet
    }

    fn add(&mut self, other: &Self) {
        let sum = |a: &mut u128, b: u128| *a = a.saturating_add(b);
        sum(&mut self.total_in_subnet, other.total_in_subnet);
        sum(&mut self.total_in_pools, other.total_in_pools);
        sum(&mut self.used_in_subnet, other.used_in_subnet);
        sum(&mut self.used_in_pools, other.used_in_pools);
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    pub network: NetworkId,
    /// The sum of those below.
    pub all: Counts,
    pub subnets: Vec<(SubnetId, Counts)>,
}

/// A network's addresses; `ip_version` leaves the other family out.
pub fn availability(state: &State, network: &Network, ip_version: Option<u8>) -> Availability {
    let ids = state.index.subnets_of_network.of(&network.id);
    let subnets = ids.filter_map(|id| state.subnets.get(id));
    let wanted = subnets.filter(|subnet| ip_version.is_none_or(|it| it == subnet.ip_version()));
    let subnets: Vec<_> = wanted
        .map(|subnet| (subnet.id, counts(state, subnet)))
        .collect();
    let mut all = Counts::default();
    for (_, counts) in &subnets {
        all.add(counts);
    }
    Availability {
        network: network.id,
        all,
        subnets,
    }
}

fn counts(state: &State, subnet: &Subnet) -> Counts {
    let in_pools = |address: &std::net::IpAddr| {
        let holds = |pool: &IpRange| (pool.start..=pool.end).contains(address);
        subnet.allocation_pools.iter().any(holds)
    };
    let mut counts = Counts {
        total_in_subnet: pools::capacity(subnet.cidr),
        ..Counts::default()
    };
    for pool in &subnet.allocation_pools {
        let size = (number_of(pool.end) - number_of(pool.start)).saturating_add(1);
        counts.total_in_pools = counts.total_in_pools.saturating_add(size);
    }
    for address in state.index.address_in_subnet.of(&subnet.id) {
        counts.used_in_subnet += 1;
        counts.used_in_pools += u128::from(in_pools(address));
    }
    counts
}

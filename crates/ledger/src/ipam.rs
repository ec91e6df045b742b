//! Addresses: which one a port gets out of a subnet.
//!
//! An ordinary port, a gateway and a floating IP get any free address of the pools, at random; a
//! DHCP server the lowest. Random choice keeps an address that was just released from being given
//! out again at once while others are free; that the last released ones are avoided for certain
//! is what [`Indexes::released`](intent::Indexes) is for. No choice walks the addresses taken:
//! it tries a few at random, then skips full runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use intent::{IpRange, Mac, Subnet, number_of};
use ipnet::IpNet;

use crate::{free::Taken, txn::Txn};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    Any,
    Lowest,
}

/// How many addresses at a pool's start are tried first: a big pool's addresses stay short and
/// close together.
const WINDOW: u128 = 1024;
/// Guesses in a window before the next, and in the last: in a big pool the first windows are full
/// for most of its life.
const GUESSES: usize = 3;
const LAST_GUESSES: usize = 8;

/// A free address of the subnet's pools.
pub(crate) fn pick(txn: &mut Txn<'_>, subnet: &Subnet, choice: Choice) -> Option<IpAddr> {
    let from = match choice {
        Choice::Lowest => None,
        Choice::Any => match guess(txn, subnet) {
            Ok(found) => return Some(found),
            Err(from) => Some(from),
        },
    };
    search(txn, subnet, from, true)
        .or_else(|| longest_released(txn, subnet))
        .or_else(|| search(txn, subnet, from, false))
}

/// Where every free address was released lately: the one that has rested longest.
fn longest_released(txn: &Txn<'_>, subnet: &Subnet) -> Option<IpAddr> {
    let given_out = |address: &&IpAddr| {
        let holds = |pool: &IpRange| (pool.start..=pool.end).contains(*address);
        subnet.allocation_pools.iter().any(holds) && is_free(txn, subnet, **address)
    };
    let released = txn.state().index.released.get(&subnet.id)?;
    released.iter().find(given_out).copied()
}

/// Tries addresses at random; fails with the last of them.
fn guess(txn: &mut Txn<'_>, subnet: &Subnet) -> Result<IpAddr, u128> {
    let total: u128 = subnet
        .allocation_pools
        .iter()
        .map(size)
        .fold(0, u128::saturating_add);
    let small = total <= 65_536;
    let mut window = if small { total } else { WINDOW };
    let mut last = 0;
    if total == 0 {
        return Err(0);
    }
    loop {
        let guesses = match window < total {
            true => GUESSES,
            false => LAST_GUESSES,
        };
        for _ in 0..guesses {
            let offset = txn.random.below(window);
            let address = nth(&subnet.allocation_pools, offset);
            if is_free(txn, subnet, address) && !is_released(txn, subnet, address) {
                return Ok(address);
            }
            last = number_of(address);
        }
        if window >= total {
            return Err(last);
        }
        window = window.saturating_mul(16).min(total);
    }
}

/// The first free address from one on, pool by pool; `fresh` spares the last released ones.
fn search(txn: &Txn<'_>, subnet: &Subnet, from: Option<u128>, fresh: bool) -> Option<IpAddr> {
    let index = &txn.state().index;
    let version = subnet.ip_version();
    let used = |number| {
        let address = address_of(number, version);
        !is_free(txn, subnet, address) || fresh && is_released(txn, subnet, address)
    };
    let full = |number| index.address_density.is_full(&subnet.id, number);
    let taken = Taken { used, full };
    let from = from.unwrap_or(0);
    let pools = subnet.allocation_pools.iter();
    let ranges = pools.map(|pool| number_of(pool.start)..=number_of(pool.end));
    let mut ranges: Vec<_> = ranges.collect();
    // The pool that `from` lies in comes first.
    ranges.sort_by_key(|range| !range.contains(&from));
    let found = ranges
        .iter()
        .find_map(|range| taken.first_free(range, from));
    found.map(|number| address_of(number, version))
}

pub(crate) fn is_free(txn: &Txn<'_>, subnet: &Subnet, address: IpAddr) -> bool {
    let key = (subnet.network_id, address);
    !txn.state().index.port_of_address.any(&key)
}

fn is_released(txn: &Txn<'_>, subnet: &Subnet, address: IpAddr) -> bool {
    let released = txn.state().index.released.get(&subnet.id);
    released.is_some_and(|released| released.contains(&address))
}

/// How many addresses a range has.
pub(crate) fn size(range: &IpRange) -> u128 {
    (number_of(range.end) - number_of(range.start)).saturating_add(1)
}

fn nth(pools: &[IpRange], mut offset: u128) -> IpAddr {
    for pool in pools {
        if offset < size(pool) {
            let version = if pool.start.is_ipv4() { 4 } else { 6 };
            return address_of(number_of(pool.start) + offset, version);
        }
        offset -= size(pool);
    }
    pools
        .last()
        .map_or(Ipv4Addr::UNSPECIFIED.into(), |pool| pool.end)
}

pub(crate) fn address_of(number: u128, version: u8) -> IpAddr {
    match version {
        4 => Ipv4Addr::from_bits(number as u32).into(),
        _ => Ipv6Addr::from_bits(number).into(),
    }
}

/// The address that a guest makes of its MAC and the announced /64 (RFC 4291, appendix A).
pub(crate) fn eui64(prefix: IpNet, mac: Mac) -> IpAddr {
    address_of(
        number_of(prefix.network()) | u128::from(mac.interface_id()),
        6,
    )
}

/// An address that a port of the subnet may have.
pub(crate) fn is_usable(subnet: &Subnet, address: IpAddr) -> bool {
    let net = subnet.cidr;
    let at_the_ends = match net {
        IpNet::V4(net) if net.prefix_len() < 31 => {
            address == net.network() || address == net.broadcast()
        }
        IpNet::V4(_) => false,
        IpNet::V6(net) => address == net.network() && net.prefix_len() < 127,
    };
    net.contains(&address) && !at_the_ends
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_becomes_an_interface_identifier() {
        let prefix = "fd00:1::/64".parse().expect("valid");
        let mac = "fa:16:3e:e8:eb:4b".parse().expect("valid");
        assert_eq!(
            eui64(prefix, mac).to_string(),
            "fd00:1::f816:3eff:fee8:eb4b"
        );
    }

    #[test]
    fn the_nth_address_goes_from_pool_to_pool() {
        let range = |start: &str, end: &str| IpRange {
            start: start.parse().expect("valid"),
            end: end.parse().expect("valid"),
        };
        let pools = [range("10.0.0.2", "10.0.0.3"), range("10.0.0.9", "10.0.0.9")];
        let all: Vec<String> = (0..3).map(|at| nth(&pools, at).to_string()).collect();
        assert_eq!(all, ["10.0.0.2", "10.0.0.3", "10.0.0.9"]);
    }
}

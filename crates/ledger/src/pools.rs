//! A subnet's allocation pools and gateway: which are made when none are given, and which may not be.

use std::net::IpAddr;

use intent::{IpRange, number_of};
use ipnet::IpNet;

use crate::{Refusal, ipam::address_of};

const fn version(cidr: IpNet) -> u8 {
    match cidr {
        IpNet::V4(_) => 4,
        IpNet::V6(_) => 6,
    }
}

/// First and last address as numbers.
fn bounds(cidr: IpNet) -> (u128, u128) {
    let first = number_of(cidr.network());
    let host_bits = u32::from(cidr.max_prefix_len() - cidr.prefix_len());
    let hosts = 1_u128
        .checked_shl(host_bits)
        .map_or(u128::MAX, |count| count - 1);
    (first, first | hosts)
}

/// The gateway of a subnet that names none: the first address in IPv4 and in subnets cut from a
/// pool; in IPv6 the one without a host part (the subnet routers' anycast address).
pub(crate) fn default_gateway(cidr: IpNet, from_pool: bool) -> IpAddr {
    let (first, _) = bounds(cidr);
    let number = match cidr {
        IpNet::V6(_) if !from_pool => first,
        _ => first.saturating_add(1),
    };
    address_of(number, version(cidr))
}

/// All addresses that guests could have, but for the gateway's.
pub(crate) fn default_pools(cidr: IpNet, gateway: Option<IpAddr>) -> Vec<IpRange> {
    let (first, last) = bounds(cidr);
    if first == last {
        return vec![range(cidr, first, last)];
    }
    let low = first + 1;
    let high = last - u128::from(version(cidr) == 4);
    if low > high {
        return Vec::new();
    }
    let gateway = gateway
        .filter(|it| it.is_ipv4() == (version(cidr) == 4))
        .map(number_of);
    match gateway {
        Some(at) if (low..=high).contains(&at) => [(low, at - 1), (at + 1, high)]
            .into_iter()
            .filter(|(low, high)| low <= high)
            .map(|(low, high)| range(cidr, low, high))
            .collect(),
        _ => vec![range(cidr, low, high)],
    }
}

fn range(cidr: IpNet, low: u128, high: u128) -> IpRange {
    IpRange {
        start: address_of(low, version(cidr)),
        end: address_of(high, version(cidr)),
    }
}

fn shown(range: &IpRange) -> String {
    format!("{}-{}", range.start, range.end)
}

/// Pools that were given must lie inside the subnet and apart from each other.
pub(crate) fn check_pools(cidr: IpNet, pools: &[IpRange]) -> Result<(), Refusal> {
    for pool in pools {
        let mixed = pool.start.is_ipv4() != pool.end.is_ipv4();
        let other = pool.start.is_ipv4() != matches!(cidr, IpNet::V4(_));
        if mixed || other || number_of(pool.start) > number_of(pool.end) {
            return Err(Refusal::invalid_allocation_pool(format_args!(
                "{{'start': '{}', 'end': '{}'}}",
                pool.start, pool.end
            )));
        }
        if !cidr.contains(&pool.start) || !cidr.contains(&pool.end) {
            return Err(Refusal::pool_out_of_bounds(shown(pool), cidr));
        }
    }
    for (at, pool) in pools.iter().enumerate() {
        let overlaps = |other: &&IpRange| other.start <= pool.end && pool.start <= other.end;
        if let Some(other) = pools[at + 1..].iter().find(overlaps) {
            return Err(Refusal::overlapping_pools(shown(pool), shown(other), cidr));
        }
    }
    Ok(())
}

/// A gateway in a pool would be given to a port.
pub(crate) fn check_gateway(gateway: Option<IpAddr>, pools: &[IpRange]) -> Result<(), Refusal> {
    let Some(gateway) = gateway else {
        return Ok(());
    };
    let holds = |pool: &&IpRange| {
        pool.start.is_ipv4() == gateway.is_ipv4() && (pool.start..=pool.end).contains(&gateway)
    };
    match pools.iter().find(holds) {
        Some(pool) => Err(Refusal::gateway_in_pool(gateway, shown(pool))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pools(cidr: &str, gateway: Option<&str>) -> Vec<String> {
        let cidr = cidr.parse().expect("valid");
        let gateway = gateway.map(|it| it.parse().expect("valid"));
        default_pools(cidr, gateway).iter().map(shown).collect()
    }

    #[test]
    fn pools_are_made_of_all_but_the_gateway() {
        assert_eq!(
            pools("10.0.0.0/24", Some("10.0.0.1")),
            ["10.0.0.2-10.0.0.254"]
        );
        assert_eq!(pools("10.0.0.0/24", None), ["10.0.0.1-10.0.0.254"]);
        assert_eq!(
            pools("10.0.0.0/29", Some("10.0.0.3")),
            ["10.0.0.1-10.0.0.2", "10.0.0.4-10.0.0.6"]
        );
        assert_eq!(
            pools("10.0.0.0/24", Some("10.9.9.9")),
            ["10.0.0.1-10.0.0.254"]
        );
        assert_eq!(pools("10.0.0.4/31", None), Vec::<String>::new());
        assert_eq!(pools("10.0.0.4/32", None), ["10.0.0.4-10.0.0.4"]);
        assert_eq!(
            pools("fd00:1::/64", Some("fd00:1::")),
            ["fd00:1::1-fd00:1::ffff:ffff:ffff:ffff"]
        );
    }

    #[test]
    fn the_gateway_is_the_first_address_but_in_plain_ipv6() {
        let gateway =
            |cidr: &str, pool| default_gateway(cidr.parse().expect("valid"), pool).to_string();
        assert_eq!(gateway("10.0.0.0/24", false), "10.0.0.1");
        assert_eq!(gateway("fd00:1::/64", false), "fd00:1::");
        assert_eq!(gateway("fd00:1::/64", true), "fd00:1::1");
    }
}

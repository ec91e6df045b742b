//! From what a request says of fixed IPs to the addresses that the port gets.
//!
//! A request may name an address, a subnet, both, or nothing. Subnets whose ports make their
//! addresses themselves (SLAAC, stateless DHCPv6) are added to whatever was asked for, but for
//! routers' interfaces. Where nothing is named the port gets one address of each family; of the
//! subnets that would do, those for the port's kind of owner come first (service types), then the
//! lowest prefix.

use std::{net::IpAddr, sync::Arc};

use intent::{FixedIp, Mac, NetworkId, Subnet, SubnetId, owner};
use serde_json::Value;

use crate::{
    Refusal,
    draft::Reading,
    ipam::{self, Choice},
    txn::Txn,
};

/// For whom addresses are wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker<'a> {
    pub(crate) network: NetworkId,
    pub(crate) mac: Mac,
    pub(crate) device_owner: &'a str,
}

/// One fixed IP as it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) subnet: Option<SubnetId>,
    pub(crate) address: Option<IpAddr>,
}

impl From<FixedIp> for Wanted {
    fn from(fixed: FixedIp) -> Self {
        Self {
            subnet: Some(fixed.subnet_id),
            address: Some(fixed.ip_address),
        }
    }
}

/// Reads a list of `{"subnet_id": …, "ip_address": …}`.
pub(crate) fn read(value: &Value) -> Result<Vec<Wanted>, Refusal> {
    let items = value.as_array().into_iter().flatten();
    items
        .map(|item| {
            let map = item.as_object();
            let wanted = Wanted {
                subnet: map.and_then(|map| map.parsed("subnet_id")),
                address: map.and_then(|map| map.parsed("ip_address")),
            };
            if wanted.subnet.is_none() && wanted.address.is_none() {
                return Err(Refusal::invalid_input(
                    "IP allocation requires subnet_id or ip_address",
                ));
            }
            Ok(wanted)
        })
        .collect()
}

/// The addresses of a new port.
pub(crate) fn allocate(
    txn: &mut Txn<'_>,
    asker: Asker<'_>,
    wanted: Option<&[Wanted]>,
) -> Result<Vec<FixedIp>, Refusal> {
    let mut fixed = match wanted {
        Some(wanted) => chosen(txn, asker, wanted)?,
        None => one_of_each_family(txn, asker)?,
    };
    add_automatic(txn, asker, &mut fixed)?;
    Ok(fixed)
}

/// The addresses of a port whose fixed IPs are changed: those that were asked for again stay, and
/// so do those that the port makes itself.
pub(crate) fn reallocate(
    txn: &mut Txn<'_>,
    asker: Asker<'_>,
    current: &[FixedIp],
    wanted: &[Wanted],
) -> Result<Vec<FixedIp>, Refusal> {
    let mut kept: Vec<FixedIp> = Vec::new();
    let mut new: Vec<Wanted> = Vec::new();
    for want in wanted {
        let held = current.iter().find(|held| {
            let same_subnet = want.subnet.is_none_or(|subnet| subnet == held.subnet_id);
            let same_address = want
                .address
                .is_none_or(|address| address == held.ip_address);
            same_subnet && same_address && !kept.contains(held)
        });
        match held {
            Some(held) => kept.push(*held),
            None => new.push(*want),
        }
    }
    let added = chosen(txn, asker, &new)?;
    kept.extend(added);
    add_automatic(txn, asker, &mut kept)?;
    Ok(kept)
}

fn chosen(txn: &mut Txn<'_>, asker: Asker<'_>, wanted: &[Wanted]) -> Result<Vec<FixedIp>, Refusal> {
    let mut fixed: Vec<FixedIp> = Vec::new();
    // Addresses that are named are taken before any is chosen freely.
    let (named, free): (Vec<Wanted>, Vec<Wanted>) = wanted
        .iter()
        .copied()
        .partition(|want| want.address.is_some());
    for want in named.into_iter().chain(free) {
        let one = choose(txn, asker, want, &fixed)?;
        fixed.push(one);
    }
    let place = |one: &FixedIp| {
        let like = |want: &Wanted| {
            want.address.is_none_or(|address| address == one.ip_address)
                && want.subnet.is_none_or(|subnet| subnet == one.subnet_id)
        };
        wanted.iter().position(like)
    };
    fixed.sort_by_key(place);
    Ok(fixed)
}

fn choose(
    txn: &mut Txn<'_>,
    asker: Asker<'_>,
    want: Wanted,
    taken: &[FixedIp],
) -> Result<FixedIp, Refusal> {
    let subnet = subnet_of(txn, asker, want)?;
    let ip_address = match want.address {
        Some(address) => {
            named(txn, asker, &subnet, address)?;
            address
        }
        None if subnet.is_auto_address() => automatic(txn, &subnet, asker.mac)?,
        None => free_address(txn, asker, &[Arc::clone(&subnet)], taken)?.ip_address,
    };
    Ok(FixedIp {
        subnet_id: subnet.id,
        ip_address,
    })
}

fn subnet_of(txn: &Txn<'_>, asker: Asker<'_>, want: Wanted) -> Result<Arc<Subnet>, Refusal> {
    if let Some(id) = want.subnet {
        let found = txn.get::<Subnet>(&id);
        let subnet = found.ok_or_else(|| Refusal::subnet_not_found(id))?;
        if subnet.network_id != asker.network {
            return Err(Refusal::invalid_input(format_args!(
                "Failed to create port on network {}, because fixed_ips included invalid subnet {id}",
                asker.network
            )));
        }
        return Ok(subnet);
    }
    let address = want.address;
    let mut subnets = subnets_of(txn, asker.network).into_iter();
    let holds = |subnet: &Arc<Subnet>| address.is_some_and(|it| subnet.cidr.contains(&it));
    subnets.find(holds).ok_or_else(|| {
        Refusal::invalid_ip_for_network(address.map(|it| it.to_string()).unwrap_or_default())
    })
}

/// Whether the port may have just this address.
fn named(txn: &Txn<'_>, asker: Asker<'_>, subnet: &Subnet, address: IpAddr) -> Result<(), Refusal> {
    // An IPv6 subnet's gateway is, unless it was given, the address that has no host part.
    let is_gateway = subnet.gateway_ip == Some(address);
    if !subnet.cidr.contains(&address) || !ipam::is_usable(subnet, address) && !is_gateway {
        return Err(Refusal::invalid_ip_for_subnet(address));
    }
    let own = subnet.is_auto_address() && ipam::eui64(subnet.cidr, asker.mac) == address;
    if subnet.is_auto_address() && !own && !is_router_port(asker.device_owner) {
        return Err(Refusal::allocation_on_auto_address_subnet(
            address, subnet.id,
        ));
    }
    if !ipam::is_free(txn, subnet, address) {
        return Err(Refusal::ip_already_allocated(address, subnet.id));
    }
    Ok(())
}

/// Ports of routers, whose addresses are never made of their MAC unasked.
fn is_router_port(device_owner: &str) -> bool {
    owner::ROUTER_INTERFACES.contains(&device_owner)
        || [owner::ROUTER_SNAT, owner::ROUTER_GATEWAY].contains(&device_owner)
}

fn automatic(txn: &Txn<'_>, subnet: &Subnet, mac: Mac) -> Result<IpAddr, Refusal> {
    let address = ipam::eui64(subnet.cidr, mac);
    if ipam::is_free(txn, subnet, address) {
        Ok(address)
    } else {
        Err(Refusal::ip_already_allocated(address, subnet.id))
    }
}

fn add_automatic(txn: &Txn<'_>, asker: Asker<'_>, fixed: &mut Vec<FixedIp>) -> Result<(), Refusal> {
    if is_router_port(asker.device_owner) {
        return Ok(());
    }
    for subnet in subnets_of(txn, asker.network) {
        let has_one = fixed.iter().any(|one| one.subnet_id == subnet.id);
        if subnet.is_auto_address() && !has_one {
            let mine = ipam::eui64(subnet.cidr, asker.mac);
            let held = txn
                .state()
                .index
                .port_of_address
                .one(&(asker.network, mine));
            // The port itself may hold it already: then it is its own, not another's.
            let is_own = held.is_some_and(|port| {
                txn.state()
                    .ports
                    .get(port)
                    .is_some_and(|it| it.mac_address == asker.mac)
            });
            let ip_address = if is_own {
                mine
            } else {
                automatic(txn, &subnet, asker.mac)?
            };
            fixed.push(FixedIp {
                subnet_id: subnet.id,
                ip_address,
            });
        }
    }
    Ok(())
}

fn one_of_each_family(txn: &mut Txn<'_>, asker: Asker<'_>) -> Result<Vec<FixedIp>, Refusal> {
    let all = subnets_of(txn, asker.network);
    let fitting = for_owner(&all, asker.device_owner);
    if fitting.is_empty() && !all.is_empty() {
        return Err(Refusal::no_matching_subnet());
    }
    let mut fixed = Vec::new();
    for version in [4, 6] {
        let family: Vec<_> = fitting
            .iter()
            .filter(|it| it.ip_version() == version && !it.is_auto_address())
            .cloned()
            .collect();
        if !family.is_empty() {
            let one = free_address(txn, asker, &family, &fixed)?;
            fixed.push(one);
        }
    }
    Ok(fixed)
}

/// Subnets for this kind of owner first, then those for anyone.
fn for_owner(subnets: &[Arc<Subnet>], device_owner: &str) -> Vec<Arc<Subnet>> {
    let serves = |subnet: &&Arc<Subnet>| subnet.service_types.iter().any(|it| it == device_owner);
    let anyone = |subnet: &&Arc<Subnet>| {
        subnet.service_types.is_empty() || device_owner == owner::DHCP && subnet.enable_dhcp
    };
    let first = subnets.iter().filter(serves);
    let then = subnets.iter().filter(|it| anyone(it) && !serves(it));
    first.chain(then).cloned().collect()
}

/// A free address of the first subnet that has one.
fn free_address(
    txn: &mut Txn<'_>,
    asker: Asker<'_>,
    subnets: &[Arc<Subnet>],
    taken: &[FixedIp],
) -> Result<FixedIp, Refusal> {
    let choice = match asker.device_owner {
        owner::DHCP => Choice::Lowest,
        _ => Choice::Any,
    };
    for subnet in subnets {
        // What this very request took is in no index yet: choose again, a few times.
        for _ in 0..=taken.len() * 8 {
            let Some(ip_address) = ipam::pick(txn, subnet, choice) else {
                break;
            };
            if !taken.iter().any(|one| one.ip_address == ip_address) {
                return Ok(FixedIp {
                    subnet_id: subnet.id,
                    ip_address,
                });
            }
        }
    }
    Err(Refusal::no_more_addresses(asker.network))
}

/// A network's subnets, the lowest prefix first.
pub(crate) fn subnets_of(txn: &Txn<'_>, network: NetworkId) -> Vec<Arc<Subnet>> {
    let state = txn.state();
    let ids = state.index.subnets_of_network.of(&network);
    let mut subnets: Vec<Arc<Subnet>> = ids
        .filter_map(|id| state.subnets.get(id).cloned())
        .collect();
    subnets.sort_by_key(|subnet| (subnet.cidr, subnet.id));
    subnets
}

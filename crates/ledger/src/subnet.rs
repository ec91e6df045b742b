//! Subnets: cut out of a pool or given, checked against their network's others, and what their
//! coming and going does to the network's ports.

use std::net::IpAddr;

use intent::{
    FixedIp, IpRange, Kind, Network, Object, Port, PortId, Subnet, SubnetId, SubnetPool, owner,
};
use ipnet::IpNet;

use crate::{
    Draft, Refusal, dhcp_port, draft::Reading, ipam, pools, rules::Rules, subnet_check,
    subnet_pool, txn::Txn,
};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::Subnet,
    missing: |id| Refusal::subnet_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let network = txn.visible_network(draft.text("network_id").unwrap_or_default())?;
    subnet_check::modes(draft)?;
    let pool = pool_of(txn, draft)?;
    let cidr = cidr(txn, &network, pool.as_deref(), draft)?;
    subnet_check::limits(txn, draft, "new subnet")?;
    let gateway_ip = match draft.value("gateway_ip") {
        None => Some(pools::default_gateway(cidr, pool.is_some())),
        Some(_) => draft.parsed("gateway_ip"),
    };
    let allocation_pools = match draft.typed::<Vec<IpRange>>("allocation_pools")? {
        Some(given) => {
            pools::check_pools(cidr, &given)?;
            pools::check_gateway(gateway_ip, &given)?;
            given
        }
        None => pools::default_pools(cidr, gateway_ip),
    };
    let subnet = Subnet {
        id: SubnetId::new(txn.uuid()),
        project_id: txn.owner_of(draft),
        network_id: network.id,
        name: draft.owned("name").unwrap_or_default(),
        cidr,
        gateway_ip,
        allocation_pools,
        enable_dhcp: draft.flag("enable_dhcp").unwrap_or(true),
        ipv6_ra_mode: draft.parsed("ipv6_ra_mode"),
        ipv6_address_mode: draft.parsed("ipv6_address_mode"),
        dns_nameservers: draft.typed("dns_nameservers")?.unwrap_or_default(),
        host_routes: draft.typed("host_routes")?.unwrap_or_default(),
        subnetpool_id: pool.map(|pool| pool.id),
        segment_id: subnet_check::segment(txn, network.id, None, draft)?,
        service_types: service_types(draft)?,
        dns_publish_fixed_ip: draft.flag("dns_publish_fixed_ip").unwrap_or(false),
        meta: txn.meta(draft.owned("description"), 0),
    };
    subnet_check::gateway(&subnet)?;
    Ok(put_new(txn, subnet).into())
}

/// The reference counts what a subnet tells its guests as a change of it.
fn first_revision(subnet: &Subnet) -> u64 {
    let plain = subnet.dns_nameservers.is_empty()
        && subnet.host_routes.is_empty()
        && subnet.service_types.is_empty();
    u64::from(!plain)
}

fn put_new(txn: &mut Txn<'_>, mut subnet: Subnet) -> Subnet {
    subnet.meta.revision_number = first_revision(&subnet);
    let subnet = Subnet::clone(&txn.create(subnet));
    txn.touch::<Network>(&subnet.network_id);
    if subnet.is_auto_address() {
        give_automatic_addresses(txn, &subnet);
    }
    dhcp_port::follow(txn, subnet.network_id);
    subnet
}

fn pool_of(txn: &Txn<'_>, draft: &Draft) -> Result<Option<std::sync::Arc<SubnetPool>>, Refusal> {
    let version = draft.number("ip_version").unwrap_or(4);
    let pool = match draft.text("subnetpool_id") {
        Some("prefix_delegation") => {
            return Err(Refusal::bad_request(
                "subnets",
                "prefix delegation is not supported",
            ));
        }
        Some(id) => Some(txn.visible_pool(id)?),
        None if draft.flag("use_default_subnetpool") == Some(true) => {
            let mut pools = txn.state().subnet_pools.values();
            let found = pools.find(|it| it.is_default && i64::from(it.ip_version) == version);
            let found = found.cloned().ok_or_else(|| {
                let why = format!("No default subnetpool found for IPv{version}");
                Refusal::bad_request("subnets", why)
            })?;
            Some(found)
        }
        None => None,
    };
    match &pool {
        Some(pool) if i64::from(pool.ip_version) != version => {
            let why = format!(
                "Cannot allocate IPv{version} subnet from IPv{} subnet pool",
                pool.ip_version
            );
            Err(Refusal::bad_request("subnets", why))
        }
        _ => Ok(pool),
    }
}

/// The prefix: given, or cut from the pool.
fn cidr(
    txn: &Txn<'_>,
    network: &Network,
    pool: Option<&SubnetPool>,
    draft: &Draft,
) -> Result<IpNet, Refusal> {
    let given = draft.parsed::<IpNet>("cidr").map(|cidr| cidr.trunc());
    let length = draft.number("prefixlen");
    if given.is_some() && length.is_some() {
        let why = "cidr and prefixlen must not be supplied together";
        return Err(Refusal::bad_request("subnets", why));
    }
    let cidr = match (given, pool) {
        (None, None) => {
            let why = "a subnetpool must be specified in the absence of a cidr";
            return Err(Refusal::bad_request("subnets", why));
        }
        (Some(cidr), None) => cidr,
        (given, Some(pool)) => subnet_pool::cut(txn, pool, given, length, &txn.owner_of(draft))?,
    };
    subnet_check::cidr(draft, cidr)?;
    subnet_check::overlap(txn, network.id, cidr)?;
    let version = if cidr.addr().is_ipv4() { 4 } else { 6 };
    subnet_pool::check_affinity(txn, network.id, version, pool)?;
    Ok(cidr)
}

/// What owners of ports are called: the words that a service type may begin with.
const OWNERS: [&str; 6] = [
    "network:",
    "compute:",
    "neutron:",
    "baremetal:",
    "trunk:",
    "Octavia",
];

fn service_types(draft: &Draft) -> Result<Vec<String>, Refusal> {
    let types = draft.texts("service_types");
    let known = |kind: &&String| OWNERS.iter().any(|owner| kind.starts_with(owner));
    match types.iter().find(|kind| !known(kind)) {
        Some(unknown) => Err(Refusal::invalid_service_type(unknown)),
        None => Ok(types),
    }
}

/// Ports that are there already make themselves an address in a new subnet of theirs.
fn give_automatic_addresses(txn: &mut Txn<'_>, subnet: &Subnet) {
    for id in ports_of_network(txn, subnet) {
        let Some(port) = txn.get::<Port>(&id) else {
            continue;
        };
        let is_router = owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str())
            || port.device_owner == owner::ROUTER_SNAT;
        let ip_address = ipam::eui64(subnet.cidr, port.mac_address);
        if is_router || !ipam::is_free(txn, subnet, ip_address) {
            continue;
        }
        let mut port = Port::clone(&port);
        port.fixed_ips.push(FixedIp {
            subnet_id: subnet.id,
            ip_address,
        });
        txn.save(port);
    }
}

fn ports_of_network(txn: &Txn<'_>, subnet: &Subnet) -> Vec<PortId> {
    let index = &txn.state().index;
    index
        .ports_of_network
        .of(&subnet.network_id)
        .copied()
        .collect()
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let Some(current) = txn.find::<Subnet>(key) else {
        return Err(Refusal::subnet_not_found(key));
    };
    let mut subnet = Subnet::clone(&current);
    draft.set_text("name", &mut subnet.name);
    draft.set_description(&mut subnet.meta);
    draft.set_flag("enable_dhcp", &mut subnet.enable_dhcp);
    draft.set_flag("dns_publish_fixed_ip", &mut subnet.dns_publish_fixed_ip);
    if !subnet.enable_dhcp && (subnet.ipv6_ra_mode.or(subnet.ipv6_address_mode)).is_some() {
        return Err(Refusal::invalid_input(
            "Cannot disable enable_dhcp with ipv6 attributes set",
        ));
    }
    subnet_check::limits(txn, draft, current.id)?;
    if let Some(servers) = draft.typed("dns_nameservers")? {
        subnet.dns_nameservers = servers;
    }
    if let Some(routes) = draft.typed("host_routes")? {
        subnet.host_routes = routes;
    }
    if draft.given("service_types") {
        subnet.service_types = service_types(draft)?;
    }
    if draft.given("segment_id") {
        subnet.segment_id = subnet_check::segment(txn, subnet.network_id, Some(&current), draft)?;
    }
    change_range(txn, &mut subnet, draft)?;
    if subnet == *current {
        return Ok(current.into());
    }
    let subnet = txn.save(subnet);
    txn.touch::<Network>(&subnet.network_id);
    if subnet.enable_dhcp != current.enable_dhcp {
        dhcp_port::follow(txn, subnet.network_id);
    }
    Ok(subnet.into())
}

fn change_range(txn: &Txn<'_>, subnet: &mut Subnet, draft: &Draft) -> Result<(), Refusal> {
    let pools = draft.typed::<Vec<IpRange>>("allocation_pools")?;
    if !draft.given("gateway_ip") && pools.is_none() {
        return Ok(());
    }
    if draft.given("gateway_ip") {
        let gateway: Option<IpAddr> = draft.parsed("gateway_ip");
        if gateway != subnet.gateway_ip {
            gateway_unused(txn, subnet)?;
        }
        subnet.gateway_ip = gateway;
        subnet_check::gateway(subnet)?;
    }
    if let Some(pools) = pools {
        pools::check_pools(subnet.cidr, &pools)?;
        subnet.allocation_pools = pools;
    }
    pools::check_gateway(subnet.gateway_ip, &subnet.allocation_pools)
}

/// A router that holds the gateway's address would be cut off by another gateway.
fn gateway_unused(txn: &Txn<'_>, subnet: &Subnet) -> Result<(), Refusal> {
    let Some(gateway) = subnet.gateway_ip else {
        return Ok(());
    };
    let state = txn.state();
    let holder = state
        .index
        .port_of_address
        .one(&(subnet.network_id, gateway));
    let holder = holder.and_then(|id| state.ports.get(id));
    match holder {
        Some(port) if owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str()) => {
            Err(Refusal::gateway_in_use(gateway, port.id))
        }
        _ => Ok(()),
    }
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let Some(subnet) = txn.find::<Subnet>(key) else {
        return Err(Refusal::subnet_not_found(key));
    };
    let ports: Vec<PortId> = txn
        .state()
        .index
        .address_in_subnet
        .of(&subnet.id)
        .map(|(_, port)| *port)
        .collect();
    let holds_on = |id: &PortId| {
        txn.get::<Port>(id).is_some_and(|port| {
            let router = owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str());
            let gives_way = port.device_owner == owner::DHCP || subnet.is_auto_address();
            router || !gives_way
        })
    };
    if ports.iter().any(holds_on) {
        let why = "One or more ports have an IP allocation from this subnet.";
        return Err(Refusal::subnet_in_use(subnet.id, why));
    }
    for id in ports {
        leave(txn, id, subnet.id);
    }
    remove(txn, subnet.id);
    txn.touch::<Network>(&subnet.network_id);
    dhcp_port::follow(txn, subnet.network_id);
    Ok(())
}

fn leave(txn: &mut Txn<'_>, port: PortId, subnet: SubnetId) {
    if let Some(port) = txn.get::<Port>(&port) {
        let mut port = Port::clone(&port);
        port.fixed_ips.retain(|fixed| fixed.subnet_id != subnet);
        txn.save(port);
    }
}

/// Takes a subnet away that no port has an address of.
pub(crate) fn remove(txn: &mut Txn<'_>, id: SubnetId) {
    txn.delete::<Subnet>(&id);
}

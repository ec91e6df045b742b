//! A router's interfaces: added by subnet (the port is made, with the gateway's address) or by
//! port, and taken away again when nothing rests on them.

use std::{net::IpAddr, sync::Arc};

use intent::{DeviceId, FixedIp, Port, Router, RouterId, Subnet, owner};
use serde_json::{Map, Value, json};

use crate::{
    Answer, Refusal, distributed,
    draft::Reading,
    fixed_ips::{self, Asker, Wanted},
    port::{self, Blueprint},
    router, schedule_router,
    txn::Txn,
};

/// What a request names.
struct Named<'a> {
    subnet: Option<&'a str>,
    port: Option<&'a str>,
}

fn named(body: &Value) -> Result<Named<'_>, Refusal> {
    let none = || bad("Either subnet_id or port_id must be specified");
    let map: &Map<String, Value> = body.as_object().ok_or_else(none)?;
    for name in ["subnet_id", "port_id"] {
        if let Some(text) = map.text(name)
            && uuid::Uuid::parse_str(text).is_err()
        {
            return Err(bad(format_args!("'{text}' is not a valid UUID")));
        }
    }
    let named = Named {
        subnet: map.text("subnet_id"),
        port: map.text("port_id"),
    };
    match (named.subnet, named.port) {
        (None, None) => Err(none()),
        _ => Ok(named),
    }
}

fn bad(why: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request("router", why)
}

/// `PUT routers/ID/add_router_interface`
pub(crate) fn add(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let router = router::find(txn, key)?;
    let (port, subnets) = match named(body)? {
        Named {
            subnet: Some(_),
            port: Some(_),
        } => return Err(bad("Cannot specify both subnet-id and port-id")),
        Named { port: Some(id), .. } => add_port(txn, &router, id)?,
        Named { subnet, .. } => add_subnet(txn, &router, subnet.unwrap_or_default())?,
    };
    txn.touch::<Router>(&router.id);
    let made = distributed::follow_interfaces(txn, router.id)?;
    txn.count_further::<Router>(&router.id, made);
    schedule_router::router(txn, router.id);
    Ok(info(&router, &port, &subnets))
}

fn info(router: &Router, port: &Port, subnets: &[Arc<Subnet>]) -> Answer {
    let ids: Vec<String> = subnets.iter().map(|subnet| subnet.id.to_string()).collect();
    Answer::Value(json!({
        "id": router.id,
        "project_id": router.project_id,
        "port_id": port.id,
        "network_id": port.network_id,
        "subnet_id": ids.first(),
        "subnet_ids": ids,
    }))
}

type Added = (Arc<Port>, Vec<Arc<Subnet>>);

fn add_subnet(txn: &mut Txn<'_>, router: &Router, id: &str) -> Result<Added, Refusal> {
    let subnet = visible_subnet(txn, id)?;
    if !txn.actor.owns(&subnet.project_id) {
        return Err(bad(format_args!(
            "Cannot add interface to router because subnet {id} is not owned by project making \
             the request"
        )));
    }
    let Some(gateway) = subnet.gateway_ip else {
        return Err(bad("Subnet for router interface must have a gateway IP"));
    };
    if subnet.ipv6_address_mode.is_some() && subnet.ipv6_ra_mode.is_none() {
        return Err(bad(format_args!(
            "IPv6 subnet {id} configured to receive RAs from an external router cannot be added \
             to Neutron Router"
        )));
    }
    no_overlap(txn, router.id, &subnet)?;
    let port = match ipv6_neighbour(txn, router.id, &subnet) {
        Some(port) => extend(txn, &port, &subnet, gateway)?,
        None => make(txn, router, &subnet, gateway)?,
    };
    Ok((port, vec![subnet]))
}

/// A subnet that the actor owns, or one of a network that is shared with it.
fn visible_subnet(txn: &Txn<'_>, id: &str) -> Result<Arc<Subnet>, Refusal> {
    let none = || Refusal::subnet_not_found(id);
    let subnet = txn.find::<Subnet>(id).ok_or_else(none)?;
    let owned = txn.actor.owns(&subnet.project_id);
    match owned || txn.visible_network(&subnet.network_id.to_string()).is_ok() {
        true => Ok(subnet),
        false => Err(none()),
    }
}

/// An interface holds all IPv6 subnets of its network.
fn ipv6_neighbour(txn: &Txn<'_>, router: RouterId, subnet: &Subnet) -> Option<Arc<Port>> {
    if subnet.ip_version() != 6 {
        return None;
    }
    let ports = router::interfaces(txn, router).into_iter();
    let mut ports = ports.filter(|port| port.network_id == subnet.network_id);
    ports.find(|port| port.addresses().any(|address| address.is_ipv6()))
}

fn extend(
    txn: &mut Txn<'_>,
    port: &Port,
    subnet: &Subnet,
    gateway: IpAddr,
) -> Result<Arc<Port>, Refusal> {
    let asker = Asker {
        network: port.network_id,
        mac: port.mac_address,
        device_owner: &port.device_owner,
    };
    let mut wanted: Vec<Wanted> = port.fixed_ips.iter().copied().map(Wanted::from).collect();
    wanted.push(at(subnet, gateway));
    let fixed_ips = fixed_ips::reallocate(txn, asker, &port.fixed_ips, &wanted)?;
    let mut port = port.clone();
    port.fixed_ips = fixed_ips;
    Ok(txn.save(port))
}

fn at(subnet: &Subnet, address: IpAddr) -> Wanted {
    Wanted {
        subnet: Some(subnet.id),
        address: Some(address),
    }
}

fn make(
    txn: &mut Txn<'_>,
    router: &Router,
    subnet: &Subnet,
    gateway: IpAddr,
) -> Result<Arc<Port>, Refusal> {
    let blueprint = Blueprint {
        project_id: router.project_id.clone(),
        device_id: DeviceId::from(router.id.to_string()),
        device_owner: interface_owner(router),
        fixed_ips: Some(&[at(subnet, gateway)]),
        mac: None,
    };
    port::make(txn, subnet.network_id, &blueprint)
}

pub(crate) fn interface_owner(router: &Router) -> &'static str {
    match router.distributed {
        true => owner::ROUTER_INTERFACE_DVR,
        false => owner::ROUTER_INTERFACE,
    }
}

fn add_port(txn: &mut Txn<'_>, router: &Router, id: &str) -> Result<Added, Refusal> {
    let port = txn.find::<Port>(id).filter(|port| is_visible(txn, port));
    let port = port.ok_or_else(|| Refusal::port_not_found(id))?;
    if !port.device_id.is_empty() {
        return Err(Refusal::port_in_use(
            port.id,
            port.network_id,
            format_args!("Port already has an attached device {}", port.device_id),
        ));
    }
    if port.fixed_ips.is_empty() {
        return Err(bad("Router port must have at least one fixed IP"));
    }
    let subnets = subnets_of(txn, &port.fixed_ips);
    if subnets
        .iter()
        .filter(|subnet| subnet.ip_version() == 4)
        .count()
        > 1
    {
        return Err(bad("Cannot have multiple IPv4 subnets on router port"));
    }
    for subnet in &subnets {
        no_overlap(txn, router.id, subnet)?;
        one_ipv6_port(txn, router.id, &port, subnet)?;
    }
    let mut port = Port::clone(&port);
    port.device_id = DeviceId::from(router.id.to_string());
    interface_owner(router).clone_into(&mut port.device_owner);
    Ok((txn.save(port), subnets))
}

/// Its own, or one on a network of its own.
fn is_visible(txn: &Txn<'_>, port: &Port) -> bool {
    let network = txn.state().networks.get(&port.network_id);
    txn.actor.owns(&port.project_id)
        || network.is_some_and(|network| txn.actor.owns(&network.project_id))
}

fn one_ipv6_port(
    txn: &Txn<'_>,
    router: RouterId,
    port: &Port,
    subnet: &Subnet,
) -> Result<(), Refusal> {
    match ipv6_neighbour(txn, router, subnet) {
        Some(other) if other.id != port.id => Err(bad(format_args!(
            "Cannot have multiple router ports with the same network id if both contain IPv6 \
             subnets. Existing port {} has IPv6 subnet(s) and network id {}",
            other.id, other.network_id
        ))),
        _ => Ok(()),
    }
}

fn subnets_of(txn: &Txn<'_>, fixed_ips: &[FixedIp]) -> Vec<Arc<Subnet>> {
    let subnets = fixed_ips.iter().map(|fixed| fixed.subnet_id);
    subnets.filter_map(|id| txn.get::<Subnet>(&id)).collect()
}

/// No two subnets of a router hold the same addresses.
pub(crate) fn no_overlap(txn: &Txn<'_>, router: RouterId, new: &Subnet) -> Result<(), Refusal> {
    let ports = schedule_router::ports_of(txn, router);
    let ports = ports
        .iter()
        .filter(|port| port.device_owner != owner::ROUTER_SNAT);
    for held in ports.flat_map(|port| subnets_of(txn, &port.fixed_ips)) {
        if held.id == new.id {
            return Err(bad(format_args!(
                "Router already has a port on subnet {}",
                new.id
            )));
        }
        if held.cidr.contains(&new.cidr) || new.cidr.contains(&held.cidr) {
            return Err(bad(format_args!(
                "Cidr {} of subnet {} overlaps with cidr {} of subnet {}",
                new.cidr, new.id, held.cidr, held.id
            )));
        }
    }
    Ok(())
}

/// `PUT routers/ID/remove_router_interface`
pub(crate) fn remove(txn: &mut Txn<'_>, key: &str, body: &Value) -> Result<Answer, Refusal> {
    let router = router::find(txn, key)?;
    let named = named(body)?;
    let (port, subnets) = match named.port {
        Some(id) => by_port(txn, &router, id, named.subnet)?,
        None => by_subnet(txn, &router, named.subnet.unwrap_or_default())?,
    };
    for subnet in &subnets {
        not_in_use(txn, &router, subnet)?;
    }
    let keeps = |fixed: &&FixedIp| subnets.iter().all(|subnet| subnet.id != fixed.subnet_id);
    let kept: Vec<FixedIp> = port.fixed_ips.iter().filter(keeps).copied().collect();
    if kept.is_empty() {
        port::remove(txn, port.id);
    } else {
        let mut port = Port::clone(&port);
        port.fixed_ips = kept;
        txn.save(port);
    }
    txn.touch::<Router>(&router.id);
    distributed::follow_interfaces(txn, router.id)?;
    Ok(info(&router, &port, &subnets))
}

fn by_port(
    txn: &Txn<'_>,
    router: &Router,
    id: &str,
    subnet: Option<&str>,
) -> Result<Added, Refusal> {
    let mut ports = router::interfaces(txn, router.id).into_iter();
    let port = ports.find(|port| port.id.to_string() == id);
    let port = port.ok_or_else(|| Refusal::router_interface_not_found(router.id, id))?;
    let subnets = subnets_of(txn, &port.fixed_ips);
    match subnet {
        Some(subnet) if subnets.iter().all(|held| held.id.to_string() != subnet) => {
            Err(Refusal::subnet_mismatch_for_port(port.id, subnet))
        }
        _ => Ok((port, subnets)),
    }
}

fn by_subnet(txn: &Txn<'_>, router: &Router, id: &str) -> Result<Added, Refusal> {
    let subnet = visible_subnet(txn, id)?;
    let holds = |port: &Arc<Port>| port.fixed_ips.iter().any(|it| it.subnet_id == subnet.id);
    let port = router::interfaces(txn, router.id).into_iter().find(holds);
    let port = port.ok_or_else(|| Refusal::no_router_interface_for_subnet(router.id, subnet.id))?;
    Ok((port, vec![subnet]))
}

/// Neither a floating IP's port nor a route's next hop is behind the interface.
fn not_in_use(txn: &Txn<'_>, router: &Router, subnet: &Subnet) -> Result<(), Refusal> {
    let inside = |address: Option<IpAddr>| address.is_some_and(|it| subnet.cidr.contains(&it));
    let mut floating = router::floating_ips(txn, router.id).into_iter();
    if floating.any(|floating| inside(floating.fixed_ip_address)) {
        return Err(Refusal::router_interface_in_use_by_floating_ip(
            subnet.id, router.id,
        ));
    }
    if router
        .routes
        .iter()
        .any(|route| inside(Some(route.nexthop)))
    {
        return Err(Refusal::router_interface_in_use_by_route(
            subnet.id, router.id,
        ));
    }
    Ok(())
}

//! Floating IPs: addresses of an external network that lead to a port behind a router.

use std::{net::IpAddr, sync::Arc};

use intent::{
    DeviceId, FixedIp, FloatingIp, FloatingIpId, FloatingIpStatus, HostName, Kind, NetworkId,
    Object, Port, PortId, PortStatus, RouterId, Subnet, SubnetId, owner,
};

use crate::{
    Draft, Refusal, distributed,
    draft::Reading,
    fixed_ips::Wanted,
    port::{self, Blueprint},
    router,
    rules::Rules,
    txn::Txn,
};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::FloatingIp,
    missing: |id| Refusal::floating_ip_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

fn bad(why: impl std::fmt::Display) -> Refusal {
    Refusal::bad_request("floatingip", why)
}

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    refuse_qos(draft)?;
    let given = draft.text("floating_network_id").unwrap_or_default();
    let network = txn.visible_network(given)?;
    if !network.external {
        return Err(bad(format_args!(
            "Network {given} is not a valid external network"
        )));
    }
    let id = FloatingIpId::new(txn.uuid());
    let port = make_port(txn, id, network.id, draft)?;
    let address = port.addresses().find(IpAddr::is_ipv4);
    let address = address.ok_or_else(|| Refusal::external_addresses_exhausted(network.id))?;
    let mut floating_ip = FloatingIp {
        id,
        project_id: txn.owner_of(draft),
        floating_network_id: network.id,
        floating_ip_address: address,
        floating_port_id: port.id,
        port_id: None,
        fixed_ip_address: None,
        router_id: None,
        status: FloatingIpStatus::Down,
        dns_name: draft.owned("dns_name").unwrap_or_default(),
        dns_domain: draft.owned("dns_domain").unwrap_or_default(),
        meta: txn.meta(draft.owned("description"), 0),
    };
    let wanted = Target {
        port: draft.text("port_id"),
        address: draft.parsed("fixed_ip_address"),
    };
    associate(txn, &mut floating_ip, &wanted)?;
    Ok(txn.create(floating_ip).into())
}

/// Policies for quality of service are not built: none can be named.
fn refuse_qos(draft: &Draft) -> Result<(), Refusal> {
    match draft.text("qos_policy_id") {
        Some(id) => Err(Refusal::qos_policy_not_found(id)),
        None => Ok(()),
    }
}

/// The port that holds the address on the external network. It is nobody's, and never up or down.
fn make_port(
    txn: &mut Txn<'_>,
    id: FloatingIpId,
    network: NetworkId,
    draft: &Draft,
) -> Result<Arc<Port>, Refusal> {
    let named = Wanted {
        subnet: draft.parsed("subnet_id"),
        address: draft.parsed("floating_ip_address"),
    };
    let anywhere = named.subnet.is_none() && named.address.is_none();
    let wanted = [named];
    let blueprint = Blueprint {
        device_id: DeviceId::from(id.to_string()),
        device_owner: owner::FLOATING_IP,
        fixed_ips: (!anywhere).then_some(&wanted),
        ..Blueprint::default()
    };
    let port = port::make(txn, network, &blueprint)?;
    let mut port = Port::clone(&port);
    port.status = PortStatus::NotApplicable;
    let id = txn.save(port).id;
    // Neutron makes the port before it knows the floating IP's id.
    txn.count_further::<Port>(&id, 1);
    txn.get::<Port>(&id)
        .ok_or_else(|| Refusal::port_not_found(id))
}

/// What a floating IP shall lead to.
struct Target<'a> {
    port: Option<&'a str>,
    address: Option<IpAddr>,
}

fn associate(
    txn: &Txn<'_>,
    floating_ip: &mut FloatingIp,
    target: &Target<'_>,
) -> Result<(), Refusal> {
    let Some(port) = target.port else {
        if target.address.is_some() {
            return Err(bad(
                "fixed_ip_address cannot be specified without a port_id",
            ));
        }
        part(floating_ip);
        return Ok(());
    };
    let port = visible_port(txn, floating_ip, port)?;
    let fixed = fixed_ip(&port, target.address)?;
    let network = floating_ip.floating_network_id;
    let router = router_towards(txn, &port, fixed.subnet_id, network)
        .ok_or_else(|| Refusal::no_gateway_for_floating_ip(network, fixed.subnet_id, port.id))?;
    only_one(txn, floating_ip, &port, fixed.ip_address)?;
    floating_ip.port_id = Some(port.id);
    floating_ip.fixed_ip_address = Some(fixed.ip_address);
    floating_ip.router_id = Some(router);
    Ok(())
}

fn part(floating_ip: &mut FloatingIp) {
    floating_ip.port_id = None;
    floating_ip.fixed_ip_address = None;
    floating_ip.router_id = None;
    floating_ip.status = FloatingIpStatus::Down;
}

fn visible_port(txn: &Txn<'_>, floating_ip: &FloatingIp, id: &str) -> Result<Arc<Port>, Refusal> {
    let port = txn.find::<Port>(id);
    let port = port.ok_or_else(|| Refusal::port_not_found(id))?;
    if txn.actor.owns(&port.project_id) {
        return Ok(port);
    }
    // The owner of a network sees its ports and still may not lead addresses to them.
    let network = txn.state().networks.get(&port.network_id);
    match network.is_some_and(|network| txn.actor.owns(&network.project_id)) {
        false => Err(Refusal::port_not_found(id)),
        true if port.project_id == floating_ip.project_id => Ok(port),
        true => Err(bad(format_args!(
            "Port {id} is associated with a different tenant than Floating IP {} and therefore \
             cannot be bound",
            floating_ip.id
        ))),
    }
}

fn fixed_ip(port: &Port, wanted: Option<IpAddr>) -> Result<FixedIp, Refusal> {
    let id = port.id;
    if let Some(address) = wanted {
        let mut fixed = port.fixed_ips.iter().copied();
        let found = fixed.find(|fixed| fixed.ip_address == address);
        return found
            .ok_or_else(|| bad(format_args!("Port {id} does not have fixed ip {address}")));
    }
    let v4: Vec<&FixedIp> = port
        .fixed_ips
        .iter()
        .filter(|fixed| fixed.ip_address.is_ipv4())
        .collect();
    match v4[..] {
        [] => Err(bad(format_args!(
            "Cannot add floating IP to port {id} that has no fixed IPv4 addresses"
        ))),
        [one] => Ok(*one),
        _ => Err(bad(format_args!(
            "Port {id} has multiple fixed IPv4 addresses.  Must provide a specific IPv4 address \
             when assigning a floating IP"
        ))),
    }
}

/// The router between a port's subnet and an external network: of several, the one that is the
/// subnet's gateway.
fn router_towards(
    txn: &Txn<'_>,
    port: &Port,
    subnet: SubnetId,
    network: NetworkId,
) -> Option<RouterId> {
    let gateway = txn.get::<Subnet>(&subnet)?.gateway_ip;
    let candidates = txn.state().index.routers_of_gateway_network.of(&network);
    let mut found = None;
    for id in candidates.copied().collect::<Vec<_>>() {
        for interface in router::interfaces(txn, id) {
            if interface.network_id != port.network_id {
                continue;
            }
            let held = interface.fixed_ips.iter().find(|it| it.subnet_id == subnet);
            match held {
                Some(held) if Some(held.ip_address) == gateway => return Some(id),
                Some(_) => found = found.or(Some(id)),
                None => {}
            }
        }
    }
    found
}

/// One floating IP of a network leads to an address.
fn only_one(
    txn: &Txn<'_>,
    floating_ip: &FloatingIp,
    port: &Port,
    address: IpAddr,
) -> Result<(), Refusal> {
    let state = txn.state();
    let others = state.index.floating_ips_of_port.of(&port.id);
    let mut others = others.filter_map(|id| state.floating_ips.get(id));
    let network = floating_ip.floating_network_id;
    let twin = |other: &Arc<FloatingIp>| {
        other.id != floating_ip.id
            && other.fixed_ip_address == Some(address)
            && other.floating_network_id == network
    };
    match others.any(twin) {
        true => Err(Refusal::port_already_associated(
            format_args!("{} ({})", floating_ip.floating_ip_address, floating_ip.id),
            port.id,
            address,
            network,
        )),
        false => Ok(()),
    }
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let current = txn.find::<FloatingIp>(key);
    let current = current.ok_or_else(|| Refusal::floating_ip_not_found(key))?;
    refuse_qos(draft)?;
    let mut floating_ip = FloatingIp::clone(&current);
    draft.set_description(&mut floating_ip.meta);
    // A change that names no port is about the port that it has, found anew by the address named.
    let held = current.port_id.map(|id| id.to_string());
    let target = Target {
        port: match draft.given("port_id") {
            true => draft.text("port_id"),
            false => held.as_deref(),
        },
        address: draft.parsed("fixed_ip_address"),
    };
    associate(txn, &mut floating_ip, &target)?;
    let unchanged = *current == floating_ip;
    let id = txn.save(floating_ip).id;
    if unchanged {
        // Neutron counts every request that asks to change one.
        txn.touch::<FloatingIp>(&id);
    }
    let floating_ip = txn.get::<FloatingIp>(&id);
    Ok(floating_ip
        .ok_or_else(|| Refusal::floating_ip_not_found(id))?
        .into())
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let floating_ip = txn.find::<FloatingIp>(key);
    let floating_ip = floating_ip.ok_or_else(|| Refusal::floating_ip_not_found(key))?;
    txn.delete::<FloatingIp>(&floating_ip.id);
    port::remove(txn, floating_ip.floating_port_id);
    Ok(())
}

/// Floating IPs that lead nowhere go with their network; those that lead somewhere hold it.
pub(crate) fn drop_unused(txn: &mut Txn<'_>, network: NetworkId) {
    let state = txn.state();
    let ids = state.index.floating_ips_of_network.of(&network);
    let floating_ips = ids.filter_map(|id| state.floating_ips.get(id));
    let unused: Vec<_> = floating_ips
        .filter(|floating_ip| floating_ip.port_id.is_none())
        .map(|floating_ip| (floating_ip.id, floating_ip.floating_port_id))
        .collect();
    for (id, port) in unused {
        txn.delete::<FloatingIp>(&id);
        port::remove(txn, port);
    }
}

/// A port is about to lose these addresses: floating IPs that lead there lead nowhere.
pub(crate) fn addresses_left(txn: &mut Txn<'_>, port: PortId, lost: &[FixedIp]) {
    let ids = txn.state().index.floating_ips_of_port.of(&port);
    let ids: Vec<FloatingIpId> = ids.copied().collect();
    for id in ids {
        let Some(floating_ip) = txn.get::<FloatingIp>(&id) else {
            continue;
        };
        let leads_there = |fixed: &FixedIp| Some(fixed.ip_address) == floating_ip.fixed_ip_address;
        if lost.iter().any(leads_there) {
            let mut floating_ip = FloatingIp::clone(&floating_ip);
            part(&mut floating_ip);
            txn.save(floating_ip);
        }
    }
}

/// What a host says of a router that it serves is so of the router's floating IPs that are the
/// host's to serve.
pub(crate) fn set_status(
    txn: &mut Txn<'_>,
    host: &HostName,
    router: RouterId,
    status: FloatingIpStatus,
) {
    for floating_ip in router::floating_ips(txn, router) {
        if floating_ip.status != status && distributed::is_served_by(txn, &floating_ip, host) {
            let mut floating_ip = FloatingIp::clone(&floating_ip);
            floating_ip.status = status;
            txn.save(floating_ip);
        }
    }
}

//! A router's gateway: its port on an external network, with the addresses that SNAT uses.

use std::sync::Arc;

use intent::{DeviceId, Gateway, Network, NetworkId, Port, Router, RouterId, owner};
use serde_json::{Map, Value};

use crate::{
    Refusal, distributed,
    draft::Reading,
    fixed_ips::{self, Asker, Wanted},
    interface,
    port::{self, Blueprint},
    router,
    txn::Txn,
};

/// Sets, changes or (null, or nothing in it) takes away a router's gateway.
pub(crate) fn set(txn: &mut Txn<'_>, id: RouterId, info: &Value) -> Result<(), Refusal> {
    let Some(info) = info.as_object().filter(|info| !info.is_empty()) else {
        return clear(txn, id);
    };
    let network = external(txn, info.text("network_id").unwrap_or_default())?;
    let wanted = match info.value("external_fixed_ips") {
        Some(given) if !given.is_null() => Some(fixed_ips::read(given)?),
        _ => None,
    };
    // None named is as good as any.
    let wanted = wanted.filter(|wanted| !wanted.is_empty());
    let held = current(txn, id)?.gateway.clone();
    let port = match held {
        Some(held) if held.network_id == network.id => readdress(txn, &held, wanted.as_deref())?,
        _ => {
            clear(txn, id)?;
            make_port(txn, id, network.id, wanted.as_deref())?
        }
    };
    save(txn, id, &port, info)?;
    distributed::follow_gateway(txn, id)
}

fn current(txn: &Txn<'_>, id: RouterId) -> Result<Arc<Router>, Refusal> {
    let router = txn.get::<Router>(&id);
    router.ok_or_else(|| Refusal::router_not_found(id))
}

fn external(txn: &Txn<'_>, id: &str) -> Result<Arc<Network>, Refusal> {
    let network = txn.visible_network(id)?;
    match network.external {
        true => Ok(network),
        false => Err(Refusal::bad_request(
            "router",
            format_args!("Network {id} is not an external network"),
        )),
    }
}

/// The port keeps its addresses unless others are named.
fn readdress(
    txn: &mut Txn<'_>,
    held: &Gateway,
    wanted: Option<&[Wanted]>,
) -> Result<Arc<Port>, Refusal> {
    let port = txn.get::<Port>(&held.port_id);
    let port = port.ok_or_else(|| Refusal::port_not_found(held.port_id))?;
    let Some(wanted) = wanted else {
        return Ok(port);
    };
    let asker = Asker {
        network: held.network_id,
        mac: port.mac_address,
        device_owner: owner::ROUTER_GATEWAY,
    };
    let fixed_ips = fixed_ips::reallocate(txn, asker, &port.fixed_ips, wanted)?;
    let mut port = Port::clone(&port);
    port.fixed_ips = fixed_ips;
    Ok(txn.save(port))
}

/// The gateway's port is nobody's: the router's project never sees it.
fn make_port(
    txn: &mut Txn<'_>,
    id: RouterId,
    network: NetworkId,
    wanted: Option<&[Wanted]>,
) -> Result<Arc<Port>, Refusal> {
    let subnets = fixed_ips::subnets_of(txn, network);
    for subnet in &subnets {
        interface::no_overlap(txn, id, subnet)?;
    }
    let blueprint = Blueprint {
        device_id: DeviceId::from(id.to_string()),
        device_owner: owner::ROUTER_GATEWAY,
        fixed_ips: wanted,
        ..Blueprint::default()
    };
    port::make(txn, network, &blueprint)
}

fn save(
    txn: &mut Txn<'_>,
    id: RouterId,
    port: &Port,
    info: &Map<String, Value>,
) -> Result<(), Refusal> {
    let mut router = Router::clone(&*current(txn, id)?);
    let given = info.flag("enable_snat");
    router.gateway = Some(Gateway {
        network_id: port.network_id,
        port_id: port.id,
        enable_snat: given.unwrap_or(txn.config().enable_snat_by_default),
    });
    let was_there = txn.before.get::<Router>(&id).is_some();
    txn.save(router);
    // Neutron writes the gateway apart from the router, and SNAT, where it is named, apart again.
    let further = u64::from(!was_there) + u64::from(given.is_some());
    txn.count_further::<Router>(&id, further);
    Ok(())
}

/// Takes the gateway away. Floating IPs that go through it keep it.
pub(crate) fn clear(txn: &mut Txn<'_>, id: RouterId) -> Result<(), Refusal> {
    let mut router = Router::clone(&*current(txn, id)?);
    let Some(gateway) = router.gateway.take() else {
        return Ok(());
    };
    if !router::floating_ips(txn, id).is_empty() {
        return Err(Refusal::router_gateway_in_use(id, gateway.network_id));
    }
    txn.save(router);
    port::remove(txn, gateway.port_id);
    distributed::follow_gateway(txn, id)
}

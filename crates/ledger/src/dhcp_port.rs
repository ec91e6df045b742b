//! The ports of DHCP servers: one for each network and serving host, with the lowest free address
//! in every subnet that has DHCP.

use std::sync::Arc;

use intent::{
    Agent, AgentType, DeviceId, FixedIp, HostName, Network, NetworkId, Port, PortId, PortStatus,
    owner,
};
use uuid::Uuid;

use crate::{
    Answer, Refusal, binding,
    fixed_ips::{self, Asker, Wanted},
    port::{self, Blueprint},
    schedule,
    txn::Txn,
};

/// The device that a host's DHCP server is on a network: Neutron's name, so that a server that is
/// taken over finds its port again.
pub(crate) fn device(host: &str, network: NetworkId) -> DeviceId {
    let short = host.split('.').next().unwrap_or_default();
    let host = Uuid::new_v5(&Uuid::NAMESPACE_DNS, short.as_bytes());
    format!("dhcp{host}-{network}").into()
}

fn ports_of(txn: &Txn<'_>, network: NetworkId, device: &DeviceId) -> Vec<Arc<Port>> {
    let state = txn.state();
    let ids = state.index.ports_of_device.of(device);
    let ports = ids.filter_map(|id| state.ports.get(id));
    ports
        .filter(|port| port.network_id == network && port.device_owner == owner::DHCP)
        .cloned()
        .collect()
}

/// The DHCP agents that serve a network, dead or alive.
fn agents_of(txn: &Txn<'_>, network: NetworkId) -> Vec<Arc<Agent>> {
    let state = txn.state();
    let ids = state.index.dhcp_agents_of_network.of(&network);
    ids.filter_map(|id| state.agents.get(id).cloned()).collect()
}

/// Whether a live agent serves the network.
pub(crate) fn is_served(txn: &Txn<'_>, network: NetworkId) -> bool {
    let agents = agents_of(txn, network);
    agents
        .iter()
        .any(|agent| agent.admin_state_up && txn.context.is_alive(agent))
}

/// Whether a new port has to wait until DHCP knows it.
pub(crate) fn must_wait(txn: &Txn<'_>, port: &Port) -> bool {
    let state = txn.state();
    let mut subnets = port
        .fixed_ips
        .iter()
        .filter_map(|it| state.subnets.get(&it.subnet_id));
    !port.is_network_owned()
        && subnets.any(|subnet| subnet.enable_dhcp)
        && is_served(txn, port.network_id)
}

/// Makes the port of the host's DHCP server on a network, or finds it, and sees to its addresses.
pub(crate) fn ensure(
    txn: &mut Txn<'_>,
    host: &HostName,
    network: NetworkId,
) -> Result<Answer, Refusal> {
    let agent = txn
        .state()
        .index
        .agent_of_host
        .one(&(host.clone(), AgentType::Dhcp))
        .copied();
    let serves = agent.is_some_and(|agent| {
        txn.state()
            .index
            .dhcp_agents_of_network
            .contains(&network, &agent)
    });
    let Some(found) = txn.get::<Network>(&network).filter(|_| serves) else {
        return Err(Refusal::network_not_found(network));
    };
    let wanted = wanted(txn, network);
    if wanted.is_empty() {
        return Ok(Answer::Done);
    }
    let device = device(host, network);
    let port = match ports_of(txn, network, &device).pop() {
        Some(port) => port,
        None => match ports_of(txn, network, &owner::RESERVED_DHCP_DEVICE.into()).pop() {
            Some(waiting) => {
                let mut port = Port::clone(&waiting);
                port.device_id = device;
                txn.save(port)
            }
            None => {
                let blueprint = Blueprint {
                    project_id: found.project_id.clone(),
                    device_id: device,
                    device_owner: owner::DHCP,
                    fixed_ips: Some(&wanted),
                    mac: None,
                };
                port::make(txn, network, &blueprint)?
            }
        },
    };
    let port = readdress(txn, &port)?;
    binding::bind(txn, &port, host);
    let port = txn.get::<Port>(&port.id).expect("just saved");
    Ok(Answer::one(Port::clone(&port)))
}

/// One address in every subnet that has DHCP.
fn wanted(txn: &Txn<'_>, network: NetworkId) -> Vec<Wanted> {
    let subnets = fixed_ips::subnets_of(txn, network);
    let served = subnets.iter().filter(|subnet| subnet.enable_dhcp);
    served
        .map(|subnet| Wanted {
            subnet: Some(subnet.id),
            address: None,
        })
        .collect()
}

fn readdress(txn: &mut Txn<'_>, port: &Arc<Port>) -> Result<Arc<Port>, Refusal> {
    let wanted = wanted(txn, port.network_id);
    let asker = Asker {
        network: port.network_id,
        mac: port.mac_address,
        device_owner: owner::DHCP,
    };
    let fixed: Vec<FixedIp> = fixed_ips::reallocate(txn, asker, &port.fixed_ips, &wanted)?;
    let mut port = Port::clone(port);
    port.fixed_ips = fixed;
    Ok(txn.save(port))
}

/// After the network's subnets changed: its DHCP servers follow, and go when there is no DHCP.
/// A subnet without a free address leaves its servers without one there.
pub(crate) fn follow(txn: &mut Txn<'_>, network: NetworkId) {
    let none = wanted(txn, network).is_empty();
    for port in all_of(txn, network) {
        if none {
            port::remove(txn, port.id);
        } else {
            // A server that gets no address where a subnet is full keeps those that it has.
            let _ = readdress(txn, &port);
        }
    }
    schedule::network(txn, network);
}

fn all_of(txn: &Txn<'_>, network: NetworkId) -> Vec<Arc<Port>> {
    let hosts = agents_of(txn, network);
    let devices = hosts.iter().map(|agent| device(&agent.host, network));
    let devices = devices.chain([owner::RESERVED_DHCP_DEVICE.into()]);
    devices
        .flat_map(|device| ports_of(txn, network, &device))
        .collect()
}

/// An agent no longer serves the network: its port waits for the next.
pub(crate) fn release(txn: &mut Txn<'_>, host: &str, network: NetworkId) {
    for port in ports_of(txn, network, &device(host, network)) {
        let mut port = Port::clone(&port);
        port.device_id = owner::RESERVED_DHCP_DEVICE.into();
        port.bindings.clear();
        port.status = PortStatus::Down;
        txn.save(port);
    }
}

/// The port of a host's server, if it has been made.
pub(crate) fn of_host(txn: &Txn<'_>, host: &str, network: NetworkId) -> Option<PortId> {
    let ports = ports_of(txn, network, &device(host, network));
    ports.first().map(|port| port.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_device_is_named_as_neutron_names_it() {
        let network = NetworkId::new(Uuid::nil());
        assert_eq!(
            &*device("net.example.org", network),
            "dhcp22d7ffe1-4a45-5628-b940-41655bfe030e-00000000-0000-0000-0000-000000000000"
        );
    }
}

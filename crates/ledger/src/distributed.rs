//! Distributed routers: the ports that only they have, made and taken away as their interfaces,
//! gateways and floating IPs come and go, in whatever order.
//!
//! - `network:router_centralized_snat`: where the SNAT part stands in each of the router's subnets,
//!   while the router has a gateway;
//! - `network:floatingip_agent_gateway`: where a host that serves floating IPs by itself stands in
//!   the external network, one for each host and network. Hosts that serve none have none.

use std::{collections::BTreeSet, sync::Arc};

use intent::{
    Agent, AgentId, AgentType, DeviceId, FloatingIp, HostName, Kind, NetworkId, Port, PortId,
    PortStatus, Router, RouterId, State, SubnetId, owner, state::Pair,
};

use crate::{
    Refusal,
    agent::{self, Mode},
    binding,
    fixed_ips::Wanted,
    interface,
    port::{self, Blueprint},
    router, schedule_router,
    txn::Txn,
};

/// After the gateway came, changed or went.
pub(crate) fn follow_gateway(txn: &mut Txn<'_>, id: RouterId) -> Result<(), Refusal> {
    follow_interfaces(txn, id).map(|_| ())
}

/// Each of the router's subnets has a port of the SNAT part, or none has. Says how many were made.
pub(crate) fn follow_interfaces(txn: &mut Txn<'_>, id: RouterId) -> Result<u64, Refusal> {
    let Some(found) = txn.get::<Router>(&id) else {
        return Ok(0);
    };
    let wanted = snat_subnets(txn, &found);
    let held: Vec<Arc<Port>> = schedule_router::ports_of(txn, id)
        .into_iter()
        .filter(|port| port.device_owner == owner::ROUTER_SNAT)
        .collect();
    let on = |port: &Port| port.fixed_ips.first().map(|fixed| fixed.subnet_id);
    for port in &held {
        if !on(port).is_some_and(|subnet| wanted.contains(&(port.network_id, subnet))) {
            port::remove(txn, port.id);
        }
    }
    let mut made = 0;
    for (network, subnet) in wanted {
        if held.iter().all(|port| on(port) != Some(subnet)) {
            make_snat_port(txn, id, network, subnet)?;
            made += 1;
        }
    }
    Ok(made)
}

fn snat_subnets(txn: &Txn<'_>, found: &Router) -> BTreeSet<(NetworkId, SubnetId)> {
    if !found.distributed || found.gateway.is_none() {
        return BTreeSet::new();
    }
    let interfaces = router::interfaces(txn, found.id);
    let subnets = interfaces.iter().flat_map(|port| {
        let subnets = port.fixed_ips.iter().map(|fixed| fixed.subnet_id);
        subnets.map(|subnet| (port.network_id, subnet))
    });
    subnets.collect()
}

fn make_snat_port(
    txn: &mut Txn<'_>,
    id: RouterId,
    network: NetworkId,
    subnet: SubnetId,
) -> Result<(), Refusal> {
    let anywhere = Wanted {
        subnet: Some(subnet),
        address: None,
    };
    let blueprint = Blueprint {
        device_id: DeviceId::from(id.to_string()),
        device_owner: owner::ROUTER_SNAT,
        fixed_ips: Some(&[anywhere]),
        ..Blueprint::default()
    };
    port::make(txn, network, &blueprint)?;
    schedule_router::place(txn, id);
    Ok(())
}

/// After the router became distributed, or centralized again: its interfaces are of the other kind.
pub(crate) fn convert(txn: &mut Txn<'_>, id: RouterId) -> Result<(), Refusal> {
    let found = router::find(txn, &id.to_string())?;
    for port in router::interfaces(txn, id) {
        let mut port = Port::clone(&port);
        interface::interface_owner(&found).clone_into(&mut port.device_owner);
        port.bindings.clear();
        txn.save(port);
    }
    follow_interfaces(txn, id)?;
    schedule_router::refit(txn, id);
    Ok(())
}

/// After a command: the hosts that serve floating IPs by themselves stand in the external networks
/// that those are of. A network without a free address leaves its floating IPs unserved until one
/// is.
/// Interfaces of routers that are on no host any more are down.
pub(crate) fn settle(txn: &mut Txn<'_>) {
    let networks: BTreeSet<NetworkId> = concerned(txn).collect();
    for network in networks {
        settle_network(txn, network);
    }
    for router in routers_that_left(txn) {
        if !is_anywhere(txn.state(), router) {
            set_interfaces(txn, router, PortStatus::Down);
        }
    }
}

/// Distributed routers that the command may have taken from a host.
fn routers_that_left(txn: &Txn<'_>) -> BTreeSet<RouterId> {
    let state = txn.state();
    let routers = txn.changed().flat_map(|(kind, key)| match kind {
        Kind::Router => key.parse().into_iter().collect(),
        Kind::RouterBinding => {
            let pair = key.parse::<Pair<RouterId, AgentId>>();
            pair.into_iter().map(|Pair(router, _)| router).collect()
        }
        Kind::Port => match key.parse() {
            Ok(id) => routers_left_by_port(txn.before, state, id),
            Err(_) => Vec::new(),
        },
        // Rare, as above.
        Kind::Agent => state.routers.keys().copied().collect(),
        _ => Vec::new(),
    });
    let is_distributed = |id: &RouterId| state.routers.get(id).is_some_and(|it| it.distributed);
    routers.filter(is_distributed).collect()
}

/// The routers on the network of a port that is not on its host any more.
fn routers_left_by_port(before: &State, after: &State, id: PortId) -> Vec<RouterId> {
    let Some(old) = before.ports.get(&id).filter(|port| port.host().is_some()) else {
        return Vec::new();
    };
    if after.ports.get(&id).and_then(|port| port.host()) == old.host() {
        return Vec::new();
    }
    let ports = after.index.router_ports_of_network.of(&old.network_id);
    let ports = ports.filter_map(|id| after.ports.get(id));
    ports
        .filter_map(|port| port.device_id.parse().ok())
        .collect()
}

/// Whether a distributed router is on, and some host has a part of it.
fn is_anywhere(state: &State, id: RouterId) -> bool {
    let is_on = state.routers.get(&id).is_some_and(|it| it.admin_state_up);
    // The first question answers most, and is the cheaper one.
    is_on && (state.index.agents_of_router.any(&id) || !agents_of_router(state, id).is_empty())
}

/// A host has a distributed router standing: its interfaces, which are on no one host, are up once
/// they are on any.
pub(crate) fn stands(txn: &mut Txn<'_>, id: RouterId) {
    if is_anywhere(txn.state(), id) {
        set_interfaces(txn, id, PortStatus::Active);
    }
}

fn set_interfaces(txn: &mut Txn<'_>, id: RouterId, status: PortStatus) {
    for port in router::interfaces(txn, id) {
        if port.device_owner == owner::ROUTER_INTERFACE_DVR && port.status != status {
            let mut port = Port::clone(&port);
            port.status = status;
            txn.save(port);
        }
    }
}

/// External networks whose floating IPs, or their ports' hosts or routers, the command changed.
fn concerned<'a>(txn: &'a Txn<'_>) -> impl Iterator<Item = NetworkId> + 'a {
    let places: Vec<(Kind, String)> = txn.changed().collect();
    places.into_iter().flat_map(|(kind, key)| {
        [txn.before, txn.state()]
            .into_iter()
            .flat_map(move |state| networks_of(state, kind, &key))
    })
}

fn networks_of(state: &State, kind: Kind, key: &str) -> Vec<NetworkId> {
    let of = |ids: &mut dyn Iterator<Item = &intent::FloatingIpId>| {
        let floating = ids.filter_map(|id| state.floating_ips.get(id));
        floating.map(|it| it.floating_network_id).collect()
    };
    let index = &state.index;
    match kind {
        Kind::FloatingIp => key
            .parse()
            .map(|id| of(&mut [id].iter()))
            .unwrap_or_default(),
        Kind::Port => key
            .parse()
            .map(|id| of(&mut index.floating_ips_of_port.of(&id)))
            .unwrap_or_default(),
        Kind::Router => key
            .parse()
            .map(|id| of(&mut index.floating_ips_of_router.of(&id)))
            .unwrap_or_default(),
        // Rare: an agent came, went, or is of another mode now.
        Kind::Agent => of(&mut state.floating_ips.keys()),
        _ => Vec::new(),
    }
}

fn settle_network(txn: &mut Txn<'_>, network: NetworkId) {
    let wanted = serving_agents(txn, network);
    for (port, agent) in gateways(txn, network) {
        if !wanted.contains_key(&agent) {
            port::remove(txn, port);
        }
    }
    let held = gateways(txn, network).into_iter();
    let held: BTreeSet<AgentId> = held.map(|(_, agent)| agent).collect();
    for (agent, host) in wanted.iter().filter(|(agent, _)| !held.contains(agent)) {
        let blueprint = Blueprint {
            device_id: DeviceId::from(agent.to_string()),
            device_owner: owner::FIP_AGENT_GATEWAY,
            ..Blueprint::default()
        };
        if let Ok(port) = port::make(txn, network, &blueprint) {
            binding::bind(txn, &port, host);
        }
    }
}

/// The L3 agents on whose hosts a distributed router's floating IP of this network is.
fn serving_agents(
    txn: &Txn<'_>,
    network: NetworkId,
) -> std::collections::BTreeMap<AgentId, HostName> {
    let state = txn.state();
    let floating = state.index.floating_ips_of_network.of(&network);
    let floating = floating.filter_map(|id| state.floating_ips.get(id));
    let hosts = floating.filter_map(|floating| local_host(state, floating));
    let hosts: BTreeSet<&HostName> = hosts.collect();
    let agents = hosts.into_iter().filter_map(|host| {
        let agent = agent::on_host(txn, host, AgentType::L3)?;
        serves_floating_ips(&agent).then(|| (agent.id, host.clone()))
    });
    agents.collect()
}

fn serves_floating_ips(agent: &Agent) -> bool {
    matches!(agent::mode(agent), Mode::Dvr | Mode::DvrSnat)
}

/// The host of a floating IP's port, where its router is distributed.
fn local_host<'a>(state: &'a State, floating: &FloatingIp) -> Option<&'a HostName> {
    let router = state.routers.get(&floating.router_id?)?;
    let port = state.ports.get(&floating.port_id?)?;
    port.host()
        .filter(|host| router.distributed && !host.is_empty())
}

/// The agent-gateway ports of an external network, each with its agent.
fn gateways(txn: &Txn<'_>, network: NetworkId) -> Vec<(PortId, AgentId)> {
    let state = txn.state();
    let ports = state.index.ports_of_network.of(&network);
    let ports = ports.filter_map(|id| state.ports.get(id));
    let gateways = ports.filter(|port| port.device_owner == owner::FIP_AGENT_GATEWAY);
    gateways
        .filter_map(|port| Some((port.id, port.device_id.parse().ok()?)))
        .collect()
}

/// Whether a host answers for a floating IP: where its port is, for a distributed router with the
/// host's agent able to; otherwise where the router (its SNAT part) is.
pub(crate) fn is_served_by(txn: &Txn<'_>, floating: &FloatingIp, host: &HostName) -> bool {
    let local = local_host(txn.state(), floating).filter(|at| {
        agent::on_host(txn, at, AgentType::L3).is_some_and(|it| serves_floating_ips(&it))
    });
    match (local, floating.router_id) {
        (Some(at), _) => at == host,
        (None, Some(router)) => {
            let state = txn.state();
            let agents = state.index.agents_of_router.of(&router);
            let mut agents = agents.filter_map(|id| state.agents.get(id));
            agents.any(|agent| agent.host == *host)
        }
        (None, None) => false,
    }
}

/// Every L3 agent that hosts a router: the one that it is scheduled to, and, for a distributed
/// router, those on whose hosts its subnets have ports.
pub fn agents_of_router(state: &State, id: RouterId) -> BTreeSet<AgentId> {
    let mut agents: BTreeSet<AgentId> = state.index.agents_of_router.of(&id).copied().collect();
    let distributed = state
        .routers
        .get(&id)
        .is_some_and(|router| router.distributed);
    if !distributed {
        return agents;
    }
    let device = DeviceId::from(id.to_string());
    let interfaces = state.index.ports_of_device.of(&device);
    let interfaces = interfaces.filter_map(|id| state.ports.get(id));
    let interfaces = interfaces.filter(|port| router::is_interface(port));
    for subnet in interfaces.flat_map(|port| port.fixed_ips.iter().map(|it| it.subnet_id)) {
        for host in hosts_of_subnet(state, subnet) {
            let key = (host.clone(), AgentType::L3);
            let agent = state.index.agent_of_host.one(&key);
            let agent = agent.and_then(|id| state.agents.get(id));
            agents.extend(
                agent
                    .filter(|agent| agent::mode(agent) != Mode::Legacy)
                    .map(|agent| agent.id),
            );
        }
    }
    agents
}

fn hosts_of_subnet(state: &State, subnet: SubnetId) -> BTreeSet<&HostName> {
    let addresses = state.index.address_in_subnet.of(&subnet);
    let ports = addresses.filter_map(|(_, id)| state.ports.get(id));
    ports.filter_map(|port| port.host()).collect()
}

/// The routers of an L3 agent; see [`agents_of_router`].
pub fn routers_of_agent(state: &State, id: AgentId) -> BTreeSet<RouterId> {
    let scheduled = state.index.routers_of_agent.of(&id).copied();
    let mut routers: BTreeSet<RouterId> = scheduled.collect();
    let distributed = state.routers.values().filter(|router| router.distributed);
    let here = distributed.filter(|router| agents_of_router(state, router.id).contains(&id));
    routers.extend(here.map(|router| router.id));
    routers
}

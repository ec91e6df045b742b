//! Which DHCP agents serve which networks.
//!
//! A network that has DHCP is given agents when it gets its first such subnet or port, or when an
//! agent comes that it waited for. From an agent that died it is taken only where the settings say
//! so: then its server's port waits, with its address, for the next.

use std::sync::Arc;

use intent::{Agent, AgentId, AgentType, DhcpBinding, Network, NetworkId, RouterId, state::Pair};

use crate::{Answer, Refusal, agent, dhcp_port, schedule_router, txn::Txn};

/// Gives a network that has DHCP the agents that it lacks, and their servers the ports that they
/// need.
pub(crate) fn network(txn: &mut Txn<'_>, id: NetworkId) {
    let Some(network) = txn.get::<Network>(&id) else {
        return;
    };
    if network.admin_state_up && has_dhcp(txn, id) && txn.config().network_auto_schedule {
        let held = agents_of(txn, id).len();
        for _ in held..txn.config().dhcp_agents_per_network {
            match least_loaded(txn, &network) {
                Some(agent) => bind(txn, id, agent.id),
                None => break,
            }
        }
    }
    for agent in agents_of(txn, id) {
        if lacks_port(txn, &agent, id) {
            make_port(txn, &agent, id);
        }
    }
}

fn has_dhcp(txn: &Txn<'_>, network: NetworkId) -> bool {
    let state = txn.state();
    let mut subnets = state.index.subnets_of_network.of(&network);
    subnets.any(|id| state.subnets.get(id).is_some_and(|it| it.enable_dhcp))
}

fn agents_of(txn: &Txn<'_>, network: NetworkId) -> Vec<Arc<Agent>> {
    let state = txn.state();
    let ids = state.index.dhcp_agents_of_network.of(&network);
    ids.filter_map(|id| state.agents.get(id).cloned()).collect()
}

/// The usable agent with the fewest networks, in a zone that does not serve the network yet where
/// there is one.
fn least_loaded(txn: &Txn<'_>, network: &Network) -> Option<Arc<Agent>> {
    let held = agents_of(txn, network.id);
    let zones: Vec<_> = held.iter().map(|agent| &agent.availability_zone).collect();
    let usable = agent::usable(txn, AgentType::Dhcp, &network.availability_zone_hints);
    let free = usable
        .into_iter()
        .filter(|agent| held.iter().all(|held| held.id != agent.id));
    free.min_by_key(|agent| {
        let served = zones.contains(&&agent.availability_zone);
        (served, load(txn, agent), agent.id)
    })
}

/// How many networks an agent serves. One that is not ours says so itself.
fn load(txn: &Txn<'_>, agent: &Agent) -> u64 {
    let said = || agent.configurations.get("networks")?.as_u64();
    match agent::takes_ports(agent) {
        true => txn
            .state()
            .index
            .networks_of_dhcp_agent
            .of(&agent.id)
            .count() as u64,
        false => said().unwrap_or_default(),
    }
}

fn bind(txn: &mut Txn<'_>, network_id: NetworkId, agent_id: AgentId) {
    txn.create(DhcpBinding {
        network_id,
        agent_id,
    });
}

/// A server whose subnets have no free address goes on with those that it has; one that has none
/// asks again when the network's subnets change.
fn make_port(txn: &mut Txn<'_>, agent: &Agent, network: NetworkId) {
    let _ = dhcp_port::ensure(txn, &agent.host, network);
}

/// What waits for an agent of this kind.
pub(crate) fn waiting(txn: &mut Txn<'_>, agent: &Agent) {
    match agent.agent_type {
        AgentType::Dhcp => networks(txn),
        AgentType::L3 => routers(txn),
        _ => {}
    }
}

/// Every network that may lack an agent or a server's port.
fn networks(txn: &mut Txn<'_>) {
    let ids: Vec<NetworkId> = txn.state().networks.keys().copied().collect();
    for id in ids {
        let held = agents_of(txn, id);
        if held.len() < txn.config().dhcp_agents_per_network
            || held.iter().any(|agent| lacks_port(txn, agent, id))
        {
            network(txn, id);
        }
    }
}

fn lacks_port(txn: &Txn<'_>, agent: &Agent, network: NetworkId) -> bool {
    agent::takes_ports(agent) && dhcp_port::of_host(txn, &agent.host, network).is_none()
}

fn routers(txn: &mut Txn<'_>) {
    let index = &txn.state().index;
    let routers = txn.state().routers.keys();
    let homeless = routers.filter(|id| !index.agents_of_router.any(id));
    let homeless: Vec<RouterId> = homeless.copied().collect();
    for id in homeless {
        schedule_router::router(txn, id);
    }
}

/// Now and then: what lost its agent is given another, as far as the settings say so, and what
/// waits for one is tried again.
pub(crate) fn again(txn: &mut Txn<'_>) -> Answer {
    if txn.config().allow_automatic_dhcp_failover {
        leave_dead_servers(txn);
    }
    if txn.config().allow_automatic_l3agent_failover {
        schedule_router::leave_dead(txn);
    }
    schedule_router::let_go(txn);
    networks(txn);
    routers(txn);
    Answer::Done
}

fn leave_dead_servers(txn: &mut Txn<'_>) {
    let bindings: Vec<Arc<DhcpBinding>> = txn.state().dhcp_bindings.values().cloned().collect();
    for binding in bindings {
        let agent = txn.get::<Agent>(&binding.agent_id);
        let network = txn.get::<Network>(&binding.network_id);
        let (Some(agent), Some(network)) = (agent, network) else {
            continue;
        };
        // Better a server that may yet live than none.
        if !txn.context.is_alive(&agent) && least_loaded(txn, &network).is_some() {
            take_away(txn, &agent, network.id);
            txn.delete::<DhcpBinding>(&Pair(network.id, agent.id));
            self::network(txn, network.id);
        }
    }
}

/// The agent's server on the network ends: its port waits for another's.
pub(crate) fn take_away(txn: &mut Txn<'_>, agent: &Agent, network: NetworkId) {
    dhcp_port::release(txn, &agent.host, network);
}

/// `POST agents/ID/dhcp-networks`
pub(crate) fn add(txn: &mut Txn<'_>, agent: &str, network: &str) -> Result<Answer, Refusal> {
    let agent = agent::find(txn, agent, AgentType::Dhcp, |id| {
        Refusal::invalid_dhcp_agent(id)
    })?;
    let found = txn.find::<Network>(network);
    let found = found.ok_or_else(|| Refusal::network_not_found(network))?;
    let index = &txn.state().index;
    if index.dhcp_agents_of_network.contains(&found.id, &agent.id) {
        return Err(Refusal::network_already_hosted(found.id, agent.id));
    }
    bind(txn, found.id, agent.id);
    if agent::takes_ports(&agent) {
        make_port(txn, &agent, found.id);
    }
    Ok(Answer::Done)
}

/// `DELETE agents/ID/dhcp-networks/NETWORK`
pub(crate) fn remove(txn: &mut Txn<'_>, agent: &str, network: &str) -> Result<Answer, Refusal> {
    let found = txn.find::<Agent>(agent);
    let agent = found.ok_or_else(|| Refusal::agent_not_found(agent))?;
    let held = network.parse().ok().filter(|id| {
        let index = &txn.state().index;
        index.dhcp_agents_of_network.contains(id, &agent.id)
    });
    let held = held.ok_or_else(|| Refusal::network_not_hosted(network, agent.id))?;
    take_away(txn, &agent, held);
    txn.delete::<DhcpBinding>(&Pair(held, agent.id));
    Ok(Answer::Done)
}

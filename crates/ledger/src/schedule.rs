//! Which agents serve which networks and routers.

use intent::{Agent, AgentId, AgentType, DhcpBinding, NetworkId};

use crate::txn::Txn;

fn has_dhcp(txn: &Txn<'_>, network: NetworkId) -> bool {
    let state = txn.state();
    let mut subnets = state.index.subnets_of_network.of(&network);
    subnets.any(|id| state.subnets.get(id).is_some_and(|it| it.enable_dhcp))
}

/// Gives a network that has DHCP and no server the live agents with the fewest networks.
pub(crate) fn network(txn: &mut Txn<'_>, network_id: NetworkId) {
    let state = txn.state();
    let served = state.index.dhcp_agents_of_network.any(&network_id);
    if served || !has_dhcp(txn, network_id) || !txn.config().network_auto_schedule {
        return;
    }
    let usable = |agent: &&std::sync::Arc<Agent>| {
        agent.agent_type == AgentType::Dhcp && agent.admin_state_up && txn.context.is_alive(agent)
    };
    let agents = state.agents.values().filter(usable).map(|agent| agent.id);
    let mut agents: Vec<(usize, AgentId)> = agents
        .map(|id| (state.index.networks_of_dhcp_agent.of(&id).count(), id))
        .collect();
    agents.sort_unstable();
    agents.truncate(txn.config().dhcp_agents_per_network);
    for (_, agent_id) in agents {
        txn.create(DhcpBinding {
            network_id,
            agent_id,
        });
    }
}

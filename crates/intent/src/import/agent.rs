//! Agents, and what is scheduled to which.

use serde_json::Value;

use super::{Import, Served, read::*};
use crate::{id::*, noun::*, state::*};

impl Import {
    pub(super) fn agent(&mut self, item: &Value) -> Option<()> {
        // Agents of kinds that we are not (metering, say) serve nothing that we plan.
        let Some(agent_type) = parsed(item, "agent_type") else {
            return Some(());
        };
        self.state.put(Object::from(Agent {
            id: parsed(item, "id")?,
            agent_type,
            host: text(item, "host")?.into(),
            admin_state_up: flag(item, "admin_state_up", true),
            availability_zone: text(item, "availability_zone"),
            description: text(item, "description"),
            configurations: map(item, "configurations"),
            created_at: moment(item, "created_at"),
            started_at: moment(item, "started_at"),
        }));
        Some(())
    }

    /// What an answer about one resource says that the lists do not.
    pub(super) fn told(&mut self, of: Served, answer: &Value) {
        match of {
            Served::Network(id) => {
                for agent in list(answer, "agents").filter_map(|it| parsed(it, "id")) {
                    self.serves_network(agent, id);
                }
            }
            Served::Router(id) => {
                for agent in list(answer, "agents") {
                    if let Some(agent_id) = parsed(agent, "id") {
                        let mode = agent["configurations"]["agent_mode"].as_str();
                        let host = agent["host"].as_str().unwrap_or_default();
                        self.serves_router((agent_id, mode, host), id);
                    }
                }
            }
            Served::By(agent_id) => {
                for network in list(answer, "networks").filter_map(|it| parsed(it, "id")) {
                    self.serves_network(agent_id, network);
                }
                let Some(agent) = self.state.agents.get(&agent_id).cloned() else {
                    return;
                };
                let mode = agent.configurations.get("agent_mode");
                let mode = mode.and_then(Value::as_str);
                for router in list(answer, "routers").filter_map(|it| parsed(it, "id")) {
                    self.serves_router((agent_id, mode, &agent.host), router);
                }
            }
            Served::Port(id) => self.more_bindings(id, answer),
        }
    }

    fn serves_network(&mut self, agent_id: AgentId, network_id: NetworkId) {
        self.state.put(Object::from(DhcpBinding {
            network_id,
            agent_id,
        }));
    }

    /// The API lists a distributed router with the agents of all hosts that have a part of it; it is
    /// scheduled to the one with its source NAT, where its gateway's port is.
    fn serves_router(&mut self, agent: (AgentId, Option<&str>, &str), router_id: RouterId) {
        let (agent_id, mode, host) = agent;
        let router = self.state.routers.get(&router_id);
        if let Some(router) = router.filter(|router| router.distributed) {
            let gateway = router.gateway.as_ref();
            let port = gateway.and_then(|gateway| self.state.ports.get(&gateway.port_id));
            let snat = port.and_then(|port| port.host());
            let is_there = snat.is_none_or(|snat| *snat == *host);
            if !is_there || mode.is_some_and(|mode| mode != "dvr_snat") {
                return;
            }
        }
        self.state.put(Object::from(RouterBinding {
            router_id,
            agent_id,
        }));
    }
}

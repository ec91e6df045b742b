//! Agents: known by what they report of themselves, switched off and forgotten by administrators.

use std::sync::Arc;

use intent::{
    Agent, AgentId, AgentType, DhcpBinding, DvrMac, HostName, Kind, Mac, NetworkId, Object,
    state::Pair,
};
use serde_json::Value;

use crate::{
    AgentReport, Answer, Draft, Refusal, draft::Reading, rules::Rules, schedule, schedule_router,
    txn::Txn,
};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::Agent,
    missing: |id| Refusal::agent_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

/// What an L3 agent does on its host, as it says itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Legacy,
    /// Distributed routers' parts, with their floating IPs.
    Dvr,
    /// The same without an external network on this host.
    DvrNoExternal,
    /// Distributed routers' SNAT parts and centralized routers too.
    DvrSnat,
}

pub(crate) fn mode(agent: &Agent) -> Mode {
    match agent
        .configurations
        .get("agent_mode")
        .and_then(Value::as_str)
    {
        Some("dvr") => Mode::Dvr,
        Some("dvr_no_external") => Mode::DvrNoExternal,
        Some("dvr_snat") => Mode::DvrSnat,
        _ => Mode::Legacy,
    }
}

/// Whether the server makes and binds the ports that the agent's services need. Neutron's own
/// agents ask for theirs in calls of their own; what is known of one (its entry in a store that was
/// taken over) shows by the counts that they report of what they serve, which ours don't.
pub(crate) fn takes_ports(agent: &Agent) -> bool {
    let counts = match agent.agent_type {
        AgentType::Dhcp => "networks",
        _ => "routers",
    };
    !agent.configurations.contains_key(counts)
}

/// The agent of a type on a host.
pub(crate) fn on_host(txn: &Txn<'_>, host: &HostName, kind: AgentType) -> Option<Arc<Agent>> {
    let state = txn.state();
    let id = state.index.agent_of_host.one(&(host.clone(), kind))?;
    state.agents.get(id).cloned()
}

/// Agents that can be given work: switched on, alive, and in one of the zones.
pub(crate) fn usable(txn: &Txn<'_>, kind: AgentType, zones: &[String]) -> Vec<Arc<Agent>> {
    let zones = match zones {
        [] => &txn.config().default_availability_zones,
        zones => zones,
    };
    let in_zone = |agent: &Agent| {
        let zone = agent.availability_zone.as_ref();
        zones.is_empty() || zone.is_some_and(|zone| zones.contains(zone))
    };
    let agents = txn.state().agents.values();
    agents
        .filter(|agent| agent.agent_type == kind && agent.admin_state_up)
        .filter(|agent| in_zone(agent) && txn.context.is_alive(agent))
        .cloned()
        .collect()
}

/// An agent by its id, or the refusal that Neutron gives where it isn't one of the type.
pub(crate) fn find(
    txn: &Txn<'_>,
    key: &str,
    kind: AgentType,
    other: fn(&str) -> Refusal,
) -> Result<Arc<Agent>, Refusal> {
    let agent = txn.find::<Agent>(key);
    let agent = agent.ok_or_else(|| Refusal::agent_not_found(key))?;
    match agent.agent_type == kind && agent.admin_state_up {
        true => Ok(agent),
        false => Err(other(key)),
    }
}

/// An agent says what it is. One that is new or began anew is given what waits for such as it.
pub(crate) fn report(txn: &mut Txn<'_>, report: &AgentReport) -> Answer {
    let known = on_host(txn, &report.host, report.agent_type);
    let is_new = known.is_none();
    let mut agent = match known {
        Some(known) => Agent::clone(&known),
        None => new(txn, report),
    };
    agent
        .availability_zone
        .clone_from(&report.availability_zone);
    agent.configurations = report.configurations.clone();
    if report.started {
        agent.started_at = txn.now();
    }
    let agent = txn.save(agent);
    give_mac(txn, &agent);
    if is_new || report.started {
        schedule::waiting(txn, &agent);
    }
    Answer::Objects(vec![agent.into()])
}

fn new(txn: &mut Txn<'_>, report: &AgentReport) -> Agent {
    let fresh = AgentId::new(txn.uuid());
    let given = report.id.filter(|id| txn.get::<Agent>(id).is_none());
    Agent {
        id: given.unwrap_or(fresh),
        agent_type: report.agent_type,
        host: report.host.clone(),
        admin_state_up: true,
        availability_zone: None,
        description: None,
        configurations: report.configurations.clone(),
        created_at: txn.now(),
        started_at: txn.now(),
    }
}

/// A host that takes part in distributed routing has a MAC for it.
fn give_mac(txn: &mut Txn<'_>, agent: &Agent) {
    let distributed = match agent.agent_type {
        AgentType::L3 => mode(agent) != Mode::Legacy,
        AgentType::OpenVswitch => {
            let setting = agent.configurations.get("enable_distributed_routing");
            setting == Some(&Value::Bool(true))
        }
        _ => false,
    };
    if !distributed || txn.get::<DvrMac>(&agent.host).is_some() {
        return;
    }
    let mac_address = free_mac(txn);
    txn.create(DvrMac {
        host: agent.host.clone(),
        mac_address,
    });
}

fn free_mac(txn: &mut Txn<'_>) -> Mac {
    loop {
        let mac = txn.random.mac(txn.config().dvr_base_mac);
        let mut held = txn.state().dvr_macs.values();
        if held.all(|held| held.mac_address != mac) {
            return mac;
        }
    }
}

/// An agent is known by its own report alone.
fn create(_: &mut Txn<'_>, _: &Draft) -> Result<Object, Refusal> {
    Err(Refusal::bad_request(
        "agents",
        "Agent creation using API is not supported.",
    ))
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let found = txn.find::<Agent>(key);
    let found = found.ok_or_else(|| Refusal::agent_not_found(key))?;
    let mut agent = Agent::clone(&found);
    draft.set_flag("admin_state_up", &mut agent.admin_state_up);
    if draft.given("description") {
        agent.description = draft.owned("description");
    }
    Ok(txn.save(agent).into())
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let agent = txn.find::<Agent>(key);
    let agent = agent.ok_or_else(|| Refusal::agent_not_found(key))?;
    let index = &txn.state().index;
    let networks: Vec<NetworkId> = index
        .networks_of_dhcp_agent
        .of(&agent.id)
        .copied()
        .collect();
    for network in networks {
        schedule::take_away(txn, &agent, network);
        txn.delete::<DhcpBinding>(&Pair(network, agent.id));
    }
    schedule_router::forget_agent(txn, agent.id);
    txn.delete::<Agent>(&agent.id);
    Ok(())
}

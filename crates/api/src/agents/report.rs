//! What a host reports: that it lives, what its agents are, which ports and routers are ready.

use intent::{AgentType, HostName, JsonMap, PortId, RouterId};
use ledger::{Actor, AgentReport, Command};
use serde::Deserialize;

use crate::{Api, fault::Fault};

/// The body of a status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Report {
    agents: Vec<Described>,
    ports_up: Vec<PortId>,
    ports_down: Vec<PortId>,
    /// Ports whose DHCP server here knows them.
    dhcp_ready: Vec<PortId>,
    routers_up: Vec<RouterId>,
    routers_down: Vec<RouterId>,
    /// Routers that the host can't make what they should be.
    routers_failed: Vec<RouterId>,
    /// What operators should read.
    notes: Vec<String>,
    /// Why the host holds still.
    hold: Option<String>,
    /// The revision of the store at which the host is as it should be.
    revision: u64,
    started: bool,
}

#[derive(Debug, Deserialize)]
struct Described {
    #[serde(rename = "type")]
    agent_type: AgentType,
    #[serde(default)]
    configurations: JsonMap,
}

/// Where an agent is that says nothing of its zone.
const ZONE: &str = "nova";

pub(super) async fn take(api: &Api, host: &HostName, report: Report) -> Result<(), Fault> {
    for note in &report.notes {
        tracing::info!(%host, note, "a host notes");
    }
    if let Some(why) = &report.hold {
        tracing::warn!(%host, why, "a host holds still");
    }
    for described in &report.agents {
        take_agent(api, host, described, &report).await?;
    }
    let ports = [&report.ports_up, &report.ports_down, &report.dhcp_ready];
    if ports.iter().any(|ports| !ports.is_empty()) {
        let command = Command::ReportPorts {
            host: host.clone(),
            up: report.ports_up,
            down: report.ports_down,
            dhcp: report.dhcp_ready,
        };
        api.hub.submit(Actor::system(), command).await?;
    }
    let routers = [
        &report.routers_up,
        &report.routers_down,
        &report.routers_failed,
    ];
    if routers.iter().any(|routers| !routers.is_empty()) {
        let command = Command::ReportRouters {
            host: host.clone(),
            up: report.routers_up,
            down: report.routers_down,
            failed: report.routers_failed,
        };
        api.hub.submit(Actor::system(), command).await?;
    }
    Ok(())
}

/// A heartbeat is no command; an agent that is new, began anew or changed is one.
async fn take_agent(
    api: &Api,
    host: &HostName,
    described: &Described,
    said: &Report,
) -> Result<(), Fault> {
    let key = (host.clone(), described.agent_type);
    let known = |api: &Api| {
        let state = api.hub.state();
        let id = state.index.agent_of_host.one(&key)?;
        state.agents.get(id).cloned()
    };
    let before = known(api);
    if let Some(agent) = &before {
        api.hub.hear(agent.id, said.revision);
        if agent.configurations == described.configurations && !said.started {
            return Ok(());
        }
    }
    let zone = described.configurations.get("availability_zone");
    let zone = zone.and_then(|zone| zone.as_str()).unwrap_or(ZONE);
    let zoned = matches!(described.agent_type, AgentType::Dhcp | AgentType::L3);
    let report = AgentReport {
        id: before.map(|agent| agent.id),
        agent_type: described.agent_type,
        host: host.clone(),
        availability_zone: zoned.then(|| zone.to_owned()),
        configurations: described.configurations.clone(),
        started: said.started,
    };
    api.hub
        .submit(Actor::system(), Command::ReportAgent(report))
        .await?;
    if let Some(agent) = known(api) {
        api.hub.hear(agent.id, said.revision);
    }
    Ok(())
}

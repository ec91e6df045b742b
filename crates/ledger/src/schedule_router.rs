//! Which L3 agent a centralized router is on, and a distributed one's SNAT part; and with it, to
//! which host the router's ports are bound.
//!
//! An agent that loses a router may be slow to let it go, or may not hear of it at all. Until it
//! says that it has, a remnant stands for what it may still have: the router's new host goes on
//! saying where the router is now.

use std::sync::Arc;

use intent::{
    Agent, AgentId, AgentType, DeviceId, HostName, Port, Router, RouterBinding, RouterId,
    RouterRemnant, owner,
    state::{Pair, Resource},
};
use serde_json::Value;

use crate::{
    Answer, Refusal,
    agent::{self, Mode},
    binding,
    txn::Txn,
};

/// Gives a router that is nowhere the fitting agent with the fewest routers, and binds its ports
/// to where it is.
pub(crate) fn router(txn: &mut Txn<'_>, id: RouterId) {
    let Some(router) = txn.get::<Router>(&id) else {
        return;
    };
    let homeless = !txn.state().index.agents_of_router.any(&id);
    if homeless
        && txn.config().router_auto_schedule
        && let Some(agent) = least_loaded(txn, &router, None)
    {
        bind(txn, id, agent.id);
    }
    place(txn, id);
}

fn bind(txn: &mut Txn<'_>, router_id: RouterId, agent_id: AgentId) {
    txn.create(RouterBinding {
        router_id,
        agent_id,
    });
    txn.delete::<RouterRemnant>(&Pair(router_id, agent_id));
}

fn unbind(txn: &mut Txn<'_>, router_id: RouterId, agent_id: AgentId) {
    txn.delete::<RouterBinding>(&Pair(router_id, agent_id));
    let since = txn.before.revision + 1;
    txn.create(RouterRemnant {
        router_id,
        agent_id,
        since,
    });
}

/// What is bound and what may be left of a router goes with the router.
pub(crate) fn forget_router(txn: &mut Txn<'_>, id: RouterId) {
    let index = &txn.state().index;
    let bound: Vec<AgentId> = index.agents_of_router.of(&id).copied().collect();
    let left: Vec<AgentId> = index.remnants_of_router.of(&id).copied().collect();
    for agent in bound {
        txn.delete::<RouterBinding>(&Pair(id, agent));
    }
    for agent in left {
        txn.delete::<RouterRemnant>(&Pair(id, agent));
    }
}

/// An agent that is forgotten is believed to have nothing left.
pub(crate) fn forget_agent(txn: &mut Txn<'_>, id: AgentId) {
    let routers: Vec<RouterId> = txn
        .state()
        .index
        .routers_of_agent
        .of(&id)
        .copied()
        .collect();
    for router in routers {
        txn.delete::<RouterBinding>(&Pair(router, id));
        place(txn, router);
    }
    end_remnants(txn, |remnant| remnant.agent_id == id);
}

/// Agents that have said since that their hosts are as they should be have let go.
pub(crate) fn let_go(txn: &mut Txn<'_>) {
    let liveness = txn.context.liveness;
    end_remnants(txn, |it| liveness.has_done(it.agent_id, it.since));
}

fn end_remnants(txn: &mut Txn<'_>, ends: impl Fn(&RouterRemnant) -> bool) {
    let remnants = txn.state().router_remnants.values();
    let ended: Vec<_> = remnants.filter(|it| ends(it)).map(|it| it.key()).collect();
    for key in ended {
        txn.delete::<RouterRemnant>(&key);
    }
}

fn least_loaded(txn: &Txn<'_>, router: &Router, not: Option<AgentId>) -> Option<Arc<Agent>> {
    let usable = agent::usable(txn, AgentType::L3, &router.availability_zone_hints);
    let fitting = usable
        .into_iter()
        .filter(|agent| fits(agent, router) && Some(agent.id) != not);
    fitting.min_by_key(|agent| {
        let routers = txn.state().index.routers_of_agent.of(&agent.id);
        (routers.count(), agent.id)
    })
}

fn fits(agent: &Agent, router: &Router) -> bool {
    let internal = agent.configurations.get("handle_internal_only_routers");
    let may_be_internal = internal != Some(&Value::Bool(false));
    let mode_fits = match agent::mode(agent) {
        Mode::DvrSnat => true,
        Mode::Legacy => !router.distributed,
        Mode::Dvr | Mode::DvrNoExternal => false,
    };
    mode_fits && (may_be_internal || router.gateway.is_some())
}

fn agents_of(txn: &Txn<'_>, router: RouterId) -> Vec<Arc<Agent>> {
    let state = txn.state();
    let ids = state.index.agents_of_router.of(&router);
    ids.filter_map(|id| state.agents.get(id).cloned()).collect()
}

/// Binds a router's ports to the host that it is on. A distributed router's interfaces are on many
/// hosts, so they are bound to none.
pub(crate) fn place(txn: &mut Txn<'_>, id: RouterId) {
    let agent = agents_of(txn, id).into_iter().next();
    if agent
        .as_ref()
        .is_some_and(|agent| !agent::takes_ports(agent))
    {
        return;
    }
    let host = agent.map(|agent| agent.host.clone());
    for port in ports_of(txn, id) {
        match (&host, port.device_owner.as_str()) {
            (Some(host), owner::ROUTER_INTERFACE | owner::ROUTER_GATEWAY | owner::ROUTER_SNAT) => {
                put_on(txn, &port, host);
            }
            _ if port.bindings.is_empty() => {}
            _ => binding::unbind(txn, &port),
        }
    }
}

fn put_on(txn: &mut Txn<'_>, port: &Port, host: &HostName) {
    if port.host() != Some(host) {
        binding::bind(txn, port, host);
    }
}

/// A router's own ports: interfaces, gateway, and the SNAT part's.
pub(crate) fn ports_of(txn: &Txn<'_>, router: RouterId) -> Vec<Arc<Port>> {
    let state = txn.state();
    let device = DeviceId::from(router.to_string());
    let ids = state.index.ports_of_device.of(&device);
    let ports = ids.filter_map(|id| state.ports.get(id));
    let own = [
        owner::ROUTER_INTERFACE,
        owner::ROUTER_INTERFACE_DVR,
        owner::ROUTER_GATEWAY,
        owner::ROUTER_SNAT,
    ];
    ports
        .filter(|port| own.contains(&port.device_owner.as_str()))
        .cloned()
        .collect()
}

/// After a router became another kind: an agent that can't have it any more loses it.
pub(crate) fn refit(txn: &mut Txn<'_>, id: RouterId) {
    let Some(found) = txn.get::<Router>(&id) else {
        return;
    };
    for agent in agents_of(txn, id) {
        if !fits(&agent, &found) {
            unbind(txn, id, agent.id);
        }
    }
    router(txn, id);
}

/// Routers leave the agents that are dead, where there is another.
pub(crate) fn leave_dead(txn: &mut Txn<'_>) {
    let bindings: Vec<Arc<RouterBinding>> = txn.state().router_bindings.values().cloned().collect();
    for held in bindings {
        let agent = txn.get::<Agent>(&held.agent_id);
        let found = txn.get::<Router>(&held.router_id);
        let (Some(agent), Some(found)) = (agent, found) else {
            continue;
        };
        if txn.context.is_alive(&agent) {
            continue;
        }
        if let Some(next) = least_loaded(txn, &found, Some(agent.id)) {
            unbind(txn, found.id, agent.id);
            bind(txn, found.id, next.id);
            place(txn, found.id);
        }
    }
}

/// `POST agents/ID/l3-routers`
pub(crate) fn add(txn: &mut Txn<'_>, agent: &str, router: &str) -> Result<Answer, Refusal> {
    let agent = agent::find(txn, agent, AgentType::L3, |id| {
        Refusal::invalid_l3_agent(id)
    })?;
    let found = txn.find::<Router>(router);
    let found = found.ok_or_else(|| Refusal::router_not_found(router))?;
    match agent::mode(&agent) {
        Mode::Dvr | Mode::DvrNoExternal => return Err(Refusal::cannot_assign_to_dvr_agent()),
        Mode::Legacy if found.distributed => {
            return Err(Refusal::router_agent_mismatch(found.id, agent.id));
        }
        Mode::Legacy | Mode::DvrSnat => {}
    }
    match agents_of(txn, found.id).first() {
        Some(held) if held.id == agent.id => return Ok(Answer::Done),
        Some(held) => return Err(Refusal::router_already_hosted(found.id, held.id)),
        None => bind(txn, found.id, agent.id),
    }
    place(txn, found.id);
    Ok(Answer::Done)
}

/// `DELETE agents/ID/l3-routers/ROUTER`
pub(crate) fn remove(txn: &mut Txn<'_>, agent: &str, router: &str) -> Result<Answer, Refusal> {
    let found = txn.find::<Agent>(agent);
    let agent = found.ok_or_else(|| Refusal::agent_not_found(agent))?;
    if matches!(agent::mode(&agent), Mode::Dvr | Mode::DvrNoExternal) {
        return Err(Refusal::cannot_remove_from_dvr_agent());
    }
    let held = router.parse().ok().filter(|id| {
        let index = &txn.state().index;
        index.agents_of_router.contains(id, &agent.id)
    });
    let held = held.ok_or_else(|| Refusal::router_not_hosted(router, agent.id))?;
    unbind(txn, held, agent.id);
    place(txn, held);
    Ok(Answer::Done)
}

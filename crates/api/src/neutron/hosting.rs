//! Which agents serve what: the scheduling calls, in both directions.

use intent::{
    Agent, Network, Router,
    attrs::{Json, Verb},
};
use ledger::Command;

use super::{asked::Reply, route::Served, scene::Scene, scope::Scoped};
use crate::{
    fault::Fault,
    policy::{Check, Nothing},
};

impl Served {
    /// The rule's noun for what an agent serves, and for who serves it.
    fn nouns(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Router => ("l3-routers", "l3-router", "l3-agents"),
            Self::Network => ("dhcp-networks", "dhcp-network", "dhcp-agents"),
        }
    }
}

fn require(scene: &Scene<'_>, rule: String) -> Result<(), Fault> {
    scene.require(&Check::Rule(rule), &Nothing)
}

fn reply<'a, R: Scoped>(
    scene: &Scene<'_>,
    plural: &str,
    objects: impl Iterator<Item = &'a R>,
    also: impl Fn(&mut Json),
) -> Reply {
    let columns = scene.columns(R::TABLE, Verb::Read);
    let cx = scene.cx(Verb::Read);
    let mut out = Json::new();
    out.open(b'{');
    out.key(plural);
    out.list(objects, |out, object| {
        scene.write_with(object, &cx, &columns, out, &also);
    });
    out.close(b'}');
    Reply::json(out)
}

/// `GET agents/ID/l3-routers`
pub(super) fn hosted(scene: &Scene<'_>, agent: &str, what: Served) -> Result<Reply, Fault> {
    require(scene, format!("get_{}", what.nouns().0))?;
    let agent = scene.find::<Agent>(agent)?;
    let state = scene.state();
    Ok(match what {
        Served::Router => {
            let ids = ledger::routers_of_agent(state, agent.id);
            let routers = ids.iter().filter_map(|id| state.routers.get(id));
            reply(scene, "routers", routers.map(|it| &**it), |_| ())
        }
        Served::Network => {
            let ids = state.index.networks_of_dhcp_agent.of(&agent.id);
            let networks = ids.filter_map(|id| state.networks.get(id));
            reply(scene, "networks", networks.map(|it| &**it), |_| ())
        }
    })
}

/// `GET routers/ID/l3-agents`
pub(super) fn hosting(scene: &Scene<'_>, what: Served, id: &str) -> Result<Reply, Fault> {
    require(scene, format!("get_{}", what.nouns().2))?;
    let state = scene.state();
    // A network that is not there is served by nobody; a router that is not there is missed.
    let ids: Vec<_> = match what {
        Served::Router => {
            let router = scene.find::<Router>(id)?;
            let agents = ledger::agents_of_router(state, router.id);
            agents.into_iter().collect()
        }
        Served::Network => match scene.find::<Network>(id) {
            Ok(network) => state
                .index
                .dhcp_agents_of_network
                .of(&network.id)
                .copied()
                .collect(),
            Err(_) => Vec::new(),
        },
    };
    let agents = ids.iter().filter_map(|id| state.agents.get(id));
    Ok(reply(scene, "agents", agents.map(|it| &**it), |out| {
        told_of_host(what, out);
    }))
}

/// What these lists say of an agent and no other does: how it takes part in what is highly
/// available (no router is), and of what kinds of host this server knows nothing.
fn told_of_host(what: Served, out: &mut Json) {
    out.key("resource_versions");
    out.raw("{}");
    out.key("ha_chassis_priority");
    out.null();
    if what == Served::Router {
        out.key("ha_state");
        out.null();
    }
}

/// `POST agents/ID/l3-routers`
pub(super) async fn schedule(
    scene: &mut Scene<'_>,
    agent: &str,
    what: Served,
) -> Result<Reply, Fault> {
    require(scene, format!("create_{}", what.nouns().1))?;
    let body = scene.asked.json()?;
    let (name, agent) = match what {
        Served::Router => ("router_id", agent.to_owned()),
        Served::Network => ("network_id", agent.to_owned()),
    };
    let Some(id) = body.get(name).and_then(|id| id.as_str()) else {
        return Err(Fault::bad_request(format!(
            "Failed to parse request. Required attribute '{name}' not specified"
        )));
    };
    let id = id.to_owned();
    let command = match what {
        Served::Router => Command::ScheduleRouter { agent, router: id },
        Served::Network => Command::ScheduleNetwork { agent, network: id },
    };
    scene.submit(command).await?;
    Ok(Reply::created("null"))
}

/// `DELETE agents/ID/l3-routers/ROUTER`
pub(super) async fn unschedule(
    scene: &mut Scene<'_>,
    agent: &str,
    what: Served,
    id: &str,
) -> Result<Reply, Fault> {
    require(scene, format!("delete_{}", what.nouns().1))?;
    let (agent, id) = (agent.to_owned(), id.to_owned());
    let command = match what {
        Served::Router => Command::UnscheduleRouter { agent, router: id },
        Served::Network => Command::UnscheduleNetwork { agent, network: id },
    };
    scene.submit(command).await?;
    Ok(Reply::empty())
}

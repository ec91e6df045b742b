//! What an agent may still have of a router that was taken from it.

use crate::rig::{Rig, deletion, host_of};
use intent::{
    AgentId, Kind, RouterId, RouterRemnant, owner,
    state::Pair,
    view,
    view::{RouterRole, View},
};
use ledger::Command;
use serde_json::json;

/// A router that was on host `a`, and is on `b` since `a`'s agent fell silent.
struct Moved {
    rig: Rig,
    router: RouterId,
    before: AgentId,
    after: AgentId,
}

fn agent_of(rig: &Rig, router: RouterId) -> AgentId {
    let agents = &rig.state.index.agents_of_router;
    *agents.one(&router).expect("placed")
}

fn moved() -> Moved {
    let mut rig = Rig::new();
    rig.config.allow_automatic_l3agent_failover = true;
    rig.host("a", "legacy");
    let (_, subnet) = rig.network("10.0.0.0/24");
    let id = rig.create(Kind::Router, json!({}));
    rig.act(Command::AddRouterInterface {
        router: id.clone(),
        body: json!({"subnet_id": subnet}),
    });
    rig.host("b", "legacy");
    let router = id.parse().expect("an id");
    let before = agent_of(&rig, router);
    rig.state.revision = 41;
    rig.die(before);
    rig.act(Command::Reschedule);
    let interface = rig.ports_of_owner(owner::ROUTER_INTERFACE)[0];
    assert_eq!(host_of(interface), "b");
    let after = agent_of(&rig, router);
    Moved {
        rig,
        router,
        before,
        after,
    }
}

impl Moved {
    fn left(&self) -> Vec<RouterRemnant> {
        let all = self.rig.state.router_remnants.values();
        all.map(|it| RouterRemnant::clone(it)).collect()
    }

    fn remnant(&self, agent_id: AgentId) -> RouterRemnant {
        RouterRemnant {
            router_id: self.router,
            agent_id,
            since: 42,
        }
    }

    fn contested_on(&self, host: &str) -> Option<bool> {
        let view: View = view(&self.rig.state, &host.into());
        let role = view.router_roles.get(&self.router);
        role.map(|role: &std::sync::Arc<RouterRole>| role.contested)
    }

    fn says(&mut self, agent: AgentId, brought_to: u64) {
        self.rig.liveness.brought_to.insert(agent, brought_to);
        self.rig.act(Command::Reschedule);
    }
}

#[test]
fn a_router_is_contested_until_the_agent_that_lost_it_says_that_it_let_go() {
    let mut moved = moved();
    let (before, after) = (moved.before, moved.after);
    assert_eq!(moved.left(), [moved.remnant(before)]);
    assert_eq!(moved.contested_on("b"), Some(true));
    assert_eq!(moved.contested_on("a"), None);
    moved.says(after, 42);
    moved.says(before, 41);
    assert_eq!(moved.left().len(), 1, "it has not heard of it yet");
    moved.says(before, 42);
    assert!(moved.left().is_empty());
    assert_eq!(moved.contested_on("b"), Some(false));
}

#[test]
fn an_agent_that_gets_a_router_back_has_nothing_left_of_it() {
    let mut moved = moved();
    let (before, after) = (moved.before, moved.after);
    moved
        .rig
        .liveness
        .heard
        .insert(before, intent::Timestamp(i64::MAX / 2));
    moved.rig.die(after);
    moved.rig.act(Command::Reschedule);
    assert_eq!(agent_of(&moved.rig, moved.router), before);
    assert_eq!(moved.left(), [moved.remnant(after)]);
    assert_eq!(moved.contested_on("a"), Some(true));
}

#[test]
fn an_administrator_who_moves_a_router_leaves_the_same() {
    let mut moved = moved();
    let (before, after) = (moved.before, moved.after);
    moved.says(before, 42);
    moved.rig.act(Command::UnscheduleRouter {
        agent: after.to_string(),
        router: moved.router.to_string(),
    });
    assert_eq!(moved.left(), [moved.remnant(after)]);
}

#[test]
fn what_is_left_goes_with_its_router_and_with_its_agent() {
    let mut one = moved();
    one.rig.delete(Kind::Agent, &one.before.to_string());
    assert!(one.left().is_empty());
    assert_eq!(one.contested_on("b"), Some(false));
    let mut other = moved();
    let interface = other.rig.ports_of_owner(owner::ROUTER_INTERFACE)[0].id;
    other.rig.act(Command::RemoveRouterInterface {
        router: other.router.to_string(),
        body: json!({"port_id": interface}),
    });
    other
        .rig
        .act(deletion(Kind::Router, &other.router.to_string()));
    assert!(other.left().is_empty());
    let key = Pair(other.router, other.before);
    assert!(!other.rig.state.router_remnants.contains_key(&key));
}

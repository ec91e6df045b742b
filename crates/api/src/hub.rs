//! Where requests meet what they are about: the durable state that answers are read from, and the
//! way to change it.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard},
};

use intent::{Agent, AgentId, State, Timestamp, attrs::Soft};
use ledger::{Actor, Command, Config, Liveness};

use crate::{
    fault::Fault,
    identity::people::{self, People},
    rules::{Asked, Done, Rules, Wish},
    writer::{Handle, WriteError},
};

/// The server's state and what changes it.
#[derive(Debug, Clone)]
pub struct Hub {
    pub handle: Handle<Rules>,
}

impl Hub {
    /// The newest state that is durable.
    pub fn state(&self) -> Arc<State> {
        self.handle.published().state.intent.clone()
    }

    /// The embedded identity's records, as durable.
    pub fn people(&self) -> Arc<People> {
        self.handle.published().state.people.clone()
    }

    pub fn config(&self) -> &Config {
        &self.handle.rules().config
    }

    fn liveness(&self) -> RwLockReadGuard<'_, Liveness> {
        let liveness = self.handle.rules().liveness.read();
        liveness.unwrap_or_else(PoisonError::into_inner)
    }

    fn liveness_mut(&self) -> RwLockWriteGuard<'_, Liveness> {
        let liveness = self.handle.rules().liveness.write();
        liveness.unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that an agent was heard of, and which revision its host was brought to.
    pub fn hear(&self, agent: AgentId, brought_to: u64) {
        let mut liveness = self.liveness_mut();
        liveness.heard.insert(agent, now());
        liveness.brought_to.insert(agent, brought_to);
    }

    /// Who was heard of, and when.
    pub fn heard(&self) -> BTreeMap<AgentId, Timestamp> {
        self.liveness().heard.clone()
    }

    /// Notes what another server heard.
    pub fn hear_of(&self, heard: BTreeMap<AgentId, Timestamp>) {
        let mut liveness = self.liveness_mut();
        for (agent, at) in heard {
            let known = liveness.heard.entry(agent).or_insert(at);
            *known = at.max(*known);
        }
    }

    /// Until then nobody is declared dead.
    pub fn grace(&self, until: Timestamp) {
        self.liveness_mut().grace_until = until;
    }

    /// Whether what is read here is what was written.
    pub fn is_ready(&self) -> bool {
        self.handle.is_fresh()
    }

    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Done, Fault> {
        let asked = Asked {
            actor,
            command,
            now: now(),
            seed: rand::random(),
        };
        let done = self.handle.submit(Wish::Ledger(Box::new(asked))).await;
        done.map_err(fault)
    }

    pub async fn submit_people(&self, command: people::Command) -> Result<(), Fault> {
        let done = self.handle.submit(Wish::People(command)).await;
        done.map(|_| ()).map_err(fault)
    }
}

fn fault(error: WriteError<Fault>) -> Fault {
    match error {
        WriteError::Refused(fault) => fault,
        WriteError::NotWriter => Fault::not_writer(),
        WriteError::Unavailable => Fault::unavailable(),
        WriteError::Unknown => Fault::unknown_outcome(),
    }
}

impl Soft for Hub {
    fn heartbeat(&self, agent: &Agent) -> Timestamp {
        let heard = self.liveness().heard.get(&agent.id).copied();
        heard.unwrap_or(agent.started_at)
    }

    fn is_alive(&self, agent: &Agent) -> bool {
        let down_time = self.config().agent_down_time;
        self.liveness().is_alive(agent.id, now(), down_time)
    }
}

/// The wall clock, in whole seconds.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }))
}

//! Where requests meet the ledger: the state that answers are read from, and the way to change it.

use std::sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard};

use intent::{State, Timestamp};
use ledger::{Actor, Command, Config, Liveness, Refusal};

use crate::{
    rules::{Asked, Done, Rules},
    writer::{Handle, WriteError},
};

#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("refused")]
    Refused(#[source] Refusal),
    #[error("the store can't take writes now")]
    Unavailable,
    #[error("another server takes writes")]
    NotWriter,
    #[error("it is not known whether it was done")]
    Unknown,
}

/// The server's state and what changes it.
#[derive(Debug)]
pub struct Hub {
    pub handle: Handle<Rules>,
}

impl Hub {
    /// The newest state that is durable.
    pub fn state(&self) -> Arc<State> {
        self.handle.published().state.clone()
    }

    pub fn config(&self) -> &Config {
        &self.handle.rules().config
    }

    pub fn liveness(&self) -> RwLockReadGuard<'_, Liveness> {
        let liveness = self.handle.rules().liveness.read();
        liveness.unwrap_or_else(PoisonError::into_inner)
    }

    pub fn liveness_mut(&self) -> RwLockWriteGuard<'_, Liveness> {
        let liveness = self.handle.rules().liveness.write();
        liveness.unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is read here is what was written.
    pub fn is_ready(&self) -> bool {
        self.handle.is_fresh()
    }

    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Done, SubmitError> {
        let asked = Asked {
            actor,
            command,
            now: now(),
            seed: rand::random(),
        };
        let done = self.handle.submit(asked).await;
        done.map_err(|error| match error {
            WriteError::Refused(refusal) => SubmitError::Refused(refusal),
            WriteError::Unavailable => SubmitError::Unavailable,
            WriteError::NotWriter => SubmitError::NotWriter,
            WriteError::Unknown => SubmitError::Unknown,
        })
    }
}

/// The wall clock, in whole seconds.
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    Timestamp(since.map_or(0, |since| {
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    }))
}

impl intent::attrs::Soft for Hub {
    fn heartbeat(&self, agent: &intent::Agent) -> Timestamp {
        let liveness = self.liveness();
        let heard = liveness.heard.get(&agent.id).copied();
        heard.unwrap_or(agent.started_at)
    }

    fn is_alive(&self, agent: &intent::Agent) -> bool {
        let liveness = self.liveness();
        liveness.is_alive(agent.id, now(), self.config().agent_down_time)
    }
}

impl From<SubmitError> for crate::fault::Fault {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::NotWriter | SubmitError::Unavailable => Self::unavailable(),
            SubmitError::Unknown => Self::unknown_outcome(),
        }
    }
}

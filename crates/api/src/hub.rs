//! Where requests meet the ledger: the state that answers are read from, and the way to change it.

use std::sync::{Arc, RwLock};

use arc_swap::ArcSwap;
use intent::{State, Timestamp};
use ledger::{Actor, Answer, Command, Config, Context, Liveness, Refusal, decide};

/// What a granted command leaves behind.
#[derive(Debug, Clone)]
pub struct Done {
    pub answer: Answer,
    /// The state in which it is done.
    pub state: Arc<State>,
}

#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error("refused")]
    Refused(#[source] Refusal),
    #[error("the store can't take writes now")]
    Unavailable,
}

/// The server's state and what changes it.
#[derive(Debug)]
pub struct Hub {
    state: ArcSwap<State>,
    writing: tokio::sync::Mutex<()>,
    pub liveness: RwLock<Liveness>,
    pub config: Config,
}

impl Hub {
    pub fn new(config: Config) -> Self {
        Self {
            state: ArcSwap::from_pointee(State::default()),
            writing: tokio::sync::Mutex::new(()),
            liveness: RwLock::new(Liveness::default()),
            config,
        }
    }

    pub fn state(&self) -> Arc<State> {
        self.state.load_full()
    }

    /// Whether what is read here is what was written.
    pub fn is_ready(&self) -> bool {
        true
    }

    pub async fn submit(&self, actor: Actor, command: Command) -> Result<Done, SubmitError> {
        let _writing = self.writing.lock().await;
        let liveness = self
            .liveness
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        let context = Context {
            now: now(),
            seed: rand::random(),
            config: &self.config,
            liveness: &liveness,
        };
        let decision =
            decide(&self.state(), &actor, &command, &context).map_err(SubmitError::Refused)?;
        let state = Arc::new(decision.state);
        self.state.store(state.clone());
        Ok(Done {
            answer: decision.answer,
            state,
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
        let liveness = self.liveness.read();
        let liveness = liveness.unwrap_or_else(std::sync::PoisonError::into_inner);
        let heard = liveness.heard.get(&agent.id).copied();
        heard.unwrap_or(agent.started_at)
    }

    fn is_alive(&self, agent: &intent::Agent) -> bool {
        let liveness = self.liveness.read();
        let liveness = liveness.unwrap_or_else(std::sync::PoisonError::into_inner);
        liveness.is_alive(agent.id, now(), self.config.agent_down_time)
    }
}

impl From<SubmitError> for crate::fault::Fault {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::Unavailable => Self::unavailable(),
        }
    }
}

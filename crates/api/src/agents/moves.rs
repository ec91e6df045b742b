//! From what the store keeps to what the hosts' watches are told: every move of the durable state
//! is turned into the hosts' steps once, for all watches together.

use std::{sync::Arc, time::Duration};

use intent::{Change, State, Steps, steps};
use tokio::sync::broadcast::{self, error::RecvError, error::TryRecvError};

use crate::{
    Api,
    rules::{Rules, Step},
    writer::Published,
};

/// Changes that come within this time of each other travel together.
const GATHER: Duration = Duration::from_millis(5);
/// Moves that a watch may be behind before it has to compute its view anew.
const BEHIND: usize = 256;

/// One move of the durable state.
#[derive(Debug)]
pub(super) struct Moved {
    /// The revision that it began at.
    pub(super) before: u64,
    pub(super) after: Arc<State>,
    /// Nothing when what happened in between is not known: views have to be computed anew.
    pub(super) steps: Option<Steps>,
}

/// Where watches hear of moves.
#[derive(Debug, Clone)]
pub(super) struct Moves(broadcast::Sender<Arc<Moved>>);

impl Default for Moves {
    fn default() -> Self {
        Self(broadcast::Sender::new(BEHIND))
    }
}

impl Moves {
    pub(super) fn subscribe(&self) -> broadcast::Receiver<Arc<Moved>> {
        self.0.subscribe()
    }
}

/// What came since the last move.
#[derive(Default)]
struct Gathered {
    after: Option<Arc<State>>,
    changes: Vec<Change>,
    /// Something is missing between.
    torn: bool,
}

impl Gathered {
    fn add(&mut self, published: &Published<Rules>) {
        self.after = Some(published.state.intent.clone());
        self.torn |= published.whole;
        for logged in published.transactions.iter() {
            let intent = logged.changes.iter().filter_map(|step| match step {
                Step::Intent(change) => Some(change.clone()),
                _ => None,
            });
            self.changes.extend(intent);
        }
    }
}

/// Turns what is published into moves until nothing more is.
pub(super) async fn distribute(api: Arc<Api>) {
    // First subscribe, then look: nothing falls in between.
    let mut news = api.hub.handle.subscribe();
    let mut seen = api.hub.state();
    loop {
        let mut gathered = Gathered::default();
        match news.recv().await {
            Ok(published) => gathered.add(&published),
            Err(RecvError::Lagged(_)) => gathered.torn = true,
            Err(RecvError::Closed) => return,
        }
        tokio::time::sleep(GATHER).await;
        loop {
            match news.try_recv() {
                Ok(published) => gathered.add(&published),
                Err(TryRecvError::Lagged(_)) => gathered.torn = true,
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let torn = gathered.torn;
        let later = |after: &Arc<State>| torn || after.revision > seen.revision;
        let Some(after) = gathered.after.filter(later) else {
            continue;
        };
        // Without a watch there is nobody to compute for.
        let heard = api.agents.moves.0.receiver_count() > 0;
        let known = heard && !torn;
        let steps = known.then(|| steps(&seen, &after, &gathered.changes));
        let moved = Moved {
            before: seen.revision,
            after: after.clone(),
            steps,
        };
        let _ = api.agents.moves.0.send(Arc::new(moved));
        seen = after;
    }
}

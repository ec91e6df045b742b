//! What the server tells: the view and its changes, and whether a view that is told on connecting may
//! take the held one's place.
//!
//! A store that was put back has another history than the one this host was told of. Where that is
//! to be feared the agent holds still, and keeps forwarding, until an operator confirms: another
//! store, one at an earlier revision, or one that takes away much at once and can't show that its
//! log holds what this host was told last. One that can means it: while this agent was away a
//! router may have gone, and half of a host's view with it.
use std::time::Instant;

use super::Agent;
use crate::metrics::METRICS;
use crate::ports::Changes;
use crate::server::{Held, HoldReason, Mark, Told};

/// How much of a host's items may go at once on connecting, by a server that shows no history.
const SHARE: f64 = 0.1;

impl Agent {
    pub(super) async fn told(&mut self, told: Told) {
        match told {
            Told::Connected => {
                self.connected = true;
                self.incoming = Some(Held::default());
                // Who does not know of us has no view for us.
                self.reported_at = None;
                self.report(Changes::default()).await;
            }
            Told::Lost => {
                self.connected = false;
                self.incoming = None;
            }
            Told::Changed {
                difference,
                revision,
            } => {
                let target = match (&mut self.incoming, &mut self.holding) {
                    (Some(incoming), _) => incoming,
                    (None, Some((_, pending))) => pending,
                    (None, None) => self.held.get_or_insert_default(),
                };
                METRICS.told(difference.put.len() + difference.remove.len());
                target.view.follow(difference);
                target.revision = target.revision.max(revision);
                self.unsaved.get_or_insert_with(Instant::now);
            }
            Told::Synced { store, revision } => self.synced(store, revision).await,
            Told::Marked(mark) => {
                let target = match &mut self.holding {
                    Some((_, pending)) => Some(pending),
                    None => self.held.as_mut(),
                };
                if let Some(target) = target {
                    // An older mark says as much about a view that is the same.
                    let told_since = |old: &Mark| old.revision < target.revision;
                    if target.mark.as_ref().is_none_or(told_since) {
                        self.unsaved.get_or_insert_with(Instant::now);
                    }
                    target.mark = Some(mark);
                }
            }
            Told::Asked(asked) => self.asked(asked).await,
        }
    }

    async fn synced(&mut self, store: String, revision: u64) {
        let Some(mut told) = self.incoming.take() else {
            if let Some(held) = &mut self.held {
                held.revision = held.revision.max(revision);
            }
            return;
        };
        (told.store, told.revision) = (store, revision);
        let mut reason = self.held.as_ref().and_then(|held| held.judge(&told, SHARE));
        if matches!(reason, Some(HoldReason::TakesAway { .. })) && self.history_continues().await {
            tracing::info!("much is taken away, by a server that has what this host was told");
            reason = None;
        }
        self.ports.forget();
        match reason {
            None => {
                self.holding = None;
                self.held = Some(told);
                self.unsaved.get_or_insert_with(Instant::now);
            }
            Some(reason) => {
                tracing::error!(%reason, "holding still until an operator confirms");
                self.holding = Some((reason, told));
            }
        }
    }

    /// Whether the server's log still holds what this host was told last: then what it takes away
    /// was taken away since, by somebody who meant it.
    async fn history_continues(&self) -> bool {
        let mark = self.held.as_ref().and_then(|held| held.mark.as_ref());
        let (Some(mark), Some(server)) = (mark, &self.server) else {
            return false;
        };
        let answer = server.continues(mark).await;
        answer.unwrap_or_else(|error| {
            let error = crate::chain(&*error);
            tracing::warn!(error, "the server does not say whether its history goes on");
            false
        })
    }

    /// An operator believes the server: what was held back is acted upon.
    pub(super) fn confirm(&mut self) -> bool {
        match self.holding.take() {
            Some((_, told)) => {
                self.held = Some(told);
                self.unsaved.get_or_insert_with(Instant::now);
                true
            }
            None => false,
        }
    }
}

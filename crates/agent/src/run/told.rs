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
use crate::server::{HoldReason, Step, Told};

impl Agent {
    pub(super) async fn told(&mut self, told: Told) {
        match told {
            // Who asked may have gone.
            Told::Connecting(say) => drop(say.send(self.intake.say())),
            Told::Connected => {
                self.connected = true;
                // Who does not know of us has no view for us.
                self.reported_at = None;
                self.report(Changes::default()).await;
            }
            Told::Lost => self.connected = false,
            Told::Step(step) => self.step(step).await,
            Told::Marked(mark) => {
                if self.intake.mark(mark) {
                    self.unsaved.get_or_insert_with(Instant::now);
                }
            }
            Told::Asked(asked) => self.asked(asked).await,
        }
    }

    async fn step(&mut self, step: Step) {
        let told = &step.difference;
        METRICS.told(told.put.len() + told.remove.len());
        self.unsaved.get_or_insert_with(Instant::now);
        if !self.intake.take(step) {
            return;
        }
        self.ports.forget();
        let much = matches!(
            self.intake.hold_reason(),
            Some(HoldReason::TakesAway { .. })
        );
        if much && self.history_continues().await {
            tracing::info!("much is taken away, by a server that has what this host was told");
            self.intake.confirm();
        }
        if let Some(reason) = self.intake.hold_reason() {
            tracing::error!(%reason, "holding still until an operator confirms");
        }
    }

    /// Whether the server's log still holds what this host was told last: then what it takes away
    /// was taken away since, by somebody who meant it.
    async fn history_continues(&self) -> bool {
        let mark = self.intake.held().and_then(|held| held.mark.as_ref());
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
        let confirmed = self.intake.confirm();
        if confirmed {
            self.unsaved.get_or_insert_with(Instant::now);
        }
        confirmed
    }
}

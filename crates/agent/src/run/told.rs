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
        self.believe_history().await;
        if let Some(reason) = self.intake.hold_reason() {
            tracing::error!(%reason, "holding still until an operator confirms");
        }
    }

    /// Much that is taken away is meant by a server that has what this host was told. One that does
    /// not say so in time, as it may when it is busy, is asked again.
    pub(super) async fn believe_history(&mut self) {
        let reason = self.intake.hold_reason();
        let much = matches!(reason, Some(HoldReason::TakesAway { .. }));
        let continues = match much && self.connected {
            true => self.history_continues().await,
            false => Some(false),
        };
        self.is_unanswered = continues.is_none();
        if continues == Some(true) {
            tracing::info!("much is taken away, by a server that has what this host was told");
            self.confirm();
        }
    }

    /// Whether the server's log still holds what this host was told last: then what it takes away
    /// was taken away since, by somebody who meant it.
    async fn history_continues(&self) -> Option<bool> {
        let mark = self.intake.held().and_then(|held| held.mark.as_ref());
        let (Some(mark), Some(server)) = (mark, &self.server) else {
            return Some(false);
        };
        let answer = server.continues(mark).await;
        let answer = answer.inspect_err(|error| {
            let error = crate::chain(&**error);
            tracing::warn!(error, "the server does not say whether its history goes on");
        });
        answer.ok()
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{UnixListener, UnixStream};

    use super::*;
    use crate::server::held::tests::held;

    const EMPTY: &str = "{\"event\":\"begins\",\"whole\":true}\n\
                         {\"event\":\"synced\",\"store\":\"s\",\"revision\":8}\n";

    /// Tells hosts that they have nothing, and is too busy to say more the first time it is asked.
    async fn busy_server(listener: UnixListener) {
        let mut asked = 0;
        let mut streams: Vec<UnixStream> = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = vec![0; 4096];
            let read = stream.read(&mut head).await.expect("a request");
            let head = String::from_utf8_lossy(&head[..read]);
            let path = head.split(' ').nth(1).expect("a path");
            let answer = match path.rsplit('/').next() {
                Some("watch") => {
                    let length = EMPTY.len();
                    format!("200 OK\r\ntransfer-encoding: chunked\r\n\r\n{length:x}\r\n{EMPTY}\r\n")
                }
                Some("history") if asked == 0 => {
                    asked += 1;
                    "503 Busy\r\ncontent-length: 0\r\n\r\n".to_owned()
                }
                Some("history") => {
                    "200 OK\r\ncontent-length: 18\r\n\r\n{\"continues\":true}".to_owned()
                }
                _ => "204 No Content\r\n\r\n".to_owned(),
            };
            let answer = format!("HTTP/1.1 {answer}");
            stream.write_all(answer.as_bytes()).await.expect("answered");
            streams.push(stream);
        }
    }

    fn agent(folder: &Path) -> Agent {
        held(60).save(&folder.join("view.json")).expect("kept");
        let at = folder.display();
        let text = format!(
            "host = 'c1'\nserver = 'unix:{at}/server'\nstate_dir = '{at}'\novsdb = '{at}/none'"
        );
        Agent::start(toml::from_str(&text).expect("a configuration")).expect("it starts")
    }

    #[tokio::test]
    async fn a_busy_server_is_asked_again_whether_it_means_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("server")).expect("a socket");
        tokio::spawn(busy_server(listener));
        let mut agent = agent(folder.path());
        agent.hear().await;
        let items = |agent: &Agent| agent.intake.held().map(|held| held.view.len());
        assert!(agent.is_unanswered && agent.intake.hold_reason().is_some());
        assert_eq!(items(&agent), Some(60), "it holds still");
        let again = agent.believe_history();
        let again = tokio::time::timeout(Duration::from_secs(5), again);
        again.await.expect("answered");
        assert!(!agent.is_unanswered && agent.intake.hold_reason().is_none());
        assert_eq!(items(&agent), Some(0));
    }
}

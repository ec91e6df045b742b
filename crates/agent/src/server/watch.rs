//! The two ways between agent and server: a stream of JSON lines down, reports up.
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use intent::view::{Difference, Item, ItemKey};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::mpsc;

use super::dial::Dial;
use super::held::Mark;

/// Silence after which a server counts as gone; it sends a heartbeat well within it.
const SILENCE: Duration = Duration::from_secs(45);
/// How long a server may take to answer a report: the loop that heals the host waits for it.
const ANSWER: Duration = Duration::from_secs(2);
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// One line of the stream.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line {
    Put {
        revision: u64,
        item: Item,
    },
    Remove {
        revision: u64,
        key: ItemKey,
    },
    /// Everything up to here is the view as the server has it.
    Synced {
        store: String,
        revision: u64,
    },
    /// What tells a revision from one of the same number in another history.
    Mark(Mark),
    Ask {
        id: String,
        question: String,
        #[serde(default)]
        parameters: Json,
        #[serde(default = "deadline")]
        deadline_seconds: u64,
    },
    Heartbeat,
    #[serde(other)]
    Unknown,
}

/// Where a question says none.
fn deadline() -> u64 {
    30
}

/// What the server tells the agent's loop.
#[derive(Debug)]
pub enum Told {
    /// The stream stands; what comes until `Synced` is the whole view.
    Connected,
    Changed {
        difference: Difference,
        revision: u64,
    },
    Synced {
        store: String,
        revision: u64,
    },
    Marked(Mark),
    Asked(Question),
    /// The stream broke.
    Lost,
}

/// What an administrator wants to know of this host.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub id: String,
    pub question: String,
    pub parameters: Json,
    /// Who asked waits no longer than this.
    pub deadline: Duration,
}

/// What an agent says of itself and of its host.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    pub agents: Vec<Agent>,
    pub ports_up: Vec<String>,
    pub ports_down: Vec<String>,
    /// Ports whose DHCP server here knows them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dhcp_ready: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routers_up: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routers_down: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routers_failed: Vec<String>,
    /// Everything else that operators want to see: drift, errors, why it holds still.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<String>,
    pub revision: u64,
    pub started: bool,
}

/// One of Neutron's agents that this process is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Agent {
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub configurations: Json,
}

/// The server: reports go through here; what it tells comes out of the channel given at start.
#[derive(Clone)]
pub struct Server {
    dial: Arc<Dial>,
    host: String,
}

impl Server {
    /// Watch, now and whenever the stream breaks.
    pub fn start(dial: Dial, host: &str, told: mpsc::UnboundedSender<Told>) -> Server {
        let server = Server {
            dial: Arc::new(dial),
            host: host.to_owned(),
        };
        tokio::spawn(server.clone().keep(told));
        server
    }

    async fn keep(self, told: mpsc::UnboundedSender<Told>) {
        let mut pause = FIRST_RETRY;
        while !told.is_closed() {
            match self.watch(&told).await {
                Ok(()) => pause = FIRST_RETRY,
                Err(error) => tracing::warn!(error = crate::chain(&*error), "the server is away"),
            }
            // The loop may have ended.
            let _ = told.send(Told::Lost);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LAST_RETRY);
        }
    }

    /// One stream until it ends; an error when it never stood.
    async fn watch(
        &self,
        told: &mpsc::UnboundedSender<Told>,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let path = format!("/v1/hosts/{}/watch", self.host);
        let mut body = self
            .dial
            .ask(Method::GET, &path, Vec::new())
            .await?
            .into_body();
        tracing::info!(server = self.dial.server(), "watching the server");
        told.send(Told::Connected)?;
        let mut lines = Lines::default();
        while let Ok(Some(frame)) = tokio::time::timeout(SILENCE, body.frame()).await {
            let Ok(frame) = frame else {
                break;
            };
            if let Some(bytes) = frame.data_ref() {
                lines.push(bytes);
            }
            while let Some(line) = lines.take() {
                if let Some(event) = read(&line)? {
                    told.send(event)?;
                }
            }
        }
        Ok(())
    }

    pub async fn report(
        &self,
        report: &Report,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let path = format!("/v1/hosts/{}/status", self.host);
        let body = serde_json::to_vec(report)?;
        tokio::time::timeout(ANSWER, self.dial.ask(Method::POST, &path, body)).await??;
        Ok(())
    }

    /// Whether the server's history goes on from the one that this host was told of.
    pub async fn continues(
        &self,
        mark: &Mark,
    ) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
        #[derive(Deserialize)]
        struct Answer {
            continues: bool,
        }
        let path = format!("/v1/hosts/{}/history", self.host);
        let body = serde_json::to_vec(mark)?;
        let asked = async {
            let answer = self.dial.ask(Method::POST, &path, body).await?;
            let bytes = answer.into_body().collect().await?.to_bytes();
            let answer: Answer = serde_json::from_slice(&bytes)?;
            Ok(answer.continues)
        };
        tokio::time::timeout(ANSWER, asked).await?
    }

    /// Answer a question of the stream, for as long as somebody waits for it.
    pub async fn answer(
        &self,
        asked: &Question,
        answer: &Json,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let path = format!("/v1/hosts/{}/answers/{}", self.host, asked.id);
        let body = answer.to_string().into_bytes();
        tokio::time::timeout(asked.deadline, self.dial.ask(Method::POST, &path, body)).await??;
        Ok(())
    }
}

fn read(line: &[u8]) -> Result<Option<Told>, serde_json::Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(None);
    }
    let one = |put: Vec<Item>, remove: Vec<ItemKey>| Difference { put, remove };
    Ok(match serde_json::from_slice(line)? {
        Line::Put { revision, item } => Some(Told::Changed {
            difference: one(vec![item], vec![]),
            revision,
        }),
        Line::Remove { revision, key } => Some(Told::Changed {
            difference: one(vec![], vec![key]),
            revision,
        }),
        Line::Synced { store, revision } => Some(Told::Synced { store, revision }),
        Line::Mark(mark) => Some(Told::Marked(mark)),
        Line::Ask {
            id,
            question,
            parameters,
            deadline_seconds,
        } => Some(Told::Asked(Question {
            id,
            question,
            parameters,
            deadline: Duration::from_secs(deadline_seconds),
        })),
        Line::Heartbeat | Line::Unknown => None,
    })
}

/// Cuts bytes into lines.
#[derive(Debug, Default)]
struct Lines {
    buffer: Vec<u8>,
    seen: usize,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    fn take(&mut self) -> Option<Vec<u8>> {
        let found = self.buffer[self.seen..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(found) = found else {
            self.seen = self.buffer.len();
            return None;
        };
        let rest = self.buffer.split_off(self.seen + found + 1);
        self.seen = 0;
        Some(std::mem::replace(&mut self.buffer, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_whole_however_they_arrive() {
        let mut lines = Lines::default();
        lines.push(b"a\nb");
        assert_eq!(lines.take().as_deref(), Some(&b"a\n"[..]));
        assert_eq!(lines.take(), None);
        lines.push(b"c\n\n");
        assert_eq!(lines.take().as_deref(), Some(&b"bc\n"[..]));
        assert_eq!(lines.take().as_deref(), Some(&b"\n"[..]));
    }

    #[test]
    fn every_event_is_read_and_later_ones_are_passed_over() {
        let put = br#"{"event":"put","revision":3,"item":{"kind":"peer","value":{"host":"c2"}}}"#;
        assert!(matches!(
            read(put),
            Ok(Some(Told::Changed { revision: 3, .. }))
        ));
        let remove = br#"{"event":"remove","revision":4,"key":{"kind":"peer","key":"c2"}}"#;
        assert!(
            matches!(read(remove), Ok(Some(Told::Changed { difference, .. })) if difference.remove.len() == 1)
        );
        let synced = br#"{"event":"synced","store":"s","revision":4}"#;
        assert!(matches!(read(synced), Ok(Some(Told::Synced { .. }))));
        let mark = br#"{"event":"mark","revision":4,"mark":"a1"}"#;
        assert!(matches!(
            read(mark),
            Ok(Some(Told::Marked(Mark { revision: 4, .. })))
        ));
        let ask = br#"{"event":"ask","id":"7","question":"drift","deadline_seconds":5}"#;
        assert!(
            matches!(read(ask), Ok(Some(Told::Asked(asked))) if asked.deadline == Duration::from_secs(5))
        );
        assert!(matches!(read(br#"{"event":"heartbeat"}"#), Ok(None)));
        assert!(matches!(read(br#"{"event":"tomorrow","x":1}"#), Ok(None)));
        assert!(read(b"{").is_err());
    }
}

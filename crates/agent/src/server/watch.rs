//! The two ways between agent and server: a stream of JSON lines down, reports up.
use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use intent::view::{Difference, Holding, Item, ItemKey};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tokio::sync::{mpsc, oneshot};

use super::dial::Dial;
use super::held::Mark;
use super::intake::{Base, Step};

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
    /// Whether what comes is the whole view, or the difference to what this host said it holds.
    Begins {
        whole: bool,
    },
    Put {
        item: Item,
    },
    Remove {
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
    /// A stream is about to be asked for: what does the host hold?
    Connecting(oneshot::Sender<Option<Holding>>),
    /// The stream stands.
    Connected,
    Step(Step),
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
    /// The revision of the store at which this host was as it should be.
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
        let (say, said) = oneshot::channel();
        told.send(Told::Connecting(say))?;
        let holding = match said.await? {
            Some(holding) => serde_json::to_vec(&holding)?,
            None => Vec::new(),
        };
        let answer = self.dial.ask(Method::POST, &path, holding).await?;
        let mut body = answer.into_body();
        tracing::info!(server = self.dial.server(), "watching the server");
        told.send(Told::Connected)?;
        let (mut lines, mut stream) = (Lines::default(), Stream::default());
        while let Ok(Some(frame)) = tokio::time::timeout(SILENCE, body.frame()).await {
            let Ok(frame) = frame else {
                break;
            };
            if let Some(bytes) = frame.data_ref() {
                lines.push(bytes);
            }
            while let Some(line) = lines.take() {
                if let Some(event) = stream.read(&line)? {
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

/// Gathers lines into steps: what broke off in the middle of one has told nothing.
#[derive(Debug)]
struct Stream {
    base: Base,
    coming: Difference,
}

impl Default for Stream {
    fn default() -> Stream {
        Stream {
            base: Base::Nothing,
            coming: Difference::default(),
        }
    }
}

impl Stream {
    fn read(&mut self, line: &[u8]) -> Result<Option<Told>, serde_json::Error> {
        if line.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        Ok(match serde_json::from_slice(line)? {
            Line::Begins { whole } => {
                self.base = if whole { Base::Nothing } else { Base::Said };
                None
            }
            Line::Put { item } => {
                self.coming.put.push(item);
                None
            }
            Line::Remove { key } => {
                self.coming.remove.push(key);
                None
            }
            Line::Synced { store, revision } => Some(Told::Step(Step {
                base: std::mem::replace(&mut self.base, Base::Last),
                difference: std::mem::take(&mut self.coming),
                store,
                revision,
            })),
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
    fn lines_are_gathered_into_steps_and_later_kinds_are_passed_over() {
        let mut stream = Stream::default();
        let begins: &[u8] = br#"{"event":"begins","whole":false}"#;
        let put = br#"{"event":"put","revision":3,"item":{"kind":"peer","value":{"host":"c2"}}}"#;
        let remove = br#"{"event":"remove","revision":4,"key":{"kind":"peer","key":"c2"}}"#;
        for line in [begins, put, remove, br#"{"event":"tomorrow","x":1}"#, b"\n"] {
            assert!(matches!(stream.read(line), Ok(None)));
        }
        let synced = br#"{"event":"synced","store":"s","revision":4}"#;
        let Ok(Some(Told::Step(step))) = stream.read(synced) else {
            panic!("a mark ends a step");
        };
        assert_eq!((step.base, step.revision), (Base::Said, 4));
        assert_eq!(
            (step.difference.put.len(), step.difference.remove.len()),
            (1, 1)
        );
        let Ok(Some(Told::Step(step))) = stream.read(synced) else {
            panic!("and so does the next");
        };
        assert!(step.base == Base::Last && step.difference.is_empty());
        let mark = br#"{"event":"mark","revision":4,"mark":"a1"}"#;
        assert!(matches!(
            stream.read(mark),
            Ok(Some(Told::Marked(Mark { revision: 4, .. })))
        ));
        let ask = br#"{"event":"ask","id":"7","question":"drift","deadline_seconds":5}"#;
        assert!(
            matches!(stream.read(ask), Ok(Some(Told::Asked(asked))) if asked.deadline == Duration::from_secs(5))
        );
        assert!(matches!(stream.read(br#"{"event":"heartbeat"}"#), Ok(None)));
        assert!(stream.read(b"{").is_err());
        // Without a word on it, it is the whole view.
        let first = Stream::default().read(synced);
        assert!(matches!(first, Ok(Some(Told::Step(step))) if step.base == Base::Nothing));
    }
}

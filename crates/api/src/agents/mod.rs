//! The agents' listener: every host's view as a stream of JSON lines, its reports, and questions.
//!
//! ```text
//! GET  /v1/hosts/HOST/watch       the view, "synced", then every change; heartbeats in between
//! POST /v1/hosts/HOST/watch       the same for a host that says what it holds: it gets no more
//!                                 than the difference
//! POST /v1/hosts/HOST/status      what came up and down, the agents that the host's process is
//! POST /v1/hosts/HOST/answers/ID  the answer to a question of the stream
//! ```
//!
//! A host proves its name by the DNS name in its client certificate or by a token, and gets its
//! own view and nothing else. Without either only loopback is listened on.

pub(crate) mod elsewhere;
mod moves;
mod report;
mod serve;
mod socket;
mod watch;

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

pub use serve::{Listener, Tokens};
pub use socket::Socket;

/// Lines that wait for a host's connection to take them.
const LINES: usize = 64;

/// Hosts that are connected, and questions that wait for an answer.
#[derive(Debug, Default)]
pub struct Agents {
    connected: Mutex<BTreeMap<String, mpsc::Sender<Value>>>,
    waiting: Mutex<BTreeMap<String, oneshot::Sender<Value>>>,
    /// What watches follow.
    moves: moves::Moves,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AskError {
    #[error("host {0} is not connected")]
    Absent(String),
    #[error("host {host} did not answer within {seconds} seconds")]
    Late { host: String, seconds: u64 },
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Agents {
    /// Puts a question to a host and waits for its answer.
    pub async fn ask(
        &self,
        host: &str,
        question: &str,
        parameters: &Value,
        patience: Duration,
    ) -> Result<Value, AskError> {
        let absent = || AskError::Absent(host.to_owned());
        let line = lock(&self.connected)
            .get(host)
            .cloned()
            .ok_or_else(absent)?;
        let id = uuid::Uuid::new_v4().to_string();
        let (answer, answered) = oneshot::channel();
        self.await_answer(id.clone(), answer);
        let asked = json!({
            "event": "ask", "id": id, "question": question, "parameters": parameters,
            "deadline_seconds": patience.as_secs(),
        });
        // Many questions may wait already for a host that reads nothing.
        let heard = async {
            line.send(asked).await.map_err(|_| absent())?;
            Ok(answered.await.ok())
        };
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(patience, heard) => outcome.unwrap_or(Ok(None)),
            // It went away while it was asked.
            () = line.closed() => Err(absent()),
        };
        lock(&self.waiting).remove(&id);
        outcome?.ok_or(AskError::Late {
            host: host.to_owned(),
            seconds: patience.as_secs(),
        })
    }

    fn await_answer(&self, id: String, answer: oneshot::Sender<Value>) {
        let mut waiting = lock(&self.waiting);
        // Who asked may have gone without waiting for the end.
        waiting.retain(|_, answer| !answer.is_closed());
        waiting.insert(id, answer);
    }

    /// Hosts with a watch.
    pub fn hosts(&self) -> Vec<String> {
        lock(&self.connected).keys().cloned().collect()
    }

    fn answer(&self, id: &str, answer: Value) -> bool {
        let waiting = lock(&self.waiting).remove(id);
        waiting.is_some_and(|waiting| waiting.send(answer).is_ok())
    }

    /// The way to a host's newest watch.
    fn connect(&self, host: &str) -> mpsc::Receiver<Value> {
        let (lines, receiver) = mpsc::channel(LINES);
        lock(&self.connected).insert(host.to_owned(), lines);
        receiver
    }

    fn disconnect(&self, host: &str, receiver: &mut mpsc::Receiver<Value>) {
        receiver.close();
        let mut connected = lock(&self.connected);
        // A newer watch of the same host stays.
        if connected.get(host).is_some_and(mpsc::Sender::is_closed) {
            connected.remove(host);
        }
    }
}

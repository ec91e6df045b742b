//! A connection to ovsdb-server over its unix socket (RFC 7047): one monitor that feeds the
//! cache, any number of transactions. When the server goes away it is called again, for ever; the
//! cache keeps what was last seen, and says that it is not live.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::cache::Cache;
use super::frame::Framer;
use super::value::BadValue;

const DATABASE: &str = "Open_vSwitch";
/// Between two calls of a server that does not answer.
const RETRY: Duration = Duration::from_millis(200);

/// A transaction did not happen.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    #[error("ovsdb-server is not connected")]
    Away,
    #[error("ovsdb-server refused operation {number} of a transaction: {error}")]
    Refused { number: usize, error: String },
    #[error("ovsdb-server answered a transaction with '{0}'")]
    Nonsense(String),
}

/// A connection failed.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("connection to ovsdb-server failed")]
    Io(#[source] std::io::Error),
    #[error("ovsdb-server sent no JSON")]
    Json(#[source] serde_json::Error),
    #[error("ovsdb-server sent an update that can't be read")]
    Update(#[source] BadValue),
    #[error("ovsdb-server refused to be monitored: {0}")]
    Monitor(String),
    #[error("ovsdb-server ended the connection")]
    Ended,
    #[error("nobody needs ovsdb-server any more")]
    Unneeded,
}

struct Request {
    operations: Vec<Json>,
    answer: oneshot::Sender<Result<Vec<Json>, TransactError>>,
}

/// The database of this host's switch: a live copy to read, transactions to write.
#[derive(Clone)]
pub struct Ovsdb {
    cache: Shared,
    requests: mpsc::UnboundedSender<Request>,
}

impl Ovsdb {
    /// Connect, now and whenever the connection breaks; `wake` is called after each change.
    pub fn start(socket: PathBuf, wake: impl Fn() + Send + 'static) -> Ovsdb {
        let cache = Shared::default();
        let (requests, inbox) = mpsc::unbounded_channel();
        let keeper = Keeper {
            socket,
            wake: Box::new(wake),
            cache: cache.clone(),
            inbox,
            last: no_transaction(),
        };
        tokio::spawn(keeper.keep());
        Ovsdb { cache, requests }
    }

    /// The copy as it is now. While somebody holds one, the next change copies it.
    pub fn cache(&self) -> Arc<Cache> {
        lock(&self.cache).clone()
    }

    /// One transaction; the results of its operations. When it returns, the cache has its effects.
    pub async fn transact(&self, operations: Vec<Json>) -> Result<Vec<Json>, TransactError> {
        let (answer, result) = oneshot::channel();
        let request = Request { operations, answer };
        self.requests
            .send(request)
            .map_err(|_| TransactError::Away)?;
        result.await.unwrap_or(Err(TransactError::Away))
    }
}

type Shared = Arc<Mutex<Arc<Cache>>>;

fn lock(cache: &Shared) -> MutexGuard<'_, Arc<Cache>> {
    cache.lock().unwrap_or_else(PoisonError::into_inner)
}

fn no_transaction() -> String {
    uuid::Uuid::nil().to_string()
}

struct Keeper {
    socket: PathBuf,
    wake: Box<dyn Fn() + Send>,
    cache: Shared,
    inbox: mpsc::UnboundedReceiver<Request>,
    /// The last transaction that the cache has, for servers that remember.
    last: String,
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            let error = match self.serve().await {
                Err(LinkError::Unneeded) => return,
                Err(error) => error,
                Ok(never) => match never {},
            };
            let was_live =
                std::mem::replace(&mut Arc::make_mut(&mut lock(&self.cache)).live, false);
            if was_live {
                tracing::warn!(
                    error = crate::chain(&error),
                    "the switch's database went away"
                );
                (self.wake)();
            }
            // Who asked while nobody listened hears at once that nobody did.
            while let Ok(request) = self.inbox.try_recv() {
                let _ = request.answer.send(Err(TransactError::Away));
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// One connection, until it breaks.
    async fn serve(&mut self) -> Result<std::convert::Infallible, LinkError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(LinkError::Io)?;
        let (mut reader, mut writer) = stream.into_split();
        let mut session = Session {
            keeper: self,
            pending: BTreeMap::new(),
            next: 1,
            out: Vec::new(),
        };
        session.send_monitor();
        let mut framer = Framer::default();
        let mut bytes = vec![0; 1 << 16];
        loop {
            if !session.out.is_empty() {
                let out = std::mem::take(&mut session.out);
                writer.write_all(&out).await.map_err(LinkError::Io)?;
            }
            tokio::select! {
                read = reader.read(&mut bytes) => {
                    let count = read.map_err(LinkError::Io)?;
                    if count == 0 {
                        return Err(LinkError::Ended);
                    }
                    framer.push(&bytes[..count]);
                    session.hear_all(&mut framer)?;
                }
                request = session.keeper.inbox.recv() => match request {
                    Some(request) => session.send(request),
                    None => return Err(LinkError::Unneeded),
                },
            }
        }
    }
}

/// What one connection has under way.
struct Session<'a> {
    keeper: &'a mut Keeper,
    pending: BTreeMap<u64, oneshot::Sender<Result<Vec<Json>, TransactError>>>,
    next: u64,
    out: Vec<u8>,
}

/// The request that starts the monitor, in both forms.
const MONITOR: u64 = 0;

impl Session<'_> {
    fn say(&mut self, message: &Json) {
        self.out.extend_from_slice(message.to_string().as_bytes());
    }

    fn send_monitor(&mut self) {
        let message = json!({
            "id": MONITOR, "method": "monitor_cond_since",
            "params": [DATABASE, "agent", Cache::monitor_requests(), self.keeper.last],
        });
        self.say(&message);
    }

    /// Servers older than 2.12 do not know where one left off.
    fn send_monitor_cond(&mut self) {
        let message = json!({
            "id": MONITOR, "method": "monitor_cond",
            "params": [DATABASE, "agent", Cache::monitor_requests()],
        });
        self.keeper.last = no_transaction();
        self.say(&message);
    }

    fn send(&mut self, request: Request) {
        let id = self.next;
        self.next += 1;
        let mut params = vec![json!(DATABASE)];
        params.extend(request.operations);
        self.say(&json!({"id": id, "method": "transact", "params": params}));
        self.pending.insert(id, request.answer);
    }

    /// Everything that has arrived, and one waking for all of it.
    fn hear_all(&mut self, framer: &mut Framer) -> Result<(), LinkError> {
        let mut changed = false;
        while let Some(message) = framer.take() {
            let message = serde_json::from_slice(&message).map_err(LinkError::Json)?;
            changed |= self.hear(message)?;
        }
        if changed {
            (self.keeper.wake)();
        }
        Ok(())
    }

    /// One message; whether the cache changed.
    fn hear(&mut self, mut message: Json) -> Result<bool, LinkError> {
        match message["method"].as_str() {
            Some("echo") => {
                let answer =
                    json!({"id": message["id"], "result": message["params"], "error": null});
                self.say(&answer);
                Ok(false)
            }
            Some("update3") => {
                if let Some(last) = message["params"][1].as_str() {
                    self.keeper.last = last.to_owned();
                }
                self.follow(&message["params"][2])
            }
            Some("update2") => self.follow(&message["params"][1]),
            Some(_) => Ok(false),
            None if message["id"] == json!(MONITOR) => self.monitor_answered(&message),
            None => {
                self.answered(message.take());
                Ok(false)
            }
        }
    }

    fn follow(&mut self, updates: &Json) -> Result<bool, LinkError> {
        Arc::make_mut(&mut lock(&self.keeper.cache))
            .follow(updates)
            .map_err(LinkError::Update)?;
        Ok(true)
    }

    fn monitor_answered(&mut self, message: &Json) -> Result<bool, LinkError> {
        if !message["error"].is_null() {
            let error = message["error"].to_string();
            if error.contains("unknown method") {
                self.send_monitor_cond();
                return Ok(false);
            }
            return Err(LinkError::Monitor(error));
        }
        let result = &message["result"];
        let (known, updates) = match result.as_array().map(Vec::as_slice) {
            Some([found, last, updates]) => {
                self.keeper.last = last.as_str().unwrap_or_default().to_owned();
                (found.as_bool().unwrap_or(false), updates)
            }
            _ => (false, result),
        };
        let mut shared = lock(&self.keeper.cache);
        let cache = Arc::make_mut(&mut shared);
        if !known {
            cache.clear();
        }
        cache.follow(updates).map_err(LinkError::Update)?;
        cache.live = true;
        Ok(true)
    }

    fn answered(&mut self, message: Json) {
        let pending = message["id"]
            .as_u64()
            .and_then(|id| self.pending.remove(&id));
        if let Some(answer) = pending {
            // Who asked may have stopped waiting.
            let _ = answer.send(outcome(message));
        }
    }
}

/// What came of a transaction: the results of its operations, or the first refusal.
fn outcome(mut message: Json) -> Result<Vec<Json>, TransactError> {
    let Json::Array(results) = message["result"].take() else {
        return Err(TransactError::Nonsense(message["error"].to_string()));
    };
    let failed = results.iter().position(|result| !result["error"].is_null());
    match failed {
        None => Ok(results),
        Some(number) => {
            let result = &results[number];
            let words = [result["error"].as_str(), result["details"].as_str()];
            let error = words.into_iter().flatten().collect::<Vec<_>>().join(": ");
            Err(TransactError::Refused { number, error })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_operation() {
        let message = json!({"result": [{"count": 1}, {"error": "constraint violation", "details": "no"}, null]});
        let error = outcome(message).expect_err("refused").to_string();
        assert!(
            error.ends_with("operation 1 of a transaction: constraint violation: no"),
            "{error}"
        );
        assert_eq!(outcome(json!({"result": [{}]})).expect("done").len(), 1);
        assert!(matches!(
            outcome(json!({"error": "x"})),
            Err(TransactError::Nonsense(_))
        ));
    }
}

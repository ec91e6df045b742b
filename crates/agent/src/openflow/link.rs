//! The connection to one bridge's management socket. It is made anew whenever it breaks, which is
//! how a switch that was restarted makes itself heard.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

use super::message::{self, HEADER, bundle, kind, multipart};

const RETRY: Duration = Duration::from_millis(20);
/// A watch's number; requests have higher ones.
const WATCH: u32 = 1;

/// What a bridge did unasked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The connection stands; whatever was known of the flows may be wrong.
    Up,
    /// The switch is gone, or the bridge.
    Down,
    /// Somebody else changed a flow with this cookie.
    Changed { cookie: u64 },
}

/// The switch did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SwitchError {
    #[error("the switch is not connected")]
    Away,
    #[error("the switch refused: {0}")]
    Failed(String),
}

/// A change of a bundle that the switch would not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub index: usize,
    pub what: String,
}

/// What is asked.
enum Ask {
    /// Flows of a table that a match (as bytes) covers; all of them without.
    Flows(Option<(u8, Vec<u8>)>),
    /// Bodies of `flow_mod`s.
    Bundle(Vec<Vec<u8>>),
}

#[derive(Default)]
struct Answer {
    body: Vec<u8>,
    refusals: Vec<Refusal>,
}

struct Request {
    ask: Ask,
    answer: oneshot::Sender<Result<Answer, SwitchError>>,
}

/// One bridge's switch.
#[derive(Clone, Debug)]
pub struct Switch {
    requests: mpsc::UnboundedSender<Request>,
    up: Arc<AtomicBool>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Request")
    }
}

impl Switch {
    /// Connect, now and whenever the connection breaks, until the last handle is dropped.
    pub fn start(socket: PathBuf, tell: impl Fn(Heard) + Send + 'static) -> Switch {
        let (requests, inbox) = mpsc::unbounded_channel();
        let up = Arc::new(AtomicBool::new(false));
        let keeper = Keeper {
            socket,
            tell: Box::new(tell),
            inbox,
            up: up.clone(),
        };
        tokio::spawn(keeper.keep());
        Switch { requests, up }
    }

    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// The bodies of flow entries (see [`message::flows`]).
    pub async fn flows(&self, some: Option<(u8, Vec<u8>)>) -> Result<Vec<u8>, SwitchError> {
        self.ask(Ask::Flows(some)).await.map(|answer| answer.body)
    }

    /// Change flows, at once for every packet. A change that the switch can't make anything of is
    /// left out and given back; the others are made.
    pub async fn bundle(&self, changes: Vec<Vec<u8>>) -> Result<Vec<Refusal>, SwitchError> {
        self.ask(Ask::Bundle(changes))
            .await
            .map(|answer| answer.refusals)
    }

    async fn ask(&self, ask: Ask) -> Result<Answer, SwitchError> {
        let (answer, result) = oneshot::channel();
        let request = Request { ask, answer };
        self.requests.send(request).map_err(|_| SwitchError::Away)?;
        result.await.unwrap_or(Err(SwitchError::Away))
    }
}

struct Keeper {
    socket: PathBuf,
    tell: Box<dyn Fn(Heard) + Send>,
    inbox: mpsc::UnboundedReceiver<Request>,
    up: Arc<AtomicBool>,
}

/// Why a connection ended.
enum Ended {
    Unneeded,
    Broken,
}

impl Keeper {
    async fn keep(mut self) {
        loop {
            let ended = self.serve().await;
            if self.up.swap(false, Ordering::Relaxed) {
                (self.tell)(Heard::Down);
            }
            if let Ended::Unneeded = ended {
                return;
            }
            let pause = tokio::time::sleep(RETRY);
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    request = self.inbox.recv() => match request {
                        // Nobody is there to be asked.
                        Some(request) => drop(request.answer.send(Err(SwitchError::Away))),
                        None => return,
                    },
                }
            }
        }
    }

    async fn serve(&mut self) -> Ended {
        let Ok(stream) = UnixStream::connect(&self.socket).await else {
            return Ended::Broken;
        };
        let (mut reader, mut writer) = stream.into_split();
        let mut session = Session::new(self);
        let mut buffer = Vec::new();
        loop {
            if !session.out.is_empty() {
                let out = std::mem::take(&mut session.out);
                // The switch answers while it reads: both ways have to go on at once.
                let (written, read) = exchange(&mut writer, &mut reader, &out, &mut buffer).await;
                if written.is_err() || read.is_err() {
                    return Ended::Broken;
                }
                if session.hear_all(&mut buffer).is_err() {
                    return Ended::Broken;
                }
                continue;
            }
            tokio::select! {
                read = reader.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(1..)) || session.hear_all(&mut buffer).is_err() {
                        return Ended::Broken;
                    }
                }
                request = session.keeper.inbox.recv() => match request {
                    Some(request) => session.send(request),
                    None => return Ended::Unneeded,
                },
            }
        }
    }
}

/// Write everything, and read what comes meanwhile.
async fn exchange(
    writer: &mut tokio::net::unix::OwnedWriteHalf,
    reader: &mut tokio::net::unix::OwnedReadHalf,
    out: &[u8],
    buffer: &mut Vec<u8>,
) -> (std::io::Result<()>, std::io::Result<()>) {
    let writing = writer.write_all(out);
    tokio::pin!(writing);
    loop {
        tokio::select! {
            written = &mut writing => return (written, Ok(())),
            read = reader.read_buf(buffer) => match read {
                Ok(0) => return (Ok(()), Err(std::io::ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) => return (Ok(()), Err(error)),
            },
        }
    }
}

/// What is under way on one connection.
struct Session<'a> {
    keeper: &'a mut Keeper,
    out: Vec<u8>,
    next: u32,
    pending: BTreeMap<u32, Pending>,
}

struct Pending {
    answer: oneshot::Sender<Result<Answer, SwitchError>>,
    done: Answer,
    /// How many numbers the request took: its own, then one for each change.
    numbers: u32,
    failed: Option<SwitchError>,
}

struct Bad;

impl Session<'_> {
    fn new(keeper: &mut Keeper) -> Session<'_> {
        let out = message::hello();
        Session {
            keeper,
            out,
            next: WATCH + 1,
            pending: BTreeMap::new(),
        }
    }

    fn send(&mut self, request: Request) {
        let xid = self.next;
        let mut numbers = 1;
        match request.ask {
            Ask::Flows(some) => {
                let (table, matches) = match some {
                    Some((table, matches)) => (Some(table), matches),
                    None => (None, message::EVERYTHING.to_vec()),
                };
                self.out
                    .extend(message::flows_request(xid, table, &matches));
            }
            Ask::Bundle(changes) => {
                // A bundle is known by the request's number, each change by one of its own.
                self.out
                    .extend(message::bundle_control(xid, xid, bundle::OPEN));
                for change in &changes {
                    self.out
                        .extend(message::bundle_add(xid + numbers, xid, change));
                    numbers += 1;
                }
                self.out
                    .extend(message::bundle_control(xid, xid, bundle::COMMIT));
            }
        }
        self.next = xid.checked_add(numbers).unwrap_or(WATCH + 1);
        let pending = Pending {
            answer: request.answer,
            done: Answer::default(),
            numbers,
            failed: None,
        };
        self.pending.insert(xid, pending);
    }

    fn hear_all(&mut self, buffer: &mut Vec<u8>) -> Result<(), Bad> {
        let mut at = 0;
        while let Some(header) = buffer.get(at..at + HEADER) {
            let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
            let xid = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
            let kind = header[1];
            if length < HEADER {
                return Err(Bad);
            }
            let Some(body) = buffer.get(at + HEADER..at + length) else {
                break;
            };
            self.hear(kind, xid, body)?;
            at += length;
        }
        buffer.drain(..at);
        Ok(())
    }

    fn hear(&mut self, kind: u8, xid: u32, body: &[u8]) -> Result<(), Bad> {
        match kind {
            kind::HELLO => {
                self.out.extend(message::watch_request(WATCH));
                self.keeper.up.store(true, Ordering::Relaxed);
                (self.keeper.tell)(Heard::Up);
            }
            kind::ECHO_REQUEST => {
                let echo =
                    message::message(kind::ECHO_REPLY, xid, |out| out.0.extend_from_slice(body));
                self.out.extend(echo);
            }
            kind::ERROR if !self.keeper.up.load(Ordering::Relaxed) => return Err(Bad),
            kind::ERROR => self.refused(xid, body),
            kind::MULTIPART_REPLY => self.multipart(xid, body)?,
            kind::BUNDLE_CONTROL => self.bundle(xid, body),
            _ => {}
        }
        Ok(())
    }

    fn multipart(&mut self, xid: u32, body: &[u8]) -> Result<(), Bad> {
        let (head, body) = body.split_at_checked(8).ok_or(Bad)?;
        if u16::from_be_bytes([head[0], head[1]]) == multipart::FLOW_MONITOR {
            for cookie in message::changed_by_others(body).map_err(|_| Bad)? {
                (self.keeper.tell)(Heard::Changed { cookie });
            }
            return Ok(());
        }
        let Some(pending) = self.pending.get_mut(&xid) else {
            return Ok(());
        };
        pending.done.body.extend_from_slice(body);
        let more = u16::from_be_bytes([head[2], head[3]]) & 1 == 1;
        if !more {
            self.finish(xid);
        }
        Ok(())
    }

    fn bundle(&mut self, xid: u32, body: &[u8]) {
        if body.get(4..6) == Some(&bundle::COMMITTED.to_be_bytes()[..]) {
            self.finish(xid);
        }
    }

    /// An error names the request, or one change of it.
    fn refused(&mut self, xid: u32, body: &[u8]) {
        let what = message::error_text(body);
        let found = self.pending.range_mut(..=xid).next_back();
        let Some((first, pending)) =
            found.filter(|(first, pending)| xid - **first < pending.numbers)
        else {
            tracing::warn!(what, "the switch refused something that was not asked");
            return;
        };
        let first = *first;
        if xid > first {
            let index = (xid - first - 1) as usize;
            pending.done.refusals.push(Refusal { index, what });
            return;
        }
        pending.failed.get_or_insert(SwitchError::Failed(what));
        let is_bundle = pending.numbers > 1;
        if is_bundle {
            self.out
                .extend(message::bundle_control(0, first, bundle::DISCARD));
        }
        self.finish(first);
    }

    fn finish(&mut self, xid: u32) {
        let Some(pending) = self.pending.remove(&xid) else {
            return;
        };
        // Who asked may have stopped waiting.
        let _ = pending.answer.send(match pending.failed {
            Some(error) => Err(error),
            None => Ok(pending.done),
        });
    }
}

//! The one writer: decides commands one after the other, makes their changes durable in groups,
//! and only then lets anyone see them.
//!
//! ```text
//!            commands                 a batch            durable
//!  Handle ──────────────▶ working ──────────────▶ store ─────────▶ published ─▶ readers, watches
//!     ▲                    state     (next batch fills meanwhile)       │
//!     └──────────────────────────── answers ◀─ followers have applied ──┘
//! ```
//!
//! - The *working* state runs ahead of the *published* one by the batch under way and the one that
//!   fills. Versions of the state are cheap (persistent maps), so undoing is dropping a value.
//! - A refusal is answered when the state that it was judged on is published: a client must not
//!   hear "there is such a network already" of a network that then is not there.
//! - A definite abort refuses everything under way and begins again from the published state.
//! - When the outcome of a commit is unknown nothing is decided until the store has told.
//! - While the store is away, commands are refused at once, and it is asked now and then.
//!
//! It knows nothing of networks and ports: what is decided, and how, is [`Decide`]'s.

mod followers;
mod task;

use std::{fmt, sync::Arc, time::Duration};

use crate::replica::peer::Peers;
use arc_swap::ArcSwap;
use store::{Store, StoreError};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

pub use followers::{Followers, Grant};
pub(crate) use task::{Exit, Writer};

/// Commands that wait for the writer before those who ask have to wait to be heard at all.
const QUEUE: usize = 4_096;
/// Published batches that a watch may fall behind before it has to begin anew.
const NEWS: usize = 1_024;
/// How long the lease runs that the writer holds, and that a crashed one leaves behind.
pub const LEASE: Duration = Duration::from_secs(2);

/// What the writer does not know: the state, and how commands change it.
pub trait Decide: Send + Sync + Sized + 'static {
    /// Cheap to clone: every batch keeps a version.
    type State: Clone + Send + Sync + 'static;
    type Command: Send + 'static;
    type Answer: Send + 'static;
    type Refusal: Send + 'static;
    type Change: Send + Sync + 'static;

    /// What becomes of a command; a state that it changes is of the revision `next`.
    fn decide(
        &self,
        state: &Self::State,
        command: Self::Command,
        next: u64,
    ) -> Result<Decided<Self>, Self::Refusal>;

    /// The empty state that a newborn store holds.
    fn empty(&self) -> Self::State;
    fn apply(&self, state: &mut Self::State, change: &Self::Change);
    /// Notes in the state which revision it is the sum of.
    fn set_revision(&self, state: &mut Self::State, revision: u64);

    fn encode(&self, change: &Self::Change) -> store::Change;
    /// The reverse; a document of an older format is brought forward.
    fn decode(
        &self,
        kind: &str,
        id: &str,
        document: Option<&str>,
    ) -> Result<Self::Change, BadDocument>;
}

/// A command that is granted.
pub struct Decided<D: Decide> {
    pub answer: D::Answer,
    pub changes: Vec<D::Change>,
    /// The given state with the changes applied.
    pub state: D::State,
}

#[derive(Debug, thiserror::Error)]
#[error("the document of {kind} {id} can't be read")]
pub struct BadDocument {
    pub kind: String,
    pub id: String,
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a command was not done. Only [`WriteError::Unknown`] leaves open whether it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError<R> {
    #[error("the command is refused")]
    Refused(R),
    #[error("the store is away, nothing was changed")]
    Unavailable,
    #[error("this server does not write, nothing was changed")]
    NotWriter,
    #[error("the store broke off, it is not known whether the command was done")]
    Unknown,
}

/// The changes of one command, under their revision.
pub struct Logged<D: Decide> {
    pub revision: u64,
    pub changes: Vec<D::Change>,
}

/// A durable state, and what led to it from the one published before. A state that was loaded
/// whole comes with nothing.
pub struct Published<D: Decide> {
    pub state: D::State,
    pub revision: u64,
    pub transactions: Arc<[Logged<D>]>,
    /// Whether those who follow the changes have to look at the whole state again.
    pub whole: bool,
}

impl<D: Decide> fmt::Debug for Published<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Published")
            .field("revision", &self.revision)
            .field("transactions", &self.transactions.len())
            .finish_non_exhaustive()
    }
}

/// What this server is among those that share the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Nothing is loaded yet.
    Starting,
    /// It decides.
    Writer { epoch: u64 },
    /// It tails. `writer` is where writes go, when there is a writer.
    Follower { writer: Option<String> },
}

/// What all parts of a server share.
pub(crate) struct Shared<D: Decide> {
    pub(crate) rules: D,
    pub(crate) store: Store,
    pub(crate) published: ArcSwap<Published<D>>,
    pub(crate) news: broadcast::Sender<Arc<Published<D>>>,
    pub(crate) role: watch::Sender<Role>,
    /// Until when this server can prove that it has seen every acknowledged write.
    pub(crate) fresh: watch::Sender<Fresh>,
    pub(crate) followers: Followers,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) peers: Peers,
}

/// For how long a server knows that it is not behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fresh {
    /// Nobody else writes to this store.
    Always,
    Until(tokio::time::Instant),
    Never,
}

impl Fresh {
    pub fn is_now(self) -> bool {
        match self {
            Self::Always => true,
            Self::Until(end) => tokio::time::Instant::now() < end,
            Self::Never => false,
        }
    }
}

impl<D: Decide> Shared<D> {
    pub(crate) fn publish(&self, published: Arc<Published<D>>) {
        self.published.store(published.clone());
        // Nobody may be watching.
        let _ = self.news.send(published);
    }
}

pub(crate) type Reply<D> =
    oneshot::Sender<Result<<D as Decide>::Answer, WriteError<<D as Decide>::Refusal>>>;

pub(crate) struct Ask<D: Decide> {
    pub(crate) command: D::Command,
    pub(crate) reply: Reply<D>,
}

impl<D: Decide> Shared<D> {
    /// Refuses what is asked while something else is done, until the server is to stop.
    pub(crate) async fn refuse_meanwhile<T>(
        &self,
        asks: &mut mpsc::Receiver<Ask<D>>,
        why: fn() -> WriteError<D::Refusal>,
        other: impl Future<Output = T>,
    ) -> Option<T> {
        let mut other = std::pin::pin!(other);
        let mut stopping = self.stopping.subscribe();
        loop {
            tokio::select! {
                biased;
                done = &mut other => return Some(done),
                _ = stopping.wait_for(|stop| *stop) => return None,
                Some(ask) = asks.recv() => {
                    // Whoever asked may have gone.
                    let _ = ask.reply.send(Err(why()));
                }
            }
        }
    }
}

/// The way to the writer and to what it published. Cheap to clone.
pub struct Handle<D: Decide> {
    pub(crate) shared: Arc<Shared<D>>,
    pub(crate) asks: mpsc::Sender<Ask<D>>,
}

impl<D: Decide> Clone for Handle<D> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
            asks: self.asks.clone(),
        }
    }
}

impl<D: Decide> fmt::Debug for Handle<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let role = self.shared.role.borrow();
        f.debug_struct("Handle")
            .field("role", &*role)
            .finish_non_exhaustive()
    }
}

impl<D: Decide> Handle<D> {
    pub(crate) fn new(
        rules: D,
        store: Store,
        client: tls::http::Client,
    ) -> (Self, mpsc::Receiver<Ask<D>>) {
        let state = rules.empty();
        let published = Published {
            state,
            revision: 0,
            transactions: Arc::new([]),
            whole: true,
        };
        let shared = Shared {
            rules,
            peers: Peers::new(&store, client),
            store,
            published: ArcSwap::from_pointee(published),
            news: broadcast::Sender::new(NEWS),
            role: watch::Sender::new(Role::Starting),
            fresh: watch::Sender::new(Fresh::Never),
            followers: Followers::default(),
            stopping: watch::Sender::new(false),
        };
        let (asks, queue) = mpsc::channel(QUEUE);
        let handle = Self {
            shared: Arc::new(shared),
            asks,
        };
        (handle, queue)
    }

    /// Has a command decided, and waits until its changes are durable and every server that
    /// answers reads has applied them.
    pub async fn submit(&self, command: D::Command) -> Result<D::Answer, WriteError<D::Refusal>> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { command, reply };
        if self.asks.send(ask).await.is_err() {
            return Err(WriteError::NotWriter);
        }
        // The writer ended with the command in hand: it may or may not have been written.
        answer.await.unwrap_or(Err(WriteError::Unknown))
    }

    /// The newest durable state. A reader keeps it for as long as it reads.
    pub fn published(&self) -> Arc<Published<D>> {
        self.shared.published.load_full()
    }

    /// Everything published from now on, in order. Subscribe first, then look at the published
    /// state, and leave out what it already contains.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Published<D>>> {
        self.shared.news.subscribe()
    }

    pub fn role(&self) -> watch::Receiver<Role> {
        self.shared.role.subscribe()
    }

    /// Whether reads here show every write that was acknowledged anywhere.
    pub fn is_fresh(&self) -> bool {
        self.shared.fresh.borrow().is_now()
    }

    pub fn followers(&self) -> &Followers {
        &self.shared.followers
    }

    pub fn rules(&self) -> &D {
        &self.shared.rules
    }

    pub fn store(&self) -> &Store {
        &self.shared.store
    }
}

/// An error and its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

/// Why a server can't begin.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the store can't be loaded")]
    Store(#[source] StoreError),
    #[error("the store holds what this server can't read")]
    Document(#[source] BadDocument),
}

#[cfg(test)]
mod tests;

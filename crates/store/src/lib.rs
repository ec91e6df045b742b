//! Keeps what the server decided: appends changes durably, loads them, tails them, and holds the
//! writer's lease. The same tables in SQLite (one file, one server) and PostgreSQL (several).
//!
//! ```text
//!  head       one row: the last revision, the writer's epoch, who holds the lease and until when
//!  resources  the resources as they are: kind, id, project, revision, document
//!  log        what changed, in order: revision, position, epoch, kind, id, operation, document
//!  meta       the store's id, made at its birth, and the version of these tables
//! ```
//!
//! Documents are opaque here: this crate knows nothing of networks and ports.
//!
//! **Revisions.** One transaction (what one command decided) has one revision, so that a reader at
//! any revision sees whole commands only. One [`Store::append`] takes the transactions of many
//! commands and makes them durable in one transaction of the database: group commit.
//!
//! **Fencing.** Every append moves `head` from the revision the writer knows to the last one of
//! its batch, on the condition that the epoch is still the writer's. Whoever takes the lease
//! raises the epoch in the same row. So a writer that lost its lease can't write, however late its
//! packets come, and the clocks behind the lease decide only when a server dares to take over.
//!
//! **Unknown outcomes.** When the connection breaks inside a commit nobody knows what became of
//! it. [`Store::settle`] finds out, and raises the epoch while it looks, so that a commit which is
//! still under way somewhere can't land after the answer.
//!
//! The interface is asynchronous because every writer, follower and lease holder waits on a
//! network when the store is PostgreSQL; SQLite has one thread of its own behind a channel.

mod postgres;
#[cfg(feature = "rig")]
pub mod rig;
mod schema;
mod sqlite;
mod types;

use std::time::Duration;

use uuid::Uuid;

use types::Birth;
pub use types::{
    Acquired, AppendError, Change, Lease, Outcome, Position, Record, SettleError, Snapshot,
    StoreError, TailError, Transaction,
};

/// A store that was opened: its tables are there and of this version.
#[derive(Debug)]
pub struct Store {
    birth: Birth,
    backend: Backend,
}

#[derive(Debug)]
enum Backend {
    Sqlite(sqlite::Sqlite),
    Postgres(Box<postgres::Postgres>),
}

/// Calls the same method of whichever backend it is.
macro_rules! on_backend {
    ($store:expr, $backend:ident => $call:expr) => {
        match &$store.backend {
            Backend::Sqlite($backend) => $call,
            Backend::Postgres($backend) => $call,
        }
    };
}

impl Store {
    /// Opens `sqlite:FILE`, or `postgres://user@host:port/database` (any form that libpq takes as
    /// a URL, with `sslmode` and what belongs to it). Makes the tables when there are none, and brings older ones forward.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let (birth, backend) = match url.split_once(':') {
            Some(("sqlite", file)) if !file.is_empty() => {
                let (sqlite, birth) = sqlite::Sqlite::open(file.into()).await?;
                (birth, Backend::Sqlite(sqlite))
            }
            Some(("postgres" | "postgresql", _)) => {
                let (postgres, birth) = postgres::Postgres::open(url).await?;
                (birth, Backend::Postgres(Box::new(postgres)))
            }
            _ => return Err(StoreError::Url(url.to_owned())),
        };
        Ok(Self { birth, backend })
    }

    /// The id made at the store's birth. Revisions of different stores can't be compared.
    pub fn id(&self) -> Uuid {
        self.birth.id
    }

    /// What only those know who can open the store: servers show it to each other.
    pub fn secret(&self) -> &str {
        &self.birth.secret
    }

    /// Whether other servers can share this store. SQLite's file belongs to one.
    pub fn is_shared(&self) -> bool {
        matches!(self.backend, Backend::Postgres(_))
    }

    /// All resources as of one revision. They come in no particular order.
    pub async fn load(&self) -> Result<Snapshot, StoreError> {
        on_backend!(self, backend => backend.load().await)
    }

    /// Where the store is now.
    pub async fn position(&self) -> Result<Position, StoreError> {
        on_backend!(self, backend => backend.position().await)
    }

    /// Makes a batch durable, whole or not at all. `base` is the last revision before it; the
    /// transactions' revisions follow it one by one.
    pub async fn append(
        &self,
        epoch: u64,
        base: u64,
        batch: Vec<Transaction>,
    ) -> Result<(), AppendError> {
        let expected = base + 1..=base + batch.len() as u64;
        let counts_on = batch.iter().map(|t| t.revision).eq(expected);
        if !counts_on || batch.iter().any(|t| t.changes.is_empty()) {
            return Err(AppendError::Aborted(StoreError::Revisions { base }));
        }
        if batch.is_empty() {
            return Ok(());
        }
        on_backend!(self, backend => backend.append(epoch, base, batch).await)
    }

    /// Finds out what became of an append whose outcome is unknown, and makes sure that it stays
    /// so: the lease is taken anew under a higher epoch.
    pub async fn settle(&self, epoch: u64, last: u64) -> Result<Outcome, SettleError> {
        on_backend!(self, backend => backend.settle(epoch, last).await)
    }

    /// Takes the writer's lease if nobody else holds it, or its holder let it run out.
    pub async fn acquire_lease(
        &self,
        holder: &str,
        address: &str,
        ttl: Duration,
    ) -> Result<Acquired, StoreError> {
        on_backend!(self, backend => backend.acquire_lease(holder, address, ttl).await)
    }

    /// Holds the lease for another `ttl`. False when it is somebody else's by now.
    pub async fn renew_lease(&self, epoch: u64, ttl: Duration) -> Result<bool, StoreError> {
        on_backend!(self, backend => backend.renew_lease(epoch, ttl).await)
    }

    /// Gives the lease up, so that another need not wait for it to run out.
    pub async fn release_lease(&self, epoch: u64) -> Result<(), StoreError> {
        self.renew_lease(epoch, Duration::ZERO).await.map(|_| ())
    }

    /// What was appended after a revision, in order, whole transactions, up to about `limit`
    /// changes at once. Empty when there is nothing new.
    pub async fn tail(&self, after: u64, limit: u32) -> Result<Vec<Transaction>, TailError> {
        on_backend!(self, backend => backend.tail(after, limit).await)
    }

    /// What tells a revision from one of the same number in another history, as a store that was put
    /// back gets one: a digest of what it changed. Nothing when the log does not hold it.
    pub async fn mark(&self, revision: u64) -> Result<Option<String>, StoreError> {
        let Some(before) = revision.checked_sub(1) else {
            return Ok(None);
        };
        match self.tail(before, 1).await {
            Ok(tail) => Ok(tail.first().map(Transaction::mark)),
            Err(TailError::Trimmed { .. } | TailError::Behind { .. }) => Ok(None),
            Err(TailError::Store(error)) => Err(error),
        }
    }

    /// Waits until the store may hold something new, at most `patience` long. PostgreSQL tells its
    /// listeners; where it does not, the patience is all there is.
    pub async fn heard(&self, patience: Duration) {
        on_backend!(self, backend => backend.heard(patience).await);
    }

    /// Forgets the log up to and including a revision; the resources stay as they are.
    pub async fn trim(&self, epoch: u64, through: u64) -> Result<(), StoreError> {
        on_backend!(self, backend => backend.trim(epoch, through).await)
    }
}

//! What goes into a store and comes out of it, and how that can fail.

use std::{borrow::Cow, collections::BTreeMap, path::PathBuf};

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::schema;

/// What is made when a store is born, and stays.
#[derive(Debug, Clone)]
pub(crate) struct Birth {
    pub(crate) id: Uuid,
    pub(crate) secret: String,
}

impl Birth {
    /// The rows of `meta` that a newborn store gets: fresh ids are random bits out of the kernel.
    pub(crate) fn rows() -> [(&'static str, String); 2] {
        let [a, b] = [Uuid::new_v4(), Uuid::new_v4()];
        [
            ("store", Uuid::new_v4().to_string()),
            ("secret", format!("{}{}", a.simple(), b.simple())),
        ]
    }

    pub(crate) fn read(id: Option<&str>, secret: Option<String>) -> Result<Self, StoreError> {
        let id = id
            .and_then(|id| id.parse().ok())
            .ok_or(StoreError::Damaged { what: "id" })?;
        let secret = secret.ok_or(StoreError::Damaged { what: "secret" })?;
        Ok(Self { id, secret })
    }
}

/// A resource set (with a document) or taken away (without one).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub kind: Cow<'static, str>,
    pub id: String,
    /// The owner, for those who look into the database by hand; nothing here reads it.
    pub project: Option<String>,
    /// JSON that carries its format's version; `None` deletes.
    pub document: Option<String>,
}

impl Change {
    pub(crate) fn operation(&self) -> &'static str {
        match self.document {
            Some(_) => schema::PUT,
            None => schema::DELETE,
        }
    }
}

/// What a batch leaves of each resource, with the revision that did it: the only change the table
/// of resources needs to see.
pub(crate) fn last_of_each(batch: &[Transaction]) -> impl Iterator<Item = (u64, &Change)> {
    let mut last = BTreeMap::new();
    for transaction in batch {
        for change in &transaction.changes {
            last.insert((&change.kind, &change.id), (transaction.revision, change));
        }
    }
    last.into_values()
}

/// Gathers rows of the log into whole transactions until there are enough changes.
#[derive(Debug)]
pub(crate) struct Gather {
    left: u32,
    pub(crate) transactions: Vec<Transaction>,
}

impl Gather {
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            left: limit,
            transactions: Vec::new(),
        }
    }

    /// Takes the next row; false when it begins a transaction and there is enough already.
    pub(crate) fn take(&mut self, revision: u64, change: Change) -> bool {
        match self.transactions.last_mut() {
            Some(last) if last.revision == revision => last.changes.push(change),
            _ if self.left == 0 => return false,
            _ => self.transactions.push(Transaction {
                revision,
                changes: vec![change],
            }),
        }
        self.left = self.left.saturating_sub(1);
        true
    }
}

/// What one command decided. It is in the store whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub revision: u64,
    pub changes: Vec<Change>,
}

impl Transaction {
    /// A digest of all that it is, the same wherever it is read.
    pub(crate) fn mark(&self) -> String {
        let mut digest = Sha256::new();
        digest.update(self.revision.to_be_bytes());
        for change in &self.changes {
            let document = change.document.as_deref().unwrap_or_default();
            for text in [&*change.kind, &*change.id, change.operation(), document] {
                digest.update(text.len().to_be_bytes());
                digest.update(text);
            }
        }
        let bytes = digest.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A resource as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub kind: String,
    pub id: String,
    /// The revision of the transaction that set it last.
    pub revision: u64,
    pub document: String,
}

/// All resources as of one revision, in pieces that can be parsed while the rest is read.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: u64,
    pub records: mpsc::Receiver<Result<Vec<Record>, StoreError>>,
}

impl Snapshot {
    /// The next piece, or `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Vec<Record>>, StoreError> {
        self.records.recv().await.transpose()
    }
}

/// The store's head: how far it is and who may write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    pub revision: u64,
    /// The log begins after this revision.
    pub trimmed: u64,
    pub epoch: u64,
    pub holder: String,
    /// Where the holder takes writes that others pass on.
    pub address: String,
    /// Whether the holder's lease still runs, by the database's clock.
    pub held: bool,
}

impl Position {
    /// Whether the log can be read on after a revision: whether there is anything new.
    pub(crate) fn has_after(&self, after: u64) -> Result<bool, TailError> {
        if self.revision < after {
            return Err(TailError::Behind {
                after,
                revision: self.revision,
            });
        }
        if after < self.trimmed {
            return Err(TailError::Trimmed {
                after,
                trimmed: self.trimmed,
            });
        }
        Ok(after < self.revision)
    }
}

/// The right to write, until someone raises the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub epoch: u64,
    /// The last revision when the lease was taken: nothing comes after it but its holder's.
    pub revision: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acquired {
    Lease(Lease),
    /// Somebody else's lease still runs.
    Held(Position),
}

/// What became of an append whose outcome was unknown, and where that leaves the writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Committed(Lease),
    Aborted(Lease),
    /// Another writer took over. What became of the batch is in the log, if it still goes back
    /// that far.
    Deposed {
        committed: Option<bool>,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written.
    #[error("the changes were not written")]
    Aborted(#[source] StoreError),
    /// Nothing was written: the epoch or the last revision is not what the writer knows.
    #[error("the writer's lease of epoch {epoch} is lost")]
    LostLease { epoch: u64 },
    /// The connection or the disk failed inside the commit: [`crate::Store::settle`] must tell.
    #[error("it is not known whether the changes were written")]
    Unknown(#[source] StoreError),
}

#[derive(Debug, thiserror::Error)]
#[error("what became of the changes after epoch {epoch} can't be read back")]
pub struct SettleError {
    pub epoch: u64,
    pub source: StoreError,
}

#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// The log does not go back that far: load the whole again.
    #[error("the log after revision {after} is gone, it begins after {trimmed}")]
    Trimmed { after: u64, trimmed: u64 },
    /// The store is behind the reader: it was put back from a copy.
    #[error("the store is at revision {revision}, before {after}")]
    Behind { after: u64, revision: u64 },
    #[error("the log can't be read")]
    Store(#[source] StoreError),
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("'{0}' names no store: it is sqlite:FILE or postgres://…")]
    Url(String),
    #[error("the URL of the store can't be used")]
    PostgresUrl(#[source] tokio_postgres::Error),
    #[error("the value of {0} in the URL of the store can't be read")]
    UrlOption(String),
    #[error("sslmode={0} is none of disable, prefer, require, verify-ca and verify-full")]
    SslMode(String),
    #[error("sslmode=verify-ca needs an sslrootcert, a file")]
    NoRoot,
    #[error("sslrootcert=system goes with sslmode=verify-full only")]
    WeakMode,
    #[error("TLS to the database can't be set up")]
    Tls(#[source] tls::TlsError),
    #[error("{} is in use by another server", .0.display())]
    InUse(PathBuf),
    #[error("the store's tables are of version {found}, this server knows them up to {known}")]
    TooNew { found: u32, known: u32 },
    #[error("the store's {what} is damaged")]
    Damaged { what: &'static str },
    #[error("the database does not keep what it acknowledges: {setting} is {value}")]
    NotDurable {
        setting: &'static str,
        value: String,
    },
    #[error("a batch after revision {base} has an empty transaction or does not count on")]
    Revisions { base: u64 },
    #[error("the store's id is {found}, it was {expected}")]
    OtherStore { found: Uuid, expected: Uuid },
    #[error("the store does not answer within {0:?}")]
    Slow(std::time::Duration),
    #[error("the store's thread has ended")]
    Ended,
    #[error("the lock of the store can't be taken at {}", path.display())]
    Lock {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("SQLite can't {doing}")]
    Sqlite {
        doing: &'static str,
        source: rusqlite::Error,
    },
    #[error("PostgreSQL can't {doing}")]
    Postgres {
        doing: &'static str,
        source: tokio_postgres::Error,
    },
}

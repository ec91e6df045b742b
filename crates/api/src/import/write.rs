//! Into an empty store, in one transaction.

use std::time::Duration;

use intent::{Change, Kind, State};
use store::{Acquired, AppendError, Lease, Outcome, SettleError, Store, StoreError, Transaction};

use crate::{
    rules::{Rules, Step},
    writer::Decide,
};

/// How long the lease is taken for: nobody renews it.
const LEASE: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("the store can't be opened")]
    Open(#[source] StoreError),
    #[error("the store can't be read")]
    Read(#[source] StoreError),
    #[error("the store is not empty: it holds {kind} {id}")]
    Occupied { kind: String, id: String },
    #[error("a server holds the store ({0}): an import is for one that does not run yet")]
    Held(String),
    #[error("nothing was written")]
    Append(#[source] AppendError),
    #[error("it is not known whether everything was written or nothing")]
    Unknown(#[source] SettleError),
}

/// An empty store that nobody else writes to.
#[derive(Debug)]
pub struct Target {
    store: Store,
    lease: Lease,
}

impl Target {
    /// Opens a store, and refuses one that a server runs on, or in which there is anything of a
    /// cloud. Users of the embedded identity may be there.
    pub async fn open(url: &str) -> Result<Self, WriteError> {
        let store = Store::open(url).await.map_err(WriteError::Open)?;
        let lease = match store.acquire_lease("import", "", LEASE).await {
            Ok(Acquired::Lease(lease)) => lease,
            Ok(Acquired::Held(position)) => return Err(WriteError::Held(position.holder)),
            Err(error) => return Err(WriteError::Read(error)),
        };
        let target = Self { store, lease };
        match target.occupant().await {
            Ok(None) => Ok(target),
            Ok(Some((kind, id))) => {
                target.close().await;
                Err(WriteError::Occupied { kind, id })
            }
            Err(error) => {
                target.close().await;
                Err(WriteError::Read(error))
            }
        }
    }

    async fn occupant(&self) -> Result<Option<(String, String)>, StoreError> {
        let is_intent = |kind: &str| Kind::ALL.iter().any(|it| it.as_str() == kind);
        let mut snapshot = self.store.load().await?;
        while let Some(records) = snapshot.next().await? {
            if let Some(record) = records.into_iter().find(|it| is_intent(&it.kind)) {
                return Ok(Some((record.kind, record.id)));
            }
        }
        Ok(None)
    }

    /// Writes a whole state, or nothing.
    pub async fn write(self, state: &State) -> Result<(), WriteError> {
        let rules = Rules::new(ledger::Config::default());
        let changes = state
            .objects()
            .map(|object| rules.encode(&Step::Intent(Change::Put(object))));
        let revision = self.lease.revision + 1;
        let transaction = Transaction {
            revision,
            changes: changes.collect(),
        };
        let Lease {
            epoch,
            revision: base,
        } = self.lease;
        let written = match self.store.append(epoch, base, vec![transaction]).await {
            Ok(()) => Ok(()),
            Err(error @ AppendError::Unknown(_)) => {
                match self.store.settle(epoch, revision).await {
                    Ok(
                        Outcome::Committed(_)
                        | Outcome::Deposed {
                            committed: Some(true),
                        },
                    ) => Ok(()),
                    Ok(_) => Err(WriteError::Append(error)),
                    Err(error) => Err(WriteError::Unknown(error)),
                }
            }
            Err(error) => Err(WriteError::Append(error)),
        };
        self.close().await;
        written
    }

    /// Lets a server have the store at once. If it can't be said, the lease runs out by itself.
    pub async fn close(self) {
        let _ = self.store.release_lease(self.lease.epoch).await;
    }
}

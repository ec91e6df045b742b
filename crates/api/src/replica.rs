//! What a server is among those that share a store: it loads, follows the log, takes the writer's
//! lease when nobody holds it, writes until it loses it, and follows again.
//!
//! On SQLite there is nobody to share with: the lease is there for the asking and is never lost.

mod load;
pub(crate) mod peer;

use std::{path::Path, sync::Arc, time::Duration};

use store::{Acquired, Lease, Position, Store, TailError};
use tls::{TlsError, Trust, http as https};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep},
};

pub use peer::{FOLLOW, Passed, PassedOn};

use crate::writer::{
    Ask, BadDocument, Decide, Exit, Fresh, Handle, LEASE, Logged, Published, Role, Shared,
    StartError, WriteError, Writer, chain,
};

/// How often a follower looks whether there is still a writer, and whether the log has grown when
/// the database tells nobody.
const LOOK: Duration = Duration::from_millis(250);
const POLL: Duration = Duration::from_millis(50);
/// Changes that are taken from the log at once.
const TAIL: u32 = 5_000;

/// How other servers know this one.
#[derive(Debug, Clone)]
pub struct Member {
    name: String,
    /// The URL at which it takes what others pass on.
    address: String,
    /// How it reaches the others.
    client: https::Client,
}

impl Member {
    /// A server found at `address`. It reaches others as it is reached itself: by TLS when its
    /// address says so, believing certificates that are signed by `authority`'s.
    pub fn new(name: String, address: String, authority: Option<&Path>) -> Result<Self, TlsError> {
        let trust = Trust::for_url(&address, authority);
        let client = https::client(tls::client(&trust, None)?, peer::TELL);
        Ok(Self {
            name,
            address,
            client,
        })
    }
}

/// A server's part in the store, until [`stop`](Replica::stop).
#[derive(Debug)]
pub struct Replica<D: Decide> {
    pub handle: Handle<D>,
    task: JoinHandle<()>,
}

impl<D: Decide> Replica<D> {
    /// Loads the store, and goes on in a task of its own.
    pub async fn start(rules: D, store: Store, member: Member) -> Result<Self, StartError> {
        let (handle, asks) = Handle::new(rules, store, member.client.clone());
        load::load(&handle.shared).await?;
        let cycle = Cycle {
            shared: handle.shared.clone(),
            asks,
            member,
        };
        Ok(Self {
            handle,
            task: tokio::spawn(cycle.run()),
        })
    }

    /// Makes durable what is under way, answers it, and gives the lease up.
    pub async fn stop(self) {
        self.handle.shared.stopping.send_replace(true);
        // A panic in there was reported by the runtime.
        let _ = self.task.await;
    }
}

struct Cycle<D: Decide> {
    shared: Arc<Shared<D>>,
    asks: mpsc::Receiver<Ask<D>>,
    member: Member,
}

#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error("the log can't be followed")]
    Tail(#[source] TailError),
    #[error("a change can't be read")]
    Document(#[source] BadDocument),
}

impl<D: Decide> Cycle<D> {
    async fn run(mut self) {
        while !*self.shared.stopping.borrow() {
            let Member { name, address, .. } = &self.member;
            match self.shared.store.acquire_lease(name, address, LEASE).await {
                Ok(Acquired::Lease(lease)) => {
                    if self.write(lease).await == Some(Exit::Stopped) {
                        return;
                    }
                }
                Ok(Acquired::Held(position)) => self.follow(position).await,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "the store is away");
                    let _ = self.aside(sleep(LOOK)).await;
                }
            }
        }
    }

    /// Does something else while commands are told that this server does not write, until the
    /// server is to stop.
    async fn aside<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let (shared, why) = (self.shared.clone(), || WriteError::NotWriter);
        shared.refuse_meanwhile(&mut self.asks, why, other).await
    }

    async fn write(&mut self, lease: Lease) -> Option<Exit> {
        let shared = self.shared.clone();
        let reached = self.aside(async {
            while let Err(error) = reach(&shared, lease.revision).await {
                tracing::error!(error = %chain(&error), "the store can't be read up to its end");
                sleep(LOOK).await;
            }
        });
        reached.await?;
        tracing::info!(
            epoch = lease.epoch,
            revision = lease.revision,
            "this server writes"
        );
        let role = Role::Writer { epoch: lease.epoch };
        self.shared.role.send_replace(role);
        let exit = Writer::new(self.shared.clone(), &mut self.asks, lease)
            .run()
            .await;
        self.shared.fresh.send_replace(Fresh::Never);
        self.shared
            .role
            .send_replace(Role::Follower { writer: None });
        Some(exit)
    }

    /// Tails the log for a while. Whether there is still a writer is asked in between.
    async fn follow(&mut self, position: Position) {
        let writer = position.held.then_some(position.address);
        self.shared.role.send_if_modified(|role| {
            let new = Role::Follower {
                writer: writer.clone(),
            };
            let differs = *role != new;
            *role = new;
            differs
        });
        let (shared, member) = (self.shared.clone(), self.member.clone());
        let until = Instant::now() + LOOK;
        let following = async move {
            while Instant::now() < until {
                if let Err(error) = catch_up(&shared).await {
                    tracing::warn!(error = %chain(&error), "the log can't be followed");
                }
                if let Some(writer) = &writer {
                    tell(&shared, &member.name, writer).await;
                }
                shared.store.heard(POLL).await;
            }
        };
        let _ = self.aside(following).await;
    }
}

/// Tells the writer how far this server is. From its answer this server knows for how long it is
/// as fresh as the writer: what was acknowledged before the lease began it has applied, and what
/// came after waited for it.
async fn tell<D: Decide>(shared: &Shared<D>, name: &str, writer: &str) {
    let (asked, applied) = (Instant::now(), shared.published.load().revision);
    match shared.peers.tell(writer, name, applied).await {
        Ok(granted) if applied >= granted.from => {
            let lease = Duration::from_millis(granted.lease_ms);
            shared.fresh.send_replace(Fresh::Until(asked + lease));
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(error = %chain(&error), "the writer does not hear"),
    }
}

/// Brings the published state up to a revision, by the log or by loading anew.
async fn reach<D: Decide>(shared: &Arc<Shared<D>>, revision: u64) -> Result<(), StartError> {
    while shared.published.load().revision != revision {
        let before = shared.published.load().revision;
        let followed = catch_up(shared).await;
        if followed.is_err() || shared.published.load().revision == before {
            load::load(shared).await?;
        }
    }
    Ok(())
}

/// Applies what the log holds after the published state.
async fn catch_up<D: Decide>(shared: &Arc<Shared<D>>) -> Result<(), CatchUpError> {
    loop {
        let published = shared.published.load_full();
        let tail = match shared.store.tail(published.revision, TAIL).await {
            Ok(tail) => tail,
            Err(error @ (TailError::Trimmed { .. } | TailError::Behind { .. })) => {
                tracing::warn!(error = %chain(&error), "the store is loaded anew");
                return load::load(shared).await.map_err(|error| match error {
                    StartError::Store(source) => CatchUpError::Tail(TailError::Store(source)),
                    StartError::Document(source) => CatchUpError::Document(source),
                });
            }
            Err(error) => return Err(CatchUpError::Tail(error)),
        };
        let Some(last) = tail.last().map(|t| t.revision) else {
            return Ok(());
        };
        let mut state = published.state.clone();
        let mut transactions = Vec::with_capacity(tail.len());
        for transaction in tail {
            let decoded = transaction.changes.iter().map(|change| {
                shared
                    .rules
                    .decode(&change.kind, &change.id, change.document.as_deref())
            });
            let changes: Vec<_> = decoded
                .collect::<Result<_, _>>()
                .map_err(CatchUpError::Document)?;
            for change in &changes {
                shared.rules.apply(&mut state, change);
            }
            transactions.push(Logged {
                revision: transaction.revision,
                changes,
            });
        }
        shared.rules.set_revision(&mut state, last);
        shared.publish(Arc::new(Published {
            state,
            revision: last,
            transactions: transactions.into(),
            whole: false,
        }));
    }
}

#[cfg(test)]
mod tests;

//! The followers that count: those that hold a short lease from the writer. A write is
//! acknowledged when each of them has applied it, so that a client reads its own writes on any
//! server; a follower that fell silent is waited for until its lease ends, no longer.
//!
//! Leases live in the writer's memory alone. A writer that takes over does not know the ones that
//! its predecessor granted, so it acknowledges nothing until the longest of those has run out.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

/// How long a follower is waited for that says nothing more.
const FOLLOWER_LEASE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub struct Followers {
    table: Mutex<Table>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    leases: BTreeMap<String, Follower>,
    /// Leases of an earlier writer may run until then.
    quiet_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Follower {
    applied: u64,
    until: Instant,
    /// What was published when the lease began: that much may have been acknowledged without it.
    from: u64,
}

/// What a follower gets for telling how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// No write after this revision is acknowledged without the follower while its lease runs.
    pub from: u64,
    /// Counted by the follower from when it told.
    pub lease: Duration,
}

impl Followers {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a writer's term: what was granted before is not known.
    pub(crate) fn begin(&self, shared_store: bool) {
        let mut table = self.table();
        table.leases.clear();
        table.quiet_until = shared_store.then(|| Instant::now() + FOLLOWER_LEASE);
    }

    /// A follower tells that it has applied everything up to a revision. Its lease begins or goes
    /// on; one that ran out in between begins anew, which the follower can't know by itself.
    pub fn applied(&self, follower: &str, revision: u64, published: impl Fn() -> u64) -> Grant {
        let now = Instant::now();
        let mut table = self.table();
        let held = table.leases.get(follower).filter(|held| held.until > now);
        // Read under the lock: a write that was acknowledged without this lease is published.
        let from = held.map_or_else(published, |held| held.from);
        let lease = Follower {
            applied: revision,
            until: now + FOLLOWER_LEASE,
            from,
        };
        table.leases.insert(follower.to_owned(), lease);
        drop(table);
        self.changed.notify_waiters();
        Grant {
            from,
            lease: FOLLOWER_LEASE,
        }
    }

    /// Those that hold a lease, and how far they are.
    pub fn all(&self) -> BTreeMap<String, u64> {
        let now = Instant::now();
        let table = self.table();
        let live = table.leases.iter().filter(|(_, f)| f.until > now);
        live.map(|(name, f)| (name.clone(), f.applied)).collect()
    }

    /// Until when somebody has to be waited for, unless he has applied the revision before.
    fn wait_until(&self, revision: u64) -> Option<Instant> {
        let now = Instant::now();
        let mut table = self.table();
        table.leases.retain(|_, follower| follower.until > now);
        let behind = table
            .leases
            .values()
            .filter(|f| f.applied < revision)
            .map(|f| f.until);
        let quiet = table.quiet_until.filter(|until| *until > now);
        behind.chain(quiet).max()
    }

    pub(crate) fn have_applied(&self, revision: u64) -> bool {
        self.wait_until(revision).is_none()
    }

    /// Waits until nobody that holds a lease is behind a revision.
    pub(crate) async fn wait(&self, revision: u64) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // Registered before the look, so that nothing is missed in between.
            changed.as_mut().enable();
            let Some(until) = self.wait_until(revision) else {
                return;
            };
            let _ = timeout_at(until, changed).await;
        }
    }
}

//! Who may go on when many namespaces are changed at once. The kernel brings one device after the
//! other: for each it waits until callbacks of its own have run (`rcu_barrier`, some ticks of the
//! clock), and holds the lock of all devices meanwhile. So devices go in one file, each at once when
//! the one before has come, and all else is done beside that.
use host::NsName;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::{AT_ONCE, write};

/// Lasts until it is dropped; there is always one, as turns are never closed.
pub(super) type Turn<'a> = Option<SemaphorePermit<'a>>;

pub(super) struct Turns {
    filling: Semaphore,
    bringing: Semaphore,
}

impl Turns {
    pub(super) fn new() -> Turns {
        Turns {
            filling: Semaphore::new(AT_ONCE),
            bringing: Semaphore::new(1),
        }
    }

    /// For what runs programs or reads.
    pub(super) async fn to_fill(&self) -> Turn<'_> {
        self.filling.acquire().await.ok()
    }

    /// Brings devices to a namespace, in their turn; what did not work.
    pub(super) async fn bring(&self, name: &NsName, devices: Vec<String>) -> Vec<String> {
        let _turn = self.bringing.acquire().await.ok();
        let name = name.clone();
        let bringing = tokio::task::spawn_blocking(move || write::bring(&name, &devices));
        match bringing.await {
            Ok(failed) => failed.iter().map(|error| crate::chain(error)).collect(),
            Err(lost) => vec![lost.to_string()],
        }
    }
}

//! Who am I? A guest asks 169.254.169.254, and this answers: by what the metadata service (Nova's, or
//! the server's own small one) says of the instance that asked.
//!
//! A listener stands in every namespace that the plan asks for one, opened there once and served by
//! this process: no process a router. Who asks follows from the namespace and the source address
//! ([`guest`]), never from what the request says: headers that name an instance are taken off.

mod forward;
mod guest;
mod limit;
mod listen;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Instant,
};

use host::{NsName, netns::Listener};
use intent::View;
use tokio::sync::watch;

pub use forward::{Place, Target, TargetError};
pub use limit::Rate;

/// How guests are served.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where their requests go; `None`: guests are told that there is no such service.
    pub target: Option<Target>,
    /// What a guest may ask.
    pub rate: Rate,
}

/// The listeners of this host.
#[derive(Debug)]
pub struct Metadata {
    shared: Arc<Shared>,
    open: BTreeMap<(NsName, Listener), listen::Open>,
}

#[derive(Debug)]
struct Shared {
    settings: Settings,
    view: watch::Receiver<host::Shared<View>>,
    limits: limit::Limits,
}

impl Metadata {
    pub fn new(settings: Settings, view: watch::Receiver<host::Shared<View>>) -> Metadata {
        let limits = limit::Limits::new(settings.rate);
        let shared = Shared {
            settings,
            view,
            limits,
        };
        Metadata {
            shared: Arc::new(shared),
            open: BTreeMap::new(),
        }
    }

    /// What is listening now; a listener whose namespace went away is not.
    pub fn listening(&mut self) -> BTreeSet<(NsName, Listener)> {
        self.open.retain(|_, open| open.is_alive());
        self.open.keys().cloned().collect()
    }

    /// Listens where it is wanted and nowhere else. What could not be opened is said.
    pub fn listen(&mut self, wanted: &BTreeSet<(NsName, Listener)>) -> Vec<listen::ListenError> {
        self.open
            .retain(|at, open| wanted.contains(at) && open.is_alive());
        let mut failed = Vec::new();
        for at in wanted {
            if self.open.contains_key(at) {
                continue;
            }
            match listen::open(&at.0, &at.1, &self.shared) {
                Ok(open) => {
                    self.open.insert(at.clone(), open);
                }
                Err(error) => failed.push(error),
            }
        }
        failed
    }

    /// A namespace was made anew under its old name: what listens in the one before is of no use.
    pub fn forget(&mut self, ns: &NsName) {
        self.open.retain(|(at, _), _| at != ns);
    }
}

impl Shared {
    /// Whether a guest may ask now.
    fn admits(&self, port: intent::PortId) -> bool {
        self.limits.admits(port, Instant::now())
    }
}

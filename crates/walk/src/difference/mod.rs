//! Where hosts differ from what is wanted of them: each difference in the host's own words, and
//! able to be undone in a copy of the world, which is how a walk tells which one is to blame.
mod bridges;
pub mod connections;
mod filters;
mod links;
mod namespaces;
mod programs;
mod remembered;
mod restore;
mod underlay;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use host::{HostState, Why};

use crate::world::World;

/// What is wrong with a thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It should be there, and is not.
    Missing,
    /// It is there in another form.
    Changed,
    /// Nobody asked for it.
    Extra,
}

type Undo = Arc<dyn Fn(&mut HostState) + Send + Sync>;

/// One difference between a host as it is and as it should be.
#[derive(Clone)]
pub struct Difference {
    pub host: String,
    /// The namespace or the bridge.
    pub place: String,
    pub device: String,
    pub kind: Kind,
    /// The thing as the host prints it; a missing one as it would.
    pub text: String,
    /// As it should be, when it is there changed.
    pub wanted: Option<String>,
    pub intent: Option<String>,
    /// It is a flow, a rule or a member of a set: what is there too much may let pass what
    /// nobody allows.
    pub filters: bool,
    undo: Undo,
}

impl fmt::Debug for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} on {} in {}: {}",
            self.kind, self.host, self.place, self.text
        )
    }
}

impl Difference {
    fn new(
        (host, place, device): (&str, &str, &str),
        kind: Kind,
        text: impl Into<String>,
        undo: impl Fn(&mut HostState) + Send + Sync + 'static,
    ) -> Difference {
        Difference {
            host: host.to_owned(),
            place: place.to_owned(),
            device: device.to_owned(),
            kind,
            text: text.into(),
            wanted: None,
            intent: None,
            filters: false,
            undo: Arc::new(undo),
        }
    }

    #[must_use]
    fn wanted(mut self, text: impl Into<String>) -> Difference {
        self.wanted = Some(text.into());
        self
    }

    #[must_use]
    fn filtering(mut self) -> Difference {
        self.filters = true;
        self
    }

    #[must_use]
    fn because(mut self, why: &Why) -> Difference {
        if !why.causes.is_empty() {
            self.intent = Some(why.to_string());
        }
        self
    }

    /// Put the host right in this one thing.
    pub fn undo(&self, world: &mut World) {
        if let Some(state) = world.hosts.get_mut(&self.host) {
            (self.undo)(Arc::make_mut(state));
        }
    }

    /// The culprit, as it is named: what is missing says so.
    pub fn culprit(&self) -> String {
        match self.kind {
            Kind::Missing => format!("MISSING {}", self.text),
            Kind::Changed | Kind::Extra => self.text.clone(),
        }
    }
}

/// All differences of a world from what is wanted of its hosts.
pub fn all(world: &World) -> Vec<Difference> {
    let mut found = Vec::new();
    for (name, have) in &world.hosts {
        links::find(world, have, &mut found);
        bridges::sound(have, &mut found);
        programs::sound(world, have, &mut found);
        remembered::find(world, have, &mut found);
        if let Some(want) = world.wanted.get(name) {
            bridges::compare(have, want, &mut found);
            namespaces::compare(have, want, &mut found);
            programs::compare(have, want, &mut found);
        }
    }
    let mut seen = BTreeSet::new();
    found.retain(|d: &Difference| seen.insert((d.host.clone(), d.place.clone(), d.culprit())));
    found
}

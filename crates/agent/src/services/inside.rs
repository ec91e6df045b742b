//! One namespace of a service: what is known of it, read where that is in doubt, and changed.
use host::netns::Netns;
use host::{HostState, NsName};

use super::ears::Ears;
use super::{connections, read, write};
use crate::announce;
use crate::filters::{self, Filters};
use crate::machine::Problem;
use crate::netns;

pub(super) struct Inside {
    name: NsName,
    /// Which namespace of that name it is about.
    identity: Option<u64>,
    filters: filters::Known,
    ears: Ears,
    /// As it was last read; none is not known.
    seen: Option<Netns>,
    is_in_doubt: bool,
}

impl Inside {
    pub(super) fn of(name: &NsName, want: &Netns) -> Inside {
        Inside {
            identity: netns::identity(name),
            filters: filters::Known::of(name.clone(), filters::Sets::None),
            ears: Ears::of(name, !want.neighbours.is_empty()),
            seen: None,
            is_in_doubt: false,
            name: name.clone(),
        }
    }

    /// Is it still about the namespace that has the name now?
    pub(super) fn is_there(&self) -> bool {
        self.identity == netns::identity(&self.name)
    }

    /// Somebody may have changed something.
    pub(super) fn doubt(&mut self) {
        self.is_in_doubt = true;
        self.filters.doubt();
    }

    /// It is not as it was.
    pub(super) fn forget(&mut self) {
        self.seen = None;
    }

    /// As believed, or read.
    pub(super) async fn read(&mut self, want: &Netns) -> Result<Netns, read::ReadError> {
        let in_doubt = std::mem::take(&mut self.is_in_doubt);
        let known = match self.seen.take() {
            Some(seen) if !in_doubt => return Ok(self.seen.insert(seen).clone()),
            // Asked before it is read: what is told meanwhile is read the next time.
            known => known.filter(|_| !self.ears.heard()),
        };
        let mut netns = match known {
            Some(known) => known,
            None => {
                self.ears.heard();
                read::told(&self.name).await?
            }
        };
        read::silent(&self.name, want, &mut self.filters, &mut netns).await?;
        Ok(self.seen.insert(netns).clone())
    }

    /// Turn what is there into what is wanted; what did not work.
    pub(super) async fn apply(&mut self, have: &Netns, want: &Netns) -> Vec<Problem> {
        self.seen = None;
        let mut problems = Vec::new();
        let mut fail = |error: &dyn std::error::Error| {
            let text = crate::chain(error);
            let why = want.why.clone();
            problems.push(Problem { text, why });
        };
        let (name, old, new) = (self.name.clone(), sysctls(have), sysctls(want));
        let written = netns::within(&self.name, move || {
            // Settings of devices that are not there yet are written when they are.
            crate::sysctl::apply(&name, Some(&old), &new, &mut Vec::new());
            Ok(())
        });
        if let Err(error) = written {
            fail(&error);
        }
        if let Err(error) = write::netns(&self.name, have, want).await {
            fail(&error);
        }
        let (old, new) = (filters_of(have), filters_of(want));
        if old != new {
            let failed = self.filters.apply(&old, &new).await;
            failed.iter().for_each(|error| fail(error));
            if let Err(error) = connections::end(&self.name, have, want).await {
                fail(&error);
            }
        }
        let mut new = write::new_addresses(have, want);
        new.extend(announce::proxied(have, want));
        announce::announce(&self.name, new);
        problems
    }
}

fn sysctls(netns: &Netns) -> Netns {
    Netns {
        sysctls: netns.sysctls.clone(),
        ..Netns::default()
    }
}

fn filters_of(netns: &Netns) -> Filters {
    Filters {
        iptables: netns.iptables.clone(),
        ipsets: netns.ipsets.clone(),
    }
}

/// A namespace's part of a state.
pub(super) fn part<'a>(state: &'a HostState, name: &NsName, none: &'a Netns) -> &'a Netns {
    state.netns.get(name).unwrap_or(none)
}

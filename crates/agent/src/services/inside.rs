//! One namespace of a service: what is known of it, read where that is in doubt, and changed.
use std::sync::Arc;

use host::diff::diff;
use host::netns::Netns;
use host::{HostState, NsName, Shared};

use super::ears::Ears;
use super::turns::{Turn, Turns};
use super::{connections, read, write};
use crate::announce;
use crate::filters::{self, Filters};
use crate::machine::Problem;
use crate::netns::{self, NetnsError};
use crate::rtnetlink::Asker;

pub(super) struct Inside {
    name: NsName,
    /// Which namespace of that name it is about.
    identity: Option<u64>,
    filters: filters::Known,
    ears: Ears,
    /// Opened when it is needed first.
    asker: Option<Arc<Asker>>,
    /// As it was last read; none is not known.
    seen: Option<Shared<Netns>>,
    is_in_doubt: bool,
}

impl Inside {
    pub(super) fn of(name: &NsName, want: &Netns) -> Inside {
        Inside {
            identity: netns::identity(name),
            filters: filters::Known::of(name.clone(), filters::Sets::None),
            ears: Ears::of(name, !want.neighbours.is_empty()),
            asker: None,
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

    fn asker(&mut self) -> Result<Arc<Asker>, NetnsError> {
        let asker = match self.asker.take() {
            Some(asker) => asker,
            None => Arc::new(netns::within(&self.name, Asker::open)?),
        };
        Ok(self.asker.insert(asker).clone())
    }

    /// What was found to be as wanted is held once: the observed becomes the wanted itself.
    pub(super) fn settle_on(&mut self, want: &Shared<Netns>) {
        let Some(seen) = self.seen.as_mut().filter(|seen| !seen.is(want)) else {
            return;
        };
        self.filters.settle_on(&want.iptables, &want.ipsets);
        seen.clone_from(want);
    }

    /// As believed, or read.
    pub(super) async fn read(&mut self, want: &Netns) -> Result<Shared<Netns>, read::ReadError> {
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
                let asker = self.asker().map_err(|source| read::ReadError::Enter {
                    netns: self.name.clone(),
                    source,
                })?;
                read::told(&self.name, asker).await?.into()
            }
        };
        read::silent(&self.name, want, &mut self.filters, &mut netns).await?;
        Ok(self.seen.insert(netns).clone())
    }

    /// Turn what is there into what is wanted; what did not work. Devices that stand outside still
    /// are brought in their turn, and set up when the filters stand. `turn` is given back early.
    pub(super) async fn apply(
        &mut self,
        have: &Netns,
        want: &Netns,
        outside: Vec<String>,
        turns: &Turns,
        turn: Turn<'_>,
    ) -> Vec<Problem> {
        self.seen = None;
        let asker = self.asker();
        let filtering = filter(&self.name, &mut self.filters, have, want);
        let writing = write(&self.name, asker, have, want);
        let failed = if outside.is_empty() {
            let (filtered, written) = tokio::join!(filtering, writing);
            drop(turn);
            [filtered, written].concat()
        } else {
            let filtering = async {
                let filtered = filtering.await;
                drop(turn);
                filtered
            };
            let bringing = turns.bring(&self.name, outside);
            let (filtered, brought) = tokio::join!(filtering, bringing);
            [filtered, brought, writing.await].concat()
        };
        let mut new = announce::new_addresses(have, want);
        new.extend(announce::proxied(have, want));
        announce::announce(&self.name, new);
        let problem = |text| Problem {
            text,
            why: want.why.clone(),
        };
        failed.into_iter().map(problem).collect()
    }
}

/// Filters, and the end of connections that they led elsewhere; what did not work.
async fn filter(
    name: &NsName,
    known: &mut filters::Known,
    have: &Netns,
    want: &Netns,
) -> Vec<String> {
    let (old, new) = (filters_of(have), filters_of(want));
    if old == new {
        return Vec::new();
    }
    let mut failed = known.apply(&old, &new).await;
    failed.extend(connections::end(name, have, want).await.err());
    let said = failed.iter().map(|error| crate::chain(error));
    said.collect()
}

/// Settings, and what is told by rtnetlink; what did not work.
async fn write(
    name: &NsName,
    asker: Result<Arc<Asker>, NetnsError>,
    have: &Netns,
    want: &Netns,
) -> Vec<String> {
    let (name, old, new) = (name.clone(), told(have), told(want));
    let written = tokio::task::spawn_blocking(move || {
        // Settings of devices that are not there yet are written when they are.
        let set = write_sysctls(&name, &old, &new);
        let ordered = match asker {
            Ok(asker) => write::netns(&name, &asker, &old, &new),
            Err(error) => return vec![crate::chain(&error)],
        };
        let ordered = ordered.iter().map(|error| crate::chain(error));
        let set = set.err().map(|error| crate::chain(&error));
        set.into_iter().chain(ordered).collect()
    });
    written.await.unwrap_or_else(|lost| vec![lost.to_string()])
}

fn write_sysctls(name: &NsName, old: &Netns, new: &Netns) -> Result<(), NetnsError> {
    if diff(&old.sysctls, &new.sysctls).put.is_empty() {
        return Ok(());
    }
    let (old, new) = (sysctls(old), sysctls(new));
    let within = name.clone();
    netns::within(name, move || {
        crate::sysctl::apply(&within, Some(&old), &new, &mut Vec::new());
        Ok(())
    })
}

/// What is written without a program: all but the filters.
fn told(netns: &Netns) -> Netns {
    Netns {
        links: netns.links.clone(),
        addrs: netns.addrs.clone(),
        routes: netns.routes.clone(),
        rules: netns.rules.clone(),
        neighbours: netns.neighbours.clone(),
        sysctls: netns.sysctls.clone(),
        ..Netns::default()
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
    state.netns.get(name).map_or(none, |netns| &**netns)
}

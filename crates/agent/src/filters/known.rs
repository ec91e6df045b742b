//! What is believed of one namespace's filters: what was read or written, as long as nobody else
//! changed it. Rules are counted by the kernel ([`super::generation`]), so that a listing of many
//! thousands is read once; sets are not, and are read when they are in doubt.
use std::collections::BTreeMap;

use host::diff::diff;
use host::ipset::Ipsets;
use host::iptables::{Chains, Iptables};
use host::netns::Family;
use host::{NsName, Shared};

use super::generation::{self, Generation};
use super::{FilterError, Filters, Written, observe_ipsets, observe_rules, write};

type Rules = BTreeMap<Family, Iptables>;

/// Whether a namespace has sets of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sets {
    Used,
    None,
}

#[derive(Debug)]
pub struct Known {
    netns: NsName,
    generation: Generation,
    rules: Option<Read>,
    rules_in_doubt: bool,
    has_sets: Sets,
    sets: Option<Ipsets>,
}

#[derive(Debug)]
struct Read {
    rules: Rules,
    /// The kernel's count that they belong to, where it counts.
    at: Option<u32>,
}

impl Known {
    pub fn of(netns: NsName, has_sets: Sets) -> Known {
        Known {
            generation: Generation::of(&netns),
            netns,
            rules: None,
            rules_in_doubt: false,
            has_sets,
            sets: None,
        }
    }

    /// Somebody may have changed rules: the kernel's count will tell.
    pub fn doubt_rules(&mut self) {
        self.rules_in_doubt = true;
    }

    /// Somebody may have changed anything.
    pub fn doubt(&mut self) {
        self.rules_in_doubt = true;
        self.sets = None;
    }

    pub fn forget(&mut self) {
        (self.rules, self.sets) = (None, None);
    }

    pub fn is_read(&self) -> bool {
        self.rules.is_some()
    }

    /// As believed, or read.
    pub async fn observe(&mut self) -> Result<Filters, FilterError> {
        if std::mem::take(&mut self.rules_in_doubt) {
            let now = self.generation.now();
            let is_same = |read: &Read| now.is_some() && read.at == now;
            self.rules = self.rules.take().filter(is_same);
        }
        let read = match self.rules.take() {
            Some(read) => read,
            None => {
                // Counted before it is read: what changes meanwhile is found by the next look.
                let at = self.generation.now();
                let rules = match at {
                    Some(generation::UNTOUCHED) => Rules::new(),
                    _ => observe_rules(&self.netns).await?,
                };
                Read { rules, at }
            }
        };
        let iptables = self.rules.insert(read).rules.clone();
        let sets = match (&self.sets, self.has_sets) {
            (Some(sets), _) => sets.clone(),
            (None, Sets::None) => Ipsets::new(),
            (None, Sets::Used) => observe_ipsets(&self.netns).await?,
        };
        Ok(Filters {
            iptables,
            ipsets: self.sets.insert(sets).clone(),
        })
    }

    /// Turn what is ours (`have`) into what is wanted; what failed.
    pub async fn apply(&mut self, have: &Filters, want: &Filters) -> Vec<FilterError> {
        if self.rules.is_none() && self.generation.now() == Some(generation::UNTOUCHED) {
            self.rules = Some(Read {
                rules: Rules::new(),
                at: Some(generation::UNTOUCHED),
            });
        }
        let Written { tables, failed } = write(&self.netns, have, want).await;
        if !failed.is_empty() {
            self.forget();
            return failed;
        }
        let now = self.generation.now();
        let at = self.rules.as_ref().and_then(|read| read.at);
        // Every table counts one. More, and others wrote as well; no count, and the slow timer
        // reads it back.
        if at.map(|at| at.wrapping_add(tables)) == now {
            self.believe(have, want, now);
        } else {
            self.rules = None;
            if now == at {
                // Written, and not counted: this iptables is of the old kind.
                self.generation = Generation::default();
            }
        }
        failed
    }

    /// What the tools took is there: they are all or nothing.
    fn believe(&mut self, old: &Filters, new: &Filters, at: Option<u32>) {
        if let Some(sets) = &mut self.sets {
            for (name, _) in diff(&old.ipsets, &new.ipsets).remove {
                sets.remove(name);
            }
            let all = new.ipsets.iter();
            sets.extend(all.map(|(name, set)| (name.clone(), set.clone())));
        }
        let Some(read) = &mut self.rules else {
            return;
        };
        read.at = at;
        let none = Iptables::new();
        for (family, tables) in &new.iptables {
            let known = read.rules.entry(*family).or_default();
            believe_tables(known, old.iptables.get(family).unwrap_or(&none), tables);
        }
    }

    /// What was read and is equal to what is wanted is held once.
    pub fn settle_on(&mut self, rules: &Rules, sets: &Ipsets) {
        for (name, set) in self.sets.iter_mut().flatten() {
            if let Some(wanted) = sets.get(name).filter(|wanted| *wanted == set) {
                set.clone_from(wanted);
            }
        }
        let Some(read) = &mut self.rules else {
            return;
        };
        for (family, tables) in &mut read.rules {
            for (table, content) in tables {
                let wanted = rules.get(family).and_then(|tables| tables.get(table));
                if let Some(wanted) = wanted {
                    settle_chains(&mut content.chains, &wanted.chains);
                }
            }
        }
    }
}

fn settle_chains(known: &mut Shared<Chains>, wanted: &Shared<Chains>) {
    if known == wanted {
        known.clone_from(wanted);
        return;
    }
    let equal = known.iter().filter_map(|(name, chain)| {
        let wanted = wanted.get(name).filter(|wanted| !wanted.is(chain))?;
        (wanted == chain).then(|| (name.clone(), wanted.clone()))
    });
    let equal: Vec<_> = equal.collect();
    // A change would copy what others share.
    if !equal.is_empty() {
        known.extend(equal);
    }
}

fn believe_tables(known: &mut Iptables, old: &Iptables, new: &Iptables) {
    for (name, table) in new {
        let nothing = Shared::default();
        let before = old.get(name).map_or(&nothing, |table| &table.chains);
        let difference = diff(before, &table.chains);
        if difference.is_empty() {
            continue;
        }
        let chains = &mut *known.entry(name.clone()).or_default().chains;
        for (chain, _) in &difference.remove {
            chains.remove(*chain);
        }
        for put in &difference.put {
            match chains.get_mut(put.key) {
                // Ours came to the top of the built-in chain; the rest is others'.
                Some(chain) if put.new.policy.is_some() => {
                    let before = put.old.map_or(&[][..], |old| &old.rules);
                    chain.rules.retain(|rule| !before.contains(rule));
                    chain.rules.splice(0..0, put.new.rules.iter().cloned());
                }
                _ => drop(chains.insert(put.key.clone(), put.new.clone())),
            }
        }
    }
}

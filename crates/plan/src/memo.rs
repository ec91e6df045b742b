//! What was written of each namespace's filters, and what it was made from: those of a namespace of
//! which nothing changed are not written again.

use std::collections::BTreeMap;

use host::{NsName, iptables::Iptables, netns::Family};

/// Kept by the compiler from one run to the next.
#[derive(Debug)]
pub(crate) struct Memo<From> {
    /// As the last run left it; what this run takes over goes from here.
    before: BTreeMap<NsName, Written<From>>,
    now: BTreeMap<NsName, Written<From>>,
}

#[derive(Debug)]
struct Written<From> {
    from: From,
    tables: BTreeMap<Family, Iptables>,
}

impl<From> Default for Memo<From> {
    fn default() -> Self {
        Memo {
            before: BTreeMap::new(),
            now: BTreeMap::new(),
        }
    }
}

impl<From: PartialEq> Memo<From> {
    /// A run begins: what it does not take over is forgotten with the next.
    pub(crate) fn begin(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// What was written of a namespace, if from the same.
    pub(crate) fn written(
        &mut self,
        ns: &NsName,
        from: &From,
    ) -> Option<&BTreeMap<Family, Iptables>> {
        let written = self.before.remove(ns)?;
        if written.from != *from {
            return None;
        }
        let written = self.now.entry(ns.clone()).or_insert(written);
        Some(&written.tables)
    }

    pub(crate) fn keep(&mut self, ns: &NsName, from: From, tables: BTreeMap<Family, Iptables>) {
        self.now.insert(ns.clone(), Written { from, tables });
    }
}

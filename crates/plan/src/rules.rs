//! iptables of one namespace, written as iptables itself writes them.
//!
//! A rule in a stage reads like the rule on the host (`-d 10.0.0.1/32 -j ACCEPT`) and goes through
//! the one grammar that `host` has. Text that the grammar does not take is a defect of the stage:
//! the rule is left out and said, and tests look for such notes.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::{
    NsName, Shared, Why,
    iptables::{Chain, Iptables, Rule, read_rule},
    netns::Family,
};
use intent::Direction;

use crate::Draft;

/// The chains that a component hangs into the built-in ones, in one family.
pub(crate) struct Writer {
    component: &'static str,
    tables: Iptables,
    /// Rules that the grammar refused, with what it said.
    refused: Vec<String>,
    gaps: Vec<Gap>,
    why: Why,
}

/// What one thing adds to tables that many share.
#[derive(Debug)]
pub(crate) struct Part {
    tables: Iptables,
    refused: Vec<String>,
    gaps: Vec<Gap>,
}

/// A place in a chain where rules of a group come.
#[derive(Debug, Clone)]
struct Gap {
    table: &'static str,
    chain: String,
    before: usize,
    direction: Direction,
}

impl Part {
    /// The same with its gaps filled. What has none is shared.
    pub(crate) fn filled(&self, mut rules: impl FnMut(Direction) -> Arc<[Shared<Rule>]>) -> Part {
        let mut tables = self.tables.clone();
        for gap in &self.gaps {
            let table = tables.get_mut(gap.table);
            if let Some(chain) = table.and_then(|table| table.chains.get_mut(&gap.chain)) {
                let at = gap.before..gap.before;
                chain.rules.splice(at, rules(gap.direction).iter().cloned());
                chain.rules.shrink_to_fit();
            }
        }
        Part {
            tables,
            refused: self.refused.clone(),
            gaps: Vec::new(),
        }
    }
}

/// The built-in chains, in the tables that every component uses.
const BUILT_IN: &[(&str, &[&str])] = &[
    ("filter", &["INPUT", "FORWARD", "OUTPUT"]),
    ("nat", &["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
    ("raw", &["PREROUTING", "OUTPUT"]),
];
const MANGLE: &[&str] = &["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

impl Writer {
    /// The skeleton that Neutron's agents hang into the tables: in each built-in chain a jump to
    /// the component's own, and `neutron-filter-top` before them in filter.
    pub(crate) fn new(component: &'static str, why: Why) -> Self {
        let mut writer = Self::without_mangle(component, why);
        for chain in MANGLE {
            writer.chain("mangle", chain).policy = Some("ACCEPT".to_owned());
        }
        MANGLE.iter().for_each(|chain| writer.hang("mangle", chain));
        writer
    }

    /// The same for a component that has nothing to do in mangle: the L2 agent.
    pub(crate) fn without_mangle(component: &'static str, why: Why) -> Self {
        let mut writer = Self {
            component,
            tables: BTreeMap::new(),
            refused: Vec::new(),
            gaps: Vec::new(),
            why,
        };
        for (table, chains) in BUILT_IN {
            for chain in *chains {
                writer.chain(table, chain).policy = Some("ACCEPT".to_owned());
            }
        }
        for chain in ["PREROUTING", "OUTPUT"] {
            writer.hang("raw", chain);
        }
        writer.hang("nat", "PREROUTING");
        writer.filter_skeleton();
        writer
    }

    fn filter_skeleton(&mut self) {
        let own = self.component;
        self.chain("filter", "neutron-filter-top");
        self.own("filter", "local");
        self.hang("filter", "INPUT");
        for chain in ["FORWARD", "OUTPUT"] {
            self.base("filter", chain, "-j neutron-filter-top");
            self.hang("filter", chain);
        }
        let to_local = format!("-j {own}-local");
        self.base("filter", "neutron-filter-top", &to_local);
    }

    /// Nothing yet: for a part that is put into another by [`Writer::add`].
    pub(crate) fn part(component: &'static str, why: Why) -> Self {
        Self {
            component,
            tables: BTreeMap::new(),
            refused: Vec::new(),
            gaps: Vec::new(),
            why,
        }
    }

    /// A part that was written before: chains of its own, and rules of chains that are here.
    pub(crate) fn add(&mut self, part: &Part) {
        for (name, table) in &part.tables {
            let chains = &mut self.tables.entry(name.clone()).or_default().chains;
            for (name, chain) in &table.chains {
                match chains.get_mut(name) {
                    Some(here) => here.rules.extend(chain.rules.iter().cloned()),
                    None => drop(chains.insert(name.clone(), chain.clone())),
                }
            }
        }
        self.refused.extend(part.refused.iter().cloned());
    }

    pub(crate) fn finish_part(self) -> Part {
        Part {
            tables: self.tables,
            refused: self.refused,
            gaps: self.gaps,
        }
    }

    /// In a built-in chain, a jump to the component's chain of the same name.
    pub(crate) fn hang(&mut self, table: &str, chain: &str) {
        self.own(table, chain);
        let jump = format!("-j {}-{chain}", self.component);
        self.base(table, chain, &jump);
    }

    /// A chain of the component, empty until rules come.
    pub(crate) fn own(&mut self, table: &str, name: &str) {
        let name = format!("{}-{name}", self.component);
        self.chain(table, &name);
    }

    pub(crate) fn chain(&mut self, table: &str, name: &str) -> &mut Chain {
        let chains = &mut self.tables.entry(table.to_owned()).or_default().chains;
        let why = &self.why;
        let new = || {
            let why = why.clone();
            Shared::new(Chain {
                why,
                ..Chain::default()
            })
        };
        chains.entry(name.to_owned()).or_insert_with(new)
    }

    /// A rule of the component's chain `name`. In its text `$` stands for the component, as in
    /// `-j $-snat`.
    #[track_caller]
    pub(crate) fn rule(&mut self, table: &str, name: &str, text: &str, why: Why) {
        let chain = format!("{}-{name}", self.component);
        self.push(table, &chain, text, why);
    }

    /// Here, in the component's chain `name`, come the rules of groups: see [`Part::filled`].
    pub(crate) fn gap(&mut self, table: &'static str, name: &str, direction: Direction) {
        let chain = format!("{}-{name}", self.component);
        let before = self.chain(table, &chain).rules.len();
        self.gaps.push(Gap {
            table,
            chain,
            before,
            direction,
        });
    }

    /// A rule that stands in any chain, because the namespace is there.
    pub(crate) fn base(&mut self, table: &str, chain: &str, text: &str) {
        let why = self.why.clone();
        self.push(table, chain, text, why);
    }

    fn push(&mut self, table: &str, chain: &str, text: &str, why: Why) {
        let text = text.replace("$-", &format!("{}-", self.component));
        match read_rule(&text) {
            Ok(mut rule) => {
                rule.why = why;
                self.chain(table, chain).rules.push(rule.into());
            }
            Err(error) => self.refused.push(format!("{text}: {error}")),
        }
    }

    pub(crate) fn finish(self, draft: &mut Draft<'_>, ns: &NsName, family: Family) {
        for refused in self.refused {
            draft.note(format!("iptables in {ns}"), refused);
        }
        draft.netns(ns).iptables.insert(family, self.tables);
    }
}

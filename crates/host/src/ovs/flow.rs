//! Flows and groups. A flow's key is what OpenFlow makes it: table, priority and match; the
//! cookie, the timeouts and the actions are its value.
use std::collections::BTreeSet;

use super::action::Action;
use super::matches::{Match, PortRef};
use crate::{Merge, Shown, Why};

/// What makes a flow that flow and no other.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlowKey {
    pub table: u8,
    pub priority: u16,
    pub matches: Match,
}

/// What a flow does. No actions is drop.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    pub cookie: u64,
    pub idle_timeout: u16,
    pub hard_timeout: u16,
    pub importance: u16,
    /// `reset_counts`, `send_flow_rem`, `check_overlap`, …
    pub flags: BTreeSet<String>,
    pub actions: Vec<Action>,
    /// Counters, when the dump had them: shown, never compared.
    pub stats: Shown<Option<FlowStats>>,
    /// Parts of the dump that this version does not know, as they stood.
    pub unknown: Vec<String>,
    pub why: Why,
}

/// What a switch counts of a flow.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlowStats {
    pub duration_s: f64,
    pub packets: u64,
    pub bytes: u64,
    pub idle_age: Option<u64>,
    pub hard_age: Option<u64>,
}

impl Flow {
    pub fn new(cookie: u64, actions: Vec<Action>, why: Why) -> Flow {
        Flow {
            cookie,
            actions,
            why,
            ..Flow::default()
        }
    }

    /// Does a packet end here?
    pub fn is_drop(&self) -> bool {
        self.actions.is_empty()
    }
}

impl Merge for Flow {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

/// A group: several buckets of actions, of which the type says how many act.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    /// `all`, `select`, `indirect`, `ff`.
    pub kind: String,
    /// `selection_method=…` and the like, as they stood.
    pub properties: Vec<String>,
    pub buckets: Vec<Bucket>,
    pub why: Why,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    pub id: Option<u32>,
    pub weight: Option<u16>,
    pub watch_port: Option<PortRef>,
    pub watch_group: Option<u32>,
    pub actions: Vec<Action>,
}

impl Merge for Group {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

//! What one port adds to a plan, and what it was made from: as long as that stays the same it is
//! added again without being worked out. Among hundreds of ports a change most often concerns one.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::{
    Shared, Why,
    netns::Link,
    ovs::{Action, Flow, FlowKey, Match, Port as Row},
};
use intent::{Network, Port, PortId, Segment, view::Neighbour};

use super::COOKIE;

/// Flows of one bridge.
#[derive(Debug, Default)]
pub(super) struct Flows(pub(super) Vec<(FlowKey, Flow)>);

impl Flows {
    /// A flow of ours. No actions is drop.
    pub(super) fn put(
        &mut self,
        (table, priority): (u8, u16),
        matches: Match,
        actions: Vec<Action>,
        why: Why,
    ) {
        let key = FlowKey {
            table,
            priority,
            matches,
        };
        self.0.push((key, Flow::new(COOKIE, actions, why)));
    }
}

/// What a port in br-int adds there, and to the host's own namespace.
#[derive(Debug, Default)]
pub(super) struct Part {
    /// A guest's row in br-int. Services' rows are made by their own stage.
    pub(super) row: Option<Shared<Row>>,
    /// What every row says of its network.
    pub(super) tag: Option<u16>,
    pub(super) other_config: BTreeMap<String, String>,
    pub(super) flows: Flows,
    pub(super) links: Vec<(String, Link)>,
}

/// Kept by the compiler from one run to the next.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    ports: Kept<PortOf, Part>,
    neighbours: Kept<NeighbourOf, Flows>,
}

/// All that a port's part depends on. Items of a view are the same object until they change.
#[derive(Clone, Debug)]
pub(super) struct PortOf {
    pub(super) port: Arc<Port>,
    pub(super) hybrid: bool,
    pub(super) network: Option<Arc<Network>>,
    /// What carries its network, and the local VLAN.
    pub(super) place: Option<(Arc<Segment>, u16)>,
}

/// All that the flows towards a port elsewhere depend on.
#[derive(Clone, Debug)]
pub(super) struct NeighbourOf {
    pub(super) neighbour: Arc<Neighbour>,
    pub(super) tunnel: String,
    /// The network's id in tunnels, and its local VLAN.
    pub(super) id: u32,
    pub(super) vlan: u16,
    pub(super) answers: super::answer::Answers,
}

pub(super) trait Origin {
    fn is(&self, other: &Self) -> bool;
}

fn is_same<T>(one: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

impl Origin for PortOf {
    fn is(&self, other: &Self) -> bool {
        let segment = |of: &'_ PortOf| of.place.as_ref().map(|(segment, _)| segment.clone());
        let vlan = |of: &PortOf| of.place.as_ref().map(|(_, vlan)| *vlan);
        Arc::ptr_eq(&self.port, &other.port)
            && self.hybrid == other.hybrid
            && vlan(self) == vlan(other)
            && is_same(self.network.as_ref(), other.network.as_ref())
            && is_same(segment(self).as_ref(), segment(other).as_ref())
    }
}

impl Origin for NeighbourOf {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.neighbour, &other.neighbour)
            && self.tunnel == other.tunnel
            && (self.id, self.vlan, self.answers) == (other.id, other.vlan, other.answers)
    }
}

#[derive(Debug)]
struct Kept<From, Made> {
    before: BTreeMap<PortId, (From, Arc<Made>)>,
    now: BTreeMap<PortId, (From, Arc<Made>)>,
}

impl<From, Made> Default for Kept<From, Made> {
    fn default() -> Self {
        Self {
            before: BTreeMap::new(),
            now: BTreeMap::new(),
        }
    }
}

impl<From: Origin, Made> Kept<From, Made> {
    fn made(&mut self, id: PortId, from: From, make: impl FnOnce(&From) -> Made) -> Arc<Made> {
        let known = self.before.remove(&id).filter(|(was, _)| was.is(&from));
        let made = known.map_or_else(|| Arc::new(make(&from)), |(_, made)| made);
        self.now.insert(id, (from, made.clone()));
        made
    }

    /// Ends a run: what was not asked for in it is forgotten.
    fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }
}

impl Memo {
    pub(super) fn port(&mut self, from: PortOf, make: impl FnOnce(&PortOf) -> Part) -> Arc<Part> {
        self.ports.made(from.port.id, from, make)
    }

    pub(super) fn neighbour(
        &mut self,
        from: NeighbourOf,
        make: impl FnOnce(&NeighbourOf) -> Flows,
    ) -> Arc<Flows> {
        self.neighbours.made(from.neighbour.port_id, from, make)
    }

    pub(super) fn turn(&mut self) {
        self.ports.turn();
        self.neighbours.turn();
    }
}

//! What was written of each port, and what it was made from: a port of which nothing changed is not
//! written again. Among hundreds of ports a change most often concerns one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::{Shared, iptables::Rule, netns::Family};
use intent::{Direction, Port, PortId, SecurityGroupId};

use super::{
    Filtered,
    rules::{GroupRules, Groups},
    sets::Sets,
};
use crate::rules::Part;

/// Kept by the compiler from one run to the next.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(super) groups: Groups,
    pub(super) sets: Sets,
    ports: BTreeMap<PortId, Written>,
    /// What ports with the same groups have in common, in this run.
    spoken: BTreeMap<SpokenTo, Arc<[Shared<Rule>]>>,
}

/// Whom rules are for: ports with these groups, in one version of IP and one direction.
type SpokenTo = (BTreeSet<SecurityGroupId>, Family, Direction);

#[derive(Debug)]
struct Written {
    from: From,
    frames: [Arc<Part>; 2],
    groups: Vec<Option<Shared<GroupRules>>>,
    parts: [Arc<Part>; 2],
}

/// All of a port that its rules depend on, but for its groups.
#[derive(Debug)]
struct From {
    port: Arc<Port>,
    tap: String,
    zone: Option<u16>,
    trusted: bool,
    stateful: bool,
}

impl From {
    fn is_of(&self, port: &Filtered<'_>) -> bool {
        let (was, is) = (&self.port, port.port);
        let is_same = Arc::ptr_eq(was, is)
            || (was.mac_address == is.mac_address
                && was.fixed_ips == is.fixed_ips
                && was.allowed_address_pairs == is.allowed_address_pairs);
        is_same
            && (self.zone, self.trusted, self.stateful) == (port.zone, port.trusted, port.stateful)
            && self.tap == port.tap
    }
}

impl Memo {
    /// Begins a run: parts of ports that are here no more are forgotten.
    pub(super) fn keep(&mut self, ports: &[Filtered<'_>]) {
        let here: BTreeSet<PortId> = ports.iter().map(|port| port.port.id).collect();
        self.ports.retain(|id, _| here.contains(id));
        self.spoken.clear();
    }

    /// A port's part of both versions of IP, written by `write` unless it was before. A rule of a
    /// group changes what stands between a port's own rules, and nothing of those.
    pub(super) fn parts(
        &mut self,
        port: &Filtered<'_>,
        write: impl Fn(Family) -> Part,
    ) -> [Arc<Part>; 2] {
        const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
        let groups = self.groups.groups_of(port.port);
        let known = self.ports.remove(&port.port.id);
        let known = known.filter(|written| written.from.is_of(port));
        let written = match known {
            Some(written) if written.groups == groups => written,
            known => {
                let frames = known.map_or_else(
                    || FAMILIES.map(|family| Arc::new(write(family))),
                    |written| written.frames,
                );
                let mut fill = |n: usize| {
                    let rules = |direction| self.spoken(port.port, FAMILIES[n], direction);
                    Arc::new(frames[n].filled(rules))
                };
                Written {
                    from: From {
                        port: port.port.clone(),
                        tap: port.tap.clone(),
                        zone: port.zone,
                        trusted: port.trusted,
                        stateful: port.stateful,
                    },
                    groups,
                    parts: [fill(0), fill(1)],
                    frames,
                }
            }
        };
        let parts = written.parts.clone();
        self.ports.insert(port.port.id, written);
        parts
    }

    fn spoken(&mut self, port: &Port, family: Family, direction: Direction) -> Arc<[Shared<Rule>]> {
        let key = (port.security_groups.clone(), family, direction);
        let groups = &self.groups;
        let spoken = self.spoken.entry(key);
        let spoken = spoken.or_insert_with(|| groups.of_port(port, family, direction).into());
        spoken.clone()
    }
}

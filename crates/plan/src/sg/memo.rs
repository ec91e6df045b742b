//! What was written of each port, and what it was made from: a port of which nothing changed is not
//! written again. Among hundreds of ports a change most often concerns one.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::{Shared, netns::Family};
use intent::{AddressPair, FixedIp, Mac, PortId};

use super::{
    Filtered,
    rules::{GroupRules, Groups},
};
use crate::rules::Part;

/// Kept by the compiler from one run to the next.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(super) groups: Groups,
    ports: BTreeMap<PortId, Written>,
}

#[derive(Debug)]
struct Written {
    from: From,
    parts: [Arc<Part>; 2],
}

/// All of a port that its rules depend on.
#[derive(Debug, PartialEq)]
struct From {
    mac: Mac,
    fixed_ips: Vec<FixedIp>,
    pairs: Vec<AddressPair>,
    tap: String,
    zone: Option<u16>,
    trusted: bool,
    stateful: bool,
    groups: Vec<Option<Shared<GroupRules>>>,
}

impl Memo {
    /// Parts of ports that are here no more are forgotten.
    pub(super) fn keep(&mut self, ports: &[Filtered<'_>]) {
        let here: std::collections::BTreeSet<PortId> =
            ports.iter().map(|port| port.port.id).collect();
        self.ports.retain(|id, _| here.contains(id));
    }

    /// A port's part of both versions of IP, written by `write` unless it was before.
    pub(super) fn parts(
        &mut self,
        port: &Filtered<'_>,
        write: impl Fn(&Groups, Family) -> Part,
    ) -> [Arc<Part>; 2] {
        let from = From {
            mac: port.port.mac_address,
            fixed_ips: port.port.fixed_ips.clone(),
            pairs: port.port.allowed_address_pairs.clone(),
            tap: port.tap.clone(),
            zone: port.zone,
            trusted: port.trusted,
            stateful: port.stateful,
            groups: self.groups.groups_of(port.port),
        };
        let known = self.ports.get(&port.port.id);
        if let Some(written) = known.filter(|written| written.from == from) {
            return written.parts.clone();
        }
        let parts = [Family::V4, Family::V6].map(|family| Arc::new(write(&self.groups, family)));
        let written = Written {
            from,
            parts: parts.clone(),
        };
        self.ports.insert(port.port.id, written);
        parts
    }
}

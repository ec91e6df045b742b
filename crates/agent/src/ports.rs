//! Which ports of this host are up: everything that belongs to them stands. What was said to the
//! server is said again when the server does not have it.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use host::HostState;
use intent::view::View;
use intent::{HostName, Port};

use crate::run::Pass;

/// How long the server has to answer with a changed port before it is told again.
const AGAIN: Duration = Duration::from_secs(5);

pub struct Ports {
    host: HostName,
    /// What was said of each port, and when.
    told: BTreeMap<String, (bool, Instant)>,
}

impl Ports {
    pub fn new(host: &str) -> Ports {
        Ports {
            host: host.into(),
            told: BTreeMap::new(),
        }
    }

    /// The server may not know what it was told.
    pub fn forget(&mut self) {
        self.told.clear();
    }

    pub fn told(&mut self, up: &[String], down: &[String]) {
        let now = Instant::now();
        let said = up
            .iter()
            .map(|id| (id, true))
            .chain(down.iter().map(|id| (id, false)));
        self.told
            .extend(said.map(|(id, up)| (id.clone(), (up, now))));
    }

    /// The ports whose state has to be said: up, down.
    pub fn changes(&mut self, view: &View, pass: &Pass) -> (Vec<String>, Vec<String>) {
        let here: Vec<&Port> = view
            .ports
            .values()
            .map(|port| &**port)
            .filter(|port| port.is_bound_to(&self.host))
            .collect();
        self.told
            .retain(|id, _| here.iter().any(|port| port.id.to_string() == *id));
        let plugged = plugged(&pass.seen);
        let (mut up, mut down) = (Vec::new(), Vec::new());
        for port in here {
            let id = port.id.to_string();
            let is_up = plugged.contains_key(&id) && port.admin_state_up && stands(pass, &id);
            if self.has_to_be_said(port, &id, is_up) {
                let list = if is_up { &mut up } else { &mut down };
                list.push(id);
            }
        }
        (up, down)
    }

    fn has_to_be_said(&self, port: &Port, id: &str, is_up: bool) -> bool {
        let known = port
            .bindings
            .iter()
            .find(|binding| binding.host == self.host)
            .is_some_and(|binding| binding.up);
        match self.told.get(id) {
            Some((said, at)) => *said != is_up || (known != is_up && at.elapsed() > AGAIN),
            None => known != is_up,
        }
    }
}

/// The interfaces that are there and work, by the port they carry.
fn plugged(seen: &HostState) -> BTreeMap<String, &str> {
    let interfaces = seen.bridges.values().flat_map(|bridge| bridge.interfaces());
    let working = interfaces
        .filter(|(_, interface)| interface.ofport.0.is_some() && interface.error.0.is_none());
    working
        .filter_map(|(name, interface)| {
            Some((interface.external_ids.get("iface-id")?.clone(), name))
        })
        .collect()
}

/// Nothing that a port asked for is missing, refused, or waited for.
fn stands(pass: &Pass, id: &str) -> bool {
    let concerns = |why: &host::Why| {
        why.causes
            .iter()
            .any(|cause| cause.kind == "port" && cause.id == id)
    };
    !pass.left.iter().any(|drift| concerns(&drift.why))
        && !pass.problems.iter().any(|problem| concerns(&problem.why))
        && !pass.waiting.iter().any(|waiting| concerns(&waiting.why))
}

//! Which ports of this host are up: everything that belongs to them stands. What was said to the
//! server is said again when the server does not have it.
use std::collections::{BTreeMap, BTreeSet};
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
    /// Ports of which it was said that their DHCP server knows them.
    told_dhcp: BTreeSet<String>,
    told_routers: BTreeMap<String, bool>,
}

/// What has to be said to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub up: Vec<String>,
    pub down: Vec<String>,
    pub dhcp_ready: Vec<String>,
    pub routers_up: Vec<String>,
    pub routers_down: Vec<String>,
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl Ports {
    pub fn new(host: &str) -> Ports {
        Ports {
            host: host.into(),
            told: BTreeMap::new(),
            told_dhcp: BTreeSet::new(),
            told_routers: BTreeMap::new(),
        }
    }

    /// The server may not know what it was told.
    pub fn forget(&mut self) {
        self.told.clear();
        self.told_dhcp.clear();
        self.told_routers.clear();
    }

    pub fn told(&mut self, changes: &Changes) {
        let now = Instant::now();
        let (up, down) = (changes.up.iter(), changes.down.iter());
        let said = up.map(|id| (id, true)).chain(down.map(|id| (id, false)));
        self.told
            .extend(said.map(|(id, up)| (id.clone(), (up, now))));
        self.told_dhcp.extend(changes.dhcp_ready.iter().cloned());
        let (up, down) = (changes.routers_up.iter(), changes.routers_down.iter());
        let said = up.map(|id| (id, true)).chain(down.map(|id| (id, false)));
        self.told_routers
            .extend(said.map(|(id, up)| (id.clone(), up)));
    }

    /// What has to be said after a pass.
    pub fn changes(&mut self, view: &View, pass: &Pass) -> Changes {
        let ports = view.ports.values().map(|port| &**port);
        let here: Vec<&Port> = ports.filter(|port| port.is_bound_to(&self.host)).collect();
        let ids: BTreeSet<String> = here.iter().map(|port| port.id.to_string()).collect();
        self.told.retain(|id, _| ids.contains(id));
        let plugged = plugged(&pass.seen);
        let mut changes = Changes::default();
        for port in here {
            let id = port.id.to_string();
            let is_up =
                plugged.contains_key(&id) && port.admin_state_up && stands(pass, "port", &id);
            if self.has_to_be_said(port, &id, is_up) {
                let list = if is_up {
                    &mut changes.up
                } else {
                    &mut changes.down
                };
                list.push(id);
            }
        }
        changes.dhcp_ready = self.dhcp_ready(view, pass);
        for id in view.router_roles.keys() {
            let id = id.to_string();
            let is_up = stands(pass, "router", &id);
            if self.told_routers.get(&id) != Some(&is_up) {
                let list = if is_up {
                    &mut changes.routers_up
                } else {
                    &mut changes.routers_down
                };
                list.push(id);
            }
        }
        changes
    }

    /// Ports whose network is served here, and the server knows them.
    fn dhcp_ready(&mut self, view: &View, pass: &Pass) -> Vec<String> {
        let served: BTreeSet<_> = view
            .dhcp_roles
            .keys()
            .filter(|network| {
                let (dir, key) = (
                    format!("file dhcp/{network}/"),
                    format!("process dnsmasq {network}"),
                );
                let late = |what: &str| what.starts_with(&dir) || *what == key;
                let running = pass
                    .seen
                    .processes
                    .contains_key(&format!("dnsmasq {network}"));
                running && !pass.left.iter().any(|drift| late(&drift.what))
            })
            .collect();
        let ports = view
            .ports
            .values()
            .filter(|port| served.contains(&port.network_id));
        let ids: BTreeSet<String> = ports.map(|port| port.id.to_string()).collect();
        self.told_dhcp.retain(|id| ids.contains(id));
        ids.difference(&self.told_dhcp).cloned().collect()
    }

    fn has_to_be_said(&self, port: &Port, id: &str, is_up: bool) -> bool {
        let mut bindings = port.bindings.iter();
        let known = bindings
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

/// Nothing that an object asked for is missing, refused, or waited for.
fn stands(pass: &Pass, kind: &str, id: &str) -> bool {
    let concerns = |why: &host::Why| {
        why.causes
            .iter()
            .any(|cause| cause.kind == kind && cause.id == id)
    };
    !pass.left.iter().any(|drift| concerns(&drift.why))
        && !pass.problems.iter().any(|problem| concerns(&problem.why))
        && !pass.waiting.iter().any(|waiting| concerns(&waiting.why))
}

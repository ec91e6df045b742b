//! Which ports of this host are up: everything that belongs to them stands. What was said to the
//! server is said again when the server does not have it.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use host::HostState;
use intent::view::{RouterRole, View};
use intent::{FloatingIpId, FloatingIpStatus, HostName, Port, RouterId};

use crate::run::Pass;

/// How long the server has to answer with a changed port before it is told again.
const AGAIN: Duration = Duration::from_secs(5);

/// How long a router may be other than it should be before it has failed: its floating IPs are in
/// error then. Most of what is wrong after a pass is right after the next.
const FAILED: Duration = Duration::from_secs(20);

/// How a router stands on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    Up,
    Down,
    Failed,
}

impl Standing {
    /// Of a router with which something is wrong for that long, or that waits for something.
    fn of(wrong_for: Option<Duration>, waits: bool) -> Standing {
        match wrong_for {
            Some(time) if time > FAILED => Standing::Failed,
            Some(_) => Standing::Down,
            None if waits => Standing::Down,
            None => Standing::Up,
        }
    }
}

pub struct Ports {
    host: HostName,
    /// What was said of each port, and when.
    told: BTreeMap<String, (bool, Instant)>,
    /// Ports of which it was said that their DHCP server knows them.
    told_dhcp: BTreeSet<String>,
    told_routers: BTreeMap<String, Standing>,
    /// Since when something is wrong with a router.
    wrong_since: BTreeMap<RouterId, Instant>,
    /// Floating IPs whose router was said to be up since they came, and when.
    told_floating: BTreeMap<FloatingIpId, Instant>,
}

/// What has to be said to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub up: Vec<String>,
    pub down: Vec<String>,
    pub dhcp_ready: Vec<String>,
    pub routers_up: Vec<String>,
    pub routers_down: Vec<String>,
    pub routers_failed: Vec<String>,
    /// Floating IPs for whose sake routers are said to be up again.
    pub floating_ips: Vec<FloatingIpId>,
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
            wrong_since: BTreeMap::new(),
            told_floating: BTreeMap::new(),
        }
    }

    /// The server may not know what it was told.
    pub fn forget(&mut self) {
        self.told.clear();
        self.told_dhcp.clear();
        self.told_routers.clear();
        self.told_floating.clear();
    }

    pub fn told(&mut self, changes: &Changes) {
        let now = Instant::now();
        let (up, down) = (changes.up.iter(), changes.down.iter());
        let said = up.map(|id| (id, true)).chain(down.map(|id| (id, false)));
        self.told
            .extend(said.map(|(id, up)| (id.clone(), (up, now))));
        self.told_dhcp.extend(changes.dhcp_ready.iter().cloned());
        for (ids, standing) in [
            (&changes.routers_up, Standing::Up),
            (&changes.routers_down, Standing::Down),
            (&changes.routers_failed, Standing::Failed),
        ] {
            let said = ids.iter().map(|id| (id.clone(), standing));
            self.told_routers.extend(said);
        }
        let said = changes.floating_ips.iter();
        self.told_floating.extend(said.map(|id| (*id, now)));
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
            let is_there = plugged.contains_key(&id) && port.admin_state_up;
            let is_up = is_there && stands(pass, "port", &id);
            // A port that is there and does not stand is being worked on, or was not looked at yet
            // by an agent that has just started. Said to be down, other hosts would unlearn it.
            let settled = is_up || !is_there;
            if settled && self.has_to_be_said(port, &id, is_up) {
                let list = if is_up {
                    &mut changes.up
                } else {
                    &mut changes.down
                };
                list.push(id);
            }
        }
        changes.dhcp_ready = self.dhcp_ready(view, pass);
        self.routers(view, pass, &mut changes);
        changes
    }

    fn routers(&mut self, view: &View, pass: &Pass, changes: &mut Changes) {
        self.told_floating
            .retain(|id, _| view.floating_ips.contains_key(id));
        let wrong = &mut self.wrong_since;
        wrong.retain(|id, _| view.router_roles.contains_key(id));
        // Of one that comes back it has to be said again.
        let here: BTreeSet<String> = view.router_roles.keys().map(ToString::to_string).collect();
        self.told_routers.retain(|id, _| here.contains(id));
        for (router, role) in &view.router_roles {
            let id = router.to_string();
            let found = view.routers.get(router);
            let standing = match found.is_some_and(|found| found.admin_state_up) {
                true => self.standing(*router, pass),
                false => Standing::Down,
            };
            let waiting = match standing {
                Standing::Up => self.waiting_floating_ips(view, role),
                _ => Vec::new(),
            };
            if self.told_routers.get(&id) != Some(&standing) || !waiting.is_empty() {
                let list = match standing {
                    Standing::Up => &mut changes.routers_up,
                    Standing::Down => &mut changes.routers_down,
                    Standing::Failed => &mut changes.routers_failed,
                };
                list.push(id);
                changes.floating_ips.extend(waiting);
            }
        }
    }

    fn standing(&mut self, router: RouterId, pass: &Pass) -> Standing {
        let id = router.to_string();
        if !is_wrong(pass, "router", &id) {
            self.wrong_since.remove(&router);
            return Standing::of(None, waits(pass, "router", &id));
        }
        let since = self.wrong_since.entry(router).or_insert_with(Instant::now);
        Standing::of(Some(since.elapsed()), false)
    }

    /// Floating IPs of a router that this host serves and that the server holds down still.
    fn waiting_floating_ips(&self, view: &View, role: &RouterRole) -> Vec<FloatingIpId> {
        let floating_ips = view.floating_ips.values();
        let mine = floating_ips.filter(|it| it.router_id == Some(role.router_id));
        let down = mine.filter(|it| it.status != FloatingIpStatus::Active);
        let served = down.filter(|it| {
            let port = it.port_id.and_then(|port| view.ports.get(&port));
            let host = port.and_then(|port| port.host());
            let is_central = host.is_none_or(|host| !view.has_own_way_out(host));
            role.centralized
                || (role.snat && is_central)
                || (host == Some(&self.host) && !is_central)
        });
        let ids = served.map(|it| it.id);
        ids.filter(|id| {
            let told = self.told_floating.get(id);
            told.is_none_or(|at| at.elapsed() > AGAIN)
        })
        .collect()
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
    !is_wrong(pass, kind, id) && !waits(pass, kind, id)
}

/// Something that an object asked for is missing or refused.
fn is_wrong(pass: &Pass, kind: &str, id: &str) -> bool {
    let mut left = pass.left.iter().map(|drift| &drift.why);
    let mut problems = pass.problems.iter().map(|problem| &problem.why);
    left.any(|why| concerns(why, kind, id)) || problems.any(|why| concerns(why, kind, id))
}

fn waits(pass: &Pass, kind: &str, id: &str) -> bool {
    let mut waiting = pass.waiting.iter().map(|waiting| &waiting.why);
    waiting.any(|why| concerns(why, kind, id))
}

fn concerns(why: &host::Why, kind: &str, id: &str) -> bool {
    let mut causes = why.causes.iter();
    causes.any(|cause| cause.kind == kind && cause.id == id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ROUTER: &str = "00000000-0000-4000-8000-000000000001";

    fn view(status: &str, host: &str) -> View {
        let meta = json!({"created_at": 0, "updated_at": 0, "revision_number": 0});
        let port_id = "00000000-0000-4000-8000-000000000002";
        let port = json!({
            "id": port_id, "project_id": "p", "network_id": ROUTER, "admin_state_up": true,
            "status": "ACTIVE", "mac_address": "fa:16:3e:00:00:01", "port_security_enabled": true,
            "bindings": [{"host": host, "status": "ACTIVE", "vif_type": "ovs"}], "meta": meta,
        });
        let floating_ip = json!({
            "id": "00000000-0000-4000-8000-000000000003", "project_id": "p",
            "floating_network_id": ROUTER, "floating_ip_address": "172.24.4.9",
            "floating_port_id": ROUTER, "port_id": port_id, "router_id": ROUTER,
            "status": status, "meta": meta,
        });
        let mut view = View::default();
        let peer = |host, mode| json!({"host": host, "agent_mode": mode});
        for item in [
            json!({"kind": "port", "value": port}),
            json!({"kind": "floatingip", "value": floating_ip}),
            json!({"kind": "peer", "value": peer("c1", "dvr")}),
            json!({"kind": "peer", "value": peer("c3", "dvr_no_external")}),
        ] {
            view.put(serde_json::from_value(item).expect("an item"));
        }
        view
    }

    fn role(centralized: bool) -> RouterRole {
        RouterRole {
            router_id: ROUTER.parse().expect("an id"),
            centralized,
            distributed: !centralized,
            snat: false,
            contested: false,
        }
    }

    #[test]
    fn a_router_fails_when_it_stays_wrong_and_is_down_while_it_is_worked_on() {
        let second = Duration::from_secs(1);
        assert_eq!(Standing::of(None, false), Standing::Up);
        assert_eq!(Standing::of(None, true), Standing::Down);
        assert_eq!(Standing::of(Some(second), false), Standing::Down);
        assert_eq!(Standing::of(Some(FAILED + second), false), Standing::Failed);
    }

    #[test]
    fn a_floating_ip_of_a_host_without_a_way_out_is_the_source_nats() {
        let snat = RouterRole {
            snat: true,
            ..role(false)
        };
        let ports = Ports::new("net");
        let waiting = |host, role| ports.waiting_floating_ips(&view("DOWN", host), role).len();
        assert_eq!(waiting("c3", &snat), 1);
        assert_eq!(waiting("c1", &snat), 0);
        let there = Ports::new("c3");
        let view = view("DOWN", "c3");
        assert!(there.waiting_floating_ips(&view, &role(false)).is_empty());
    }

    #[test]
    fn a_floating_ip_that_the_server_holds_down_is_said_by_the_host_that_serves_it() {
        let mut ports = Ports::new("c1");
        let waiting = |ports: &Ports, status, host, centralized| {
            ports.waiting_floating_ips(&view(status, host), &role(centralized))
        };
        assert_eq!(waiting(&ports, "DOWN", "c1", false).len(), 1);
        assert!(waiting(&ports, "ACTIVE", "c1", false).is_empty());
        assert!(waiting(&ports, "DOWN", "c2", false).is_empty());
        let floating_ips = waiting(&ports, "DOWN", "c2", true);
        assert_eq!(floating_ips.len(), 1, "a centralized router serves all");
        ports.told(&Changes {
            floating_ips,
            ..Changes::default()
        });
        assert!(waiting(&ports, "DOWN", "c1", false).is_empty(), "just said");
    }
}

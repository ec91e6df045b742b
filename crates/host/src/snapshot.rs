//! A host as a folder of the tools' own texts: what a plain script collects on any host, ours or
//! not. Reading is a pure function of the files' contents; a file that cannot be read is a
//! problem that is named, and the rest is read all the same.
mod write;

use std::collections::BTreeMap;

pub use write::write;

use crate::netns::{self, Family, Netns};
use crate::ovs::{self, Bridge, Tables};
use crate::process::{self, File};
use crate::{HostState, NsName, ParseError, ipset, iptables};

/// Contents by path below the host's folder.
pub type Files = BTreeMap<String, String>;

/// A file that could not be read, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {error}")]
pub struct Problem {
    pub path: String,
    pub error: ParseError,
}

/// What a folder says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub state: HostState,
    pub problems: Vec<Problem>,
    /// Files that say nothing of forwarding, or nothing that this version reads.
    pub unread: Vec<String>,
}

/// Read a host out of its files.
pub fn load(name: &str, files: &Files) -> Snapshot {
    let mut reader = Reader {
        files,
        snapshot: Snapshot {
            state: HostState::new(name),
            ..Snapshot::default()
        },
        used: Vec::new(),
    };
    reader.bridges();
    reader.namespaces();
    reader.state_files();
    if let Some(processes) = reader.read("ps.txt", process::read_ps) {
        reader.snapshot.state.processes = processes;
    }
    let unread = files.keys().filter(|path| !reader.used.contains(path));
    reader.snapshot.unread = unread.cloned().collect();
    reader.snapshot
}

struct Reader<'a> {
    files: &'a Files,
    snapshot: Snapshot,
    used: Vec<&'a String>,
}

impl Reader<'_> {
    /// The content of a file through its parser; a file that is not there is no problem.
    fn read<T>(
        &mut self,
        path: &str,
        parse: impl FnOnce(&str) -> Result<T, ParseError>,
    ) -> Option<T> {
        let (path, text) = self.files.get_key_value(path)?;
        self.used.push(path);
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let path = path.clone();
                self.snapshot.problems.push(Problem { path, error });
                None
            }
        }
    }

    /// One of OVSDB's tables: JSON knows more than the listing.
    fn table(&mut self, name: &str) -> Vec<ovs::Row> {
        let json = self.read(&format!("ovsdb-{name}.json"), ovs::read_table_json);
        let text = self.read(&format!("ovsdb-{name}.txt"), ovs::read_table_text);
        json.or(text).unwrap_or_default()
    }

    fn bridges(&mut self) {
        let tables = Tables {
            bridges: self.table("Bridge"),
            ports: self.table("Port"),
            interfaces: self.table("Interface"),
            controllers: self.table("Controller"),
        };
        let mut bridges = tables.bridges();
        let shown = self.read("ovs-vsctl-show.txt", ovs::read_show);
        let has_ports = bridges.values().any(|bridge| !bridge.ports.is_empty());
        if let Some(shown) = shown.filter(|_| !has_ports) {
            bridges = shown;
            tables.enrich(&mut bridges);
        }
        for name in self.dumped_bridges() {
            bridges.entry(name).or_default();
        }
        for (name, bridge) in &mut bridges {
            self.bridge(name, bridge);
        }
        self.snapshot.state.bridges = bridges;
    }

    /// Bridges that flows were dumped of, whatever the database says.
    fn dumped_bridges(&self) -> Vec<String> {
        let names = self.files.keys().filter_map(|path| {
            let name = path.strip_prefix("flows-")?.strip_suffix(".txt")?;
            Some(name.split('.').next()?.to_owned())
        });
        names.collect()
    }

    fn bridge(&mut self, name: &str, bridge: &mut Bridge) {
        let shown = self.read(&format!("ofctl-show-{name}.txt"), |text| {
            Ok(ovs::read_ofctl_show(text))
        });
        ovs::fill_ofports(bridge, &shown.unwrap_or_default());
        let mut dumps = Vec::new();
        for form in [".names", ".stats", "", ".nonames"] {
            dumps.extend(self.read(&format!("flows-{name}{form}.txt"), ovs::read_flows));
        }
        bridge.groups = self
            .read(&format!("groups-{name}.txt"), ovs::read_groups)
            .unwrap_or_default();
        bridge.meters = self
            .read(&format!("meters-{name}.txt"), |t| Ok(ovs::read_meters(t)))
            .unwrap_or_default();
        bridge.fdb = self
            .read(&format!("fdb-{name}.txt"), ovs::read_fdb)
            .unwrap_or_default();
        let mut dumps = dumps.into_iter();
        bridge.flows = dumps.next().unwrap_or_default().into();
        for (key, flow) in dumps.flatten() {
            // Of further dumps of the same flows only the counters say something new.
            if let Some(known) = bridge.flows.get_mut(&key) {
                known.stats.0 = known.stats.0.take().or(flow.stats.0);
            }
        }
        bridge.resolve_ports();
    }

    fn namespaces(&mut self) {
        let listed = self.read("netns.txt", |text| Ok(netns::read_netns_list(text)));
        let mut names = listed.unwrap_or_default();
        let folders = self.files.keys().filter_map(|path| {
            let (folder, _) = path.strip_prefix("ns-")?.split_once('/')?;
            Some(NsName::new(folder))
        });
        names.extend(folders);
        names.sort();
        names.dedup();
        for name in names {
            let mut netns = Netns::default();
            self.namespace(&format!("ns-{name}"), &mut netns);
            self.snapshot.state.netns.insert(name, netns.into());
        }
    }

    fn namespace(&mut self, folder: &str, netns: &mut Netns) {
        let path = |file: &str| format!("{folder}/{file}.txt");
        for file in ["ip-a", "bridges"] {
            if let Some(found) = self.read(&path(file), netns::read_ip_addr) {
                // What `ip a` said first stays: the second listing shows fewer things.
                for (name, link) in found.links {
                    netns.links.entry(name).or_insert(link);
                }
                netns.addrs.extend(found.addrs);
            }
        }
        self.read(&path("bridge-link"), |text| {
            netns::read_bridge_link(text, &mut netns.links)
        });
        for (family, ip, tables) in [
            (Family::V4, "ip", "iptables-save"),
            (Family::V6, "ip6", "ip6tables-save"),
        ] {
            let routes = self.read(&path(&format!("{ip}-route-all")), |text| {
                netns::read_routes(text, family)
            });
            for (table, routes) in routes.unwrap_or_default() {
                netns.routes.entry(table).or_default().extend(routes);
            }
            let rules = self.read(&path(&format!("{ip}-rule")), |text| {
                netns::read_rules(text, family)
            });
            netns.rules.extend(rules.unwrap_or_default());
            let neighbours = self.read(&path(&format!("{ip}-neigh")), netns::read_neighbours);
            netns.neighbours.extend(neighbours.unwrap_or_default());
            let tables = self.read(&path(tables), iptables::read_iptables);
            // A file without a table says what no file says.
            if let Some(tables) = tables.filter(|tables| !tables.is_empty()) {
                netns.iptables.insert(family, tables);
            }
        }
        for file in ["ipset-list", "ipset-save"] {
            if let Some(sets) = self.read(&path(file), ipset::read_ipsets) {
                netns.ipsets = sets;
            }
        }
        netns.sysctls = self
            .read(&path("sysctl"), netns::read_sysctls)
            .unwrap_or_default();
        netns.listeners = self
            .read(&path("ss-listen"), netns::read_listeners)
            .unwrap_or_default();
        netns.conntrack = self
            .read(&path("conntrack"), netns::read_conntrack)
            .unwrap_or_default();
    }

    /// Files of dnsmasq and the like, under the names they have below the state folder.
    fn state_files(&mut self) {
        for (path, text) in self.files {
            if let Some(name) = path.strip_prefix("state/") {
                self.used.push(path);
                let files = &mut self.snapshot.state.files;
                files.insert(name.to_owned(), File::read(text));
            }
        }
    }
}

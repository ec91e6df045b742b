//! From the difference between bridges wanted and bridges observed to the operations of one
//! transaction. What is asked for must be cut to what is ours beforehand (see [`crate::ours`]).
use std::collections::BTreeMap;

use host::diff::{Put, diff};
use host::ovs::{Bridge, Interface, Port, VlanMode};
use serde_json::{Map, Value as Json, json};

use super::cache::Cache;
use super::value::{map_json, option_json, set_json};

/// Milliseconds between tries to reach a controller that is not there.
const SELDOM_MS: u32 = 3_600_000;

/// The operations that turn `have` into `want`. Empty when nothing differs.
pub fn operations(
    cache: &Cache,
    have: &BTreeMap<String, Bridge>,
    want: &BTreeMap<String, Bridge>,
) -> Vec<Json> {
    let mut writer = Writer {
        cache,
        operations: Vec::new(),
        named: 0,
    };
    let difference = diff(have, want);
    for (name, _) in &difference.remove {
        writer.remove_bridge(name);
    }
    for put in &difference.put {
        writer.put_bridge(put);
    }
    writer.operations
}

struct Writer<'a> {
    cache: &'a Cache,
    operations: Vec<Json>,
    /// How many rows were given a name within the transaction.
    named: usize,
}

impl Writer<'_> {
    fn name_row(&mut self) -> String {
        self.named += 1;
        format!("row{}", self.named)
    }

    fn insert(&mut self, table: &str, row: &Map<String, Json>) -> Json {
        let name = self.name_row();
        self.operations
            .push(json!({"op": "insert", "table": table, "row": row, "uuid-name": name}));
        json!(["named-uuid", name])
    }

    /// Change the row of this name; nothing to say is nothing said.
    fn update(&mut self, table: &str, name: &str, changes: Changes) {
        let by_name = json!([["name", "==", name]]);
        if !changes.row.is_empty() {
            let row = changes.row;
            self.operations
                .push(json!({"op": "update", "table": table, "where": by_name, "row": row}));
        }
        for mutation in changes.mutations {
            self.mutate(table, &by_name, mutation);
        }
    }

    fn mutate(&mut self, table: &str, filter: &Json, mutation: impl Into<Json>) {
        self.operations.push(
            json!({"op": "mutate", "table": table, "where": filter, "mutations": [mutation.into()]}),
        );
    }

    fn remove_bridge(&mut self, name: &str) {
        if let Some((id, _)) = self.cache.named("Bridge", name) {
            let rows = set_json([json!(["uuid", id])]);
            self.mutate(
                "Open_vSwitch",
                &json!([]),
                json!(["bridges", "delete", rows]),
            );
        }
    }

    fn put_bridge(&mut self, put: &Put<'_, String, Bridge>) {
        let Some(old) = put.old else {
            return self.add_bridge(put.key, put.new);
        };
        let mut changes = bridge_changes(old, put.new);
        if old.controllers != put.new.controllers {
            let targets = put.new.controllers.iter();
            let rows: Vec<Json> = targets.map(|target| self.add_controller(target)).collect();
            changes.row.insert("controller".to_owned(), set_json(rows));
        }
        self.update("Bridge", put.key, changes);
        let ports = diff(&old.ports, &put.new.ports);
        let gone: Vec<Json> = ports
            .remove
            .iter()
            .filter_map(|(name, _)| self.cache.named("Port", name))
            .map(|(id, _)| json!(["uuid", id]))
            .collect();
        let by_name = json!([["name", "==", put.key]]);
        if !gone.is_empty() {
            self.mutate(
                "Bridge",
                &by_name,
                json!(["ports", "delete", set_json(gone)]),
            );
        }
        let mut new = Vec::new();
        for port in &ports.put {
            match port.old {
                Some(old) => self.change_port(port.key, old, port.new),
                None => new.push(self.add_port(port.key, port.new)),
            }
        }
        if !new.is_empty() {
            self.mutate(
                "Bridge",
                &by_name,
                json!(["ports", "insert", set_json(new)]),
            );
        }
    }

    /// One that nobody answers for: it is seldom tried.
    fn add_controller(&mut self, target: &str) -> Json {
        let row = Map::from_iter([
            ("target".to_owned(), json!(target)),
            ("max_backoff".to_owned(), json!(SELDOM_MS)),
        ]);
        self.insert("Controller", &row)
    }

    /// A bridge comes with its port of the same name.
    fn add_bridge(&mut self, name: &str, bridge: &Bridge) {
        let own = Port {
            interfaces: BTreeMap::from([(
                name.to_owned(),
                Interface {
                    kind: "internal".to_owned(),
                    ..Interface::default()
                },
            )]),
            ..Port::default()
        };
        let own = (!bridge.ports.contains_key(name)).then_some((name, &own));
        let ports = bridge
            .ports
            .iter()
            .map(|(name, port)| (name.as_str(), &**port))
            .chain(own);
        let ports: Vec<Json> = ports
            .map(|(name, port)| self.add_port(name, port))
            .collect();
        let mut row = bridge_changes(&Bridge::default(), bridge).into_row();
        row.insert("name".to_owned(), json!(name));
        row.insert("ports".to_owned(), set_json(ports));
        let bridge = self.insert("Bridge", &row);
        let rows = set_json([bridge]);
        self.mutate(
            "Open_vSwitch",
            &json!([]),
            json!(["bridges", "insert", rows]),
        );
    }

    fn add_port(&mut self, name: &str, port: &Port) -> Json {
        let mut interfaces = Vec::new();
        for (name, interface) in &port.interfaces {
            let mut row = interface_changes(&Interface::default(), interface).into_row();
            row.insert("name".to_owned(), json!(name));
            interfaces.push(self.insert("Interface", &row));
        }
        let mut row = port_changes(&Port::default(), port).into_row();
        row.insert("name".to_owned(), json!(name));
        row.insert("interfaces".to_owned(), set_json(interfaces));
        self.insert("Port", &row)
    }

    fn change_port(&mut self, name: &str, old: &Port, new: &Port) {
        self.update("Port", name, port_changes(old, new));
        for put in &diff(&old.interfaces, &new.interfaces).put {
            if let Some(old) = put.old {
                self.update("Interface", put.key, interface_changes(old, put.new));
            }
        }
    }
}

/// What to write of a row: columns whose content differs, and keys of maps, of which others may
/// keep some of their own.
#[derive(Default)]
struct Changes {
    row: Map<String, Json>,
    mutations: Vec<Json>,
    /// Maps' new content, for a row that is not there yet.
    maps: Map<String, Json>,
}

impl Changes {
    fn column<T: PartialEq>(&mut self, name: &str, old: &T, new: &T, json: impl Fn(&T) -> Json) {
        if old != new {
            self.row.insert(name.to_owned(), json(new));
        }
    }

    fn map(&mut self, name: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        let difference = diff(old, new);
        let changed = difference
            .put
            .iter()
            .filter(|put| put.old.is_some())
            .map(|put| put.key);
        let gone = difference.remove.iter().map(|(key, _)| *key);
        let gone: Vec<Json> = gone.chain(changed).map(|key| json!(key)).collect();
        if !gone.is_empty() {
            self.mutations.push(json!([name, "delete", set_json(gone)]));
        }
        let pairs = difference
            .put
            .iter()
            .map(|put| (put.key.clone(), put.new.clone()));
        let pairs: BTreeMap<String, String> = pairs.collect();
        if !pairs.is_empty() {
            self.mutations
                .push(json!([name, "insert", map_json(&pairs)]));
            self.maps.insert(name.to_owned(), map_json(&pairs));
        }
    }

    /// As the columns of a new row.
    fn into_row(self) -> Map<String, Json> {
        self.row.into_iter().chain(self.maps).collect()
    }
}

fn bridge_changes(old: &Bridge, new: &Bridge) -> Changes {
    let mut changes = Changes::default();
    changes.column(
        "datapath_type",
        &old.datapath_type,
        &new.datapath_type,
        |text| json!(text),
    );
    changes.column("fail_mode", &old.fail_mode, &new.fail_mode, |mode| {
        option_json(mode.clone())
    });
    changes.column("protocols", &old.protocols, &new.protocols, |set| {
        set_json(set.clone())
    });
    changes.map("other_config", &old.other_config, &new.other_config);
    changes.map("external_ids", &old.external_ids, &new.external_ids);
    changes
}

fn port_changes(old: &Port, new: &Port) -> Changes {
    let mut changes = Changes::default();
    changes.column("tag", &old.tag, &new.tag, |tag| option_json(*tag));
    let mode = |mode: &Option<VlanMode>| option_json(mode.map(vlan_mode));
    changes.column("vlan_mode", &old.vlan_mode, &new.vlan_mode, mode);
    changes.column("trunks", &old.trunks, &new.trunks, |set| {
        set_json(set.iter().copied())
    });
    changes.map("other_config", &old.other_config, &new.other_config);
    changes.map("external_ids", &old.external_ids, &new.external_ids);
    changes
}

fn vlan_mode(mode: VlanMode) -> &'static str {
    match mode {
        VlanMode::Access => "access",
        VlanMode::Trunk => "trunk",
        VlanMode::NativeTagged => "native-tagged",
        VlanMode::NativeUntagged => "native-untagged",
        VlanMode::Dot1qTunnel => "dot1q-tunnel",
    }
}

fn interface_changes(old: &Interface, new: &Interface) -> Changes {
    let mut changes = Changes::default();
    changes.column("type", &old.kind, &new.kind, |text| json!(text));
    changes.map("options", &old.options, &new.options);
    changes.map("other_config", &old.other_config, &new.other_config);
    changes.map("external_ids", &old.external_ids, &new.external_ids);
    changes.column("mac", &old.mac, &new.mac, |mac| {
        option_json(mac.map(|mac| mac.to_string()))
    });
    changes.column("mtu_request", &old.mtu_request, &new.mtu_request, |mtu| {
        option_json(*mtu)
    });
    changes.column(
        "ofport_request",
        &old.ofport_request,
        &new.ofport_request,
        |n| option_json(*n),
    );
    changes
}

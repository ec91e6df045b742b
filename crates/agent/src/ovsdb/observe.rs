//! From the database's rows to the bridges of a host state (without flows: those are asked of
//! the switch).
use std::collections::BTreeMap;

use host::Shared;
use host::ovs::bridge::BridgePorts;
use host::ovs::{Bridge, Interface, Port, VlanMode};
use uuid::Uuid;

use super::cache::{Cache, Row};

/// Bridges as they were made of rows. A port whose rows are the same is the same port: among
/// hundreds a change most often concerns one.
#[derive(Default)]
pub struct Bridges {
    ports: BTreeMap<Uuid, Made>,
}

/// A port, and the rows that it was made of: its own, its interfaces'.
struct Made {
    rows: Vec<Shared<Row>>,
    port: Shared<Port>,
}

impl Bridges {
    /// All bridges with their ports.
    pub fn read(&mut self, cache: &Cache) -> BTreeMap<String, Bridge> {
        let before = std::mem::take(&mut self.ports);
        let mut bridges = BTreeMap::new();
        for (_, row) in cache.rows("Bridge") {
            let mut ports = BridgePorts::new();
            for id in row.references("ports") {
                let Some(made) = made(cache, id, before.get(&id)) else {
                    continue;
                };
                if let Some(name) = made.rows.first().and_then(|row| row.text("name")) {
                    ports.insert(name.to_owned(), made.port.clone());
                }
                self.ports.insert(id, made);
            }
            if let Some(name) = row.text("name") {
                bridges.insert(name.to_owned(), bridge(cache, row, ports));
            }
        }
        bridges
    }
}

fn made(cache: &Cache, id: Uuid, before: Option<&Made>) -> Option<Made> {
    let own = cache.row("Port", id)?;
    let interfaces = own.references("interfaces");
    let interfaces = interfaces.filter_map(|id| cache.row("Interface", id));
    let rows: Vec<Shared<Row>> = std::iter::once(own).chain(interfaces).cloned().collect();
    let is_same = |before: &&Made| {
        let pairs = before.rows.iter().zip(&rows);
        before.rows.len() == rows.len() && pairs.into_iter().all(|(old, new)| old.is(new))
    };
    let port = match before.filter(is_same) {
        Some(before) => before.port.clone(),
        None => port(own, &rows[1..]).into(),
    };
    Some(Made { rows, port })
}

fn bridge(cache: &Cache, row: &Row, ports: BridgePorts) -> Bridge {
    let controllers = row
        .references("controller")
        .filter_map(|id| cache.row("Controller", id));
    Bridge {
        datapath_type: row.text("datapath_type").unwrap_or_default().to_owned(),
        fail_mode: row.text("fail_mode").map(str::to_owned),
        protocols: row.texts("protocols"),
        controllers: controllers
            .filter_map(|row| row.text("target").map(str::to_owned))
            .collect(),
        other_config: row.map("other_config"),
        external_ids: row.map("external_ids"),
        ports: ports.into(),
        datapath_id: row.text("datapath_id").map(str::to_owned).into(),
        ..Bridge::default()
    }
}

fn port(row: &Row, interfaces: &[Shared<Row>]) -> Port {
    Port {
        tag: row.number("tag").and_then(|tag| tag.try_into().ok()),
        vlan_mode: row.text("vlan_mode").and_then(vlan_mode),
        trunks: row
            .numbers("trunks")
            .filter_map(|tag| tag.try_into().ok())
            .collect(),
        other_config: row.map("other_config"),
        external_ids: row.map("external_ids"),
        interfaces: interfaces
            .iter()
            .filter_map(|row| Some((row.text("name")?.to_owned(), interface(row))))
            .collect(),
        ..Port::default()
    }
}

fn vlan_mode(word: &str) -> Option<VlanMode> {
    match word {
        "access" => Some(VlanMode::Access),
        "trunk" => Some(VlanMode::Trunk),
        "native-tagged" => Some(VlanMode::NativeTagged),
        "native-untagged" => Some(VlanMode::NativeUntagged),
        "dot1q-tunnel" => Some(VlanMode::Dot1qTunnel),
        _ => None,
    }
}

fn interface(row: &Row) -> Interface {
    let number = |column| row.number(column).and_then(|n| u32::try_from(n).ok());
    let mac = |column| row.text(column).and_then(|text| text.parse().ok());
    let text = |column| row.text(column).map(str::to_owned);
    Interface {
        kind: text("type").unwrap_or_default(),
        options: row.map("options"),
        other_config: row.map("other_config"),
        external_ids: row.map("external_ids"),
        mac: mac("mac"),
        mtu_request: number("mtu_request"),
        ofport_request: number("ofport_request"),
        // A port that the switch could not make has -1.
        ofport: number("ofport").into(),
        mac_in_use: mac("mac_in_use").into(),
        mtu: number("mtu").into(),
        error: text("error").into(),
        admin_state: text("admin_state").into(),
        link_state: text("link_state").into(),
        ..Interface::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_port_is_made_anew_when_a_row_of_it_changes_and_not_before() {
        let id = |n: u8| format!("018677df-b93b-451b-8e8e-51deaa6c68{n:02}");
        let mut cache = Cache::default();
        let row = |name: &str, column: &str, of: u8| json!({"initial": {"name": name, column: ["uuid", id(of)]}});
        cache
            .follow(&json!({
                "Bridge": {id(1): {"initial": {"name": "br-int",
                    "ports": ["set", [["uuid", id(2)], ["uuid", id(3)]]]}}},
                "Port": {id(2): row("a", "interfaces", 4), id(3): row("b", "interfaces", 5)},
                "Interface": {id(4): {"initial": {"name": "a"}}, id(5): {"initial": {"name": "b"}}},
            }))
            .expect("rows");
        let mut bridges = Bridges::default();
        let before = bridges.read(&cache)["br-int"].ports.clone();
        let number = json!({"modify": {"ofport": 7}});
        cache
            .follow(&json!({"Interface": {id(5): number}}))
            .expect("a change");
        let after = bridges.read(&cache)["br-int"].ports.clone();
        assert!(before["a"].is(&after["a"]));
        assert_eq!(before["b"].interfaces["b"].ofport.0, None);
        assert_eq!(after["b"].interfaces["b"].ofport.0, Some(7));
    }
}

//! From the database's rows to the bridges of a host state (without flows: those are asked of
//! the switch).
use std::collections::BTreeMap;

use host::ovs::{Bridge, Interface, Port, VlanMode};
use uuid::Uuid;

use super::cache::{Cache, Row};

/// All bridges with their ports.
pub fn bridges(cache: &Cache) -> BTreeMap<String, Bridge> {
    let named = |(_, row): (Uuid, &Row)| Some((row.text("name")?.to_owned(), bridge(cache, row)));
    cache.rows("Bridge").filter_map(named).collect()
}

fn bridge(cache: &Cache, row: &Row) -> Bridge {
    let ports = row
        .references("ports")
        .filter_map(|id| cache.row("Port", id));
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
        ports: ports
            .filter_map(|row| Some((row.text("name")?.to_owned(), port(cache, row))))
            .collect(),
        datapath_id: row.text("datapath_id").map(str::to_owned).into(),
        ..Bridge::default()
    }
}

fn port(cache: &Cache, row: &Row) -> Port {
    let interfaces = row
        .references("interfaces")
        .filter_map(|id| cache.row("Interface", id));
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
    }
}

//! OpenStack's form: a few JSON documents.

use serde_json::{Map, Value, json};

use super::{Answer, Instance, list};

const VERSIONS: [&str; 2] = ["2018-08-27", "latest"];

pub(super) fn read(instance: &Instance, path: &[&str]) -> Answer {
    match path {
        [] => list(&VERSIONS),
        [version, rest @ ..] if VERSIONS.contains(version) => versioned(instance, rest),
        _ => Answer::NotFound,
    }
}

fn versioned(instance: &Instance, path: &[&str]) -> Answer {
    let json = |value: Value| Answer::Json(value.to_string());
    match path {
        [] => list(&[
            "meta_data.json",
            "network_data.json",
            "user_data",
            "vendor_data.json",
        ]),
        ["meta_data.json"] => json(meta_data(instance)),
        ["network_data.json"] => json(network_data(instance)),
        ["vendor_data.json"] => json(json!({})),
        ["user_data"] => instance
            .user_data
            .clone()
            .map_or(Answer::NotFound, Answer::Bytes),
        _ => Answer::NotFound,
    }
}

fn meta_data(instance: &Instance) -> Value {
    let named = instance
        .keys
        .iter()
        .map(|key| (key.name.clone(), json!(key.data)));
    let keys = instance.keys.iter();
    let keys = keys.map(|key| json!({"name": key.name, "type": "ssh", "data": key.data}));
    json!({
        "uuid": instance.id,
        "name": instance.name,
        "hostname": instance.name,
        "project_id": instance.project,
        "availability_zone": "nova",
        "launch_index": 0,
        "devices": [],
        "public_keys": named.collect::<Map<_, _>>(),
        "keys": keys.collect::<Vec<_>>(),
    })
}

/// The instance's network cards, and how each gets its addresses.
fn network_data(instance: &Instance) -> Value {
    let links = instance.ports.iter().map(|port| {
        json!({
            "id": port.device,
            "vif_id": port.id,
            "type": "ovs",
            "mtu": port.mtu,
            "ethernet_mac_address": port.mac,
        })
    });
    let networks = instance.ports.iter().flat_map(|port| {
        port.addresses.iter().enumerate().map(move |(n, address)| {
            json!({
                "id": format!("network{n}"),
                "type": if address.is_ipv4() { "ipv4_dhcp" } else { "ipv6_dhcp" },
                "link": port.device,
                "network_id": port.network,
            })
        })
    });
    json!({
        "links": links.collect::<Vec<_>>(),
        "networks": networks.collect::<Vec<_>>(),
        "services": [],
    })
}

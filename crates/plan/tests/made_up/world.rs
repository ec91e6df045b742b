//! Intent in few words, and what is planned of it, line by line.

use std::sync::Arc;

use host::{NsName, iptables::print_rule, netns::Family, ovs::FlowLine};
use intent::{
    Mac, Network, NetworkId, NetworkType, Port, PortId, SecurityGroup, SecurityGroupId,
    SecurityGroupRule, Segment, View,
    view::{Item, Member, Neighbour, Peer},
};
use plan::{Plan, Settings};
use serde_json::{Value, json};

pub(crate) const HOST: &str = "here";

pub(crate) fn uuid(kind: u8, number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-0000000000{kind:02x}")
}

pub(crate) fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of intent")
}

pub(crate) fn meta() -> Value {
    json!({"created_at": 0, "updated_at": 0, "revision_number": 1})
}

pub(crate) fn network(number: usize) -> Network {
    read(
        json!({"id": uuid(1, number), "project_id": "p", "name": "n", "admin_state_up": true,
        "mtu": 1450, "port_security_enabled": true, "meta": meta()}),
    )
}

pub(crate) fn segment(number: usize, kind: NetworkType, id: Option<u32>) -> Segment {
    let physical = matches!(kind, NetworkType::Flat | NetworkType::Vlan).then_some("physnet");
    read(
        json!({"id": uuid(2, number), "network_id": uuid(1, number), "network_type": kind,
        "physical_network": physical, "segmentation_id": id, "meta": meta()}),
    )
}

/// What a test says of a port; the rest follows.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) network: usize,
    pub(crate) owner: &'static str,
    pub(crate) hybrid: bool,
    pub(crate) secure: bool,
    pub(crate) up: bool,
    pub(crate) addresses: Vec<&'static str>,
    pub(crate) pairs: Vec<&'static str>,
    pub(crate) groups: Vec<usize>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            network: 1,
            owner: "compute:nova",
            hybrid: true,
            secure: true,
            up: true,
            addresses: vec!["10.0.0.11"],
            pairs: Vec::new(),
            groups: vec![1],
        }
    }
}

pub(crate) fn mac(number: usize) -> Mac {
    Mac([0xfa, 0x16, 0x3e, 0, 0, number as u8])
}

pub(crate) fn port(number: usize, wish: &Wish) -> Port {
    let fixed = wish.addresses.iter();
    let fixed = fixed.map(|ip| json!({"subnet_id": uuid(3, wish.network), "ip_address": ip}));
    let pairs = wish.pairs.iter();
    let pairs = pairs.map(|ip| json!({"ip_address": ip, "mac_address": mac(number)}));
    let groups: Vec<String> = wish.groups.iter().map(|g| uuid(5, *g)).collect();
    read(
        json!({"id": uuid(4, number), "project_id": "p", "network_id": uuid(1, wish.network),
        "admin_state_up": wish.up, "status": "ACTIVE", "mac_address": mac(number),
        "fixed_ips": fixed.collect::<Vec<_>>(), "allowed_address_pairs": pairs.collect::<Vec<_>>(),
        "device_owner": wish.owner, "device_id": uuid(9, number),
        "security_groups": groups, "port_security_enabled": wish.secure, "meta": meta(),
        "bindings": [{"host": HOST, "status": "ACTIVE", "vif_type": "ovs",
            "vif_details": {"ovs_hybrid_plug": wish.hybrid}}]}),
    )
}

pub(crate) fn group(number: usize, stateful: bool) -> SecurityGroup {
    read(
        json!({"id": uuid(5, number), "project_id": "p", "name": "g", "stateful": stateful,
        "meta": meta()}),
    )
}

pub(crate) fn rule(number: usize, group: usize, words: Value) -> SecurityGroupRule {
    let mut rule = json!({"id": uuid(6, number), "project_id": "p",
        "security_group_id": uuid(5, group), "direction": "ingress", "ethertype": "IPv4",
        "meta": meta()});
    let (Value::Object(all), Value::Object(words)) = (&mut rule, words) else {
        panic!("a rule is an object");
    };
    all.extend(words);
    read(rule)
}

pub(crate) fn neighbour(
    number: usize,
    network: usize,
    host: &str,
    addresses: &[&str],
) -> Neighbour {
    Neighbour {
        port_id: read::<PortId>(json!(uuid(7, number))),
        network_id: read::<NetworkId>(json!(uuid(1, network))),
        host: host.into(),
        mac_address: mac(0x80 + number),
        addresses: addresses
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect(),
        device_owner: "compute:nova".to_owned(),
    }
}

pub(crate) fn peer(host: &str, ip: &str) -> Peer {
    Peer {
        host: host.into(),
        tunnel_ip: ip.parse().ok(),
        tunnel_types: vec![NetworkType::Vxlan, NetworkType::Gre, NetworkType::Geneve],
        dvr_mac: None,
        agent_mode: None,
    }
}

pub(crate) fn view_of(items: impl IntoIterator<Item = Item>) -> View {
    let mut view = View::default();
    items.into_iter().for_each(|item| view.put(item));
    view
}

pub(crate) fn item<T>(value: T) -> Item
where
    Item: From<Arc<T>>,
{
    Arc::new(value).into()
}

pub(crate) fn settings() -> Settings {
    let mut settings = Settings::new(HOST);
    settings.local_ip = "10.30.0.1".parse().ok();
    settings.tunnel_types = vec![NetworkType::Vxlan, NetworkType::Gre, NetworkType::Geneve];
    settings
        .bridge_mappings
        .insert("physnet".to_owned(), "br-phys".to_owned());
    settings
}

/// One network of a kind with these ports, and a neighbour.
pub(crate) fn one_network(kind: NetworkType, id: Option<u32>, ports: &[Wish]) -> View {
    let ports = ports
        .iter()
        .enumerate()
        .map(|(n, wish)| item(port(n + 1, wish)));
    let items = [
        item(network(1)),
        item(segment(1, kind, id)),
        item(group(1, true)),
        item(neighbour(1, 1, "there", &["10.0.0.21", "fd00::21"])),
        item(peer(HOST, "10.30.0.1")),
        item(peer("there", "10.30.0.2")),
        item(peer("elsewhere", "10.30.0.3")),
    ];
    view_of(items.into_iter().chain(ports))
}

pub(crate) fn flows(plan: &Plan, bridge: &str) -> Vec<String> {
    let flows = &plan.want.bridges[bridge].flows;
    flows
        .iter()
        .map(|(key, flow)| {
            let text = FlowLine(key, flow).to_string();
            text.split_once(", ")
                .map_or(text.clone(), |(_, rest)| rest.to_owned())
        })
        .collect()
}

pub(crate) fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|l| l == line)
}

pub(crate) fn rules(plan: &Plan, family: Family, table: &str, chain: &str) -> Vec<String> {
    let tables = &plan.want.netns[&NsName::root()].iptables[&family];
    let Some(found) = tables[table].chains.get(chain) else {
        return Vec::new();
    };
    found.rules.iter().map(|r| print_rule("C", r)).collect()
}

pub(crate) fn member(group: usize, number: usize, prefixes: &[&str]) -> Member {
    Member {
        group_id: read::<SecurityGroupId>(json!(uuid(5, group))),
        port_id: read::<PortId>(json!(uuid(4, number))),
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
    }
}

//! Ports without an API: what Open vSwitch's own records say of the guests on it. Addresses come
//! from the rules against forged sources. Names and groups stay unknown.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use host::iptables::Condition;
use host::netns::Family;
use host::ovs::Field;
use host::{HostState, NsName};

use crate::cloud::{Cloud, FixedIp, Port};

/// Fill in the guests' ports that the hosts speak of.
pub fn ports(hosts: &BTreeMap<String, HostState>, cloud: &mut Cloud) {
    for (host, state) in hosts {
        for (bridge_name, bridge) in &state.bridges {
            for (name, interface) in bridge.interfaces() {
                let id = interface.external_ids.get("iface-id");
                let mac = interface.external_ids.get("attached-mac");
                let (Some(id), Some(mac)) = (id, mac) else {
                    continue;
                };
                if interface.kind == "internal" || bridge_name != "br-int" {
                    continue;
                }
                let addresses = addresses(state, name, mac);
                let port = Port {
                    id: id.clone(),
                    name: name.trim_start_matches("qvo").to_owned(),
                    mac_address: mac.clone(),
                    host: host.clone(),
                    device_owner: "compute:".to_owned(),
                    fixed_ips: addresses
                        .into_iter()
                        .map(|ip_address| FixedIp {
                            ip_address,
                            subnet_id: String::new(),
                        })
                        .collect(),
                    ..Port::default()
                };
                cloud.ports.insert(id.clone(), port);
            }
        }
    }
}

/// The sources that a port may have, by flows and by iptables.
fn addresses(state: &HostState, port: &str, mac: &str) -> BTreeSet<IpAddr> {
    let mut found = BTreeSet::new();
    for bridge in state.bridges.values() {
        for key in bridge.flows.keys() {
            let on_port = key.matches.in_port.as_ref().map(ToString::to_string);
            if on_port.as_deref().map(|p| p.trim_matches('"')) != Some(port) {
                continue;
            }
            let source = key.matches.exact(Field::ArpSpa);
            found.extend(source.map(|ip| IpAddr::from((ip as u32).to_be_bytes())));
        }
    }
    let root = state.netns.get(&NsName::root());
    let tables = root.and_then(|r| r.iptables.get(&Family::V4));
    let chains = tables.and_then(|t| t.get("filter")).map(|t| &t.chains);
    for rule in chains
        .into_iter()
        .flatten()
        .flat_map(|(_, chain)| &chain.rules)
    {
        let by_mac = |c: &Condition| matches!(c, Condition::Mac(m) if !m.not && m.value.to_string() == mac.to_lowercase());
        if rule.conditions.iter().any(by_mac)
            && let Some(src) = rule.src.as_ref().filter(|s| !s.not)
        {
            found.insert(src.value.addr());
        }
    }
    found
}

//! A cloud that tests make up: what its API would answer, row by row. Hosts are made of it.
#![allow(
    dead_code,
    reason = "each test program is its own and uses what it needs"
)]
use std::collections::BTreeMap;

use serde_json::{Value, json};

/// The collections of a cloud. Routers and servers of DHCP are on `h0`.
#[derive(Default)]
pub(crate) struct MadeUp {
    pub(crate) hosts: usize,
    pub(crate) groups: usize,
    pub(crate) networks: Vec<Value>,
    pub(crate) subnets: Vec<Value>,
    pub(crate) ports: Vec<Value>,
    pub(crate) rules: Vec<Value>,
}

pub(crate) fn id(kind: u32, n: usize) -> String {
    format!("{n:08x}-{kind:04x}-4000-8000-{n:012x}")
}

pub(crate) fn network(n: usize) -> Value {
    json!({
        "id": id(1, n), "name": format!("n{n}"), "project_id": "p", "admin_state_up": true,
        "mtu": 1450, "shared": false, "router:external": false,
        "provider:network_type": "vxlan", "provider:segmentation_id": n + 1,
        "provider:physical_network": null, "port_security_enabled": true,
    })
}

/// `10.N.0.0/24` of a network, without DHCP.
pub(crate) fn subnet(n: usize) -> Value {
    json!({
        "id": id(2, n), "network_id": id(1, n), "name": "", "project_id": "p",
        "ip_version": 4, "cidr": format!("10.{n}.0.0/24"),
        "gateway_ip": format!("10.{n}.0.254"), "enable_dhcp": false, "host_routes": [],
        "dns_nameservers": [], "allocation_pools": [],
        "ipv6_address_mode": null, "ipv6_ra_mode": null,
    })
}

/// `2001:db8:N::/64` of a network, in one of the three modes.
pub(crate) fn subnet_6(n: usize, mode: &str) -> Value {
    let mut subnet = subnet(n);
    subnet["id"] = id(8, n).into();
    subnet["ip_version"] = 6.into();
    subnet["cidr"] = format!("2001:db8:{n}::/64").into();
    subnet["gateway_ip"] = format!("2001:db8:{n}::1").into();
    subnet["enable_dhcp"] = true.into();
    subnet["ipv6_address_mode"] = mode.into();
    subnet["ipv6_ra_mode"] = mode.into();
    subnet
}

/// A port without groups and filters, with addresses `10.NETWORK.0.X` and `2001:db8:NETWORK::X`.
pub(crate) fn port(
    n: usize,
    network: usize,
    owner: &str,
    addresses: &[&str],
    host: usize,
) -> Value {
    let fixed = |address: &&str| {
        let kind = if address.contains(':') { 8 } else { 2 };
        json!({"subnet_id": id(kind, network), "ip_address": address})
    };
    json!({
        "id": id(3, n), "name": format!("p{n}"), "network_id": id(1, network),
        "project_id": "p", "mac_address": format!("fa:16:3e:00:00:{n:02x}"),
        "fixed_ips": addresses.iter().map(fixed).collect::<Vec<_>>(),
        "device_owner": owner, "device_id": id(7, 0), "admin_state_up": true,
        "status": "ACTIVE", "binding:host_id": format!("h{host}"),
        "binding:vnic_type": "normal", "binding:vif_type": "ovs",
        "binding:vif_details": {"ovs_hybrid_plug": true}, "binding:profile": {},
        "security_groups": [], "port_security_enabled": false,
        "allowed_address_pairs": [], "extra_dhcp_opts": [],
    })
}

/// Give a port groups, and with them filters.
pub(crate) fn in_groups(mut port: Value, groups: impl IntoIterator<Item = usize>) -> Value {
    port["security_groups"] = groups.into_iter().map(|g| id(4, g)).collect();
    port["port_security_enabled"] = true.into();
    port
}

/// A rule of a group, from anywhere.
pub(crate) fn rule(
    n: usize,
    group: usize,
    (direction, ethertype): (&str, &str),
    (protocol, port): (Option<&str>, Option<u16>),
) -> Value {
    json!({
        "id": id(5, n), "security_group_id": id(4, group), "project_id": "p",
        "direction": direction, "ethertype": ethertype, "protocol": protocol,
        "port_range_min": port, "port_range_max": port, "remote_ip_prefix": null,
        "remote_group_id": null,
    })
}

fn agent(n: usize, host: usize, binary: &str, configurations: &Value) -> Value {
    let kind = match binary {
        "neutron-l3-agent" => "L3 agent",
        "neutron-dhcp-agent" => "DHCP agent",
        _ => "Open vSwitch agent",
    };
    json!({
        "id": id(6, n), "host": format!("h{host}"), "binary": binary, "agent_type": kind,
        "alive": true, "admin_state_up": true, "configurations": configurations,
    })
}

fn l2(n: usize) -> Value {
    let configurations = json!({
        "tunneling_ip": format!("192.0.2.{}", n + 1), "tunnel_types": ["vxlan"],
        "l2_population": true, "arp_responder_enabled": true, "bridge_mappings": {},
        "ovs_hybrid_plug": true, "integration_bridge": "br-int",
    });
    agent(n, n, "neutron-openvswitch-agent", &configurations)
}

impl MadeUp {
    /// The API's answers, as the files of a snapshot.
    pub(crate) fn files(self) -> BTreeMap<String, String> {
        let l3 = agent(
            self.hosts,
            0,
            "neutron-l3-agent",
            &json!({"agent_mode": "legacy"}),
        );
        let dhcp = agent(self.hosts + 1, 0, "neutron-dhcp-agent", &json!({}));
        let router = json!({
            "id": id(7, 0), "name": "r", "project_id": "p", "admin_state_up": true,
            "distributed": false, "ha": false, "routes": [], "external_gateway_info": null,
        });
        let group = |n: usize| json!({"id": id(4, n), "name": format!("g{n}"), "project_id": "p"});
        let mut agents: Vec<Value> = (0..self.hosts).map(l2).collect();
        agents.extend([l3.clone(), dhcp.clone()]);
        let mut files = BTreeMap::new();
        let mut put = |name: &str, key: &str, rows: Vec<Value>| {
            files.insert(format!("api/{name}.json"), json!({ key: rows }).to_string());
        };
        let is_server = |p: &&Value| p["device_owner"] == "network:dhcp";
        for server in self.ports.iter().filter(is_server) {
            let network = server["network_id"].as_str().unwrap_or_default();
            let name = format!("network-{network}-dhcp-agents");
            put(&name, "agents", vec![dhcp.clone()]);
        }
        put(
            &format!("router-{}-l3-agents", id(7, 0)),
            "agents",
            vec![l3],
        );
        put("networks", "networks", self.networks);
        put("subnets", "subnets", self.subnets);
        put("ports", "ports", self.ports);
        let groups = (0..self.groups).map(group).collect();
        put("security-groups", "security_groups", groups);
        put("security-group-rules", "security_group_rules", self.rules);
        put("routers", "routers", vec![router]);
        put("agents", "agents", agents);
        files
    }
}

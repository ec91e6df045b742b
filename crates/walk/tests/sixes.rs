//! IPv6 over hosts made of intent alone: neighbours are asked, filters have rules of their own for
//! it, and a router leads from one network to the other.
use std::collections::BTreeMap;

use serde_json::{Value, json};
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot::Parts;
use walk::world::World;

fn id(kind: u32, n: usize) -> String {
    format!("{n:08x}-{kind:04x}-4000-8000-{n:012x}")
}

fn network(n: usize) -> Value {
    json!({
        "id": id(1, n), "name": format!("n{n}"), "project_id": "p", "admin_state_up": true,
        "mtu": 1450, "shared": false, "router:external": false,
        "provider:network_type": "vxlan", "provider:segmentation_id": n + 1,
        "provider:physical_network": null, "port_security_enabled": true,
    })
}

fn subnet(n: usize) -> Value {
    json!({
        "id": id(2, n), "network_id": id(1, n), "name": "", "project_id": "p", "ip_version": 6,
        "cidr": format!("2001:db8:{n}::/64"), "gateway_ip": format!("2001:db8:{n}::1"),
        "enable_dhcp": true, "host_routes": [], "dns_nameservers": [], "allocation_pools": [],
        "ipv6_address_mode": "slaac", "ipv6_ra_mode": "slaac",
    })
}

/// A guest on a host, `2001:db8:NETWORK::LAST`, in the group of the same number as its network.
fn guest(n: usize, network: usize, last: &str, host: usize) -> Value {
    json!({
        "id": id(3, n), "name": format!("p{n}"), "network_id": id(1, network),
        "project_id": "p", "mac_address": format!("fa:16:3e:00:00:{n:02x}"),
        "fixed_ips": [{
            "subnet_id": id(2, network), "ip_address": format!("2001:db8:{network}::{last}"),
        }],
        "device_owner": "compute:nova", "device_id": id(9, n), "admin_state_up": true,
        "status": "ACTIVE", "binding:host_id": format!("h{host}"),
        "binding:vnic_type": "normal", "binding:vif_type": "ovs",
        "binding:vif_details": {"ovs_hybrid_plug": true}, "binding:profile": {},
        "security_groups": [id(4, network)], "port_security_enabled": true,
        "allowed_address_pairs": [], "extra_dhcp_opts": [],
    })
}

fn gateway(n: usize) -> Value {
    let mut port = guest(100 + n, n, "1", 0);
    port["device_owner"] = "network:router_interface".into();
    port["device_id"] = id(7, 0).into();
    port["security_groups"] = json!([]);
    port["port_security_enabled"] = false.into();
    port
}

fn rule(
    n: usize,
    group: usize,
    direction: &str,
    (protocol, port): (Option<&str>, Option<u16>),
) -> Value {
    json!({
        "id": id(5, n), "security_group_id": id(4, group), "project_id": "p",
        "direction": direction, "ethertype": "IPv6", "protocol": protocol,
        "port_range_min": port, "port_range_max": port, "remote_ip_prefix": null,
        "remote_group_id": null,
    })
}

fn agent(n: usize, host: usize, binary: &str, configurations: &Value) -> Value {
    json!({
        "id": id(6, n), "host": format!("h{host}"), "binary": binary,
        "agent_type": if binary.contains("l3") { "L3 agent" } else { "Open vSwitch agent" },
        "alive": true, "admin_state_up": true, "configurations": configurations,
    })
}

/// Two networks with a router on h0 between them. Group 0 lets echoes and SSH in, group 1 SSH.
fn cloud() -> World {
    let mut files = BTreeMap::new();
    let mut put = |name: &str, key: &str, rows: Vec<Value>| {
        files.insert(format!("api/{name}.json"), json!({ key: rows }).to_string());
    };
    put("networks", "networks", vec![network(0), network(1)]);
    put("subnets", "subnets", vec![subnet(0), subnet(1)]);
    let ports = vec![
        guest(1, 0, "a", 0),
        guest(2, 0, "b", 1),
        guest(3, 1, "c", 1),
        gateway(0),
        gateway(1),
    ];
    put("ports", "ports", ports);
    let group = |n: usize| json!({"id": id(4, n), "name": format!("g{n}"), "project_id": "p"});
    put(
        "security-groups",
        "security_groups",
        vec![group(0), group(1)],
    );
    let rules = vec![
        rule(0, 0, "egress", (None, None)),
        rule(1, 1, "egress", (None, None)),
        rule(2, 0, "ingress", (Some("ipv6-icmp"), None)),
        rule(3, 0, "ingress", (Some("tcp"), Some(22))),
        rule(4, 1, "ingress", (Some("tcp"), Some(22))),
    ];
    put("security-group-rules", "security_group_rules", rules);
    let router = json!({
        "id": id(7, 0), "name": "r", "project_id": "p", "admin_state_up": true,
        "distributed": false, "ha": false, "routes": [], "external_gateway_info": null,
    });
    put("routers", "routers", vec![router]);
    let l2 = |n: usize| {
        let configurations = json!({
            "tunneling_ip": format!("192.0.2.{}", n + 1), "tunnel_types": ["vxlan"],
            "l2_population": true, "arp_responder_enabled": true, "bridge_mappings": {},
            "ovs_hybrid_plug": true, "integration_bridge": "br-int",
        });
        agent(n, n, "neutron-openvswitch-agent", &configurations)
    };
    let l3 = agent(2, 0, "neutron-l3-agent", &json!({"agent_mode": "legacy"}));
    put("agents", "agents", vec![l2(0), l2(1), l3.clone()]);
    put(
        &format!("router-{}-l3-agents", id(7, 0)),
        "agents",
        vec![l3],
    );
    let snapshot = Parts::read(&files).imagine();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    snapshot.world
}

fn ask(world: &World, from: &str, to: &str, port: Option<u16>) -> Walk {
    let question = Question {
        from: from.to_owned(),
        to: to.to_owned(),
        proto: Some(if port.is_some() { "tcp" } else { "icmp" }.to_owned()),
        port,
        ..Question::default()
    };
    walk::walk(world, &question).unwrap()
}

fn is_fine(walk: &Walk) -> bool {
    (walk.verdict, walk.replied) == (Verdict::Delivered, true) && walk.at.is_none()
}

#[test]
fn guests_of_a_network_find_each_other_by_neighbour_discovery() {
    let world = cloud();
    for (from, to) in [("p1", "2001:db8::b"), ("p2", "2001:db8::a")] {
        for port in [None, Some(22)] {
            let walk = ask(&world, from, to, port);
            assert!(
                is_fine(&walk),
                "{from} > {to}: {}\n{:#?}",
                walk.summary,
                walk.at
            );
            let asked = walk.arp.iter().find(|asked| asked.address == to);
            assert!(
                asked.is_some_and(|asked| asked.mac.is_some()),
                "{:?}",
                walk.arp
            );
        }
    }
}

#[test]
fn a_router_leads_to_the_other_network() {
    let world = cloud();
    let walk = ask(&world, "p1", "2001:db8:1::c", Some(22));
    assert!(is_fine(&walk), "{}\n{:#?}", walk.summary, walk.at);
    let places = walk.forward.iter().map(|step| step.place.as_str());
    assert!(
        places
            .into_iter()
            .any(|place| place.starts_with("qrouter-"))
    );
    let back = ask(&world, "p3", "2001:db8::a", None);
    assert!(is_fine(&back), "{}\n{:#?}", back.summary, back.at);
}

#[test]
fn what_no_rule_of_this_version_allows_is_stopped() {
    let world = cloud();
    let walk = ask(&world, "p1", "2001:db8:1::c", None);
    assert_eq!((walk.verdict, walk.replied), (Verdict::Dropped, false));
    let at = walk.at.expect("a place");
    assert!(at.rule.contains("sg-fallback") && !at.fault, "{at:#?}");
    let fix = walk.fix.expect("a command");
    assert!(
        fix.contains("--ethertype IPv6 --protocol ipv6-icmp"),
        "{fix}"
    );
    let walk = ask(&world, "p1", "2001:db8::b", Some(443));
    assert_eq!((walk.verdict, walk.replied), (Verdict::Dropped, false));
}

#[test]
fn a_guest_does_not_send_from_anothers_address() {
    let world = cloud();
    let question = Question {
        from: "p1".to_owned(),
        to: "2001:db8::b".to_owned(),
        proto: Some("icmp".to_owned()),
        src_ip: "2001:db8::77".parse().ok(),
        ..Question::default()
    };
    let walk = walk::walk(&world, &question).unwrap();
    assert_eq!((walk.verdict, walk.replied), (Verdict::Dropped, false));
    assert!(
        walk.fix
            .is_some_and(|fix| fix.contains("--allowed-address"))
    );
}

//! Asking by classes says what asking every pair says: in clouds made at random, and on recorded
//! hosts with faults.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::snapshot::{self, Parts};

fn compare(world: &World, port: Option<u16>) -> Result<(), TestCaseError> {
    let proto = if port.is_some() { "tcp" } else { "icmp" };
    let wish = Wish {
        proto: Some(proto.to_owned()),
        port,
        ..Wish::default()
    };
    let guests = chosen(world, &[]);
    let ask = |apart: bool| table(world, &wish, (&guests, &guests), apart);
    let (by_classes, by_pairs) = (ask(false), ask(true));
    for (one, other) in by_classes.iter().zip(&by_pairs) {
        prop_assert_eq!(one, other);
    }
    prop_assert_eq!(by_classes.len(), guests.len() * (guests.len() - 1));
    Ok(())
}

/// A rule of a group: whether it is for what comes in, for which TCP port, and from where.
type RuleOf = (bool, Option<u16>, From);

#[derive(Clone, Copy, Debug)]
enum From {
    Anywhere,
    Range(u8),
    Group(usize),
}

/// A guest: its network, its groups, whether it is filtered, its host.
type GuestOf = (usize, BTreeSet<usize>, bool, usize);

const GROUPS: usize = 3;
const NETWORKS: usize = 3;
const HOSTS: usize = 2;

fn rule_of() -> impl Strategy<Value = RuleOf> {
    let from = prop_oneof![
        Just(From::Anywhere),
        (0u8..3).prop_map(From::Range),
        (0..GROUPS).prop_map(From::Group),
    ];
    (any::<bool>(), prop::option::of(Just(22)), from)
}

fn guest_of() -> impl Strategy<Value = GuestOf> {
    let groups = prop::collection::btree_set(0..GROUPS, 0..3);
    (0..NETWORKS, groups, prop::bool::weighted(0.8), 0..HOSTS)
}

fn id(kind: u32, n: usize) -> String {
    format!("{n:08x}-{kind:04x}-4000-8000-{n:012x}")
}

fn rule(n: usize, group: usize, (ingress, port, from): &RuleOf) -> Value {
    json!({
        "id": id(5, n), "security_group_id": id(4, group), "project_id": "p",
        "direction": if *ingress { "ingress" } else { "egress" }, "ethertype": "IPv4",
        "protocol": port.map(|_| "tcp"), "port_range_min": port, "port_range_max": port,
        "remote_ip_prefix": match from {
            From::Range(n) => json!(format!("10.{n}.0.0/25")),
            _ => Value::Null,
        },
        "remote_group_id": match from {
            From::Group(n) => json!(id(4, *n)),
            _ => Value::Null,
        },
    })
}

fn port(n: usize, network: usize, owner: &str, last: u8, host: usize) -> Value {
    json!({
        "id": id(3, n), "name": format!("p{n}"), "network_id": id(1, network),
        "project_id": "p", "mac_address": format!("fa:16:3e:00:00:{n:02x}"),
        "fixed_ips": [{"subnet_id": id(2, network), "ip_address": format!("10.{network}.0.{last}")}],
        "device_owner": owner, "device_id": id(7, 0), "admin_state_up": true,
        "status": "ACTIVE", "binding:host_id": format!("h{host}"),
        "binding:vnic_type": "normal", "binding:vif_type": "ovs",
        "binding:vif_details": {"ovs_hybrid_plug": true}, "binding:profile": {},
        "security_groups": [], "port_security_enabled": false,
        "allowed_address_pairs": [], "extra_dhcp_opts": [],
    })
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
        "id": id(2, n), "network_id": id(1, n), "name": "", "project_id": "p",
        "ip_version": 4, "cidr": format!("10.{n}.0.0/24"),
        "gateway_ip": format!("10.{n}.0.254"), "enable_dhcp": false, "host_routes": [],
        "dns_nameservers": [], "allocation_pools": [],
        "ipv6_address_mode": null, "ipv6_ra_mode": null,
    })
}

fn agents() -> Vec<Value> {
    let l2 = |n: usize| {
        json!({
            "id": id(6, n), "host": format!("h{n}"), "binary": "neutron-openvswitch-agent",
            "agent_type": "Open vSwitch agent", "alive": true, "admin_state_up": true,
            "configurations": {
                "tunneling_ip": format!("192.0.2.{}", n + 1), "tunnel_types": ["vxlan"],
                "l2_population": true, "arp_responder_enabled": true, "bridge_mappings": {},
                "ovs_hybrid_plug": true, "integration_bridge": "br-int",
            },
        })
    };
    let mut found: Vec<Value> = (0..HOSTS).map(l2).collect();
    found.push(l3());
    found
}

fn l3() -> Value {
    json!({
        "id": id(6, HOSTS), "host": "h0", "binary": "neutron-l3-agent",
        "agent_type": "L3 agent", "alive": true, "admin_state_up": true,
        "configurations": {"agent_mode": "legacy"},
    })
}

/// A cloud out of intent; the router joins the first networks only.
fn cloud(rules: &[Vec<RuleOf>], guests: &[GuestOf], joined: usize) -> World {
    let mut files = BTreeMap::new();
    let mut put = |name: &str, key: &str, rows: Vec<Value>| {
        files.insert(format!("api/{name}.json"), json!({ key: rows }).to_string());
    };
    put("networks", "networks", (0..NETWORKS).map(network).collect());
    put("subnets", "subnets", (0..NETWORKS).map(subnet).collect());
    let guest = |(n, (at, groups, filtered, host)): (usize, &GuestOf)| {
        // Some of a network's guests are within its lower half, some above.
        let last = (n as u8 + 1) + if n % 2 == 0 { 0 } else { 128 };
        let mut port = port(n, *at, "compute:nova", last, *host);
        let groups = groups.iter().filter(|_| *filtered);
        port["security_groups"] = groups.map(|g| id(4, *g)).collect();
        port["port_security_enabled"] = (*filtered).into();
        port
    };
    let gateway = |n: usize| port(100 + n, n, "network:router_interface", 254, 0);
    let ports = guests.iter().enumerate().map(guest);
    put(
        "ports",
        "ports",
        ports.chain((0..joined).map(gateway)).collect(),
    );
    let group = |n: usize| json!({"id": id(4, n), "name": format!("g{n}"), "project_id": "p"});
    put(
        "security-groups",
        "security_groups",
        (0..GROUPS).map(group).collect(),
    );
    let flat = rules
        .iter()
        .enumerate()
        .flat_map(|(g, all)| all.iter().map(move |r| (g, r)));
    let flat = flat.enumerate().map(|(n, (g, r))| rule(n, g, r)).collect();
    put("security-group-rules", "security_group_rules", flat);
    let router = json!({
        "id": id(7, 0), "name": "r", "project_id": "p", "admin_state_up": true,
        "distributed": false, "ha": false, "routes": [], "external_gateway_info": null,
    });
    put("routers", "routers", vec![router]);
    put("agents", "agents", agents());
    put(
        &format!("router-{}-l3-agents", id(7, 0)),
        "agents",
        vec![l3()],
    );
    Parts::read(&files).imagine().world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn classes_speak_for_every_pair(
        rules in prop::collection::vec(prop::collection::vec(rule_of(), 1..5), GROUPS),
        guests in prop::collection::vec(guest_of(), 6..10),
        joined in 0..=NETWORKS,
    ) {
        compare(&cloud(&rules, &guests, joined), Some(22))?;
    }
}

fn recorded(case: &str) -> World {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/faults");
    let mut files = BTreeMap::new();
    let mut folders: Vec<(PathBuf, String)> = vec![(folder.join(case), String::new())];
    while let Some((folder, start)) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{start}{}", entry.file_name().to_string_lossy());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push((entry.path(), format!("{name}/"))),
                false => {
                    files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
    }
    snapshot::load(&files).world
}

#[test]
fn on_hosts_with_faults_classes_speak_for_every_pair_too() {
    for case in [
        "04-wrong-tag-on-qvo",
        "19-table4-wrong-tun-id",
        "42-ct-new-accept-missing",
    ] {
        let world = recorded(case);
        compare(&world, Some(22)).unwrap();
    }
}

#[test]
fn what_is_known_of_ways_and_filters_need_not_be_asked() {
    let mut facts = Facts::default();
    let (way, other_way, filter, closed) = ((0, 0), (0, 1), (0, 0), (0, 1));
    assert_eq!(facts.follows(way, filter), None);
    facts.learn(way, closed, Reaches::No);
    assert_eq!(
        facts.follows(other_way, closed),
        None,
        "either may be to blame"
    );
    facts.learn(way, filter, Reaches::Yes);
    assert_eq!(facts.follows(other_way, closed), Some(Reaches::No));
    assert_eq!(facts.follows(other_way, filter), None);
    facts.learn(other_way, filter, Reaches::OneWay);
    assert_eq!(facts.follows(other_way, filter), Some(Reaches::OneWay));
}

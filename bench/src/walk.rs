//! Walking packets over a large cloud that is made in memory out of intent alone: one walk, and the
//! table of who reaches whom, with few and with many distinct sets of security groups.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use walk::question::Question;
use walk::reach::{Reaches, Wish, reach};
use walk::report::Verdict;
use walk::snapshot::Parts;
use walk::world::World;

/// How large the cloud is.
pub(crate) struct Size {
    pub(crate) ports: usize,
    pub(crate) hosts: usize,
}

/// Ports of a network; a network's hosts hold all of its ports' neighbours.
const PORTS_A_NETWORK: usize = 100;

/// Walks that count for one figure.
const WALKS: usize = 20;

/// Numbers of distinct sets of groups to compare `reach` with.
const SETS: [usize; 3] = [5, 10, 20];

/// Print a line for each figure.
pub(crate) fn run(size: &Size) -> Result<(), String> {
    for sets in SETS {
        let began = Instant::now();
        let world = cloud(size, sets);
        println!(
            "walk: {} ports on {} hosts, {sets} sets of groups: compiled in {:.0} ms",
            size.ports,
            size.hosts,
            milliseconds(began.elapsed())
        );
        let (median, longest) = walks(&world, size)?;
        println!("walk: one walk {median:.1} ms (median of {WALKS}), {longest:.1} ms at most");
        let wish = Wish {
            proto: Some("tcp".to_owned()),
            port: Some(22),
            ..Wish::default()
        };
        let began = Instant::now();
        let rows = reach(&world, &wish);
        let took = milliseconds(began.elapsed());
        let open = rows.iter().filter(|r| r.reaches == Reaches::Yes).count();
        if open == 0 || rows.iter().any(|r| r.reaches == Reaches::Unknown) {
            return Err(format!("reach tells {open} of {} pairs", rows.len()));
        }
        println!(
            "walk: reach of {} pairs, tcp/22: {took:.0} ms, {open} of them open",
            rows.len()
        );
    }
    Ok(())
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// The median and the longest of some walks, each with its search for what is to blame.
fn walks(world: &World, size: &Size) -> Result<(f64, f64), String> {
    let mut times = Vec::new();
    for n in 0..WALKS {
        let question = Question {
            from: name(n),
            to: name((n * 37 + size.ports / 2) % size.ports),
            proto: Some("icmp".to_owned()),
            ..Question::default()
        };
        let began = Instant::now();
        let walk = walk::walk(world, &question).map_err(|error| error.to_string())?;
        times.push(milliseconds(began.elapsed()));
        if walk.verdict == Verdict::Unknown {
            return Err(walk.summary);
        }
    }
    times.sort_by(f64::total_cmp);
    Ok((times[WALKS / 2], times[WALKS - 1]))
}

fn name(port: usize) -> String {
    format!("p{port}")
}

/// The nth thing of a kind, by an id that says both.
fn id(kind: u32, n: usize) -> String {
    format!("{n:08x}-{kind:04x}-4000-8000-{n:012x}")
}

const NETWORK: u32 = 1;
const SUBNET: u32 = 2;
const PORT: u32 = 3;
const GROUP: u32 = 4;
const RULE: u32 = 5;
const AGENT: u32 = 6;
const ROUTER: u32 = 7;
const GATEWAY: u32 = 8;

const PROJECT: &str = "bench";

/// Networks of a hundred ports each, joined by a router; ports are spread over all hosts, and each
/// is in one of so many sets of groups.
fn cloud(size: &Size, sets: usize) -> World {
    let networks = size.ports.div_ceil(PORTS_A_NETWORK);
    let mut files = BTreeMap::new();
    let mut put = |name: &str, key: &str, rows: Vec<Value>| {
        files.insert(format!("api/{name}.json"), json!({ key: rows }).to_string());
    };
    put("networks", "networks", (0..networks).map(network).collect());
    put("subnets", "subnets", (0..networks).map(subnet).collect());
    let guests = (0..size.ports).map(|n| guest(n, size, sets));
    let ports = guests.chain((0..networks).map(gateway)).collect();
    put("ports", "ports", ports);
    let router = json!({
        "id": id(ROUTER, 0), "name": "r", "project_id": PROJECT, "admin_state_up": true,
        "distributed": false, "ha": false, "routes": [], "external_gateway_info": null,
    });
    put("routers", "routers", vec![router]);
    let groups = (0..sets)
        .map(|n| json!({"id": id(GROUP, n), "name": format!("g{n}"), "project_id": PROJECT}));
    put("security-groups", "security_groups", groups.collect());
    put(
        "security-group-rules",
        "security_group_rules",
        (0..sets).flat_map(|n| rules(n, sets)).collect(),
    );
    put(
        "agents",
        "agents",
        (0..size.hosts).flat_map(agents).collect(),
    );
    let l3 = json!({"id": id(AGENT, 1), "host": host(0), "binary": "neutron-l3-agent"});
    put(
        &format!("router-{}-l3-agents", id(ROUTER, 0)),
        "agents",
        vec![l3],
    );
    let parts = Parts::read(&files);
    let snapshot = parts.imagine();
    for problem in snapshot.problems {
        eprintln!("bench: {problem}");
    }
    snapshot.world
}

fn host(n: usize) -> String {
    format!("h{n:03}")
}

fn network(n: usize) -> Value {
    json!({
        "id": id(NETWORK, n), "name": format!("n{n}"), "project_id": PROJECT,
        "admin_state_up": true, "mtu": 1450, "shared": false, "router:external": false,
        "provider:network_type": "vxlan", "provider:segmentation_id": n + 1,
        "provider:physical_network": null, "port_security_enabled": true,
    })
}

fn subnet(n: usize) -> Value {
    json!({
        "id": id(SUBNET, n), "network_id": id(NETWORK, n), "name": "", "project_id": PROJECT,
        "ip_version": 4, "cidr": format!("10.{n}.0.0/16"), "gateway_ip": format!("10.{n}.0.1"),
        "enable_dhcp": false, "host_routes": [], "dns_nameservers": [], "allocation_pools": [],
        "ipv6_address_mode": null, "ipv6_ra_mode": null,
    })
}

fn port(id: &str, network: usize, owner: &str, address: &str, host: &str) -> Value {
    let number: String = id.chars().take(8).collect();
    let number = u32::from_str_radix(&number, 16).unwrap_or(0);
    let [a, b, c, d] = number.to_be_bytes();
    let kind: u8 = if owner.starts_with("compute") { 0 } else { 1 };
    json!({
        "id": id, "name": "", "network_id": self::id(NETWORK, network), "project_id": PROJECT,
        "mac_address": format!("fa:{kind:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}"),
        "fixed_ips": [{"subnet_id": self::id(SUBNET, network), "ip_address": address}],
        "device_owner": owner, "device_id": self::id(ROUTER, 0), "admin_state_up": true,
        "status": "ACTIVE", "binding:host_id": host, "binding:vnic_type": "normal",
        "binding:vif_type": "ovs", "binding:vif_details": {"ovs_hybrid_plug": true},
        "binding:profile": {}, "security_groups": [], "port_security_enabled": false,
        "allowed_address_pairs": [], "extra_dhcp_opts": [],
    })
}

fn guest(n: usize, size: &Size, sets: usize) -> Value {
    let (network, place) = (n / PORTS_A_NETWORK, n % PORTS_A_NETWORK);
    let address = format!("10.{network}.1.{}", place + 1);
    let mut port = port(
        &id(PORT, n),
        network,
        "compute:nova",
        &address,
        &host(n % size.hosts),
    );
    port["name"] = name(n).into();
    port["security_groups"] = json!([id(GROUP, n % sets)]);
    port["port_security_enabled"] = true.into();
    port
}

fn gateway(n: usize) -> Value {
    let address = format!("10.{n}.0.1");
    port(
        &id(GATEWAY, n),
        n,
        "network:router_interface",
        &address,
        &host(0),
    )
}

/// Everything out; echoes in; SSH in from the next group.
fn rules(n: usize, sets: usize) -> Vec<Value> {
    let rule = |at: usize, direction: &str, protocol: Value, port: Value, remote: Value| {
        json!({
            "id": id(RULE, n * 3 + at), "security_group_id": id(GROUP, n), "project_id": PROJECT,
            "direction": direction, "ethertype": "IPv4", "protocol": protocol,
            "port_range_min": port, "port_range_max": port, "remote_ip_prefix": null,
            "remote_group_id": remote,
        })
    };
    vec![
        rule(0, "egress", Value::Null, Value::Null, Value::Null),
        rule(1, "ingress", "icmp".into(), Value::Null, Value::Null),
        rule(
            2,
            "ingress",
            "tcp".into(),
            22.into(),
            id(GROUP, (n + 1) % sets).into(),
        ),
    ]
}

fn agents(n: usize) -> Vec<Value> {
    let agent = |at: usize, (kind, binary): (&str, &str), configurations: Value| {
        json!({
            "id": id(AGENT, n * 2 + at), "host": host(n), "binary": binary, "alive": true,
            "agent_type": kind,
            "admin_state_up": true, "configurations": configurations,
        })
    };
    let address = format!("192.0.2.{}", n + 1);
    let l2 = json!({
        "tunneling_ip": address, "tunnel_types": ["vxlan"], "l2_population": true,
        "arp_responder_enabled": true, "bridge_mappings": {}, "ovs_hybrid_plug": true,
        "integration_bridge": "br-int",
    });
    let mut found = vec![agent(
        0,
        ("Open vSwitch agent", "neutron-openvswitch-agent"),
        l2,
    )];
    if n == 0 {
        found.push(agent(
            1,
            ("L3 agent", "neutron-l3-agent"),
            json!({"agent_mode": "legacy"}),
        ));
    }
    found
}

//! What is planned of layer 2 and of security groups, beside what a real Neutron programmed for
//! the same intent. Differences that are meant stand in `docs/compatibility.md`.

mod reference;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use host::{
    HostState, NsName,
    iptables::print_rule,
    netns::Family,
    ovs::{Action, Bridge, Flow, FlowKey, FlowLine},
};
use plan::AgentMode;
use reference::{Scenario, assert_same_lines};

fn load(name: &str, host: &str) -> Scenario {
    let mode = match (name.contains("dvr"), host) {
        (false, _) => return Scenario::load(name, host),
        (true, "net") => AgentMode::DvrSnat,
        (true, _) => AgentMode::Dvr,
    };
    Scenario::load_with(name, host, |settings, _| settings.agent_mode = mode)
}

/// The keys of the data plane's differences that are meant, as `docs/compatibility.md` lists them.
fn listed() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/compatibility.md");
    let text = fs::read_to_string(path).expect("the list of differences");
    let (_, table) = text.split_once("## Data plane").expect("its data plane");
    let rows = table.lines().filter_map(|row| row.strip_prefix("| "));
    let keys = rows.filter_map(|row| Some(row.split_once(" |")?.0.to_owned()));
    keys.filter(|key| key != "key").collect()
}

/// Differences of these kinds are meant: each is listed, and each was seen, or its row is stale.
fn assert_meant(occurred: &[(&str, bool)]) {
    for (key, occurs) in occurred {
        assert!(
            listed().contains(*key),
            "{key} is not in docs/compatibility.md"
        );
        assert!(
            occurs,
            "{key} is in docs/compatibility.md, and no longer occurs"
        );
    }
}

fn is_learned(key: &FlowKey, flow: &Flow) -> bool {
    key.table == 20 && flow.hard_timeout != 0
}

/// A flow without its cookie: those are ours here and random there.
fn line(key: &FlowKey, flow: &Flow) -> String {
    let mut flow = flow.clone();
    flow.cookie = 0;
    for action in &mut flow.actions {
        if let Action::Learn(learn) = action {
            learn.cookie = 0;
        }
    }
    FlowLine(key, &flow).to_string()
}

/// Flows of the difference `neighbour-answers`: tables 2 and 21 of br-tun, and one of its own.
fn answers_neighbours(line: &str) -> bool {
    let parts = [
        "table=2, priority=1,icmp6,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00,icmp_type=135 ",
        "table=21, priority=2,icmp6,ipv6_src=::,icmp_type=135 ",
        "table=26, ",
    ];
    parts.iter().any(|part| line.starts_with(part))
}

fn flow_lines(bridge: &Bridge) -> BTreeSet<String> {
    let flows = bridge.flows.iter();
    let flows = flows.filter(|(key, flow)| !is_learned(key, flow));
    flows.map(|(key, flow)| line(key, flow)).collect()
}

fn assert_flows(scenario: &Scenario, bridge: &str) {
    let (want, seen) = (&scenario.planned.want, &scenario.seen);
    let mut planned = flow_lines(&want.bridges[bridge]);
    planned.retain(|line| !answers_neighbours(line));
    assert_same_lines(bridge, &planned, &flow_lines(&seen.bridges[bridge]));
}

const LEGACY: [(&str, &str); 3] = [
    ("vxlan-legacy-hybrid", "c1"),
    ("vxlan-legacy-hybrid", "net"),
    ("gre-legacy-hybrid", "c1"),
];

#[test]
fn flows_are_neutrons() {
    let (mut other_cookies, mut neighbour_answers) = (false, false);
    for (name, host) in LEGACY {
        let scenario = load(name, host);
        assert_eq!(scenario.planned.notes, [], "{name} {host}");
        for bridge in ["br-int", "br-tun", "br-ex"] {
            assert_flows(&scenario, bridge);
            let mut seen = scenario.seen.bridges[bridge].flows.values();
            other_cookies |= seen.any(|flow| flow.cookie != plan::l2::COOKIE);
            let planned = flow_lines(&scenario.planned.want.bridges[bridge]);
            neighbour_answers |= planned.iter().any(|line| answers_neighbours(line));
        }
    }
    assert_meant(&[
        ("fixed-cookies", other_cookies),
        ("neighbour-answers", neighbour_answers),
    ]);
}

/// Of a row of OVSDB, what a plan says.
fn port_lines(bridge: &Bridge, name: &str) -> BTreeSet<String> {
    let mut lines = BTreeSet::from([
        format!("{} {:?}", bridge.datapath_type, bridge.fail_mode),
        format!("{:?} {:?}", bridge.protocols, bridge.other_config),
    ]);
    // A bridge's own port and cards of hardware are there by themselves.
    let ports = bridge.ports.iter();
    for (port, row) in ports.filter(|(port, _)| *port != name && !port.starts_with("eth")) {
        let mut interfaces = row.interfaces.clone();
        for interface in interfaces.values_mut() {
            // Our services' ports do not name the guest that they do not belong to.
            if interface.kind == "internal" {
                interface.external_ids.clear();
            }
            interface.mtu_request = None;
            interface.mac = None;
        }
        let about = format!("{:?} {:?}", row.tag, row.other_config);
        let interfaces: Vec<String> = interfaces
            .iter()
            .map(|(n, i)| format!("{n} {} {:?} {:?}", i.kind, i.options, i.external_ids))
            .collect();
        lines.insert(format!("{port} {about} {interfaces:?}"));
    }
    lines
}

#[test]
fn bridges_and_ports_are_neutrons() {
    for (name, host) in LEGACY {
        let scenario = load(name, host);
        for bridge in ["br-int", "br-tun", "br-ex"] {
            let lines = |state: &HostState| port_lines(&state.bridges[bridge], bridge);
            let (want, seen) = (lines(&scenario.planned.want), lines(&scenario.seen));
            assert_same_lines(&format!("{name} {host} {bridge}"), &want, &seen);
        }
    }
}

/// Every chain of the host's own namespace, as text.
fn chains(state: &HostState, family: Family) -> BTreeMap<String, Vec<String>> {
    let tables = &state.netns[&NsName::root()].iptables[&family];
    let mut chains = BTreeMap::new();
    for (table, content) in tables {
        for (name, chain) in &content.chains {
            let policy = chain.policy.as_deref().unwrap_or("-");
            let rules = chain.rules.iter().map(|rule| print_rule(name, rule));
            chains.insert(format!("{table} {name} {policy}"), rules.collect());
        }
    }
    chains
}

/// Rules of groups only let pass: between the rules that surround them their order says nothing.
fn in_order_of_text(rules: &[String]) -> Vec<String> {
    let mut rules = rules.to_vec();
    let is_free = |rule: &String| rule.ends_with("-j RETURN") && !rule.contains("--comment");
    for run in rules.chunk_by_mut(|a, b| is_free(a) && is_free(b)) {
        run.sort();
    }
    rules
}

/// Chains in which every port has its own rules, which touch no other port's frames.
fn is_shared(chain: &str) -> bool {
    let shared = ["-FORWARD", "-INPUT", "-sg-chain", "-PREROUTING"];
    shared
        .iter()
        .any(|name| chain.contains(&format!("openvswi{name}")))
}

fn sorted(rules: &[String]) -> BTreeSet<&String> {
    rules.iter().collect()
}

#[test]
fn security_groups_are_neutrons() {
    let (mut group_order, mut port_order) = (false, false);
    for (name, host) in [
        ("vxlan-legacy-hybrid", "c1"),
        ("gre-legacy-hybrid", "c1"),
        ("vxlan-legacy-hybrid", "net"),
        ("vxlan-dvr-hybrid", "c1"),
    ] {
        let scenario = load(name, host);
        for family in [Family::V4, Family::V6] {
            let want = chains(&scenario.planned.want, family);
            let seen = chains(&scenario.seen, family);
            let names = |m: &BTreeMap<String, Vec<String>>| m.keys().cloned().collect();
            assert_same_lines(&format!("{name} {host}"), &names(&want), &names(&seen));
            for (chain, rules) in want.iter().filter(|(chain, rules)| **rules != seen[*chain]) {
                let seen = &seen[chain];
                let about = format!("{name} {host} {family:?} {chain}");
                if is_shared(chain) {
                    port_order = true;
                    assert_eq!(sorted(rules), sorted(seen), "{about}");
                    let ends_alike = rules.last() == seen.last();
                    assert!(ends_alike || !chain.contains("sg-chain"), "{about}");
                } else {
                    group_order = true;
                    assert_eq!(in_order_of_text(rules), in_order_of_text(seen), "{about}");
                }
            }
        }
    }
    assert_meant(&[
        ("order-of-group-rules", group_order),
        ("order-of-ports-in-chains", port_order),
    ]);
}

#[test]
fn sets_of_addresses_are_neutrons() {
    let root = NsName::root();
    for (name, host) in [LEGACY[0], LEGACY[2], ("vxlan-dvr-hybrid", "c1")] {
        let scenario = load(name, host);
        let (want, seen) = (&scenario.planned.want, &scenario.seen);
        let want = &want.netns[&root].ipsets;
        assert!(!want.is_empty());
        assert_eq!(want, &seen.netns[&root].ipsets, "{name} {host}");
    }
}

#[test]
fn the_numbers_of_a_stock_host_are_kept() {
    let seen = load("vxlan-dvr-hybrid", "c1").seen;
    let numbers = plan::Numbers::held_by(&seen, "br-int");
    let held = |pool: &plan::Pool| -> Vec<u32> { pool.held().map(|(_, number)| number).collect() };
    assert_eq!(
        held(&numbers.vlans).len(),
        3,
        "red, green and the external network"
    );
    assert_eq!(
        held(&numbers.zones),
        [4099, 4098, 4097],
        "in the order of ports' ids"
    );
    let floating: Vec<_> = numbers.floating_priorities.held().collect();
    assert_eq!(floating, [("172.24.4.229", 55_474)]);
    assert_eq!(held(&numbers.link_local_pairs), [3_139]);
}

#[test]
fn a_plan_is_written_and_read_as_a_host_is() {
    for (name, host) in [LEGACY[0], LEGACY[1], ("vxlan-dvr-hybrid", "net")] {
        let want = load(name, host).planned.want;
        let read = host::snapshot::load(host, &host::snapshot::write(&want));
        assert_eq!(read.problems, [], "{name} {host}");
        assert_eq!(read.state.bridges, want.bridges, "{name} {host}");
        for (ns, netns) in &want.netns {
            assert_eq!(&read.state.netns[ns], netns, "{name} {host} {ns}");
        }
        assert_eq!(read.state.files, want.files, "{name} {host}");
        assert_eq!(read.state.processes, want.processes, "{name} {host}");
    }
}

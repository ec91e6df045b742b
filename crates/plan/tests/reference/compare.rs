//! A host of ours, planned or observed, beside the same host as a real Neutron left it: equal but
//! for the kinds of difference that `docs/compatibility.md` lists.

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

use super::assert_same_lines;

/// The kinds of difference that comparisons have met.
#[derive(Default)]
pub(crate) struct Met(BTreeSet<&'static str>);

impl Met {
    pub(crate) fn with(&mut self, key: &'static str) {
        assert!(
            listed().contains(key),
            "{key} is not in docs/compatibility.md"
        );
        self.0.insert(key);
    }

    /// These kinds are listed and were met, or their rows are stale.
    pub(crate) fn assert_meant(&self, keys: &[&'static str]) {
        for key in keys {
            assert!(
                self.0.contains(key),
                "{key} is in docs/compatibility.md, and no longer occurs"
            );
        }
    }

    pub(crate) fn compare_flows(&mut self, about: &str, ours: &Bridge, seen: &Bridge) {
        if seen
            .flows
            .values()
            .any(|flow| flow.cookie != plan::l2::COOKIE)
        {
            self.with("fixed-cookies");
        }
        let mut lines = flow_lines(ours);
        if lines.iter().any(|line| answers_neighbours(line)) {
            self.with("neighbour-answers");
        }
        lines.retain(|line| !answers_neighbours(line));
        assert_same_lines(about, &lines, &flow_lines(seen));
    }

    /// Rows of OVSDB: a bridge's settings, its ports with their tags, and their interfaces.
    pub(crate) fn compare_ports(
        &mut self,
        about: &str,
        ours: &HostState,
        seen: &HostState,
        bridge: &str,
    ) {
        let lines = |state: &HostState| port_lines(&state.bridges[bridge], bridge);
        let (ours, mut seen) = (lines(ours), lines(seen));
        let is_gateway = |line: &String| line.starts_with("fg-");
        if seen.iter().any(is_gateway) && !ours.iter().any(is_gateway) {
            self.with("fip-namespace-only-where-needed");
            seen.retain(|line| !is_gateway(line));
        }
        assert_same_lines(&format!("{about} {bridge}"), &ours, &seen);
    }

    pub(crate) fn compare_chains(
        &mut self,
        about: &str,
        ours: &HostState,
        seen: &HostState,
        family: Family,
    ) {
        let (ours, seen) = (chains(ours, family), chains(seen, family));
        let names = |m: &BTreeMap<String, Vec<String>>| m.keys().cloned().collect();
        assert_same_lines(about, &names(&ours), &names(&seen));
        for (chain, rules) in ours.iter().filter(|(chain, rules)| **rules != seen[*chain]) {
            let seen = &seen[chain];
            let about = format!("{about} {family:?} {chain}");
            if is_shared(chain) {
                self.with("order-of-ports-in-chains");
                assert_eq!(sorted(rules), sorted(seen), "{about}");
                let ends_alike = rules.last() == seen.last();
                assert!(ends_alike || !chain.contains("sg-chain"), "{about}");
            } else {
                self.with("order-of-group-rules");
                assert_eq!(in_order_of_text(rules), in_order_of_text(seen), "{about}");
            }
        }
    }
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

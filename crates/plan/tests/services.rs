//! What is planned for DHCP and routers, beside what a real Neutron programmed for the same intent.

mod reference;

use std::{collections::BTreeSet, net::IpAddr};

use host::{HostState, NsName, iptables::print_iptables, netns::RouteKey};
use plan::draft::MAIN;
use reference::{Scenario, assert_same_lines, compare::Met};

/// The namespaces that both states are asked about: ours and theirs, by the prefix of their names.
fn namespaces(scenario: &Scenario, prefix: &str) -> Vec<NsName> {
    let planned = scenario.planned.want.netns.keys();
    let planned: Vec<NsName> = planned
        .filter(|ns| ns.as_str().starts_with(prefix))
        .cloned()
        .collect();
    let seen = scenario.seen.netns.keys();
    let seen: Vec<NsName> = seen
        .filter(|ns| ns.as_str().starts_with(prefix))
        .cloned()
        .collect();
    assert_eq!(planned, seen, "namespaces {prefix}…");
    assert!(!planned.is_empty(), "the scenario has namespaces {prefix}…");
    planned
}

/// One comparable line for everything that a plan says of a namespace, and for the same of what
/// was seen there: without what the kernel made by itself.
fn lines(state: &HostState, ns: &NsName) -> BTreeSet<String> {
    let netns = &state.netns[ns];
    let mut lines = BTreeSet::new();
    for (key, addr) in &netns.addrs {
        let by_kernel = addr.scope != "global";
        if !by_kernel {
            lines.insert(format!(
                "address {} {} {:?}",
                key.dev, key.net, addr.broadcast
            ));
        }
    }
    for (table, routes) in &netns.routes {
        for (RouteKey { dst, dev, .. }, route) in routes {
            if route.proto == "static" {
                lines.insert(format!(
                    "route {table} {dst} {:?} {dev:?} {}",
                    route.via, route.scope
                ));
            }
        }
    }
    for (name, link) in netns.links.iter().filter(|(name, _)| *name != "lo") {
        lines.insert(format!(
            "link {name} {:?} {} {}",
            link.mac, link.mtu, link.up
        ));
    }
    for (key, rule) in &netns.rules {
        if ![0, 32_766, 32_767].contains(&key.priority) {
            lines.insert(format!("rule {key:?} {:?}", rule.verdict));
        }
    }
    let permanent = netns
        .neighbours
        .iter()
        .filter(|(_, neighbour)| neighbour.is_permanent());
    for (key, neighbour) in permanent {
        lines.insert(format!(
            "neighbour {} {} {:?}",
            key.dev, key.ip, neighbour.mac
        ));
    }
    for listener in netns
        .listeners
        .iter()
        .filter(|listener| [80, 9697].contains(&listener.port))
    {
        lines.insert(format!("listener {:?} {}", listener.addr, listener.port));
    }
    lines
}

/// Gives what is listened to in a DHCP namespace beside a router, which is meant.
fn assert_namespace(scenario: &Scenario, ns: &NsName) -> BTreeSet<String> {
    let (want, seen) = (&scenario.planned.want, &scenario.seen);
    let (mut planned, there) = (lines(want, ns), lines(seen, ns));
    let beside = |line: &String| line.starts_with("listener") && ns.as_str().starts_with("qdhcp-");
    let only_planned: BTreeSet<String> = planned.difference(&there).cloned().collect();
    let meant: BTreeSet<String> = only_planned.into_iter().filter(beside).collect();
    planned.retain(|line| !meant.contains(line));
    assert_same_lines(&format!("{ns}"), &planned, &there);
    assert_tables(scenario, ns);
    for (key, sysctl) in &want.netns[ns].sysctls {
        let seen = seen.netns[ns]
            .sysctls
            .get(key)
            .map(|sysctl| sysctl.value.as_str());
        if let Some(seen) = seen {
            assert_eq!(sysctl.value, seen, "{key} in {ns}");
        }
    }
    meant
}

fn assert_tables(scenario: &Scenario, ns: &NsName) {
    let (want, seen) = (&scenario.planned.want, &scenario.seen);
    for family in [host::netns::Family::V4, host::netns::Family::V6] {
        let text = |state: &HostState| {
            let mut tables = state.netns[ns].iptables[&family].clone();
            for chain in tables
                .values_mut()
                .flat_map(|table| table.chains.values_mut())
            {
                chain.counters.0 = None;
            }
            print_iptables(&tables)
        };
        let (want, seen) = (text(want), text(seen));
        assert!(
            want == seen,
            "{ns} {family:?}\n--- planned\n{want}\n--- seen\n{seen}"
        );
    }
}

#[test]
fn dhcp_namespaces_are_neutrons() {
    let scenario = Scenario::load("vxlan-legacy-hybrid", "net");
    assert!(
        scenario.planned.notes.is_empty(),
        "{:?}",
        scenario.planned.notes
    );
    let mut beside_a_router = BTreeSet::new();
    for ns in namespaces(&scenario, "qdhcp-") {
        beside_a_router.extend(assert_namespace(&scenario, &ns));
    }
    let all = format!("listener {:?} 80", Some(IpAddr::from([169, 254, 169, 254])));
    assert!(
        beside_a_router.iter().all(|line| *line == all),
        "{beside_a_router:?}"
    );
    let mut met = Met::default();
    if !beside_a_router.is_empty() {
        met.with("metadata-beside-a-router");
    }
    met.assert_meant(&["metadata-beside-a-router"]);
}

#[test]
fn dnsmasq_and_its_files_are_neutrons() {
    let scenario = Scenario::load("vxlan-legacy-hybrid", "net");
    let (want, seen) = (&scenario.planned.want, &scenario.seen);
    let mut compared = 0;
    for (path, file) in &want.files {
        let theirs = seen
            .files
            .get(path)
            .unwrap_or_else(|| panic!("{path} is there"));
        let set = |file: &host::process::File| -> BTreeSet<String> {
            file.lines.iter().map(|line| line.text.clone()).collect()
        };
        assert_same_lines(path, &set(file), &set(theirs));
        compared += 1;
    }
    assert_eq!(compared, 12, "four files for each of three networks");
    for (key, process) in &want.processes {
        let theirs = seen
            .processes
            .get(key)
            .unwrap_or_else(|| panic!("{key} runs"));
        assert_eq!(process.argv, theirs.argv, "{key}");
    }
    assert_eq!(want.processes.len(), 3);
}

#[test]
fn a_centralized_router_is_neutrons() {
    let scenario = Scenario::load("vxlan-legacy-hybrid", "net");
    for ns in namespaces(&scenario, "qrouter-") {
        assert_namespace(&scenario, &ns);
        let netns = &scenario.planned.want.netns[&ns];
        assert!(netns.routes[&MAIN].len() == 1, "one way out");
    }
}

/// A distributed scenario, with the host's mode in it and the numbers that the host had given out.
fn distributed(host: &str, mode: plan::AgentMode) -> Scenario {
    Scenario::load_with("vxlan-dvr-hybrid", host, |settings, numbers| {
        settings.agent_mode = mode;
        numbers.floating_priorities.adopt("172.24.4.229", 55_474);
        // 169.254.88.134, counted in pairs from 169.254.64.0.
        let router = "399c4c88-9446-4509-aff4-7b8dbd7083c7";
        numbers.link_local_pairs.adopt(router, 3_139);
    })
}

/// The pair's MACs, and the addresses that the kernel makes of them, are chosen at random there and
/// computed here; all else must be the same.
fn without_pairs_macs(lines: BTreeSet<String>) -> BTreeSet<String> {
    let has_mac = |line: &String| {
        let link = line.starts_with("link rfp-") || line.starts_with("link fpr-");
        let neighbour = line.starts_with("neighbour") && line.contains(" 169.254.88.13");
        link || neighbour || line.starts_with("route 254 ::/0 Some(fe80::")
    };
    let (made, rest): (BTreeSet<_>, BTreeSet<_>) = lines.into_iter().partition(has_mac);
    assert!(made.len() >= 2, "a link and a neighbour at least: {made:?}");
    rest
}

#[test]
fn a_distributed_router_on_a_compute_host_is_neutrons() {
    let scenario = distributed("c1", plan::AgentMode::Dvr);
    assert!(
        scenario.planned.notes.is_empty(),
        "{:?}",
        scenario.planned.notes
    );
    let mut met = Met::default();
    for prefix in ["qrouter-", "fip-"] {
        for ns in namespaces(&scenario, prefix) {
            assert_tables(&scenario, &ns);
            if lines(&scenario.planned.want, &ns) != lines(&scenario.seen, &ns) {
                met.with("pair-macs");
            }
            let want = without_pairs_macs(lines(&scenario.planned.want, &ns));
            let seen = without_pairs_macs(lines(&scenario.seen, &ns));
            assert_same_lines(&format!("{ns}"), &want, &seen);
        }
    }
    for ns in namespaces(&scenario, "qrouter-") {
        for (key, sysctl) in &scenario.planned.want.netns[&ns].sysctls {
            let seen = &scenario.seen.netns[&ns].sysctls[key];
            if key == "net.ipv4.conf.default.send_redirects" && seen.value != sysctl.value {
                met.with("no-redirects-by-default");
            } else {
                assert_eq!(sysctl.value, seen.value, "{key} in {ns}");
            }
        }
    }
    met.assert_meant(&["no-redirects-by-default", "pair-macs"]);
}

#[test]
fn source_nat_of_a_distributed_router_is_neutrons() {
    let scenario = distributed("net", plan::AgentMode::DvrSnat);
    for ns in namespaces(&scenario, "snat-") {
        assert_namespace(&scenario, &ns);
    }
    let has_fip = |state: &host::HostState| {
        let mut names = state.netns.keys();
        names.any(|ns| ns.as_str().starts_with("fip-"))
    };
    let mut met = Met::default();
    // No floating IP is here, so nothing is made for them.
    if has_fip(&scenario.seen) && !has_fip(&scenario.planned.want) {
        met.with("fip-namespace-only-where-needed");
    }
    met.assert_meant(&["fip-namespace-only-where-needed"]);
}

#[test]
fn who_compiles_again_and_again_plans_what_a_compiler_that_knows_nothing_plans() {
    for (scenario, host) in [("vxlan-legacy-hybrid", "net"), ("vxlan-dvr-hybrid", "c1")] {
        let Scenario {
            mut view,
            mut settings,
            numbers,
            ..
        } = Scenario::load_with(scenario, host, |settings, _| {
            if scenario.contains("dvr") {
                settings.agent_mode = plan::AgentMode::Dvr;
            }
        });
        let mut compiler = plan::Compiler::default();
        let mut differ = BTreeSet::new();
        let mut check = |view: &intent::View, settings: &plan::Settings| {
            let planned = compiler.compile(view, settings, &numbers);
            let anew = plan::compile(view, settings, &numbers);
            assert!(planned == anew, "{scenario}, {host}");
            for (ns, netns) in planned.want.netns {
                differ.insert((ns, format!("{:?}", netns.iptables)));
            }
        };
        check(&view, &settings);
        // Each thing goes and comes again.
        let items: Vec<_> = view.items().collect();
        for item in items {
            view.remove(&item.key());
            check(&view, &settings);
            view.put(item);
            check(&view, &settings);
        }
        let pools: Vec<_> = view.subnet_pools.keys().copied().collect();
        for pool in pools {
            let before = view.subnet_pools[&pool].clone();
            let mut scoped = (*before).clone();
            scoped.address_scope_id = match scoped.address_scope_id {
                None => "9f0c0e3b-0000-4000-8000-000000000001".parse().ok(),
                Some(_) => None,
            };
            view.subnet_pools.insert(pool, scoped.into());
            check(&view, &settings);
            view.subnet_pools.insert(pool, before);
        }
        settings.metadata.port += 1;
        check(&view, &settings);
        assert!(differ.len() > 10, "filters changed: {}", differ.len());
    }
}

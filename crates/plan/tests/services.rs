//! What is planned for DHCP and routers, beside what a real Neutron programmed for the same intent.

mod reference;

use std::collections::BTreeSet;

use plan::draft::MAIN;
use reference::{
    Scenario,
    compare::Met,
    services::{assert_files, assert_servers},
};

/// What is planned beside what was there; gives the kinds of difference.
fn compared(scenario: &Scenario, prefixes: &[&str]) -> Met {
    let mut met = Met::default();
    assert_eq!(scenario.planned.notes, []);
    met.compare_namespaces(&scenario.planned.want, &scenario.seen, prefixes);
    met
}

#[test]
fn dhcp_is_neutrons() {
    let scenario = Scenario::load("vxlan-legacy-hybrid", "net");
    compared(&scenario, &["qdhcp-"]).assert_meant(&["metadata-beside-a-router"]);
    let (want, seen) = (&scenario.planned.want, &scenario.seen);
    assert_files(want, seen, 12);
    assert_servers(want, seen);
}

#[test]
fn a_centralized_router_is_neutrons() {
    let scenario = Scenario::load("vxlan-legacy-hybrid", "net");
    compared(&scenario, &["qrouter-"]);
    let namespaces = scenario.planned.want.netns.iter();
    let routers = namespaces.filter(|(ns, _)| ns.as_str().starts_with("qrouter-"));
    for (ns, netns) in routers {
        assert!(netns.routes[&MAIN].len() == 1, "one way out of {ns}");
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

#[test]
fn a_distributed_router_on_a_compute_host_is_neutrons() {
    let scenario = distributed("c1", plan::AgentMode::Dvr);
    let met = compared(&scenario, &["qrouter-", "fip-"]);
    met.assert_meant(&["no-redirects-by-default", "pair-macs"]);
}

#[test]
fn a_distributed_router_on_the_network_node_is_neutrons() {
    let scenario = distributed("net", plan::AgentMode::DvrSnat);
    let met = compared(&scenario, &["qrouter-", "snat-", "qdhcp-"]);
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

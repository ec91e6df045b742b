//! Layer 2 of distributed routers, beside what a real Neutron programmed for the same intent.

mod reference;

use std::collections::BTreeSet;

use host::ovs::{Bridge, Field, FlowLine};
use plan::AgentMode;
use reference::{Scenario, assert_same_lines};

/// The flows that name a DVR MAC, or stand in a table that only distributed routers use.
fn lines(bridge: &Bridge, tables: &[u8]) -> BTreeSet<String> {
    let dvr = |text: &str| text.contains("fa:16:3f:");
    let mut lines = BTreeSet::new();
    for (key, flow) in &bridge.flows {
        let mut flow = flow.clone();
        flow.cookie = 0;
        let line = FlowLine(key, &flow).to_string();
        if dvr(&line) || tables.contains(&key.table) {
            lines.insert(line);
        }
    }
    assert!(lines.len() > 3, "there are such flows: {lines:?}");
    lines
}

fn assert_distributed(host: &str, mode: AgentMode) {
    let scenario = Scenario::load_with("vxlan-dvr-hybrid", host, |settings, _| {
        settings.agent_mode = mode;
        settings.local_ip = Some(match host {
            "net" => "10.30.0.11".parse().expect("an address"),
            _ => "10.30.0.12".parse().expect("an address"),
        });
    });
    for (bridge, tables) in [
        ("br-int", &[1, 2, 3, 4, 60][..]),
        ("br-tun", &[1, 9]),
        ("br-ex", &[0, 1, 2, 3]),
    ] {
        let want = lines(&scenario.planned.want.bridges[bridge], tables);
        let seen = lines(&scenario.seen.bridges[bridge], tables);
        assert_same_lines(&format!("{bridge} of {host}"), &want, &seen);
    }
}

#[test]
fn flows_of_a_compute_host_are_neutrons() {
    assert_distributed("c1", AgentMode::Dvr);
}

#[test]
fn flows_of_a_network_node_are_neutrons() {
    assert_distributed("net", AgentMode::DvrSnat);
}

#[test]
fn no_frame_leaves_with_a_distributed_interfaces_mac() {
    let scenario = Scenario::load_with("vxlan-dvr-hybrid", "c1", |settings, _| {
        settings.agent_mode = AgentMode::Dvr;
        settings.local_ip = Some("10.30.0.12".parse().expect("an address"));
    });
    let interfaces = ["fa:16:3e:c2:b7:26", "fa:16:3e:61:b0:88"];
    let flows = &scenario.planned.want.bridges["br-tun"].flows;
    for mac in interfaces {
        let mac: host::Mac = mac.parse().expect("a MAC");
        let from = flows.iter().find(|(key, _)| {
            key.table == 1 && key.matches.exact(Field::EthSrc) == Some(u128::from(mac.to_bits()))
        });
        let (_, flow) = from.expect("a flow for what the interface sends");
        let changed = flow
            .actions
            .iter()
            .any(|action| action.to_string().contains("eth_src"));
        assert!(changed, "the sender is changed: {:?}", flow.actions);
    }
}

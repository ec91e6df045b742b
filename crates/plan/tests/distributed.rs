//! Layer 2 of distributed routers, beside what a real Neutron programmed for the same intent.

mod reference;

use std::collections::BTreeSet;

use host::ovs::{Bridge, Field, FlowLine};
use intent::{AddressPair, Object, PairAddress, Port, State};
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

/// red1 (here) and red3 (on the other host) may both take an address; red2 has one of its own
/// more, and its own once again, which changes nothing.
fn with_pairs(state: &mut State) {
    let pairs = [
        ("red1", &["10.1.0.50"][..]),
        ("red2", &["10.1.0.60", "10.1.0.12"]),
        ("red3", &["10.1.0.50"]),
    ];
    for (name, addresses) in pairs {
        let port = state.ports.values().find(|port| port.name == name);
        let mut port = Port::clone(port.expect("a guest's port"));
        let mac_address = port.mac_address;
        let pair = |address: &&str| AddressPair {
            ip_address: PairAddress::Address(address.parse().expect("an address")),
            mac_address,
        };
        port.allowed_address_pairs = addresses.iter().map(pair).collect();
        state.put(Object::from(port));
    }
}

#[test]
fn an_address_that_goes_from_holder_to_holder_is_asked_for() {
    let scenario = Scenario::load_changed("vxlan-dvr-hybrid", "c1", with_pairs, |settings, _| {
        settings.agent_mode = AgentMode::Dvr;
        settings.local_ip = Some("10.30.0.12".parse().expect("an address"));
    });
    let want = &scenario.planned.want;
    let asking = |bridge: &str, table| -> Vec<String> {
        let flows = want.bridges[bridge].flows.iter();
        let lines = flows.map(|(key, flow)| (key.table, FlowLine(key, flow).to_string()));
        let lines = lines.filter(|(at, line)| *at == table && line.contains("arp_tpa=10.1.0.50"));
        lines.map(|(_, line)| line).collect()
    };
    let leaving = asking("br-tun", 1);
    assert_eq!(leaving.len(), 1, "{leaving:?}");
    for part in [
        "dl_src=fa:16:3e:61:b0:88",
        "set_field:fa:16:3f:8a:e9:59->arp_sha",
        "set_field:0.0.0.0->arp_spa",
    ] {
        assert!(leaving[0].contains(part), "no {part} in {leaving:?}");
    }
    let heard = asking("br-int", 1);
    assert_eq!(heard.len(), 1, "{heard:?}");
    assert!(heard[0].contains("dl_dst=ff:ff:ff:ff:ff:ff"), "{heard:?}");
    let routers = want.netns.iter();
    let mut routers = routers.filter(|(ns, _)| ns.as_str().starts_with("qrouter-"));
    let (_, netns) = routers.next().expect("a router");
    let known: BTreeSet<String> = netns
        .neighbours
        .keys()
        .map(|key| key.ip.to_string())
        .collect();
    for (address, is_known) in [
        ("10.1.0.50", false),
        ("10.1.0.60", true),
        ("10.1.0.12", true),
    ] {
        assert_eq!(known.contains(address), is_known, "{address} in {known:?}");
    }
}

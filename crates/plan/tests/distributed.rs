//! Layer 2 of distributed routers, beside what a real Neutron programmed for the same intent.

mod reference;

use std::collections::BTreeSet;

use host::ovs::{Bridge, Field, FlowLine};
use host::{
    HostState, NsName,
    netns::{Netns, RuleVerdict},
};
use intent::{
    AddressPair, AgentId, FixedIp, Object, PairAddress, Port, RouterId, RouterRemnant, State,
    Subnet, owner,
};
use ipnet::IpNet;
use plan::AgentMode;
use reference::{Scenario, assert_same_lines, compare::Met};

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

/// The namespaces of a host that another may still have, when another may of every router.
fn contested(scenario: &str, host: &str) -> BTreeSet<String> {
    let taken = |state: &mut State| {
        let other: AgentId = "00000000-0000-0000-0000-000000000001"
            .parse()
            .expect("an id");
        let routers: Vec<RouterId> = state.routers.keys().copied().collect();
        for router_id in routers {
            state.put(Object::from(RouterRemnant {
                router_id,
                agent_id: other,
                since: 1,
            }));
        }
    };
    let mode = match host {
        "net" => AgentMode::DvrSnat,
        _ => AgentMode::Dvr,
    };
    let scenario = Scenario::load_changed(scenario, host, taken, |settings, _| {
        settings.agent_mode = mode;
    });
    let named = scenario.planned.contested.iter().inspect(|name| {
        let planned = &scenario.planned.want.netns;
        assert!(planned.contains_key(*name), "{name} is not planned");
    });
    let kind = |name: &NsName| name.as_str().split('-').next().unwrap_or("").to_owned();
    named.map(kind).collect()
}

#[test]
fn what_another_host_may_still_have_is_what_is_in_one_place() {
    let of = |kind: &str| BTreeSet::from([kind.to_owned()]);
    assert_eq!(contested("vxlan-legacy-hybrid", "net"), of("qrouter"));
    assert_eq!(contested("vxlan-dvr-hybrid", "net"), of("snat"));
    assert_eq!(contested("vxlan-dvr-hybrid", "c1"), BTreeSet::new());
    let alone = Scenario::load("vxlan-legacy-hybrid", "net");
    assert_eq!(alone.planned.contested, BTreeSet::new());
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
    let known = neighbours(router(want));
    for (address, is_known) in [
        ("10.1.0.50", false),
        ("10.1.0.60", true),
        ("10.1.0.12", true),
    ] {
        assert_eq!(known.contains(address), is_known, "{address} in {known:?}");
    }
}

/// The router's namespace.
fn router(want: &HostState) -> &Netns {
    let routers = want.netns.iter();
    let mut routers = routers.filter(|(ns, _)| ns.as_str().starts_with("qrouter-"));
    routers.next().expect("a router").1
}

/// The addresses that are known for good.
fn neighbours(netns: &Netns) -> BTreeSet<String> {
    let known = netns.neighbours.keys();
    known.map(|key| key.ip.to_string()).collect()
}

/// The red network has IPv6 as well: red1 (here) and red3 (on the other host) have addresses, and
/// one more that either may take.
fn with_ipv6(state: &mut State) {
    let mut subnets = state.subnets.values();
    let red = subnets.find(|subnet| subnet.cidr.to_string() == "10.1.0.0/24");
    let mut six = Subnet::clone(red.expect("the red subnet"));
    six.id = "00000000-0000-4000-8000-000000000006"
        .parse()
        .expect("an id");
    six.cidr = "fd00:1::/64".parse().expect("a prefix");
    six.gateway_ip = Some("fd00:1::1".parse().expect("an address"));
    let address = |port: &Port| match (port.device_owner.as_str(), port.name.as_str()) {
        (owner::ROUTER_INTERFACE_DVR, _) => Some("fd00:1::1"),
        (owner::ROUTER_SNAT, _) => Some("fd00:1::2"),
        (_, "red1") => Some("fd00:1::11"),
        (_, "red3") => Some("fd00:1::13"),
        _ => None,
    };
    let ports = state.ports.values();
    let ports: Vec<Port> = ports
        .filter(|port| port.network_id == six.network_id)
        .map(|port| Port::clone(port))
        .collect();
    for mut port in ports {
        let Some(address) = address(&port) else {
            continue;
        };
        port.fixed_ips.push(FixedIp {
            subnet_id: six.id,
            ip_address: address.parse().expect("an address"),
        });
        if port.name.starts_with("red") {
            port.allowed_address_pairs = vec![AddressPair {
                ip_address: PairAddress::Address("fd00:1::50".parse().expect("an address")),
                mac_address: port.mac_address,
            }];
        }
        state.put(Object::from(port));
    }
    state.put(Object::from(six));
}

#[test]
fn ipv6_is_routed_at_home_and_leaves_by_the_network_node() {
    let scenario = Scenario::load_changed("vxlan-dvr-hybrid", "c1", with_ipv6, |settings, _| {
        settings.agent_mode = AgentMode::Dvr;
        settings.local_ip = Some("10.30.0.12".parse().expect("an address"));
    });
    let want = &scenario.planned.want;
    let netns = router(want);
    let known = neighbours(netns);
    for (address, is_known) in [
        ("fd00:1::11", true),
        ("fd00:1::13", true),
        ("fd00:1::2", true),
        ("fd00:1::50", false),
    ] {
        assert_eq!(known.contains(address), is_known, "{address} in {known:?}");
    }
    // One way out, to the SNAT part, although the host has a floating IP; by a rule.
    let six = |net: &IpNet| matches!(net, IpNet::V6(_));
    let tables = netns.routes.iter();
    let ways_out = tables.filter(|(_, routes)| {
        let mut routes = routes.keys();
        routes.any(|key| six(&key.dst) && key.dst.prefix_len() == 0)
    });
    let ways_out: Vec<u32> = ways_out.map(|(table, _)| *table).collect();
    assert_eq!(ways_out.len(), 1, "{ways_out:?}");
    let rules = netns.rules.iter();
    let rules = rules.filter(|(key, _)| key.from.as_ref().is_some_and(six));
    let led_to: Vec<&RuleVerdict> = rules.map(|(_, action)| &action.verdict).collect();
    assert_eq!(led_to, [&RuleVerdict::Lookup(ways_out[0])]);
    assert!(netns.links.keys().any(|device| device.starts_with("rfp-")));

    let mut met = Met::default();
    met.with("ipv6-by-source-nat");
    met.with("announcements-stay-at-home");
    met.with("held-ipv6-addresses");
    let flows = |bridge: &str, table, part: &str| -> Vec<String> {
        let flows = want.bridges[bridge].flows.iter();
        let lines = flows.filter(|(key, _)| key.table == table);
        let lines = lines.map(|(key, flow)| FlowLine(key, flow).to_string());
        lines.filter(|line| line.contains(part)).collect()
    };
    let announced = flows("br-tun", 1, "icmp_type=134");
    assert_eq!(announced.len(), 1, "{announced:?}");
    assert!(announced[0].ends_with("actions=drop"), "{announced:?}");
    let flooded = flows("br-tun", 22, "nd_target=fd00:1::1 ");
    assert_eq!(flooded.len(), 1, "{flooded:?}");
    let asked = flows("br-int", 1, "nd_target=fd00:1::50");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].contains("icmp_type=135"), "{asked:?}");
    let answered = flows("br-int", 60, "nd_target=fd00:1::50");
    assert_eq!(answered.len(), 1, "{answered:?}");
    assert!(
        answered[0].ends_with("actions=set_field:33:33:00:00:00:01->eth_dst,NORMAL"),
        "{answered:?}"
    );
}

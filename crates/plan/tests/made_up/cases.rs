//! Single cases.

use crate::world::*;
use host::{NsName, netns::Family, ovs::FlowLine};
use intent::NetworkType;
use plan::{Numbers, Plan, Settings, compile};
use serde_json::json;

const IN: &str = "neutron-openvswi-i00000001-0";
const SOURCES: &str = "neutron-openvswi-s00000001-0";

#[test]
fn vlan_and_flat_networks_are_translated_at_their_bridge() {
    let view = one_network(NetworkType::Vlan, Some(101), &[Wish::default()]);
    let plan = compile(&view, &settings(), &Numbers::default());
    assert_eq!(plan.notes, []);
    let (int, phys) = (flows(&plan, "br-int"), flows(&plan, "br-phys"));
    assert!(has(
        &int,
        r#"priority=3,in_port="int-br-phys",dl_vlan=101 actions=set_field:4097->vlan_vid,goto_table:58"#
    ));
    assert!(has(
        &phys,
        r#"priority=4,in_port="phy-br-phys",dl_vlan=1 actions=set_field:4197->vlan_vid,NORMAL"#
    ));
    assert!(has(
        &phys,
        r#"priority=2,in_port="phy-br-phys" actions=drop"#
    ));
    let tag = &plan.want.bridges["br-int"].ports["qvo00000001-00"];
    assert_eq!(tag.tag, Some(1));
    assert_eq!(tag.other_config["physical_network"], "physnet");
    let view = one_network(NetworkType::Flat, None, &[Wish::default()]);
    let plan = compile(&view, &settings(), &Numbers::default());
    assert!(has(
        &flows(&plan, "br-phys"),
        r#"priority=4,in_port="phy-br-phys",dl_vlan=1 actions=pop_vlan,NORMAL"#
    ));
}

#[test]
fn tunnels_lead_where_ports_are() {
    let view = one_network(NetworkType::Geneve, Some(7), &[Wish::default()]);
    let plan = compile(&view, &settings(), &Numbers::default());
    let tun = flows(&plan, "br-tun");
    assert!(has(
        &tun,
        r#"priority=1,in_port="geneve-0a1e0002" actions=goto_table:6"#
    ));
    assert!(has(
        &tun,
        r#"table=22, priority=1,dl_vlan=1 actions=pop_vlan,set_field:0x7->tun_id,output:"geneve-0a1e0002""#
    ));
    assert!(
        !plan.want.bridges["br-tun"]
            .ports
            .contains_key("geneve-0a1e0003")
    );
}

#[test]
fn without_population_everything_floods_everywhere() {
    let view = one_network(NetworkType::Vxlan, Some(7), &[Wish::default()]);
    let mut settings = settings();
    settings.l2_population = false;
    let plan = compile(&view, &settings, &Numbers::default());
    let tun = flows(&plan, "br-tun");
    assert!(has(
        &tun,
        r#"table=22, priority=1,dl_vlan=1 actions=pop_vlan,set_field:0x7->tun_id,output:"vxlan-0a1e0002",output:"vxlan-0a1e0003""#
    ));
    assert!(
        !tun.iter()
            .any(|line| line.starts_with("table=21") || line.starts_with("table=20, priority=2"))
    );
    assert!(
        !tun.iter()
            .any(|line| line.starts_with("table=2, priority=1"))
    );
    // A tunnel of each type to each of two hosts, and the patch.
    assert_eq!(plan.want.bridges["br-tun"].ports.len(), 7);
}

#[test]
fn questions_are_answered_for_ports_elsewhere() {
    let view = one_network(NetworkType::Vxlan, Some(7), &[Wish::default()]);
    let mut settings = settings();
    let answers = |settings: &Settings| {
        let tun = flows(&compile(&view, settings, &Numbers::default()), "br-tun");
        let arp = tun
            .iter()
            .filter(|l| l.contains("arp_tpa=10.0.0.21"))
            .count();
        let nd = tun
            .iter()
            .filter(|l| l.contains("nd_target=fd00::21"))
            .count();
        (arp, nd)
    };
    assert_eq!(
        answers(&settings),
        (1, 0),
        "the kernel's datapath cannot answer for IPv6"
    );
    settings.datapath_type = "netdev".to_owned();
    assert_eq!(answers(&settings), (1, 1));
    settings.arp_responder = false;
    assert_eq!(answers(&settings), (0, 0));
}

#[test]
fn a_port_that_is_switched_off_is_dead() {
    let wish = Wish {
        up: false,
        ..Wish::default()
    };
    let plan = compile(
        &one_network(NetworkType::Vxlan, Some(7), &[wish]),
        &settings(),
        &Numbers::default(),
    );
    assert_closed(&plan, "qvo00000001-00");
}

#[test]
fn ports_of_a_network_that_cannot_be_carried_are_closed() {
    let mut settings = settings();
    settings.bridge_mappings.clear();
    let plan = compile(
        &one_network(NetworkType::Flat, None, &[Wish::default()]),
        &settings,
        &Numbers::default(),
    );
    assert_eq!(plan.notes.len(), 1, "{:?}", plan.notes);
    assert!(plan.notes[0].text.contains("segments"));
    assert_closed(&plan, "qvo00000001-00");
}

#[test]
fn a_pair_of_every_address_lifts_the_check_of_addresses_alone() {
    let wish = Wish {
        pairs: vec!["0.0.0.0/0"],
        ..Wish::default()
    };
    let plan = compile(
        &one_network(NetworkType::Vxlan, Some(7), &[wish]),
        &settings(),
        &Numbers::default(),
    );
    let int = flows(&plan, "br-int");
    assert!(!int.iter().any(|line| line.contains("arp,")));
    assert!(
        int.iter()
            .any(|line| line.starts_with("table=25, priority=2"))
    );
    assert_eq!(
        rules(&plan, Family::V4, "filter", SOURCES)[0],
        "-A C -m mac --mac-source fa:16:3e:00:00:01 -m comment --comment \"Allow traffic from defined IP/MAC pairs.\" -j RETURN"
    );
}

#[test]
fn ipv6_ports_are_filtered_as_ipv6() {
    let wish = Wish {
        addresses: vec!["fd00::11"],
        ..Wish::default()
    };
    let mut view = one_network(NetworkType::Vxlan, Some(7), &[wish]);
    let icmp = json!({"ethertype": "IPv6", "protocol": "icmp", "port_range_min": 128, "port_range_max": 0});
    view.put(item(rule(1, 1, icmp)));
    let plan = compile(&view, &settings(), &Numbers::default());
    assert_eq!(plan.notes, []);
    let into = rules(&plan, Family::V6, "filter", IN);
    for wanted in [
        "-A C -d fd00::11/128 -p udp -m udp --sport 547 --dport 546 -j RETURN",
        "-A C -p ipv6-icmp -m icmp6 --icmpv6-type 134 -j RETURN",
        "-A C -p ipv6-icmp -m icmp6 --icmpv6-type 128/0 -j RETURN",
    ] {
        assert!(has(&into, wanted), "{wanted}\n{into:#?}");
    }
    let sources = rules(&plan, Family::V6, "filter", SOURCES);
    assert!(sources.iter().any(|r| r.contains("-s fd00::11/128")));
    assert!(
        sources
            .iter()
            .any(|r| r.contains("-s fe80::f816:3eff:fe00:1/128"))
    );
    assert_eq!(
        rules(&plan, Family::V4, "filter", SOURCES),
        Vec::<String>::new()
    );
    assert!(
        flows(&plan, "br-int")
            .iter()
            .any(|l| l.contains("nd_target=fd00::11 "))
    );
}

#[test]
fn stateless_groups_leave_connections_untracked() {
    let mut view = one_network(NetworkType::Vxlan, Some(7), &[Wish::default()]);
    view.put(item(group(1, false)));
    let plan = compile(&view, &settings(), &Numbers::default());
    let raw = rules(&plan, Family::V4, "raw", "neutron-openvswi-PREROUTING");
    assert_eq!(
        raw.iter()
            .filter(|r| r.ends_with("-j CT --notrack"))
            .count(),
        3
    );
    let into = rules(&plan, Family::V4, "filter", IN);
    assert!(!into.iter().any(|r| r.contains("--state")), "{into:#?}");
}

#[test]
fn trusted_ports_have_no_chains() {
    let wish = Wish {
        secure: false,
        ..Wish::default()
    };
    let plan = compile(
        &one_network(NetworkType::Vxlan, Some(7), &[wish]),
        &settings(),
        &Numbers::default(),
    );
    assert_eq!(rules(&plan, Family::V4, "filter", IN), Vec::<String>::new());
    let forward = rules(&plan, Family::V4, "filter", "neutron-openvswi-FORWARD");
    assert_eq!(
        forward.iter().filter(|r| r.ends_with("-j ACCEPT")).count(),
        2
    );
    assert!(
        !flows(&plan, "br-int")
            .iter()
            .any(|l| l.contains("in_port=\"qvo"))
    );
}

#[test]
fn a_port_that_no_filter_can_guard_is_closed() {
    let wish = Wish {
        hybrid: false,
        ..Wish::default()
    };
    let plan = compile(
        &one_network(NetworkType::Vxlan, Some(7), &[wish]),
        &settings(),
        &Numbers::default(),
    );
    assert!(
        plan.notes
            .iter()
            .any(|note| note.text.contains("no filter can stand"))
    );
    assert_closed(&plan, "tap00000001-00");
}

/// In the VLAN of dead ports, and dropped.
fn assert_closed(plan: &Plan, device: &str) {
    let port = &plan.want.bridges["br-int"].ports[device];
    assert_eq!(port.tag, Some(4095));
    let drop = format!("priority=2,in_port=\"{device}\" actions=drop");
    let int = flows(plan, "br-int");
    assert!(has(&int, &drop));
    let from_it = |line: &&String| line.contains(&format!("in_port=\"{device}\""));
    assert_eq!(int.iter().filter(from_it).count(), 1, "{int:#?}");
}

#[test]
fn remote_groups_and_address_groups_are_sets() {
    let mut view = one_network(NetworkType::Vxlan, Some(7), &[Wish::default()]);
    let prefixes = ["10.0.0.9/32", "0.0.0.0/0", "fd00::9/128"];
    view.put(item(member(2, 9, &prefixes)));
    view.put(item(rule(
        1,
        1,
        json!({"remote_group_id": uuid(5, 2), "protocol": "6"}),
    )));
    view.put(item(rule(
        2,
        1,
        json!({"remote_address_group_id": uuid(8, 1), "direction": "egress"}),
    )));
    view.put(item(read::<intent::AddressGroup>(
        json!({"id": uuid(8, 1), "project_id": "p",
        "name": "a", "addresses": ["192.0.2.0/24"], "meta": meta()}),
    )));
    let plan = compile(&view, &settings(), &Numbers::default());
    assert_eq!(plan.notes, []);
    let sets = &plan.want.netns[&NsName::root()].ipsets;
    let members = |name: &str| sets[name].members.keys().cloned().collect::<Vec<_>>();
    assert_eq!(
        members("NIPv400000002-0000-4000-8000-"),
        ["0.0.0.0/1", "10.0.0.9", "128.0.0.0/1"]
    );
    assert_eq!(members("NIPv400000001-0000-4000-8000-"), ["192.0.2.0/24"]);
    assert_eq!(sets.len(), 2);
    let into = rules(&plan, Family::V4, "filter", IN);
    assert!(has(
        &into,
        "-A C -p tcp -m set --match-set NIPv400000002-0000-4000-8000- src -j RETURN"
    ));
}

#[test]
fn two_rules_that_say_the_same_are_one_with_both_reasons() {
    let mut view = one_network(NetworkType::Vxlan, Some(7), &[Wish::default()]);
    for number in [1, 2] {
        let words = json!({"protocol": "tcp", "port_range_min": 22, "port_range_max": 22});
        view.put(item(rule(number, 1, words)));
    }
    let plan = compile(&view, &settings(), &Numbers::default());
    let tables = &plan.want.netns[&NsName::root()].iptables[&Family::V4];
    let rules = &tables["filter"].chains[IN].rules;
    let ssh: Vec<_> = rules
        .iter()
        .filter(|r| r.to_string().contains("--dport 22 "))
        .collect();
    assert_eq!(ssh.len(), 1);
    assert_eq!(ssh[0].why.causes.len(), 2);
}

#[test]
fn everything_says_why() {
    let plan = compile(
        &one_network(NetworkType::Vxlan, Some(7), &[Wish::default()]),
        &settings(),
        &Numbers::default(),
    );
    for (name, bridge) in &plan.want.bridges {
        for (key, flow) in &bridge.flows {
            assert!(
                !flow.why.causes.is_empty(),
                "{name} {}",
                FlowLine(key, flow)
            );
        }
        assert!(
            bridge
                .ports
                .values()
                .all(|port| !port.why.causes.is_empty())
        );
    }
    let root = &plan.want.netns[&NsName::root()];
    let tables = root.iptables.values().flat_map(|tables| tables.values());
    for chain in tables.flat_map(|table| table.chains.values()) {
        assert!(chain.rules.iter().all(|rule| !rule.why.causes.is_empty()));
    }
}

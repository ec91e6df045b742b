//! Hosts that nobody recorded: single cases of layer 2 and security groups, and properties that
//! hold over random intent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::{
    NsName,
    iptables::{print_iptables, print_rule, read_iptables},
    netns::Family,
    ovs::{FlowLine, print_flows, read_flows},
};
use intent::{
    Mac, Network, NetworkId, NetworkType, Port, PortId, SecurityGroup, SecurityGroupId,
    SecurityGroupRule, Segment, View,
    view::{Item, Member, Neighbour, Peer},
};
use plan::{Compiler, Numbers, Plan, Settings, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

const HOST: &str = "here";

fn uuid(kind: u8, number: usize) -> String {
    format!("{number:08x}-0000-4000-8000-0000000000{kind:02x}")
}

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("an object of intent")
}

fn meta() -> Value {
    json!({"created_at": 0, "updated_at": 0, "revision_number": 1})
}

fn network(number: usize) -> Network {
    read(
        json!({"id": uuid(1, number), "project_id": "p", "name": "n", "admin_state_up": true,
        "mtu": 1450, "port_security_enabled": true, "meta": meta()}),
    )
}

fn segment(number: usize, kind: NetworkType, id: Option<u32>) -> Segment {
    let physical = matches!(kind, NetworkType::Flat | NetworkType::Vlan).then_some("physnet");
    read(
        json!({"id": uuid(2, number), "network_id": uuid(1, number), "network_type": kind,
        "physical_network": physical, "segmentation_id": id, "meta": meta()}),
    )
}

/// What a test says of a port; the rest follows.
#[derive(Clone, Debug)]
struct Wish {
    network: usize,
    owner: &'static str,
    hybrid: bool,
    secure: bool,
    up: bool,
    addresses: Vec<&'static str>,
    pairs: Vec<&'static str>,
    groups: Vec<usize>,
}

impl Default for Wish {
    fn default() -> Self {
        Self {
            network: 1,
            owner: "compute:nova",
            hybrid: true,
            secure: true,
            up: true,
            addresses: vec!["10.0.0.11"],
            pairs: Vec::new(),
            groups: vec![1],
        }
    }
}

fn mac(number: usize) -> Mac {
    Mac([0xfa, 0x16, 0x3e, 0, 0, number as u8])
}

fn port(number: usize, wish: &Wish) -> Port {
    let fixed = wish.addresses.iter();
    let fixed = fixed.map(|ip| json!({"subnet_id": uuid(3, wish.network), "ip_address": ip}));
    let pairs = wish.pairs.iter();
    let pairs = pairs.map(|ip| json!({"ip_address": ip, "mac_address": mac(number)}));
    let groups: Vec<String> = wish.groups.iter().map(|g| uuid(5, *g)).collect();
    read(
        json!({"id": uuid(4, number), "project_id": "p", "network_id": uuid(1, wish.network),
        "admin_state_up": wish.up, "status": "ACTIVE", "mac_address": mac(number),
        "fixed_ips": fixed.collect::<Vec<_>>(), "allowed_address_pairs": pairs.collect::<Vec<_>>(),
        "device_owner": wish.owner, "device_id": uuid(9, number),
        "security_groups": groups, "port_security_enabled": wish.secure, "meta": meta(),
        "bindings": [{"host": HOST, "status": "ACTIVE", "vif_type": "ovs",
            "vif_details": {"ovs_hybrid_plug": wish.hybrid}}]}),
    )
}

fn group(number: usize, stateful: bool) -> SecurityGroup {
    read(
        json!({"id": uuid(5, number), "project_id": "p", "name": "g", "stateful": stateful,
        "meta": meta()}),
    )
}

fn rule(number: usize, group: usize, words: Value) -> SecurityGroupRule {
    let mut rule = json!({"id": uuid(6, number), "project_id": "p",
        "security_group_id": uuid(5, group), "direction": "ingress", "ethertype": "IPv4",
        "meta": meta()});
    let (Value::Object(all), Value::Object(words)) = (&mut rule, words) else {
        panic!("a rule is an object");
    };
    all.extend(words);
    read(rule)
}

fn neighbour(number: usize, network: usize, host: &str, addresses: &[&str]) -> Neighbour {
    Neighbour {
        port_id: read::<PortId>(json!(uuid(7, number))),
        network_id: read::<NetworkId>(json!(uuid(1, network))),
        host: host.into(),
        mac_address: mac(0x80 + number),
        addresses: addresses
            .iter()
            .map(|a| a.parse().expect("an address"))
            .collect(),
        device_owner: "compute:nova".to_owned(),
    }
}

fn peer(host: &str, ip: &str) -> Peer {
    Peer {
        host: host.into(),
        tunnel_ip: ip.parse().ok(),
        tunnel_types: vec![NetworkType::Vxlan, NetworkType::Gre, NetworkType::Geneve],
        dvr_mac: None,
        agent_mode: None,
    }
}

fn view_of(items: impl IntoIterator<Item = Item>) -> View {
    let mut view = View::default();
    items.into_iter().for_each(|item| view.put(item));
    view
}

fn item<T>(value: T) -> Item
where
    Item: From<Arc<T>>,
{
    Arc::new(value).into()
}

fn settings() -> Settings {
    let mut settings = Settings::new(HOST);
    settings.local_ip = "10.30.0.1".parse().ok();
    settings.tunnel_types = vec![NetworkType::Vxlan, NetworkType::Gre, NetworkType::Geneve];
    settings
        .bridge_mappings
        .insert("physnet".to_owned(), "br-phys".to_owned());
    settings
}

/// One network of a kind with these ports, and a neighbour.
fn one_network(kind: NetworkType, id: Option<u32>, ports: &[Wish]) -> View {
    let ports = ports
        .iter()
        .enumerate()
        .map(|(n, wish)| item(port(n + 1, wish)));
    let items = [
        item(network(1)),
        item(segment(1, kind, id)),
        item(group(1, true)),
        item(neighbour(1, 1, "there", &["10.0.0.21", "fd00::21"])),
        item(peer(HOST, "10.30.0.1")),
        item(peer("there", "10.30.0.2")),
        item(peer("elsewhere", "10.30.0.3")),
    ];
    view_of(items.into_iter().chain(ports))
}

fn flows(plan: &Plan, bridge: &str) -> Vec<String> {
    let flows = &plan.want.bridges[bridge].flows;
    flows
        .iter()
        .map(|(key, flow)| {
            let text = FlowLine(key, flow).to_string();
            text.split_once(", ")
                .map_or(text.clone(), |(_, rest)| rest.to_owned())
        })
        .collect()
}

fn has(lines: &[String], line: &str) -> bool {
    lines.iter().any(|l| l == line)
}

fn rules(plan: &Plan, family: Family, table: &str, chain: &str) -> Vec<String> {
    let tables = &plan.want.netns[&NsName::root()].iptables[&family];
    let Some(found) = tables[table].chains.get(chain) else {
        return Vec::new();
    };
    found.rules.iter().map(|r| print_rule("C", r)).collect()
}

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

fn any_wish() -> impl Strategy<Value = Wish> {
    let owner = prop::sample::select(vec![
        "compute:nova",
        "network:dhcp",
        "network:router_interface",
        "network:router_gateway",
        "",
    ]);
    let addresses = prop::sample::subsequence(vec!["10.0.0.11", "10.0.0.12", "fd00::11"], 0..3);
    let pairs =
        prop::sample::subsequence(vec!["10.9.0.0/16", "0.0.0.0/0", "fd09::/64", "::/0"], 0..3);
    let flags = any::<(bool, bool, bool)>();
    let groups = prop::collection::vec(1..4usize, 0..3);
    (1..5usize, owner, addresses, pairs, flags, groups).prop_map(
        |(network, owner, addresses, pairs, (hybrid, secure, up), groups)| Wish {
            network,
            owner,
            hybrid,
            secure,
            up,
            addresses,
            pairs,
            groups,
        },
    )
}

fn any_rule() -> impl Strategy<Value = (usize, Value)> {
    let protocol = prop::sample::select(vec![
        "tcp",
        "udp",
        "icmp",
        "sctp",
        "112",
        "any",
        "ipv6-icmp",
    ]);
    let ports = prop::option::of((0..300u16, prop::option::of(0..255u16)));
    let words = any::<(bool, bool, bool)>();
    let remote = prop::option::of(prop::sample::select(vec![1usize, 2, 9]));
    (1..4usize, prop::option::of(protocol), ports, words, remote).prop_map(
        |(group, protocol, ports, (ingress, v4, prefix), remote)| {
            let (v4_net, v6_net) = ("10.1.2.3/8", "fd01::3/32");
            let mut words = json!({
                "direction": if ingress { "ingress" } else { "egress" },
                "ethertype": if v4 { "IPv4" } else { "IPv6" },
                "protocol": protocol,
                "port_range_min": ports.map(|p| p.0),
                "port_range_max": ports.and_then(|p| p.1),
                "remote_group_id": remote.map(|g| uuid(5, g)),
            });
            if prefix && remote.is_none() {
                words["remote_ip_prefix"] = json!(if v4 { v4_net } else { v6_net });
            }
            (group, words)
        },
    )
}

fn member(group: usize, number: usize, prefixes: &[&str]) -> Member {
    Member {
        group_id: read::<SecurityGroupId>(json!(uuid(5, group))),
        port_id: read::<PortId>(json!(uuid(4, number))),
        prefixes: prefixes.iter().map(|p| p.parse().unwrap()).collect(),
    }
}

/// Members of groups, some with the same prefixes.
fn any_members() -> impl Strategy<Value = Vec<Item>> {
    let prefixes = vec!["10.0.0.9/32", "10.0.0.10/32", "0.0.0.0/0", "fd00::9/128"];
    let prefixes = prop::sample::subsequence(prefixes, 0..4);
    let one = (1..4usize, 1..9usize, prefixes);
    let one = one.prop_map(|(group, number, prefixes)| item(member(group, number, &prefixes)));
    prop::collection::vec(one, 0..6)
}

/// A later view: what comes or changes, what goes, and whether other hosts' ports are known.
fn any_step() -> impl Strategy<Value = (Vec<Item>, Vec<bool>, bool)> {
    let items = (any_items(), any_members()).prop_map(|(items, members)| [items, members].concat());
    let fates = prop::collection::vec(any::<bool>(), 40);
    (items, fates, any::<bool>())
}

/// Every reason that a plan gives, by what it is given for.
fn reasons(plan: &Plan) -> Vec<(String, BTreeSet<String>)> {
    let mut all = Vec::new();
    let mut say = |what: String, why: &host::Why| {
        let causes = why.causes.iter().map(ToString::to_string);
        all.push((what, causes.collect()));
    };
    for (name, bridge) in &plan.want.bridges {
        let rows = bridge.ports.iter();
        rows.for_each(|(port, row)| say(format!("{name} {port}"), &row.why));
        let flows = bridge.flows.iter();
        flows.for_each(|(key, flow)| say(format!("{name} {}", FlowLine(key, flow)), &flow.why));
    }
    let root = &plan.want.netns[&NsName::root()];
    for (name, set) in &root.ipsets {
        say(name.clone(), &set.why);
        let members = set.members.iter();
        members.for_each(|(member, content)| say(format!("{name} {member}"), &content.why));
    }
    for table in root.iptables.values().flat_map(BTreeMap::values) {
        for (name, chain) in &table.chains {
            let rules = chain.rules.iter();
            rules.for_each(|rule| say(print_rule(name, rule), &rule.why));
        }
    }
    all
}

/// The items of a random host.
fn any_items() -> impl Strategy<Value = Vec<Item>> {
    let wishes = prop::collection::vec(any_wish(), 0..7);
    let rules = prop::collection::vec(any_rule(), 0..9);
    let neighbours = prop::collection::vec((1..6usize, any::<bool>()), 0..6);
    (wishes, rules, neighbours).prop_map(|(wishes, rules, neighbours)| {
        let kinds = [
            (NetworkType::Vxlan, Some(11)),
            (NetworkType::Gre, Some(12)),
            (NetworkType::Vlan, Some(13)),
            (NetworkType::Flat, None),
        ];
        let mut items = vec![
            item(peer(HOST, "10.30.0.1")),
            item(peer("there", "10.30.0.2")),
        ];
        for (n, (kind, id)) in kinds.into_iter().enumerate() {
            items.extend([item(network(n + 1)), item(segment(n + 1, kind, id))]);
        }
        items.extend((1..4).map(|n| item(group(n, n != 3))));
        items.extend(wishes.iter().enumerate().map(|(n, w)| item(port(n + 1, w))));
        let rules = rules.into_iter().enumerate();
        items.extend(rules.map(|(n, (group, words))| item(rule(n + 1, group, words))));
        for (n, (network, known)) in neighbours.into_iter().enumerate() {
            let host = if known { "there" } else { "nowhere" };
            let addresses = [format!("10.0.0.{}", n + 21), format!("fd00::{}", n + 21)];
            let addresses = addresses.each_ref().map(String::as_str);
            items.push(item(neighbour(n + 1, network, host, &addresses)));
        }
        items
    })
}

fn without_port(view: &View, number: usize) -> View {
    let mut view = view.clone();
    view.ports.remove(&read::<PortId>(json!(uuid(4, number))));
    view
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_plan_depends_on_its_view_alone(items in any_items().prop_flat_map(|items| {
        (Just(items.clone()), Just(items).prop_shuffle())
    })) {
        let (one, other) = (view_of(items.0), view_of(items.1));
        let plan = compile(&one, &settings(), &Numbers::default());
        prop_assert_eq!(&plan, &compile(&other, &settings(), &Numbers::default()));
        // Compiled again with the numbers that it gave out, nothing changes.
        let again = compile(&one, &settings(), &plan.numbers);
        prop_assert_eq!(&again.want, &plan.want);
        prop_assert_eq!(again.given_back, plan::GivenBack::default());
    }

    #[test]
    fn what_is_compiled_again_and_again_is_what_is_compiled_once(
        steps in prop::collection::vec(any_step(), 1..5),
    ) {
        let (mut compiler, mut view) = (Compiler::default(), View::default());
        let (mut settings, mut numbers) = (settings(), Numbers::default());
        for (items, fates, population) in steps {
            for (item, comes) in items.into_iter().zip(fates) {
                match comes {
                    true => view.put(item),
                    false => view.remove(&item.key()),
                }
            }
            settings.l2_population = population;
            let plan = compiler.compile(&view, &settings, &numbers);
            let anew = compile(&view, &settings, &numbers);
            prop_assert_eq!(reasons(&plan), reasons(&anew));
            prop_assert_eq!(&plan, &anew);
            numbers = plan.numbers;
        }
    }

    #[test]
    fn what_is_planned_can_be_written_and_read(items in any_items()) {
        let plan = compile(&view_of(items), &settings(), &Numbers::default());
        for note in &plan.notes {
            prop_assert!(!note.about.starts_with("iptables"), "{}", note);
            prop_assert!(!note.text.contains("otherwise than"), "{}", note);
        }
        for bridge in plan.want.bridges.values() {
            prop_assert_eq!(&read_flows(&print_flows(&bridge.flows)).unwrap(), &*bridge.flows);
        }
        for tables in plan.want.netns[&NsName::root()].iptables.values() {
            prop_assert_eq!(&read_iptables(&print_iptables(tables)).unwrap(), tables);
        }
    }

    #[test]
    fn numbers_stay_when_other_ports_come_and_go(items in any_items(), gone in 1..7usize) {
        let view = view_of(items);
        let before = compile(&view, &settings(), &Numbers::default());
        let after = compile(&without_port(&view, gone), &settings(), &before.numbers);
        let held: BTreeMap<_, _> = before.numbers.vlans.held().chain(before.numbers.zones.held()).collect();
        for (holder, number) in after.numbers.vlans.held().chain(after.numbers.zones.held()) {
            prop_assert_eq!(held.get(holder), Some(&number));
        }
        // And back again: what was kept is as it was.
        let back = compile(&view, &settings(), &after.numbers);
        for (holder, number) in after.numbers.vlans.held() {
            prop_assert_eq!(back.numbers.vlans.get(holder), Some(number));
        }
    }
}

//! What holds for any intent.

use crate::world::*;
use std::collections::{BTreeMap, BTreeSet};

use host::{
    NsName,
    iptables::{print_iptables, print_rule, read_iptables},
    ovs::{FlowLine, print_flows, read_flows},
};
use intent::{NetworkType, PortId, View, view::Item};
use plan::{Compiler, Numbers, Plan, compile};
use proptest::prelude::*;
use serde_json::{Value, json};

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

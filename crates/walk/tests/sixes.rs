//! IPv6 over hosts made of intent alone: neighbours are asked, filters have rules of their own for
//! it, and a router leads from one network to the other.
mod made_up;

use made_up::{MadeUp, in_groups, network, port, rule, subnet_6};
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot::Parts;
use walk::world::World;

/// Two networks with a router on h0 between them. Group 0 lets echoes and SSH in, group 1 SSH.
fn cloud() -> World {
    let guest = |n: usize, network: usize, address: &str, host: usize| {
        in_groups(
            port(n, network, "compute:nova", &[address], host),
            [network],
        )
    };
    let gateway = |n: usize| {
        let address = format!("2001:db8:{n}::1");
        port(100 + n, n, "network:router_interface", &[&address], 0)
    };
    let six = |n: usize, group: usize, direction: &str, what: (Option<&str>, Option<u16>)| {
        rule(n, group, (direction, "IPv6"), what)
    };
    let cloud = MadeUp {
        hosts: 2,
        groups: 2,
        networks: vec![network(0), network(1)],
        subnets: vec![subnet_6(0, "slaac"), subnet_6(1, "slaac")],
        ports: vec![
            guest(1, 0, "2001:db8:0::a", 0),
            guest(2, 0, "2001:db8:0::b", 1),
            guest(3, 1, "2001:db8:1::c", 1),
            gateway(0),
            gateway(1),
        ],
        rules: vec![
            six(0, 0, "egress", (None, None)),
            six(1, 1, "egress", (None, None)),
            six(2, 0, "ingress", (Some("ipv6-icmp"), None)),
            six(3, 0, "ingress", (Some("tcp"), Some(22))),
            six(4, 1, "ingress", (Some("tcp"), Some(22))),
        ],
    };
    let snapshot = Parts::read(&cloud.files()).imagine();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    snapshot.world
}

fn ask(world: &World, from: &str, to: &str, port: Option<u16>) -> Walk {
    let question = Question {
        from: from.to_owned(),
        to: to.to_owned(),
        proto: Some(if port.is_some() { "tcp" } else { "icmp" }.to_owned()),
        port,
        ..Question::default()
    };
    walk::walk(world, &question).unwrap()
}

fn is_fine(walk: &Walk) -> bool {
    (walk.verdict, walk.replied) == (Verdict::Delivered, true) && walk.at.is_none()
}

#[test]
fn guests_of_a_network_find_each_other_by_neighbour_discovery() {
    let world = cloud();
    for (from, to) in [("p1", "2001:db8::b"), ("p2", "2001:db8::a")] {
        for port in [None, Some(22)] {
            let walk = ask(&world, from, to, port);
            assert!(
                is_fine(&walk),
                "{from} > {to}: {}\n{:#?}",
                walk.summary,
                walk.at
            );
            let asked = walk.arp.iter().find(|asked| asked.address == to);
            assert!(
                asked.is_some_and(|asked| asked.mac.is_some()),
                "{:?}",
                walk.arp
            );
        }
    }
}

#[test]
fn a_router_leads_to_the_other_network() {
    let world = cloud();
    let walk = ask(&world, "p1", "2001:db8:1::c", Some(22));
    assert!(is_fine(&walk), "{}\n{:#?}", walk.summary, walk.at);
    let places = walk.forward.iter().map(|step| step.place.as_str());
    assert!(
        places
            .into_iter()
            .any(|place| place.starts_with("qrouter-"))
    );
    let back = ask(&world, "p3", "2001:db8::a", None);
    assert!(is_fine(&back), "{}\n{:#?}", back.summary, back.at);
}

#[test]
fn what_no_rule_of_this_version_allows_is_stopped() {
    let world = cloud();
    let walk = ask(&world, "p1", "2001:db8:1::c", None);
    assert_eq!((walk.verdict, walk.replied), (Verdict::Dropped, false));
    let at = walk.at.expect("a place");
    assert!(at.rule.contains("sg-fallback") && !at.fault, "{at:#?}");
    let fix = walk.fix.expect("a command");
    assert!(
        fix.contains("--ethertype IPv6 --protocol ipv6-icmp"),
        "{fix}"
    );
    let walk = ask(&world, "p1", "2001:db8::b", Some(443));
    assert_eq!((walk.verdict, walk.replied), (Verdict::Dropped, false));
}

#[test]
fn a_guest_does_not_send_from_anothers_address() {
    let world = cloud();
    let question = Question {
        from: "p1".to_owned(),
        to: "2001:db8::b".to_owned(),
        proto: Some("icmp".to_owned()),
        src_ip: "2001:db8::77".parse().ok(),
        ..Question::default()
    };
    let walk = walk::walk(&world, &question).unwrap();
    assert_eq!((walk.verdict, walk.replied), (Verdict::Dropped, false));
    assert!(
        walk.fix
            .is_some_and(|fix| fix.contains("--allowed-address"))
    );
}

#[test]
fn who_is_asked_learns_the_askers_address() {
    let mut world = cloud();
    let chain = host::names::port_chain(host::names::PortChain::Ingress, &made_up::id(3, 1));
    let h0 = std::sync::Arc::make_mut(world.hosts.get_mut("h0").unwrap());
    let root = h0.netns_mut(host::NsName::root());
    let tables = root.iptables.get_mut(&host::netns::Family::V6).unwrap();
    let filter = tables.get_mut("filter").unwrap();
    let rules = &mut filter.chains.get_mut(&chain).unwrap().rules;
    let before = rules.len();
    rules.retain(|rule| !walk::text::rule(&chain, rule).contains("135"));
    assert!(rules.len() < before);
    world.index();
    // p1 can't be asked any more, and need not be: p2 was asked by it.
    let walk = ask(&world, "p1", "2001:db8::b", Some(22));
    assert!(is_fine(&walk), "{}", walk.summary);
    let asked: Vec<&str> = walk.arp.iter().map(|a| a.address.as_str()).collect();
    assert_eq!(asked, ["2001:db8::b"]);
}

//! What of bridges, filters and namespaces is ours, and what has to wait.
use super::*;
use host::diff::diff;
use host::iptables::read_iptables;

fn guest(id: &str) -> Port {
    let external_ids = [("iface-id".to_owned(), id.to_owned())].into();
    let interface = Interface {
        external_ids,
        ofport: Some(5).into(),
        ..Interface::default()
    };
    Port {
        tag: Some(3),
        interfaces: [("qvo1".to_owned(), interface)].into(),
        ..Port::default()
    }
}

/// Ports that differ from each other in one thing each.
fn various() -> Vec<Port> {
    let texts = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        pairs.iter().map(owned).collect()
    };
    let patch = |peer: &str, mtu| Port {
        interfaces: BTreeMap::from([(
            "patch-tun".to_owned(),
            Interface {
                kind: "patch".to_owned(),
                options: texts(&[("peer", peer)]),
                mtu_request: mtu,
                ..Interface::default()
            },
        )]),
        ..Port::default()
    };
    let with = |change: &dyn Fn(&mut Port)| {
        let mut port = guest("p1");
        change(&mut port);
        port
    };
    vec![
        guest("p1"),
        guest("p2"),
        with(&|port| port.tag = Some(4)),
        with(&|port| port.tag = None),
        with(&|port| port.vlan_mode = Some(host::ovs::VlanMode::Trunk)),
        with(&|port| port.trunks = [7].into()),
        with(&|port| port.other_config = texts(&[("tag", "3")])),
        with(&|port| port.other_config = texts(&[("tag", "3"), ("theirs", "x")])),
        with(&|port| port.external_ids = texts(&[("a", "b")])),
        patch("patch-int", None),
        patch("patch-int", Some(1400)),
        patch("elsewhere", None),
        Port::default(),
    ]
}

#[test]
fn what_is_as_wanted_is_what_is_cut_to_the_wanted() {
    for (port, want) in various().iter().flat_map(|port| {
        let wanted = various();
        wanted.into_iter().map(move |want| (port, want))
    }) {
        let is_cut_to = cut_port(port, &want) == want;
        assert_eq!(is_as_wanted(port, &want), is_cut_to, "{port:?} {want:?}");
    }
}

#[test]
fn what_is_all_as_wanted_is_the_wanted_itself() {
    let ports = |names: &[&str]| -> Shared<host::ovs::bridge::BridgePorts> {
        let port = |name: &&str| ((*name).to_owned(), guest("p1").into());
        names.iter().map(port).collect()
    };
    let (want, same) = (ports(&["qvo1", "qvo2"]), ports(&["br-int", "qvo1", "qvo2"]));
    assert!(cut_all(&same, &want, our_port).is(&want));
    let fewer = cut_all(&ports(&["br-int", "qvo1"]), &want, our_port);
    assert_eq!(*fewer, *ports(&["qvo1"]));
    assert!(fewer["qvo1"].is(&want["qvo1"]));
}

fn bounds() -> Bounds {
    Bounds {
        own_bridges: ["br-int".to_owned()].into(),
        ..Bounds::default()
    }
}

#[test]
fn a_namespace_that_is_wanted_as_before_is_the_same_one_all_the_way() {
    let rules = ":PREROUTING ACCEPT [0:0]\n:INPUT ACCEPT [0:0]\n-A PREROUTING -j ACCEPT\n";
    let planned = |mtu| {
        let mut want = HostState::new("net");
        for (ns, mtu) in [("qrouter-1", 1450), ("qrouter-2", mtu)] {
            let netns = want.netns_mut(NsName::new(ns));
            let tables = read_iptables(&format!("*nat\n{rules}COMMIT\n"));
            netns.iptables.insert(Family::V4, tables.expect("a table"));
            let link = host::netns::Link {
                mtu,
                ..host::netns::Link::default()
            };
            netns.links.insert(format!("qr-{ns}"), link);
        }
        want
    };
    let mut before = planned(1450);
    hold_once(&mut before, None);
    let mut want = planned(1400);
    hold_once(&mut want, Some(&before));
    let [one, two] = ["qrouter-1", "qrouter-2"].map(NsName::new);
    assert!(want.netns[&one].is(&before.netns[&one]));
    assert!(!want.netns[&two].is(&before.netns[&two]));
    assert_eq!(want.netns[&two].links["qr-qrouter-2"].mtu, 1400);
    // Seen as wanted, it is neither fitted nor cut.
    let (fitting, waiting) = fit(&want, &before, &bounds());
    let have = cut(&before, &fitting, &bounds());
    assert!(waiting.is_empty(), "{waiting:?}");
    assert!(have.netns[&one].is(&want.netns[&one]));
    let chains = &have.netns[&one].iptables[&Family::V4]["nat"].chains;
    assert_eq!(chains.keys().collect::<Vec<_>>(), ["PREROUTING"]);
    assert_ne!(have.netns[&two], want.netns[&two]);
}

#[test]
fn a_device_that_went_with_its_namespace_is_made_anew() {
    let ns = NsName::new("qrouter-1");
    let interface = Interface {
        kind: "internal".to_owned(),
        ofport: Some(5).into(),
        ..Interface::default()
    };
    let port = Port {
        interfaces: [("qr-1".to_owned(), interface)].into(),
        ..Port::default()
    };
    let mut want = HostState::new("net");
    want.bridge_mut("br-int")
        .ports
        .insert("qr-1".to_owned(), port.into());
    want.netns_mut(ns.clone())
        .links
        .insert("qr-1".to_owned(), host::netns::Link::default());
    let mut seen = want.clone();
    let is_wanted = |seen: &HostState| {
        let (fitting, _) = fit(&want, seen, &bounds());
        fitting.bridges["br-int"].ports.contains_key("qr-1")
    };
    assert!(is_wanted(&seen), "it is where it belongs");
    seen.netns_mut(ns.clone()).links.clear();
    assert!(!is_wanted(&seen), "its port goes first");
    seen.bridge_mut("br-int").ports.clear();
    assert!(is_wanted(&seen), "and comes again");
    seen.clone_from(&want);
    seen.netns.remove(&ns);
    assert!(is_wanted(&seen), "nobody has looked into the namespace yet");
}

/// A router that has a filter, and a device of the switch that has this number there.
fn router(number: Option<u32>) -> (HostState, NsName) {
    let ns = NsName::new("qrouter-1");
    let interface = Interface {
        kind: "internal".to_owned(),
        ofport: number.into(),
        ..Interface::default()
    };
    let port = Port {
        interfaces: [("qr-1".to_owned(), interface)].into(),
        ..Port::default()
    };
    let mut state = HostState::new("net");
    let ports = &mut state.bridge_mut("br-int").ports;
    ports.insert("qr-1".to_owned(), port.into());
    let netns = state.netns_mut(ns.clone());
    let link = host::netns::Link::default();
    netns.links.insert("qr-1".to_owned(), link);
    let text = "*nat\n:neutron-l3-agent-snat - [0:0]\nCOMMIT\n";
    let tables = host::iptables::read_iptables(text).expect("a table");
    netns.iptables.insert(Family::V4, tables);
    (state, ns)
}

#[test]
fn a_namespace_is_made_before_its_devices_and_filled_when_the_switch_is_done_with_them() {
    let (want, ns) = router(None);
    let fitted = |seen: &HostState| {
        let (fitting, waiting) = fit(&want, seen, &bounds());
        (fitting.netns[&ns].clone(), waiting.len())
    };
    let mut seen = HostState::new("net");
    assert_eq!(fitted(&seen), (Netns::default().into(), 1));
    let is_seen = |number, seen: &mut HostState| {
        seen.bridges = router(number).0.bridges;
        let link = host::netns::Link::default();
        let outside = &mut seen.netns_mut(NsName::root()).links;
        outside.insert("qr-1".to_owned(), link);
    };
    is_seen(None, &mut seen);
    assert_eq!(fitted(&seen).1, 1, "the switch still works on it");
    seen.netns_mut(ns.clone());
    assert_eq!(fitted(&seen), (Netns::default().into(), 1), "made");
    let lo = host::netns::Link::default();
    let links = &mut seen.netns_mut(ns.clone()).links;
    links.insert("lo".to_owned(), lo);
    let (netns, waiting) = fitted(&seen);
    assert_eq!((netns.links.len(), waiting), (0, 1));
    let rules = &want.netns[&ns].iptables;
    assert_eq!(&netns.iptables, rules, "what is there stays");
    is_seen(Some(5), &mut seen);
    assert_eq!(fitted(&seen), (want.netns[&ns].clone(), 0));
}

#[test]
fn what_others_plug_is_waited_for_and_only_its_use_is_ours() {
    let mut want = HostState::new("c1");
    want.bridge_mut("br-int")
        .ports
        .insert("qvo1".to_owned(), guest("p1").into());
    want.bridge_mut("br-ex");
    let empty = HostState::new("c1");
    let (fitting, waiting) = fit(&want, &empty, &bounds());
    let what: Vec<&str> = waiting
        .iter()
        .map(|waiting| waiting.what.as_str())
        .collect();
    assert_eq!(what, ["bridge br-ex", "port qvo1 of br-int"]);
    assert!(fitting.bridges["br-int"].ports.is_empty());

    let mut seen = HostState::new("c1");
    let mut port = guest("p1");
    port.tag = None;
    port.external_ids
        .insert("theirs".to_owned(), "kept".to_owned());
    seen.bridge_mut("br-int")
        .ports
        .insert("qvo1".to_owned(), port.into());
    let (fitting, _) = fit(&want, &seen, &bounds());
    let have = cut(&seen, &fitting, &bounds());
    let ports = (
        &have.bridges["br-int"].ports,
        &fitting.bridges["br-int"].ports,
    );
    let put = &diff(ports.0, ports.1).put[0];
    assert_eq!(
        (put.old.map(|port| port.tag), put.new.tag),
        (Some(None), Some(3))
    );
    assert_eq!(
        put.old.map(|port| &port.interfaces),
        Some(&put.new.interfaces)
    );
}

#[test]
fn guests_devices_go_back_into_a_bridge_that_somebody_deleted() {
    let mut want = HostState::new("c1");
    want.bridge_mut("br-int")
        .ports
        .insert("qvo1".to_owned(), guest("p1").into());
    let left_over = Bounds {
        devices: ["qvo1".to_owned()].into(),
        ..bounds()
    };
    let is_wanted = |seen: &HostState| {
        let (fitting, _) = fit(&want, seen, &left_over);
        fitting.bridges["br-int"].ports.contains_key("qvo1")
    };
    let mut seen = HostState::new("c1");
    assert!(is_wanted(&seen));
    seen.bridge_mut("br-int");
    assert!(!is_wanted(&seen), "who took it out of a bridge meant it");
}

#[test]
fn another_agents_controller_gives_way_to_nobody() {
    let mut want = HostState::new("c1");
    want.bridge_mut("br-int");
    let mut seen = want.clone();
    let (fitting, _) = fit(&want, &seen, &bounds());
    assert!(fitting.bridges["br-int"].controllers.is_empty());
    for left in ["tcp:127.0.0.1:6633", NO_CONTROLLER] {
        seen.bridge_mut("br-int").controllers = [left.to_owned()].into();
        let (fitting, _) = fit(&want, &seen, &bounds());
        let controllers = &fitting.bridges["br-int"].controllers;
        assert_eq!(controllers, &[NO_CONTROLLER.to_owned()].into());
    }
}

#[test]
fn a_port_that_intent_does_not_know_is_switched_off() {
    let mut want = HostState::new("c1");
    want.bridge_mut("br-int");
    let mut seen = HostState::new("c1");
    seen.bridge_mut("br-int")
        .ports
        .insert("qvo1".to_owned(), guest("gone").into());
    let (fitting, _) = fit(&want, &seen, &bounds());
    assert_eq!(
        fitting.bridges["br-int"].ports["qvo1"].tag,
        Some(plan::l2::DEAD_VLAN)
    );
}

#[test]
fn without_filters_no_guest_is_let_in() {
    let wired = |tag| {
        let mut bridge = Bridge::default();
        let port = Port { tag, ..guest("p1") };
        bridge.ports.insert("qvo1".to_owned(), port.into());
        BTreeMap::from([("br-int".to_owned(), bridge)])
    };
    let dead = wired(Some(plan::l2::DEAD_VLAN));
    assert_eq!(unwired(&wired(None), &wired(Some(3))), dead);
    assert_eq!(unwired(&wired(Some(2)), &wired(Some(3))), dead);
    assert_eq!(unwired(&BTreeMap::new(), &wired(Some(3))), dead);
    assert_eq!(unwired(&wired(Some(3)), &wired(Some(3))), wired(Some(3)));
}

#[test]
fn chains_and_rules_of_others_are_not_seen() {
    let read = |text: &str| read_iptables(text).expect("a dump");
    let seen = read(
        "*filter\n:FORWARD DROP [1:2]\n:DOCKER - [0:0]\n:neutron-openvswi-old - [0:0]\n\
         -A FORWARD -j DOCKER\n-A FORWARD -j neutron-openvswi-old\nCOMMIT\n*mangle\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n",
    );
    let want = read(
        "*filter\n:FORWARD ACCEPT [0:0]\n:neutron-openvswi-x - [0:0]\n-A FORWARD -j neutron-openvswi-x\nCOMMIT\n",
    );
    let ours = cut_iptables(&seen, &want, &[names::L2_CHAINS]);
    let left = read(
        "*filter\n:FORWARD ACCEPT [0:0]\n:neutron-openvswi-old - [0:0]\n-A FORWARD -j neutron-openvswi-old\nCOMMIT\n",
    );
    assert_eq!(ours, left);
}

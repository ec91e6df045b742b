//! The database and the flows of a real Open vSwitch, read, changed and watched.
mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc;

use agent::openflow::{Heard, Ports, Switch, message};
use agent::ovsdb::{Ovsdb, observe, write};
use agent::switches::Switches;
use host::Why;
use host::ovs::bridge::Flows;
use host::ovs::{Action, Bridge, Field, Flow, FlowKey, Interface, Match, Port};
use rig::{Rig, wait_for};

fn patch(peer: &str) -> Port {
    Port::default().with_interface(peer)
}

/// Building ports is only a test's need.
trait WithInterface {
    fn with_interface(self, peer: &str) -> Self;
}

impl WithInterface for Port {
    fn with_interface(mut self, peer: &str) -> Port {
        let options = BTreeMap::from([("peer".to_owned(), peer.to_owned())]);
        let interface = Interface {
            kind: "patch".to_owned(),
            options,
            ..Interface::default()
        };
        let own = if peer == "patch-int" {
            "patch-tun"
        } else {
            "patch-int"
        };
        self.interfaces.insert(own.to_owned(), interface);
        self
    }
}

fn bridges() -> BTreeMap<String, Bridge> {
    let bridge = |ports: &[(&str, Port)]| Bridge {
        datapath_type: "netdev".to_owned(),
        fail_mode: Some("secure".to_owned()),
        protocols: ["OpenFlow10", "OpenFlow13", "OpenFlow14"]
            .map(str::to_owned)
            .into(),
        ports: ports
            .iter()
            .map(|(name, port)| ((*name).to_owned(), port.clone().into()))
            .collect(),
        ..Bridge::default()
    };
    BTreeMap::from([
        (
            "br-int".to_owned(),
            bridge(&[("patch-tun", patch("patch-int"))]),
        ),
        (
            "br-tun".to_owned(),
            bridge(&[("patch-int", patch("patch-tun"))]),
        ),
    ])
}

/// What is there of what is wanted: the switch adds a port of the bridge's own name.
fn observed(ovsdb: &Ovsdb) -> BTreeMap<String, Bridge> {
    let mut bridges = observe::Bridges::default().read(&ovsdb.cache());
    for (name, bridge) in &mut bridges {
        bridge.ports.remove(name);
    }
    bridges
}

async fn made(rig: &Rig) -> Ovsdb {
    let ovsdb = rig.ovsdb(|| {});
    wait_for("the database", || ovsdb.cache().live).await;
    let operations = write::operations(&ovsdb.cache(), &observed(&ovsdb), &bridges());
    ovsdb.transact(operations).await.expect("bridges are made");
    assert_eq!(observed(&ovsdb), bridges());
    wait_for("port numbers", || {
        observed(&ovsdb)["br-int"].ofport("patch-tun").is_some()
    })
    .await;
    ovsdb
}

#[tokio::test]
async fn bridges_are_made_changed_and_removed() {
    let rig = Rig::start();
    let ovsdb = made(&rig).await;
    let mut wanted = bridges();
    let port = wanted
        .get_mut("br-int")
        .and_then(|b| b.ports.get_mut("patch-tun"))
        .expect("a port");
    port.tag = Some(7);
    port.other_config.insert("tag".to_owned(), "7".to_owned());
    wanted.remove("br-tun");
    let operations = write::operations(&ovsdb.cache(), &observed(&ovsdb), &wanted);
    ovsdb.transact(operations).await.expect("changes are made");
    assert_eq!(observed(&ovsdb), wanted);
    assert_eq!(
        write::operations(&ovsdb.cache(), &observed(&ovsdb), &wanted),
        Vec::<serde_json::Value>::new()
    );
    assert_eq!(
        rig.run(&["ovs-vsctl", "get", "Port", "patch-tun", "tag"])
            .trim(),
        "7"
    );
}

#[tokio::test]
async fn the_database_comes_back() {
    let mut rig = Rig::start();
    let ovsdb = made(&rig).await;
    rig.kill_database();
    wait_for("the loss", || !ovsdb.cache().live).await;
    assert!(ovsdb.transact(vec![]).await.is_err());
    rig.start_database();
    wait_for("the return", || ovsdb.cache().live).await;
    assert_eq!(observed(&ovsdb), bridges());
}

fn flows() -> Vec<(FlowKey, Flow)> {
    let key = |table, priority, matches| FlowKey {
        table,
        priority,
        matches,
    };
    let flow = |actions| Flow::new(0x77, actions, Why::none());
    let [push, set] = Action::tag(3);
    let mac = "fa:16:3e:00:00:11".parse().expect("a MAC");
    vec![
        (key(0, 65535, Match::any().vlan(4095)), flow(vec![])),
        (
            key(0, 9, Match::any().in_port("patch-tun")),
            flow(vec![Action::GotoTable(25)]),
        ),
        (
            key(4, 1, Match::any().field(Field::TunId, 0x26e)),
            flow(vec![push, set, Action::GotoTable(10)]),
        ),
        (
            key(20, 2, Match::any().vlan(1).eth_dst(mac)),
            flow(vec![
                Action::pop_vlan(),
                Action::set(Field::TunId, 5),
                Action::output("patch-tun"),
            ]),
        ),
        (
            key(
                24,
                2,
                Match::any()
                    .in_port("patch-tun")
                    .icmp6_type(136)
                    .ip6(Field::NdTarget, "fe80::1".parse().expect("an address")),
            ),
            flow(vec![Action::resubmit(60)]),
        ),
        (key(60, 0, Match::any()), flow(vec![Action::normal()])),
    ]
}

async fn read(switch: &Switch, ports: &Ports) -> Vec<(FlowKey, Flow)> {
    let body = switch.flows(None).await.expect("flows");
    let mut flows = message::flows(&body, ports).expect("readable");
    flows.sort_by(|a, b| a.0.cmp(&b.0));
    flows
}

#[tokio::test]
async fn flows_are_put_read_watched_and_come_back() {
    let mut rig = Rig::start();
    let ovsdb = made(&rig).await;
    let (tell, heard) = mpsc::channel();
    let switch = Switch::start(rig.path("br-int.mgmt"), move |what| {
        tell.send(what).unwrap_or(())
    });
    wait_for("the switch", || switch.is_up()).await;
    let ports = Ports::of(&observed(&ovsdb)["br-int"]);
    let bodies: Vec<_> = flows()
        .iter()
        .map(|(key, flow)| message::put(key, flow, &ports).expect("sayable"))
        .collect();
    switch.bundle(bodies).await.expect("a bundle");
    let mut wanted = flows();
    wanted.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(read(&switch, &ports).await, wanted);

    let gone = message::remove(&wanted[0].0, &ports).expect("sayable");
    switch.bundle(vec![gone]).await.expect("a bundle");
    assert_eq!(read(&switch, &ports).await, wanted[1..]);
    assert_eq!(
        heard.try_iter().collect::<Vec<_>>(),
        [Heard::Up],
        "own changes are not told"
    );

    rig.ofctl("del-flows", "br-int", &["table=60"]);
    wait_for("the watch", || {
        heard
            .try_iter()
            .any(|what| what == Heard::Changed { cookie: 0x77 })
    })
    .await;

    rig.kill_switch();
    wait_for("the loss", || {
        heard.try_iter().any(|what| what == Heard::Down)
    })
    .await;
    assert!(switch.flows(None).await.is_err());
    rig.start_switch();
    wait_for("the return", || {
        heard.try_iter().any(|what| what == Heard::Up)
    })
    .await;
}

/// A guest is unplugged between a look at the flows and their change: they are named by a port that
/// has no number any more.
#[tokio::test]
async fn flows_of_a_port_that_goes_in_the_middle_go_too() {
    let rig = Rig::start();
    let ovsdb = made(&rig).await;
    let mut switches = Switches::new(rig.path("."), BTreeSet::new(), |_, _| {});
    let name = "br-int".to_owned();
    switches.keep([&name].into_iter());
    wait_for("the switch", || switches.is_up(&name)).await;
    let ports = |ovsdb: &Ovsdb| Ports::of(&observed(ovsdb)["br-int"]);
    let before = ports(&ovsdb);
    let none = Flows::default();
    let wanted: Flows = flows().into_iter().collect();
    let refused = switches.apply(&name, &none, &wanted, &before).await;
    assert_eq!(refused.expect("flows are put").len(), 0);
    let seen = switches.observe(&name, &before).await.expect("flows");
    assert_eq!(seen.len(), wanted.len());

    rig.run(&["ovs-vsctl", "del-port", "br-int", "patch-tun"]);
    wait_for("the port is gone", || {
        observed(&ovsdb)["br-int"].ports.is_empty()
    })
    .await;
    let after = ports(&ovsdb);
    let refused = switches.apply(&name, &seen, &none, &after).await;
    assert!(!refused.expect("an answer").is_empty(), "it has no number");
    let seen = switches.observe(&name, &after).await.expect("flows");
    let refused = switches.apply(&name, &seen, &none, &after).await;
    assert_eq!(refused.expect("flows are removed").len(), 0);
    let left = switches.observe(&name, &after).await.expect("flows");
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_refused_flow_is_named_and_the_others_are_put() {
    let rig = Rig::start();
    let ovsdb = made(&rig).await;
    let switch = Switch::start(rig.path("br-int.mgmt"), |_| {});
    wait_for("the switch", || switch.is_up()).await;
    let ports = Ports::of(&observed(&ovsdb)["br-int"]);
    let key = FlowKey {
        table: 9,
        priority: 1,
        matches: Match::any(),
    };
    let backwards = Flow::new(1, vec![Action::GotoTable(3)], Why::none());
    let good = message::put(&flows()[0].0, &flows()[0].1, &ports).expect("sayable");
    let bad = message::put(&key, &backwards, &ports).expect("sayable");
    let refusals = switch.bundle(vec![good, bad]).await.expect("a bundle");
    assert_eq!(refusals.iter().map(|r| r.index).collect::<Vec<_>>(), [1]);
    assert_eq!(read(&switch, &ports).await, flows()[..1]);
}

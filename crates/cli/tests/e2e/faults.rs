//! What breaks is healed, and forwarding does not notice that the agent was away.

use crate::rig::{NUCLEON, Rig, lost, soon, tail, within};
use lab::Daemon;
use lab::client::text;
use serde_json::json;
use std::time::Duration;

/// What raises an event is healed in this time, counted from the damage.
const EVENT: Duration = Duration::from_secs(2);

/// What does not (iptables, ipset) is found by looking.
const LOOKED: Duration = Duration::from_secs(10);

/// A guest on each compute host, which reach each other.
pub(crate) fn pair() -> Rig {
    let mut rig = Rig::cloud();
    rig.network("red", "10.1.0.0/24");
    rig.add("a", "c1", "red");
    rig.add("b", "c2", "red");
    rig.guest("a").must_ping(rig.guest("b").ip());
    rig
}

#[test]
fn an_agent_killed_and_started_again_loses_no_packet() {
    let rig = pair();
    let pinging = rig
        .guest("a")
        .begins(&format!("ping -n -i 0.01 -c 600 {}", rig.guest("b").ip()));
    for pause in [700, 300, 1100] {
        std::thread::sleep(Duration::from_millis(pause));
        rig.lab.kill(Daemon::Agent, "c1").unwrap();
        rig.lab.start(Daemon::Agent, "c1").unwrap();
    }
    let said = pinging.finish();
    assert_eq!(lost(&said, 600), Vec::<u32>::new(), "{}", tail(&said));
}

#[test]
fn while_the_server_is_away_hosts_stay_as_they_are() {
    let mut rig = pair();
    let (a, b) = (rig.guest("a"), rig.guest("b"));
    rig.lab.kill(Daemon::Server, "net").unwrap();
    let flows = |rig: &Rig| rig.run("c1", "ovs-ofctl dump-flows --no-stats br-int");
    let before = flows(&rig);
    let said = a
        .begins(&format!("ping -n -i 0.05 -c 100 {}", b.ip()))
        .finish();
    assert!(said.contains(" 0% packet loss"), "{}", tail(&said));
    assert_eq!(flows(&rig), before);
    rig.lab.start(Daemon::Server, "net").unwrap();
    rig.add("late", "c1", "red");
    rig.guest("late").must_ping(rig.guest("b").ip());
}

#[test]
fn what_was_changed_in_the_switch_by_hand_is_changed_back() {
    let rig = pair();
    for bridge in ["br-int", "br-tun"] {
        // What the switch learned by itself it learns again when it is needed.
        let count = || {
            let flows = rig.run("c1", &format!("ovs-ofctl dump-flows {bridge}"));
            flows
                .lines()
                .filter(|line| line.contains("actions=") && !line.contains("hard_timeout="))
                .count()
        };
        let before = count();
        rig.run("c1", &format!("ovs-ofctl del-flows {bridge}"));
        within(EVENT, "the flows are back", || count() >= before);
        rig.guest("a").must_ping(rig.guest("b").ip());
    }

    let qvo = host::names::qvo(&rig.guest("a").guest.port.id.to_string());
    let tag = || rig.run("c1", &format!("ovs-vsctl get Port {qvo} tag"));
    let before = tag();
    rig.run("c1", &format!("ovs-vsctl set Port {qvo} tag=77"));
    within(EVENT, "the tag is set again", || tag() == before);
    rig.run("c1", &format!("ovs-vsctl remove Port {qvo} tag {before}"));
    within(EVENT, "the tag is there again", || tag() == before);
}

#[test]
fn bridges_that_were_deleted_by_hand_come_back() {
    let rig = pair();
    let place = rig.lab.place("c1").unwrap();
    // br-int with the guests' devices, which who plugged them in would not bring back.
    for bridge in ["br-tun", "br-int"] {
        let shown = || place.run(&["ovs-vsctl", "list-ports", bridge]);
        let before = shown().unwrap();
        rig.run("c1", &format!("ovs-vsctl del-br {bridge}"));
        within(EVENT, &format!("{bridge} is back with its ports"), || {
            shown().is_ok_and(|ports| ports == before)
        });
        within(EVENT, "guests reach each other", || {
            rig.guest("a").pings_once(rig.guest("b").ip())
        });
    }
    let id = rig.guest("a").guest.port.id;
    let interface = host::names::qvo(&id.to_string());
    let ids = rig.run(
        "c1",
        &format!("ovs-vsctl get Interface {interface} external_ids"),
    );
    assert!(
        ids.contains(&id.to_string()) && ids.contains("vm-uuid"),
        "{ids}"
    );
}

#[test]
fn a_switch_that_was_restarted_forwards_again() {
    let rig = pair();
    for with_database in [false, true] {
        rig.lab.restart_switch("c1", with_database).unwrap();
        soon("guests reach each other", || {
            rig.guest("a").pings_once(rig.guest("b").ip())
        });
    }
}

#[test]
fn chains_and_sets_that_were_emptied_come_back() {
    let rig = pair();
    let rules = || rig.run("c1", "iptables -S");
    let sets = || {
        let mut lines: Vec<String> = rig
            .run("c1", "ipset save")
            .lines()
            // A set that is made anew has another seed.
            .map(|line| line.split(" initval ").next().unwrap().to_owned())
            .collect();
        lines.sort();
        lines
    };
    let (rules_before, sets_before) = (rules(), sets());
    assert!(!sets_before.is_empty(), "there are sets to lose");
    rig.run("c1", "iptables -F neutron-openvswi-sg-chain");
    within(LOOKED, "the chain is filled again", || {
        rules() == rules_before
    });
    rig.run("c1", "ipset flush");
    within(LOOKED, "the sets are filled again", || {
        sets() == sets_before
    });
    // A set can be destroyed once no rule names it, and the agent is quick to bring rules back.
    let destroy = "until iptables -F && ip6tables -F && ipset destroy; do :; done";
    let place = rig.lab.place("c1").unwrap();
    place.run(&["timeout", "10", "sh", "-c", destroy]).unwrap();
    within(LOOKED, "the sets are there again", || sets() == sets_before);
    within(LOOKED, "the rules are there again", || {
        rules() == rules_before
    });
    rig.guest("a").must_ping(rig.guest("b").ip());
}

/// In c1 `ipset` goes on doing what it does, but for what the agent writes by.
fn break_ipset(rig: &Rig) {
    let folder = &rig.lab.machine("c1").unwrap().dir;
    let (real, broken) = (folder.join("ipset"), folder.join("broken"));
    std::fs::copy("/usr/sbin/ipset", &real).unwrap();
    let script = format!(
        "#!/bin/sh\n[ \"$1\" != restore ] || {{ echo ipset is broken >&2; exit 1; }}\nexec {} \"$@\"\n",
        real.display()
    );
    std::fs::write(&broken, script).unwrap();
    let broken = broken.display();
    rig.run("c1", &format!("chmod +x {broken}"));
    rig.run("c1", &format!("mount --bind {broken} /usr/sbin/ipset"));
}

#[test]
fn a_command_that_fails_leaves_the_rest_applied_and_is_tried_again() {
    let mut rig = pair();
    break_ipset(&rig);
    // A new member for a set of c1's, a rule beside it, and a guest on another host.
    rig.add("c", "c2", "red");
    rig.allow(
        &json!({"protocol": "tcp", "port_range_min": 4711, "port_range_max": 4711}),
        "a",
    );
    let c = rig.guest("c");
    let (ip, mac) = (c.ip().to_string(), c.guest.port.mac.clone());
    soon("rules are written", || {
        rig.run("c1", "iptables -S").contains("--dport 4711")
    });
    soon("flows are written", || {
        rig.run("c1", "ovs-ofctl dump-flows br-tun").contains(&mac)
    });
    soon("it is reported", || {
        rig.log("c1").contains("ipset is broken")
    });
    assert!(!rig.run("c1", "ipset save").contains(&ip));

    // Nobody comes in while it is not known that the rules stand.
    let network = rig.client().find("networks", "red").unwrap();
    let port = json!({"network_id": network["id"], "name": "late"});
    let port = rig.create("ports", "port", &port, &json!({}));
    let id = text(&port, "id").unwrap().to_owned();
    let status = || rig.client().get(&format!("ports/{id}")).unwrap()["status"].clone();
    rig.run("c1", "ip netns add late");
    let plug = format!("{NUCLEON} plug {id} --api http://10.20.0.11:9696 --host c1 --netns late");
    let tap = rig.run("c1", &plug);
    assert_eq!(tap.trim(), host::names::tap(&id));
    let qvo = host::names::qvo(&id);
    let tag = || rig.run("c1", &format!("ovs-vsctl get Port {qvo} tag"));
    soon("the guest is kept out", || tag().trim() == "4095");
    assert_eq!(status(), "DOWN");

    rig.run("c1", "umount /usr/sbin/ipset");
    soon("it was tried again", || {
        rig.run("c1", "ipset save").contains(&ip)
    });
    soon("the guest is let in", || {
        status() == "ACTIVE" && tag().trim() != "4095"
    });
    let address = port["fixed_ips"][0]["ip_address"].as_str().unwrap();
    let inside = "ip netns exec late";
    rig.run(
        "c1",
        &format!("{inside} ip address add {address}/24 dev eth0"),
    );
    rig.run("c1", &format!("{inside} ip link set eth0 up"));
    rig.run(
        "c1",
        &format!("{inside} ping -n -c 5 -i 0.2 -W 1 {}", rig.guest("b").ip()),
    );

    rig.run("c1", &format!("{NUCLEON} unplug {id}"));
    assert!(
        !rig.run("c1", "ip -br link").contains(&id[..11]),
        "devices are gone"
    );
    assert!(!rig.run("c1", "ovs-vsctl list-ports br-int").contains(&qvo));
    soon("the port is down", || status() == "DOWN");
}

//! What breaks is healed, and forwarding does not notice that the agent was away.

use crate::rig::{Rig, lost, soon, tail, within};
use lab::Daemon;
use std::time::Duration;

/// What raises an event is healed in this time, counted from the damage.
const EVENT: Duration = Duration::from_secs(2);

/// What does not (iptables, ipset) is found by looking.
const LOOKED: Duration = Duration::from_secs(10);

fn pair() -> Rig {
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
fn flows_that_were_flushed_come_back() {
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
}

#[test]
fn a_bridge_that_was_deleted_comes_back() {
    let rig = pair();
    rig.run("c1", "ovs-vsctl del-br br-tun");
    within(EVENT, "br-tun is back", || {
        let out = rig
            .lab
            .place("c1")
            .unwrap()
            .output(&["ovs-vsctl", "br-exists", "br-tun"], "")
            .unwrap();
        out.status.success()
    });
    soon("guests reach each other", || {
        rig.guest("a").pings_once(rig.guest("b").ip())
    });
}

#[test]
fn a_switch_that_was_restarted_forwards_again() {
    for with_database in [false, true] {
        let rig = pair();
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
            .map(str::to_owned)
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
    rig.guest("a").must_ping(rig.guest("b").ip());
}

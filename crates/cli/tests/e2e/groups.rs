//! Security groups, as real packets see them.

use crate::rig::{Rig, soon};
use serde_json::json;

/// Two guests on two hosts; `b` is in a group of its own that lets nothing in.
fn closed() -> Rig {
    let mut rig = Rig::cloud();
    rig.network("red", "10.1.0.0/24");
    rig.add("a", "c1", "red");
    rig.group("closed");
    rig.add_in_group("b", "c2", "red", "closed");
    rig
}

#[test]
fn nothing_comes_in_until_a_rule_says_so_and_nothing_after_it_is_gone() {
    let rig = closed();
    let (a, b) = (rig.guest("a"), rig.guest("b"));
    a.must_not_ping(b.ip());
    // What the guest itself began is answered.
    rig.allow(&json!({"protocol": "icmp"}), "a");
    soon("b reaches a", || b.pings_once(a.ip()));
    let rule = rig.rule("closed", &json!({"protocol": "icmp"}));
    soon("the rule lets ICMP in", || a.pings_once(b.ip()));
    rig.client()
        .delete(&format!("security-group-rules/{rule}"))
        .unwrap();
    soon("the rule is gone", || !a.pings_once(b.ip()));
    a.must_not_ping(b.ip());
}

#[test]
fn ports_and_protocols_are_told_apart() {
    let rig = closed();
    let (a, b) = (rig.guest("a"), rig.guest("b"));
    for port in [22, 79, 80, 85, 90, 91] {
        b.listens(port);
    }
    rig.rule(
        "closed",
        &json!({"protocol": "tcp", "port_range_min": 80, "port_range_max": 90}),
    );
    soon("the range is open", || a.connects(b.ip(), 80));
    let open: Vec<u16> = [22, 79, 80, 85, 90, 91]
        .into_iter()
        .filter(|port| a.connects(b.ip(), *port))
        .collect();
    assert_eq!(open, [80, 85, 90]);
    a.must_not_ping(b.ip());

    rig.rule(
        "closed",
        &json!({"protocol": "udp", "port_range_min": 5000, "port_range_max": 5000}),
    );
    let seen = b.capture("udp");
    soon("UDP comes in", || {
        for port in [5000, 5001] {
            a.sh(&format!("echo hello | nc -u -w1 {} {port}", b.ip()));
        }
        seen.text().contains(": UDP")
    });
    let seen = seen.stop();
    assert!(seen.contains(".5000: UDP"), "{seen}");
    assert!(!seen.contains(".5001: UDP"), "{seen}");
}

#[test]
fn a_rule_that_goes_takes_the_connections_along_that_it_let_in() {
    let rig = closed();
    let (a, b) = (rig.guest("a"), rig.guest("b"));
    let rule = rig.rule("closed", &json!({"protocol": "icmp"}));
    soon("the rule lets ICMP in", || a.pings_once(b.ip()));
    // One long conversation: established, so no rule need name it again but for the cut.
    let pinging = a.begins(&format!("ping -n -i 0.1 -w 20 {}", b.ip()));
    soon("the conversation goes on", || pinging.lines() > 5);
    rig.client()
        .delete(&format!("security-group-rules/{rule}"))
        .unwrap();
    soon("the conversation is cut", || {
        let before = pinging.lines();
        std::thread::sleep(std::time::Duration::from_millis(500));
        pinging.lines() == before
    });
}

#[test]
fn members_of_a_remote_group_come_and_go() {
    let mut rig = closed();
    let friends = rig.group("friends");
    rig.rule("closed", &json!({"remote_group_id": friends}));
    rig.add_in_group("friend", "c1", "red", "friends");
    let b = rig.guest("b").ip();
    soon("a member comes in", || rig.guest("friend").pings_once(b));
    rig.guest("a").must_not_ping(b);
    let group = rig.group_id("friends");
    rig.update_port("a", &json!({"security_groups": [group]}));
    soon("a new member comes in", || rig.guest("a").pings_once(b));
    rig.update_port("a", &json!({"security_groups": [rig.group_id("closed")]}));
    soon("a former member stays out", || {
        !rig.guest("a").pings_once(b)
    });
    rig.guest("friend").must_ping(b);
}

#[test]
fn without_port_security_nothing_is_filtered() {
    let mut rig = closed();
    rig.add_with("open", "c2", "red", |wish| {
        wish.port("port_security_enabled", json!(false))
    });
    rig.guest("a").must_ping(rig.guest("open").ip());
    let refused = rig
        .lab
        .add_guest(lab::GuestWish {
            direct: true,
            ..lab::GuestWish::new("bold", "c2", "red")
        })
        .unwrap_err();
    assert!(refused.to_string().contains("port security"), "{refused}");
}

#[test]
fn ipv6_has_rules_of_its_own() {
    let mut rig = Rig::cloud();
    rig.network("six", "2001:db8:1::/64");
    rig.add("a", "c1", "six");
    rig.group("closed");
    rig.add_in_group("b", "c2", "six", "closed");
    let (a, b) = (rig.guest("a"), rig.guest("b"));
    rig.rule("closed", &json!({"protocol": "icmp"}));
    a.must_not_ping(b.ip());
    let rule = json!({"protocol": "ipv6-icmp", "ethertype": "IPv6"});
    rig.rule("closed", &rule);
    soon("the rule lets ICMPv6 in", || a.pings_once(b.ip()));

    // Who asks for b's MAC is answered on the own host: b hears nothing of it. The kernel's datapath
    // can't write such an answer.
    let asked = b.capture("icmp6 and ip6[40] == 135");
    a.run("ip -6 neigh flush dev eth0");
    a.must_ping(b.ip());
    let asked = asked.stop();
    let heard = asked.contains(&format!("who has {}", b.ip()));
    assert_eq!(heard, rig.lab.datapath() == "system", "{asked}");
}

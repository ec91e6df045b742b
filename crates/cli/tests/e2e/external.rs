//! What br-ex leads to: a card, or the host's own address.

use crate::clouds::{OUTSIDE, ip, pings};
use crate::rig::{NUCLEON, Rig, soon};
use serde_json::json;

#[test]
fn the_external_bridge_leads_to_a_card_or_out_by_the_hosts_own_address() {
    let mut rig = Rig::cloud();
    let red = rig.net("red", &json!({}));
    let subnet = rig.subnet(&red, "10.1.0.0/24", &json!({}));
    let router = rig.router("r", &[&subnet]);
    let public = rig.public();
    rig.lead_outside(&router, &public, &json!({}));
    rig.add("red1", "c1", "red");
    rig.open("red1");
    let (_, floating) = rig.float(&public, "red1");
    let external = |what: &str| rig.run("net", &format!("{NUCLEON} external {what}"));
    let (net, red1) = (rig.lab.place("net").unwrap(), rig.guest("red1"));
    let looks = || {
        [
            "ip -4 -o addr show dev br-ex",
            "iptables-save",
            "sysctl net.ipv4.ip_forward",
        ]
        .map(|command| rig.run("net", command))
        .map(|said| {
            said.lines()
                .filter(|line| !line.starts_with(['#', ':']))
                .collect::<String>()
        })
    };
    red1.must_ping(ip(OUTSIDE));
    let before = looks();

    external("disconnect eth2");
    soon("nothing is behind the bridge", || {
        !red1.pings_once(ip(OUTSIDE))
    });
    for _ in 0..2 {
        external("nat 172.24.4.225/28");
    }
    let masquerades = rig.run("net", "iptables -t nat -S POSTROUTING");
    assert_eq!(
        masquerades.matches("MASQUERADE").count(),
        1,
        "{masquerades}"
    );
    // Another host of the management network, which knows no way to the external one.
    let other = rig.run("c1", "ip -4 -o addr show dev eth0");
    let other = other
        .split_whitespace()
        .nth(3)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    red1.must_ping(ip(other));
    soon("the host reaches a floating IP", || pings(&net, floating));

    for _ in 0..2 {
        external("no-nat 172.24.4.225/28");
    }
    soon("the host is no gateway", || !red1.pings_once(ip(other)));
    assert_eq!(looks(), before);
    for _ in 0..2 {
        external("connect eth2");
    }
    // The gateway is another again, and says so.
    rig.outside()
        .run(&["arping", "-q", "-U", "-c", "1", "-I", "eth0", OUTSIDE])
        .unwrap();
    red1.must_ping(ip(OUTSIDE));
    let refused = net
        .run(&[NUCLEON, "external", "connect", "eth0"])
        .unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("eth0 was refused: it has the address"),
        "{refused}"
    );
}

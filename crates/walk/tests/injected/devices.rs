//! Devices that are down, gone, too narrow or out of their bridge.
use super::*;

#[test]
fn the_switchs_end_of_a_pair_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c1/ns-root", "qvo8852251e-44");
    let qvo = "qvo8852251e-44@qvb8852251e-44: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    walks(&hand)
        .lost(
            qvo,
            &[
                "green1 > green2 icmp",
                "red2 > green1 icmp",
                "green1 > dhcp",
            ],
        )
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn the_bridges_end_of_a_pair_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c1/ns-root", "qvb8852251e-44");
    let qvb = "qvb8852251e-44@qvo8852251e-44: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    walks(&hand)
        .lost(qvb, &["green1 > green2 icmp", "red2 > green1 icmp"])
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_tap_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c2/ns-root", "tap70a62c89-12");
    let tap = "tap70a62c89-12@if2: <BROADCAST,MULTICAST> mtu 1450";
    walks(&hand)
        .lost(tap, &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > green2 icmp"]);
}

/// With what the bridge says of the port, which then forwards nothing.
#[test]
fn a_device_that_is_down_and_disabled_in_its_bridge() {
    let port = |dev: &str, bridge: &str| {
        format!("7: {dev}: <BROADCAST,MULTICAST> mtu 1450 master {bridge} state disabled\n")
    };
    let mut hand = healthy(LEGACY);
    hand.link_down("c2/ns-root", "tap70a62c89-12");
    let disabled = port("tap70a62c89-12@if2", "qbr70a62c89-12");
    hand.0
        .insert("c2/ns-root/bridge-link.txt".to_owned(), disabled);
    let tap = "tap70a62c89-12@if2: <BROADCAST,MULTICAST> mtu 1450";
    walks(&hand).lost(tap, &["red1 > red3 icmp"]);

    // The far end of its pair is the bridge's port.
    let mut hand = healthy(LEGACY);
    hand.link_down("c1/ns-root", "qvo8852251e-44");
    let disabled = port("qvb8852251e-44@qvo8852251e-44", "qbr8852251e-44");
    hand.0
        .insert("c1/ns-root/bridge-link.txt".to_owned(), disabled);
    let qvo = "qvo8852251e-44@qvb8852251e-44: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    walks(&hand).lost(qvo, &["green1 > green2 icmp"]);
}

#[test]
fn a_firewall_bridge_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c2/ns-root", "qbr70a62c89-12");
    let bridge = "qbr70a62c89-12: <BROADCAST,MULTICAST> mtu 1450";
    walks(&hand).lost(bridge, &["red1 > red3 icmp", "red3 > red1 icmp"]);
}

#[test]
fn a_pair_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.pair_gone("c1", ["qvo8852251e-44", "qvb8852251e-44"]);
    let culprit = "MISSING";
    walks(&hand)
        .lost(culprit, &["green1 > green2 icmp", "red2 > green1 icmp"])
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_tap_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_device("c2/ns-root", "tap70a62c89-12");
    let culprit = "MISSING device tap70a62c89-12";
    walks(&hand)
        .lost(culprit, &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > green2 icmp"]);
}

#[test]
fn a_firewall_bridge_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_device("c2/ns-root", "qbr70a62c89-12");
    hand.replace_all("c2/ns-root/ip-a.txt", " master qbr70a62c89-12", "");
    let culprit = "MISSING device qbr70a62c89-12";
    walks(&hand)
        .lost(culprit, &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > green2 icmp"]);
}

#[test]
fn a_tap_of_the_native_firewall_is_down() {
    let mut hand = healthy(NATIVE);
    hand.link_down("c2/ns-root", "tapc3adbb31-e7");
    let tap = "tapc3adbb31-e7@if2: <BROADCAST,MULTICAST";
    walks(&hand)
        .lost(tap, &["red1 > green2 icmp", "green2 > red1 icmp"])
        .fine(&["red1 > red3 icmp"]);
}

#[test]
fn the_underlays_card_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c2/ns-root", "eth1");
    let card = "eth1@if";
    walks(&hand)
        .lost(
            card,
            &["red1 > red3 icmp", "red3 > red1 icmp", "red3 > dhcp"],
        )
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn the_underlays_card_is_too_narrow() {
    let mut hand = healthy(LEGACY);
    let head = hand.line("c2/ns-root/ip-a.txt", &[": eth1@", "mtu"]);
    hand.replace(
        "c2/ns-root/ip-a.txt",
        &head,
        &head.replace("mtu 1500", "mtu 1400"),
    );
    walks(&hand)
        .lost("eth1@if", &["red3 > red1 size 1400"])
        .fine(&["red3 > red1 size 1200", "red1 > red2 size 1400"]);
}

#[test]
fn the_way_out_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("net/ns-root", "eth2");
    walks(&hand)
        .lost("eth2@if", &["red2 > outside icmp", "outside > fip icmp"])
        .fine(&["red2 > green2 icmp"]);
}

#[test]
fn a_tap_is_in_another_guests_bridge() {
    let mut hand = healthy(LEGACY);
    let head = hand.line("c2/ns-root/ip-a.txt", &[": tap70a62c89-12@", "mtu"]);
    let moved = head.replace("master qbr70a62c89-12", "master qbr954df716-c8");
    hand.replace("c2/ns-root/ip-a.txt", &head, &moved);
    let tap = "tap70a62c89-12@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450";
    walks(&hand)
        .lost(tap, &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > green2 icmp"]);
}

#[test]
fn two_guests_ends_are_swapped() {
    let mut hand = healthy(LEGACY);
    for (dev, old, new) in [
        ("qvb70a62c89-12", "qbr70a62c89-12", "qbr954df716-c8"),
        ("qvb954df716-c8", "qbr954df716-c8", "qbr70a62c89-12"),
    ] {
        let head = hand.line("c2/ns-root/ip-a.txt", &[&format!(": {dev}@"), "mtu"]);
        hand.replace(
            "c2/ns-root/ip-a.txt",
            &head,
            &head.replace(&format!("master {old}"), &format!("master {new}")),
        );
    }
    walks(&hand)
        .lost("qvb", &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > red2 icmp"]);
}

//! Devices that are down, gone, too narrow or out of their bridge.
use super::*;

#[test]
fn the_switchs_end_of_a_pair_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c1/ns-root", "qvo8852251e-44");
    let qvo = "qvo8852251e-44@qvb8852251e-44: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    check(
        &hand,
        &[
            ("green1 > green2 icmp", Lost, qvo),
            ("red2 > green1 icmp", Lost, qvo),
            ("green1 > dhcp", Lost, qvo),
            ("red1 > red2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn the_bridges_end_of_a_pair_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c1/ns-root", "qvb8852251e-44");
    let qvb = "qvb8852251e-44@qvo8852251e-44: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    check(
        &hand,
        &[
            ("green1 > green2 icmp", Lost, qvb),
            ("red2 > green1 icmp", Lost, qvb),
            ("red1 > red2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_tap_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c2/ns-root", "tap70a62c89-12");
    let tap = "tap70a62c89-12@if2: <BROADCAST,MULTICAST> mtu 1450";
    check(
        &hand,
        &[
            ("red1 > red3 icmp", Lost, tap),
            ("red3 > red1 icmp", Lost, tap),
            ("red1 > green2 icmp", Fine, ""),
        ],
    );
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
    check(&hand, &[("red1 > red3 icmp", Lost, tap)]);

    // The far end of its pair is the bridge's port.
    let mut hand = healthy(LEGACY);
    hand.link_down("c1/ns-root", "qvo8852251e-44");
    let disabled = port("qvb8852251e-44@qvo8852251e-44", "qbr8852251e-44");
    hand.0
        .insert("c1/ns-root/bridge-link.txt".to_owned(), disabled);
    let qvo = "qvo8852251e-44@qvb8852251e-44: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    check(&hand, &[("green1 > green2 icmp", Lost, qvo)]);
}

#[test]
fn a_firewall_bridge_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c2/ns-root", "qbr70a62c89-12");
    let bridge = "qbr70a62c89-12: <BROADCAST,MULTICAST> mtu 1450";
    check(
        &hand,
        &[
            ("red1 > red3 icmp", Lost, bridge),
            ("red3 > red1 icmp", Lost, bridge),
        ],
    );
}

#[test]
fn a_pair_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.pair_gone("c1", ["qvo8852251e-44", "qvb8852251e-44"]);
    let culprit = "MISSING";
    check(
        &hand,
        &[
            ("green1 > green2 icmp", Lost, culprit),
            ("red2 > green1 icmp", Lost, culprit),
            ("red1 > red2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_tap_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_device("c2/ns-root", "tap70a62c89-12");
    let culprit = "MISSING device tap70a62c89-12";
    check(
        &hand,
        &[
            ("red1 > red3 icmp", Lost, culprit),
            ("red3 > red1 icmp", Lost, culprit),
            ("red1 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_firewall_bridge_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_device("c2/ns-root", "qbr70a62c89-12");
    hand.replace_all("c2/ns-root/ip-a.txt", " master qbr70a62c89-12", "");
    let culprit = "MISSING device qbr70a62c89-12";
    check(
        &hand,
        &[
            ("red1 > red3 icmp", Lost, culprit),
            ("red3 > red1 icmp", Lost, culprit),
            ("red1 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_tap_of_the_native_firewall_is_down() {
    let mut hand = healthy(NATIVE);
    hand.link_down("c2/ns-root", "tapc3adbb31-e7");
    let tap = "tapc3adbb31-e7@if2: <BROADCAST,MULTICAST";
    check(
        &hand,
        &[
            ("red1 > green2 icmp", Lost, tap),
            ("green2 > red1 icmp", Lost, tap),
            ("red1 > red3 icmp", Fine, ""),
        ],
    );
}

#[test]
fn the_underlays_card_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("c2/ns-root", "eth1");
    let card = "eth1@if";
    check(
        &hand,
        &[
            ("red1 > red3 icmp", Lost, card),
            ("red3 > red1 icmp", Lost, card),
            ("red3 > dhcp", Lost, card),
            ("red1 > red2 icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[
            ("red3 > red1 size 1400", Lost, "eth1@if"),
            ("red3 > red1 size 1200", Fine, ""),
            ("red1 > red2 size 1400", Fine, ""),
        ],
    );
}

#[test]
fn the_way_out_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down("net/ns-root", "eth2");
    check(
        &hand,
        &[
            ("red2 > outside icmp", Lost, "eth2@if"),
            ("outside > fip icmp", Lost, "eth2@if"),
            ("red2 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_tap_is_in_another_guests_bridge() {
    let mut hand = healthy(LEGACY);
    let head = hand.line("c2/ns-root/ip-a.txt", &[": tap70a62c89-12@", "mtu"]);
    let moved = head.replace("master qbr70a62c89-12", "master qbr954df716-c8");
    hand.replace("c2/ns-root/ip-a.txt", &head, &moved);
    let tap = "tap70a62c89-12@if2: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450";
    check(
        &hand,
        &[
            ("red1 > red3 icmp", Lost, tap),
            ("red3 > red1 icmp", Lost, tap),
            ("red1 > green2 icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[
            ("red1 > red3 icmp", Lost, "qvb"),
            ("red3 > red1 icmp", Lost, "qvb"),
            ("red1 > red2 icmp", Fine, ""),
        ],
    );
}

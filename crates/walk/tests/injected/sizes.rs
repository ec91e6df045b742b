//! Devices that are too narrow for what their network's guests may send.
use super::*;

/// A device is narrow: packets of 1,400 bytes of payload are lost by it, shorter ones are not.
fn narrow(case: &str, (folder, dev): (&str, &str), lost: &[&str], fine: &[&str]) {
    let mut hand = healthy(case);
    let path = format!("{folder}/ip-a.txt");
    let head = hand.line(&path, &[&format!(": {dev}"), "mtu"]);
    let mtu = head.split_once(" mtu ").expect("its mtu").1;
    let mtu = mtu.split(' ').next().expect("a number");
    let wide = format!("mtu {mtu}");
    hand.replace(&path, &head, &head.replace(&wide, "mtu 1300"));
    let sized = |words: &[&str], size: u32| -> Vec<String> {
        let sized = words.iter().map(|words| format!("{words} size {size}"));
        sized.collect()
    };
    let walks = walks(&hand);
    for words in sized(lost, 1400) {
        walks.lost(dev, &[&words]);
    }
    for words in [sized(lost, 1200), sized(fine, 1400)].concat() {
        walks.fine(&[&words]);
    }
}

#[test]
fn a_guests_devices_are_too_narrow() {
    for dev in ["tap70a62c89-12", "qvb70a62c89-12", "qvo70a62c89-12"] {
        let lost = ["red1 > red3", "red3 > red1", "red3 > outside"];
        narrow(
            LEGACY,
            ("c2/ns-root", dev),
            &lost,
            &["red1 > red2", "green2 > red1"],
        );
    }
    let lost = ["red1 > green2", "green2 > red1"];
    narrow(
        NATIVE,
        ("c2/ns-root", "tapc3adbb31-e7"),
        &lost,
        &["red1 > red3"],
    );
}

#[test]
fn a_routers_devices_are_too_narrow() {
    let inner = (ROUTER, "qr-dfa7b5a4-cb");
    narrow(
        LEGACY,
        inner,
        &["red2 > green2"],
        &["red2 > outside", "red1 > red3"],
    );
    let outer = (ROUTER, "qg-268cdba4-45");
    narrow(
        LEGACY,
        outer,
        &["red2 > outside", "red1 > outside"],
        &["red2 > green2"],
    );
    let to_floating_ips = (
        "c1/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "rfp-aa81c5f9-e",
    );
    narrow(
        DISTRIBUTED,
        to_floating_ips,
        &["red1 > outside"],
        &["red2 > outside"],
    );
    let central = (
        "net/ns-snat-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "qg-b3771ccb-c3",
    );
    narrow(
        DISTRIBUTED,
        central,
        &["red2 > outside"],
        &["red1 > outside", "red1 > green2"],
    );
}

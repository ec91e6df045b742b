//! Ports of Open vSwitch that are deleted, and bridges without their flows.
use super::*;

#[test]
fn a_guests_port_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("c1", "qvo8852251e-44");
    let port = "MISSING Port qvo8852251e-44 tag: 2";
    walks(&hand)
        .lost(
            port,
            &[
                "green1 > green2 icmp",
                "red2 > green1 icmp",
                "green1 > dhcp",
            ],
        )
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_guests_port_of_the_native_firewall_is_deleted() {
    let mut hand = healthy(NATIVE);
    hand.del_port("c2", "tapc3adbb31-e7");
    let port = "MISSING Port tapc3adbb31-e7 tag: 2";
    walks(&hand)
        .lost(port, &["red1 > green2 icmp", "green2 > red1 icmp"])
        .fine(&["red1 > red3 icmp"]);
}

#[test]
fn the_patch_to_the_tunnels_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("c1", "patch-tun");
    let port = "MISSING Port patch-tun";
    walks(&hand)
        .lost(
            port,
            &["red1 > red3 icmp", "red3 > red1 icmp", "red2 > dhcp"],
        )
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_tunnel_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("c1", "vxlan-0a1e000d");
    let port = "MISSING Port vxlan-0a1e000d";
    walks(&hand)
        .lost(port, &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > outside icmp"]);
}

#[test]
fn the_patch_to_the_outside_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("net", "int-br-ex");
    let port = "MISSING Port int-br-ex";
    walks(&hand)
        .lost(port, &["red2 > outside icmp", "outside > fip icmp"])
        .fine(&["red2 > green2 icmp"]);
}

#[test]
fn the_card_is_out_of_the_provider_bridge() {
    let mut hand = healthy(LEGACY);
    hand.del_port("net", "eth2");
    walks(&hand)
        .lost(
            "MISSING Port eth2",
            &["red2 > outside icmp", "outside > fip icmp"],
        )
        .fine(&["red2 > green2 icmp"]);
}

#[test]
fn a_bridge_has_lost_all_its_flows() {
    let mut hand = healthy(LEGACY);
    hand.empty("c2/flows-br-int.names.txt");
    walks(&hand)
        .lost(
            "MISSING flows of br-",
            &["red1 > red3 icmp", "red3 > red1 icmp"],
        )
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_tunnel_bridge_has_lost_all_its_flows() {
    let mut hand = healthy(NATIVE);
    hand.empty("c2/flows-br-tun.names.txt");
    walks(&hand)
        .lost(
            "MISSING flows of br-",
            &["red1 > red3 icmp", "red3 > red1 icmp"],
        )
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_port_is_in_the_dead_vlan() {
    let mut hand = healthy(LEGACY);
    let row = hand.line("c1/ovsdb-Port.txt", &["segmentation_id=\"443\""]);
    assert!(row.contains("tag=\"2\""));
    hand.replace(
        "c1/ovsdb-Port.txt",
        "tag                 : 2",
        "tag                 : 4095",
    );
    let port = "Port qvo8852251e-44 tag: 4095";
    walks(&hand).lost(port, &["green1 > green2 icmp", "red2 > green1 icmp"]);
}

#[test]
fn an_answer_to_arp_is_wrong_on_one_host() {
    let mut hand = healthy(LEGACY);
    let flow = hand.line(
        "c1/flows-br-tun.names.txt",
        &["table=21", "arp_tpa=10.1.0.13"],
    );
    let wrong = flow.replace("fa:16:3e:00:00:14", "fa:16:3e:00:00:99");
    hand.replace("c1/flows-br-tun.names.txt", &flow, &wrong);
    walks(&hand)
        .lost(&wrong, &["red1 > red3 icmp"])
        .unanswered(&wrong, &["red3 > red1 icmp"])
        .fine(&["red2 > green2 icmp"]);
}

#[test]
fn a_tunnel_has_a_key_of_its_own() {
    let mut hand = healthy(LEGACY);
    for file in ["c1/ovsdb-Interface.txt", "c1/ovs-vsctl-show.txt"] {
        let old = "in_key=flow, local_ip=\"10.30.0.12\", out_key=flow, remote_ip=\"10.30.0.13\"";
        hand.replace(file, old, &old.replace("flow", "\"5\""));
    }
    let port = "Interface vxlan-0a1e000d type: vxlan options: {df_default=\"true\", egress_pkt_mark=\"0\", in_key=\"5\"";
    walks(&hand)
        .lost(port, &["red1 > red3 icmp", "red3 > red1 icmp"])
        .fine(&["red1 > outside icmp"]);
}

#[test]
fn a_tunnel_has_another_udp_port() {
    let mut hand = healthy(LEGACY);
    for file in ["c1/ovsdb-Interface.txt", "c1/ovs-vsctl-show.txt"] {
        let old = "{df_default=\"true\", egress_pkt_mark=\"0\", in_key=flow, local_ip=\"10.30.0.12\", out_key=flow, remote_ip=\"10.30.0.13\"";
        hand.replace(
            file,
            old,
            &old.replace(
                "df_default=\"true\"",
                "df_default=\"true\", dst_port=\"4790\"",
            ),
        );
    }
    let port =
        "Interface vxlan-0a1e000d type: vxlan options: {df_default=\"true\", dst_port=\"4790\"";
    walks(&hand).lost(port, &["red1 > red3 icmp", "red3 > red1 icmp"]);
}

#[test]
fn a_port_is_made_a_trunk() {
    let mut hand = healthy(LEGACY);
    let tagged = "tag                 : 2\nvlan_mode           : []\ntrunks              : []";
    let trunk = "tag                 : 2\nvlan_mode           : trunk\ntrunks              : [7]";
    hand.replace("c1/ovsdb-Port.txt", tagged, trunk);
    hand.replace(
        "c1/ovs-vsctl-show.txt",
        "            tag: 2\n",
        "            tag: 2\n            trunks: [7]\n",
    );
    let port = "Port qvo8852251e-44 tag: 2 vlan_mode: trunk trunks: [7]";
    walks(&hand)
        .lost(port, &["green1 > green2 icmp", "red2 > green1 icmp"])
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_port_of_the_native_firewall_has_no_flows() {
    let mut hand = healthy(NATIVE);
    hand.without(
        "c2/flows-br-int.names.txt",
        &["tapc3adbb31-e7", "reg5=0x4", "0x4->reg5"],
    );
    walks(&hand)
        .fine(&["red1 > green2 tcp 22", "red1 > red3 icmp"])
        .fine_but(
            "MISSING cookie=0xbea4e3fbfdee8a94, table=60, priority=",
            &["red1 > green2 tcp 443"],
        );
}

#[test]
fn a_port_takes_nothing_in_or_sends_nothing() {
    let (switch, port) = (("c1", "br-int"), "qvo8852251e-44");
    let mut hand = healthy(LEGACY);
    let takes_nothing = hand.mod_port(switch, port, "NO_RECV");
    walks(&hand)
        .lost(&takes_nothing, &["green1 > green2 icmp", "green1 > dhcp"])
        .unanswered(&takes_nothing, &["green2 > green1 icmp"])
        .fine(&["red1 > red3 icmp"]);
    let mut hand = healthy(LEGACY);
    let sends_nothing = hand.mod_port(switch, port, "NO_FWD");
    walks(&hand)
        .lost(
            &sends_nothing,
            &["green1 > green2 icmp", "red2 > green1 icmp"],
        )
        .unanswered(&sends_nothing, &["green1 > dhcp"])
        .fine(&["red1 > red3 icmp"]);
    let mut hand = healthy(LEGACY);
    let not_flooded = hand.mod_port(switch, "patch-tun", "NO_FLOOD");
    walks(&hand)
        .lost(&not_flooded, &["red2 > dhcp"])
        .fine(&["red1 > red2 icmp"]);
}

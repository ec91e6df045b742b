//! One fault that shows in several flows: a member of a group, a network's number, a guest's MAC.
use super::*;

#[test]
fn a_member_of_a_remote_group_is_missing_in_flows() {
    let mut hand = healthy(NATIVE);
    hand.without(
        "c1/flows-br-int.names.txt",
        &["nw_src=10.2.2.12 actions=conjunction"],
    );
    let member = "MISSING cookie=0x233b235520c94d51, table=82, priority=73,ct_state=+new-est,ip,\
                  reg6=0x1,nw_src=10.2.2.12 ";
    walks(&hand)
        .lost(member, &["green2 > red1 tcp 8000"])
        .fine(&["green1 > red1 tcp 8000", "red1 > green2 tcp 22"]);
}

#[test]
fn a_host_has_another_number_for_a_network() {
    for case in [LEGACY, NATIVE, DISTRIBUTED] {
        let mut hand = healthy(case);
        let flow = hand.line("c2/flows-br-tun.names.txt", &["table=4", "4097->vlan_vid"]);
        let number = flow.split_once("tun_id=").expect("a number").1;
        let number = number.split(' ').next().expect("a number").to_owned();
        hand.replace_all("c2/flows-br-tun.names.txt", &number, "0x999");
        walks(&hand)
            .lost(&flow.replace(&number, "0x999"), &["red1 > red3 icmp"])
            .lost("cookie=", &["red3 > dhcp"])
            .fine(&["red1 > red2 icmp", "green1 > green2 icmp"]);
    }
}

/// `ovs-vsctl set port` of the tag and of what Neutron keeps beside it.
#[test]
fn a_port_is_in_anothers_network_and_says_so() {
    let mut hand = healthy(LEGACY);
    let mut rows: Vec<String> = hand.0["c1/ovsdb-Port.txt"]
        .split("\n\n")
        .map(str::to_owned)
        .collect();
    let row = rows
        .iter_mut()
        .find(|row| row.contains("qvo8852251e-44"))
        .expect("its row");
    *row = row
        .replace("tag=\"2\"", "tag=\"1\"")
        .replace("tag                 : 2", "tag                 : 1");
    hand.0
        .insert("c1/ovsdb-Port.txt".to_owned(), rows.join("\n\n"));
    hand.0.remove("c1/ovsdb-Port.json");
    let port = "Port qvo8852251e-44 tag: 1";
    walks(&hand)
        .lost(port, &["green1 > green2 icmp", "red2 > green1 icmp"])
        .fine(&["red1 > red2 icmp", "red1 > green2 icmp"]);
}

#[test]
fn the_native_firewall_knows_a_guest_by_another_mac() {
    let mut hand = healthy(NATIVE);
    let flows = "c1/flows-br-int.names.txt";
    hand.replace_all(
        flows,
        "dl_src=fa:16:3e:00:00:12",
        "dl_src=fa:16:3e:00:00:99",
    );
    walks(&hand)
        .lost(
            "cookie=0x233b235520c94d51, table=71, priority=95,arp,",
            &["red2 > red3 icmp"],
        )
        .fine(&["red1 > red3 icmp"]);
}

#[test]
fn a_guest_is_known_at_another_host() {
    let mut hand = healthy(LEGACY);
    let flows = "c1/flows-br-tun.names.txt";
    let flow = hand.line(flows, &["table=20", "dl_dst=fa:16:3e:00:00:14"]);
    let wrong = flow.replace("0a1e000d", "0a1e000b");
    hand.replace(flows, &flow, &wrong);
    walks(&hand)
        .lost(&wrong, &["red1 > red3 icmp"])
        .fine(&["red1 > outside icmp"]);
}

#[test]
fn two_ports_of_a_router_have_each_others_tags() {
    let mut hand = healthy(LEGACY);
    let rows = hand.0["net/ovsdb-Port.txt"].split("\n\n").map(|row| {
        let (old, new) = match row {
            row if row.contains("qr-48f21b29-ad") => (1, 3),
            row if row.contains("qr-dfa7b5a4-cb") => (3, 1),
            _ => return row.to_owned(),
        };
        let tag = |tag| format!("tag                 : {tag}\n");
        row.replace(&tag(old), &tag(new))
    });
    let rows: Vec<String> = rows.collect();
    hand.0
        .insert("net/ovsdb-Port.txt".to_owned(), rows.join("\n\n"));
    hand.0.remove("net/ovsdb-Port.json");
    let of_red = "Port qr-48f21b29-ad tag: 3 (its other_config says tag=\"1\")";
    walks(&hand)
        .lost(of_red, &["red2 > outside icmp", "red2 > 10.1.0.1 icmp"])
        .fine(&["red1 > red3 icmp", "green1 > green2 icmp"]);
}

#[test]
fn the_native_firewall_gives_a_guest_anothers_zone() {
    let mut hand = healthy(NATIVE);
    let flows = "c2/flows-br-int.names.txt";
    let flow = hand.line(flows, &["table=60, priority=100", "tapc3adbb31-e7"]);
    let wrong = flow.replace("set_field:0x2->reg6", "set_field:0x1->reg6");
    hand.replace(flows, &flow, &wrong);
    walks(&hand)
        .unanswered(&wrong, &["red1 > green2 icmp", "red1 > green2 tcp 22"])
        .fine(&["red1 > red3 icmp"]);
}

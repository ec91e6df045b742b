//! What somebody put in between: flows and rules that nobody asked for.
use super::*;

#[test]
fn a_flow_discards_a_guests_arp() {
    let mut hand = healthy(LEGACY);
    let flow = "priority=100,arp,in_port=\"qvo8852251e-44\" actions=drop";
    hand.insert("c1/flows-br-int.names.txt", "priority=65535", flow);
    walks(&hand)
        .lost(flow, &["green1 > green2 icmp"])
        .unanswered(flow, &["red2 > green1 icmp"])
        .fine(&["red1 > red2 icmp"]);
}

#[test]
fn a_flow_sends_a_guests_frames_to_another_host() {
    let mut hand = healthy(LEGACY);
    let flow = "table=20, priority=10,dl_vlan=1,dl_dst=fa:16:3e:00:00:14 actions=pop_vlan,set_field:0x32a->tun_id,output:\"vxlan-0a1e000b\"";
    hand.insert("c1/flows-br-tun.names.txt", "table=20, priority=0", flow);
    walks(&hand)
        .lost(flow, &["red1 > red3 icmp"])
        .fine(&["red1 > outside icmp"]);
}

#[test]
fn a_flow_lets_a_guest_by_the_firewall() {
    let mut hand = healthy(NATIVE);
    let flow = "table=82, priority=100,tcp,reg5=0x4,tp_dst=443 actions=output:\"tapc3adbb31-e7\"";
    hand.insert("c2/flows-br-int.names.txt", "table=82, priority=", flow);
    walks(&hand)
        .unanswered(flow, &["red1 > green2 tcp 443"])
        .fine(&["red1 > green2 tcp 22"]);
}

#[test]
fn a_rule_discards_what_a_router_forwards() {
    let mut hand = healthy(LEGACY);
    let router = "net/ns-qrouter-a19a342b-9c1a-4f39-84e2-0692986146cd";
    let rule = "-A FORWARD -p icmp -j DROP";
    hand.insert(
        &format!("{router}/iptables-save.txt"),
        "-A FORWARD -j neutron-filter-top",
        rule,
    );
    walks(&hand)
        .lost(rule, &["red2 > green2 icmp", "red2 > outside icmp"])
        .fine(&["red2 > green2 tcp 22", "red2 > 10.1.0.1 icmp"]);
}

#[test]
fn a_rule_discards_what_crosses_firewall_bridges() {
    let mut hand = healthy(LEGACY);
    let rule = "-A FORWARD -s 10.1.0.12/32 -j DROP";
    hand.insert(
        "c1/ns-root/iptables-save.txt",
        "-A FORWARD -j neutron-filter-top",
        rule,
    );
    walks(&hand)
        .lost(rule, &["red2 > red3 icmp"])
        .unanswered(rule, &["red3 > red2 icmp"])
        .fine(&["red1 > red3 icmp"]);
}

#[test]
fn a_rule_lets_in_what_no_group_allows() {
    let mut hand = healthy(LEGACY);
    let rule = "-A neutron-openvswi-i954df716-c -p tcp -m tcp --dport 443 -j RETURN";
    hand.insert(
        "c2/ns-root/iptables-save.txt",
        "-A neutron-openvswi-i954df716-c",
        rule,
    );
    walks(&hand)
        .fine_but(rule, &["red1 > green2 tcp 443"])
        .fine(&["red1 > green2 tcp 22"])
        .lost(
            "-A neutron-openvswi-sg-fallback",
            &["red1 > green2 tcp 444"],
        );
}

#[test]
fn a_set_has_a_member_too_much() {
    let mut hand = healthy(LEGACY);
    let member = "add NIPv45da4a850-60b4-4c0c-a2a4- 10.1.0.12";
    hand.insert("c1/ns-root/ipset-save.txt", "add NIPv45da4a850", member);
    walks(&hand)
        .fine(&["red2 > red1 tcp 8000"])
        .fine_but(member, &["red2 > green1 tcp 443"]);
}

#[test]
fn filters_are_not_asked_on_bridges() {
    let mut hand = healthy(LEGACY);
    hand.replace(
        "c2/ns-root/sysctl.txt",
        "bridge-nf-call-iptables = 1",
        "bridge-nf-call-iptables = 0",
    );
    let setting = "net.bridge.bridge-nf-call-iptables = 0";
    walks(&hand)
        .fine_but(setting, &["red1 > green2 tcp 443"])
        .fine(&["red1 > green2 tcp 22"]);
}

#[test]
fn another_answers_for_an_address() {
    let mut hand = healthy(LEGACY);
    let dhcp = "net/ns-qdhcp-145a5cba-7a50-49eb-b5eb-f023c45913f6";
    hand.insert(
        &format!("{dhcp}/ip-a.txt"),
        "inet 10.2.2.2/24",
        "    inet 10.2.2.12/32 scope global tapcaacba50-30",
    );
    hand.insert(
        &format!("{dhcp}/ip-route-all.txt"),
        "local 10.2.2.2",
        "local 10.2.2.12 dev tapcaacba50-30 table local proto kernel scope host src 10.2.2.12 ",
    );
    walks(&hand).fine(&["green1 > green2 icmp", "red1 > green1 icmp"]);
}

#[test]
fn a_guests_chain_is_emptied() {
    let mut hand = healthy(LEGACY);
    hand.without(
        "c2/ns-root/iptables-save.txt",
        &["-A neutron-openvswi-i954df716-c "],
    );
    let fallback = "MISSING -A neutron-openvswi-i954df716-c -m comment --comment \"Send unmatched traffic to the fallback chain.\" -j neutron-openvswi-sg-fallback";
    walks(&hand)
        .fine_but(fallback, &["red1 > green2 tcp 443"])
        .fine(&["red1 > green2 tcp 22"]);
}

#[test]
fn a_guests_chain_is_gone_with_all_that_leads_there() {
    let mut hand = healthy(LEGACY);
    hand.without(
        "c2/ns-root/iptables-save.txt",
        &["neutron-openvswi-i954df716-c"],
    );
    walks(&hand)
        .fine_but("MISSING ", &["red1 > green2 tcp 443"])
        .fine(&["red1 > green2 tcp 22"]);
}

#[test]
fn nothing_leads_to_the_filters() {
    let mut hand = healthy(LEGACY);
    hand.without("c2/ns-root/iptables-save.txt", &["-A FORWARD "]);
    walks(&hand)
        .fine_but(
            "MISSING -A FORWARD -j neutron-openvswi-FORWARD",
            &["red1 > green2 tcp 443"],
        )
        .fine(&["red1 > green2 tcp 22"]);
}

/// A rule that should be last is first, alone or also where it belongs.
#[test]
fn what_no_rule_allows_is_discarded_before_rules_are_asked() {
    let path = "c2/ns-root/iptables-save.txt";
    let chain = "-A neutron-openvswi-i954df716-c ";
    let healthy_hand = healthy(LEGACY);
    let last = healthy_hand.line(path, &[chain, "Send unmatched traffic"]);
    let invalid = healthy_hand.line(path, &[chain, "INVALID"]);
    let discards = |hand: &Hand| {
        walks(hand)
            .lost(&last, &["red1 > green2 tcp 22", "green1 > green2 icmp"])
            .unanswered(&last, &["green2 > red1 icmp"])
            .fine(&["red1 > red3 icmp"]);
    };
    let mut twice = healthy_hand.clone();
    twice.insert(path, chain, &last);
    discards(&twice);
    let mut moved = healthy_hand.clone();
    moved.without(path, &[&last]);
    moved.insert(path, chain, &last);
    discards(&moved);

    // What changes places with one that does the same matters to nobody.
    let mut harmless = healthy_hand;
    harmless.without(path, &[&invalid]);
    harmless.insert(path, "-A neutron-openvswi-i954df716-c -p icmp", &invalid);
    walks(&harmless).fine(&["red1 > green2 tcp 22", "green1 > green2 icmp"]);
}

#[test]
fn forwarding_is_closed_on_a_host() {
    let mut hand = healthy(LEGACY);
    hand.replace(
        "c2/ns-root/iptables-save.txt",
        ":FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [",
        ":FORWARD DROP [0:0]\n:OUTPUT ACCEPT [",
    );
    walks(&hand).fine(&["red1 > green2 icmp"]);
}

#[test]
fn a_router_writes_other_addresses_into_packets() {
    let tables = format!("{ROUTER}/iptables-save.txt");
    let source = "-A neutron-l3-agent-POSTROUTING -d 10.2.2.12/32 -j SNAT --to-source 10.2.2.1";
    let mut hand = healthy(LEGACY);
    hand.insert(&tables, "-A neutron-l3-agent-POSTROUTING ! -o", source);
    walks(&hand)
        .fine_but(source, &["red2 > green2 icmp", "red1 > green2 tcp 22"])
        .fine(&["red2 > green1 icmp", "green2 > red2 icmp"]);

    let target =
        "-A neutron-l3-agent-PREROUTING -d 10.2.2.12/32 -j DNAT --to-destination 10.2.2.11";
    let mut hand = healthy(LEGACY);
    hand.insert(
        &tables,
        "-A neutron-l3-agent-PREROUTING -d 172.24.4.226/32",
        target,
    );
    walks(&hand)
        .answered_by_another(target, &["red2 > green2 icmp"])
        .fine(&["red2 > green1 icmp", "green1 > green2 icmp"]);
}

#[test]
fn a_router_has_a_guests_address() {
    let mut hand = healthy(LEGACY);
    let address = "inet 10.1.0.13/32 scope global qr-48f21b29-ad";
    hand.insert(
        &format!("{ROUTER}/ip-a.txt"),
        "inet 10.1.0.1/24",
        &format!("    {address}"),
    );
    let route =
        "local 10.1.0.13 dev qr-48f21b29-ad table local proto kernel scope host src 10.1.0.13 ";
    hand.insert(
        &format!("{ROUTER}/ip-route-all.txt"),
        "local 10.1.0.1 ",
        route,
    );
    walks(&hand)
        .answered_by_another(address, &["green2 > red3 icmp"])
        .fine(&["red1 > red3 icmp", "green2 > red2 icmp"]);
}

#[test]
fn frames_that_go_round_between_hosts_are_a_loop_and_end() {
    let mut hand = healthy(LEGACY);
    for (host, other) in [("c1", "0a1e000d"), ("c2", "0a1e000c")] {
        // Two go back for each that comes.
        let flow = format!("priority=100,in_port=\"vxlan-{other}\" actions=in_port,in_port");
        let file = format!("{host}/flows-br-tun.names.txt");
        hand.insert(&file, "priority=0", &flow);
    }
    let world = walks(&hand).world;
    let walk = walk::walk(&world, &question("red1 > red3 icmp", "")).unwrap();
    assert_eq!(walk.verdict, Verdict::Unknown);
    assert!(walk.notes.iter().any(|note| note.contains("in a loop")));
}

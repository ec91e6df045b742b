//! Routers and servers: their devices, routes, settings, rules and programs.
use super::*;

#[test]
fn a_routers_inner_device_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down(ROUTER, "qr-dfa7b5a4-cb");
    let device = "qr-dfa7b5a4-cb: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    walks(&hand)
        .lost(
            device,
            &[
                "red2 > green2 icmp",
                "green2 > red2 icmp",
                "green2 > 10.2.2.1 icmp",
            ],
        )
        .fine(&["red2 > outside icmp"]);
}

#[test]
fn a_routers_outer_device_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down(ROUTER, "qg-268cdba4-45");
    let device = "qg-268cdba4-45: <BROADCAST,MULTICAST,PROMISC> mtu 1500";
    walks(&hand)
        .lost(device, &["red2 > outside icmp", "outside > fip tcp 22"])
        .fine(&["red2 > green2 icmp"]);
}

#[test]
fn a_routers_outer_address_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.without(&format!("{ROUTER}/ip-a.txt"), &["172.24.4.237/28"]);
    hand.without(
        &format!("{ROUTER}/ip-route-all.txt"),
        &["172.24.4.237", "default"],
    );
    let address = "MISSING inet 172.24.4.237/28";
    walks(&hand)
        .lost(address, &["red2 > outside icmp"])
        .fine(&["red2 > green2 icmp"]);
}

#[test]
fn a_router_does_not_forward() {
    let mut hand = healthy(LEGACY);
    hand.no_forwarding(ROUTER);
    let setting = "net.ipv4.ip_forward = 0";
    walks(&hand)
        .lost(
            setting,
            &[
                "red2 > green2 icmp",
                "red2 > outside tcp 80",
                "outside > fip icmp",
            ],
        )
        .fine(&["red2 > 10.1.0.1 icmp", "red2 > metadata"]);
}

#[test]
fn a_distributed_router_does_not_forward() {
    let mut hand = healthy(DISTRIBUTED);
    hand.no_forwarding("c1/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280");
    let setting = "net.ipv4.ip_forward = 0";
    walks(&hand)
        .lost(
            setting,
            &[
                "red2 > green2 icmp",
                "red1 > outside icmp",
                "outside > fip icmp",
            ],
        )
        .fine(&["red3 > outside icmp"]);
}

#[test]
fn the_proxy_of_metadata_is_dead() {
    let mut hand = healthy(LEGACY);
    hand.without(&format!("{ROUTER}/ss-listen.txt"), &["haproxy"]);
    hand.without("net/ps.txt", &["ns-metadata-proxy/a19a342b"]);
    walks(&hand)
        .lost(
            "MISSING process haproxy in qrouter-a19a342b-9c1a-4f39-84e2-0692986146cd",
            &["red2 > metadata"],
        )
        .fine(&["blue1 > metadata", "red2 > outside icmp"]);
}

#[test]
fn the_agent_behind_metadata_is_dead() {
    let mut hand = healthy(LEGACY);
    hand.without("net/ps.txt", &["neutron-metadata-agent"]);
    walks(&hand).answered_by_another(
        "MISSING process neutron-metadata-agent",
        &["red2 > metadata", "blue1 > metadata"],
    );
}

#[test]
fn a_client_is_not_known_to_dnsmasq() {
    let mut hand = healthy(LEGACY);
    hand.without("net/state/dhcp/a0684221*/host", &["fa:16:3e:00:00:12"]);
    walks(&hand)
        .unanswered("MISSING fa:16:3e:00:00:12,", &["red2 > dhcp"])
        .fine(&["red1 > dhcp"]);
}

#[test]
fn the_dhcp_servers_device_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down(
        "net/ns-qdhcp-a0684221-f89f-4024-a918-7152eb6caac3",
        "tap60c7ec6f-8a",
    );
    walks(&hand)
        .lost(
            "tap60c7ec6f-8a: <BROADCAST,MULTICAST,PROMISC> mtu 1450",
            &["red2 > dhcp"],
        )
        .fine(&["green1 > dhcp"]);
}

#[test]
fn the_dhcp_servers_port_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("net", "tap60c7ec6f-8a");
    walks(&hand)
        .lost("MISSING Port tap60c7ec6f-8a tag: 1", &["red2 > dhcp"])
        .fine(&["green1 > dhcp", "red2 > outside icmp"]);
}

#[test]
fn a_routers_port_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("net", "qr-dfa7b5a4-cb");
    let port = "MISSING Port qr-dfa7b5a4-cb tag: 3";
    walks(&hand)
        .lost(port, &["red2 > green2 icmp", "green2 > outside icmp"])
        .fine(&["red2 > outside icmp"]);
}

#[test]
fn a_router_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_netns("net", "qrouter-");
    let namespace = "MISSING namespace qrouter-a19a342b-9c1a-4f39-84e2-0692986146cd";
    walks(&hand)
        .lost(
            namespace,
            &[
                "red2 > green2 icmp",
                "red2 > outside icmp",
                "outside > fip icmp",
            ],
        )
        .fine(&["red1 > red3 icmp"]);
}

#[test]
fn a_dhcp_server_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_netns("net", "qdhcp-a0684221");
    let namespace = "MISSING namespace qdhcp-a0684221-f89f-4024-a918-7152eb6caac3";
    walks(&hand)
        .lost(namespace, &["red2 > dhcp"])
        .fine(&["red1 > red3 icmp"]);
}

#[test]
fn the_namespace_of_floating_ips_is_gone() {
    let mut hand = healthy(DISTRIBUTED);
    hand.no_netns("c1", "fip-");
    hand.no_device(
        "c1/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "rfp-aa81c5f9-e",
    );
    let namespace = "MISSING namespace fip-3f0f5075-9925-40bd-82f2-066132c36d4f";
    walks(&hand)
        .lost(namespace, &["outside > fip icmp"])
        .fine(&["red2 > outside icmp", "red1 > green2 icmp"]);
}

#[test]
fn the_central_part_of_a_distributed_router_is_gone() {
    let mut hand = healthy(DISTRIBUTED);
    hand.no_netns("net", "snat-");
    let namespace = "MISSING namespace snat-aa81c5f9-e704-4efe-8a60-bb1439250280";
    walks(&hand)
        .lost(namespace, &["red2 > outside icmp"])
        .fine(&["red1 > outside icmp", "red2 > green2 icmp"]);
}

#[test]
fn a_distributed_routers_part_is_gone() {
    let mut hand = healthy(DISTRIBUTED);
    hand.no_netns("c2", "qrouter-");
    let namespace = "MISSING namespace qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280";
    walks(&hand)
        .lost(namespace, &["red3 > green1 icmp", "red3 > outside icmp"])
        .fine(&["red1 > outside icmp"]);
}

#[test]
fn the_pair_to_the_floating_ips_is_down() {
    let mut hand = healthy(DISTRIBUTED);
    hand.link_down(
        "c1/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "rfp-aa81c5f9-e",
    );
    hand.loses_carrier(
        "c1/ns-fip-3f0f5075-9925-40bd-82f2-066132c36d4f",
        "fpr-aa81c5f9-e",
    );
    let device = "rfp-aa81c5f9-e@if2: <BROADCAST,MULTICAST> mtu 1500";
    walks(&hand)
        .lost(device, &["outside > fip icmp"])
        .fine(&["red2 > outside icmp", "red1 > green2 icmp"]);
}

#[test]
fn the_device_of_floating_ips_is_down() {
    let mut hand = healthy(DISTRIBUTED);
    hand.link_down(
        "c1/ns-fip-3f0f5075-9925-40bd-82f2-066132c36d4f",
        "fg-07b7226b-ee",
    );
    let device = "fg-07b7226b-ee: <BROADCAST,MULTICAST,PROMISC> mtu 1500";
    walks(&hand)
        .lost(device, &["outside > fip icmp", "red1 > outside icmp"])
        .fine(&["red2 > outside icmp"]);
}

#[test]
fn the_central_inner_device_is_down() {
    let mut hand = healthy(DISTRIBUTED);
    hand.link_down(
        "net/ns-snat-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "sg-cb84771d-f3",
    );
    let device = "sg-cb84771d-f3: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    walks(&hand)
        .lost(device, &["red2 > outside icmp"])
        .fine(&["red1 > outside icmp", "green2 > outside icmp"]);
}

#[test]
fn a_distributed_routers_device_is_down() {
    let mut hand = healthy(DISTRIBUTED);
    hand.link_down(
        "c2/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "qr-273cf566-8a",
    );
    let device = "qr-273cf566-8a: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    // The answer finds its way by the central part.
    walks(&hand)
        .lost(device, &["red3 > green1 icmp", "red3 > outside icmp"])
        .fine_but(device, &["red2 > green2 icmp"]);
}

#[test]
fn a_chain_of_translations_is_emptied() {
    let mut hand = healthy(LEGACY);
    hand.without(
        &format!("{ROUTER}/iptables-save.txt"),
        &[
            "-A neutron-l3-agent-snat ",
            "-A neutron-l3-agent-float-snat -s",
        ],
    );
    walks(&hand)
        .unanswered(
            "MISSING -A neutron-l3-agent-snat -o qg-268cdba4-45 -j SNAT --to-source 172.24.4.237",
            &["red2 > outside icmp"],
        )
        .fine(&["red2 > green2 icmp"]);
}

#[test]
fn a_policy_rule_refuses_a_guest() {
    let mut hand = healthy(LEGACY);
    let rule = "5:\tfrom all to 10.2.2.12 unreachable";
    hand.insert(&format!("{ROUTER}/ip-rule.txt"), "32766:", rule);
    walks(&hand)
        .lost(rule, &["red2 > green2 icmp"])
        .fine(&["red2 > green1 icmp"]);
}

#[test]
fn a_router_does_not_answer_arp_outside() {
    let mut hand = healthy(LEGACY);
    let key = "net.ipv4.conf.qg-268cdba4-45.arp_ignore";
    hand.replace(
        &format!("{ROUTER}/sysctl.txt"),
        &format!("{key} = 0"),
        &format!("{key} = 8"),
    );
    walks(&hand)
        .lost(&format!("{key} = 8"), &["outside > fip icmp"])
        .fine(&["red2 > outside icmp", "red2 > green2 icmp"]);
}

#[test]
fn no_device_of_a_router_answers_arp() {
    let mut hand = healthy(LEGACY);
    let key = "net.ipv4.conf.all.arp_ignore";
    hand.replace(
        &format!("{ROUTER}/sysctl.txt"),
        &format!("{key} = 1"),
        &format!("{key} = 8"),
    );
    walks(&hand).lost(&format!("{key} = 8"), &["outside > fip icmp"]);
}

#[test]
fn sources_are_checked_strictly_where_ways_are_the_same() {
    let mut hand = healthy(DISTRIBUTED);
    for (folder, dev) in [
        (
            "c1/ns-fip-3f0f5075-9925-40bd-82f2-066132c36d4f",
            "fg-07b7226b-ee",
        ),
        (
            "c1/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280",
            "rfp-aa81c5f9-e",
        ),
        (
            "c1/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280",
            "qr-273cf566-8a",
        ),
        (
            "net/ns-snat-aa81c5f9-e704-4efe-8a60-bb1439250280",
            "qg-b3771ccb-c3",
        ),
    ] {
        let key = format!("net.ipv4.conf.{dev}.rp_filter");
        hand.replace(
            &format!("{folder}/sysctl.txt"),
            &format!("{key} = 0"),
            &format!("{key} = 1"),
        );
    }
    walks(&hand).fine(&[
        "outside > fip icmp",
        "red1 > outside icmp",
        "red2 > outside icmp",
        "red1 > green2 icmp",
    ]);
}

#[test]
fn a_servers_own_filter_discards_questions() {
    let mut hand = healthy(LEGACY);
    let path = "net/ns-qdhcp-a0684221-f89f-4024-a918-7152eb6caac3/iptables-save.txt";
    let rule = "-A INPUT -p udp -m udp --dport 67 -j DROP";
    let table = format!(
        "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\n{rule}\nCOMMIT\n"
    );
    hand.0.insert(path.to_owned(), table);
    walks(&hand)
        .lost(rule, &["red2 > dhcp"])
        .fine(&["green1 > dhcp"]);
}

#[test]
fn a_routers_address_is_anothers() {
    let mut hand = healthy(LEGACY);
    hand.replace_all(
        &format!("{ROUTER}/ip-route-all.txt"),
        "10.2.2.1 ",
        "10.2.2.99 ",
    );
    hand.replace(&format!("{ROUTER}/ip-a.txt"), "10.2.2.1/24", "10.2.2.99/24");
    // What only passes the router asks the flows for its MAC.
    walks(&hand)
        .lost("MISSING inet 10.2.2.1/24", &["green2 > 10.2.2.1 icmp"])
        .fine(&["green2 > red2 icmp", "red2 > outside icmp"]);
}

#[test]
fn a_router_remembers_a_guest_that_was_there_before() {
    let mut hand = healthy(LEGACY);
    let old = "10.2.2.12 dev qr-dfa7b5a4-cb lladdr fa:16:3e:00:00:99 REACHABLE";
    hand.insert(&format!("{ROUTER}/ip-neigh.txt"), "", old);
    walks(&hand)
        .lost(old, &["red2 > green2 icmp", "red1 > green2 tcp 22"])
        .fine(&["red2 > green1 icmp", "green1 > green2 icmp"]);
    let own = old.replace("00:99", "00:15");
    hand.replace(&format!("{ROUTER}/ip-neigh.txt"), old, &own);
    walks(&hand).fine(&["red2 > green2 icmp"]);
}

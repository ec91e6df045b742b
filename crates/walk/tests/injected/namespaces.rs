//! Routers and servers: their devices, routes, settings, rules and programs.
use super::*;

#[test]
fn a_routers_inner_device_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down(ROUTER, "qr-dfa7b5a4-cb");
    let device = "qr-dfa7b5a4-cb: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    check(
        &hand,
        &[
            ("red2 > green2 icmp", Lost, device),
            ("green2 > red2 icmp", Lost, device),
            ("green2 > 10.2.2.1 icmp", Lost, device),
            ("red2 > outside icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_routers_outer_device_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down(ROUTER, "qg-268cdba4-45");
    let device = "qg-268cdba4-45: <BROADCAST,MULTICAST,PROMISC> mtu 1500";
    check(
        &hand,
        &[
            ("red2 > outside icmp", Lost, device),
            ("outside > fip tcp 22", Lost, device),
            ("red2 > green2 icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[
            ("red2 > outside icmp", Lost, address),
            ("red2 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_router_does_not_forward() {
    let mut hand = healthy(LEGACY);
    hand.no_forwarding(ROUTER);
    let setting = "net.ipv4.ip_forward = 0";
    check(
        &hand,
        &[
            ("red2 > green2 icmp", Lost, setting),
            ("red2 > outside tcp 80", Lost, setting),
            ("outside > fip icmp", Lost, setting),
            ("red2 > 10.1.0.1 icmp", Fine, ""),
            ("red2 > metadata", Fine, ""),
        ],
    );
}

#[test]
fn a_distributed_router_does_not_forward() {
    let mut hand = healthy(DISTRIBUTED);
    hand.no_forwarding("c1/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280");
    let setting = "net.ipv4.ip_forward = 0";
    check(
        &hand,
        &[
            ("red2 > green2 icmp", Lost, setting),
            ("red1 > outside icmp", Lost, setting),
            ("outside > fip icmp", Lost, setting),
            ("red3 > outside icmp", Fine, ""),
        ],
    );
}

#[test]
fn the_proxy_of_metadata_is_dead() {
    let mut hand = healthy(LEGACY);
    hand.without(&format!("{ROUTER}/ss-listen.txt"), &["haproxy"]);
    hand.without("net/ps.txt", &["ns-metadata-proxy/a19a342b"]);
    check(
        &hand,
        &[
            (
                "red2 > metadata",
                Lost,
                "MISSING process haproxy in qrouter-a19a342b-9c1a-4f39-84e2-0692986146cd",
            ),
            ("blue1 > metadata", Fine, ""),
            ("red2 > outside icmp", Fine, ""),
        ],
    );
}

#[test]
fn the_agent_behind_metadata_is_dead() {
    let mut hand = healthy(LEGACY);
    hand.without("net/ps.txt", &["neutron-metadata-agent"]);
    check(
        &hand,
        &[
            (
                "red2 > metadata",
                ByAnother,
                "MISSING process neutron-metadata-agent",
            ),
            (
                "blue1 > metadata",
                ByAnother,
                "MISSING process neutron-metadata-agent",
            ),
        ],
    );
}

#[test]
fn a_client_is_not_known_to_dnsmasq() {
    let mut hand = healthy(LEGACY);
    hand.without("net/state/dhcp/a0684221*/host", &["fa:16:3e:00:00:12"]);
    check(
        &hand,
        &[
            ("red2 > dhcp", Unanswered, "MISSING fa:16:3e:00:00:12,"),
            ("red1 > dhcp", Fine, ""),
        ],
    );
}

#[test]
fn the_dhcp_servers_device_is_down() {
    let mut hand = healthy(LEGACY);
    hand.link_down(
        "net/ns-qdhcp-a0684221-f89f-4024-a918-7152eb6caac3",
        "tap60c7ec6f-8a",
    );
    check(
        &hand,
        &[
            (
                "red2 > dhcp",
                Lost,
                "tap60c7ec6f-8a: <BROADCAST,MULTICAST,PROMISC> mtu 1450",
            ),
            ("green1 > dhcp", Fine, ""),
        ],
    );
}

#[test]
fn the_dhcp_servers_port_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("net", "tap60c7ec6f-8a");
    check(
        &hand,
        &[
            ("red2 > dhcp", Lost, "MISSING Port tap60c7ec6f-8a tag: 1"),
            ("green1 > dhcp", Fine, ""),
            ("red2 > outside icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_routers_port_is_deleted() {
    let mut hand = healthy(LEGACY);
    hand.del_port("net", "qr-dfa7b5a4-cb");
    let port = "MISSING Port qr-dfa7b5a4-cb tag: 3";
    check(
        &hand,
        &[
            ("red2 > green2 icmp", Lost, port),
            ("green2 > outside icmp", Lost, port),
            ("red2 > outside icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_router_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_netns("net", "qrouter-");
    let namespace = "MISSING namespace qrouter-a19a342b-9c1a-4f39-84e2-0692986146cd";
    check(
        &hand,
        &[
            ("red2 > green2 icmp", Lost, namespace),
            ("red2 > outside icmp", Lost, namespace),
            ("outside > fip icmp", Lost, namespace),
            ("red1 > red3 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_dhcp_server_is_gone() {
    let mut hand = healthy(LEGACY);
    hand.no_netns("net", "qdhcp-a0684221");
    let namespace = "MISSING namespace qdhcp-a0684221-f89f-4024-a918-7152eb6caac3";
    check(
        &hand,
        &[
            ("red2 > dhcp", Lost, namespace),
            ("red1 > red3 icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[
            ("outside > fip icmp", Lost, namespace),
            ("red2 > outside icmp", Fine, ""),
            ("red1 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn the_central_part_of_a_distributed_router_is_gone() {
    let mut hand = healthy(DISTRIBUTED);
    hand.no_netns("net", "snat-");
    let namespace = "MISSING namespace snat-aa81c5f9-e704-4efe-8a60-bb1439250280";
    check(
        &hand,
        &[
            ("red2 > outside icmp", Lost, namespace),
            ("red1 > outside icmp", Fine, ""),
            ("red2 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_distributed_routers_part_is_gone() {
    let mut hand = healthy(DISTRIBUTED);
    hand.no_netns("c2", "qrouter-");
    let namespace = "MISSING namespace qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280";
    check(
        &hand,
        &[
            ("red3 > green1 icmp", Lost, namespace),
            ("red3 > outside icmp", Lost, namespace),
            ("red1 > outside icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[
            ("outside > fip icmp", Lost, device),
            ("red2 > outside icmp", Fine, ""),
            ("red1 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn the_device_of_floating_ips_is_down() {
    let mut hand = healthy(DISTRIBUTED);
    hand.link_down(
        "c1/ns-fip-3f0f5075-9925-40bd-82f2-066132c36d4f",
        "fg-07b7226b-ee",
    );
    let device = "fg-07b7226b-ee: <BROADCAST,MULTICAST,PROMISC> mtu 1500";
    check(
        &hand,
        &[
            ("outside > fip icmp", Lost, device),
            ("red1 > outside icmp", Lost, device),
            ("red2 > outside icmp", Fine, ""),
        ],
    );
}

#[test]
fn the_central_inner_device_is_down() {
    let mut hand = healthy(DISTRIBUTED);
    hand.link_down(
        "net/ns-snat-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "sg-cb84771d-f3",
    );
    let device = "sg-cb84771d-f3: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    check(
        &hand,
        &[
            ("red2 > outside icmp", Lost, device),
            ("red1 > outside icmp", Fine, ""),
            ("green2 > outside icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_distributed_routers_device_is_down() {
    let mut hand = healthy(DISTRIBUTED);
    hand.link_down(
        "c2/ns-qrouter-aa81c5f9-e704-4efe-8a60-bb1439250280",
        "qr-273cf566-8a",
    );
    let device = "qr-273cf566-8a: <BROADCAST,MULTICAST,PROMISC> mtu 1450";
    check(
        &hand,
        &[
            ("red3 > green1 icmp", Lost, device),
            ("red3 > outside icmp", Lost, device),
            // The answer finds its way by the central part.
            ("red2 > green2 icmp", Fine, device),
        ],
    );
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
    check(
        &hand,
        &[
            (
                "red2 > outside icmp",
                Unanswered,
                "MISSING -A neutron-l3-agent-snat -o qg-268cdba4-45 -j SNAT --to-source 172.24.4.237",
            ),
            ("red2 > green2 icmp", Fine, ""),
        ],
    );
}

#[test]
fn a_policy_rule_refuses_a_guest() {
    let mut hand = healthy(LEGACY);
    let rule = "5:\tfrom all to 10.2.2.12 unreachable";
    hand.insert(&format!("{ROUTER}/ip-rule.txt"), "32766:", rule);
    check(
        &hand,
        &[
            ("red2 > green2 icmp", Lost, rule),
            ("red2 > green1 icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[
            ("outside > fip icmp", Lost, &format!("{key} = 8")),
            ("red2 > outside icmp", Fine, ""),
            ("red2 > green2 icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[("outside > fip icmp", Lost, &format!("{key} = 8"))],
    );
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
    check(
        &hand,
        &[
            ("outside > fip icmp", Fine, ""),
            ("red1 > outside icmp", Fine, ""),
            ("red2 > outside icmp", Fine, ""),
            ("red1 > green2 icmp", Fine, ""),
        ],
    );
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
    check(
        &hand,
        &[("red2 > dhcp", Lost, rule), ("green1 > dhcp", Fine, "")],
    );
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
    check(
        &hand,
        &[
            ("green2 > 10.2.2.1 icmp", Lost, "MISSING inet 10.2.2.1/24"),
            // What only passes the router asks the flows for its MAC.
            ("green2 > red2 icmp", Fine, ""),
            ("red2 > outside icmp", Fine, ""),
        ],
    );
}

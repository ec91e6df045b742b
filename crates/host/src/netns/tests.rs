//! Texts of real hosts; damaged ones never panic.
use super::*;
use proptest::prelude::*;

const IP_A: &str = "1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00 promiscuity 0
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
10: tap933ea4df-57@if8: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1450 qdisc noqueue master qbr933ea4df-57 state UP
    link/ether fe:16:3e:00:00:11 brd ff:ff:ff:ff:ff:ff link-netns red1 promiscuity 1
    veth numtxqueues 2 numrxqueues 2
    bridge_slave state forwarding
13: qvb933ea4df-57@if12: <BROADCAST,UP> mtu 1450 master qbr933ea4df-57 state UP
    link/ether 46:58:b9:e7:a8:f4 brd ff:ff:ff:ff:ff:ff
    veth numtxqueues 2
12: qvo933ea4df-57@if13: <BROADCAST,UP> mtu 1450 state UP
    link/ether 86:d3:b7:0b:46:b2 brd ff:ff:ff:ff:ff:ff
    veth numtxqueues 2
    inet 10.1.0.1/24 brd 10.1.0.255 scope global dynamic qvo933ea4df-57
    inet6 fe80::1/64 scope link tentative
";

#[test]
fn links_know_their_kind_and_their_peers() {
    let found = read_ip_addr(IP_A).unwrap();
    let tap = &found.links["tap933ea4df-57"];
    assert_eq!(tap.master.as_deref(), Some("qbr933ea4df-57"));
    assert_eq!(
        (tap.mtu, tap.up, tap.kind.clone()),
        (1450, true, LinkKind::Veth)
    );
    assert_eq!(tap.peer_netns.0.as_deref(), Some("red1"));
    assert_eq!(tap.peer, None);
    let qvb = &found.links["qvb933ea4df-57"];
    assert_eq!(qvb.peer.as_deref(), Some("qvo933ea4df-57"));
    assert_eq!(found.links["lo"].kind, LinkKind::Loopback);
    let key = AddrKey {
        dev: "qvo933ea4df-57".into(),
        net: "10.1.0.1/24".parse().unwrap(),
    };
    let addr = &found.addrs[&key];
    assert_eq!(addr.broadcast, Some("10.1.0.255".parse().unwrap()));
    assert!(addr.flags.0.contains("dynamic"));
    assert_eq!(
        print_addr(&key, addr),
        "qvo933ea4df-57    inet 10.1.0.1/24 brd 10.1.0.255 scope global"
    );
    assert_eq!(
        print_link("qvb933ea4df-57", qvb),
        "qvb933ea4df-57@qvo933ea4df-57: <BROADCAST,UP> mtu 1450 master qbr933ea4df-57 state UP"
    );
}

#[test]
fn one_line_form_says_the_same() {
    let text = "2: eth0    inet 10.20.0.12/24 scope global eth0\\       valid_lft forever preferred_lft forever\n";
    let found = read_ip_addr(text).unwrap();
    assert_eq!(found.addrs.len(), 1);
    let error = read_ip_addr("2: eth0    inet nowhere scope global eth0").unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 17: 'nowhere' is not an address"
    );
}

#[test]
fn ports_of_linux_bridges_are_read_both_ways() {
    let mut links = read_ip_addr(IP_A).unwrap().links;
    let text = "10: tap933ea4df-57@eth0: <BROADCAST,UP> mtu 1450 master qbr933ea4df-57 state forwarding priority 32 cost 2\n    hairpin off guard off learning on flood on\n";
    read_bridge_link(text, &mut links).unwrap();
    let port = links["tap933ea4df-57"].bridge_port.0.as_ref().unwrap();
    assert_eq!(
        (port.state.as_str(), port.settings["learning"].as_str()),
        ("forwarding", "on")
    );
    assert_eq!(links["tap933ea4df-57"].state.0, "UP");
    let brctl = "bridge name\tbridge id\t\tSTP enabled\tinterfaces\nqbr1\t\t8000.4658b9e7a8f4\tno\t\tqvb1\n\t\t\t\t\t\t\ttap1\nqbr2\t\t8000.0\tno\n";
    let bridges = read_brctl_show(brctl);
    assert_eq!(bridges["qbr1"].iter().collect::<Vec<_>>(), ["qvb1", "tap1"]);
    assert!(bridges["qbr2"].is_empty());
}

#[test]
fn routes_are_printed_as_they_were_read() {
    for (family, line) in [
        (
            Family::V4,
            "default via 10.1.0.222 dev qr-e7ffa2d0-08 table 167837697 proto static",
        ),
        (
            Family::V4,
            "10.2.2.0/24 dev qr-1 proto kernel scope link src 10.2.2.1",
        ),
        (
            Family::V4,
            "broadcast 10.2.2.255 dev qr-1 table local proto kernel scope link src 10.2.2.1",
        ),
        (
            Family::V4,
            "10.99.0.0/16 via 10.2.2.254 dev qr-1 proto static metric 5 onlink",
        ),
        (Family::V4, "unreachable 10.3.0.0/16 metric 100"),
        (
            Family::V6,
            "fe80::/64 dev qr-1 proto kernel metric 256 pref medium",
        ),
        (
            Family::V6,
            "anycast fe80:: dev qr-1 table local proto kernel metric 0 pref medium",
        ),
        (
            Family::V6,
            "default via fe80::1 dev eth0 proto static metric 1024 pref medium",
        ),
        (
            Family::V4,
            "default proto static\n\tnexthop via 10.0.0.1 dev a weight 1\n\tnexthop via 10.0.0.2 dev b weight 2",
        ),
    ] {
        let routes = read_routes(line, family).unwrap();
        let (table, routes) = routes.iter().next().unwrap();
        let (key, route) = routes.iter().next().unwrap();
        assert_eq!(print_route(*table, key, route), line);
    }
    // Where both versions' routes are listed, each default is of its own.
    let both = "default via 10.1.0.1 dev a\ndefault via fe80::1 dev a metric 1024 pref medium\n\
                default via inet6 fe80::1 dev b metric 9";
    let routes = read_routes(both, Family::V4).unwrap();
    let defaults = routes[&254].keys().map(|key| key.dst.to_string());
    let defaults: Vec<String> = defaults.collect();
    assert_eq!(defaults, ["0.0.0.0/0", "0.0.0.0/0", "::/0"]);
    let error = read_routes("default via me", Family::V4).unwrap_err();
    assert_eq!(
        error.to_string(),
        "line 1, column 13: 'me' is not an address"
    );
}

#[test]
fn rules_are_printed_as_they_were_read() {
    let text = "0:\tfrom all lookup local
100:\tnot from all fwmark 0x1/0xff iif lo unreachable
56059:\tfrom 10.1.0.11 lookup 16
167837697:\tfrom 10.1.0.1/24 lookup 167837697
2852018311:\tfrom all iif fpr-aa81c5f9-e lookup 2852018311
4000000000:\tfrom all to 10.0.0.0/8 lookup main suppress_prefixlength 0
";
    let rules = read_rules(text, Family::V4).unwrap();
    let printed: String = rules
        .iter()
        .map(|(key, action)| print_ip_rule(key, action) + "\n")
        .collect();
    assert_eq!(printed, text);
}

#[test]
fn neighbours_are_printed_as_they_were_read() {
    let text = "10.1.0.11 dev qr-1 lladdr fa:16:3e:00:00:11 PERMANENT
10.1.0.12 dev qr-1 FAILED
fe80::1 dev qr-1 lladdr 66:d5:c4:3d:5a:41 router STALE
";
    let neighbours = read_neighbours(text).unwrap();
    let printed: String = neighbours
        .iter()
        .map(|(key, n)| print_neighbour(key, n) + "\n")
        .collect();
    assert_eq!(printed, text);
    assert_eq!(neighbours.values().filter(|n| n.is_permanent()).count(), 1);
}

#[test]
fn sockets_and_connections_are_read() {
    let text = "Netid State  Recv-Q Send-Q Local Address:Port Peer Address:PortProcess
u_str LISTEN 0      64     /run/openvswitch/db.sock 31329 * 0
udp   UNCONN 0      0      [fe80::f816:3eff:fe34:97f6]%tap6b55c77d-47:53             [::]:*    users:((\"dnsmasq\",pid=14986,fd=17))
tcp   LISTEN 0      1024               *:9697            *:*    users:((\"haproxy\",pid=15384,fd=4))
";
    let listeners = read_listeners(text).unwrap();
    assert_eq!(listeners.len(), 2);
    let proxy = listeners.iter().find(|l| l.port == 9697).unwrap();
    assert_eq!(
        (proxy.addr, proxy.process.clone()),
        (None, Some(("haproxy".into(), 15384)))
    );
    let dns = listeners.iter().find(|l| l.port == 53).unwrap();
    assert_eq!(dns.dev.as_deref(), Some("tap6b55c77d-47"));

    let text = "tcp      6 112 TIME_WAIT src=10.2.2.11 dst=10.1.0.11 sport=50006 dport=8000 src=10.1.0.11 dst=10.2.2.11 sport=8000 dport=50006 [ASSURED] mark=0 zone=4097 use=1
icmp     1 20 src=10.1.0.12 dst=172.24.4.225 type=8 code=0 id=9732 [UNREPLIED] src=172.24.4.225 dst=10.1.0.12 type=0 code=0 id=9732 mark=0 use=1
";
    let connections = read_conntrack(text).unwrap();
    assert_eq!(connections[0].state.as_deref(), Some("TIME_WAIT"));
    assert_eq!((connections[0].zone, connections[0].assured), (4097, true));
    assert_eq!(connections[1].reply.icmp_type, Some(0));
    assert_eq!(
        print_connection(&connections[1]),
        "icmp src=10.1.0.12 dst=172.24.4.225 type=8 code=0 id=9732 [UNREPLIED] src=172.24.4.225 dst=10.1.0.12 type=0 code=0 id=9732 mark=0 use=1"
    );
    assert_eq!(read_netns_list("red1 (id: 3)\nred2\n").len(), 2);
}

#[test]
fn settings_are_read_and_printed() {
    let text = "net.ipv4.conf.qr-1.proxy_arp = 0\nnet.ipv4.ip_forward = 1\n";
    assert_eq!(print_sysctls(&read_sysctls(text).unwrap()), text);
    assert!(read_sysctls("x").is_err());
}

proptest! {
    #[test]
    fn no_text_makes_them_panic(text in any::<String>()) {
        try_all(&text);
    }

    #[test]
    fn damaged_texts_are_read_or_refused(at: prop::sample::Index, with in ".{0,3}", n in 0..3usize) {
        let text = [IP_A, "default via 10.0.0.1 dev a table 4 metric 3", "9:\tfrom 10.0.0.1 iif x lookup 3"][n];
        let mut chars: Vec<char> = text.chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..(at + 2).min(chars.len()), with.chars());
        try_all(&chars.into_iter().collect::<String>());
    }
}

fn try_all(text: &str) {
    let _ = read_ip_addr(text);
    let _ = read_bridge_link(text, &mut BTreeMap::new());
    let _ = read_brctl_show(text);
    for family in [Family::V4, Family::V6] {
        let _ = read_routes(text, family);
        let _ = read_rules(text, family);
    }
    let _ = read_neighbours(text);
    let _ = read_listeners(text);
    let _ = read_conntrack(text);
    let _ = read_sysctls(text);
}

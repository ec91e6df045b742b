//! A walk through distributed routing: packets on one host and on two, routed and not, out and in
//! by a floating IP, out by source NAT; where each is seen on the wire, and what the commands say
//! that people look with on the way.

use super::{BEYOND, Cloud, OUTSIDE, Wire, address, device, eventually, three_hosts};
use crate::rig::Background;
use lab::client::text;
use lab::topology::{Addressing, TunnelType};
use serde_json::Value;
use std::collections::BTreeSet;

#[test]
fn packets_go_as_the_walk_says_by_vxlan() {
    walk(Wire::Tunnel(TunnelType::Vxlan));
}

/// The whole walk, by one kind of wire.
pub(crate) fn walk(wire: Wire) {
    let mut cloud = Cloud::up(three_hosts(), wire);
    for (name, host, network) in [
        ("red2", "c1", "red"),
        ("green1", "c1", "green"),
        ("red3", "c2", "red"),
        ("green2", "c2", "green"),
    ] {
        cloud.rig.add(name, host, network);
    }
    cloud
        .rig
        .add_with("red1", "c1", "red", |wish| lab::GuestWish {
            addressing: Some(Addressing::Dhcp),
            ..wish
        });
    is_on_all_three_hosts(&cloud);
    in_one_network(&cloud);
    between_networks(&cloud, wire);
    // By its own host's router.
    cloud.is_told_who_it_is("red1");
    let (_, floating) = cloud.float(&cloud.port_of("red1"));
    eventually("red1 is reached from outside", || {
        cloud.outside_pings(&floating)
    });
    out_and_in_by_floating_ip(&cloud, &floating);
    out_by_source_nat(&cloud);
    routers_say_so(&cloud);
    floating_ip_says_so(&cloud, &floating);
    way_outside_says_so(&cloud, &floating);
    source_nat_says_so(&cloud);
    match wire {
        Wire::Tunnel(kind) => {
            leaving_flows_say_so(&cloud, kind);
            arriving_flows_say_so(&cloud, kind);
        }
        Wire::Vlan => provider_flows_say_so(&cloud),
    }
    integration_flows_say_so(&cloud, wire);
}

/// `l3-agent-list-hosting-router` shows the router on each host.
fn is_on_all_three_hosts(cloud: &Cloud) {
    let agents = format!("routers/{}/l3-agents", cloud.router);
    let agents = cloud.rig.client().get(&agents).unwrap();
    let hosts = agents.as_array().unwrap().iter();
    let hosts: BTreeSet<&str> = hosts.map(|agent| text(agent, "host").unwrap()).collect();
    assert_eq!(hosts, BTreeSet::from(["c1", "c2", "net"]));
}

fn in_one_network(cloud: &Cloud) {
    for to in ["red2", "red3"] {
        cloud.reaches("red1", &cloud.ip(to).to_string());
    }
}

/// A packet that a capture saw: the senders' and the receivers' MACs around it.
pub(super) type Seen = Vec<(String, String)>;

/// The echo requests (or replies) between two addresses in what tcpdump said, with the innermost
/// MACs of each: those of the frame that a tunnel carries.
pub(super) fn echoes(said: &str, kind: &str, from: &str, to: &str) -> Seen {
    let icmp = if from.contains(':') { "ICMP6," } else { "ICMP" };
    let wanted = format!("{from} > {to}: {icmp} echo {kind}");
    let is_mac = |word: &&str| word.len() == 17 && word.matches(':').count() == 5;
    let lines = said.lines().filter(|line| line.contains(&wanted));
    lines
        .map(|line| {
            let words = line.split([' ', ',']).filter(is_mac);
            let macs: Vec<&str> = words.collect();
            match macs.as_slice() {
                [.., from, to] => ((*from).to_owned(), (*to).to_owned()),
                _ => panic!("a frame without MACs: {line}"),
            }
        })
        .collect()
}

/// What passes a cable of a host while something is done.
pub(super) fn on_cable(cloud: &Cloud, cable: &str, action: impl FnOnce()) -> String {
    let capture = Background::capture(&cloud.place("fabric"), &format!("-i {cable}"));
    action();
    // What was sent has passed when it was answered; the capture is shown line by line.
    std::thread::sleep(std::time::Duration::from_millis(300));
    capture.stop()
}

pub(super) fn ping_thrice(cloud: &Cloud, guest: &str, to: &str) {
    let said = cloud
        .rig
        .guest(guest)
        .run(&format!("ping -n -c 3 -i 0.2 -W 2 {to}"));
    assert!(said.contains("3 received"), "{said}");
}

/// Routed at home: on one host nothing is on the wire; between two each packet crosses once, and
/// the sender is the host's own MAC.
fn between_networks(cloud: &Cloud, wire: Wire) {
    let cable = match wire {
        Wire::Tunnel(_) => "c1-tun",
        Wire::Vlan => "c1-ext",
    };
    let ip = |guest| cloud.ip(guest).to_string();
    let red1 = ip("red1");
    for (to, crossings) in [("green1", 0), ("green2", 3)] {
        let to_ip = ip(to);
        cloud.reaches("red1", &to_ip);
        let said = on_cable(cloud, cable, || ping_thrice(cloud, "red1", &to_ip));
        let requests = echoes(&said, "request", &red1, &to_ip);
        let replies = echoes(&said, "reply", &to_ip, &red1);
        assert_eq!(
            (requests.len(), replies.len()),
            (crossings, crossings),
            "{said}"
        );
        for (seen, receiver) in [(requests, to), (replies, "red1")] {
            for (from_mac, to_mac) in seen {
                assert!(
                    from_mac.starts_with("fa:16:3f:"),
                    "no host's MAC but {from_mac}: {said}"
                );
                assert_eq!(to_mac, cloud.rig.guest(receiver).guest.port.mac, "{said}");
            }
        }
    }
}

/// The network node sees nothing of what goes by a floating IP, in either direction.
fn out_and_in_by_floating_ip(cloud: &Cloud, floating: &str) {
    cloud.reaches("red1", BEYOND);
    let mut outside = String::new();
    let said = on_cable(cloud, "net-tun", || {
        let bystander = on_cable(cloud, "net-ext", || {
            outside = on_cable(cloud, "outside-ext", || {
                ping_thrice(cloud, "red1", BEYOND);
                assert!(cloud.outside_pings(floating));
            });
        });
        assert_eq!(bystander.matches("ICMP echo").count(), 0, "{bystander}");
    });
    assert_eq!(said.matches("ICMP echo").count(), 0, "{said}");
    assert_eq!(
        echoes(&outside, "request", floating, BEYOND).len(),
        3,
        "{outside}"
    );
    let out = echoes(&outside, "request", floating, BEYOND);
    let gateway = cloud.rig.client().get(&format!(
        "ports?network_id={}&device_owner=network:floatingip_agent_gateway",
        cloud.public
    ));
    let gateway = gateway.unwrap();
    assert_eq!(
        gateway.as_array().unwrap().len(),
        1,
        "only the host that needs it has a port there"
    );
    assert_eq!(out[0].0, text(&gateway[0], "mac_address").unwrap());
    assert_eq!(
        echoes(&outside, "request", OUTSIDE, floating).len(),
        1,
        "{outside}"
    );
}

/// A guest without a floating IP leaves by the network node, with the router's address.
fn out_by_source_nat(cloud: &Cloud) {
    cloud.reaches("red2", BEYOND);
    let said = on_cable(cloud, "net-ext", || ping_thrice(cloud, "red2", BEYOND));
    let gateway = &cloud.ports("network:router_gateway")[0];
    let out = echoes(&said, "request", &address(gateway), BEYOND);
    assert_eq!(out.len(), 3, "{said}");
    assert_eq!(out[0].0, text(gateway, "mac_address").unwrap());
}

/// The router's port in a network.
fn port_in(cloud: &Cloud, owner: &str, prefix: &str) -> Value {
    let ports = cloud.ports(owner);
    let mut ports = ports.into_iter();
    let found = ports.find(|port| address(port).starts_with(prefix));
    found.unwrap_or_else(|| panic!("no {owner} in {prefix}"))
}

fn shows(what: &str, said: &str, wanted: &[&str]) {
    for wanted in wanted {
        let there = said.lines().any(|line| {
            let mut words = wanted.split(" … ");
            words.all(|part| line.contains(part))
        });
        assert!(there, "{what} shows no {wanted:?}:\n{said}");
    }
}

/// What a command says in a namespace of a host, which shows what is wanted.
fn look(cloud: &Cloud, host: &str, ns: &str, command: &str, wanted: &[&str]) -> String {
    let said = cloud.inside(host, ns, command);
    shows(&format!("`{command}` in {ns} on {host}"), &said, wanted);
    said
}

/// The router is the same on every host: addresses, MACs, rules by network, the ways to source NAT.
fn routers_say_so(cloud: &Cloud) {
    let owner = "network:router_interface_distributed";
    let red = port_in(cloud, owner, "10.0.0.");
    let green = port_in(cloud, owner, "10.2.2.");
    let sg_red = port_in(cloud, "network:router_centralized_snat", "10.0.0.");
    let (qr_red, qr_green) = (device("qr", &red), device("qr", &green));
    let mac = |port: &Value| text(port, "mac_address").unwrap().to_owned();
    for host in ["c1", "c2", "net"] {
        let look = |command: &str, wanted: &[&str]| {
            look(cloud, host, &cloud.qrouter(), command, wanted);
        };
        let addresses = [
            format!("{qr_red} … 10.0.0.1/24"),
            format!("{qr_green} … 10.2.2.1/24"),
        ];
        look("ip -o addr", &addresses.each_ref().map(String::as_str));
        let macs = [
            format!("{qr_red} … {}", mac(&red)),
            format!("{qr_green} … {}", mac(&green)),
        ];
        look("ip -o link", &macs.each_ref().map(String::as_str));
        // 167772161 is 10.0.0.1, 167903745 is 10.2.2.1.
        let rules = [
            "from 10.0.0.1/24 lookup 167772161",
            "from 10.2.2.1/24 lookup 167903745",
        ];
        look("ip rule list", &rules);
        let way = format!("default via {} dev {qr_red}", address(&sg_red));
        look("ip route show table 167772161", &[&way]);
    }
    let main = cloud.inside("c1", &cloud.qrouter(), "ip route");
    assert!(!main.contains("default"), "{main}");
}

/// red1's floating IP in its router at home: a rule and table 16, NAT both ways.
fn floating_ip_says_so(cloud: &Cloud, floating: &str) {
    let red1 = cloud.ip("red1").to_string();
    let look =
        |command: &str, wanted: &[&str]| look(cloud, "c1", &cloud.qrouter(), command, wanted);
    look("ip rule list", &[&format!("from {red1} lookup 16")]);
    let way = format!("default via 169.254. … dev {}", pair_end(cloud, "rfp"));
    let out = look("ip route show table 16", &[&way]);
    assert_eq!(out.lines().count(), 1, "{out}");
    look(
        "iptables -t nat -S",
        &[
            &format!("-d {floating}/32 … -j DNAT --to-destination {red1}"),
            &format!("-s {red1}/32 … -j SNAT --to-source {floating}"),
            "-d 169.254.169.254/32 … --dport 80 -j REDIRECT",
        ],
    );
    look(
        "ip neigh",
        &[&format!("{} … PERMANENT", cloud.ip("green2"))],
    );
}

/// An end of the pair of devices between the router and the floating IPs' namespace.
fn pair_end(cloud: &Cloud, prefix: &str) -> String {
    format!("{prefix}-{}", &cloud.router[..10])
}

/// The floating IPs' namespace at home, which only that host has: its way out, a route back for each
/// floating IP, proxy ARP, its device in br-int.
fn way_outside_says_so(cloud: &Cloud, floating: &str) {
    let fip = cloud.fip();
    let look = |command: &str, wanted: &[&str]| look(cloud, "c1", &fip, command, wanted);
    let fpr = pair_end(cloud, "fpr");
    let addresses = look("ip -o -4 addr", &[&format!("{fpr} … 169.254.")]);
    let mut words = addresses.split_whitespace();
    let fg = words.find(|word| word.starts_with("fg-"));
    let fg = fg.unwrap_or_else(|| panic!("no fg- in {addresses}"));
    // Newer releases keep the way out of each router in a table of the pair's own.
    look("ip rule", &[&format!("from all iif {fpr} lookup ")]);
    look(
        "ip route show table all",
        &[
            &format!("default via {OUTSIDE} dev {fg} table "),
            &format!("{floating} via 169.254. … dev {fpr}"),
        ],
    );
    let proxy = format!("cat /proc/sys/net/ipv4/conf/{fg}/proxy_arp");
    assert_eq!(look(&proxy, &[]).trim(), "1");
    let bridge = cloud.rig.run("c1", &format!("ovs-vsctl port-to-br {fg}"));
    assert_eq!(bridge.trim(), "br-int");
    for host in ["c2", "net"] {
        assert!(!cloud.has_namespace(host, &fip), "{host} needs no {fip}");
    }
}

/// Source NAT on the network node alone: a device in each subnet, and one outside.
fn source_nat_says_so(cloud: &Cloud) {
    let owner = "network:router_centralized_snat";
    let red = port_in(cloud, owner, "10.0.0.");
    let green = port_in(cloud, owner, "10.2.2.");
    let gateway = &cloud.ports("network:router_gateway")[0];
    let look = |command: &str, wanted: &[&str]| look(cloud, "net", &cloud.snat(), command, wanted);
    look(
        "ip -o -4 addr",
        &[
            &format!("{} … {}", device("sg", &red), address(&red)),
            &format!("{} … {}", device("sg", &green), address(&green)),
            &format!("{} … {}", device("qg", gateway), address(gateway)),
        ],
    );
    let nat = format!("-j SNAT --to-source {}", address(gateway));
    look("iptables -t nat -S", &[&nat]);
    for host in ["c1", "c2"] {
        assert!(!cloud.has_namespace(host, &cloud.snat()), "it is on net");
    }
}

fn flows(cloud: &Cloud, host: &str, bridge: &str, table: u8, wanted: &[&str]) -> String {
    let command =
        format!("ovs-ofctl -O OpenFlow13 --names --no-stats dump-flows {bridge} table={table}");
    let mut said = String::new();
    let mut missing = String::new();
    // What other hosts know of each other follows by itself.
    eventually(&format!("`{command}` on {host} shows {wanted:?}"), || {
        said = cloud.rig.run(host, &command).replace('"', "");
        let lacking = wanted.iter().find(|wanted| {
            !said
                .lines()
                .any(|line| wanted.split(" … ").all(|part| line.contains(part)))
        });
        let now = lacking.map_or(String::new(), |lacking| format!("no {lacking} in\n{said}"));
        if now != missing {
            eprintln!("{now}");
            missing = now;
        }
        missing.is_empty()
    });
    said
}

/// The MAC that a host's routed frames have on the wire, as its br-tun or br-ex puts it in.
fn host_mac(cloud: &Cloud, host: &str, bridge: &str) -> String {
    let said = flows(cloud, host, bridge, 1, &["set_field:fa:16:3f:"]);
    let (_, after) = said.split_once("set_field:fa:16:3f:").unwrap();
    format!("fa:16:3f:{}", &after[..8])
}

fn interface_macs(cloud: &Cloud) -> [String; 2] {
    ["10.0.0.", "10.2.2."].map(|prefix| {
        let port = port_in(cloud, "network:router_interface_distributed", prefix);
        text(&port, "mac_address").unwrap().to_owned()
    })
}

/// How a tunnel's ports are called, and the table in which its frames come in.
fn wire_of(kind: TunnelType) -> (&'static str, u8) {
    match kind {
        TunnelType::Gre => ("gre", 3),
        TunnelType::Vxlan => ("vxlan", 4),
        TunnelType::Geneve => ("geneve", 6),
    }
}

/// br-tun on compute 1: tables 0, 1, 2, 20, 21 and 22.
fn leaving_flows_say_so(cloud: &Cloud, kind: TunnelType) {
    let (word, entry) = wire_of(kind);
    let [c1, c2] = ["c1", "c2"].map(|host| host_mac(cloud, host, "br-tun"));
    assert_ne!(c1, c2);
    let [red, green] = interface_macs(cloud);
    // 10.30.0.12 is compute 1, 10.30.0.13 compute 2.
    let to_c2 = format!("{word}-0a1e000d");
    let mac = |guest| cloud.rig.guest(guest).guest.port.mac.clone();
    let tun = |host, table, wanted: &[&str]| flows(cloud, host, "br-tun", table, wanted);

    tun(
        "c1",
        0,
        &[
            "in_port=patch-int actions=goto_table:1",
            &format!("in_port={to_c2} actions=goto_table:{entry}"),
        ],
    );
    tun(
        "c1",
        1,
        &[
            &format!("dl_dst={red} actions=drop"),
            &format!("dl_src={green} actions=set_field:{c1}->eth_src,goto_table:2"),
            "priority=0 actions=goto_table:2",
        ],
    );
    tun(
        "c1",
        2,
        &[
            "arp,dl_dst=ff:ff:ff:ff:ff:ff actions=goto_table:21",
            "dl_dst=00:00:00:00:00:00/01:00:00:00:00:00 actions=goto_table:20",
            "dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=goto_table:22",
        ],
    );
    tun(
        "c1",
        20,
        &[&format!(
            "dl_dst={} actions=pop_vlan,set_field: … output:{to_c2}",
            mac("green2")
        )],
    );
    tun(
        "c1",
        21,
        &[&format!(
            "arp_tpa={} … set_field:{}->arp_sha",
            cloud.ip("red3"),
            mac("red3")
        )],
    );
    tun(
        "c1",
        22,
        &[
            "arp,dl_vlan= … arp_tpa=10.0.0.1 actions=drop",
            "arp,dl_vlan= … arp_tpa=10.2.2.1 actions=drop",
            &format!("actions=pop_vlan,set_field: … output:{to_c2}"),
        ],
    );
}

/// br-tun on compute 2, where what compute 1 sent comes in: tables 0, 4 (3 for gre), 9, 10 and 20.
fn arriving_flows_say_so(cloud: &Cloud, kind: TunnelType) {
    let (word, entry) = wire_of(kind);
    let c1 = host_mac(cloud, "c1", "br-tun");
    let to_c1 = format!("{word}-0a1e000c");
    let red1 = &cloud.rig.guest("red1").guest.port.mac;
    let tun = |host, table, wanted: &[&str]| flows(cloud, host, "br-tun", table, wanted);
    tun(
        "c2",
        0,
        &[&format!("in_port={to_c1} actions=goto_table:{entry}")],
    );
    tun(
        "c2",
        entry,
        &["tun_id= … actions=push_vlan:0x8100,set_field: … goto_table:9"],
    );
    tun(
        "c2",
        9,
        &[
            &format!("dl_src={c1} actions=output:patch-int"),
            "priority=0 actions=goto_table:10",
        ],
    );
    tun(
        "c2",
        10,
        &["actions=learn(table=20,hard_timeout=300 … output:patch-int"],
    );
    tun("c2", 20, &[&format!("dl_dst={red1} … output:{to_c1}")]);
}

/// br-ex where a provider network's VLANs carry tenants: its tables 0 to 3.
fn provider_flows_say_so(cloud: &Cloud) {
    let [red, green] = interface_macs(cloud);
    let c1 = host_mac(cloud, "c1", "br-ex");
    let phys = |host, table, wanted: &[&str]| flows(cloud, host, "br-ex", table, wanted);
    phys("c1", 0, &["in_port=phy-br-ex actions=goto_table:1"]);
    phys(
        "c1",
        1,
        &[
            &format!("dl_dst={red} actions=drop"),
            &format!("dl_src={green} actions=set_field:{c1}->eth_src,goto_table:2"),
            "arp,dl_vlan= … arp_tpa=10.0.0.1 actions=drop",
        ],
    );
    phys(
        "c1",
        2,
        &["dl_vlan= … actions=set_field:4196->vlan_vid,NORMAL"],
    );
    phys("c2", 3, &[&format!("dl_src={c1} actions=output:phy-br-ex")]);
}

/// br-int on compute 2: what compute 1 routed gets the interface's MAC back. On compute 1, where
/// the answers come: to the interface. And the external network's frames leave by br-ex.
fn integration_flows_say_so(cloud: &Cloud, wire: Wire) {
    let [red, green] = interface_macs(cloud);
    let bridge = match wire {
        Wire::Tunnel(_) => "br-tun",
        Wire::Vlan => "br-ex",
    };
    let c1 = host_mac(cloud, "c1", bridge);
    let mac = |guest| cloud.rig.guest(guest).guest.port.mac.clone();
    let (to_guests, to_interfaces) = match wire {
        Wire::Tunnel(_) => (1, 3),
        Wire::Vlan => (2, 4),
    };
    let int = |host, table, wanted: &[&str]| flows(cloud, host, "br-int", table, wanted);
    int(
        "c2",
        0,
        &[&format!("dl_src={c1} actions=goto_table:{to_guests}")],
    );
    int(
        "c2",
        to_guests,
        &[&format!(
            "dl_dst={} actions=set_field:{green}->eth_src",
            mac("green2")
        )],
    );
    int(
        "c1",
        0,
        &[&format!("dl_dst={c1} actions=goto_table:{to_interfaces}")],
    );
    int(
        "c1",
        to_interfaces,
        &[&format!("dl_dst={c1} actions=set_field:{red}->eth_dst")],
    );
    flows(
        cloud,
        "c1",
        "br-ex",
        2,
        &["in_port=phy-br-ex,dl_vlan= … actions=pop_vlan,NORMAL"],
    );
}

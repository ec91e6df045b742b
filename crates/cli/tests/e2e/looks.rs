//! The commands by which people follow a packet by hand, and what they find there: a cloud with the
//! networks `red` and `public`, the router `r` and the guest `red1` on c1.

use crate::rig::Rig;
use lab::client::text;

/// A read-only command that people look with, and what they look for: the host, the command, the
/// texts. PORT stands for 11 characters of red1's port, CHAIN for 10, MAC for its MAC; ROUTER, RED
/// and PUBLIC for ids.
pub(crate) type Look = (&'static str, &'static str, &'static [&'static str]);

/// A guest's way through a compute host, its DHCP server and a router on the network node.
pub(crate) const LEGACY: &[Look] = &[
    (
        "c1",
        "ip a",
        &[
            "tapPORT", "qbrPORT", "qvbPORT", "qvoPORT", "br-int", "br-tun",
        ],
    ),
    ("c1", "brctl show", &["qbrPORT", "qvbPORT"]),
    (
        "c1",
        "ovs-vsctl show",
        &["Bridge br-tun", "patch-int", "tag: 1"],
    ),
    (
        "c1",
        "ovs-vsctl list-ports br-int",
        &["qvoPORT", "patch-tun"],
    ),
    ("c1", "ovs-vsctl list-ports br-ex", &["eth2", "phy-br-ex"]),
    ("c1", "ovs-ofctl show br-int", &["(qvoPORT)", "(patch-tun)"]),
    (
        "c1",
        "ovs-ofctl show br-tun",
        &["(patch-int)", "(vxlan-0a1e000b)"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun",
        &["table=22", "learn(table=20"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=0",
        &["resubmit(,2)", "resubmit(,4)"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=2",
        &["resubmit(,20)", "resubmit(,22)"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=20",
        &["dl_dst=fa:16:3e:", "->NXM_NX_TUN_ID"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=21",
        &["arp_tpa=10.1.0.1", "arp_tpa=10.1.0.2"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=22",
        &["dl_vlan=1", "output:"],
    ),
    (
        "net",
        "ovs-ofctl dump-flows br-tun table=4",
        &["tun_id=0x", "mod_vlan_vid:1", "resubmit(,10)"],
    ),
    (
        "net",
        "ovs-ofctl dump-flows br-tun table=10",
        &["learn(table=20", "output:"],
    ),
    (
        "net",
        "ovs-ofctl dump-flows br-tun table=20",
        &["dl_dst=MAC"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-int",
        &["table=24", "table=60"],
    ),
    ("c1", "ovs-appctl fdb/show br-int", &["VLAN", "MAC"]),
    (
        "c1",
        "iptables -S",
        &["-iCHAIN", "-oCHAIN", "neutron-openvswi-sg-chain"],
    ),
    (
        "c1",
        "iptables -S neutron-openvswi-sg-chain",
        &["tapPORT", "-j neutron-openvswi-iCHAIN"],
    ),
    (
        "c1",
        "iptables -L neutron-openvswi-iCHAIN",
        &["udp spt:bootps dpt:bootpc"],
    ),
    (
        "c1",
        "iptables-save",
        &[
            "*nat",
            "*filter",
            ":neutron-filter-top",
            "physdev-is-bridged",
        ],
    ),
    ("c1", "ipset list", &["Name: NIPv4", "10.1.0."]),
    ("net", "ip netns", &["qrouter-ROUTER", "qdhcp-RED"]),
    ("net", "ip netns list", &["qrouter-ROUTER", "qdhcp-RED"]),
    (
        "net",
        "ovs-vsctl show",
        &["Port qg-", "Port qr-", "Port tap", "type: internal"],
    ),
    ("net", "ps -fe", &["dnsmasq", "RED", "--dhcp-hostsfile="]),
    (
        "net",
        "ip netns exec qdhcp-RED ip a",
        &["10.1.0.2/24", "tap"],
    ),
    (
        "net",
        "ip netns exec qrouter-ROUTER ip a",
        &["10.1.0.1/24", "qr-", "qg-", "172.24.4."],
    ),
    (
        "net",
        "ip netns exec qrouter-ROUTER ip route",
        &["default via 172.24.4.225 dev qg-", "10.1.0.0/24 dev qr-"],
    ),
    (
        "net",
        "ip netns exec qrouter-ROUTER iptables -t nat -S",
        &["SNAT --to-source 172.24.4."],
    ),
];

/// A distributed router, a floating IP where its guest is, and source NAT in one place.
pub(crate) const DISTRIBUTED: &[Look] = &[
    ("c1", "ip netns", &["qrouter-ROUTER", "fip-PUBLIC"]),
    ("c2", "ip netns", &["qrouter-ROUTER"]),
    (
        "c1",
        "ip netns exec qrouter-ROUTER ip a",
        &["qr-", "10.1.0.1/24", "10.2.2.1/24", "rfp-"],
    ),
    (
        "c1",
        "ip netns exec qrouter-ROUTER ip route",
        &["10.1.0.0/24 dev qr-", "10.2.2.0/24 dev qr-"],
    ),
    ("c1", "ovs-vsctl show", &["Port qr-", "Port fg-"]),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=1",
        &["mod_dl_src:fa:16:3f:", "resubmit(,2)"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=2",
        &["resubmit(,20)"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-tun table=20",
        &["dl_dst=fa:16:3e:"],
    ),
    (
        "c2",
        "ovs-ofctl dump-flows br-tun table=0",
        &["resubmit(,4)"],
    ),
    (
        "c2",
        "ovs-ofctl dump-flows br-tun table=4",
        &["mod_vlan_vid:", "resubmit(,9)"],
    ),
    (
        "c2",
        "ovs-ofctl dump-flows br-tun table=9",
        &["dl_src=fa:16:3f:", "output:"],
    ),
    (
        "c2",
        "ovs-ofctl dump-flows br-int table=0",
        &["dl_src=fa:16:3f:", "resubmit(,1)"],
    ),
    (
        "c2",
        "ovs-ofctl dump-flows br-int table=1",
        &["mod_dl_src:fa:16:3e:"],
    ),
    (
        "c1",
        "ip netns exec qrouter-ROUTER ip rule show",
        &["lookup 16", "from 10.1.0.1/24 lookup 167837697"],
    ),
    (
        "c1",
        "ip netns exec qrouter-ROUTER ip route show table 16",
        &["default via 169.254."],
    ),
    (
        "c1",
        "ip netns exec qrouter-ROUTER ip route show table 167837697",
        &["default via 10.1.0."],
    ),
    (
        "c1",
        "ip netns exec qrouter-ROUTER iptables -S -t nat",
        &["-j DNAT --to-destination 10.1.0."],
    ),
    (
        "c1",
        "ip netns exec fip-PUBLIC ip route",
        &["172.24.4.224/28 dev fg-", "via 169.254."],
    ),
    (
        "c1",
        "ip netns exec fip-PUBLIC ip route show table all",
        &["default via 172.24.4.225 dev fg-"],
    ),
    (
        "c1",
        "ip netns exec fip-PUBLIC ip a",
        &["fg-", "172.24.4.", "fpr-"],
    ),
    ("c1", "ip netns exec fip-PUBLIC ip link", &["fg-", "fpr-"]),
    (
        "c1",
        "ip netns exec fip-PUBLIC sysctl -a --pattern fg-.*proxy_arp$",
        &["proxy_arp = 1"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-ex table=0",
        &["in_port=", "resubmit(,1)"],
    ),
    (
        "c1",
        "ovs-ofctl dump-flows br-ex table=2",
        &["dl_vlan=", "strip_vlan,NORMAL"],
    ),
    ("net", "ip netns", &["snat-ROUTER"]),
    (
        "net",
        "ip netns exec snat-ROUTER ip a",
        &["sg-", "qg-", "10.1.0.", "10.2.2."],
    ),
    (
        "net",
        "ip netns exec snat-ROUTER ip route",
        &["default via 172.24.4.225 dev qg-"],
    ),
    (
        "net",
        "ip netns exec snat-ROUTER iptables --list -t nat",
        &["SNAT", "to:172.24.4."],
    ),
    ("net", "ovs-vsctl show", &["Port sg-", "Port qg-"]),
    ("net", "ovs-ofctl dump-flows br-ex table=0", &["in_port="]),
    ("net", "ovs-vsctl list-ports br-ex", &["eth2"]),
];

/// Runs the commands; each shows what is looked for.
pub(crate) fn look(rig: &Rig, looks: &[Look]) {
    let id = |collection: &str, name: &str| {
        let found = rig.client().find(collection, name).unwrap();
        text(&found, "id").unwrap().to_owned()
    };
    let port = &rig.guest("red1").guest.port;
    let (whole, mac) = (port.id.to_string(), port.mac.clone());
    let words = [
        ("PORT", whole[..11].to_owned()),
        ("CHAIN", whole[..10].to_owned()),
        ("MAC", mac),
        ("ROUTER", id("routers", "r")),
        ("RED", id("networks", "red")),
        ("PUBLIC", id("networks", "public")),
    ];
    let filled = |line: &str| {
        let mut line = line.to_owned();
        for (word, meant) in &words {
            line = line.replace(word, meant);
        }
        line
    };
    for (host, command, wanted) in looks {
        let command = filled(command);
        let said = rig.run(host, &command);
        for wanted in wanted.iter().map(|wanted| filled(wanted)) {
            assert!(
                said.contains(&wanted),
                "`{command}` on {host} shows no {wanted:?}:\n{said}"
            );
        }
    }
}

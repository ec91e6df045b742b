//! What stands below Nucleon: guests plugged as Nova plugs them, and tunnels between hosts, with
//! a switch that was told by hand what to do.

use crate::rig::{Rig, soon};
use lab::Guest;
use lab::plug::Port;
use lab::topology::{Addressing, TunnelType};
use uuid::Uuid;

pub(crate) fn guest(rig: &Rig, name: &str, host: &str, address: &str, hybrid: bool) -> Guest {
    let id = Uuid::new_v4();
    let [.., a, b] = *id.as_bytes();
    Guest {
        name: name.to_owned(),
        host: host.to_owned(),
        port: Port {
            id,
            mac: format!("fa:16:3e:00:{a:02x}:{b:02x}"),
            mtu: 1450,
            vm: Uuid::new_v4(),
            hybrid,
            userspace: rig.lab.datapath() == "netdev",
        },
        addresses: vec![address.parse().unwrap()],
        routes: Vec::new(),
        addressing: Addressing::Static,
        kind: rig.lab.topology().guests_are,
    }
}

/// Two hosts whose br-int is one learning switch across a tunnel.
fn joined_by_hand(tunnel: TunnelType) -> Rig {
    let rig = Rig::bare();
    join_by_hand(&rig, tunnel);
    rig
}

pub(crate) fn join_by_hand(rig: &Rig, tunnel: TunnelType) {
    for (host, other) in [("c1", "10.30.0.12"), ("c2", "10.30.0.11")] {
        let (datapath, kind) = (rig.lab.datapath(), tunnel.as_str());
        rig.run(
            host,
            &format!(
                "ovs-vsctl add-br br-int -- set Bridge br-int datapath_type={datapath} -- add-port br-int tun0 \
                 -- set Interface tun0 type={kind} options:remote_ip={other} options:key=7"
            ),
        );
    }
}

fn guests_reach_each_other_through(tunnel: TunnelType) {
    let mut rig = joined_by_hand(tunnel);
    for (name, host, address, hybrid) in [
        ("a", "c1", "10.1.0.1/24", true),
        ("b", "c2", "10.1.0.2/24", true),
        ("c", "c1", "10.1.0.3/24", false),
    ] {
        let guest = guest(&rig, name, host, address, hybrid);
        rig.lab.add_bare_guest(guest).unwrap();
    }
    let (b, c) = (rig.guest("b").ip(), rig.guest("c").ip());
    rig.guest("a").must_ping(b);
    rig.guest("a").must_ping(c);
    // The guests' MTU leaves room for the tunnel; more is refused, or comes in fragments.
    let most = 1450 - 28;
    assert!(rig.guest("a").pings_with(b, most, false));
    assert!(!rig.guest("a").pings_with(b, most + 1, false));
    assert!(rig.guest("a").pings_with(b, 8000, true));
    rig.tcp_flows("a", "b");

    rig.lab.remove_guest("b").unwrap();
    rig.guest("a").must_not_ping(b);
    assert!(
        !rig.run("c2", "ip -br link").contains("qvb"),
        "devices are gone"
    );
    assert!(!rig.run("c2", "ovs-vsctl list-ports br-int").contains("qvo"));
}

#[test]
fn guests_reach_each_other_through_vxlan() {
    guests_reach_each_other_through(TunnelType::Vxlan);
}

#[test]
fn guests_reach_each_other_through_gre() {
    guests_reach_each_other_through(TunnelType::Gre);
}

/// A frame as it is on the wire, with a protocol of the kind that is for experiments.
fn crafted(from: &str) -> Vec<u8> {
    let mac = from
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).unwrap());
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend([0x88, 0xb5]);
    frame.extend([0x2a; 46]);
    frame
}

#[test]
fn a_crafted_frame_leaves_the_guest_and_is_seen_by_another() {
    let mut rig = joined_by_hand(TunnelType::Vxlan);
    for (name, host, address) in [("a", "c1", "10.1.0.1/24"), ("b", "c2", "10.1.0.2/24")] {
        let guest = guest(&rig, name, host, address, true);
        rig.lab.add_bare_guest(guest).unwrap();
    }
    let (a, b) = (rig.guest("a"), rig.guest("b"));
    a.must_ping(b.ip());
    let seen = b.capture("ether proto 0x88b5 or icmp");
    a.send(&[crafted("02:00:00:00:00:99")]);
    a.must_ping(b.ip());
    for wanted in ["02:00:00:00:00:99 > ff:ff:ff:ff:ff:ff", "ICMP echo request"] {
        soon(&format!("b sees {wanted}"), || seen.text().contains(wanted));
    }
    seen.stop();
}

#[test]
fn a_hybrid_port_looks_as_os_vif_leaves_it() {
    let mut rig = joined_by_hand(TunnelType::Vxlan);
    let wanted = guest(&rig, "a", "c1", "10.1.0.1/24", true);
    rig.lab.add_bare_guest(wanted.clone()).unwrap();
    let short = &wanted.port.id.to_string()[..11];
    let ids = rig.run(
        "c1",
        &format!("ovs-vsctl get Interface qvo{short} external_ids"),
    );
    assert_eq!(
        ids.trim(),
        format!(
            "{{attached-mac=\"{}\", iface-id=\"{}\", iface-status=active, vm-uuid=\"{}\"}}",
            wanted.port.mac, wanted.port.id, wanted.port.vm
        )
    );
    let links = rig.run("c1", &format!("ip -d -o link show master qbr{short}"));
    assert!(
        links.contains(&format!("tap{short}")) && links.contains(&format!("qvb{short}")),
        "{links}"
    );
    let bridge = rig.run("c1", &format!("ip -d -o link show qbr{short}"));
    for setting in [
        "mtu 1450",
        "forward_delay 0",
        "ageing_time 0",
        "stp_state 0",
        "mcast_snooping 0",
    ] {
        assert!(bridge.contains(setting), "no {setting:?} in {bridge}");
    }
    for veth in ["qvb", "qvo"] {
        let link = rig.run("c1", &format!("ip -o link show {veth}{short}"));
        assert!(
            link.contains("PROMISC") && link.contains("mtu 1450"),
            "{link}"
        );
    }
    let address = rig.run("c1", &format!("ip -o -6 addr show dev qbr{short}"));
    assert_eq!(address, "", "the bridge has no IPv6 of its own");

    // A guest that can't be made whole is not there at all.
    rig.run("c2", "ovs-vsctl del-br br-int");
    let half = guest(&rig, "half", "c2", "10.1.0.9/24", true);
    let error = rig.lab.add_bare_guest(half).unwrap_err();
    assert!(error.to_string().contains("br-int"), "{error}");
    assert!(!rig.lab.guests().contains_key("half"));
    assert_eq!(rig.run("c2", "ip netns list"), "");
    assert!(!rig.run("c2", "ip -br link").contains("qbr"));
}

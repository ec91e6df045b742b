//! Guests reach each other on one host and across hosts, and networks are worlds of their own:
//! for each kind of tunnel, with and without l2 population.

use crate::rig::Rig;
use lab::Topology;
use lab::topology::TunnelType;
use serde_json::json;

fn reach(tunnel_type: TunnelType, l2_population: bool) {
    let mut rig = Rig::up(Topology {
        tunnel_type,
        l2_population,
        arp_responder: l2_population,
        ..Topology::default()
    });
    rig.network("red", "10.1.0.0/24");
    rig.network("blue", "10.1.0.0/24");
    for (name, host, network) in [
        ("red1", "c1", "red"),
        ("red2", "c1", "red"),
        ("red3", "c2", "red"),
        ("blue1", "c1", "blue"),
    ] {
        rig.add(name, host, network);
    }
    let (red2, red3) = (rig.guest("red2").ip(), rig.guest("red3").ip());
    rig.guest("red1").must_ping(red2);
    rig.guest("red1").must_ping(red3);
    rig.guest("red3").must_ping(rig.guest("red1").ip());

    // The same address in the other network is another guest, or nobody.
    let red1 = rig.guest("red1").ip();
    rig.guest("blue1").must_not_ping(red3);
    rig.add_with("blue3", "c2", "blue", |wish| {
        wish.port("fixed_ips", json!([{"ip_address": red1.to_string()}]))
    });
    rig.guest("blue1").must_ping(red1);
    let (mac_of_red1, mac_of_blue3) = (
        rig.guest("red1").guest.port.mac.clone(),
        rig.guest("blue3").guest.port.mac.clone(),
    );
    let neighbours = rig.run("blue1", "ip neigh show");
    assert!(
        neighbours.contains(&mac_of_blue3) && !neighbours.contains(&mac_of_red1),
        "{neighbours}"
    );

    // What the MTU allows passes whole; more is refused, or passes in fragments.
    let mtu = rig.guest("red1").guest.port.mtu;
    let expected = match tunnel_type {
        TunnelType::Gre => 1458,
        _ => 1450,
    };
    assert_eq!(mtu, expected);
    assert!(rig.guest("red1").pings_with(red3, mtu - 28, false));
    assert!(!rig.guest("red1").pings_with(red3, mtu - 27, false));
    assert!(rig.guest("red1").pings_with(red3, 8000, true));
    rig.allow(&json!({"protocol": "tcp"}), "red3");
    rig.tcp_flows("red1", "red3");
}

#[test]
fn vxlan_with_l2_population() {
    reach(TunnelType::Vxlan, true);
}

#[test]
fn vxlan_by_flooding_and_learning() {
    reach(TunnelType::Vxlan, false);
}

#[test]
fn gre_with_l2_population() {
    reach(TunnelType::Gre, true);
}

#[test]
fn gre_by_flooding_and_learning() {
    reach(TunnelType::Gre, false);
}

#[test]
fn jumbo_frames_pass_where_the_underlay_takes_them() {
    let mut rig = Rig::up(Topology {
        underlay_mtu: 9000,
        ..Topology::default()
    });
    rig.network("red", "10.1.0.0/24");
    rig.add("red1", "c1", "red");
    rig.add("red2", "c2", "red");
    let (red1, red2) = (rig.guest("red1"), rig.guest("red2").ip());
    red1.must_ping(red2);
    let mtu = red1.guest.port.mtu;
    assert_eq!(mtu, 8950);
    assert!(red1.pings_with(red2, mtu - 28, false));
    assert!(!red1.pings_with(red2, mtu - 27, false));
    assert!(red1.pings_with(red2, 20_000, true));
    rig.allow(&json!({"protocol": "tcp"}), "red2");
    rig.tcp_flows("red1", "red2");
}

#[test]
fn a_provider_vlan_joins_guests_of_two_hosts_without_a_tunnel() {
    let mut rig = Rig::cloud();
    rig.network_with(
        "vlan",
        "10.9.0.0/24",
        &json!({
            "provider:network_type": "vlan",
            "provider:physical_network": "external",
            "provider:segmentation_id": 101,
        }),
    );
    rig.add("v1", "c1", "vlan");
    rig.add("v2", "c2", "vlan");
    let v2 = rig.guest("v2").ip();
    assert_eq!(rig.guest("v1").guest.port.mtu, 1500);
    rig.guest("v1").must_ping(v2);
    assert!(rig.guest("v1").pings_with(v2, 1472, false));
}

#[test]
fn a_flat_network_leads_outside() {
    let mut rig = Rig::cloud();
    rig.network_with(
        "flat",
        "172.24.4.224/28",
        &json!({"provider:network_type": "flat", "provider:physical_network": "external"}),
    );
    rig.add("f1", "c1", "flat");
    rig.guest("f1").must_ping("172.24.4.225".parse().unwrap());
    // And no further in than its group lets: the outside is in no group of the guest's.
    let f1 = rig.guest("f1").ip();
    assert!(
        !rig.lab
            .place("outside")
            .unwrap()
            .output(&["ping", "-c2", "-W1", &f1.to_string()], "")
            .unwrap()
            .status
            .success()
    );
}

#[test]
fn the_first_packet_to_a_new_guest_arrives() {
    let mut rig = Rig::cloud();
    rig.network("red", "10.1.0.0/24");
    rig.network("blue", "10.2.0.0/24");
    rig.add("a", "c1", "red");
    rig.add("z", "c2", "red");
    // The tunnel itself has found its other end.
    rig.guest("a").must_ping(rig.guest("z").ip());
    rig.guest("z").must_ping(rig.guest("a").ip());
    for number in 1..=5 {
        let name = format!("red{number}");
        rig.add(&name, "c2", "red");
        let said = rig
            .guest("a")
            .exec(&format!("ping -n -c 1 -W 1 {}", rig.guest(&name).ip()));
        assert!(
            said.status.success(),
            "{name}: {}",
            String::from_utf8_lossy(&said.stdout)
        );
    }
    // The first guest of a network on its host, where nothing of the network was before.
    rig.add("blue1", "c1", "blue");
    rig.add("blue2", "c2", "blue");
    assert!(rig.guest("blue1").pings_once(rig.guest("blue2").ip()));
}

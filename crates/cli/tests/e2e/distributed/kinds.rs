//! Other kinds of networks behind distributed routers: of IPv6, which is routed at home and leaves by
//! the network node; with an IPv6 address that goes from holder to holder; another project's, which
//! it shares.

use super::walk::{echoes, on_cable, ping_thrice};
use super::{Cloud, eventually, three_hosts};
use crate::clouds::BEYOND_6;
use crate::frames;
use lab::client::text;
use serde_json::{Value, json};
use std::net::IpAddr;

/// An address that either of two guests may take.
const VIRTUAL: &str = "fd00:1::50";

#[test]
fn ipv6_and_shared_networks_are_routed_too() {
    let mut cloud = Cloud::bare(three_hosts());
    let without = json!({"gateway_ip": "2001:db8:e::1", "enable_dhcp": false});
    cloud.rig.subnet(&cloud.public, "2001:db8:e::/64", &without);
    for (name, four, six) in [
        ("red", "10.0.0.0/24", "fd00:1::/64"),
        ("green", "10.2.2.0/24", "fd00:2::/64"),
    ] {
        let four = cloud.network(&json!({ "name": name }), four, &json!({}));
        let network = cloud.rig.client().find("networks", name).unwrap();
        let six = cloud
            .rig
            .subnet_6(text(&network, "id").unwrap(), six, "slaac");
        for subnet in [four, six] {
            cloud.interface("add", &json!({ "subnet_id": subnet }));
        }
    }
    cloud.open_gateway();
    for (name, host) in [("red1", "c1"), ("red3", "c2")] {
        cloud.rig.add_with(name, host, "red", |wish| {
            wish.port("allowed_address_pairs", json!([{"ip_address": VIRTUAL}]))
        });
    }
    for (name, host) in [("green1", "c1"), ("green2", "c2")] {
        cloud.rig.add(name, host, "green");
    }
    let echoes = json!({"protocol": "ipv6-icmp", "ethertype": "IPv6"});
    cloud.rig.allow(&echoes, "red1");
    at_home_and_once_across(&cloud);
    out_by_the_network_node(&cloud);
    from_holder_to_holder(&cloud);
    a_shared_network(&mut cloud);
    cloud.nothing_differs();
}

fn at_home_and_once_across(cloud: &Cloud) {
    let red1 = cloud.ip_6("red1").to_string();
    for (to, crossings) in [("green1", 0), ("green2", 3)] {
        let to_ip = cloud.ip_6(to).to_string();
        cloud.reaches("red1", &to_ip);
        let said = on_cable(cloud, "c1-tun", || ping_thrice(cloud, "red1", &to_ip));
        for (kind, from, to) in [("request", &red1, &to_ip), ("reply", &to_ip, &red1)] {
            let seen = echoes(&said, kind, from, to);
            assert_eq!(seen.len(), crossings, "{said}");
            let routed = |(from_mac, _): &(String, String)| from_mac.starts_with("fa:16:3f:");
            assert!(seen.iter().all(routed), "{said}");
        }
    }
}

/// As it is, untranslated; also where a floating IP has a way out of its own for IPv4.
fn out_by_the_network_node(cloud: &Cloud) {
    let gateway = &cloud.ports("network:router_gateway")[0];
    let fixed = gateway["fixed_ips"].as_array().unwrap().iter();
    let mut fixed = fixed.map(|it| text(it, "ip_address").unwrap());
    let six = fixed.find(|address| address.contains(':')).unwrap();
    let way_back = format!("-6 route add fd00:1::/64 via {six}");
    cloud
        .place("outside")
        .run(&[&["ip"], &*way_back.split(' ').collect::<Vec<_>>()].concat())
        .unwrap();
    let red1 = cloud.ip_6("red1").to_string();
    let leaves = || {
        cloud.reaches("red1", BEYOND_6);
        let said = on_cable(cloud, "net-ext", || ping_thrice(cloud, "red1", BEYOND_6));
        assert_eq!(echoes(&said, "request", &red1, BEYOND_6).len(), 3, "{said}");
    };
    leaves();
    let (_, floating) = cloud.float(&cloud.port_of("red1"));
    eventually("red1 is reached by its floating IP", || {
        cloud.outside_pings(&floating)
    });
    leaves();
}

fn from_holder_to_holder(cloud: &Cloud) {
    let address = VIRTUAL.parse().unwrap();
    for (holder, last) in [("red1", "red3"), ("red3", "red1")] {
        cloud
            .rig
            .guest(last)
            .sh(&format!("ip addr del {VIRTUAL}/64 dev eth0"));
        let holder = cloud.rig.guest(holder);
        holder.run(&format!("ip addr add {VIRTUAL}/64 dev eth0 nodad"));
        let mac = frames::mac(&holder.guest.port.mac);
        holder.send(&[frames::advertisement(mac, address)]);
        // From the same host, and from the other.
        for guest in ["green1", "green2"] {
            cloud.reaches(guest, VIRTUAL);
        }
        // Guests go on believing that their own host's router is their router.
        let said = holder.run("ip -6 neigh show fd00:1::1");
        assert!(!said.contains("fa:16:3f:"), "{said}");
    }
}

/// Another project's network, which it shares with the guests' project.
fn a_shared_network(cloud: &mut Cloud) {
    let network = json!({"name": "theirs", "project_id": "other"});
    let client = cloud.rig.client();
    let network = client.create("networks", "network", network).unwrap();
    let subnet = json!({
        "network_id": network["id"], "cidr": "10.5.0.0/24", "ip_version": 4,
        "project_id": "other",
    });
    let subnet = client.create("subnets", "subnet", subnet).unwrap();
    let shared = json!({
        "object_type": "network", "object_id": network["id"], "action": "access_as_shared",
        "target_tenant": "*", "project_id": "other",
    });
    let shared: Value = client
        .create("rbac-policies", "rbac_policy", shared)
        .unwrap();
    assert_eq!(shared["target_tenant"], "*");
    cloud.interface("add", &json!({"subnet_id": subnet["id"]}));
    let group = cloud.rig.group_id_of("red1");
    cloud.rig.add_with("guest", "c2", "theirs", |wish| {
        wish.port("project_id", json!("e2e"))
            .port("security_groups", json!([group]))
    });
    let guest: IpAddr = cloud.ip("guest");
    cloud.reaches("red1", &guest.to_string());
    let said = on_cable(cloud, "c1-tun", || {
        ping_thrice(cloud, "red1", &guest.to_string());
    });
    let red1 = cloud.ip("red1").to_string();
    let seen = echoes(&said, "request", &red1, &guest.to_string());
    assert_eq!(seen.len(), 3, "{said}");
}

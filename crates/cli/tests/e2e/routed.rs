//! What the network node does for guests: addresses by DHCP, a router between networks, the way
//! outside and back.

use crate::clouds::{BEYOND, OUTSIDE};
use crate::looks::{DISTRIBUTED, LEGACY, look};
use crate::rig::{Rig, soon};
use lab::Topology;
use lab::client::text;
use lab::topology::Addressing;
use serde_json::json;

/// Two networks with DHCP, joined by a router that leads outside, and a guest in each.
fn cloud() -> Rig {
    cloud_with(Topology::default(), false)
}

/// The same with a distributed router: every host routes for its own guests.
fn distributed_cloud() -> Rig {
    let mut topology = Topology::default();
    for host in &mut topology.hosts {
        let mode = if host.controller { "dvr_snat" } else { "dvr" };
        host.agent_mode = mode.to_owned();
        if !host.controller {
            host.roles = ["l2", "l3", "metadata"].map(str::to_owned).to_vec();
        }
    }
    cloud_with(topology, true)
}

fn cloud_with(topology: Topology, distributed: bool) -> Rig {
    let mut rig = Rig::up(Topology {
        addressing: Addressing::Dhcp,
        ..topology
    });
    let router = json!({"name": "r", "distributed": distributed});
    let router = rig.create("routers", "router", &router, &json!({}));
    for (name, cidr) in [("red", "10.1.0.0/24"), ("green", "10.2.2.0/24")] {
        let network = rig.create("networks", "network", &json!({"name": name}), &json!({}));
        let subnet = json!({
            "network_id": network["id"], "cidr": cidr, "ip_version": 4, "dns_nameservers": ["192.0.2.53"],
        });
        let subnet = rig.create("subnets", "subnet", &subnet, &json!({}));
        let path = format!(
            "routers/{}/add_router_interface",
            text(&router, "id").unwrap()
        );
        rig.client()
            .update(&path, &json!({"subnet_id": subnet["id"]}))
            .unwrap();
    }
    let public = rig.public_4();
    let gateway = json!({"router": {"external_gateway_info": {"network_id": public}}});
    rig.client()
        .update(
            &format!("routers/{}", text(&router, "id").unwrap()),
            &gateway,
        )
        .unwrap();
    rig.add("red1", "c1", "red");
    rig.add("green1", "c2", "green");
    rig
}

#[test]
fn a_guest_gets_its_address_and_reaches_what_its_router_leads_to() {
    reaches(&cloud());
}

#[test]
fn a_guest_reaches_what_its_distributed_router_leads_to() {
    let rig = distributed_cloud();
    reaches(&rig);
    let router = rig.client().find("routers", "r").unwrap();
    let namespaces = rig.run("c1", "ip netns list");
    assert!(
        namespaces.contains(&format!("qrouter-{}", text(&router, "id").unwrap())),
        "{namespaces}"
    );
}

fn reaches(rig: &Rig) {
    let red1 = rig.guest("red1");
    let addresses = red1.run("ip -4 -o addr show dev eth0");
    assert!(
        addresses.contains(&format!("{}/24", red1.ip())),
        "by DHCP: {addresses}"
    );
    let routes = red1.run("ip route");
    assert!(routes.contains("default via 10.1.0.1"), "{routes}");
    assert!(red1.run("ip link show eth0").contains("mtu 1450"));

    red1.must_ping("10.1.0.1".parse().unwrap());
    rig.allow(&json!({"protocol": "icmp"}), "green1");
    soon("the other network is reached", || {
        red1.pings_once(rig.guest("green1").ip())
    });
    soon("the outside is reached", || {
        red1.pings_once(OUTSIDE.parse().unwrap())
    });
    red1.must_ping(BEYOND.parse().unwrap());
}

#[test]
fn a_floating_ip_leads_in_and_names_the_guest_outside() {
    floats(&cloud(), |_| {});
}

#[test]
fn a_floating_ip_of_a_distributed_router_is_where_its_guest_is() {
    floats(&distributed_cloud(), |rig| {
        look(rig, DISTRIBUTED);
        // Which hosts have the router, as `l3-agent-list-hosting-router` tells.
        let router = rig.client().find("routers", "r").unwrap();
        let path = format!("routers/{}/l3-agents", text(&router, "id").unwrap());
        let agents = rig.client().get(&path).unwrap();
        let hosts = agents.as_array().unwrap().iter();
        let mut hosts: Vec<_> = hosts.map(|agent| agent["host"].as_str().unwrap()).collect();
        hosts.sort();
        assert_eq!(hosts, ["c1", "c2", "net"]);
    });
}

fn floats(rig: &Rig, while_it_is_there: impl Fn(&Rig)) {
    let red1 = rig.guest("red1");
    rig.allow(&json!({"protocol": "icmp"}), "red1");
    let public = rig.client().find("networks", "public").unwrap();
    let body = json!({"floating_network_id": public["id"], "port_id": red1.guest.port.id});
    let floating = rig.create("floatingips", "floatingip", &body, &json!({}));
    let address = text(&floating, "floating_ip_address").unwrap().to_owned();
    let outside = rig.lab.place("outside").unwrap();
    let reached = || outside.run(&["ping", "-n", "-c1", "-W1", &address]).is_ok();
    soon("the guest is reached from outside", reached);
    while_it_is_there(rig);
    rig.client()
        .delete(&format!("floatingips/{}", text(&floating, "id").unwrap()))
        .unwrap();
    soon("and no longer", || !reached());
    red1.must_ping(BEYOND.parse().unwrap());
}

#[test]
fn the_commands_that_people_look_with_show_what_they_look_for() {
    let rig = cloud();
    let router = rig.client().find("routers", "r").unwrap();
    let router = text(&router, "id").unwrap();
    soon("the router has its gateway", || {
        rig.lab
            .place("net")
            .unwrap()
            .run(&["ip", "netns", "list"])
            .is_ok_and(|said| said.contains(router))
    });
    rig.guest("red1").must_ping(BEYOND.parse().unwrap());
    look(&rig, LEGACY);
}

//! What changes while distributed routers work: routers are switched off and converted, guests
//! move, the node of the source NAT dies, addresses go from one holder to another, and hosts have
//! no way out of their own.

use super::{BEYOND, Cloud, Wire, address, eventually, host, three_hosts};
use crate::rig::{last_number, lost, tail, within};
use lab::client::text;
use lab::topology::TunnelType;
use lab::{Daemon, Topology};
use serde_json::{Value, json};
use std::time::Duration;

/// Two network nodes, two compute hosts, and one without a way out of its own.
fn five_hosts() -> Topology {
    let mut topology = three_hosts();
    topology.hosts.insert(1, host("net2", "dvr_snat"));
    topology.hosts.push(host("c3", "dvr_no_external"));
    topology.agent = toml::from_str("report_interval = 3").unwrap();
    topology.server =
        toml::from_str("[ledger]\nagent_down_time = 12\nallow_automatic_l3agent_failover = true")
            .unwrap();
    topology
}

#[test]
fn what_works_goes_on_working_while_things_change() {
    let mut cloud = Cloud::up(five_hosts(), Wire::Tunnel(TunnelType::Vxlan));
    for (name, host, network) in [
        ("red1", "c1", "red"),
        ("green1", "c1", "green"),
        ("green2", "c2", "green"),
        ("red4", "c3", "red"),
    ] {
        cloud.rig.add(name, host, network);
    }
    cloud.reaches("red4", BEYOND);
    a_killed_agent_undoes_nothing(&mut cloud);
    an_agent_that_was_away_believes_what_went_meanwhile(&cloud);
    a_router_is_switched_off_and_on(&cloud);
    a_guest_without_a_way_out_here_is_served_centrally(&cloud);
    an_address_goes_from_holder_to_holder(&mut cloud);
    a_guest_moves_to_another_host(&mut cloud);
    a_router_is_converted_and_back(&cloud);
    source_nat_survives_its_node(&cloud);
}

/// Killed right after something new came, before that was kept.
fn a_killed_agent_undoes_nothing(cloud: &mut Cloud) {
    cloud.rig.add("late", "c2", "green");
    let late = cloud.ip("late");
    cloud.reaches("red1", &late.to_string());
    cloud.rig.lab.kill(Daemon::Agent, "c2").unwrap();
    let red1 = cloud.rig.guest("red1");
    let pinging = red1.begins(&format!("ping -n -i 0.1 -c 40 {late}"));
    cloud.rig.lab.start(Daemon::Agent, "c2").unwrap();
    let said = pinging.finish();
    assert_eq!(lost(&said, 40), Vec::<u32>::new(), "{}", tail(&said));
    cloud.rig.lab.remove_guest("late").unwrap();
}

/// More than a tenth of what a host knows may go while its agent is away: a router's interface, and
/// all ports behind it. The server shows that it has what the host was told.
fn an_agent_that_was_away_believes_what_went_meanwhile(cloud: &Cloud) {
    let client = cloud.rig.client();
    let subnet = cloud.network(&json!({"name": "wide"}), "10.4.0.0/24", &json!({}));
    let network = client.find("networks", "wide").unwrap();
    let port = json!({"network_id": network["id"], "project_id": "e2e"});
    let ports = json!({"ports": vec![port; 60]});
    let path = "/v2.0/ports";
    let answer = client.ask(&http::Method::POST, path, Some(&ports)).unwrap();
    assert_eq!(answer.status, 201);
    let wide = json!({ "subnet_id": subnet });
    cloud.interface("add", &wide);
    let ask = "ip -4 neigh show nud permanent";
    let known = || {
        let said = cloud.inside("c3", &cloud.qrouter(), ask);
        said.matches("10.4.0.").count()
    };
    eventually("c3 knows the network's ports", || known() >= 60);
    let kept = cloud
        .rig
        .lab
        .machine("c3")
        .unwrap()
        .dir
        .join("agent/view.json");
    eventually("it keeps what it was told", || {
        let kept = std::fs::read_to_string(&kept).unwrap();
        kept.matches("\"10.4.0.").count() >= 60
    });
    cloud.rig.lab.kill(Daemon::Agent, "c3").unwrap();
    cloud.interface("remove", &wide);
    cloud.rig.lab.start(Daemon::Agent, "c3").unwrap();
    eventually("c3 has forgotten them", || known() == 0);
    let log = cloud.rig.log("c3");
    assert!(log.contains("much is taken away, by a server"), "{log}");
    for port in answer.body["ports"].as_array().unwrap() {
        let path = format!("ports/{}", text(port, "id").unwrap());
        client.delete(&path).unwrap();
    }
    client
        .delete(&format!("networks/{}", text(&network, "id").unwrap()))
        .unwrap();
}

fn interface_statuses(cloud: &Cloud) -> Vec<String> {
    let owners = [
        "network:router_interface_distributed",
        "network:router_interface",
    ];
    let ports = owners.into_iter().flat_map(|owner| cloud.ports(owner));
    ports
        .map(|port| port["status"].as_str().unwrap().to_owned())
        .collect()
}

/// Its interfaces are up while it is, and down while it is not.
fn a_router_is_switched_off_and_on(cloud: &Cloud) {
    let green2 = cloud.ip("green2");
    for (up, status) in [(true, "ACTIVE"), (false, "DOWN"), (true, "ACTIVE")] {
        cloud.set_router(&json!({"admin_state_up": up}));
        eventually(&format!("interfaces are {status}"), || {
            interface_statuses(cloud) == [status, status]
        });
        eventually("routing follows", || {
            cloud.rig.guest("red1").pings_once(green2) == up
        });
    }
}

/// The rules of a host's NAT table that name an address.
fn nat_rules(cloud: &Cloud, host: &str, ns: &str, address: &str) -> Vec<String> {
    let said = cloud.inside(host, ns, "iptables -t nat -S");
    let about = format!(" {address}");
    let lines = said.lines().filter(|line| line.contains(&about));
    lines.map(str::to_owned).collect()
}

/// The host that has the router's source NAT.
fn snat_host(cloud: &Cloud) -> String {
    let gateway = &cloud.ports("network:router_gateway")[0];
    gateway["binding:host_id"].as_str().unwrap().to_owned()
}

fn a_guest_without_a_way_out_here_is_served_centrally(cloud: &Cloud) {
    let (id, floating) = cloud.float(&cloud.port_of("red4"));
    eventually("red4 is reached from outside", || {
        cloud.outside_pings(&floating)
    });
    let rules = nat_rules(cloud, &snat_host(cloud), &cloud.snat(), &floating);
    assert!(
        rules.iter().any(|rule| rule.contains("-j DNAT")),
        "{rules:?}"
    );
    assert!(!cloud.has_namespace("c3", &cloud.fip()));
    eventually("its floating IP is said to be up", || {
        cloud.status(&format!("floatingips/{id}")) == "ACTIVE"
    });
    let path = format!("floatingips/{id}");
    cloud.rig.client().delete(&path).unwrap();
    cloud.reaches("red4", BEYOND);
}

/// A shared address: a port that is plugged nowhere, and two guests that may take it.
fn an_address_goes_from_holder_to_holder(cloud: &mut Cloud) {
    let red = cloud.rig.client().find("networks", "red").unwrap();
    let on_red = json!({"network_id": red["id"]});
    let port = cloud.rig.create("ports", "port", &on_red, &json!({}));
    let shared = &address(&port);
    let (id, floating) = cloud.float(port["id"].as_str().unwrap());
    for (name, host) in [("holder1", "c1"), ("holder2", "c2")] {
        cloud.rig.add_with(name, host, "red", |wish| {
            wish.port("allowed_address_pairs", json!([{"ip_address": shared}]))
        });
    }
    for (holder, last) in [("holder1", "holder2"), ("holder2", "holder1")] {
        cloud
            .rig
            .guest(last)
            .sh(&format!("ip addr del {shared}/24 dev eth0"));
        let holder = cloud.rig.guest(holder);
        holder.run(&format!("ip addr add {shared}/24 dev eth0"));
        holder.sh(&format!("arping -q -U -c 2 -I eth0 {shared}"));
        // From the same host, and from the other.
        for guest in ["green1", "green2"] {
            reaches_by_asking(cloud, guest, shared);
        }
        eventually("it is reached from outside", || {
            cloud.outside_pings(&floating)
        });
    }
    eventually("its floating IP is said to be up", || {
        cloud.status(&format!("floatingips/{id}")) == "ACTIVE"
    });
    let path = format!("floatingips/{id}");
    cloud.rig.client().delete(&path).unwrap();
}

/// Waits until a guest reaches an address that its host's router asks for; says what the router
/// believed meanwhile. Where an announcement was lost, the kernel believes the last holder for up to
/// 45 seconds, and asks him for 8 more.
fn reaches_by_asking(cloud: &Cloud, guest: &str, address: &str) {
    let to = address.parse().unwrap();
    let guest = cloud.rig.guest(guest);
    let mut believed = String::new();
    let what = format!("{} pings {address}", guest.guest.name);
    within(Duration::from_secs(60), &what, || {
        let is_reached = guest.pings_once(to);
        let ask = format!("ip neigh show {address}");
        let now = cloud.inside(&guest.guest.host, &cloud.qrouter(), &ask);
        if !is_reached && now != believed {
            println!("{}: {now}", guest.guest.host);
            believed = now;
        }
        is_reached
    });
}

/// Live migration, as Nova goes about it: a second binding, the port plugged there, the binding
/// made the active one, the first one taken away.
fn a_guest_moves_to_another_host(cloud: &mut Cloud) {
    let (id, floating) = cloud.float(&cloud.port_of("red1"));
    eventually("red1 is reached at home", || cloud.outside_pings(&floating));
    assert!(cloud.has_namespace("c1", &cloud.fip()));
    let port = format!("ports/{}", cloud.port_of("red1"));
    cloud.rig.lab.begin_migration("red1", "c2").unwrap();
    // Not active yet: the guest at home is the one that answers.
    let to = cloud.ip("red1");
    let pinging = {
        let green1 = cloud.rig.guest("green1");
        assert!(green1.pings(to));
        green1.begins(&format!("ping -n -i 0.1 {to}"))
    };
    cloud.rig.lab.finish_migration("red1", "c2").unwrap();
    eventually("its floating IP is where it is", || {
        cloud.outside_pings(&floating)
            && cloud.has_namespace("c2", &cloud.fip())
            && !cloud.has_namespace("c1", &cloud.fip())
    });
    cloud.reaches("green1", &to.to_string());
    let said = pinging.stop();
    let missed = lost(&said, last_number(&said)).len();
    println!(
        "echo requests lost over the move: {missed}; {}",
        tail(&said)
    );
    eventually("its port is up", || cloud.status(&port) == "ACTIVE");
    cloud.reaches("red1", BEYOND);
    cloud
        .rig
        .client()
        .delete(&format!("floatingips/{id}"))
        .unwrap();
}

/// Centralized and distributed again, switched off for the while.
fn a_router_is_converted_and_back(cloud: &Cloud) {
    let green2 = cloud.ip("green2").to_string();
    for distributed in [false, true] {
        cloud.set_router(&json!({"admin_state_up": false}));
        cloud.set_router(&json!({"distributed": distributed}));
        cloud.set_router(&json!({"admin_state_up": true}));
        for to in [&green2, BEYOND] {
            cloud.reaches("red4", to);
        }
        eventually("it is only where it should be", || {
            cloud.has_namespace("c3", &cloud.qrouter()) == distributed
                && ["net", "net2"]
                    .iter()
                    .filter(|host| cloud.has_namespace(host, &cloud.snat()))
                    .count()
                    == usize::from(distributed)
        });
        eventually("interfaces are up", || {
            interface_statuses(cloud) == ["ACTIVE", "ACTIVE"]
        });
    }
}

/// The L3 agent of a host, by its id.
fn l3_agent(cloud: &Cloud, host: &str) -> String {
    let path = format!("agents?host={host}&binary=neutron-l3-agent");
    let agents: Value = cloud.rig.client().get(&path).unwrap();
    agents[0]["id"].as_str().unwrap().to_owned()
}

/// The second network node has the source NAT, and dies: cables and all.
fn source_nat_survives_its_node(cloud: &Cloud) {
    let client = cloud.rig.client();
    let held = snat_host(cloud);
    if held != "net2" {
        let from = format!(
            "agents/{}/l3-routers/{}",
            l3_agent(cloud, &held),
            cloud.router
        );
        client.delete(&from).unwrap();
        let to = format!("agents/{}/l3-routers", l3_agent(cloud, "net2"));
        let answer = client.ask(
            &http::Method::POST,
            &format!("/v2.0/{to}"),
            Some(&json!({"router_id": cloud.router})),
        );
        assert_eq!(answer.unwrap().status, 201);
    }
    cloud.reaches("red4", BEYOND);
    assert_eq!(snat_host(cloud), "net2");
    let fabric = cloud.place("fabric");
    let cables = |state: &str| {
        let cables = ["net2-tun", "net2-ext"].map(|cable| format!("link set {cable} {state}"));
        fabric.ip(&cables).unwrap();
    };
    cloud.rig.lab.kill(Daemon::Agent, "net2").unwrap();
    cables("down");
    within(Duration::from_secs(60), "net takes over", || {
        snat_host(cloud) == "net"
    });
    cloud.reaches("red4", BEYOND);
    let gateway = address(&cloud.ports("network:router_gateway")[0]);
    let said = cloud.inside("net", &cloud.snat(), "ip -o -4 addr");
    assert!(said.contains(&gateway), "{said}");
    // What it had is another's when it comes back.
    cloud.rig.lab.start(Daemon::Agent, "net2").unwrap();
    eventually("net2 lets go", || {
        !cloud.has_namespace("net2", &cloud.snat())
    });
    cables("up");
    cloud.reaches("red4", BEYOND);
    assert_eq!(snat_host(cloud), "net");
}

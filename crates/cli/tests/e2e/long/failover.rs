//! Two network nodes: several DHCP servers for one network, and what becomes of a router and of
//! DHCP when their node is cut off from the server, or dies.

use crate::clouds::{BEYOND, ip, pings, shell};
use crate::rig::{Background, Rig, lost, soon, tail, within};
use crate::services::renews;
use lab::Topology;
use lab::client::text;
use lab::topology::{Addressing, Host};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// An agent is held dead after 8 seconds of silence, which the server looks for every 10.
const SERVER: &str = "[ledger]
agent_down_time = 8
allow_automatic_dhcp_failover = true
allow_automatic_l3agent_failover = true";
const MOVED: Duration = Duration::from_secs(8 + 10 + 10);

/// The router's host says every 3 seconds where it is, while another may have it; one may be lost.
const ANNOUNCED: Duration = Duration::from_secs(7);

/// A connection that was cut is found to be dead after 45 seconds, or goes on when the kernel sends
/// again, which takes as long as the cut lasted at most.
const HEARS: Duration = Duration::from_secs(45 + 15);

/// The old one says within 2 that it let go, which the server looks for every 10; then the router's
/// host falls silent, which takes a while to be heard.
const QUIET: Duration = Duration::from_secs(2 + 10 + 30);

const V4: &str = "http://169.254.169.254/latest/meta-data/local-ipv4";
const V6: &str = "http://[fe80::a9fe:a9fe%25eth0]/latest/meta-data/local-ipv4";

struct Cloud {
    rig: Rig,
    red: String,
    router: String,
    floating: IpAddr,
}

fn cloud() -> Cloud {
    let mut topology = Topology {
        addressing: Addressing::Dhcp,
        server: toml::from_str(SERVER).unwrap(),
        agent: toml::from_str("report_interval = 2").unwrap(),
        ..Topology::default()
    };
    let second = Host {
        name: "net2".to_owned(),
        controller: false,
        ..topology.hosts[0].clone()
    };
    topology.hosts.insert(1, second);
    topology.hosts.retain(|host| host.name != "c2");
    let mut rig = Rig::up(topology);
    let public = rig.public();
    let red = rig.net("red", &json!({}));
    let four = rig.subnet(&red, "10.1.0.0/24", &json!({}));
    let six = rig.subnet_6(&red, "fd00:1::/64", "slaac");
    let router = rig.router("r", &[&four, &six]);
    rig.lead_outside(&router, &public, &json!({}));
    rig.add("red1", "c1", "red");
    rig.open("red1");
    let (_, floating) = rig.float(&public, "red1");
    Cloud {
        rig,
        red,
        router,
        floating,
    }
}

impl Cloud {
    /// The id of a host's agent of this kind.
    fn agent(&self, kind: &str, host: &str) -> String {
        let found = self.rig.list(&format!("agents?binary={kind}&host={host}"));
        text(&found[0], "id").unwrap().to_owned()
    }

    /// On which hosts something is, by the list of its agents.
    fn hosts(&self, path: &str) -> Vec<String> {
        let agents = self.rig.list(path);
        let host = |agent: &Value| text(agent, "host").unwrap().to_owned();
        let mut hosts: Vec<String> = agents.iter().map(host).collect();
        hosts.sort();
        hosts
    }

    fn dhcp_hosts(&self) -> Vec<String> {
        self.hosts(&format!("networks/{}/dhcp-agents", self.red))
    }

    fn router_hosts(&self) -> Vec<String> {
        self.hosts(&format!("routers/{}/l3-agents", self.router))
    }

    /// The router and the network's DHCP are on this host alone.
    fn place_on(&self, host: &str) {
        let client = self.rig.client();
        for (kind, path, key, id, hosts) in [
            (
                "neutron-l3-agent",
                "l3-routers",
                "router_id",
                &self.router,
                self.router_hosts(),
            ),
            (
                "neutron-dhcp-agent",
                "dhcp-networks",
                "network_id",
                &self.red,
                self.dhcp_hosts(),
            ),
        ] {
            for other in hosts.iter().filter(|other| *other != host) {
                let agent = self.agent(kind, other);
                client
                    .delete(&format!("agents/{agent}/{path}/{id}"))
                    .unwrap();
            }
            if !hosts.iter().any(|it| it == host) {
                let path = format!("agents/{}/{path}", self.agent(kind, host));
                client.create(&path, key, json!(id)).unwrap();
            }
        }
        soon("it is where it was put", || {
            self.has(host, "qrouter") && self.has(host, "qdhcp")
        });
        self.is_reached();
    }

    /// Whether a host has the namespace of the router or of DHCP.
    fn has(&self, host: &str, kind: &str) -> bool {
        let namespaces = self.rig.run(host, "ip netns list");
        namespaces.contains(&format!("{kind}-"))
    }

    fn is_reached(&self) {
        let outside = self.rig.outside();
        soon("the floating IP leads in", || {
            pings(&outside, self.floating)
        });
        self.rig.guest("red1").must_ping(ip(BEYOND));
    }

    fn is_reached_within(&self, usual: Duration) {
        let outside = self.rig.outside();
        within(usual, "the floating IP leads in", || {
            pings(&outside, self.floating)
        });
    }

    /// The router of a host that should not have it any more sends something to the outside, which
    /// teaches the switches between that its MAC is there. One that is gone sends nothing.
    fn leads_astray(&self, host: &str) {
        let netns = format!("qrouter-{}", self.router);
        let gateway = self.rig.list(&format!(
            "ports?device_id={}&device_owner=network:router_gateway",
            self.router
        ));
        let device = format!("qg-{}", &text(&gateway[0], "id").unwrap()[..11]);
        let address = self.floating.to_string();
        let say = ["arping", "-q", "-U", "-c", "1", "-I", &device, &address];
        let within = [&["ip", "netns", "exec", &netns][..], &say].concat();
        drop(self.rig.lab.place(host).unwrap().run(&within));
    }

    /// Whether anybody says where an address is that nobody asked for, for longer than it takes.
    fn is_announced(&self) -> bool {
        let gratuitous = "-i eth0 'arp[6:2] = 1 and arp[14:4] = arp[24:4]'";
        let capture = Background::capture(&self.rig.outside(), gratuitous);
        std::thread::sleep(ANNOUNCED);
        capture.stop().contains("who-has")
    }

    fn is_told(&self, url: &str) {
        let guest = self.rig.guest("red1");
        let wanted = guest.ip().to_string();
        let ask = format!("curl -s -g -m 5 {url}");
        // A guest that had found another server in IPv6 first has to find out that it is gone.
        within(Duration::from_secs(90), url, || {
            String::from_utf8_lossy(&guest.exec(&ask).stdout) == wanted
        });
    }

    /// Waits until everything has moved to `host`; how long that took.
    fn moves_to(&self, host: &str) -> Duration {
        let began = Instant::now();
        within(MOVED, &format!("all is on {host}"), || {
            self.router_hosts() == [host] && self.dhcp_hosts() == [host]
        });
        soon("it is there", || {
            self.has(host, "qrouter") && self.has(host, "qdhcp")
        });
        began.elapsed()
    }

    /// Pings through the floating IP for some seconds; how many of how many were lost.
    fn loses(&self) -> usize {
        let count = 100;
        let ping = format!("ping -n -i 0.05 -c {count} {}", self.floating);
        let said = Background::begin(&self.rig.outside(), &ping).finish();
        println!("{}", tail(&said));
        lost(&said, count).len()
    }
}

#[test]
fn services_move_off_a_node_that_is_cut_off_or_dead() {
    let cloud = cloud();
    cloud.is_reached();
    two_servers(&cloud);
    cut_off(&cloud);
    dead(&cloud);
}

/// Both servers of a network know its guests; metadata goes on when one of them goes.
fn two_servers(cloud: &Cloud) {
    let rig = &cloud.rig;
    let first = cloud.dhcp_hosts();
    assert_eq!(first.len(), 1, "as many as the settings say");
    let second = if first[0] == "net" { "net2" } else { "net" };
    let add = |host: &str| {
        let path = format!(
            "agents/{}/dhcp-networks",
            cloud.agent("neutron-dhcp-agent", host)
        );
        rig.client().create(&path, "network_id", json!(cloud.red))
    };
    let again = add(&first[0]).unwrap_err().to_string();
    assert!(again.contains("409"), "it has the network already: {again}");
    add(second).unwrap();
    assert_eq!(cloud.dhcp_hosts(), ["net", "net2"]);
    let ports = rig.list(&format!(
        "ports?network_id={}&device_owner=network:dhcp",
        cloud.red
    ));
    let of_four = |port: &Value| {
        let fixed = port["fixed_ips"].as_array().unwrap().iter();
        let mut addresses = fixed.map(|it| text(it, "ip_address").unwrap().to_owned());
        addresses.find(|address| address.contains('.')).unwrap()
    };
    let servers: Vec<String> = ports.iter().map(of_four).collect();
    assert_eq!(servers.len(), 2);
    let guest = rig.guest("red1");
    let offers = guest.capture("udp src port 67");
    within(Duration::from_secs(30), "both servers offer", || {
        guest.exec("udhcpc -n -q -t 2 -T 1 -i eth0 -s /bin/true");
        let seen = offers.text();
        servers
            .iter()
            .all(|server| seen.contains(&format!("{server}.67 >")))
    });
    offers.stop();
    for host in ["net", "net2"] {
        let addresses = format!("ip -n qdhcp-{} -6 addr show", cloud.red);
        soon(&format!("{host} may use the metadata address"), || {
            let addresses = rig.run(host, &addresses);
            let mut lines = addresses.lines();
            let found = lines.find(|line| line.contains("fe80::a9fe:a9fe/64"));
            found.is_some_and(|line| !line.contains("tentative") && !line.contains("dadfailed"))
        });
    }
    cloud.is_told(V6);
    // Whichever of the two answered is taken away, and then the other way round.
    for (gone, stays) in [(second, first[0].as_str()), (first[0].as_str(), second)] {
        let agent = cloud.agent("neutron-dhcp-agent", gone);
        let path = format!("agents/{agent}/dhcp-networks/{}", cloud.red);
        rig.client().delete(&path).unwrap();
        soon("it is gone", || !cloud.has(gone, "qdhcp"));
        renews(rig, "red1");
        cloud.is_told(V6);
        cloud.is_told(V4);
        assert_eq!(cloud.dhcp_hosts(), [stays]);
        add(gone).unwrap();
        soon("it is back", || cloud.has(gone, "qdhcp"));
    }
}

/// A node that does not hear the server keeps what it has, and another has it too: the others send
/// to the new one, and the old one withdraws when it hears again. Whatever the old one says
/// meanwhile, the outside is led to the new one again, soon.
fn cut_off(cloud: &Cloud) {
    let rig = &cloud.rig;
    cloud.place_on("net2");
    rig.run("fabric", "ip link set net2-mgm down");
    let took = cloud.moves_to("net");
    println!("cut off: moved after {} ms", took.as_millis());
    assert!(cloud.has("net2", "qrouter"), "it keeps its host as it is");
    cloud.is_reached();
    // Who does not know yet where the address is asks everybody, and both answer.
    shell(&rig.outside(), "ip neigh flush dev eth0");
    let lost = cloud.loses();
    println!("both have it: {lost} of 100 lost");
    assert!(cloud.is_announced(), "it is said where the router is");
    for _ in 0..3 {
        cloud.leads_astray("net2");
        cloud.is_reached_within(ANNOUNCED);
    }
    renews(rig, "red1");
    cloud.leads_astray("net2");
    rig.run("fabric", "ip link set net2-mgm up");
    within(HEARS, "the old one withdraws", || {
        cloud.leads_astray("net2");
        !cloud.has("net2", "qrouter") && !cloud.has("net2", "qdhcp")
    });
    cloud.is_reached_within(ANNOUNCED);
    within(QUIET, "nobody says it any more", || !cloud.is_announced());
    assert_eq!(cloud.loses(), 0, "one has it");
    cloud.is_told(V4);
    cloud.is_told(V6);
}

fn dead(cloud: &Cloud) {
    let rig = &cloud.rig;
    cloud.place_on("net2");
    let machine = rig.lab.machine("net2").unwrap();
    machine.process.end(Duration::from_secs(5)).unwrap();
    let took = cloud.moves_to("net");
    println!("dead: moved after {} ms", took.as_millis());
    cloud.is_reached();
    renews(rig, "red1");
    cloud.is_told(V4);
    cloud.is_told(V6);
}

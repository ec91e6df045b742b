//! The agent as a network node: many routers with a network, a gateway and a floating IP each, and
//! many networks with a DHCP server. From nothing, started again, and one floating IP more.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use http::Method;
use serde_json::{Value, json};

use crate::{
    agent::{TIMES, ms, say},
    machine::{
        Machine,
        cloud::{Cloud, Port},
        guests::{self, Ping},
        median, run as command,
    },
};

const FEW: usize = 10;
const MANY: usize = 50;
const NETWORKS: usize = 100;
/// Between pings while the agent is started again.
const PING: Duration = Duration::from_millis(10);

pub(crate) fn run(binary: &Path) -> io::Result<()> {
    println!("\nrouters");
    let mut node = Node::start(binary)?;
    node.routers(FEW)?;
    node.settle()?;
    node.guest()?;
    node.one_more_floating_ip(FEW)?;
    node.routers(MANY - FEW)?;
    node.settle()?;
    node.one_more_floating_ip(MANY)?;
    node.restart(&format!("{MANY} routers, started again"))?;
    node.remove_guest()?;
    node.wipe()?;
    let what = format!("{MANY} routers from nothing");
    node.verified(&what)?;
    node.memory("router", MANY)?;
    node.idle()?;
    drop(node);

    println!("\nnetworks with DHCP");
    let mut node = Node::start(binary)?;
    node.machine.stop_agent();
    for n in 0..NETWORKS {
        node.cloud.network(&format!("10.{n}.0.0/24"), true)?;
    }
    let what = format!("{NETWORKS} networks' DHCP from nothing");
    node.verified(&what)?;
    node.restart(&format!("{NETWORKS} networks' DHCP, started again"))?;
    node.memory("network", NETWORKS)?;
    node.wipe()
}

/// A network node, and what its routers reach.
struct Node {
    machine: Machine,
    cloud: Cloud,
    external: String,
    /// Resident memory of an agent that has nothing to do, in MB.
    empty: f64,
    routers: Vec<String>,
    networks: Vec<String>,
    guest: Option<Port>,
}

impl Node {
    fn start(binary: &Path) -> io::Result<Node> {
        let mut machine = Machine::start(binary)?;
        let bridge = ["set", "Bridge", "br-ex", "datapath_type=netdev"];
        machine.vsctl(&[&["add-br", "br-ex", "--"][..], &bridge].concat())?;
        let mut cloud = Cloud::start(binary, &machine.path(""))?;
        machine.configure(cloud.agents(), "['l2', 'dhcp', 'l3']")?;
        machine.start_agent()?;
        cloud.until_host()?;
        machine.settle()?;
        let empty = machine.agent()?.memory()?;
        let external = json!({"name": "external", "router:external": true,
            "provider:network_type": "flat", "provider:physical_network": "external"});
        let external = cloud.make_id("networks", "network", external)?;
        let subnet = json!({"network_id": external, "ip_version": 4, "cidr": "172.24.0.0/16",
            "gateway_ip": "172.24.0.1", "enable_dhcp": false});
        cloud.make("subnets", "subnet", subnet)?;
        command(&["ip", "addr", "add", "172.24.0.1/16", "dev", "br-ex"])?;
        command(&["ip", "link", "set", "br-ex", "up"])?;
        Ok(Node {
            machine,
            cloud,
            external,
            empty,
            routers: Vec::new(),
            networks: Vec::new(),
            guest: None,
        })
    }

    fn settle(&self) -> io::Result<()> {
        self.machine.settle()
    }

    /// Routers with a network, a gateway and a floating IP each.
    fn routers(&mut self, count: usize) -> io::Result<()> {
        for n in self.routers.len()..self.routers.len() + count {
            let (network, subnet) = self.cloud.network(&format!("10.{n}.0.0/16"), false)?;
            let gateway = json!({"external_gateway_info": {"network_id": self.external}});
            let router = self.cloud.make_id("routers", "router", gateway)?;
            let path = format!("routers/{router}/add_router_interface");
            let interface = json!({"subnet_id": subnet});
            self.cloud.call(Method::PUT, &path, &interface)?;
            let port = self
                .cloud
                .ports(1, &json!({"network_id": network}))?
                .remove(0);
            self.floating_ip(&port)?;
            self.routers.push(router);
            self.networks.push(network);
        }
        Ok(())
    }

    fn floating_ip(&mut self, port: &Port) -> io::Result<Value> {
        let what = json!({"floating_network_id": self.external, "port_id": port.id});
        self.cloud.make("floatingips", "floatingip", what)
    }

    /// One guest behind the first router, to be reached from outside.
    fn guest(&mut self) -> io::Result<()> {
        let icmp = json!({"direction": "ingress", "ethertype": "IPv4", "protocol": "icmp"});
        let group = json!({"name": "guests"});
        let group = self
            .cloud
            .make_id("security-groups", "security_group", group)?;
        let mut rule = icmp;
        rule["security_group_id"] = json!(group);
        self.cloud
            .make("security-group-rules", "security_group_rule", rule)?;
        let port = Cloud::guest_port(&self.networks[0], &group);
        let port = self.cloud.ports(1, &port)?.remove(0);
        let ports = std::slice::from_ref(&port);
        guests::devices(ports)?;
        guests::address(&port, &[])?;
        let netns = format!("g-{}", &port.id[..11]);
        command(&[
            "ip", "-n", &netns, "route", "add", "default", "via", "10.0.0.1",
        ])?;
        guests::plug(&self.machine, ports)?;
        self.cloud.until(ports, "ACTIVE")?;
        self.guest = Some(port);
        Ok(())
    }

    /// Nothing may wait for a guest to be plugged where all is made from nothing.
    fn remove_guest(&mut self) -> io::Result<()> {
        let Some(port) = self.guest.take() else {
            return Ok(());
        };
        let ports = std::slice::from_ref(&port);
        guests::unplug(&self.machine, ports)?;
        guests::remove_devices(ports)?;
        let path = format!("ports/{}", port.id);
        self.cloud.call(Method::DELETE, &path, &Value::Null)?;
        self.settle()
    }

    /// From the request until a ping from outside is answered.
    fn one_more_floating_ip(&mut self, routers: usize) -> io::Result<()> {
        let Some(port) = self.guest.clone() else {
            return Ok(());
        };
        let path = format!(
            "ports?device_id={}&device_owner=network:router_gateway",
            self.routers[0]
        );
        let gateway = self.cloud.call(Method::GET, &path, &Value::Null)?;
        let mac = gateway["ports"][0]["mac_address"]
            .as_str()
            .unwrap_or_default();
        let mut times = Vec::new();
        for n in 0..TIMES {
            let address = format!("172.24.200.{}", n + 1);
            let neighbour = ["ip", "neigh", "replace", &address, "lladdr", mac];
            command(&[&neighbour[..], &["dev", "br-ex", "nud", "permanent"]].concat())?;
            let ping = Ping::outside(&address, Duration::from_millis(2))?;
            std::thread::sleep(Duration::from_millis(50));
            let what = json!({"floating_network_id": self.external, "port_id": port.id,
                "floating_ip_address": address});
            let begun = Instant::now();
            let id = self.cloud.make_id("floatingips", "floatingip", what)?;
            times.push(ping.first()? - begun);
            self.settle()?;
            let path = format!("floatingips/{id}");
            self.cloud.call(Method::DELETE, &path, &Value::Null)?;
            self.settle()?;
        }
        let what = format!("one more floating IP, {routers} routers there");
        say(&what, &format!("answers after {}", ms(median(times))));
        Ok(())
    }

    fn verified(&mut self, what: &str) -> io::Result<()> {
        let (took, _) = self.machine.verified()?;
        say(what, &format!("verified after {}", ms(took)));
        self.settle()
    }

    /// While the guest, if there is one, is pinged from outside.
    fn restart(&mut self, what: &str) -> io::Result<()> {
        let mut times = Vec::new();
        let mut written = 0;
        let ping = self.ping()?;
        for _ in 0..TIMES {
            let (took, passes) = self.machine.verified()?;
            times.push(took);
            let nothing = "database=0 flows=0 filters=0 services=0";
            written += passes.iter().filter(|line| !line.contains(nothing)).count();
            self.settle()?;
        }
        let lost = match ping.map(Ping::end).transpose()? {
            Some((sent, lost)) => format!(", {lost} of {sent} pings lost"),
            None => String::new(),
        };
        let figures = format!(
            "verified after {}, {written} times something written{lost}",
            ms(median(times))
        );
        say(what, &figures);
        Ok(())
    }

    /// From outside to a floating IP of the guest, which answers already.
    fn ping(&mut self) -> io::Result<Option<Ping>> {
        let Some(port) = self.guest.clone() else {
            return Ok(None);
        };
        let made = self.floating_ip(&port)?;
        let address = made["floating_ip_address"].as_str().unwrap_or_default();
        Ping::outside(address, PING)?.first()?;
        self.settle()?;
        Ping::outside(address, PING).map(Some)
    }

    fn memory(&self, each: &str, count: usize) -> io::Result<()> {
        let memory = self.machine.agent()?.memory()?;
        let share = (memory - self.empty) / count as f64;
        say(
            "memory of the agent",
            &format!("{memory:.1} MB, {share:.2} MB for each {each}"),
        );
        Ok(())
    }

    fn idle(&self) -> io::Result<()> {
        let used = self.machine.idle(Duration::from_secs(30))?;
        say("idle, of a core", &format!("{:.2} %", used * 100.0));
        Ok(())
    }

    /// Nothing of the services is left: bridges, namespaces, processes.
    fn wipe(&mut self) -> io::Result<()> {
        self.machine.stop_agent();
        let bridges = [
            "--",
            "--if-exists",
            "del-br",
            "br-int",
            "--",
            "--if-exists",
            "del-br",
            "br-tun",
        ];
        self.machine.vsctl(&bridges)?;
        for netns in command(&["ip", "netns", "list"])?.lines() {
            let name = netns.split(' ').next().unwrap_or_default();
            if !name.starts_with("g-") {
                command(&["ip", "netns", "del", name])?;
            }
        }
        self.machine.end_servers()
    }
}

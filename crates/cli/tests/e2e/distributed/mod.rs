//! Distributed routers on several hosts: what a walk through them shows, what changes while they
//! work, and the orders of calls in which others lose their source NAT.

mod changes;
mod kinds;
pub(crate) mod orders;
pub(crate) mod soak;
pub(crate) mod walk;

pub(crate) use crate::clouds::{BEYOND, OUTSIDE};
use crate::rig::{NUCLEON, Rig, within};
use lab::client::text;
use lab::topology::{Host, TunnelType};
use lab::{Place, Topology};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::process::Command;
use std::time::Duration;

/// Until a change of routers is in force on every host, on a machine that has other work too.
pub(crate) fn eventually(what: &str, so: impl FnMut() -> bool) {
    within(Duration::from_secs(30), what, so);
}

/// A host that has parts of distributed routers, with its agent in this mode.
pub(crate) fn host(name: &str, agent_mode: &str) -> Host {
    let central = agent_mode == "dvr_snat";
    let more = if central { &["dhcp"][..] } else { &[] };
    Host {
        name: name.to_owned(),
        controller: name == "net",
        roles: ["l2", "l3", "metadata"]
            .iter()
            .chain(more)
            .map(|&role| role.to_owned())
            .collect(),
        agent_mode: agent_mode.to_owned(),
        external: agent_mode != "dvr_no_external",
    }
}

/// A network node, which is the controller too, and two compute hosts.
pub(crate) fn three_hosts() -> Topology {
    Topology {
        hosts: vec![
            host("net", "dvr_snat"),
            host("c1", "dvr"),
            host("c2", "dvr"),
        ],
        ..Topology::default()
    }
}

/// What carries tenants' frames between hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wire {
    Tunnel(TunnelType),
    /// A provider network's VLANs, through br-ex.
    Vlan,
}

/// A lab with a router between the networks red and green, which leads outside.
pub(crate) struct Cloud {
    pub(crate) rig: Rig,
    pub(crate) router: String,
    pub(crate) public: String,
}

impl Cloud {
    /// With red and green joined by the router.
    pub(crate) fn up(topology: Topology, wire: Wire) -> Self {
        let topology = match wire {
            Wire::Tunnel(tunnel_type) => Topology {
                tunnel_type,
                ..topology
            },
            Wire::Vlan => topology,
        };
        let cloud = Self::bare(topology);
        let networks = [("red", "10.0.0.0/24"), ("green", "10.2.2.0/24")];
        for (at, (name, cidr)) in networks.into_iter().enumerate() {
            let network = match wire {
                Wire::Tunnel(_) => json!({"name": name}),
                Wire::Vlan => json!({
                    "name": name, "provider:network_type": "vlan",
                    "provider:physical_network": "external", "provider:segmentation_id": 100 + at,
                }),
            };
            let subnet = cloud.network(&network, cidr, &json!({}));
            cloud.interface("add", &json!({"subnet_id": subnet}));
        }
        cloud.open_gateway();
        cloud
    }

    /// With a router that nothing is joined to.
    pub(crate) fn bare(topology: Topology) -> Self {
        let rig = Rig::up(topology);
        let public = rig.public_4();
        let mut cloud = Self {
            router: String::new(),
            public,
            rig,
        };
        cloud.new_router("vr");
        // What tenants' guests are asked by pings.
        let rule = json!({
            "security_group_id": cloud.default_group(), "direction": "ingress",
            "ethertype": "IPv4", "protocol": "icmp",
        });
        let rules = "security-group-rules";
        cloud
            .rig
            .create(rules, "security_group_rule", &rule, &json!({}));
        cloud
    }

    /// Makes another distributed router, which is the one that is meant from now on.
    pub(crate) fn new_router(&mut self, name: &str) {
        let router = json!({"name": name, "distributed": true});
        let router = self.rig.create("routers", "router", &router, &json!({}));
        text(&router, "id").unwrap().clone_into(&mut self.router);
    }

    pub(crate) fn open_gateway(&self) {
        self.set_router(&json!({"external_gateway_info": {"network_id": self.public}}));
    }

    /// The IPv6 address of a guest.
    pub(crate) fn ip_6(&self, guest: &str) -> IpAddr {
        let guest = self.rig.guest(guest).guest;
        let mut addresses = guest.addresses.iter().map(ipnet::IpNet::addr);
        addresses.find(IpAddr::is_ipv6).expect("an IPv6 address")
    }

    /// A network with one subnet; gives the subnet's id.
    pub(crate) fn network(&self, network: &Value, cidr: &str, more: &Value) -> String {
        let network = self.rig.create("networks", "network", network, &json!({}));
        let version = if cidr.contains(':') { 6 } else { 4 };
        let subnet = json!({"network_id": network["id"], "cidr": cidr, "ip_version": version});
        let subnet = self.rig.create("subnets", "subnet", &subnet, more);
        text(&subnet, "id").unwrap().to_owned()
    }

    /// The group that the project's ports are in when nothing else is said.
    fn default_group(&self) -> String {
        let groups = self
            .rig
            .client()
            .get("security-groups?name=default")
            .unwrap();
        let groups = groups.as_array().unwrap().iter();
        let mut own = groups.filter(|group| group["project_id"] == "e2e");
        text(own.next().unwrap(), "id").unwrap().to_owned()
    }

    /// Adds or removes an interface of the router.
    pub(crate) fn interface(&self, verb: &str, body: &Value) {
        let path = format!("routers/{}/{verb}_router_interface", self.router);
        self.rig.client().update(&path, body).unwrap();
    }

    pub(crate) fn set_router(&self, attributes: &Value) {
        let path = format!("routers/{}", self.router);
        let body = json!({ "router": attributes });
        self.rig.client().update(&path, &body).unwrap();
    }

    /// A floating IP for a port: its id and address.
    pub(crate) fn float(&self, port: &str) -> (String, String) {
        let body = json!({"floating_network_id": self.public, "port_id": port});
        let floating = self
            .rig
            .create("floatingips", "floatingip", &body, &json!({}));
        let of = |attribute| text(&floating, attribute).unwrap().to_owned();
        (of("id"), of("floating_ip_address"))
    }

    pub(crate) fn port_of(&self, guest: &str) -> String {
        self.rig.guest(guest).guest.port.id.to_string()
    }

    pub(crate) fn ip(&self, guest: &str) -> IpAddr {
        self.rig.guest(guest).ip()
    }

    pub(crate) fn qrouter(&self) -> String {
        format!("qrouter-{}", self.router)
    }

    pub(crate) fn snat(&self) -> String {
        format!("snat-{}", self.router)
    }

    pub(crate) fn fip(&self) -> String {
        format!("fip-{}", self.public)
    }

    pub(crate) fn has_namespace(&self, host: &str, namespace: &str) -> bool {
        let said = self.rig.run(host, "ip netns list");
        said.split_whitespace().any(|word| word == namespace)
    }

    /// Runs in a namespace of a host, which may not be there yet.
    pub(crate) fn inside(&self, host: &str, namespace: &str, command: &str) -> String {
        let place = self.place(host);
        let line = format!("ip netns exec {namespace} {command}");
        let words: Vec<&str> = line.split_whitespace().collect();
        place.run(&words).unwrap_or_default()
    }

    pub(crate) fn place(&self, name: &str) -> Place {
        self.rig.lab.place(name).unwrap()
    }

    /// Whether an echo request from the world outside is answered.
    pub(crate) fn outside_pings(&self, address: &str) -> bool {
        let ping = ["ping", "-n", "-c1", "-W1", address];
        self.place("outside").run(&ping).is_ok()
    }

    /// Waits until a guest reaches an address.
    pub(crate) fn reaches(&self, guest: &str, address: &str) {
        let to: IpAddr = address.parse().unwrap();
        eventually(&format!("{guest} pings {address}"), || {
            self.rig.guest(guest).pings_once(to)
        });
    }

    /// Waits until a guest is told by metadata which machine it is.
    pub(crate) fn is_told_who_it_is(&self, guest: &str) {
        let vm = self.rig.guest(guest).guest.port.vm.to_string();
        let ask = "curl -sS -m 5 http://169.254.169.254/openstack/latest/meta_data.json";
        eventually(&format!("{guest} is told that it is {vm}"), || {
            let answer = self.rig.guest(guest).exec(ask);
            String::from_utf8_lossy(&answer.stdout).contains(&vm)
        });
    }

    /// Waits until every host is as is wanted, and nothing that is wanted contradicts itself.
    pub(crate) fn nothing_differs(&self) {
        let mut command = Command::new(NUCLEON);
        command.args(["doctor", "--api", self.rig.lab.api().unwrap()]);
        let mut last = String::new();
        eventually("no host differs", || {
            let output = command.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let is_so = output.status.success() && !said.contains("wants it otherwise");
            if !is_so && said != last {
                eprintln!("{said}");
                last = said;
            }
            is_so
        });
    }

    /// The status of a port.
    pub(crate) fn status(&self, path: &str) -> String {
        let found = self.rig.client().get(path).unwrap();
        text(&found, "status").unwrap().to_owned()
    }

    /// The router's ports of an owner.
    pub(crate) fn ports(&self, owner: &str) -> Vec<Value> {
        let path = format!("ports?device_id={}&device_owner={owner}", self.router);
        match self.rig.client().get(&path).unwrap() {
            Value::Array(ports) => ports,
            other => panic!("no list but {other}"),
        }
    }
}

/// The host's short name of a port's device.
pub(crate) fn device(prefix: &str, port: &Value) -> String {
    format!("{prefix}-{}", &text(port, "id").unwrap()[..11])
}

/// The first address of a port.
pub(crate) fn address(port: &Value) -> String {
    text(&port["fixed_ips"][0], "ip_address")
        .unwrap()
        .to_owned()
}

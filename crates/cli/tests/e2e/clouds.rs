//! Networks, routers and floating IPs for tests of services, in few words.

use crate::rig::{Rig, chain, soon};
use lab::Place;
use lab::client::text;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The external network's gateway in the outside world.
pub(crate) const OUTSIDE: &str = "172.24.4.225";
/// Addresses there that nobody is a neighbour of: what reaches them was routed.
pub(crate) const BEYOND: &str = "203.0.113.1";
pub(crate) const BEYOND_6: &str = "2001:db8:f::1";

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn id(resource: &Value) -> String {
    text(resource, "id").unwrap().to_owned()
}

impl Rig {
    pub(crate) fn net(&self, name: &str, more: &Value) -> String {
        id(&self.create("networks", "network", &json!({"name": name}), more))
    }

    pub(crate) fn subnet(&self, network: &str, cidr: &str, more: &Value) -> String {
        let version = if cidr.contains(':') { 6 } else { 4 };
        let subnet = json!({"network_id": network, "cidr": cidr, "ip_version": version});
        id(&self.create("subnets", "subnet", &subnet, more))
    }

    /// A subnet whose guests come to their IPv6 addresses in this way.
    pub(crate) fn subnet_6(&self, network: &str, cidr: &str, mode: &str) -> String {
        let more = json!({
            "ipv6_ra_mode": mode, "ipv6_address_mode": mode, "dns_nameservers": ["2001:db8::53"],
        });
        self.subnet(network, cidr, &more)
    }

    /// The flat network that leads outside, of both versions of IP.
    pub(crate) fn public(&self) -> String {
        let network = self.public_4();
        let without = json!({"gateway_ip": "2001:db8:e::1", "enable_dhcp": false});
        self.subnet(&network, "2001:db8:e::/64", &without);
        network
    }

    /// The same of IPv4 alone.
    pub(crate) fn public_4(&self) -> String {
        let network = self.net(
            "public",
            &json!({
                "router:external": true,
                "provider:network_type": "flat",
                "provider:physical_network": "external",
            }),
        );
        let without = json!({"gateway_ip": OUTSIDE, "enable_dhcp": false});
        self.subnet(&network, "172.24.4.224/28", &without);
        network
    }

    /// A router with interfaces on these subnets.
    pub(crate) fn router(&self, name: &str, subnets: &[&str]) -> String {
        let router = id(&self.create("routers", "router", &json!({"name": name}), &json!({})));
        for subnet in subnets {
            self.put(
                &format!("routers/{router}/add_router_interface"),
                &json!({"subnet_id": subnet}),
            );
        }
        router
    }

    /// Gives a router its way outside.
    pub(crate) fn lead_outside(&self, router: &str, network: &str, more: &Value) {
        let mut gateway = json!({"network_id": network}).as_object().unwrap().clone();
        gateway.extend(more.as_object().unwrap().clone());
        self.put(
            &format!("routers/{router}"),
            &json!({"router": {"external_gateway_info": gateway}}),
        );
    }

    pub(crate) fn put(&self, path: &str, body: &Value) -> Value {
        let answer = self.client().update(path, body);
        answer.unwrap_or_else(|error| panic!("{path}: {}", chain(&error)))
    }

    pub(crate) fn list(&self, path: &str) -> Vec<Value> {
        match self.client().get(path) {
            Ok(Value::Array(found)) => found,
            other => panic!("{path} gives no list: {other:?}"),
        }
    }

    /// A floating IP that leads to a guest: its id and its address.
    pub(crate) fn float(&self, network: &str, guest: &str) -> (String, IpAddr) {
        let port = self.guest(guest).guest.port.id;
        let body = json!({"floating_network_id": network, "port_id": port});
        let floating = self.create("floatingips", "floatingip", &body, &json!({}));
        let address = text(&floating, "floating_ip_address").unwrap();
        (id(&floating), ip(address))
    }

    /// Leads a floating IP to a guest, or to nobody.
    pub(crate) fn lead(&self, floating: &str, guest: Option<&str>) {
        let port = guest.map(|guest| self.guest(guest).guest.port.id);
        self.put(
            &format!("floatingips/{floating}"),
            &json!({"floatingip": {"port_id": port}}),
        );
    }

    pub(crate) fn floating_status(&self, floating: &str, wanted: &str) {
        let path = format!("floatingips/{floating}");
        soon(&format!("the floating IP is {wanted}"), || {
            self.client().get(&path).unwrap()["status"] == wanted
        });
    }

    pub(crate) fn outside(&self) -> Place {
        self.lab.place("outside").unwrap()
    }

    /// Lets ICMP and TCP of both versions into all groups that a guest is in: the project's own, where
    /// no other is named.
    pub(crate) fn open(&self, guest: &str) {
        for protocol in ["icmp", "tcp"] {
            self.allow(&json!({"protocol": protocol}), guest);
            let protocol = protocol.replace("icmp", "ipv6-icmp");
            self.allow(&json!({"protocol": protocol, "ethertype": "IPv6"}), guest);
        }
    }
}

/// Whether one echo request from a place is answered.
pub(crate) fn pings(from: &Place, to: IpAddr) -> bool {
    from.run(&["ping", "-n", "-c1", "-W1", &to.to_string()])
        .is_ok()
}

/// Whether a TCP connection from a place comes about.
pub(crate) fn connects(from: &Place, to: IpAddr, port: u16) -> bool {
    let (to, port) = (to.to_string(), port.to_string());
    from.run(&["nc", "-z", "-w", "1", &to, &port]).is_ok()
}

/// Runs a line of shell in a place and gives what it said.
pub(crate) fn shell(place: &Place, line: &str) -> String {
    place
        .run(&["sh", "-c", line])
        .unwrap_or_else(|error| panic!("{}", chain(&error)))
}

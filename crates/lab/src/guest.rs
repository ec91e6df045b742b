//! Guests: network namespaces of a host, plugged as Nova plugs a virtual machine.

use crate::command::{CommandError, Place};
use crate::machine::Machine;
use crate::plug::{self, End, Port};
use crate::topology::{Addressing, GuestKind};
use crate::vm::{Vm, VmError};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::Path;

/// The bridge that guests are plugged into.
pub(crate) const INTEGRATION_BRIDGE: &str = "br-int";

/// What a guest is to be: which port, where, and how it comes to its addresses.
#[derive(Debug, Clone)]
pub struct GuestWish {
    pub name: String,
    pub host: String,
    /// The network's name or id.
    pub network: String,
    /// Further attributes of the port, as the API takes them (`security_groups`, `fixed_ips`, …).
    pub port: serde_json::Map<String, serde_json::Value>,
    /// Plug into br-int itself, without a Linux bridge between.
    pub direct: bool,
    pub addressing: Option<Addressing>,
}

impl GuestWish {
    #[must_use]
    pub fn new(name: &str, host: &str, network: &str) -> Self {
        Self {
            name: name.to_owned(),
            host: host.to_owned(),
            network: network.to_owned(),
            port: serde_json::Map::new(),
            direct: false,
            addressing: None,
        }
    }

    /// With this attribute on its port.
    #[must_use]
    pub fn port(mut self, attribute: &str, value: serde_json::Value) -> Self {
        self.port.insert(attribute.to_owned(), value);
        self
    }
}

/// A guest as it was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guest {
    pub name: String,
    pub host: String,
    pub port: Port,
    /// Addresses with their subnet's prefix length.
    pub addresses: Vec<IpNet>,
    /// Routes through a neighbour; the default route among them.
    pub routes: Vec<(IpNet, IpAddr)>,
    pub addressing: Addressing,
    pub kind: GuestKind,
}

/// What can go wrong with a guest.
#[derive(Debug, thiserror::Error)]
pub enum GuestError {
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Vm(#[from] VmError),
}

impl Guest {
    /// Its first address, of IPv4 when it has one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        let of_four = self
            .addresses
            .iter()
            .find(|address| address.addr().is_ipv4());
        of_four.or(self.addresses.first()).map(IpNet::addr)
    }

    /// Where commands run in this guest, on this host, with this `nucleon`.
    #[must_use]
    pub(crate) fn place(&self, machine: &Machine, binary: &Path) -> Place {
        match self.kind {
            GuestKind::Namespace => machine.place.netns(&self.name),
            GuestKind::Qemu => {
                Place::vm(&self.name, binary, &Vm::of(machine, &self.name).commands())
            }
        }
    }

    /// Makes the guest and plugs it in. Addresses come later, by [`Guest::configure`].
    pub(crate) fn make(&self, machine: &Machine, binary: &Path) -> Result<(), GuestError> {
        let place = &machine.place;
        let guest = self.place(machine, binary);
        match self.kind {
            GuestKind::Namespace => {
                place.run(&["ip", "netns", "add", &self.name])?;
                self.quieten(&guest)?;
                plug::plug(
                    place,
                    INTEGRATION_BRIDGE,
                    &self.port,
                    End::Netns(&self.name),
                )?;
            }
            GuestKind::Qemu => {
                plug::plug(place, INTEGRATION_BRIDGE, &self.port, End::Tap)?;
                let tap = host::names::tap(&self.port.id.to_string());
                Vm::of(machine, &self.name).start(binary, &self.port, &tap)?;
                self.quieten(&guest)?;
            }
        }
        Ok(guest.ip(&["link set lo up".to_owned(), "link set eth0 up".to_owned()])?)
    }

    /// A guest with nothing to say in IPv6 chatters all the same, and costs the switch.
    fn quieten(&self, guest: &Place) -> Result<(), CommandError> {
        if self
            .addresses
            .iter()
            .any(|address| address.addr().is_ipv6())
        {
            return Ok(());
        }
        let off = ["all", "default"].map(|scope| format!("net.ipv6.conf.{scope}.disable_ipv6=1"));
        guest.run(&["sysctl", "-qw", &off[0], &off[1]]).map(drop)
    }

    /// Gives the guest its addresses; a DHCP client goes on renewing them.
    pub(crate) fn configure(&self, machine: &Machine, binary: &Path) -> Result<(), CommandError> {
        let guest = self.place(machine, binary);
        match self.addressing {
            Addressing::Static => self.keep_addresses(machine, binary),
            Addressing::Dhcp => {
                let script = match self.kind {
                    GuestKind::Namespace => machine.dir.join("udhcpc.sh").display().to_string(),
                    GuestKind::Qemu => "/etc/udhcpc.sh".to_owned(),
                };
                let lease = format!("LEASE={}", lease_file(&self.name));
                guest
                    .run(&[
                        "env",
                        &lease,
                        "udhcpc",
                        "-i",
                        "eth0",
                        "-s",
                        &script,
                        "-n",
                        "-t",
                        "30",
                        "-T",
                        "1",
                        "-S",
                        "-x",
                        &format!("hostname:{}", self.name),
                        "-O",
                        "121",
                        "-O",
                        "249",
                        "-O",
                        "mtu",
                        "-O",
                        "search",
                    ])
                    .map(drop)
            }
        }
    }

    /// Gives the guest the addresses that it had elsewhere.
    pub(crate) fn keep_addresses(
        &self,
        machine: &Machine,
        binary: &Path,
    ) -> Result<(), CommandError> {
        self.place(machine, binary).ip(&self.static_lines())
    }

    fn static_lines(&self) -> Vec<String> {
        let addresses = self.addresses.iter().map(|address| match address {
            IpNet::V4(v4) => format!("addr add {v4} broadcast + dev eth0"),
            IpNet::V6(v6) => format!("addr add {v6} dev eth0 nodad"),
        });
        let routes = self
            .routes
            .iter()
            .map(|(to, via)| format!("route add {to} via {via} dev eth0"));
        addresses.chain(routes).collect()
    }

    /// Ends the guest's processes, unplugs it and forgets its namespace.
    pub(crate) fn remove(&self, machine: &Machine) -> Result<(), CommandError> {
        let place = &machine.place;
        if self.kind == GuestKind::Qemu {
            Vm::of(machine, &self.name).end()?;
            return plug::unplug(place, INTEGRATION_BRIDGE, self.port.id);
        }
        let pids = place
            .run(&["ip", "netns", "pids", &self.name])
            .unwrap_or_default();
        let mut kill = vec!["kill", "-9"];
        kill.extend(pids.split_whitespace());
        if kill.len() > 2 {
            // One of them may have ended by itself in between.
            place.output(&kill, "")?;
        }
        plug::unplug(place, INTEGRATION_BRIDGE, self.port.id)?;
        if place
            .run(&["ip", "netns", "list"])?
            .split_whitespace()
            .any(|word| word == self.name)
        {
            place.run(&["ip", "netns", "del", &self.name])?;
        }
        Ok(())
    }
}

/// Where a guest's DHCP client wrote down what it was given, seen from its host.
pub(crate) fn lease_file(guest: &str) -> String {
    format!("/run/lab-lease-{guest}")
}

/// What the DHCP clients of every host run when they are given something.
pub(crate) const DHCP_SCRIPT: &str = include_str!("udhcpc.sh");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn static_addresses_come_with_their_routes() {
        let guest = Guest {
            name: "red1".to_owned(),
            host: "c1".to_owned(),
            port: Port {
                id: uuid::Uuid::nil(),
                mac: String::new(),
                mtu: 1450,
                vm: uuid::Uuid::nil(),
                hybrid: true,
                userspace: true,
            },
            addresses: vec![
                "2001:db8::5/64".parse().unwrap(),
                "10.1.0.5/24".parse().unwrap(),
            ],
            routes: vec![("0.0.0.0/0".parse().unwrap(), "10.1.0.1".parse().unwrap())],
            addressing: Addressing::Static,
            kind: GuestKind::Namespace,
        };
        assert_eq!(
            guest.static_lines(),
            [
                "addr add 2001:db8::5/64 dev eth0 nodad",
                "addr add 10.1.0.5/24 broadcast + dev eth0",
                "route add 0.0.0.0/0 via 10.1.0.1 dev eth0",
            ]
        );
        assert_eq!(guest.address().unwrap().to_string(), "10.1.0.5");
    }
}

//! What a lab is made of: a short TOML file with a good default.
//!
//! ```toml
//! name = "demo"                # several labs may run side by side
//! tunnel_type = "vxlan"        # of tenant networks: vxlan, gre or geneve
//!
//! [[host]]
//! name = "c1"
//! roles = ["l2"]
//!
//! [[network]]
//! name = "red"
//! project = "red"
//! subnets = ["10.1.0.0/24"]
//!
//! [[guest]]
//! name = "red1"
//! network = "red"
//! host = "c1"
//! ```

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::path::Path;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topology {
    pub name: String,
    pub tunnel_type: TunnelType,
    pub l2_population: bool,
    pub arp_responder: bool,
    /// `netdev` or `system`; found out by looking at the kernel when not given.
    pub datapath: Option<String>,
    /// The longest packet that the tunnel network takes, which tenant networks' MTU follows from.
    pub underlay_mtu: u32,
    /// Whether the controller runs `nucleon server` and the hosts `nucleon agent`.
    pub control: bool,
    /// What guests are made of.
    pub guests_are: GuestKind,
    /// How guests come to their addresses, unless a guest says otherwise.
    pub addressing: Addressing,
    /// Goes over the configuration that the lab writes for `nucleon server`.
    pub server: toml::Table,
    /// Goes over the configuration that the lab writes for each `nucleon agent`.
    pub agent: toml::Table,
    #[serde(rename = "host")]
    pub hosts: Vec<Host>,
    #[serde(rename = "network")]
    pub networks: Vec<Network>,
    #[serde(rename = "guest")]
    pub guests: Vec<GuestPlan>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TunnelType {
    Vxlan,
    Gre,
    Geneve,
}

impl TunnelType {
    /// The word for it in Neutron's API and in configuration files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Vxlan => "vxlan",
            Self::Gre => "gre",
            Self::Geneve => "geneve",
        }
    }
}

/// How a guest gets its addresses: from a DHCP client inside it, or written by the lab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Addressing {
    Dhcp,
    Static,
}

/// A network namespace, quick to make; or a virtual machine, with a kernel of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GuestKind {
    Namespace,
    Qemu,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    pub name: String,
    /// Runs `nucleon server`.
    #[serde(default)]
    pub controller: bool,
    /// What the host's agent serves: of "l2", "dhcp", "l3", "metadata".
    #[serde(default = "layer_two")]
    pub roles: Vec<String>,
    #[serde(default = "legacy")]
    pub agent_mode: String,
    /// Has a card on the external network, in br-ex.
    #[serde(default = "yes")]
    pub external: bool,
}

fn layer_two() -> Vec<String> {
    vec!["l2".to_owned()]
}

fn legacy() -> String {
    "legacy".to_owned()
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    pub name: String,
    pub project: String,
    pub subnets: Vec<IpNet>,
    /// Whether a DHCP server answers in its subnets; never in an external network's.
    #[serde(default = "yes")]
    pub dhcp: bool,
    /// The flat network that leads outside, on the physical network `external`.
    #[serde(default)]
    pub external: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestPlan {
    pub name: String,
    pub network: String,
    pub host: String,
}

impl Default for Topology {
    fn default() -> Self {
        let compute = |name: &str| Host {
            name: name.to_owned(),
            controller: false,
            roles: layer_two(),
            agent_mode: legacy(),
            external: true,
        };
        let net = Host {
            controller: true,
            roles: ["l2", "dhcp", "l3", "metadata"].map(str::to_owned).to_vec(),
            ..compute("net")
        };
        Self {
            name: "lab".to_owned(),
            tunnel_type: TunnelType::Vxlan,
            l2_population: true,
            arp_responder: true,
            datapath: None,
            underlay_mtu: 1500,
            control: true,
            guests_are: GuestKind::Namespace,
            addressing: Addressing::Static,
            server: toml::Table::new(),
            agent: toml::Table::new(),
            hosts: vec![net, compute("c1"), compute("c2")],
            networks: Vec::new(),
            guests: Vec::new(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    #[error("{path} could not be read")]
    Read {
        path: String,
        source: std::io::Error,
    },
    #[error("{path} is not a topology")]
    Parse {
        path: String,
        source: Box<toml::de::Error>,
    },
    #[error("the topology cannot be built: {0}")]
    Sense(String),
}

impl Topology {
    /// Reads a file and checks that it can be built.
    pub fn read(path: &Path) -> Result<Self, TopologyError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| TopologyError::Read {
            path: shown.clone(),
            source,
        })?;
        Self::parse(&text, &shown)
    }

    /// Reads text that came from `path`.
    pub fn parse(text: &str, path: &str) -> Result<Self, TopologyError> {
        let topology: Self = toml::from_str(text).map_err(|source| TopologyError::Parse {
            path: path.to_owned(),
            source: source.into(),
        })?;
        topology.check()?;
        Ok(topology)
    }

    /// Names are names of devices and folders too, and every reference leads somewhere.
    pub fn check(&self) -> Result<(), TopologyError> {
        let hosts = distinct("host", self.hosts.iter().map(|host| &host.name))?;
        let networks = distinct("network", self.networks.iter().map(|network| &network.name))?;
        let guests = distinct("guest", self.guests.iter().map(|guest| &guest.name))?;
        short("lab", &self.name)?;
        if let Some(name) = hosts.intersection(&guests).next() {
            return sense(format!("{name} is both a host and a guest"));
        }
        for reserved in RESERVED {
            if hosts.contains(reserved) || guests.contains(reserved) {
                return sense(format!("{reserved} is the lab's own"));
            }
        }
        for guest in &self.guests {
            if !networks.contains(guest.network.as_str()) || !hosts.contains(guest.host.as_str()) {
                return sense(format!(
                    "guest {} names no network or host of the lab",
                    guest.name
                ));
            }
        }
        match self.hosts.iter().filter(|host| host.controller).count() {
            0 if self.control => sense("no host is the controller".to_owned()),
            0 | 1 if self.hosts.len() <= MAX_HOSTS => Ok(()),
            0 | 1 => sense(format!("more than {MAX_HOSTS} hosts")),
            _ => sense("more than one controller".to_owned()),
        }
    }

    pub(crate) fn controller(&self) -> Option<(usize, &Host)> {
        self.hosts
            .iter()
            .enumerate()
            .find(|(_, host)| host.controller)
    }
}

/// Host addresses end in 11 and up.
const MAX_HOSTS: usize = 200;

/// Namespaces that every lab has beside its hosts.
const RESERVED: [&str; 2] = [crate::fabric::FABRIC, crate::fabric::OUTSIDE];

/// The addresses of the host with this position in the topology.
pub(crate) fn management_address(position: usize) -> Ipv4Addr {
    numbered(20, position)
}

pub(crate) fn tunnel_address(position: usize) -> Ipv4Addr {
    numbered(30, position)
}

fn numbered(second: u8, position: usize) -> Ipv4Addr {
    let last = u8::try_from(position + 11).unwrap_or(u8::MAX);
    Ipv4Addr::new(10, second, 0, last)
}

fn distinct<'a>(
    kind: &str,
    names: impl Iterator<Item = &'a String>,
) -> Result<BTreeSet<&'a str>, TopologyError> {
    let mut seen = BTreeSet::new();
    for name in names {
        short(kind, name)?;
        if !seen.insert(name.as_str()) {
            return sense(format!("two {kind}s are called {name}"));
        }
    }
    Ok(seen)
}

/// A host's name is part of a device's name in the fabric: 15 characters at most with `-tun`.
fn short(kind: &str, name: &str) -> Result<(), TopologyError> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let limit = if kind == "host" { 11 } else { 60 };
    if name.is_empty() || name.len() > limit || name.starts_with('-') || !name.chars().all(fits) {
        return sense(format!(
            "{kind} name {name:?} is not 1 to {limit} letters, digits, - and _"
        ));
    }
    Ok(())
}

fn sense<T>(what: String) -> Result<T, TopologyError> {
    Err(TopologyError::Sense(what))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Topology::parse(text, "test").unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_default() {
        let topology = Topology::parse("", "test").unwrap();
        assert_eq!(topology, Topology::default());
        let names: Vec<_> = topology
            .hosts
            .iter()
            .map(|host| host.name.as_str())
            .collect();
        assert_eq!(names, ["net", "c1", "c2"]);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut topology = Topology {
            tunnel_type: TunnelType::Gre,
            ..Topology::default()
        };
        topology.networks.push(Network {
            name: "red".to_owned(),
            project: "red".to_owned(),
            subnets: vec!["10.1.0.0/24".parse().unwrap()],
            dhcp: false,
            external: false,
        });
        let text = toml::to_string(&topology).unwrap();
        assert_eq!(Topology::parse(&text, "test").unwrap(), topology);
    }

    #[test]
    fn what_cannot_be_built_is_refused() {
        let said = refused("[[host]]\nname = 'a'\ncontroller = true\n[[host]]\nname = 'a'\n");
        assert_eq!(said, "the topology cannot be built: two hosts are called a");
        assert!(refused("name = 'a/b'").contains("lab name"));
        assert!(refused("[[host]]\nname = 'fabric'\ncontroller = true\n").contains("lab's own"));
        assert!(refused("[[guest]]\nname = 'g'\nnetwork = 'n'\nhost = 'c1'\n").contains("guest g"));
        assert!(refused("[[host]]\nname = 'a'\n").contains("controller"));
        assert!(refused("[[host]]\nname = 'twelve-chars'\n").contains("11 letters"));
        assert!(refused("colour = 1").contains("not a topology"));
    }
}

//! What an operator says of one host: the part of its configuration that shapes what is wanted.

use std::{collections::BTreeMap, net::IpAddr};

use intent::{HostName, NetworkType};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub host: HostName,
    /// Our end of the tunnels; without it none are built.
    pub local_ip: Option<IpAddr>,
    pub tunnel_types: Vec<NetworkType>,
    /// Physical network → bridge, as Neutron's `bridge_mappings`.
    pub bridge_mappings: BTreeMap<String, String>,
    pub integration_bridge: String,
    pub tunnel_bridge: String,
    /// `system` or `netdev`.
    pub datapath_type: String,
    pub l2_population: bool,
    pub arp_responder: bool,
    pub agent_mode: AgentMode,
    pub dhcp: DhcpSettings,
    pub metadata: MetadataSettings,
    /// Where dnsmasq's and radvd's files are.
    pub state_path: String,
}

/// What routers do on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AgentMode {
    #[default]
    Legacy,
    /// Distributed routers' part of a compute host.
    Dvr,
    /// The same, and their source NAT.
    DvrSnat,
    /// Distributed routers without a way out of their own.
    DvrNoExternal,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhcpSettings {
    /// `openstacklocal`
    pub domain: String,
    pub lease_seconds: u32,
    pub lease_max: u32,
    /// Where dnsmasq asks for names that it does not know.
    pub dns_servers: Vec<IpAddr>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataSettings {
    /// The port of the listener in routers' namespaces.
    pub port: u16,
    /// Serve 169.254.169.254 from the DHCP namespace where no router does.
    pub isolated: bool,
    /// Serve it from there always.
    pub force: bool,
    /// Stop answering there when a router takes over, as Neutron's agent does: guests whose lease is
    /// older get no answer.
    pub ends_with_router: bool,
}

impl Settings {
    /// Neutron's defaults for a host.
    pub fn new(host: impl Into<HostName>) -> Self {
        Self {
            host: host.into(),
            local_ip: None,
            tunnel_types: Vec::new(),
            bridge_mappings: BTreeMap::new(),
            integration_bridge: "br-int".to_owned(),
            tunnel_bridge: "br-tun".to_owned(),
            datapath_type: "system".to_owned(),
            l2_population: true,
            arp_responder: true,
            agent_mode: AgentMode::Legacy,
            dhcp: DhcpSettings {
                domain: "openstacklocal".to_owned(),
                lease_seconds: 86_400,
                lease_max: 16_777_216,
                dns_servers: Vec::new(),
            },
            metadata: MetadataSettings {
                port: 9697,
                isolated: true,
                force: false,
                ends_with_router: false,
            },
            state_path: "/var/lib/neutron".to_owned(),
        }
    }
}

//! Ports: the places where something is plugged into a network, and their bindings to hosts.

use std::{collections::BTreeSet, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{JsonMap, Meta, words};
use crate::{DeviceId, HostName, Mac, NetworkId, PortId, ProjectId, SecurityGroupId, SubnetId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub id: PortId,
    pub project_id: ProjectId,
    pub network_id: NetworkId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    pub admin_state_up: bool,
    pub status: PortStatus,
    pub mac_address: Mac,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed_ips: Vec<FixedIp>,
    #[serde(default)]
    pub device_id: DeviceId,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub device_owner: String,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub security_groups: BTreeSet<SecurityGroupId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed_address_pairs: Vec<AddressPair>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub extra_dhcp_opts: Vec<DhcpOption>,
    pub port_security_enabled: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dns_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dns_domain: String,
    /// The active binding first where there is one; a live migration adds an inactive one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub bindings: Vec<Binding>,
    /// What `binding:vnic_type` says while there is no binding.
    #[serde(default, skip_serializing_if = "VnicType::is_normal")]
    pub vnic_type: VnicType,
    /// What `binding:profile` says while there is no binding.
    #[serde(default, skip_serializing_if = "JsonMap::is_empty")]
    pub profile: JsonMap,
    #[serde(default)]
    pub ip_allocation: IpAllocation,
    /// The network's DHCP has not yet said that it knows the port: until then it is not ACTIVE.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub awaits_dhcp: bool,
    /// Attributes that are kept and shown, and that nothing here acts upon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passive: Option<Box<Passive>>,
    pub meta: Meta,
}

impl Port {
    pub fn active_binding(&self) -> Option<&Binding> {
        self.bindings
            .iter()
            .find(|binding| binding.status == BindingStatus::Active)
    }

    /// The host that the active binding names.
    pub fn host(&self) -> Option<&HostName> {
        self.active_binding().map(|binding| &binding.host)
    }

    /// Any binding, active or not, to this host.
    pub fn is_bound_to(&self, host: &str) -> bool {
        self.bindings.iter().any(|binding| binding.host == *host)
    }

    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.fixed_ips.iter().map(|fixed| fixed.ip_address)
    }

    /// A port through which a router touches a network.
    pub fn is_router_port(&self) -> bool {
        owner::ROUTER_PORTS.contains(&self.device_owner.as_str())
    }

    /// Owned by the network itself (router, DHCP server …), not by a user's machine.
    pub fn is_network_owned(&self) -> bool {
        self.device_owner.starts_with("network:")
    }
}

/// `device_owner` values that mean something to Neutron.
pub mod owner {
    pub const DHCP: &str = "network:dhcp";
    pub const ROUTER_INTERFACE: &str = "network:router_interface";
    pub const ROUTER_INTERFACE_DVR: &str = "network:router_interface_distributed";
    pub const ROUTER_GATEWAY: &str = "network:router_gateway";
    pub const ROUTER_SNAT: &str = "network:router_centralized_snat";
    pub const FLOATING_IP: &str = "network:floatingip";
    pub const FIP_AGENT_GATEWAY: &str = "network:floatingip_agent_gateway";
    pub const COMPUTE_PREFIX: &str = "compute:";
    /// The device of a DHCP port whose agent died and that waits for another.
    pub const RESERVED_DHCP_DEVICE: &str = "reserved_dhcp_port";
    /// Owners of the ports through which a router touches networks.
    pub const ROUTER_PORTS: [&str; 4] = [
        ROUTER_INTERFACE,
        ROUTER_INTERFACE_DVR,
        ROUTER_GATEWAY,
        ROUTER_SNAT,
    ];
    /// Owners that are a router's interface towards a subnet.
    pub const ROUTER_INTERFACES: [&str; 2] = [ROUTER_INTERFACE, ROUTER_INTERFACE_DVR];
}

words! {
    PortStatus {
        Active = "ACTIVE",
        Down = "DOWN",
        Build = "BUILD",
        Error = "ERROR",
        NotApplicable = "N/A",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FixedIp {
    pub subnet_id: SubnetId,
    pub ip_address: IpAddr,
}

/// An address (or a prefix of addresses) that the port may also speak for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AddressPair {
    pub ip_address: PairAddress,
    pub mac_address: Mac,
}

/// A pair's address as the user wrote it: `10.0.0.5` and `10.0.0.5/32` mean the same and are
/// shown as they were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PairAddress {
    Address(IpAddr),
    Prefix(IpNet),
}

impl PairAddress {
    pub fn network(self) -> IpNet {
        match self {
            Self::Address(address) => address.into(),
            Self::Prefix(prefix) => prefix,
        }
    }
}

impl std::fmt::Display for PairAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Prefix(prefix) => prefix.fmt(f),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DhcpOption {
    pub opt_name: String,
    pub opt_value: String,
    pub ip_version: u8,
}

/// A port's tie to one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub host: HostName,
    pub status: BindingStatus,
    pub vif_type: VifType,
    #[serde(default, skip_serializing_if = "JsonMap::is_empty")]
    pub vif_details: JsonMap,
    #[serde(default, skip_serializing_if = "VnicType::is_normal")]
    pub vnic_type: VnicType,
    #[serde(default, skip_serializing_if = "JsonMap::is_empty")]
    pub profile: JsonMap,
    /// What this host's agent reported of the port: wired and ready.
    #[serde(default)]
    pub up: bool,
}

words! {
    BindingStatus {
        Active = "ACTIVE",
        Inactive = "INACTIVE",
    }
}

words! {
    VifType {
        Unbound = "unbound",
        BindingFailed = "binding_failed",
        Ovs = "ovs",
        Distributed = "distributed",
        Other = "other",
    }
}

words! {
    VnicType {
        Normal = "normal",
        Direct = "direct",
        Macvtap = "macvtap",
        Baremetal = "baremetal",
        DirectPhysical = "direct-physical",
        VirtioForwarder = "virtio-forwarder",
        SmartNic = "smart-nic",
        Vdpa = "vdpa",
        AcceleratorDirect = "accelerator-direct",
        AcceleratorDirectPhysical = "accelerator-direct-physical",
        RemoteManaged = "remote-managed",
    }
}

// Not derived: `words!` declares the enum, and only this one has a default.
#[allow(clippy::derivable_impls)]
impl Default for VnicType {
    fn default() -> Self {
        Self::Normal
    }
}

impl VnicType {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

words! {
    IpAllocation {
        Immediate = "immediate",
        Deferred = "deferred",
        None = "none",
    }
}

#[allow(clippy::derivable_impls)]
impl Default for IpAllocation {
    fn default() -> Self {
        Self::Immediate
    }
}

/// Attributes that Neutron keeps for others (Nova's placement, hardware offload).
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Passive {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_plane_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_profile: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hardware_offload_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hints: Option<JsonMap>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numa_affinity_policy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagate_uplink_status: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trusted: Option<bool>,
}

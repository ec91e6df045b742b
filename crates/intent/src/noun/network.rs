//! Networks and the segments that carry them.

use serde::{Deserialize, Serialize};

use super::{Meta, words};
use crate::{NetworkId, ProjectId, SegmentId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub id: NetworkId,
    pub project_id: ProjectId,
    pub name: String,
    pub admin_state_up: bool,
    pub mtu: u32,
    /// `router:external`: routers may have their gateway and floating IPs may live here.
    #[serde(default)]
    pub external: bool,
    /// The external network that auto-allocated topologies use.
    #[serde(default)]
    pub is_default: bool,
    pub port_security_enabled: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dns_domain: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub availability_zone_hints: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan_transparent: Option<bool>,
    pub meta: Meta,
}

words! {
    /// How a segment's frames travel between hosts.
    NetworkType {
        Flat = "flat",
        Vlan = "vlan",
        Gre = "gre",
        Vxlan = "vxlan",
        Geneve = "geneve",
        Local = "local",
    }
}

impl NetworkType {
    /// Carried between hosts in a tunnel.
    pub const fn is_tunnel(self) -> bool {
        matches!(self, Self::Gre | Self::Vxlan | Self::Geneve)
    }
}

/// One way in which a network's frames travel; most networks have exactly one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub id: SegmentId,
    pub network_id: NetworkId,
    pub network_type: NetworkType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub physical_network: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segmentation_id: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The place among the segments of a multi-provider network.
    #[serde(default)]
    pub index: u16,
    pub meta: Meta,
}

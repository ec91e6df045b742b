//! Floating IPs: an address of an external network that leads to a port behind a router.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{Meta, words};
use crate::{FloatingIpId, NetworkId, PortId, ProjectId, RouterId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloatingIp {
    pub id: FloatingIpId,
    pub project_id: ProjectId,
    pub floating_network_id: NetworkId,
    pub floating_ip_address: IpAddr,
    /// The port (owner `network:floatingip`) that holds the address on the external network.
    pub floating_port_id: PortId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_id: Option<PortId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_ip_address: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router_id: Option<RouterId>,
    pub status: FloatingIpStatus,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dns_name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub dns_domain: String,
    pub meta: Meta,
}

words! {
    FloatingIpStatus {
        Active = "ACTIVE",
        Down = "DOWN",
        Error = "ERROR",
    }
}

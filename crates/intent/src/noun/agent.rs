//! Agents: the processes that serve hosts, under the names that Neutron's operators know.

use serde::{Deserialize, Serialize};

use super::{JsonMap, words};
use crate::{AgentId, HostName, Mac, Timestamp};

/// When an agent last said that it is alive is not here: heartbeats are soft state, and a log
/// that grew with them would say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    pub id: AgentId,
    pub agent_type: AgentType,
    pub host: HostName,
    pub admin_state_up: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability_zone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What the agent says of itself: bridge mappings, tunnel types, its tunnel address, mode.
    #[serde(default)]
    pub configurations: JsonMap,
    pub created_at: Timestamp,
    pub started_at: Timestamp,
}

words! {
    /// One process of ours shows itself as up to four of Neutron's agents.
    AgentType {
        OpenVswitch = "Open vSwitch agent",
        Dhcp = "DHCP agent",
        L3 = "L3 agent",
        Metadata = "Metadata agent",
    }
}

impl AgentType {
    pub const fn binary(self) -> &'static str {
        match self {
            Self::OpenVswitch => "neutron-openvswitch-agent",
            Self::Dhcp => "neutron-dhcp-agent",
            Self::L3 => "neutron-l3-agent",
            Self::Metadata => "neutron-metadata-agent",
        }
    }

    pub const fn topic(self) -> &'static str {
        match self {
            Self::OpenVswitch | Self::Metadata => "N/A",
            Self::Dhcp => "dhcp_agent",
            Self::L3 => "l3_agent",
        }
    }
}

/// The MAC address under which one host's distributed routers send to other hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DvrMac {
    pub host: HostName,
    pub mac_address: Mac,
}

//! Routers. Their interfaces and their gateway are ports; a router says only what the ports can't.

use serde::{Deserialize, Serialize};

use super::{Meta, Route};
use crate::{NetworkId, PortId, ProjectId, RouterId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    pub id: RouterId,
    pub project_id: ProjectId,
    pub name: String,
    pub admin_state_up: bool,
    #[serde(default)]
    pub distributed: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
    /// Extra routes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<Route>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub availability_zone_hints: Vec<String>,
    #[serde(default)]
    pub enable_ndp_proxy: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor_id: Option<String>,
    pub meta: Meta,
}

/// A router's way out. The addresses are those of the gateway port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    pub network_id: NetworkId,
    pub port_id: PortId,
    pub enable_snat: bool,
}

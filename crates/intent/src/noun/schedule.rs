//! Which agent serves which network's DHCP and which router.

use serde::{Deserialize, Serialize};

use crate::{AgentId, NetworkId, RouterId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpBinding {
    pub network_id: NetworkId,
    pub agent_id: AgentId,
}

/// For a distributed router this is the place of its SNAT part; where the router itself is
/// follows from where its ports are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterBinding {
    pub router_id: RouterId,
    pub agent_id: AgentId,
}

//! Which agent serves which network's DHCP and which router, and which may still have a part of one.

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

/// What an agent may still have of a router that was taken from it, and what it may still answer
/// for: until it says that its host is as it should be at revision `since` or a later one. One that
/// is cut off from the server says so when it hears again, one that is dead never.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRemnant {
    pub router_id: RouterId,
    pub agent_id: AgentId,
    /// The position in the log at which it was taken away.
    pub since: u64,
}

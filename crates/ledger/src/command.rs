//! What can be asked of the ledger.

use intent::{AgentId, AgentType, HostName, JsonMap, Kind, NetworkId, PortId, ProjectId, RouterId};
use serde_json::Value;

use crate::Draft;

/// One wish, decided whole or refused whole. Keys are as the API has them: any text; one that is
/// not a key names nothing and is refused as not found.
///
/// `body` is the body of a named action as it was sent (below its root, where it has one): those
/// have no attribute table.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// The first command of a new store: makes what every Neutron begins with (the templates of
    /// security group rules). Nothing happens where they are there.
    Found,

    /// All of the drafts or none.
    Create {
        kind: Kind,
        drafts: Vec<Draft>,
    },
    Update {
        kind: Kind,
        key: String,
        draft: Draft,
        /// `If-Match: revision_number=N`.
        if_match: Option<u64>,
    },
    Delete {
        kind: Kind,
        key: String,
        if_match: Option<u64>,
    },

    AddRouterInterface {
        router: String,
        body: Value,
    },
    RemoveRouterInterface {
        router: String,
        body: Value,
    },
    /// `{"routes": […]}`, and so its counterpart.
    AddExtraRoutes {
        router: String,
        body: Value,
    },
    RemoveExtraRoutes {
        router: String,
        body: Value,
    },

    /// `{"prefixes": […]}`, and so its counterpart.
    AddPrefixes {
        pool: String,
        body: Value,
    },
    RemovePrefixes {
        pool: String,
        body: Value,
    },
    /// `{"network_id": …}`
    OnboardSubnets {
        pool: String,
        body: Value,
    },

    /// `{"addresses": […]}`, and so its counterpart.
    AddAddresses {
        group: String,
        body: Value,
    },
    RemoveAddresses {
        group: String,
        body: Value,
    },

    /// Members of `ports/ID/bindings`; a binding's key is its host.
    CreateBinding {
        port: String,
        draft: Draft,
    },
    UpdateBinding {
        port: String,
        host: String,
        draft: Draft,
    },
    DeleteBinding {
        port: String,
        host: String,
    },
    ActivateBinding {
        port: String,
        host: String,
    },

    /// Sets a resource's tags to exactly these.
    ReplaceTags {
        kind: Kind,
        key: String,
        tags: Vec<String>,
    },
    AddTags {
        kind: Kind,
        key: String,
        tags: Vec<String>,
    },
    RemoveTag {
        kind: Kind,
        key: String,
        tag: String,
    },

    /// The draft's limits; `force` sets them below what is used.
    SetQuota {
        project: ProjectId,
        draft: Draft,
    },
    /// Back to the default limits.
    ResetQuota {
        project: ProjectId,
    },

    /// Gets, or makes, a project's own network behind a router.
    AutoTopology {
        project: ProjectId,
    },
    /// Whether it could be made.
    CheckAutoTopology {
        project: ProjectId,
    },
    DeleteAutoTopology {
        project: ProjectId,
    },
    /// Makes the project's group `default` where there is none: reading groups does that.
    EnsureDefaultGroup {
        project: ProjectId,
    },

    ScheduleNetwork {
        agent: String,
        network: String,
    },
    UnscheduleNetwork {
        agent: String,
        network: String,
    },
    ScheduleRouter {
        agent: String,
        router: String,
    },
    UnscheduleRouter {
        agent: String,
        router: String,
    },
    /// Places what has no live agent, as far as the settings say so. Asked now and then.
    Reschedule,

    ReportAgent(AgentReport),
    /// What came up or went down on a host, and which ports its DHCP servers now know.
    ReportPorts {
        host: HostName,
        up: Vec<PortId>,
        down: Vec<PortId>,
        dhcp: Vec<PortId>,
    },
    /// Routers whose gateway and floating IPs a host now serves, or no longer, or can't.
    ReportRouters {
        host: HostName,
        up: Vec<RouterId>,
        down: Vec<RouterId>,
        failed: Vec<RouterId>,
    },
    /// The host's DHCP agent wants the port of its server on a network: made, or kept and given
    /// an address in every subnet that has DHCP.
    EnsureDhcpPort {
        host: HostName,
        network: NetworkId,
    },
}

/// What an agent says of itself when it starts and when that changes. Mere heartbeats are not
/// commands.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentReport {
    /// Kept by the agent; a new one gets a fresh id.
    pub id: Option<AgentId>,
    pub agent_type: AgentType,
    pub host: HostName,
    pub availability_zone: Option<String>,
    pub configurations: JsonMap,
    /// The agent's process began anew.
    pub started: bool,
}

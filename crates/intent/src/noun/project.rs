//! What concerns a project as a whole: what it may see of others (RBAC) and how much it may have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::words;
use crate::{NetworkId, ProjectId, RbacPolicyId, RouterId};

/// Lets a project, or all, use something that is another's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RbacPolicy {
    pub id: RbacPolicyId,
    pub project_id: ProjectId,
    pub object_type: RbacObject,
    /// The id of a resource of that type.
    pub object_id: uuid::Uuid,
    pub action: RbacAction,
    /// A project, or `*` for all of them.
    pub target_project: ProjectId,
}

words! {
    RbacObject {
        Network = "network",
        SecurityGroup = "security_group",
        AddressScope = "address_scope",
        AddressGroup = "address_group",
        SubnetPool = "subnetpool",
    }
}

words! {
    RbacAction {
        Shared = "access_as_shared",
        External = "access_as_external",
    }
}

/// The limits that an administrator set for a project; what is not here has the default limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quota {
    pub project_id: ProjectId,
    pub limits: BTreeMap<String, i64>,
}

/// The network and router that were made for a project when it asked for "a topology".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AutoTopology {
    pub project_id: ProjectId,
    pub network_id: NetworkId,
    pub router_id: RouterId,
}

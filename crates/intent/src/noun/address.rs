//! Address scopes, subnet pools and address groups.

use std::collections::BTreeSet;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Meta;
use crate::{AddressGroupId, AddressScopeId, ProjectId, SubnetPoolId};

/// Within a scope no two subnets overlap, so their traffic may be routed without NAT.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressScope {
    pub id: AddressScopeId,
    pub project_id: ProjectId,
    pub name: String,
    pub ip_version: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPool {
    pub id: SubnetPoolId,
    pub project_id: ProjectId,
    pub name: String,
    pub prefixes: Vec<IpNet>,
    pub default_prefixlen: u8,
    pub min_prefixlen: u8,
    pub max_prefixlen: u8,
    pub ip_version: u8,
    #[serde(default)]
    pub is_default: bool,
    #[serde(default)]
    pub shared: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_quota: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address_scope_id: Option<AddressScopeId>,
    pub meta: Meta,
}

/// A named set of prefixes that security group rules may point at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressGroup {
    pub id: AddressGroupId,
    pub project_id: ProjectId,
    pub name: String,
    pub addresses: BTreeSet<IpNet>,
    pub meta: Meta,
}

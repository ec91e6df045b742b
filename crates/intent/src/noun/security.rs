//! Security groups, their rules, and the templates that new groups' rules are made from.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Meta, words};
use crate::{AddressGroupId, DefaultRuleId, ProjectId, SecurityGroupId, SecurityGroupRuleId};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    pub id: SecurityGroupId,
    pub project_id: ProjectId,
    pub name: String,
    pub stateful: bool,
    /// The project's group `default`, which ports get that name none.
    #[serde(default)]
    pub is_default: bool,
    pub meta: Meta,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroupRule {
    pub id: SecurityGroupRuleId,
    pub project_id: ProjectId,
    pub security_group_id: SecurityGroupId,
    #[serde(flatten)]
    pub matches: RuleMatch<SecurityGroupId>,
    pub meta: Meta,
}

/// A template: every new group (the default one, the others, or both) starts with a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DefaultRule {
    pub id: DefaultRuleId,
    #[serde(flatten)]
    pub matches: RuleMatch<RemoteGroup>,
    pub used_in_default_sg: bool,
    pub used_in_non_default_sg: bool,
    pub meta: Meta,
}

/// The remote group of a template: a group, or the group that the copy will belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum RemoteGroup {
    Group(SecurityGroupId),
    Parent(Parent),
}

words! {
    Parent { Parent = "PARENT" }
}

impl std::str::FromStr for RemoteGroup {
    type Err = <SecurityGroupId as std::str::FromStr>::Err;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(parent) => Ok(Self::Parent(parent)),
            Err(_) => text.parse().map(Self::Group),
        }
    }
}

/// Which packets a rule lets pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleMatch<Group> {
    pub direction: Direction,
    pub ethertype: Ethertype,
    /// A name or a number as the user gave it (`tcp`, `icmp`, `112`); `None` is any protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// A port, or an ICMP type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_min: Option<u16>,
    /// A port, or an ICMP code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_range_max: Option<u16>,
    /// As the user gave it, host bits included; see [`RuleMatch::normalized_cidr`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_ip_prefix: Option<IpNet>,
    #[serde(default = "none", skip_serializing_if = "Option::is_none")]
    pub remote_group_id: Option<Group>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_address_group_id: Option<AddressGroupId>,
}

fn none<T>() -> Option<T> {
    None
}

impl<Group> RuleMatch<Group> {
    pub fn normalized_cidr(&self) -> Option<IpNet> {
        self.remote_ip_prefix.map(|prefix| prefix.trunc())
    }
}

words! {
    Direction {
        Ingress = "ingress",
        Egress = "egress",
    }
}

words! {
    Ethertype {
        Ipv4 = "IPv4",
        Ipv6 = "IPv6",
    }
}

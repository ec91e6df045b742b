//! The resources, a file each; a later one is a file more and a line in [`TABLES`].

mod address_group;
mod address_scope;
mod agent;
mod binding;
mod common;
mod computed;
mod default_rule;
mod floating_ip;
mod network;
mod port;
mod rbac_policy;
mod router;
mod security_group;
mod security_group_rule;
mod segment;
mod subnet;
mod subnet_pool;

pub use address_group::*;
pub use address_scope::*;
pub use agent::*;
pub use binding::*;
pub use computed::*;
pub use default_rule::*;
pub use floating_ip::*;
pub use network::*;
pub use port::*;
pub use rbac_policy::*;
pub use router::*;
pub use security_group::*;
pub use security_group_rule::*;
pub use segment::*;
pub use subnet::*;
pub use subnet_pool::*;

use super::Table;

/// Every resource that the API serves, in the order in which the documentation lists them.
pub static TABLES: &[&Table] = &[
    &NETWORK,
    &SUBNET,
    &SUBNET_POOL,
    &PORT,
    &ROUTER,
    &FLOATING_IP,
    &SECURITY_GROUP,
    &SECURITY_GROUP_RULE,
    &DEFAULT_RULE,
    &ADDRESS_GROUP,
    &ADDRESS_SCOPE,
    &RBAC_POLICY,
    &AGENT,
    &SEGMENT,
    &NETWORK_IP_AVAILABILITY,
    &AVAILABILITY_ZONE,
    &SERVICE_PROVIDER,
    &FLOATING_IP_POOL,
    &AUTO_TOPOLOGY,
    &BINDING,
];

mod prelude {
    //! What every resource's file speaks in.

    pub(super) use std::collections::BTreeSet;

    pub(super) use super::super::{
        Attr, Cx, Is, Json, Shown, Table, To, Verb, Verbs, Word, put,
        show::{fixed_ip, route},
        show_attr,
    };
    pub(super) use super::common::*;
    pub(super) use crate::{id::*, noun::*, state::Kind};
}

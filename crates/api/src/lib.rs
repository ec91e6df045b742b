//! Speaks: Neutron's v2.0 API over HTTP, identity and policy, and the agents' watch.

pub mod agents;
mod chores;
pub mod config;
pub mod fault;
pub mod hub;
pub mod identity;
pub mod import;
pub mod metadata;
pub mod neutron;
mod nova;
pub mod operators;
pub mod policy;
pub mod replica;
pub mod rules;
pub mod run;
pub mod server;
pub mod writer;

#[cfg(test)]
mod toy;

pub use hub::Hub;

use identity::{Caller, Identity};
use policy::{Credentials, Nothing, Policy};

/// A server, as its requests see it.
#[derive(Debug)]
pub struct Api {
    pub hub: Hub,
    pub policy: Policy,
    /// Whether unknown filters are refused.
    pub filter_validation: bool,
    pub identity: Identity,
    pub metrics: server::Metrics,
    pub agents: agents::Agents,
    /// How long a watch may be silent.
    pub heartbeat: std::time::Duration,
}

impl Api {
    /// What policy makes of a caller as such.
    pub fn caller(&self, credentials: Credentials) -> Caller {
        let is = |rule| self.policy.allows(rule, &credentials, &Nothing);
        let is_admin = is("context_is_admin");
        let sees_all = is_admin || is("context_is_advsvc") || is("service_api");
        Caller {
            credentials,
            is_admin,
            sees_all,
        }
    }
}

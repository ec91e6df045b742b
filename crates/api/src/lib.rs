//! Speaks: Neutron's v2.0 API over HTTP, identity and policy, and the agents' watch.

pub mod policy;
pub mod replica;
pub mod writer;

#[cfg(test)]
mod toy;

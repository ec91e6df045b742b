//! Availability zones: where agents say that they are.

use intent::AgentType;

use crate::{Refusal, txn::Txn};

/// Refuses hints at zones that no agent of the kind is in.
pub(crate) fn check(txn: &Txn<'_>, kind: AgentType, hints: &[String]) -> Result<(), Refusal> {
    let agents = || txn.state().agents.values();
    let known = |hint: &&String| {
        agents().any(|agent| {
            agent.agent_type == kind && agent.availability_zone.as_ref() == Some(*hint)
        })
    };
    match hints.iter().find(|hint| !known(hint)) {
        Some(unknown) => Err(Refusal::zone_not_found(unknown)),
        None => Ok(()),
    }
}

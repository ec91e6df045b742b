//! Quotas: how much of each kind a project may have.

use std::collections::BTreeMap;

use intent::{Kind, ProjectId};

use crate::{Refusal, txn::Txn};

/// The name under which a kind's limit is set; kinds without one are not limited.
pub(crate) const fn resource(kind: Kind) -> Option<&'static str> {
    match kind {
        Kind::Network => Some("network"),
        Kind::Subnet => Some("subnet"),
        Kind::SubnetPool => Some("subnetpool"),
        Kind::Port => Some("port"),
        Kind::Router => Some("router"),
        Kind::FloatingIp => Some("floatingip"),
        Kind::SecurityGroup => Some("security_group"),
        Kind::SecurityGroupRule => Some("security_group_rule"),
        Kind::RbacPolicy => Some("rbac_policy"),
        _ => None,
    }
}

/// A project's limit of a resource; below zero there is none.
pub(crate) fn limit(txn: &Txn<'_>, project: &ProjectId, resource: &str) -> i64 {
    let own = txn.state().quotas.get(project);
    let own = own.and_then(|quota| quota.limits.get(resource));
    let default = || txn.config().default_quotas.get(resource);
    own.or_else(default).copied().unwrap_or(-1)
}

/// Whether each of the owners may have one more (two more, where it is named twice, and so on).
pub(crate) fn check(txn: &Txn<'_>, kind: Kind, owners: &[ProjectId]) -> Result<(), Refusal> {
    let Some(resource) = resource(kind) else {
        return Ok(());
    };
    let mut wanted: BTreeMap<&ProjectId, u64> = BTreeMap::new();
    for owner in owners {
        *wanted.entry(owner).or_default() += 1;
    }
    for (project, more) in wanted {
        let limit = limit(txn, project, resource);
        let used = txn.state().index.count(project, kind);
        if u64::try_from(limit).is_ok_and(|limit| used + more > limit) {
            return Err(Refusal::over_quota(format_args!("'{resource}'")));
        }
    }
    Ok(())
}

//! Quotas: how much of each kind a project may have.

use std::collections::BTreeMap;

use intent::{Kind, ProjectId, Quota, State};

use crate::{Answer, Config, Draft, Refusal, draft::Reading, txn::Txn};

/// What a limit can be set for, in the order in which Neutron shows it, and the kind that is
/// counted. Routes are counted a router, not a project.
pub const LIMITED: [(&str, Option<Kind>); 10] = [
    ("network", Some(Kind::Network)),
    ("subnet", Some(Kind::Subnet)),
    ("subnetpool", Some(Kind::SubnetPool)),
    ("port", Some(Kind::Port)),
    ("router_route", None),
    ("router", Some(Kind::Router)),
    ("floatingip", Some(Kind::FloatingIp)),
    ("rbac_policy", Some(Kind::RbacPolicy)),
    ("security_group", Some(Kind::SecurityGroup)),
    ("security_group_rule", Some(Kind::SecurityGroupRule)),
];

/// The name under which a kind's limit is set; kinds without one are not limited.
fn resource(kind: Kind) -> Option<&'static str> {
    let found = LIMITED.iter().find(|(_, counted)| *counted == Some(kind));
    found.map(|(name, _)| *name)
}

/// A project's limit of a resource; below zero there is none.
pub fn quota_limit(state: &State, config: &Config, project: &ProjectId, resource: &str) -> i64 {
    let own = state.quotas.get(project);
    let own = own.and_then(|quota| quota.limits.get(resource));
    own.copied()
        .unwrap_or_else(|| config.default_quota(resource))
}

/// How much of a resource a project has.
pub fn quota_used(state: &State, project: &ProjectId, resource: &str) -> u64 {
    let found = LIMITED.iter().find(|(name, _)| *name == resource);
    let kind = found.and_then(|(_, kind)| *kind);
    kind.map_or(0, |kind| state.index.count(project, kind))
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
        let limit = quota_limit(txn.state(), txn.config(), project, resource);
        let used = txn.state().index.count(project, kind);
        if u64::try_from(limit).is_ok_and(|limit| used + more > limit) {
            return Err(Refusal::over_quota(format_args!("'{resource}'")));
        }
    }
    Ok(())
}

/// Sets a project's own limits. One below what is used already needs force.
pub(crate) fn set(
    txn: &mut Txn<'_>,
    project: &ProjectId,
    draft: &Draft,
) -> Result<Answer, Refusal> {
    let mut limits = match txn.get::<Quota>(project) {
        Some(quota) => quota.limits.clone(),
        None => BTreeMap::new(),
    };
    let force = draft.flag("force").unwrap_or(false);
    for (resource, _) in LIMITED {
        let Some(limit) = draft.number(resource) else {
            continue;
        };
        let used = quota_used(txn.state(), project, resource);
        if !force && u64::try_from(limit).is_ok_and(|limit| limit < used) {
            return Err(Refusal::limit_below_usage(limit, resource, used));
        }
        limits.insert(resource.to_owned(), limit);
    }
    let quota = Quota {
        project_id: project.clone(),
        limits,
    };
    let quota = txn.save(quota);
    Ok(Answer::Objects(vec![quota.into()]))
}

pub(crate) fn reset(txn: &mut Txn<'_>, project: &ProjectId) -> Result<Answer, Refusal> {
    if txn.get::<Quota>(project).is_none() {
        return Err(Refusal::quota_not_found(project));
    }
    txn.delete::<Quota>(project);
    Ok(Answer::Done)
}

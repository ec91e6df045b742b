//! Security groups, and every project's group `default`, made when it is first needed.

use intent::{
    Kind, Object, ProjectId, SecurityGroup, SecurityGroupId, SecurityGroupRule, SecurityGroupRuleId,
};

use crate::{Draft, Refusal, default_rule, draft::Reading, quota, rules::Rules, share, txn::Txn};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::SecurityGroup,
    missing: |id| Refusal::security_group_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

const DEFAULT: &str = "default";

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let project_id = txn.owner_of(draft);
    ensure_default(txn, &project_id);
    let name = draft.owned("name").unwrap_or_default();
    not_default(&name)?;
    let rules = default_rule::of(txn, false).len();
    quota::check(
        txn,
        Kind::SecurityGroupRule,
        &vec![project_id.clone(); rules],
    )?;
    let group = SecurityGroup {
        id: SecurityGroupId::new(txn.uuid()),
        project_id,
        name,
        stateful: draft.flag("stateful").unwrap_or(true),
        is_default: false,
        meta: txn.meta(draft.owned("description"), 1),
    };
    let group = txn.create(group);
    default_rule::copy_to(txn, &group);
    Ok(group.into())
}

/// The name is taken: every project has its own such group.
fn not_default(name: &str) -> Result<(), Refusal> {
    match name.eq_ignore_ascii_case(DEFAULT) {
        true => Err(Refusal::default_group_exists()),
        false => Ok(()),
    }
}

/// The project's group `default`.
pub(crate) fn ensure_default(txn: &mut Txn<'_>, project: &ProjectId) -> SecurityGroupId {
    let name = (project.clone(), DEFAULT.to_owned());
    if let Some(group) = txn.state().index.groups_of_name.one(&name) {
        return *group;
    }
    let group = SecurityGroup {
        id: SecurityGroupId::new(txn.uuid()),
        project_id: project.clone(),
        name: DEFAULT.to_owned(),
        stateful: true,
        is_default: true,
        meta: txn.meta(Some("Default security group".to_owned()), 1),
    };
    let group = txn.create(group);
    default_rule::copy_to(txn, &group);
    group.id
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let Some(current) = txn.find::<SecurityGroup>(key) else {
        return Err(Refusal::security_group_not_found(key));
    };
    let mut group = SecurityGroup::clone(&current);
    draft.set_text("name", &mut group.name);
    if group.name != current.name {
        if current.is_default {
            return Err(Refusal::cannot_update_default_group());
        }
        not_default(&group.name)?;
    }
    if let Some(stateful) = draft.flag("stateful") {
        group.stateful = stateful;
    }
    if group.stateful != current.stateful && in_use(txn, current.id) {
        return Err(Refusal::security_group_in_use(current.id));
    }
    draft.set_description(&mut group.meta);
    Ok(txn.save(group).into())
}

fn in_use(txn: &Txn<'_>, group: SecurityGroupId) -> bool {
    txn.state().index.ports_of_group.any(&group)
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let Some(group) = txn.find::<SecurityGroup>(key) else {
        return Err(Refusal::security_group_not_found(key));
    };
    if in_use(txn, group.id) {
        return Err(Refusal::security_group_in_use(group.id));
    }
    if group.is_default && !txn.actor.is_admin {
        return Err(Refusal::cannot_remove_default_group());
    }
    let index = &txn.state().index;
    let own = index.rules_of_group.of(&group.id);
    // Rules that let this group's members in stand for nobody now.
    let remote = index.rules_of_remote_group.of(&group.id);
    let rules: Vec<SecurityGroupRuleId> = own.chain(remote).copied().collect();
    for rule in rules {
        txn.delete::<SecurityGroupRule>(&rule);
    }
    share::forget(txn, group.id.uuid());
    txn.delete::<SecurityGroup>(&group.id);
    Ok(())
}

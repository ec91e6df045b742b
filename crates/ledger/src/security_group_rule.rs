//! Security group rules: no two of a group alike, and what they point at can be seen.

use std::{collections::BTreeSet, sync::Arc};

use intent::{
    AddressGroup, Kind, Object, RbacAction, SecurityGroup, SecurityGroupRule, SecurityGroupRuleId,
};

use crate::{Draft, Refusal, draft::Reading, rule_match, rules::Rules, txn::Txn};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::SecurityGroupRule,
    missing: |id| Refusal::security_group_rule_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

/// A request is about one group.
pub(crate) fn one_group(drafts: &[Draft]) -> Result<(), Refusal> {
    let groups = drafts.iter().map(|draft| draft.text("security_group_id"));
    match groups.collect::<BTreeSet<_>>().len() {
        0 | 1 => Ok(()),
        _ => Err(Refusal::rules_of_several_groups()),
    }
}

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    // What the rule says is judged before what it names.
    let mut matches = rule_match::read(draft, None)?;
    if let Some(remote) = draft.text("remote_group_id") {
        matches.remote_group_id = Some(txn.visible_group(remote)?.id);
    }
    address_group(txn, draft)?;
    let group = txn.visible_group(draft.text("security_group_id").unwrap_or_default())?;
    let rule = SecurityGroupRule {
        id: SecurityGroupRuleId::new(txn.uuid()),
        project_id: txn.owner_of(draft),
        security_group_id: group.id,
        matches,
        meta: txn.meta(draft.owned("description"), 0),
    };
    not_twice(txn, &rule)?;
    let rule = txn.create(rule);
    txn.touch::<SecurityGroup>(&group.id);
    Ok(rule.into())
}

fn address_group(txn: &Txn<'_>, draft: &Draft) -> Result<(), Refusal> {
    let Some(id) = draft.text("remote_address_group_id") else {
        return Ok(());
    };
    let found = txn.find::<AddressGroup>(id);
    let reached = |group: &Arc<AddressGroup>| {
        txn.reaches(&group.project_id, group.id.uuid(), RbacAction::Shared)
    };
    match found.filter(reached) {
        Some(_) => Ok(()),
        None => Err(Refusal::address_group_not_found(id)),
    }
}

fn not_twice(txn: &Txn<'_>, rule: &SecurityGroupRule) -> Result<(), Refusal> {
    let state = txn.state();
    let others = state.index.rules_of_group.of(&rule.security_group_id);
    let mut others = others.filter_map(|id| state.security_group_rules.get(id));
    match others.find(|other| rule_match::same(&other.matches, &rule.matches)) {
        Some(twin) => Err(Refusal::security_group_rule_exists(twin.id)),
        None => Ok(()),
    }
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let Some(current) = txn.find::<SecurityGroupRule>(key) else {
        return Err(Refusal::security_group_rule_not_found(key));
    };
    let mut rule = SecurityGroupRule::clone(&current);
    draft.set_description(&mut rule.meta);
    let rule = txn.save(rule);
    if rule != current {
        txn.touch::<SecurityGroup>(&rule.security_group_id);
    }
    Ok(rule.into())
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    if let Some(rule) = txn.find::<SecurityGroupRule>(key) {
        txn.delete::<SecurityGroupRule>(&rule.id);
        txn.touch::<SecurityGroup>(&rule.security_group_id);
    }
    Ok(())
}

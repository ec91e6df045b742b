//! The templates that new groups' rules are made from.

use std::sync::Arc;

use intent::{
    DefaultRule, DefaultRuleId, Direction, Ethertype, Kind, Object, Parent, RemoteGroup, RuleMatch,
    SecurityGroup, SecurityGroupRule, SecurityGroupRuleId,
};

use crate::{Answer, Draft, Refusal, draft::Reading, rule_match, rules::Rules, txn::Txn};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::DefaultRule,
    missing: |id| Refusal::default_rule_not_found(id),
    create: Some(create),
    update: None,
    delete: Some(delete),
};

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let remote = remote_group(txn, draft)?;
    let rule = DefaultRule {
        id: DefaultRuleId::new(txn.uuid()),
        matches: rule_match::read(draft, remote)?,
        used_in_default_sg: draft.flag("used_in_default_sg").unwrap_or(false),
        used_in_non_default_sg: draft.flag("used_in_non_default_sg").unwrap_or(true),
        meta: txn.meta(draft.owned("description"), 0),
    };
    let twin = |other: &&Arc<DefaultRule>| rule_match::same(&other.matches, &rule.matches);
    if let Some(twin) = txn.state().default_rules.values().find(twin) {
        return Err(Refusal::default_rule_exists(twin.id));
    }
    Ok(txn.create(rule).into())
}

fn remote_group(txn: &Txn<'_>, draft: &Draft) -> Result<Option<RemoteGroup>, Refusal> {
    match draft.text("remote_group_id") {
        None => Ok(None),
        Some("PARENT") => Ok(Some(RemoteGroup::Parent(Parent::Parent))),
        Some(id) => Ok(Some(RemoteGroup::Group(txn.visible_group(id)?.id))),
    }
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    if let Some(rule) = txn.find::<DefaultRule>(key) {
        txn.delete::<DefaultRule>(&rule.id);
    }
    Ok(())
}

/// The templates that a new group of this sort is made from.
pub(crate) fn of(txn: &Txn<'_>, is_default: bool) -> Vec<Arc<DefaultRule>> {
    let used = |rule: &&Arc<DefaultRule>| match is_default {
        true => rule.used_in_default_sg,
        false => rule.used_in_non_default_sg,
    };
    let rules = txn.state().default_rules.values();
    rules.filter(used).cloned().collect()
}

/// Gives a new group its copies.
pub(crate) fn copy_to(txn: &mut Txn<'_>, group: &SecurityGroup) {
    for template in of(txn, group.is_default) {
        let matches = &template.matches;
        let rule = SecurityGroupRule {
            id: SecurityGroupRuleId::new(txn.uuid()),
            project_id: group.project_id.clone(),
            security_group_id: group.id,
            matches: RuleMatch {
                direction: matches.direction,
                ethertype: matches.ethertype,
                protocol: matches.protocol.clone(),
                port_range_min: matches.port_range_min,
                port_range_max: matches.port_range_max,
                remote_ip_prefix: matches.remote_ip_prefix,
                remote_group_id: matches.remote_group_id.map(|remote| match remote {
                    RemoteGroup::Group(id) => id,
                    RemoteGroup::Parent(_) => group.id,
                }),
                remote_address_group_id: matches.remote_address_group_id,
            },
            // The text is the template's own: copies are shown without one.
            meta: txn.meta(None, 0),
        };
        txn.create(rule);
    }
}

/// Makes the templates that a new store begins with: everything may leave, and what comes from a
/// group's own members may enter its project's default group.
pub(crate) fn found(txn: &mut Txn<'_>) -> Answer {
    if !txn.state().default_rules.is_empty() {
        return Answer::Done;
    }
    for ethertype in [Ethertype::Ipv4, Ethertype::Ipv6] {
        for direction in [Direction::Egress, Direction::Ingress] {
            let rule = first_rule(txn, direction, ethertype);
            txn.create(rule);
        }
    }
    Answer::Done
}

fn first_rule(txn: &mut Txn<'_>, direction: Direction, ethertype: Ethertype) -> DefaultRule {
    let ingress = direction == Direction::Ingress;
    DefaultRule {
        id: DefaultRuleId::new(txn.uuid()),
        matches: RuleMatch {
            direction,
            ethertype,
            protocol: None,
            port_range_min: None,
            port_range_max: None,
            remote_ip_prefix: None,
            remote_group_id: ingress.then_some(RemoteGroup::Parent(Parent::Parent)),
            remote_address_group_id: None,
        },
        used_in_default_sg: true,
        used_in_non_default_sg: !ingress,
        meta: txn.meta(
            Some(format!("Legacy default SG rule for {direction} traffic")),
            0,
        ),
    }
}

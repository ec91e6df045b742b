//! Security groups, their rules and templates, and address groups.

use std::str::FromStr;

use serde_json::Value;

use super::{Import, read::*};
use crate::{id::*, noun::*, state::*};

impl Import {
    pub(super) fn security_group(&mut self, item: &Value) -> Option<()> {
        let name = text(item, "name").unwrap_or_default();
        self.state.put(Object::from(SecurityGroup {
            id: parsed(item, "id")?,
            project_id: project(item),
            is_default: name == "default",
            name,
            stateful: flag(item, "stateful", true),
            meta: meta(item),
        }));
        for rule in list(item, "security_group_rules") {
            self.rule(rule)?;
        }
        Some(())
    }

    pub(super) fn rule(&mut self, item: &Value) -> Option<()> {
        let id: SecurityGroupRuleId = parsed(item, "id")?;
        let mut meta = meta(item);
        if item.get("tags").is_none() {
            // Only groups show their rules' tags.
            let known = self.state.security_group_rules.get(&id);
            meta.tags = known.map(|it| it.meta.tags.clone()).unwrap_or_default();
        }
        self.state.put(Object::from(SecurityGroupRule {
            id,
            project_id: project(item),
            security_group_id: parsed(item, "security_group_id")?,
            matches: matches(item)?,
            meta,
        }));
        Some(())
    }

    pub(super) fn default_rule(&mut self, item: &Value) -> Option<()> {
        self.state.put(Object::from(DefaultRule {
            id: parsed(item, "id")?,
            matches: matches(item)?,
            used_in_default_sg: flag(item, "used_in_default_sg", false),
            used_in_non_default_sg: flag(item, "used_in_non_default_sg", false),
            meta: meta(item),
        }));
        Some(())
    }

    pub(super) fn address_group(&mut self, item: &Value) -> Option<()> {
        let addresses = list(item, "addresses");
        self.state.put(Object::from(AddressGroup {
            id: parsed(item, "id")?,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            addresses: addresses
                .filter_map(|prefix| prefix.as_str()?.parse().ok())
                .collect(),
            meta: meta(item),
        }));
        Some(())
    }
}

fn matches<Group: FromStr>(item: &Value) -> Option<RuleMatch<Group>> {
    Some(RuleMatch {
        direction: parsed(item, "direction")?,
        ethertype: parsed(item, "ethertype")?,
        protocol: text(item, "protocol"),
        port_range_min: number(item, "port_range_min"),
        port_range_max: number(item, "port_range_max"),
        remote_ip_prefix: parsed(item, "remote_ip_prefix"),
        remote_group_id: parsed(item, "remote_group_id"),
        remote_address_group_id: parsed(item, "remote_address_group_id"),
    })
}

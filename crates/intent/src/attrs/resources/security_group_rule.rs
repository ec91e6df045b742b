//! Security group rules.

use super::prelude::*;

pub static SECURITY_GROUP_RULE: Table = Table {
    kind: Some(Kind::SecurityGroupRule),
    name: "security_group_rule",
    plural: "security_group_rules",
    path: "security-group-rules",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "security-group",
    tagged: false,
    pagination: true,
    missing: (
        "SecurityGroupRuleNotFound",
        "Security group rule {} does not exist",
    ),
};

const ROWS: &[Attr] = &[
    ID,
    Attr::new("security_group_id")
        .post()
        .is(Is::Text(36))
        .filter()
        .sort()
        .shown()
        .for_policy(),
    DIRECTION,
    PROTOCOL,
    PORT_RANGE_MIN,
    PORT_RANGE_MAX,
    ETHERTYPE,
    REMOTE_GROUP_ID,
    REMOTE_ADDRESS_GROUP_ID,
    REMOTE_IP_PREFIX,
    Attr::new("normalized_cidr")
        .is(Is::SubnetOrNone)
        .filter()
        .sort()
        .shown(),
    OWNER,
    Attr::new("belongs_to_default_sg")
        .to(To::BooleanOrNone)
        .filter()
        .shown(),
    DESCRIPTION,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for SecurityGroupRule {
    const TABLE: &'static Table = &SECURITY_GROUP_RULE;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "security_group_id" => out.show(self.security_group_id),
            "normalized_cidr" => out.show_or_null(self.matches.normalized_cidr()),
            "belongs_to_default_sg" => {
                let group = cx.state.security_groups.get(&self.security_group_id);
                out.bool(group.is_some_and(|group| group.is_default));
            }
            "remote_group_id" => out.show_or_null(self.matches.remote_group_id),
            _ => return show_match(&self.matches, attr, out),
        }
        true
    }
}

/// What a rule and a template of rules have in common.
pub(super) fn show_match<G>(matches: &RuleMatch<G>, attr: &str, out: &mut Json) -> bool {
    match attr {
        "direction" => out.text(matches.direction.as_str()),
        "ethertype" => out.text(matches.ethertype.as_str()),
        "protocol" => out.text_or_null(matches.protocol.as_deref()),
        "port_range_min" => out.number_or_null(matches.port_range_min),
        "port_range_max" => out.number_or_null(matches.port_range_max),
        "remote_ip_prefix" => out.show_or_null(matches.remote_ip_prefix),
        "remote_address_group_id" => out.show_or_null(matches.remote_address_group_id),
        _ => return false,
    }
    true
}

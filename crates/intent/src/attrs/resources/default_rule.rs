//! Default security group rules: the templates of new groups' rules.

use super::{prelude::*, security_group_rule::show_match};

pub static DEFAULT_RULE: Table = Table {
    kind: Some(Kind::DefaultRule),
    name: "default_security_group_rule",
    plural: "default_security_group_rules",
    path: "default-security-group-rules",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "security-groups-default-rules",
    tagged: false,
    pagination: true,
    missing: (
        "DefaultSecurityGroupRuleNotFound",
        "Default Security group rule {} does not exist",
    ),
};

const ROWS: &[Attr] = &[
    ID,
    DIRECTION,
    PROTOCOL,
    PORT_RANGE_MIN,
    PORT_RANGE_MAX,
    ETHERTYPE,
    REMOTE_GROUP_ID,
    REMOTE_ADDRESS_GROUP_ID,
    REMOTE_IP_PREFIX,
    Attr::new("used_in_default_sg")
        .post()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .sort()
        .shown(),
    Attr::new("used_in_non_default_sg")
        .post()
        .or(Word::Bool(true))
        .to(To::Boolean)
        .filter()
        .sort()
        .shown(),
    DESCRIPTION,
];

impl Shown for DefaultRule {
    const TABLE: &'static Table = &DEFAULT_RULE;

    fn show(&self, _: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "remote_group_id" => match self.matches.remote_group_id {
                Some(RemoteGroup::Group(group)) => out.show(group),
                Some(RemoteGroup::Parent(parent)) => out.text(parent.as_str()),
                None => out.null(),
            },
            "used_in_default_sg" => out.bool(self.used_in_default_sg),
            "used_in_non_default_sg" => out.bool(self.used_in_non_default_sg),
            _ => return show_match(&self.matches, attr, out),
        }
        true
    }
}

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
    Attr::new("id").key().is(Is::Uuid).filter().sort().shown(),
    Attr::new("direction")
        .post()
        .is(Is::Words(&[Word::Text("ingress"), Word::Text("egress")]))
        .filter()
        .sort()
        .shown(),
    Attr::new("protocol")
        .post()
        .or(Word::Null)
        .to(To::Protocol)
        .filter()
        .sort()
        .shown(),
    Attr::new("port_range_min")
        .post()
        .or(Word::Null)
        .to(To::PortValue)
        .filter()
        .sort()
        .shown(),
    Attr::new("port_range_max")
        .post()
        .or(Word::Null)
        .to(To::PortValue)
        .filter()
        .sort()
        .shown(),
    Attr::new("ethertype")
        .post()
        .or(Word::Text("IPv4"))
        .to(To::Ethertype)
        .is(Is::Words(&[Word::Text("IPv4"), Word::Text("IPv6")]))
        .filter()
        .sort()
        .shown(),
    Attr::new("remote_group_id")
        .post()
        .or(Word::Null)
        .filter()
        .sort()
        .shown(),
    Attr::new("remote_address_group_id")
        .post()
        .or(Word::Null)
        .filter()
        .sort()
        .shown(),
    Attr::new("remote_ip_prefix")
        .post()
        .or(Word::Null)
        .to(To::Prefix)
        .filter()
        .sort()
        .shown(),
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
    Attr::new("description")
        .post()
        .put()
        .or(Word::Text(""))
        .is(Is::Text(255))
        .filter()
        .shown(),
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

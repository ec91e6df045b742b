//! Security groups.

use super::prelude::*;

pub static SECURITY_GROUP: Table = Table {
    kind: Some(Kind::SecurityGroup),
    name: "security_group",
    plural: "security_groups",
    path: "security-groups",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "security-group",
    tagged: true,
    pagination: true,
    missing: ("SecurityGroupNotFound", "Security group {} does not exist"),
};

const ROWS: &[Attr] = &[
    ID,
    Attr::new("name")
        .post()
        .put()
        .or(Word::Text(""))
        .is(Is::NameNotDefault(255))
        .filter()
        .sort()
        .shown(),
    Attr::new("stateful")
        .post()
        .put()
        .or(Word::Bool(true))
        .to(To::Boolean)
        .filter()
        .shown(),
    OWNER,
    Attr::new("security_group_rules").shown(),
    Attr::new("shared")
        .to(To::Boolean)
        .filter()
        .shown()
        .policy()
        .for_policy(),
    DESCRIPTION,
    TAGS,
    TAGS_ANY,
    NOT_TAGS,
    NOT_TAGS_ANY,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for SecurityGroup {
    const TABLE: &'static Table = &SECURITY_GROUP;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "stateful" => out.bool(self.stateful),
            "security_group_rules" => {
                let rules = cx.state.index.rules_of_group.of(&self.id);
                let rules = rules.filter_map(|id| cx.state.security_group_rules.get(id));
                out.list(rules, |out, rule| nested_rule(cx, rule, out));
            }
            "shared" => out.bool(cx.is_shared(self.id.uuid())),
            _ => return false,
        }
        true
    }
}

fn nested_rule(cx: &Cx<'_>, rule: &SecurityGroupRule, out: &mut Json) {
    out.open(b'{');
    for attr in SecurityGroupRule::TABLE
        .attrs
        .iter()
        .filter(|attr| attr.is_visible)
    {
        // A group in a list does not say of its rules what all of them have in common.
        if attr.name == "belongs_to_default_sg" && cx.verb == Verb::List {
            out.key(attr.name);
            out.null();
            continue;
        }
        show_attr(rule, cx, attr.name, out);
    }
    // A group shows its rules with their tags, which the rules' own collection does not.
    out.key("tags");
    out.texts(rule.meta.tags.iter().map(String::as_str));
    out.close(b'}');
}

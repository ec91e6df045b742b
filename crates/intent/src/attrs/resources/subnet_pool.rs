//! Subnet pools.

use super::prelude::*;

pub static SUBNET_POOL: Table = Table {
    kind: Some(Kind::SubnetPool),
    name: "subnetpool",
    plural: "subnetpools",
    path: "subnetpools",
    parent: None,
    attrs: ROWS,
    actions: &[
        put("add_prefixes"),
        put("remove_prefixes"),
        put("onboard_network_subnets"),
    ],
    verbs: Verbs::All,
    extension: "",
    tagged: true,
    pagination: true,
    missing: ("SubnetPoolNotFound", "Subnet pool {} could not be found."),
};

const ROWS: &[Attr] = &[
    ID,
    Attr::new("name")
        .post()
        .put()
        .is(Is::NotEmptyName)
        .filter()
        .sort()
        .shown(),
    OWNER,
    Attr::new("prefixes")
        .post()
        .put()
        .is(Is::SubnetList)
        .shown(),
    Attr::new("default_quota")
        .post()
        .put()
        .unset()
        .to(To::Int)
        .is(Is::NonNegative)
        .filter()
        .sort()
        .shown(),
    Attr::new("ip_version").filter().sort().shown(),
    Attr::new("default_prefixlen")
        .post()
        .put()
        .unset()
        .to(To::Int)
        .is(Is::NonNegative)
        .filter()
        .sort()
        .shown(),
    Attr::new("min_prefixlen")
        .post()
        .put()
        .unset()
        .to(To::Int)
        .is(Is::NonNegative)
        .filter()
        .sort()
        .shown(),
    Attr::new("max_prefixlen")
        .post()
        .put()
        .unset()
        .to(To::Int)
        .is(Is::NonNegative)
        .filter()
        .sort()
        .shown(),
    Attr::new("is_default")
        .post()
        .put()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .sort()
        .shown()
        .policy()
        .for_policy(),
    Attr::new("shared")
        .post()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .sort()
        .shown()
        .policy()
        .for_policy(),
    Attr::new("address_scope_id")
        .post()
        .put()
        .unset()
        .is(Is::UuidOrNone)
        .filter()
        .sort()
        .shown(),
    DESCRIPTION,
    TAGS,
    TAGS_ANY,
    NOT_TAGS,
    NOT_TAGS_ANY,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for SubnetPool {
    const TABLE: &'static Table = &SUBNET_POOL;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "prefixes" => out.shows(&self.prefixes),
            "default_quota" => out.number_or_null(self.default_quota),
            "ip_version" => out.number(self.ip_version),
            "default_prefixlen" => length(cx, self.default_prefixlen, out),
            "min_prefixlen" => length(cx, self.min_prefixlen, out),
            "max_prefixlen" => length(cx, self.max_prefixlen, out),
            "is_default" => out.bool(self.is_default),
            "shared" => out.bool(self.shared || cx.is_shared(self.id.uuid())),
            "address_scope_id" => out.show_or_null(self.address_scope_id),
            _ => return false,
        }
        true
    }
}

/// The reference shows lengths as texts, but for the answer to a change.
fn length(cx: &Cx<'_>, length: u8, out: &mut Json) {
    if cx.verb == Verb::Update || cx.filtering {
        out.number(length);
    } else {
        out.show(length);
    }
}

//! Address scopes.

use super::prelude::*;

pub static ADDRESS_SCOPE: Table = Table {
    kind: Some(Kind::AddressScope),
    name: "address_scope",
    plural: "address_scopes",
    path: "address-scopes",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "address-scope",
    tagged: false,
    pagination: true,
    missing: (
        "AddressScopeNotFound",
        "Address scope {} could not be found.",
    ),
};

const ROWS: &[Attr] = &[
    ID,
    NAME,
    OWNER,
    IP_VERSION,
    Attr::new("shared")
        .post()
        .put()
        .or(Word::Bool(false))
        .to(To::Boolean)
        .filter()
        .sort()
        .shown()
        .policy()
        .for_policy(),
];

impl Shown for AddressScope {
    const TABLE: &'static Table = &ADDRESS_SCOPE;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "ip_version" => out.number(self.ip_version),
            "shared" => out.bool(cx.is_shared(self.id.uuid())),
            _ => return false,
        }
        true
    }
}

//! Address groups.

use super::prelude::*;

pub static ADDRESS_GROUP: Table = Table {
    kind: Some(Kind::AddressGroup),
    name: "address_group",
    plural: "address_groups",
    path: "address-groups",
    parent: None,
    attrs: ROWS,
    actions: &[put("add_addresses"), put("remove_addresses")],
    verbs: Verbs::All,
    extension: "address-group",
    tagged: false,
    pagination: true,
    missing: (
        "AddressGroupNotFound",
        "Address group {} could not be found.",
    ),
};

const ROWS: &[Attr] = &[
    ID,
    NAME,
    Attr::new("project_id")
        .post()
        .is(Is::Text(255))
        .filter()
        .sort()
        .shown()
        .for_policy(),
    Attr::new("addresses")
        .post()
        .unset()
        .to(To::NoneToList)
        .is(Is::SubnetList)
        .shown(),
    Attr::new("shared").or(Word::Bool(false)).to(To::Boolean),
    Attr::new("description")
        .post()
        .put()
        .or(Word::Text(""))
        .is(Is::Text(1024))
        .filter()
        .sort()
        .shown(),
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for AddressGroup {
    const TABLE: &'static Table = &ADDRESS_GROUP;

    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text(&self.name),
            "addresses" => out.shows(&self.addresses),
            "shared" => out.bool(cx.is_shared(self.id.uuid())),
            _ => return false,
        }
        true
    }
}

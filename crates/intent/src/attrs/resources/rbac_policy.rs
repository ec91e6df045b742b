//! RBAC policies.

use super::prelude::*;

pub static RBAC_POLICY: Table = Table {
    kind: Some(Kind::RbacPolicy),
    name: "rbac_policy",
    plural: "rbac_policies",
    path: "rbac-policies",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::All,
    extension: "rbac-policies",
    tagged: false,
    pagination: false,
    missing: (
        "RbacPolicyNotFound",
        "RBAC policy of type unknown with ID {} not found",
    ),
};

const ROWS: &[Attr] = &[
    Attr::new("id").key().is(Is::Uuid).filter().shown(),
    Attr::new("object_type")
        .post()
        .or(Word::Null)
        .to(To::RbacType)
        .filter()
        .shown()
        .policy(),
    Attr::new("object_id")
        .post()
        .is(Is::Uuid)
        .filter()
        .shown()
        .policy(),
    Attr::new("target_tenant")
        .post()
        .put()
        .is(Is::TargetProject)
        .filter()
        .shown()
        .policy(),
    Attr::new("action")
        .post()
        .is(Is::Text(255))
        .filter()
        .shown()
        .policy(),
    Attr::new("tenant_id")
        .post()
        .is(Is::Text(255))
        .filter()
        .shown()
        .for_policy(),
];

impl Shown for RbacPolicy {
    const TABLE: &'static Table = &RBAC_POLICY;

    fn show(&self, _: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "object_type" => out.text(self.object_type.as_str()),
            "object_id" => out.show(self.object_id),
            "target_tenant" => out.text(&self.target_project),
            "action" => out.text(self.action.as_str()),
            _ => return false,
        }
        true
    }
}

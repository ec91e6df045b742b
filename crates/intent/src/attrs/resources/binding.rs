//! A port's bindings to hosts, `ports/ID/bindings`.

use super::prelude::*;
use crate::attrs::Common;

pub static BINDING: Table = Table {
    kind: None,
    name: "binding",
    plural: "bindings",
    path: "bindings",
    parent: Some("port"),
    attrs: ROWS,
    actions: &[put("activate")],
    verbs: Verbs::All,
    extension: "binding-extended",
    tagged: false,
    pagination: true,
    missing: (
        "PortBindingNotFound",
        "Binding for port {} could not be found.",
    ),
};

const ROWS: &[Attr] = &[
    Attr::new("host")
        .key()
        .post()
        .is(Is::Text(255))
        .filter()
        .sort()
        .shown(),
    Attr::new("vif_type").filter().sort().shown(),
    Attr::new("vif_details").shown(),
    Attr::new("vnic_type")
        .post()
        .put()
        .or(Word::Text("normal"))
        .is(VNIC_TYPES)
        .filter()
        .sort()
        .shown(),
    Attr::new("profile")
        .post()
        .put()
        .unset()
        .is(Is::DictOrNone)
        .shown(),
    STATUS,
    Attr::new("project_id").for_policy(),
];

const VNIC_TYPES: Is = Is::Words(&[
    Word::Text("normal"),
    Word::Text("direct"),
    Word::Text("macvtap"),
    Word::Text("baremetal"),
    Word::Text("direct-physical"),
    Word::Text("virtio-forwarder"),
    Word::Text("smart-nic"),
    Word::Text("vdpa"),
    Word::Text("accelerator-direct"),
    Word::Text("accelerator-direct-physical"),
    Word::Text("remote-managed"),
]);

impl Common for Binding {
    fn meta(&self) -> Option<&Meta> {
        None
    }

    fn owner(&self) -> Option<&str> {
        None
    }
}

impl Shown for Binding {
    const TABLE: &'static Table = &BINDING;

    fn show(&self, _: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "host" => out.text(&self.host),
            "vif_type" => out.text(self.vif_type.as_str()),
            "vif_details" => out.value(&self.vif_details),
            "vnic_type" => out.text(self.vnic_type.as_str()),
            "profile" => out.value(&self.profile),
            "status" => out.text(self.status.as_str()),
            _ => return false,
        }
        true
    }
}

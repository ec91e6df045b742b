//! Segments of networks, read only: they are made and changed with their network.

use super::prelude::*;

pub static SEGMENT: Table = Table {
    kind: Some(Kind::Segment),
    name: "segment",
    plural: "segments",
    path: "segments",
    parent: None,
    attrs: ROWS,
    actions: &[],
    verbs: Verbs::ReadOnly,
    extension: "segment",
    tagged: false,
    pagination: true,
    missing: ("SegmentNotFound", "Segment {} could not be found."),
};

const ROWS: &[Attr] = &[
    ID,
    Attr::new("tenant_id").post().is(Is::Text(255)),
    Attr::new("name")
        .post()
        .put()
        .unset()
        .is(Is::NameOrNone(255))
        .filter()
        .sort()
        .shown(),
    Attr::new("network_id")
        .post()
        .is(Is::Uuid)
        .filter()
        .sort()
        .shown(),
    Attr::new("network_type")
        .post()
        .is(Is::Text(32))
        .filter()
        .sort()
        .shown(),
    Attr::new("physical_network")
        .post()
        .unset()
        .is(Is::Text(64))
        .filter()
        .sort()
        .shown(),
    Attr::new("segmentation_id")
        .post()
        .unset()
        .to(To::Int)
        .sort()
        .shown(),
    DESCRIPTION,
    REVISION_NUMBER,
    CREATED_AT,
    UPDATED_AT,
];

impl Shown for Segment {
    const TABLE: &'static Table = &SEGMENT;

    fn show(&self, _: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
        match attr {
            "id" => out.show(self.id),
            "name" => out.text_or_null(self.name.as_deref()),
            "network_id" => out.show(self.network_id),
            "network_type" => out.text(self.network_type.as_str()),
            "physical_network" => out.text_or_null(self.physical_network.as_deref()),
            "segmentation_id" => out.number_or_null(self.segmentation_id),
            _ => return false,
        }
        true
    }
}

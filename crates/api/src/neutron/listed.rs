//! A resource as an administrator's lists show it, for those who compare.

use intent::{
    Kind, Resource,
    attrs::{Cx, Json, Shown, show_attr},
};
use serde_json::Value;

use super::scope::on_kind;

/// What lists show of a resource, if it is there.
pub(crate) fn listed(cx: &Cx<'_>, kind: Kind, id: &str) -> Option<Value> {
    on_kind!(Some(kind), R => of::<R>(cx, id), else None)
}

fn of<R: Resource + Shown>(cx: &Cx<'_>, id: &str) -> Option<Value> {
    let object = cx.state.get::<R>(&id.parse().ok()?)?;
    let mut out = Json::with_room();
    out.open(b'{');
    for attr in R::TABLE.attrs.iter().filter(|attr| attr.is_visible) {
        show_attr(&**object, cx, attr.name, &mut out);
    }
    out.close(b'}');
    serde_json::from_slice(&out.bytes).ok()
}

//! Values out of an API document, by an attribute's name.

use std::str::FromStr;

use serde_json::Value;

use crate::{id::*, noun::*};

pub(super) fn text(item: &Value, key: &str) -> Option<String> {
    item.get(key)?.as_str().map(str::to_owned)
}

pub(super) fn parsed<T: FromStr>(item: &Value, key: &str) -> Option<T> {
    item.get(key)?.as_str()?.parse().ok()
}

pub(super) fn flag(item: &Value, key: &str, default: bool) -> bool {
    item.get(key).and_then(Value::as_bool).unwrap_or(default)
}

pub(super) fn number<T: TryFrom<u64>>(item: &Value, key: &str) -> Option<T> {
    T::try_from(item.get(key)?.as_u64()?).ok()
}

pub(super) fn list<'a>(item: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    item.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

pub(super) fn map(item: &Value, key: &str) -> JsonMap {
    item.get(key)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

pub(super) fn texts<C: FromIterator<String>>(item: &Value, key: &str) -> C {
    let texts = list(item, key).filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// In either form: `2026-11-20T21:35:26Z`, or with a space as agents' moments are shown.
pub(super) fn moment(item: &Value, key: &str) -> Timestamp {
    let read = |text: String| match text.split_once(' ') {
        Some((date, time)) => Timestamp::read(&format!("{date}T{time}Z")),
        None => Timestamp::read(&text),
    };
    text(item, key).and_then(read).unwrap_or_default()
}

pub(super) fn project(item: &Value) -> ProjectId {
    let owner = text(item, "project_id").or_else(|| text(item, "tenant_id"));
    owner.unwrap_or_default().into()
}

pub(super) fn meta(item: &Value) -> Meta {
    Meta {
        description: text(item, "description"),
        created_at: moment(item, "created_at"),
        updated_at: moment(item, "updated_at"),
        revision_number: number(item, "revision_number").unwrap_or(0),
        tags: texts(item, "tags"),
    }
}

pub(super) fn routes(item: &Value, key: &str) -> Vec<Route> {
    let read = |route: &Value| {
        Some(Route {
            destination: parsed(route, "destination")?,
            nexthop: parsed(route, "nexthop")?,
        })
    };
    list(item, key).filter_map(read).collect()
}

pub(super) fn fixed_ips(item: &Value, key: &str) -> Vec<FixedIp> {
    let read = |fixed: &Value| {
        Some(FixedIp {
            subnet_id: parsed(fixed, "subnet_id")?,
            ip_address: parsed(fixed, "ip_address")?,
        })
    };
    list(item, key).filter_map(read).collect()
}

//! Order and pages of lists: `sort_key`, `sort_dir`, `limit`, `marker`, `page_reverse`.

use std::cmp::Ordering;

use intent::attrs::{Cx, Json, Shown, Table, repr, show_value};
use serde_json::Value;

use super::{query::Query, scope::Scoped};
use crate::fault::Fault;

/// In which order, and which part, a list is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// Attribute and whether it descends.
    pub(super) sort: Vec<(String, bool)>,
    pub(super) limit: Option<usize>,
    pub(super) marker: Option<String>,
    pub(super) reverse: bool,
}

impl Page {
    pub(super) fn read(table: &Table, query: &Query) -> Result<Self, Fault> {
        let limit = match query.first("limit") {
            None => None,
            Some(text) => Some(text.parse::<usize>().map_err(|_| {
                Fault::neutron(
                    http::StatusCode::BAD_REQUEST,
                    "BadRequest",
                    format!(
                        "Bad limit request: Limit must be an integer 0 or greater and not '{text}'."
                    ),
                )
            })?),
        };
        let truth = |text: &str| matches!(text.to_ascii_lowercase().as_str(), "true" | "1" | "yes");
        Ok(Self {
            sort: sort(table, query)?,
            limit: limit.filter(|limit| *limit > 0 && table.pagination),
            marker: query.first("marker").map(str::to_owned),
            reverse: query.first("page_reverse").is_some_and(truth),
        })
    }
}

fn sort(table: &Table, query: &Query) -> Result<Vec<(String, bool)>, Fault> {
    let keys: Vec<&str> = query.all("sort_key").collect();
    let directions: Vec<&str> = query.all("sort_dir").collect();
    if keys.len() != directions.len() {
        return Err(Fault::bad_request(
            "The number of sort_keys and sort_dirs must be same",
        ));
    }
    let bad = |words: Vec<&str>| repr(&words.into_iter().map(Value::from).collect());
    let unknown: Vec<&str> = keys
        .iter()
        .copied()
        .filter(|key| !table.is_sortable(key))
        .collect();
    if !unknown.is_empty() {
        let unknown = bad(unknown);
        return Err(Fault::bad_request(format!(
            "{unknown} is invalid attribute for sort_keys"
        )));
    }
    let nowhere = |word: &&str| !matches!(*word, "asc" | "desc");
    let unknown: Vec<&str> = directions.iter().copied().filter(nowhere).collect();
    if !unknown.is_empty() {
        let unknown = bad(unknown);
        return Err(Fault::bad_request(format!(
            "{unknown} is invalid value for sort_dirs, valid value is 'asc' and 'desc'"
        )));
    }
    let pairs = keys.into_iter().zip(directions);
    Ok(pairs
        .map(|(key, way)| (key.to_owned(), way == "desc"))
        .collect())
}

/// Sorts by the wanted keys and then by the resource's own, in whose order they come.
pub(super) fn order<R: Scoped>(objects: &mut [&R], sort: &[(String, bool)], cx: &Cx<'_>) {
    if sort.is_empty() {
        return;
    }
    let mut keyed: Vec<(Vec<Value>, R::Key, &R)> = objects
        .iter()
        .map(|object| {
            let values = sort.iter().map(|(attr, _)| value(*object, attr, cx));
            (values.collect(), object.key(), *object)
        })
        .collect();
    keyed.sort_by(|(left, left_key, _), (right, right_key, _)| {
        let pairs = left.iter().zip(right).zip(sort);
        pairs
            .map(|((left, right), (_, descends))| {
                let order = compare(left, right);
                if *descends { order.reverse() } else { order }
            })
            .find(|order| order.is_ne())
            .unwrap_or_else(|| left_key.cmp(right_key))
    });
    for (place, (_, _, object)) in objects.iter_mut().zip(keyed) {
        *place = object;
    }
}

fn value<R: Shown>(object: &R, attr: &str, cx: &Cx<'_>) -> Value {
    let mut out = Json::new();
    if !show_value(object, cx, attr, &mut out) {
        return Value::Null;
    }
    serde_json::from_slice(&out.bytes).unwrap_or_default()
}

/// Nulls first, as databases do it.
fn compare(left: &Value, right: &Value) -> Ordering {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => left
            .as_f64()
            .partial_cmp(&right.as_f64())
            .unwrap_or(Ordering::Equal),
        (Value::String(left), Value::String(right)) => left.cmp(right),
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Null, Value::Null) => Ordering::Equal,
        (Value::Null, _) => Ordering::Less,
        (_, Value::Null) => Ordering::Greater,
        (left, right) => left.to_string().cmp(&right.to_string()),
    }
}

/// The part of an ordered list that the page is. `Err` names a marker that is not in it.
pub(super) fn cut<'a, R: Scoped>(objects: Vec<&'a R>, page: &Page) -> Result<Vec<&'a R>, String> {
    let Some(limit) = page.limit else {
        return Ok(objects);
    };
    let at = match &page.marker {
        None => None,
        Some(marker) => {
            let found = objects
                .iter()
                .position(|it| it.key().to_string() == *marker);
            Some(found.ok_or_else(|| marker.clone())?)
        }
    };
    let range = match (at, page.reverse) {
        (None, false) => 0..objects.len().min(limit),
        (Some(at), false) => at + 1..objects.len().min(at + 1 + limit),
        (None, true) => objects.len().saturating_sub(limit)..objects.len(),
        (Some(at), true) => at.saturating_sub(limit)..at,
    };
    Ok(objects
        .into_iter()
        .skip(range.start)
        .take(range.len())
        .collect())
}

/// The links to the neighbours of a page; `keys` are its resources'.
pub(super) fn links(
    page: &Page,
    url: &str,
    query: &Query,
    keys: &[String],
) -> Vec<(&'static str, String)> {
    let Some(limit) = page.limit else {
        return Vec::new();
    };
    let link = |marker: Option<&String>, reverse: bool| {
        let kept = query
            .0
            .iter()
            .filter(|(name, _)| name != "marker" && name != "page_reverse");
        let mut pairs: Vec<(String, String)> = kept.cloned().collect();
        if let Some(marker) = marker {
            pairs.push(("marker".to_owned(), marker.clone()));
        }
        if reverse {
            pairs.push(("page_reverse".to_owned(), "True".to_owned()));
        }
        format!("{url}?{}", Query(pairs))
    };
    let short = keys.len() < limit;
    let mut links = Vec::new();
    if !short || page.reverse {
        links.push(("next", link(keys.last(), false)));
    }
    if !short || !page.reverse {
        links.push(("previous", link(keys.first(), true)));
    }
    links
}

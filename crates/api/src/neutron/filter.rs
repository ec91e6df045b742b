//! Filters of lists: which resources a query string asks for.

use std::collections::BTreeSet;

use intent::AgentType;
use intent::attrs::{Attr, BadInput, Common, Cx, Json, Scalars, Shown, Table, repr, show_value};
use serde_json::Value;

use super::query::Query;
use crate::fault::Fault;

/// Words of a query that are no filters.
const RESERVED: [&str; 6] = [
    "fields",
    "limit",
    "marker",
    "page_reverse",
    "sort_key",
    "sort_dir",
];

/// Keys of pairs that filter; others ask for nothing.
const PAIRS: [&str; 3] = ["subnet_id", "ip_address", "ip_address_substr"];

#[derive(Debug)]
pub(super) enum Filter {
    /// The attribute's value, as JSON, is one of these; of a list, one of its items is.
    OneOf {
        attr: &'static Attr,
        wanted: Vec<Vec<u8>>,
    },
    Tags(Tags, BTreeSet<String>),
    /// Pairs into the dictionaries of a list: all keys must be met, each by one of its values.
    Pairs {
        attr: &'static Attr,
        wanted: Vec<(String, Vec<String>)>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tags {
    All,
    Any,
    NotAll,
    NotAny,
}

/// Reads every filter of a query; one that the resource does not have is refused, or asks for
/// nothing.
pub(super) fn read(
    table: &'static Table,
    query: &Query,
    refuse_unknown: bool,
) -> Result<Vec<Filter>, Fault> {
    let mut names: Vec<&str> = Vec::new();
    let mut unknown: Vec<Value> = Vec::new();
    for (name, _) in &query.0 {
        if RESERVED.contains(&name.as_str()) || names.contains(&name.as_str()) {
            continue;
        }
        names.push(name);
        if !table.find(name).is_some_and(|attr| attr.is_filter) {
            unknown.push(name.as_str().into());
        }
    }
    if refuse_unknown && !unknown.is_empty() {
        return Err(Fault::bad_request(format!(
            "{} is invalid attribute for filtering",
            repr(&Value::Array(unknown))
        )));
    }
    let filters = names.into_iter().filter_map(|name| {
        let attr = table.find(name)?;
        attr.is_filter.then_some((attr, name))
    });
    filters
        .map(|(attr, name)| filter(attr, &query.all(name).collect::<Vec<_>>()))
        .collect()
}

fn filter(attr: &'static Attr, values: &[&str]) -> Result<Filter, Fault> {
    let tags = |mode| {
        let tags = values.iter().flat_map(|value| value.split(','));
        Ok(Filter::Tags(mode, tags.map(str::to_owned).collect()))
    };
    match attr.name {
        "tags" => tags(Tags::All),
        "tags-any" => tags(Tags::Any),
        "not-tags" => tags(Tags::NotAll),
        "not-tags-any" => tags(Tags::NotAny),
        _ if attr.filter_pairs => Ok(pairs(attr, values)),
        _ => {
            let mut wanted = Vec::new();
            for value in values {
                wanted.extend(literals(attr, value)?);
            }
            Ok(Filter::OneOf { attr, wanted })
        }
    }
}

/// The JSON forms that a filter's text may mean for this attribute.
fn literals(attr: &Attr, value: &str) -> Result<Vec<Vec<u8>>, BadInput> {
    let encode = |value: &Value| value.to_string().into_bytes();
    if attr.convert.is_some() {
        return Ok(vec![encode(&attr.converted(value.into())?)]);
    }
    let value = match attr.name {
        "agent_type" => agent_type(value),
        _ => value,
    };
    let mut forms = vec![encode(&value.into())];
    match value.to_ascii_lowercase().as_str() {
        word @ ("true" | "false") => forms.push(word.as_bytes().to_vec()),
        word if word.parse::<i64>().is_ok() => forms.push(word.as_bytes().to_vec()),
        _ => {}
    }
    Ok(forms)
}

/// Agents are asked for as "DHCP Agent" and "DHCP agent", which the databases under the reference
/// do not tell apart.
fn agent_type(value: &str) -> &str {
    let mut known = AgentType::ALL.iter().map(|known| known.as_str());
    known
        .find(|known| known.eq_ignore_ascii_case(value))
        .unwrap_or(value)
}

fn pairs(attr: &'static Attr, values: &[&str]) -> Filter {
    let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
    for value in values {
        let (key, value) = value.split_once('=').unwrap_or((value, ""));
        if !PAIRS.contains(&key) {
            continue;
        }
        match wanted.iter_mut().find(|(known, _)| known == key) {
            Some((_, values)) => values.push(value.to_owned()),
            None => wanted.push((key.to_owned(), vec![value.to_owned()])),
        }
    }
    Filter::Pairs { attr, wanted }
}

impl Filter {
    /// The only values that the attribute may have, when this filter is about it.
    pub(super) fn values_of(&self, name: &str) -> Option<Vec<String>> {
        let Self::OneOf { attr, wanted } = self else {
            return None;
        };
        let texts = wanted
            .iter()
            .filter_map(|json| serde_json::from_slice(json).ok());
        (attr.name == name).then(|| texts.collect())
    }

    /// The values of one key of a list's dictionaries.
    pub(super) fn pairs_of(&self, name: &str, key: &str) -> Option<&[String]> {
        let Self::Pairs { attr, wanted } = self else {
            return None;
        };
        let found = wanted.iter().find(|(known, _)| known == key);
        found
            .filter(|_| attr.name == name)
            .map(|(_, values)| values.as_slice())
    }

    pub(super) fn is_met<R: Shown>(&self, object: &R, cx: &Cx<'_>, scratch: &mut Json) -> bool {
        match self {
            Self::Tags(mode, wanted) => tags_are(object, *mode, wanted),
            Self::OneOf { attr, wanted } => {
                scratch.bytes.clear();
                show_value(object, cx, attr.name, scratch) && one_of(&scratch.bytes, wanted)
            }
            Self::Pairs { attr, wanted } => {
                scratch.bytes.clear();
                show_value(object, cx, attr.name, scratch) && has_pairs(&scratch.bytes, wanted)
            }
        }
    }
}

fn one_of(json: &[u8], wanted: &[Vec<u8>]) -> bool {
    if json.first() != Some(&b'[') {
        return wanted.iter().any(|wanted| wanted == json);
    }
    Scalars::of(json).any(|item| wanted.iter().any(|wanted| wanted == item))
}

fn has_pairs(json: &[u8], wanted: &[(String, Vec<String>)]) -> bool {
    let items: Vec<Value> = serde_json::from_slice(json).unwrap_or_default();
    wanted.iter().all(|(key, values)| {
        let (key, part) = match key.strip_suffix("_substr") {
            Some(key) => (key, true),
            None => (key.as_str(), false),
        };
        items.iter().any(|item| {
            let found = item.get(key).and_then(Value::as_str);
            found.is_some_and(|found| {
                values.iter().any(|wanted| {
                    if part {
                        found.contains(wanted.as_str())
                    } else {
                        found == wanted
                    }
                })
            })
        })
    })
}

fn tags_are(object: &impl Common, mode: Tags, wanted: &BTreeSet<String>) -> bool {
    let none = BTreeSet::new();
    let tags = object.meta().map_or(&none, |meta| &meta.tags);
    match mode {
        Tags::All => wanted.is_subset(tags),
        Tags::Any => !wanted.is_disjoint(tags),
        Tags::NotAll => !wanted.is_subset(tags),
        Tags::NotAny => wanted.is_disjoint(tags),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_no_resource_has_is_refused_or_asks_for_nothing() {
        let query = Query(vec![
            ("name".to_owned(), "a".to_owned()),
            ("colour".to_owned(), "red".to_owned()),
        ]);
        let table = intent::Network::TABLE;
        let refused = read(table, &query, true).expect_err("refused");
        assert!(format!("{refused:?}").contains("['colour'] is invalid attribute for filtering"));
        let filters = read(table, &query, false).expect("read");
        assert_eq!(filters.len(), 1, "{filters:?}");
    }

    #[test]
    fn an_agents_type_is_asked_for_in_any_case() {
        for (asked, meant) in [
            ("DHCP Agent", "DHCP agent"),
            ("l3 agent", "L3 agent"),
            ("Metering agent", "Metering agent"),
        ] {
            assert_eq!(agent_type(asked), meant);
        }
    }
}

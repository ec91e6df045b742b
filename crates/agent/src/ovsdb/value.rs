//! OVSDB's values in JSON (RFC 7047, 5.1): atoms, sets, maps, references between rows.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value as Json, json};
use uuid::Uuid;

/// One scalar.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Atom {
    Int(i64),
    Bool(bool),
    Text(String),
    Uuid(Uuid),
}

/// What a column holds. A scalar is a set of one, an optional scalar a set of one or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Set(BTreeSet<Atom>),
    Map(BTreeMap<Atom, Atom>),
}

/// JSON that is no value of OVSDB.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an OVSDB value")]
pub struct BadValue(pub String);

impl Atom {
    fn read(json: &Json) -> Result<Atom, BadValue> {
        let bad = || BadValue(json.to_string());
        match json {
            Json::Bool(flag) => Ok(Atom::Bool(*flag)),
            Json::String(text) => Ok(Atom::Text(text.clone())),
            // Columns of real numbers are statistics, which nobody here reads: their text will do.
            Json::Number(number) => Ok(match number.as_i64() {
                Some(int) => Atom::Int(int),
                None => Atom::Text(number.to_string()),
            }),
            Json::Array(pair) => match pair.as_slice() {
                [Json::String(word), Json::String(id)] if word == "uuid" => {
                    id.parse().map(Atom::Uuid).map_err(|_| bad())
                }
                _ => Err(bad()),
            },
            _ => Err(bad()),
        }
    }

    pub fn text(&self) -> Option<&str> {
        match self {
            Atom::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl Value {
    pub fn read(json: &Json) -> Result<Value, BadValue> {
        let bad = || BadValue(json.to_string());
        let Json::Array(pair) = json else {
            return Ok(Value::Set(BTreeSet::from([Atom::read(json)?])));
        };
        match pair.as_slice() {
            [Json::String(word), Json::Array(items)] if word == "set" => items
                .iter()
                .map(Atom::read)
                .collect::<Result<_, _>>()
                .map(Value::Set),
            [Json::String(word), Json::Array(items)] if word == "map" => {
                let pair = |item: &Json| match item.as_array().map(Vec::as_slice) {
                    Some([key, value]) => Ok((Atom::read(key)?, Atom::read(value)?)),
                    _ => Err(bad()),
                };
                items
                    .iter()
                    .map(pair)
                    .collect::<Result<_, _>>()
                    .map(Value::Map)
            }
            _ => Ok(Value::Set(BTreeSet::from([Atom::read(json)?]))),
        }
    }
}

/// A map of texts as a transaction writes it.
pub fn map_json(map: &BTreeMap<String, String>) -> Json {
    let pairs: Vec<Json> = map.iter().map(|(key, value)| json!([key, value])).collect();
    json!(["map", pairs])
}

/// A set as a transaction writes it.
pub fn set_json<T: Into<Json>>(items: impl IntoIterator<Item = T>) -> Json {
    json!([
        "set",
        items.into_iter().map(Into::into).collect::<Vec<Json>>()
    ])
}

/// An optional scalar as a transaction writes it.
pub fn option_json<T: Into<Json>>(item: Option<T>) -> Json {
    item.map_or_else(|| set_json(Vec::<Json>::new()), Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_are_read() {
        let id = "018677df-b93b-451b-8e8e-51deaa6c6854";
        let cases = [
            (json!(4), Value::Set([Atom::Int(4)].into())),
            (json!(["set", []]), Value::Set([].into())),
            (
                json!(["uuid", id]),
                Value::Set([Atom::Uuid(id.parse().unwrap())].into()),
            ),
            (
                json!(["map", [["a", "b"]]]),
                Value::Map([(Atom::Text("a".into()), Atom::Text("b".into()))].into()),
            ),
        ];
        for (json, value) in cases {
            assert_eq!(Value::read(&json), Ok(value));
        }
        assert!(Value::read(&json!(["uuid", "x"])).is_err());
        assert!(Value::read(&json!({"a": 1})).is_err());
    }

    #[test]
    fn what_is_written_is_read_back() {
        let map = BTreeMap::from([("a".to_owned(), "1".to_owned())]);
        assert!(matches!(Value::read(&map_json(&map)), Ok(Value::Map(m)) if m.len() == 1));
        assert_eq!(
            Value::read(&option_json(Some(3))),
            Ok(Value::Set([Atom::Int(3)].into()))
        );
        assert_eq!(
            Value::read(&option_json(None::<u16>)),
            Ok(Value::Set([].into()))
        );
    }
}

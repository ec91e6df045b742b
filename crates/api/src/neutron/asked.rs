//! One request, as far as the API's functions need to know it, and what they answer.

use bytes::Bytes;
use http::{Method, StatusCode};
use intent::attrs::Json;
use serde_json::{Map, Value};

use super::query::Query;
use crate::{fault::Fault, identity::Caller};

/// A request whose caller is known.
#[derive(Debug)]
pub struct Asked {
    pub method: Method,
    /// Scheme and authority, for links: `http://127.0.0.1:9696`.
    pub base: String,
    pub path: String,
    pub query: Query,
    pub if_match: Option<String>,
    pub body: Bytes,
    pub caller: Caller,
}

impl Asked {
    pub(super) fn url(&self) -> String {
        format!("{}{}", self.base, self.path)
    }

    /// The body's dictionary; no body at all is an empty one.
    pub(super) fn json(&self) -> Result<Map<String, Value>, Fault> {
        if self.body.is_empty() {
            return Ok(Map::new());
        }
        match serde_json::from_slice(&self.body) {
            Ok(Value::Object(map)) => Ok(map),
            Ok(Value::Null) => Ok(Map::new()),
            _ => Err(Fault::invalid_body()),
        }
    }

    /// The revision that `If-Match` asks for. What does not speak of revisions asks for none.
    pub(super) fn revision(&self) -> Result<Option<u64>, Fault> {
        let header = self.if_match.as_deref().unwrap_or_default();
        let Some(number) = header
            .trim()
            .trim_matches('"')
            .strip_prefix("revision_number=")
        else {
            return Ok(None);
        };
        number.parse().map(Some).map_err(|_| {
            Fault::neutron(
                StatusCode::BAD_REQUEST,
                "BadRequest",
                "Bad if-match request: Revision number etag must be in the format of \
                 revision_number=<int>.",
            )
        })
    }
}

/// An answer that grants what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    pub status: StatusCode,
    pub body: Bytes,
}

impl Reply {
    pub(super) fn ok(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            body: body.into(),
        }
    }

    pub fn created(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::CREATED,
            body: body.into(),
        }
    }

    pub(super) fn json(out: Json) -> Self {
        Self::ok(out.bytes)
    }

    pub fn value(value: &Value) -> Self {
        Self::ok(value.to_string())
    }

    pub fn empty() -> Self {
        Self {
            status: StatusCode::NO_CONTENT,
            body: Bytes::new(),
        }
    }
}

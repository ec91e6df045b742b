//! Reading a draft: what a request asks to set, already checked and converted by the attribute
//! table.

use std::str::FromStr;

use intent::Meta;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Refusal;

pub use intent::attrs::Draft;

/// A draft's values as the types that they are. The table has checked each of them, so a value
/// that does not fit counts as not given, but for [`Reading::typed`], which says so.
pub(crate) trait Reading {
    fn given(&self, name: &str) -> bool;
    fn value(&self, name: &str) -> Option<&Value>;

    /// Given, and null.
    fn is_null(&self, name: &str) -> bool {
        self.value(name).is_some_and(Value::is_null)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_str()
    }

    fn owned(&self, name: &str) -> Option<String> {
        self.text(name).map(str::to_owned)
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.value(name)?.as_bool()
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.value(name)?.as_i64()
    }

    /// A text that reads as a `T`: an id, an address, a MAC.
    fn parsed<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.parse().ok()
    }

    /// A structured value; null counts as not given.
    fn typed<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(value) = self.value(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        serde_json::from_value(value.clone())
            .map(Some)
            .map_err(|error| Refusal::invalid_input(format_args!("'{name}': {error}")))
    }

    /// Changes a field when the draft says so.
    fn set_text(&self, name: &str, field: &mut String) {
        if let Some(text) = self.owned(name) {
            *field = text;
        }
    }

    fn set_flag(&self, name: &str, field: &mut bool) {
        if let Some(flag) = self.flag(name) {
            *field = flag;
        }
    }

    fn set_description(&self, meta: &mut Meta) {
        if self.given("description") {
            meta.description = self.owned("description");
        }
    }

    /// Texts of a list; anything else is an empty list.
    fn texts(&self, name: &str) -> Vec<String> {
        let list = self.value(name).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }
}

impl Reading for Draft {
    fn given(&self, name: &str) -> bool {
        self.contains_key(name)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

/// The inner body of an action, or an object within a draft.
impl Reading for serde_json::Map<String, Value> {
    fn given(&self, name: &str) -> bool {
        self.contains_key(name)
    }

    fn value(&self, name: &str) -> Option<&Value> {
        self.get(name)
    }
}

//! The API's resources as tables: one declaration each, one row an attribute, a file a resource.
//!
//! Everything that the API says of an attribute is said in its row, in Neutron's own terms, and
//! all else reads the rows: what a request may set ([`Table::read_create`], [`Table::read_update`]),
//! by what a list may be filtered and sorted, what an answer shows ([`Shown`]), which policies are
//! asked, the extension list and the documentation. A later resource is one more file in [`TABLES`].

mod check;
mod convert;
mod draft;
mod extension;
mod json;
mod python;
mod resources;
mod show;

pub use check::Is;
pub use convert::To;
pub use draft::{BadInput, Draft, bad_request};
pub use extension::{EXTENSIONS, Extension};
pub use json::{Json, Scalars};
pub use python::{repr, str};
pub use resources::*;
pub use show::{Common, Cx, Shown, Soft, Verb, show_attr, show_value};

use crate::Kind;

/// A value that a table may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Null,
    Bool(bool),
    Int(i64),
    Text(&'static str),
    EmptyList,
}

impl Word {
    pub fn value(self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(it) => it.into(),
            Self::Int(it) => it.into(),
            Self::Text(it) => it.into(),
            Self::EmptyList => serde_json::Value::Array(Vec::new()),
        }
    }
}

/// What an attribute is when a creation does not give it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Default {
    /// It must be given.
    Required,
    /// It stays "not given", which is not null: the draft has no such key.
    Unset,
    Given(Word),
}

/// One attribute of a resource; the names of the flags are Neutron's.
#[derive(Debug, Clone, Copy)]
pub struct Attr {
    pub name: &'static str,
    pub allow_post: bool,
    pub allow_put: bool,
    pub default: Default,
    pub convert: Option<To>,
    pub validate: Option<Is>,
    pub is_filter: bool,
    pub is_sort_key: bool,
    pub is_visible: bool,
    pub required_by_policy: bool,
    pub enforce_policy: bool,
    pub primary_key: bool,
    /// A filter's value is `key=value`, into the dictionaries of a list.
    pub filter_pairs: bool,
}

impl Attr {
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            allow_post: false,
            allow_put: false,
            default: Default::Required,
            convert: None,
            validate: None,
            is_filter: false,
            is_sort_key: false,
            is_visible: false,
            required_by_policy: false,
            enforce_policy: false,
            primary_key: false,
            filter_pairs: false,
        }
    }

    /// May be given at creation.
    pub const fn post(mut self) -> Self {
        self.allow_post = true;
        self
    }

    /// May be changed later.
    pub const fn put(mut self) -> Self {
        self.allow_put = true;
        self
    }

    pub const fn or(mut self, word: Word) -> Self {
        self.default = Default::Given(word);
        self
    }

    pub const fn unset(mut self) -> Self {
        self.default = Default::Unset;
        self
    }

    pub const fn to(mut self, to: To) -> Self {
        self.convert = Some(to);
        self
    }

    pub const fn is(mut self, is: Is) -> Self {
        self.validate = Some(is);
        self
    }

    pub const fn filter(mut self) -> Self {
        self.is_filter = true;
        self
    }

    pub const fn sort(mut self) -> Self {
        self.is_sort_key = true;
        self
    }

    pub const fn shown(mut self) -> Self {
        self.is_visible = true;
        self
    }

    pub const fn policy(mut self) -> Self {
        self.enforce_policy = true;
        self
    }

    pub const fn for_policy(mut self) -> Self {
        self.required_by_policy = true;
        self
    }

    pub const fn key(mut self) -> Self {
        self.primary_key = true;
        self
    }

    pub const fn pairs(mut self) -> Self {
        self.filter_pairs = true;
        self
    }
}

/// A named action on one member of a collection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    pub name: &'static str,
    pub method: &'static str,
}

const fn put(name: &'static str) -> Action {
    Action {
        name,
        method: "PUT",
    }
}

/// One resource of the API.
#[derive(Debug, Clone, Copy)]
pub struct Table {
    /// The kind that the state keeps; `None` for what is computed from other resources.
    pub kind: Option<Kind>,
    /// As in a body of one (`{"port": …}`) and in policies (`create_port`).
    pub name: &'static str,
    /// As in a body of many.
    pub plural: &'static str,
    /// The collection's path below `/v2.0/`.
    pub path: &'static str,
    /// The resource that members live under (`ports/ID/bindings`), by its name.
    pub parent: Option<&'static str>,
    pub attrs: &'static [Attr],
    pub actions: &'static [Action],
    pub verbs: Verbs,
    /// The extension that brings it; empty for the core.
    pub extension: &'static str,
    pub tagged: bool,
    pub pagination: bool,
    /// What a member that is not there is called in errors: Neutron's error type and sentence, `{}`
    /// for the id.
    pub missing: (&'static str, &'static str),
}

/// What one may do with a collection's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbs {
    /// Create, read, change, delete.
    All,
    /// Read, change, delete: they come into being by themselves.
    NoCreate,
    ReadOnly,
}

impl Table {
    pub fn attr(&self, name: &str) -> Option<&'static Attr> {
        self.attrs.iter().find(|attr| attr.name == name)
    }

    /// The row of the owner, under either of its two names.
    pub fn owner(&self) -> Option<&'static Attr> {
        self.attrs
            .iter()
            .find(|attr| matches!(attr.name, "tenant_id" | "project_id"))
    }

    /// A row by the name that a request used: the owner answers to both of its names.
    pub fn find(&self, name: &str) -> Option<&'static Attr> {
        match name {
            "tenant_id" | "project_id" => self.owner(),
            _ => self.attr(name),
        }
    }

    pub fn primary_key(&self) -> &'static str {
        self.attrs
            .iter()
            .find(|attr| attr.primary_key)
            .map_or("id", |attr| attr.name)
    }

    pub fn is_sortable(&self, name: &str) -> bool {
        self.find(name).is_some_and(|attr| attr.is_sort_key)
    }

    pub fn missing(&self, id: &str) -> String {
        self.missing.1.replace("{}", id)
    }
}

pub fn table_of(kind: Kind) -> Option<&'static Table> {
    TABLES
        .iter()
        .copied()
        .find(|table| table.kind == Some(kind))
}

#[cfg(test)]
mod tests;

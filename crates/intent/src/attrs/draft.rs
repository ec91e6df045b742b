//! From a request's body to a [`Draft`]: every attribute known, allowed, converted and checked.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{Attr, Default, Table, To, python};

/// What a request asks to set, checked against the table: names from the rows, values in the form
/// that the rows' conversions give. The owner is under `project_id`, whichever name the request
/// used. An attribute that was not given and has no default is not there, which is not null.
pub type Draft = BTreeMap<&'static str, Value>;

/// A request that asks for something malformed. Neutron answers all of them with 400.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadInput {
    /// Neutron's name of the error.
    pub kind: &'static str,
    pub message: String,
}

impl BadInput {
    pub fn new(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
        }
    }

    /// The form in which conversions complain.
    pub fn operation(message: impl std::fmt::Display) -> Self {
        Self::new(
            "InvalidInput",
            format!("Invalid input for operation: {message}."),
        )
    }
}

pub fn bad_request(message: impl Into<String>) -> BadInput {
    BadInput::new("HTTPBadRequest", message)
}

/// The name under which the draft keeps a row's value.
fn draft_name(attr: &Attr) -> &'static str {
    match attr.name {
        "tenant_id" => "project_id",
        name => name,
    }
}

impl Table {
    /// Reads the body of a creation. `project` is the owner when the body names none.
    pub fn read_create(
        &self,
        mut body: Map<String, Value>,
        project: &str,
    ) -> Result<Draft, BadInput> {
        if self.owner().is_some_and(|attr| attr.allow_post) {
            let given = take_project(&mut body)?;
            let owner = given.unwrap_or_else(|| project.into());
            body.insert("project_id".to_owned(), owner);
        }
        self.refuse_unknown(&body)?;
        let mut draft = Draft::new();
        for attr in self.attrs {
            let given = body.remove(draft_name(attr));
            if let Some(value) = self.create_value(attr, given)? {
                draft.insert(draft_name(attr), value);
            }
        }
        self.convert(draft)
    }

    fn create_value(&self, attr: &Attr, given: Option<Value>) -> Result<Option<Value>, BadInput> {
        if !attr.allow_post {
            return match given {
                Some(_) => Err(bad_request(format!(
                    "Attribute '{}' not allowed in POST",
                    attr.name
                ))),
                None => Ok(None),
            };
        }
        match (given, attr.default) {
            (Some(value), _) => Ok(Some(value)),
            (None, Default::Given(word)) => Ok(Some(word.value())),
            (None, Default::Unset) => Ok(None),
            (None, Default::Required) => Err(bad_request(format!(
                "Failed to parse request. Required attribute '{}' not specified",
                attr.name
            ))),
        }
    }

    /// Reads the body of a change.
    pub fn read_update(&self, mut body: Map<String, Value>) -> Result<Draft, BadInput> {
        self.refuse_unknown(&body)?;
        let mut draft = Draft::new();
        for attr in self.attrs {
            for name in [attr.name, draft_name(attr)] {
                let Some(value) = body.remove(name) else {
                    continue;
                };
                if !attr.allow_put {
                    return Err(bad_request(format!(
                        "Cannot update read-only attribute {name}"
                    )));
                }
                draft.insert(draft_name(attr), value);
            }
        }
        self.convert(draft)
    }

    fn refuse_unknown(&self, body: &Map<String, Value>) -> Result<(), BadInput> {
        let unknown: Vec<&str> = body
            .keys()
            .map(String::as_str)
            .filter(|name| self.find(name).is_none())
            .collect();
        if unknown.is_empty() {
            return Ok(());
        }
        Err(bad_request(format!(
            "Unrecognized attribute(s) '{}'",
            unknown.join(", ")
        )))
    }

    fn convert(&self, mut draft: Draft) -> Result<Draft, BadInput> {
        for attr in self.attrs {
            let Some(value) = draft.remove(draft_name(attr)) else {
                continue;
            };
            draft.insert(draft_name(attr), attr.read(value)?);
        }
        Ok(draft)
    }
}

impl Attr {
    /// Converts and checks one value.
    pub fn read(&self, value: Value) -> Result<Value, BadInput> {
        let mut value = self.converted(value)?;
        let chosen_here = self.convert == Some(To::MacIfNone) && value.is_null();
        if let Some(is) = self.validate.filter(|_| !chosen_here) {
            is.check(&mut value)
                .map_err(|reason| reason.of_attribute(self.name))?;
        }
        Ok(value)
    }

    pub fn converted(&self, value: Value) -> Result<Value, BadInput> {
        match self.convert {
            Some(to) => to.apply(value),
            None => Ok(value),
        }
    }
}

fn take_project(body: &mut Map<String, Value>) -> Result<Option<Value>, BadInput> {
    let tenant = body.remove("tenant_id");
    let project = body.remove("project_id");
    match (tenant, project) {
        (Some(tenant), Some(project)) if tenant != project => {
            Err(bad_request("'project_id' and 'tenant_id' do not match"))
        }
        (tenant, project) => Ok(project.or(tenant)),
    }
}

/// `'x' is not …`, with the value as Python shows it.
pub(super) fn quoted(value: &Value, what: &str) -> String {
    format!("'{}' {what}", python::str(value))
}

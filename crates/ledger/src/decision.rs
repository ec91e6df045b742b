//! What `decide` hands back.

use intent::{Change, Object, State};
use serde_json::Value;

/// A command that is granted.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What the store keeps, in order, each resource at most once.
    pub changes: Vec<Change>,
    pub answer: Answer,
    /// The given state with the changes applied: the writer's next working state.
    pub state: State,
}

/// What the user hears, besides that it was done.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// Nothing (a deletion).
    Done,
    /// The resources that were made or changed, in the order asked for, as they are now;
    /// for a port's binding, the port.
    Objects(Vec<Object>),
    /// An action's answer that is no resource.
    Value(Value),
}

impl Answer {
    pub fn one(object: impl Into<Object>) -> Self {
        Self::Objects(vec![object.into()])
    }
}

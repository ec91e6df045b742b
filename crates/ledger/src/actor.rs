//! Who asks.

use std::collections::BTreeSet;

use intent::ProjectId;

/// The user behind a command. Whether the command is allowed at all was policy's question and has
/// been answered; here it matters whose things are made and found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    pub project: ProjectId,
    pub user: String,
    pub roles: BTreeSet<String>,
    pub is_admin: bool,
}

impl Actor {
    /// The server itself: schedulers, agents' reports.
    pub fn system() -> Self {
        Self {
            project: ProjectId::default(),
            user: String::new(),
            roles: BTreeSet::new(),
            is_admin: true,
        }
    }

    pub fn owns(&self, project: &ProjectId) -> bool {
        self.is_admin || self.project == *project
    }
}

//! What rules may know of a caller.

use std::collections::BTreeSet;

/// The caller as policy sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Credentials {
    pub user: String,
    pub project: String,
    pub domain: String,
    /// In lower case.
    pub roles: BTreeSet<String>,
    pub service_roles: BTreeSet<String>,
}

impl Credentials {
    pub fn has_role(&self, role: &str) -> bool {
        self.roles.contains(role)
    }

    /// Whether the caller's property is the wanted text. A property that callers have not is
    /// nobody's, whatever is wanted: users write much of what rules compare with.
    pub(super) fn says(&self, property: &str, wanted: &str) -> bool {
        match property {
            "project_id" | "tenant_id" | "project" | "tenant" => self.project == wanted,
            "user_id" | "user" => self.user == wanted,
            "domain_id" | "user_domain_id" | "project_domain_id" => self.domain == wanted,
            "roles" => self.roles.contains(&wanted.to_lowercase()),
            "service_roles" => self.service_roles.contains(&wanted.to_lowercase()),
            "is_admin" => self
                .has_role("admin")
                .to_string()
                .eq_ignore_ascii_case(wanted),
            _ => false,
        }
    }
}

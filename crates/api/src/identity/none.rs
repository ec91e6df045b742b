//! Identity `none`: a request's headers are believed, and one that says nothing is an
//! administrator's. For tests, and behind something else that checks.

use std::collections::BTreeSet;

use http::HeaderMap;

use crate::policy::Credentials;

const EVERYTHING: [&str; 3] = ["admin", "member", "reader"];

pub(super) fn credentials(headers: &HeaderMap) -> Credentials {
    let header = |names: &[&str]| {
        let found = names.iter().find_map(|name| headers.get(*name));
        found
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    let roles = |text: String| -> BTreeSet<String> {
        text.split(',')
            .map(|role| role.trim().to_lowercase())
            .filter(|role| !role.is_empty())
            .collect()
    };
    let named = header(&["x-roles"]).map(roles);
    Credentials {
        user: header(&["x-user-id", "x-user"]).unwrap_or_default(),
        project: header(&["x-project-id", "x-tenant-id"]).unwrap_or_default(),
        domain: String::new(),
        roles: named.unwrap_or_else(|| EVERYTHING.map(str::to_owned).into()),
        service_roles: header(&["x-service-roles"]).map(roles).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_say_who_calls_and_none_mean_an_administrator() {
        let mut headers = HeaderMap::new();
        assert!(credentials(&headers).has_role("admin"));
        headers.insert("X-Project-Id", "p".parse().expect("a value"));
        headers.insert("X-Roles", "Member, reader".parse().expect("a value"));
        let caller = credentials(&headers);
        assert_eq!(caller.project, "p");
        assert!(caller.has_role("member") && !caller.has_role("admin"));
    }
}

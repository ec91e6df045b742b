//! From a path to what it names. The routes come out of the resource tables.

use intent::attrs::{TABLES, Table};

use crate::fault::Fault;

/// What a path below `/v2.0/` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Root,
    Extensions,
    Extension(String),
    Collection(Ref),
    Member(Ref, String),
    Action(Ref, String, String),
    Tags(Ref, String),
    Tag(Ref, String, String),
    Bindings(String),
    Binding(String, String),
    ActivateBinding(String, String),
    Quotas,
    Quota(String),
    QuotaDefault(String),
    QuotaDetails(String),
    /// What an agent serves: `agents/ID/l3-routers`.
    Hosted(String, Served),
    HostedOne(String, Served, String),
    /// Who serves it: `routers/ID/l3-agents`.
    Hosting(Served, String),
}

/// A table, equal to itself.
#[derive(Clone, Copy)]
pub(super) struct Ref(pub &'static Table);

impl PartialEq for Ref {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name
    }
}
impl Eq for Ref {}
impl std::fmt::Debug for Ref {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.name)
    }
}

/// What agents are scheduled to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Served {
    Router,
    Network,
}

impl Served {
    fn collection(word: &str) -> Option<Self> {
        match word {
            "l3-routers" => Some(Self::Router),
            "dhcp-networks" => Some(Self::Network),
            _ => None,
        }
    }
}

fn table(path: &str) -> Option<Ref> {
    TABLES
        .iter()
        .find(|table| table.parent.is_none() && table.path == path)
        .map(|table| Ref(table))
}

/// The route of the path behind `/v2.0`.
pub(super) fn route(path: &str) -> Result<Route, Fault> {
    if path.is_empty() {
        return Err(Fault::not_found());
    }
    let mut parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if let Some(last) = parts.last_mut() {
        *last = last.strip_suffix(".json").unwrap_or(last);
        if last.ends_with(".xml") {
            return Err(Fault::not_found());
        }
    }
    find(&parts).ok_or_else(Fault::not_found)
}

fn find(parts: &[&str]) -> Option<Route> {
    let own = |text: &str| text.to_owned();
    Some(match *parts {
        [] => Route::Root,
        ["extensions"] => Route::Extensions,
        ["extensions", alias] => Route::Extension(own(alias)),
        ["quotas", ref rest @ ..] => quotas(rest)?,
        ["agents", agent, what] => Route::Hosted(own(agent), Served::collection(what)?),
        ["agents", agent, what, id] => {
            Route::HostedOne(own(agent), Served::collection(what)?, own(id))
        }
        ["networks", id, "dhcp-agents"] => Route::Hosting(Served::Network, own(id)),
        ["routers", id, "l3-agents"] => Route::Hosting(Served::Router, own(id)),
        ["ports", id, "bindings"] => Route::Bindings(own(id)),
        ["ports", id, "bindings", host] => Route::Binding(own(id), own(host)),
        ["ports", id, "bindings", host, "activate"] => Route::ActivateBinding(own(id), own(host)),
        [path] => Route::Collection(table(path)?),
        [path, id] => Route::Member(table(path)?, own(id)),
        [path, id, "tags"] => Route::Tags(tagged(path)?, own(id)),
        [path, id, "tags", tag] => Route::Tag(tagged(path)?, own(id), own(tag)),
        [path, id, action] => {
            let table = table(path)?;
            table.0.actions.iter().find(|known| known.name == action)?;
            Route::Action(table, own(id), own(action))
        }
        _ => return None,
    })
}

fn tagged(path: &str) -> Option<Ref> {
    table(path).filter(|table| table.0.tagged)
}

fn quotas(rest: &[&str]) -> Option<Route> {
    Some(match *rest {
        [] => Route::Quotas,
        [project] => Route::Quota(project.to_owned()),
        [project, "default"] => Route::QuotaDefault(project.to_owned()),
        [project, "details"] => Route::QuotaDetails(project.to_owned()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_what_the_tables_say() {
        let networks = table("networks").expect("a table");
        assert_eq!(route("/"), Ok(Route::Root));
        assert_eq!(route("/networks/"), Ok(Route::Collection(networks)));
        let member = Route::Member(networks, "x".into());
        assert_eq!(route("/networks/x.json"), Ok(member));
        let tag = Route::Tag(networks, "x".into(), "y".into());
        assert_eq!(route("/networks/x/tags/y"), Ok(tag));
        let details = Route::QuotaDetails("p".into());
        assert_eq!(route("/quotas/p/details.json"), Ok(details));
    }

    #[test]
    fn what_no_table_knows_is_not_found() {
        for path in [
            "",
            "/nothing",
            "/networks/x.xml",
            "/networks/x/nosuch",
            "/agents/x/tags",
            "/routers/x/frobnicate",
            "/networks/x/tags/a/b",
        ] {
            assert_eq!(route(path), Err(Fault::not_found()), "{path}");
        }
    }
}

//! What answering one request works with: the server, the caller, one version of the state.

use std::sync::Arc;

use intent::{
    State,
    attrs::{Attr, Cx, Draft, Json, Shown, Table, Verb, show_attr},
};
use ledger::{Answer as Outcome, Command};

use super::{
    asked::Asked,
    scope::Scoped,
    target::{Stored, Wanted},
};
use crate::{
    Api,
    fault::Fault,
    identity::Caller,
    policy::{Answer, Check, Target, action_rule, explicit_rule},
};

/// The server, the caller, and the state that the answer is read from.
pub(super) struct Scene<'a> {
    pub(super) api: &'a Api,
    pub(super) asked: &'a Asked,
    now: Arc<State>,
}

/// Which attributes an answer shows, settled for as many resources as possible at once.
pub(super) struct Columns<'a> {
    attrs: Vec<(&'static Attr, Option<&'a str>)>,
    only: Option<Vec<String>>,
}

impl<'a> Scene<'a> {
    pub(super) fn new(api: &'a Api, asked: &'a Asked) -> Self {
        Self {
            api,
            asked,
            now: api.hub.state(),
        }
    }

    pub(super) fn state(&self) -> &State {
        &self.now
    }

    pub(super) fn caller(&self) -> &'a Caller {
        &self.asked.caller
    }

    pub(super) fn cx(&self, verb: Verb) -> Cx<'_> {
        Cx {
            state: self.state(),
            project: self.asked.caller.project(),
            verb,
            filtering: false,
            dns_domain: &self.api.hub.config().dns_domain,
            soft: &self.api.hub,
        }
    }

    /// Hands a command to the writer; the scene goes on in the state where it is done.
    pub(super) async fn submit(&mut self, command: Command) -> Result<Outcome, Fault> {
        let done = self.api.hub.submit(self.caller().actor(), command).await?;
        self.now = done.state;
        Ok(done.answer)
    }

    /// Which attributes of a resource the caller may see, and asked for.
    pub(super) fn columns(&self, table: &'static Table, verb: Verb) -> Columns<'a> {
        let policy = &self.api.policy;
        // The answers to an address group's actions show what no other answer shows of it.
        let also = |attr: &Attr| {
            verb == Verb::Update && table.name == "address_group" && attr.name == "shared"
        };
        let reading = policy.reading(table).iter();
        let shown = reading.filter(|(attr, _)| attr.is_visible || also(attr));
        let settled = shown.filter_map(|(attr, rule)| {
            let Some(rule) = rule.as_deref() else {
                return Some((*attr, None));
            };
            match policy.ask(rule, &self.caller().credentials) {
                Answer::Yes => Some((*attr, None)),
                Answer::No => None,
                Answer::Depends => Some((*attr, Some(rule))),
            }
        });
        let only: Vec<String> = self.asked.query.all("fields").map(str::to_owned).collect();
        Columns {
            attrs: settled.collect(),
            only: (matches!(verb, Verb::Read | Verb::List) && !only.is_empty()).then_some(only),
        }
    }

    pub(super) fn write<R: Shown>(
        &self,
        object: &R,
        cx: &Cx<'_>,
        columns: &Columns<'_>,
        out: &mut Json,
    ) {
        self.write_with(object, cx, columns, out, |_| ());
    }

    /// The same, and what only this answer says of it.
    pub(super) fn write_with<R: Shown>(
        &self,
        object: &R,
        cx: &Cx<'_>,
        columns: &Columns,
        out: &mut Json,
        also: impl Fn(&mut Json),
    ) {
        let target = Stored { object, cx };
        out.open(b'{');
        for (attr, rule) in &columns.attrs {
            let owner = matches!(attr.name, "tenant_id" | "project_id");
            if !columns.wants(attr.name, owner) {
                continue;
            }
            let hidden = rule.is_some_and(|rule| {
                !self
                    .api
                    .policy
                    .allows(rule, &self.caller().credentials, &target)
            });
            if hidden {
                continue;
            }
            match &columns.only {
                Some(only) if owner => owner_fields(object, only, out),
                _ => show_attr(object, cx, attr.name, out),
            }
        }
        also(out);
        out.close(b'}');
    }

    /// One resource under its name.
    pub(super) fn one<R: Shown>(&self, object: &R, verb: Verb) -> Json {
        let columns = self.columns(R::TABLE, verb);
        let mut out = Json::with_room();
        out.open(b'{');
        out.key(R::TABLE.name);
        self.write(object, &self.cx(verb), &columns, &mut out);
        out.close(b'}');
        out
    }

    pub(super) fn allows(&self, rule: &str, target: &dyn Target) -> bool {
        self.api
            .policy
            .allows(rule, &self.caller().credentials, target)
    }

    /// Refuses with the rule that is not met.
    pub(super) fn require(&self, rule: &Check, target: &dyn Target) -> Result<(), Fault> {
        if self
            .api
            .policy
            .meets(rule, &self.caller().credentials, target)
        {
            return Ok(());
        }
        Err(Fault::neutron(
            http::StatusCode::FORBIDDEN,
            "PolicyNotAuthorized",
            format!("{rule} is disallowed by policy"),
        ))
    }

    /// The resource, if it exists for the caller.
    pub(super) fn find<R: Scoped>(&self, id: &str) -> Result<Arc<R>, Fault> {
        let found = id.parse().ok().and_then(|key| self.state().get::<R>(&key));
        let cx = self.cx(Verb::Read);
        found
            .filter(|object| self.caller().sees_all || object.is_visible(&cx))
            .cloned()
            .ok_or_else(|| missing(R::TABLE, id))
    }

    /// The rule of an action on a resource that exists. A caller who may not even read it learns
    /// that there is no such thing.
    pub(super) fn require_of<R: Scoped>(
        &self,
        action: &str,
        object: &R,
        draft: Option<&Draft>,
    ) -> Result<(), Fault> {
        let cx = self.cx(Verb::Read);
        let stored = Stored { object, cx: &cx };
        let result = match draft {
            None => self.require(&Check::Rule(action.to_owned()), &stored),
            Some(draft) => {
                let wanted = Wanted {
                    draft,
                    was: Some(&stored),
                    cx: &cx,
                };
                let rule = explicit_rule(action, R::TABLE, draft, false);
                self.require(&rule, &wanted)
            }
        };
        result.map_err(|refused| {
            if self.allows(&action_rule("get", R::TABLE), &stored) {
                refused
            } else {
                Fault::not_found()
            }
        })
    }
}

impl Columns<'_> {
    fn wants(&self, name: &str, owner: bool) -> bool {
        self.only.as_ref().is_none_or(|only| {
            only.iter()
                .any(|field| field == name || (owner && is_owner(field)))
        })
    }
}

fn is_owner(field: &str) -> bool {
    matches!(field, "tenant_id" | "project_id")
}

/// Only those of the owner's two names that were asked for.
fn owner_fields<R: Shown>(object: &R, only: &[String], out: &mut Json) {
    for name in ["tenant_id", "project_id"] {
        if only.iter().any(|field| field == name) {
            out.key(name);
            out.text(object.owner().unwrap_or_default());
        }
    }
}

pub(super) fn missing(table: &Table, id: &str) -> Fault {
    Fault::neutron(
        http::StatusCode::NOT_FOUND,
        table.missing.0,
        table.missing(id),
    )
}

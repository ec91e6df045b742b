//! What policy is asked about: a resource as it is, or as a request would make it.

use intent::{
    NetworkId, SecurityGroupId,
    attrs::{Cx, Draft, Json, Shown, show_value, str},
};
use serde_json::Value;

use crate::policy::Target;

/// A resource that exists.
pub(super) struct Stored<'a, R> {
    pub(super) object: &'a R,
    pub(super) cx: &'a Cx<'a>,
}

impl<R: Shown> Stored<'_, R> {
    fn own(&self, attr: &str) -> Option<String> {
        let mut out = Json::new();
        if !show_value(self.object, self.cx, attr, &mut out) {
            return None;
        }
        let value: Value = serde_json::from_slice(&out.bytes).ok()?;
        Some(str(&value)).filter(|_| !value.is_null())
    }
}

impl<R: Shown> Target for Stored<'_, R> {
    fn text(&self, attr: &str) -> Option<String> {
        match attr {
            "project_id" | "tenant_id" => self.object.owner().map(str::to_owned),
            _ => self
                .own(attr)
                .or_else(|| related(self.cx, attr, &|attr| self.own(attr))),
        }
    }
}

/// A resource as the request would make it: the draft, over what it was.
pub(super) struct Wanted<'a> {
    pub(super) draft: &'a Draft,
    pub(super) was: Option<&'a dyn Target>,
    pub(super) cx: &'a Cx<'a>,
}

impl Wanted<'_> {
    fn own(&self, attr: &str) -> Option<String> {
        let attr = if attr == "tenant_id" {
            "project_id"
        } else {
            attr
        };
        match self.draft.get(attr) {
            Some(value) => Some(str(value)).filter(|_| !value.is_null()),
            None => self.was.and_then(|was| was.text(attr)),
        }
    }
}

impl Target for Wanted<'_> {
    fn text(&self, attr: &str) -> Option<String> {
        self.own(attr)
            .or_else(|| related(self.cx, attr, &|attr| self.own(attr)))
    }
}

/// What a resource belongs to says the rest: its network's owner and whether that is shared, its
/// group's owner.
fn related(cx: &Cx<'_>, attr: &str, own: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let network = || own("network_id")?.parse::<NetworkId>().ok();
    match attr {
        "network:project_id" | "network:tenant_id" => {
            let network = cx.state.networks.get(&network()?)?;
            Some(network.project_id.to_string())
        }
        "shared" => Some(cx.is_shared(network()?.uuid()).to_string()),
        "security_group:project_id" | "security_group:tenant_id" => {
            let group: SecurityGroupId = own("security_group_id")?.parse().ok()?;
            let group = cx.state.security_groups.get(&group)?;
            Some(group.project_id.to_string())
        }
        _ => None,
    }
}

/// A part of something: `ext_parent:…` is the whole's.
pub(super) struct Part<'a> {
    pub(super) parent: &'a dyn Target,
}

impl Target for Part<'_> {
    fn text(&self, attr: &str) -> Option<String> {
        self.parent
            .text(attr.strip_prefix("ext_parent:").unwrap_or(attr))
    }
}

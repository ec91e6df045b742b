//! From a resource to what an answer shows of it, attribute by attribute.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::{Json, Table};
use crate::{id::*, noun::*, state::*};

/// Which kind of request is answered: a few attributes differ with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// One resource.
    Read,
    List,
    Create,
    Update,
}

/// What agents' heartbeats say, which no state holds.
pub trait Soft: Sync {
    fn heartbeat(&self, agent: &Agent) -> Timestamp;
    fn is_alive(&self, agent: &Agent) -> bool;
}

/// For whom and out of what an answer is made.
#[derive(Clone, Copy)]
pub struct Cx<'a> {
    pub state: &'a State,
    /// The project that asks; `shared` means shared with it.
    pub project: &'a str,
    pub verb: Verb,
    /// Values are wanted to compare, not to show.
    pub filtering: bool,
    pub dns_domain: &'a str,
    pub soft: &'a dyn Soft,
}

impl std::fmt::Debug for Cx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cx")
            .field("project", &self.project)
            .field("verb", &self.verb)
            .finish_non_exhaustive()
    }
}

impl<'a> Cx<'a> {
    /// RBAC policies of this action that reach the asking project.
    pub fn has_rbac(&self, object: Uuid, action: RbacAction) -> bool {
        let policies = self.state.index.rbac_of_object.of(&object);
        policies
            .filter_map(|id| self.state.rbac_policies.get(id))
            .any(|policy| {
                policy.action == action
                    && (policy.target_project == "*" || policy.target_project == *self.project)
            })
    }

    pub fn is_shared(&self, object: Uuid) -> bool {
        self.has_rbac(object, RbacAction::Shared)
    }

    pub fn is_external(&self, network: &Network) -> bool {
        network.external
    }

    pub fn network_is_external(&self, network: NetworkId) -> bool {
        let network = self.state.networks.get(&network);
        network.is_some_and(|network| network.external)
    }

    pub fn subnets(&self, network: NetworkId) -> impl Iterator<Item = &'a Subnet> {
        let state = self.state;
        let ids: Vec<SubnetId> = state
            .index
            .subnets_of_network
            .of(&network)
            .copied()
            .collect();
        ids.into_iter()
            .filter_map(|id| state.subnets.get(&id))
            .map(|subnet| &**subnet)
    }

    /// The availability zones of these agents.
    pub fn zones<'b>(&self, agents: impl Iterator<Item = &'b AgentId>) -> BTreeSet<&'a str> {
        agents
            .filter_map(|id| self.state.agents.get(id))
            .filter_map(|agent| agent.availability_zone.as_deref())
            .collect()
    }
}

/// What a resource has besides the attributes that are its own.
pub trait Common {
    fn meta(&self) -> Option<&Meta>;
    fn owner(&self) -> Option<&str>;
}

impl<R: Resource> Common for R {
    fn meta(&self) -> Option<&Meta> {
        Resource::meta(self)
    }

    fn owner(&self) -> Option<&str> {
        self.project().map(ProjectId::as_str)
    }
}

/// A resource that the API shows.
pub trait Shown: Common {
    const TABLE: &'static Table;

    /// Writes the value of one of its own attributes; `false`, and nothing written, when this
    /// resource has no such attribute.
    fn show(&self, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool;
}

/// Writes an attribute's name and value; nothing when the resource does not have it.
pub fn show_attr<R: Shown>(resource: &R, cx: &Cx<'_>, attr: &str, out: &mut Json) {
    if matches!(attr, "tenant_id" | "project_id") {
        for name in ["tenant_id", "project_id"] {
            out.key(name);
            out.text(resource.owner().unwrap_or_default());
        }
        return;
    }
    let start = out.bytes.len();
    out.key(attr);
    if !show_value(resource, cx, attr, out) {
        out.bytes.truncate(start);
    }
}

/// Writes an attribute's value alone.
pub fn show_value<R: Shown>(resource: &R, cx: &Cx<'_>, attr: &str, out: &mut Json) -> bool {
    if matches!(attr, "tenant_id" | "project_id") {
        out.text(resource.owner().unwrap_or_default());
        return true;
    }
    if resource.show(cx, attr, out) {
        return true;
    }
    resource
        .meta()
        .is_some_and(|meta| show_meta(meta, attr, out))
}

fn show_meta(meta: &Meta, attr: &str, out: &mut Json) -> bool {
    match attr {
        "description" => out.text_or_null(meta.description.as_deref()),
        "tags" => out.texts(meta.tags.iter().map(String::as_str)),
        "revision_number" => out.number(meta.revision_number),
        "created_at" => out.show(meta.created_at),
        "updated_at" => out.show(meta.updated_at),
        _ => return false,
    }
    true
}

pub(super) fn fixed_ip(out: &mut Json, fixed: &FixedIp) {
    out.open(b'{');
    out.key("subnet_id");
    out.show(fixed.subnet_id);
    out.key("ip_address");
    out.address(fixed.ip_address);
    out.close(b'}');
}

pub(super) fn route(out: &mut Json, route: &Route) {
    out.open(b'{');
    out.key("destination");
    out.show(route.destination);
    out.key("nexthop");
    out.show(route.nexthop);
    out.close(b'}');
}

//! What a project can see at all, before policy is asked: Neutron's scoping of its tables.
//!
//! What a caller can't see does not exist for it: 404, whichever the verb.

use intent::{
    AddressGroup, AddressScope, Agent, DefaultRule, FloatingIp, Network, Port, RbacAction,
    RbacPolicy, Resource, Router, SecurityGroup, SecurityGroupRule, Segment, Subnet, SubnetPool,
    attrs::{Cx, Shown},
};

/// A kind of resource that lists and members show.
pub(super) trait Scoped: Resource + Shown + Send + Sync + 'static {
    /// Whether only owners see it, so that a project's own are all that need a look.
    const PRIVATE: bool = false;

    /// Whether the project of the context may see it; administrators are not asked.
    fn is_visible(&self, cx: &Cx<'_>) -> bool {
        self.is_owned(cx)
    }

    fn is_owned(&self, cx: &Cx<'_>) -> bool {
        self.project().is_none_or(|project| *project == *cx.project)
    }
}

fn network_is_visible(cx: &Cx<'_>, network: &Network) -> bool {
    network.external
        || cx.is_shared(network.id.uuid())
        || cx.has_rbac(network.id.uuid(), RbacAction::External)
}

impl Scoped for Network {
    fn is_visible(&self, cx: &Cx<'_>) -> bool {
        self.is_owned(cx) || network_is_visible(cx, self)
    }
}

impl Scoped for Subnet {
    fn is_visible(&self, cx: &Cx<'_>) -> bool {
        let network = cx.state.networks.get(&self.network_id);
        self.is_owned(cx) || network.is_some_and(|it| it.is_owned(cx) || network_is_visible(cx, it))
    }
}

impl Scoped for Port {
    fn is_visible(&self, cx: &Cx<'_>) -> bool {
        let network = cx.state.networks.get(&self.network_id);
        self.is_owned(cx) || network.is_some_and(|network| network.is_owned(cx))
    }
}

impl Scoped for SubnetPool {
    fn is_visible(&self, cx: &Cx<'_>) -> bool {
        self.is_owned(cx) || self.shared || cx.is_shared(self.id.uuid())
    }
}

impl Scoped for SecurityGroupRule {
    fn is_visible(&self, cx: &Cx<'_>) -> bool {
        let group = cx.state.security_groups.get(&self.security_group_id);
        self.is_owned(cx) || group.is_some_and(|group| group.is_owned(cx))
    }
}

macro_rules! shareable {
    ($($type:ident),*) => {$(
        impl Scoped for $type {
            fn is_visible(&self, cx: &Cx<'_>) -> bool {
                self.is_owned(cx) || cx.is_shared(self.id.uuid())
            }
        }
    )*};
}

shareable!(AddressScope, AddressGroup, SecurityGroup);

macro_rules! private {
    ($($type:ident),*) => {$(
        impl Scoped for $type {
            const PRIVATE: bool = true;
        }
    )*};
}

private!(Router, FloatingIp, RbacPolicy);

impl Scoped for Agent {}
impl Scoped for Segment {}
impl Scoped for DefaultRule {}

/// Runs the same words for whichever type a kind is.
macro_rules! on_kind {
    ($kind:expr, $r:ident => $body:expr, else $other:expr) => {
        on_kind!(@ $kind, $r, $body, $other,
            Network Subnet SubnetPool Port Router FloatingIp SecurityGroup SecurityGroupRule
            DefaultRule AddressGroup AddressScope RbacPolicy Agent Segment)
    };
    (@ $kind:expr, $r:ident, $body:expr, $other:expr, $($type:ident)*) => {
        match $kind {
            $(Some(intent::Kind::$type) => {
                type $r = intent::$type;
                $body
            })*
            _ => $other,
        }
    };
}
pub(super) use on_kind;

//! What an actor can see: what it owns, what is shared with it, and, of networks, what is external.
//! The rest is answered as if it did not exist.

use std::sync::Arc;

use intent::{Network, ProjectId, RbacAction, SecurityGroup, SubnetPool};
use uuid::Uuid;

use crate::{Refusal, txn::Txn};

impl Txn<'_> {
    /// Owned by the actor, or shared with it by an RBAC policy of this action.
    pub(crate) fn reaches(&self, owner: &ProjectId, object: Uuid, action: RbacAction) -> bool {
        self.actor.owns(owner) || self.is_shared_with(&self.actor.project, object, action)
    }

    pub(crate) fn is_shared_with(
        &self,
        project: &ProjectId,
        object: Uuid,
        action: RbacAction,
    ) -> bool {
        let state = self.state();
        let policies = state.index.rbac_of_object.of(&object);
        policies
            .filter_map(|id| state.rbac_policies.get(id))
            .any(|policy| {
                policy.action == action
                    && (policy.target_project == "*" || policy.target_project == *project)
            })
    }

    pub(crate) fn visible_network(&self, id: &str) -> Result<Arc<Network>, Refusal> {
        let network = self.find::<Network>(id);
        network
            .filter(|network| {
                let id = network.id.uuid();
                self.reaches(&network.project_id, id, RbacAction::Shared)
                    || self.is_shared_with(&self.actor.project, id, RbacAction::External)
            })
            .ok_or_else(|| Refusal::network_not_found(id))
    }

    pub(crate) fn visible_group(&self, id: &str) -> Result<Arc<SecurityGroup>, Refusal> {
        let group = self.find::<SecurityGroup>(id);
        group
            .filter(|group| self.reaches(&group.project_id, group.id.uuid(), RbacAction::Shared))
            .ok_or_else(|| Refusal::security_group_not_found(id))
    }

    pub(crate) fn visible_pool(&self, id: &str) -> Result<Arc<SubnetPool>, Refusal> {
        let pool = self.find::<SubnetPool>(id);
        pool.filter(|pool| {
            pool.shared || self.reaches(&pool.project_id, pool.id.uuid(), RbacAction::Shared)
        })
        .ok_or_else(|| Refusal::subnet_pool_not_found(id))
    }
}

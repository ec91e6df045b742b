//! Sharing with everybody: what `shared` and `router:external` say is an RBAC policy whose target
//! is `*`.

use intent::{ProjectId, RbacAction, RbacObject, RbacPolicy, RbacPolicyId};
use uuid::Uuid;

use crate::txn::Txn;

const ALL: &str = "*";

/// Lets every project use an object in this way; once is enough.
pub(crate) fn with_all(
    txn: &mut Txn<'_>,
    (object_type, object_id): (RbacObject, Uuid),
    action: RbacAction,
    owner: &ProjectId,
) {
    if txn.is_shared_with(&ProjectId::from(ALL), object_id, action) {
        return;
    }
    let policy = RbacPolicy {
        id: RbacPolicyId::new(txn.uuid()),
        project_id: owner.clone(),
        object_type,
        object_id,
        action,
        target_project: ALL.into(),
    };
    txn.create(policy);
}

pub(crate) fn no_longer_with_all(txn: &mut Txn<'_>, object: Uuid, action: RbacAction) {
    drop_where(txn, object, |policy| {
        policy.action == action && policy.target_project == ALL
    });
}

/// Drops every policy of an object that is going.
pub(crate) fn forget(txn: &mut Txn<'_>, object: Uuid) {
    drop_where(txn, object, |_| true);
}

fn drop_where(txn: &mut Txn<'_>, object: Uuid, which: impl Fn(&RbacPolicy) -> bool) {
    let state = txn.state();
    let ids = state.index.rbac_of_object.of(&object);
    let policies = ids.filter_map(|id| state.rbac_policies.get(id));
    let gone: Vec<RbacPolicyId> = policies
        .filter(|policy| which(policy))
        .map(|policy| policy.id)
        .collect();
    for id in gone {
        txn.delete::<RbacPolicy>(&id);
    }
}

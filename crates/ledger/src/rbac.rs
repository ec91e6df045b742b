//! RBAC policies: letting other projects see and use what is one's own. What others already use
//! by a policy keeps the policy from going.

use std::sync::Arc;

use intent::{
    AddressGroup, AddressScope, Kind, Network, NetworkId, Object, ProjectId, RbacAction,
    RbacObject, RbacPolicy, RbacPolicyId, SecurityGroup, SubnetPool,
};
use uuid::Uuid;

use crate::{Draft, Refusal, draft::Reading, network, rules::Rules, txn::Txn};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::RbacPolicy,
    missing: |id| Refusal::rbac_policy_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let given = draft.text("object_type").unwrap_or_default();
    let object_type: RbacObject = given.parse().map_err(|_| {
        Refusal::invalid_input(format_args!("'{given}' is not a valid RBAC object type"))
    })?;
    let policy = RbacPolicy {
        id: RbacPolicyId::new(txn.uuid()),
        project_id: txn.owner_of(draft),
        object_type,
        object_id: draft.parsed("object_id").unwrap_or_default(),
        action: action(object_type, draft.text("action").unwrap_or_default())?,
        target_project: draft.text("target_tenant").unwrap_or("*").into(),
    };
    owned(txn, &policy)?;
    not_twice(txn, &policy)?;
    let policy = txn.create(policy);
    count_network(txn, &policy);
    follow_external(txn, &policy);
    Ok(policy.into())
}

fn action(object_type: RbacObject, given: &str) -> Result<RbacAction, Refusal> {
    let (allowed, shown): (&[RbacAction], _) = match object_type {
        RbacObject::Network => (
            RbacAction::ALL,
            "('access_as_shared', 'access_as_external')",
        ),
        _ => (&[RbacAction::Shared], "('access_as_shared',)"),
    };
    let found = allowed.iter().find(|action| action.as_str() == given);
    found
        .copied()
        .ok_or_else(|| Refusal::invalid_rbac_action(given, object_type, shown))
}

/// The object is there, and the actor's to share.
fn owned(txn: &Txn<'_>, policy: &RbacPolicy) -> Result<(), Refusal> {
    match owner(txn, policy.object_type, policy.object_id) {
        None => Err(Refusal::invalid_input(format_args!(
            "{} {} could not be found",
            policy.object_type, policy.object_id
        ))),
        Some(owner) if !txn.actor.owns(&owner) => Err(Refusal::invalid_input(
            "Only admins can manipulate policies on objects they do not own",
        )),
        Some(_) => Ok(()),
    }
}

fn owner(txn: &Txn<'_>, object_type: RbacObject, id: Uuid) -> Option<ProjectId> {
    let kind = match object_type {
        RbacObject::Network => Kind::Network,
        RbacObject::SecurityGroup => Kind::SecurityGroup,
        RbacObject::AddressScope => Kind::AddressScope,
        RbacObject::AddressGroup => Kind::AddressGroup,
        RbacObject::SubnetPool => Kind::SubnetPool,
    };
    let object = txn.state().object(kind, &id.to_string())?;
    object.project().cloned()
}

fn not_twice(txn: &Txn<'_>, policy: &RbacPolicy) -> Result<(), Refusal> {
    let state = txn.state();
    let others = state.index.rbac_of_object.of(&policy.object_id);
    let mut others = others.filter_map(|id| state.rbac_policies.get(id));
    let twin = |other: &&Arc<RbacPolicy>| {
        other.id != policy.id
            && other.action == policy.action
            && other.target_project == policy.target_project
    };
    match others.any(|other| twin(&other)) {
        true => Err(Refusal::duplicate_rbac_policy()),
        false => Ok(()),
    }
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let mut policy = RbacPolicy::clone(&*find(txn, key)?);
    if let Some(target) = draft.text("target_tenant") {
        policy.target_project = target.into();
    }
    not_twice(txn, &policy)?;
    let policy = txn.save(policy);
    still_reached(txn, &policy)?;
    count_network(txn, &policy);
    Ok(policy.into())
}

fn find(txn: &Txn<'_>, key: &str) -> Result<Arc<RbacPolicy>, Refusal> {
    let found = txn.find::<RbacPolicy>(key);
    found.ok_or_else(|| Refusal::rbac_policy_not_found(key))
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let policy = find(txn, key)?;
    txn.delete::<RbacPolicy>(&policy.id);
    still_reached(txn, &policy)?;
    count_network(txn, &policy);
    follow_external(txn, &policy);
    Ok(())
}

/// Whom a network is shared with counts as a change of the network; of no other resource.
fn count_network(txn: &mut Txn<'_>, policy: &RbacPolicy) {
    if policy.object_type == RbacObject::Network {
        txn.touch::<Network>(&NetworkId::new(policy.object_id));
    }
}

/// A network is external while a policy says so to anybody.
fn follow_external(txn: &mut Txn<'_>, policy: &RbacPolicy) {
    if policy.action != RbacAction::External {
        return;
    }
    let external = is_external(txn, policy.object_id);
    let network = txn.get::<Network>(&NetworkId::new(policy.object_id));
    if let Some(network) = network {
        let mut network = Network::clone(&network);
        network.external = external;
        txn.save(network);
    }
}

fn is_external(txn: &Txn<'_>, network: Uuid) -> bool {
    let state = txn.state();
    let policies = state.index.rbac_of_object.of(&network);
    let mut policies = policies.filter_map(|id| state.rbac_policies.get(id));
    policies.any(|policy| policy.action == RbacAction::External)
}

/// After a policy changed or went: whoever uses the object still reaches it.
fn still_reached(txn: &Txn<'_>, policy: &RbacPolicy) -> Result<(), Refusal> {
    let id = policy.object_id;
    let lost = match (policy.object_type, policy.action) {
        (RbacObject::Network, RbacAction::Shared) => network_lost(txn, NetworkId::new(id)),
        (RbacObject::Network, RbacAction::External) => external_lost(txn, NetworkId::new(id)),
        (RbacObject::SecurityGroup, _) => group_lost(txn, id),
        (RbacObject::AddressScope, _) => scope_lost(txn, id),
        (RbacObject::AddressGroup, _) => address_group_lost(txn, id),
        (RbacObject::SubnetPool, _) => pool_lost(txn, id),
    };
    match lost {
        Some(details) => Err(Refusal::rbac_policy_in_use(id, details)),
        None => Ok(()),
    }
}

fn network_lost(txn: &Txn<'_>, id: NetworkId) -> Option<String> {
    let network = txn.get::<Network>(&id)?;
    network::has_strangers(txn, &network).then(|| {
        format!(
            "Unable to reconfigure sharing settings for network {id}. Multiple projects are using \
             it."
        )
    })
}

/// A router's gateway or a floating IP of a project that the network is no longer external to.
fn external_lost(txn: &Txn<'_>, id: NetworkId) -> Option<String> {
    let network = txn.get::<Network>(&id)?;
    let state = txn.state();
    let routers = state.index.routers_of_gateway_network.of(&id);
    let routers = routers.filter_map(|id| Some(&state.routers.get(id)?.project_id));
    let floating = state.index.floating_ips_of_network.of(&id);
    let floating = floating.filter_map(|id| Some(&state.floating_ips.get(id)?.project_id));
    let cut = |project: &&ProjectId| {
        **project != network.project_id
            && !txn.is_shared_with(project, id.uuid(), RbacAction::External)
    };
    routers.chain(floating).find(cut).map(|project| {
        format!("Network {id} is in use by a router or floating IP of project {project}.")
    })
}

/// The first project that uses the object and has lost it.
fn lost<'a>(
    txn: &Txn<'_>,
    owner: &ProjectId,
    object: Uuid,
    mut users: impl Iterator<Item = &'a ProjectId>,
) -> Option<String> {
    let cut = users
        .find(|user| *user != owner && !txn.is_shared_with(user, object, RbacAction::Shared))?;
    Some(format!("Project {cut} is using it."))
}

fn group_lost(txn: &Txn<'_>, id: Uuid) -> Option<String> {
    let group = txn.find::<SecurityGroup>(&id.to_string())?;
    let state = txn.state();
    let ports = state.index.ports_of_group.of(&group.id);
    let users = ports.filter_map(|id| Some(&state.ports.get(id)?.project_id));
    lost(txn, &group.project_id, id, users)
}

fn scope_lost(txn: &Txn<'_>, id: Uuid) -> Option<String> {
    let scope = txn.find::<AddressScope>(&id.to_string())?;
    let state = txn.state();
    let pools = state.index.pools_of_scope.of(&scope.id);
    let users = pools.filter_map(|id| Some(&state.subnet_pools.get(id)?.project_id));
    lost(txn, &scope.project_id, id, users)
}

fn address_group_lost(txn: &Txn<'_>, id: Uuid) -> Option<String> {
    let group = txn.find::<AddressGroup>(&id.to_string())?;
    let state = txn.state();
    let rules = state.index.rules_of_address_group.of(&group.id);
    let users = rules.filter_map(|id| Some(&state.security_group_rules.get(id)?.project_id));
    lost(txn, &group.project_id, id, users)
}

fn pool_lost(txn: &Txn<'_>, id: Uuid) -> Option<String> {
    let pool = txn.find::<SubnetPool>(&id.to_string())?;
    let state = txn.state();
    let subnets = state.index.subnets_of_pool.of(&pool.id);
    let users = subnets.filter_map(|id| Some(&state.subnets.get(id)?.project_id));
    lost(txn, &pool.project_id, id, users)
}

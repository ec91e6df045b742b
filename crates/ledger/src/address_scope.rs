//! Address scopes: within one, no two pools overlap.

use intent::{AddressScope, AddressScopeId, Kind, Object, RbacAction, RbacObject};

use crate::{Draft, Refusal, draft::Reading, rules::Rules, share, txn::Txn};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::AddressScope,
    missing: |id| Refusal::address_scope_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let scope = AddressScope {
        id: AddressScopeId::new(txn.uuid()),
        project_id: txn.owner_of(draft),
        name: draft.owned("name").unwrap_or_default(),
        ip_version: if draft.number("ip_version") == Some(6) {
            6
        } else {
            4
        },
    };
    let scope = txn.create(scope);
    if draft.flag("shared") == Some(true) {
        share_with_all(txn, &scope);
    }
    Ok(scope.into())
}

fn share_with_all(txn: &mut Txn<'_>, scope: &AddressScope) {
    let object = (RbacObject::AddressScope, scope.id.uuid());
    share::with_all(txn, object, RbacAction::Shared, &scope.project_id);
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let Some(current) = txn.find::<AddressScope>(key) else {
        return Err(Refusal::address_scope_not_found(key));
    };
    let mut scope = AddressScope::clone(&current);
    draft.set_text("name", &mut scope.name);
    let is_shared = txn.is_shared_with(&"*".into(), scope.id.uuid(), RbacAction::Shared);
    match draft.flag("shared") {
        Some(true) => share_with_all(txn, &scope),
        // What others build on stays shared: they could not see what holds them.
        Some(false) if is_shared => {
            return Err(Refusal::address_scope_update(scope.id));
        }
        _ => {}
    }
    Ok(txn.save(scope).into())
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let Some(scope) = txn.find::<AddressScope>(key) else {
        return Err(Refusal::address_scope_not_found(key));
    };
    if txn.state().index.pools_of_scope.any(&scope.id) {
        return Err(Refusal::address_scope_in_use(scope.id));
    }
    share::forget(txn, scope.id.uuid());
    txn.delete::<AddressScope>(&scope.id);
    Ok(())
}

//! Routers: what they are, and that nothing of theirs is in use when they go. Their interfaces,
//! gateway and extra routes are decided in the files of those names.

use std::sync::Arc;

use intent::{
    AgentType, FloatingIp, FloatingIpStatus, HostName, Kind, Object, Port, PortId, Router,
    RouterId, owner,
};

use crate::{
    Answer, Draft, Refusal, distributed, draft::Reading, floating_ip, gateway, routes,
    rules::Rules, schedule_router, txn::Txn, zone,
};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::Router,
    missing: |id| Refusal::router_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

pub(crate) fn find(txn: &Txn<'_>, key: &str) -> Result<Arc<Router>, Refusal> {
    let router = txn.find::<Router>(key);
    router.ok_or_else(|| Refusal::router_not_found(key))
}

/// The router as the command leaves it.
pub(crate) fn shown(txn: &Txn<'_>, id: RouterId) -> Result<Object, Refusal> {
    let router = txn.get::<Router>(&id);
    Ok(router.ok_or_else(|| Refusal::router_not_found(id))?.into())
}

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    refuse_unbuilt(draft)?;
    let hints = draft.texts("availability_zone_hints");
    zone::check(txn, AgentType::L3, &hints)?;
    let distributed = draft.flag("distributed");
    let router = Router {
        id: RouterId::new(txn.uuid()),
        project_id: txn.owner_of(draft),
        name: draft.owned("name").unwrap_or_default(),
        admin_state_up: draft.flag("admin_state_up").unwrap_or(true),
        distributed: distributed.unwrap_or(txn.config().router_distributed),
        gateway: None,
        routes: Vec::new(),
        availability_zone_hints: hints,
        enable_ndp_proxy: false,
        flavor_id: None,
        meta: txn.meta(draft.owned("description"), 1),
    };
    let id = txn.create(router).id;
    if let Some(info) = draft.value("external_gateway_info") {
        gateway::set(txn, id, info)?;
        if !info.is_null() {
            schedule_router::router(txn, id);
        }
    }
    shown(txn, id)
}

/// What only routers of kinds that are not built could be.
fn refuse_unbuilt(draft: &Draft) -> Result<(), Refusal> {
    if let Some(flavor) = draft.text("flavor_id") {
        return Err(Refusal::flavor_not_found(flavor));
    }
    match draft.flag("ha") {
        Some(true) => Err(Refusal::bad_request(
            "router",
            "Highly available routers are not supported",
        )),
        _ => Ok(()),
    }
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let current = find(txn, key)?;
    let id = current.id;
    check_kind(&current, draft)?;
    if draft.flag("enable_ndp_proxy") == Some(true) {
        return Err(Refusal::router_gateway_not_valid(id));
    }
    let mut router = Router::clone(&current);
    draft.set_text("name", &mut router.name);
    draft.set_flag("admin_state_up", &mut router.admin_state_up);
    draft.set_flag("distributed", &mut router.distributed);
    draft.set_description(&mut router.meta);
    txn.save(router);
    if let Some(info) = draft.value("external_gateway_info") {
        gateway::set(txn, id, info)?;
    }
    if let Some(given) = draft.value("routes") {
        routes::replace(txn, id, given)?;
    }
    if draft
        .flag("distributed")
        .is_some_and(|it| it != current.distributed)
    {
        distributed::convert(txn, id)?;
    }
    schedule_router::router(txn, id);
    shown(txn, id)
}

/// A router becomes another kind only while it is switched off.
fn check_kind(current: &Router, draft: &Draft) -> Result<(), Refusal> {
    let changes = draft
        .flag("distributed")
        .is_some_and(|it| it != current.distributed);
    if changes && current.admin_state_up {
        return Err(Refusal::bad_request(
            "router",
            "Cannot change the 'distributed' attribute of active routers. Please set router \
             admin_state_up to False prior to upgrade",
        ));
    }
    if draft.flag("ha") == Some(true) && current.admin_state_up {
        return Err(Refusal::bad_request(
            "router",
            "Cannot change HA attribute of active routers. Please set router admin_state_up to \
             False prior to upgrade",
        ));
    }
    refuse_unbuilt(draft)
}

/// The interfaces of a router towards its subnets.
pub(crate) fn interfaces(txn: &Txn<'_>, router: RouterId) -> Vec<Arc<Port>> {
    let ports = schedule_router::ports_of(txn, router).into_iter();
    ports.filter(|port| is_interface(port)).collect()
}

pub(crate) fn is_interface(port: &Port) -> bool {
    owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str())
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let router = find(txn, key)?;
    let interfaces: Vec<PortId> = interfaces(txn, router.id).iter().map(|it| it.id).collect();
    if !interfaces.is_empty() {
        let ids: Vec<String> = interfaces.iter().map(PortId::to_string).collect();
        return Err(Refusal::router_in_use(router.id, ids.join(", ")));
    }
    gateway::clear(txn, router.id)?;
    schedule_router::forget_router(txn, router.id);
    txn.delete::<Router>(&router.id);
    Ok(())
}

/// The floating IPs that go through a router.
pub(crate) fn floating_ips(txn: &Txn<'_>, router: RouterId) -> Vec<Arc<FloatingIp>> {
    let state = txn.state();
    let ids = state.index.floating_ips_of_router.of(&router);
    ids.filter_map(|id| state.floating_ips.get(id).cloned())
        .collect()
}

/// A host says which routers it serves now, which no longer, and which it fails to: floating IPs
/// are up, down or in error with them, and interfaces of distributed routers up.
pub(crate) fn report(
    txn: &mut Txn<'_>,
    host: &HostName,
    up: &[RouterId],
    down: &[RouterId],
    failed: &[RouterId],
) -> Answer {
    for router in up {
        distributed::stands(txn, *router);
        floating_ip::set_status(txn, host, *router, FloatingIpStatus::Active);
    }
    for router in down {
        floating_ip::set_status(txn, host, *router, FloatingIpStatus::Down);
    }
    for router in failed {
        floating_ip::set_status(txn, host, *router, FloatingIpStatus::Error);
    }
    Answer::Done
}

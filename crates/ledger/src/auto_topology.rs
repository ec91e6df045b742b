//! A project's own network behind a router, made when it asks for "a topology": what Nova asks for
//! when a user says only "give it a network".

use std::sync::Arc;

use intent::{
    AutoTopology, Kind, Network, NetworkId, Object, ProjectId, Router, RouterId, SubnetPool,
};
use serde_json::{Value, json};

use crate::{Answer, Draft, Refusal, interface, router, rules, txn::Txn};

/// What a topology is made of.
struct Ground {
    external: Arc<Network>,
    pools: Vec<Arc<SubnetPool>>,
}

fn ground(txn: &Txn<'_>) -> Result<Ground, Refusal> {
    let mut networks = txn.state().networks.values();
    let external = networks.find(|network| network.external && network.is_default);
    let external = external
        .cloned()
        .ok_or_else(|| Refusal::auto_allocation_failed("No default router:external network"))?;
    let pools = txn.state().subnet_pools.values();
    let pools: Vec<_> = pools.filter(|pool| pool.is_default).cloned().collect();
    match pools.is_empty() {
        true => Err(Refusal::auto_allocation_failed(
            "No default subnetpools defined",
        )),
        false => Ok(Ground { external, pools }),
    }
}

/// Whether a topology could be made.
pub(crate) fn check(txn: &Txn<'_>, project: &ProjectId) -> Result<Answer, Refusal> {
    ground(txn)?;
    Ok(Answer::Value(
        json!({"id": "dry-run=pass", "project_id": project}),
    ))
}

fn shown(topology: &AutoTopology) -> Answer {
    Answer::Value(json!({
        "id": topology.network_id,
        "project_id": topology.project_id,
        "tenant_id": topology.project_id,
    }))
}

/// The project's topology; made if there is none yet.
pub(crate) fn get(txn: &mut Txn<'_>, project: &ProjectId) -> Result<Answer, Refusal> {
    if let Some(topology) = txn.get::<AutoTopology>(project) {
        return Ok(shown(&topology));
    }
    let ground = ground(txn)?;
    let network_id = make_network(txn, project)?;
    let router_id = make_router(txn, project, &ground.external)?;
    for pool in &ground.pools {
        let subnet = make_subnet(txn, project, network_id, pool)?;
        let body = json!({"subnet_id": subnet});
        interface::add(txn, &router_id.to_string(), &body)?;
    }
    let topology = txn.create(AutoTopology {
        project_id: project.clone(),
        network_id,
        router_id,
    });
    Ok(shown(&topology))
}

/// What the server makes for itself is within no quota, as in Neutron.
fn make(
    txn: &mut Txn<'_>,
    kind: Kind,
    project: &ProjectId,
    draft: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<Object, Refusal> {
    let owner = ("project_id", json!(project));
    let draft: Draft = draft.into_iter().chain([owner]).collect();
    rules::make(txn, kind, &draft)
}

fn make_network(txn: &mut Txn<'_>, project: &ProjectId) -> Result<NetworkId, Refusal> {
    let draft = [("name", json!("auto_allocated_network"))];
    let made = make(txn, Kind::Network, project, draft)?;
    made.key().parse().map_err(|_| Refusal::nothing_here())
}

fn make_router(
    txn: &mut Txn<'_>,
    project: &ProjectId,
    external: &Network,
) -> Result<RouterId, Refusal> {
    let draft = [
        ("name", json!("auto_allocated_router")),
        ("external_gateway_info", json!({"network_id": external.id})),
    ];
    let made = make(txn, Kind::Router, project, draft)?;
    made.key().parse().map_err(|_| Refusal::nothing_here())
}

fn make_subnet(
    txn: &mut Txn<'_>,
    project: &ProjectId,
    network: NetworkId,
    pool: &SubnetPool,
) -> Result<String, Refusal> {
    let version = pool.ip_version;
    let draft = [
        ("name", json!(format!("auto_allocated_subnet_v{version}"))),
        ("network_id", json!(network)),
        ("ip_version", json!(version)),
        ("subnetpool_id", json!(pool.id)),
    ];
    Ok(make(txn, Kind::Subnet, project, draft)?.key())
}

/// Takes the topology away, if nothing of the project's is on it.
pub(crate) fn delete(txn: &mut Txn<'_>, project: &ProjectId) -> Result<Answer, Refusal> {
    let Some(topology) = txn.get::<AutoTopology>(project) else {
        return Ok(Answer::Done);
    };
    let id = topology.router_id.to_string();
    for port in router::interfaces(txn, topology.router_id) {
        interface::remove(txn, &id, &json!({"port_id": port.id}))?;
    }
    if txn.get::<Router>(&topology.router_id).is_some() {
        rules::delete(txn, Kind::Router, &id, None)?;
    }
    if txn.get::<Network>(&topology.network_id).is_some() {
        rules::delete(txn, Kind::Network, &topology.network_id.to_string(), None)?;
    }
    txn.delete::<AutoTopology>(project);
    Ok(Answer::Done)
}

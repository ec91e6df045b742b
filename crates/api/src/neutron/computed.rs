//! Resources that are computed when asked for: IP availability, zones, providers, pools of floating
//! IPs, the auto-allocated topology.

use intent::{
    Network, Subnet,
    attrs::{
        AUTO_TOPOLOGY, AVAILABILITY_ZONE, Availability, FLOATING_IP_POOL, Json,
        NETWORK_IP_AVAILABILITY, SERVICE_PROVIDER, Shown, Table, Verb, availability_zones,
        floating_ip_pools,
    },
};
use ledger::{Answer as Outcome, Command};
use serde_json::{Value, json};

use super::{asked::Reply, filter, scene::Scene, scope::Scoped};
use crate::{
    fault::Fault,
    policy::{Check, Nothing, Target, action_rule},
};

pub(super) fn list(scene: &Scene<'_>, table: &'static Table) -> Result<Reply, Fault> {
    let cx = scene.cx(Verb::Read);
    let readable = scene.allows(&action_rule("get", table), &Nothing);
    match table.name {
        name if name == NETWORK_IP_AVAILABILITY.name => list_availability(scene, readable),
        name if name == AVAILABILITY_ZONE.name && readable => {
            write_list(scene, &availability_zones(&cx))
        }
        name if name == FLOATING_IP_POOL.name => {
            let subnets = scene.state().subnets.values().map(|subnet| &**subnet);
            let seen = |subnet: &&Subnet| scene.caller().sees_all || subnet.is_visible(&cx);
            write_list(scene, &floating_ip_pools(&cx, subnets.filter(seen)))
        }
        name if name == SERVICE_PROVIDER.name => {
            let provider =
                |name| json!({"service_type": "L3_ROUTER_NAT", "name": name, "default": false});
            let providers = ["dvr", "single_node"].map(provider);
            Ok(Reply::value(&json!({ "service_providers": providers })))
        }
        name if name == AUTO_TOPOLOGY.name => Err(Fault::not_found()),
        _ => Ok(Reply::value(&json!({ table.plural: [] }))),
    }
}

fn write_list<R: Shown>(scene: &Scene<'_>, rows: &[R]) -> Result<Reply, Fault> {
    let filters = filter::read(R::TABLE, &scene.asked.query, scene.api.filter_validation)?;
    let cx = scene.cx(Verb::Read);
    let columns = scene.columns(R::TABLE, Verb::Read);
    let mut scratch = Json::new();
    let mut out = Json::new();
    let shown: Vec<&R> = rows
        .iter()
        .filter(|row| {
            filters
                .iter()
                .all(|filter| filter.is_met(*row, &cx, &mut scratch))
        })
        .collect();
    out.open(b'{');
    out.key(R::TABLE.plural);
    out.list(shown, |out, row| scene.write(row, &cx, &columns, out));
    out.close(b'}');
    Ok(Reply::json(out))
}

/// `ip_version` chooses among a network's subnets; all other filters choose networks.
fn list_availability(scene: &Scene<'_>, readable: bool) -> Result<Reply, Fault> {
    let cx = scene.cx(Verb::Read);
    let versions: Vec<u8> = scene
        .asked
        .query
        .all("ip_version")
        .filter_map(|version| version.parse().ok())
        .collect();
    let networks = scene.state().networks.values().filter(|_| readable);
    let rows: Vec<Availability<'_>> = networks
        .map(|network| Availability::of(&cx, network, &versions))
        .filter(|row| versions.is_empty() || row.has_subnets())
        .collect();
    let filters = filter::read(
        &NETWORK_IP_AVAILABILITY,
        &scene.asked.query,
        scene.api.filter_validation,
    )?;
    let columns = scene.columns(&NETWORK_IP_AVAILABILITY, Verb::Read);
    let (mut out, mut scratch) = (Json::new(), Json::new());
    out.open(b'{');
    out.key(NETWORK_IP_AVAILABILITY.plural);
    let met = rows.iter().filter(|row| {
        let mut about_network = filters
            .iter()
            .filter(|it| it.values_of("ip_version").is_none());
        about_network.all(|filter| filter.is_met(*row, &cx, &mut scratch))
    });
    out.list(met, |out, row| scene.write(row, &cx, &columns, out));
    out.close(b'}');
    Ok(Reply::json(out))
}

pub(super) fn show(scene: &Scene<'_>, table: &'static Table, id: &str) -> Result<Reply, Fault> {
    if table.name != NETWORK_IP_AVAILABILITY.name {
        return Err(Fault::not_found());
    }
    let network = scene.find::<Network>(id)?;
    if !scene.allows(&action_rule("get", table), &Nothing) {
        return Err(Fault::not_found());
    }
    let row = Availability::of(&scene.cx(Verb::Read), &network, &[]);
    Ok(Reply::json(scene.one(&row, Verb::Read)))
}

struct Of<'a>(&'a str);

impl Target for Of<'_> {
    fn text(&self, attr: &str) -> Option<String> {
        matches!(attr, "project_id" | "tenant_id").then(|| self.0.to_owned())
    }
}

/// The project that a path names; `null` and nothing mean the caller's own.
fn topology_project<'a>(scene: &Scene<'_>, id: &'a str, verb: &str) -> Result<&'a str, Fault> {
    let rule = Check::Rule(action_rule(verb, &AUTO_TOPOLOGY));
    scene
        .require(&rule, &Of(id))
        .map_err(|_| Fault::not_authorized())?;
    Ok(id)
}

/// `GET auto-allocated-topology/PROJECT`: got, or made.
pub(super) async fn topology(scene: &mut Scene<'_>, id: &str) -> Result<Reply, Fault> {
    let project = topology_project(scene, id, "get")?.to_owned();
    let dry = scene
        .asked
        .query
        .all("fields")
        .any(|field| field == "dry-run");
    let key = project.as_str().into();
    if dry {
        scene
            .submit(Command::CheckAutoTopology { project: key })
            .await?;
        return Ok(Reply::value(&json!({"auto_allocated_topology": {
            "id": "dry-run=pass", "project_id": project
        }})));
    }
    let outcome = scene.submit(Command::AutoTopology { project: key }).await?;
    let id = match outcome {
        Outcome::Value(value) => value.get("id").cloned().unwrap_or(value),
        Outcome::Objects(objects) => objects
            .iter()
            .find_map(|object| match object {
                intent::Object::AutoTopology(it) => Some(json!(it.network_id)),
                _ => None,
            })
            .unwrap_or(Value::Null),
        Outcome::Done => Value::Null,
    };
    Ok(Reply::value(&json!({"auto_allocated_topology": {
        "id": id, "project_id": project, "tenant_id": project
    }})))
}

pub(super) async fn delete(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
) -> Result<Reply, Fault> {
    if table.name != AUTO_TOPOLOGY.name {
        return Err(Fault::method_not_allowed());
    }
    let project = topology_project(scene, id, "delete")?.into();
    scene
        .submit(Command::DeleteAutoTopology { project })
        .await?;
    Ok(Reply::empty())
}

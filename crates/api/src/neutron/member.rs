//! One resource: reading, changing, deleting it, and its named actions.

use intent::{
    AddressGroup, Kind, Object, Router, SubnetPool,
    attrs::{Json, Table, Verb, Verbs},
};
use ledger::{Answer as Outcome, Command};
use serde_json::Value;

use super::{
    asked::Reply,
    collection::{invalid_object, no_root, write_object},
    computed,
    scene::{Scene, missing},
    scope::{Scoped, on_kind},
    target::Stored,
};
use crate::{fault::Fault, policy::action_rule};

/// `GET` of a member.
pub(super) fn show(scene: &Scene<'_>, table: &'static Table, id: &str) -> Result<Reply, Fault> {
    on_kind!(table.kind, R => show_of::<R>(scene, id), else computed::show(scene, table, id))
}

fn show_of<R: Scoped>(scene: &Scene<'_>, id: &str) -> Result<Reply, Fault> {
    let object = scene.find::<R>(id)?;
    let cx = scene.cx(Verb::Read);
    let target = Stored {
        object: &*object,
        cx: &cx,
    };
    if !scene.allows(&action_rule("get", R::TABLE), &target) {
        return Err(Fault::not_found());
    }
    Ok(Reply::json(scene.one(&*object, Verb::Read)))
}

/// `PUT` of a member.
pub(super) async fn update(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
) -> Result<Reply, Fault> {
    let Some(kind) = table.kind.filter(|_| table.verbs != Verbs::ReadOnly) else {
        return Err(Fault::method_not_allowed());
    };
    let body = match scene.asked.json()?.remove(table.name) {
        Some(Value::Object(body)) => body,
        Some(_) => return Err(invalid_object(table)),
        None => return Err(no_root(table)),
    };
    let draft = on_kind!(Some(kind), R => {
        let object = scene.find::<R>(id)?;
        let draft = table.read_update(body)?;
        let action = action_rule("update", table);
        scene.require_of(&action, &*object, Some(&draft))?;
        draft
    }, else return Err(Fault::method_not_allowed()));
    let command = Command::Update {
        kind,
        key: id.to_owned(),
        draft,
        if_match: scene.asked.revision()?,
    };
    let outcome = scene.submit(command).await?;
    answer(scene, table, &outcome)
}

/// `DELETE` of a member.
pub(super) async fn delete(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
) -> Result<Reply, Fault> {
    let Some(kind) = table.kind.filter(|_| table.verbs != Verbs::ReadOnly) else {
        return computed::delete(scene, table, id).await;
    };
    on_kind!(Some(kind), R => {
        let object = scene.find::<R>(id)?;
        scene.require_of(&action_rule("delete", table), &*object, None)?;
    }, else return Err(Fault::method_not_allowed()));
    let command = Command::Delete {
        kind,
        key: id.to_owned(),
        if_match: scene.asked.revision()?,
    };
    scene.submit(command).await?;
    Ok(Reply::empty())
}

/// `PUT` of a member's named action.
pub(super) async fn act(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
    action: &str,
) -> Result<Reply, Fault> {
    let mut body = scene.asked.json()?;
    match table.kind {
        Some(Kind::Router) => require_action::<Router>(scene, id, action)?,
        Some(Kind::SubnetPool) => require_action::<SubnetPool>(scene, id, action)?,
        Some(Kind::AddressGroup) => require_action::<AddressGroup>(scene, id, action)?,
        _ => return Err(Fault::not_found()),
    }
    // Extra routes come below their router's name, all others stand alone.
    let extra_routes = action.ends_with("_extraroutes");
    let body = match body.remove(table.name) {
        Some(inner) if extra_routes => inner,
        None if extra_routes => return Err(no_root(table)),
        _ => Value::Object(body),
    };
    let id = id.to_owned();
    let command = match action {
        "add_router_interface" => Command::AddRouterInterface { router: id, body },
        "remove_router_interface" => Command::RemoveRouterInterface { router: id, body },
        "add_extraroutes" => Command::AddExtraRoutes { router: id, body },
        "remove_extraroutes" => Command::RemoveExtraRoutes { router: id, body },
        "add_prefixes" => Command::AddPrefixes { pool: id, body },
        "remove_prefixes" => Command::RemovePrefixes { pool: id, body },
        "onboard_network_subnets" => Command::OnboardSubnets { pool: id, body },
        "add_addresses" => Command::AddAddresses { group: id, body },
        "remove_addresses" => Command::RemoveAddresses { group: id, body },
        _ => return Err(Fault::not_found()),
    };
    let outcome = scene.submit(command).await?;
    answer(scene, table, &outcome)
}

fn require_action<R: Scoped>(scene: &Scene<'_>, id: &str, action: &str) -> Result<(), Fault> {
    let object = scene.find::<R>(id)?;
    scene.require_of(action, &*object, None)
}

/// What a change answers: the resource as it is now, or what the ledger said.
fn answer(scene: &Scene<'_>, table: &'static Table, outcome: &Outcome) -> Result<Reply, Fault> {
    match outcome {
        Outcome::Done => Ok(Reply::ok("null")),
        Outcome::Value(value) => Ok(Reply::value(value)),
        Outcome::Objects(objects) => {
            let object: &Object = objects.first().ok_or_else(Fault::internal)?;
            let columns = scene.columns(table, Verb::Update);
            let mut out = Json::with_room();
            out.open(b'{');
            out.key(table.name);
            write_object(scene, object, &scene.cx(Verb::Update), &columns, &mut out);
            out.close(b'}');
            Ok(Reply::json(out))
        }
    }
}

/// What a verb on a whole collection gets that only members have.
pub(super) fn no_member(table: &Table) -> Fault {
    missing(table, "None")
}

//! A port's bindings: `ports/ID/bindings`.

use std::sync::Arc;

use http::StatusCode;
use intent::{
    Binding, Port,
    attrs::{BINDING, Json, Verb, str},
};
use ledger::{Answer as Outcome, Command};
use serde_json::{Map, Value};

use super::{
    asked::Reply,
    collection::{invalid_object, no_root},
    scene::Scene,
    target::{Part, Stored},
};
use crate::{
    fault::Fault,
    policy::{Check, action_rule},
};

/// Bindings are for what Nova, Ironic or Manila plug in: Neutron's own ports have none to show.
const BOUND_OWNERS: [&str; 2] = ["compute:", "manila:"];

fn port(scene: &Scene<'_>, id: &str) -> Result<Arc<Port>, Fault> {
    let port = scene.find::<Port>(id)?;
    let mut owners = BOUND_OWNERS.iter();
    if owners.any(|prefix| port.device_owner.starts_with(prefix)) {
        return Ok(port);
    }
    Err(Fault::neutron(
        StatusCode::BAD_REQUEST,
        "BadRequest",
        format!(
            "Bad port request: Invalid port {id}. Operation only valid on compute and shared \
             filesystem ports."
        ),
    ))
}

fn allows(scene: &Scene<'_>, port: &Port, rule: &str) -> Result<(), Fault> {
    let cx = scene.cx(Verb::Read);
    let parent = Stored {
        object: port,
        cx: &cx,
    };
    scene.require(&Check::Rule(rule.to_owned()), &Part { parent: &parent })
}

fn missing(port: &str, host: &str) -> Fault {
    Fault::neutron(
        StatusCode::NOT_FOUND,
        "PortBindingNotFound",
        format!("Binding for port {port} for host {host} could not be found."),
    )
}

fn write(scene: &Scene<'_>, binding: &Binding, out: &mut Json) {
    let columns = scene.columns(&BINDING, Verb::Read);
    scene.write(binding, &scene.cx(Verb::Read), &columns, out);
}

pub(super) fn list(scene: &Scene<'_>, id: &str) -> Result<Reply, Fault> {
    let port = port(scene, id)?;
    let readable = allows(scene, &port, &action_rule("get", &BINDING)).is_ok();
    let host = scene.asked.query.first("host");
    let shown = port
        .bindings
        .iter()
        .filter(|binding| readable && host.is_none_or(|host| binding.host == *host));
    let mut out = Json::new();
    out.open(b'{');
    out.key("bindings");
    out.list(shown, |out, binding| write(scene, binding, out));
    out.close(b'}');
    Ok(Reply::json(out))
}

pub(super) fn show(scene: &Scene<'_>, id: &str, host: &str) -> Result<Reply, Fault> {
    let port = port(scene, id)?;
    let readable = allows(scene, &port, &action_rule("get", &BINDING)).is_ok();
    let found = port.bindings.iter().find(|it| it.host == *host);
    let binding = found
        .filter(|_| readable)
        .ok_or_else(|| missing(id, host))?;
    Ok(Reply::json(one(scene, binding)))
}

fn one(scene: &Scene<'_>, binding: &Binding) -> Json {
    let mut out = Json::new();
    out.open(b'{');
    out.key("binding");
    write(scene, binding, &mut out);
    out.close(b'}');
    out
}

fn body(scene: &Scene<'_>) -> Result<Map<String, Value>, Fault> {
    match scene.asked.json()?.remove("binding") {
        Some(Value::Object(body)) => Ok(body),
        Some(_) => Err(invalid_object(&BINDING)),
        None => Err(no_root(&BINDING)),
    }
}

/// The binding as it is now, out of the port that the ledger answers.
fn reply(scene: &Scene<'_>, outcome: &Outcome, host: &str, bare: bool) -> Result<Json, Fault> {
    let port = match outcome {
        Outcome::Objects(objects) => objects.iter().find_map(|object| match object {
            intent::Object::Port(port) => Some(port),
            _ => None,
        }),
        _ => None,
    };
    let binding = port.and_then(|port| port.bindings.iter().find(|it| it.host == *host));
    let binding = binding.ok_or_else(Fault::internal)?;
    if !bare {
        return Ok(one(scene, binding));
    }
    let mut out = Json::new();
    write(scene, binding, &mut out);
    Ok(out)
}

pub(super) async fn create(scene: &mut Scene<'_>, id: &str) -> Result<Reply, Fault> {
    let draft = BINDING.read_create(body(scene)?, "")?;
    allows(scene, &*port(scene, id)?, &action_rule("create", &BINDING))?;
    let host = draft.get("host").map(str).unwrap_or_default();
    let outcome = scene
        .submit(Command::CreateBinding {
            port: id.to_owned(),
            draft,
        })
        .await?;
    Ok(Reply::created(reply(scene, &outcome, &host, false)?.bytes))
}

pub(super) async fn update(scene: &mut Scene<'_>, id: &str, host: &str) -> Result<Reply, Fault> {
    let draft = BINDING.read_update(body(scene)?)?;
    allows(scene, &*port(scene, id)?, &action_rule("update", &BINDING))?;
    let (port, host) = (id.to_owned(), host.to_owned());
    let command = Command::UpdateBinding {
        port,
        host: host.clone(),
        draft,
    };
    let outcome = scene.submit(command).await?;
    Ok(Reply::json(reply(scene, &outcome, &host, false)?))
}

pub(super) async fn delete(scene: &mut Scene<'_>, id: &str, host: &str) -> Result<Reply, Fault> {
    allows(scene, &*port(scene, id)?, &action_rule("delete", &BINDING))?;
    let (port, host) = (id.to_owned(), host.to_owned());
    scene.submit(Command::DeleteBinding { port, host }).await?;
    Ok(Reply::empty())
}

/// `PUT …/activate`, whose body says nothing and whose answer has no name around it.
pub(super) async fn activate(scene: &mut Scene<'_>, id: &str, host: &str) -> Result<Reply, Fault> {
    allows(scene, &*port(scene, id)?, "activate")?;
    let (port, host) = (id.to_owned(), host.to_owned());
    let command = Command::ActivateBinding {
        port,
        host: host.clone(),
    };
    let outcome = scene.submit(command).await?;
    Ok(Reply::json(reply(scene, &outcome, &host, true)?))
}

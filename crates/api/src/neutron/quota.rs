//! Quotas: limits of a project, the default limits, and how much of each is used.

use intent::{
    ProjectId,
    attrs::{BadInput, Draft, str},
};
use ledger::{Command, LIMITED, quota_limit, quota_used};
use serde_json::{Map, Value, json};

use super::{asked::Reply, scene::Scene};
use crate::{
    fault::Fault,
    policy::{Check, Target},
};

struct Of<'a>(&'a str);

impl Target for Of<'_> {
    fn text(&self, attr: &str) -> Option<String> {
        matches!(attr, "project_id" | "tenant_id").then(|| self.0.to_owned())
    }
}

fn require(scene: &Scene<'_>, rule: &str, project: &str) -> Result<(), Fault> {
    scene.require(&Check::Rule(rule.to_owned()), &Of(project))
}

fn limits(scene: &Scene<'_>, project: &str) -> Map<String, Value> {
    let (state, config) = (scene.state(), scene.api.hub.config());
    let project = ProjectId::from(project);
    let limit = |(name, _): &(&str, _)| {
        let limit = quota_limit(state, config, &project, name);
        ((*name).to_owned(), json!(limit))
    };
    LIMITED.iter().map(limit).collect()
}

/// `GET quotas`: of every project for which some are set.
pub(super) fn list(scene: &Scene<'_>) -> Result<Reply, Fault> {
    require(scene, "get_quota", "")?;
    let quotas = scene.state().quotas.keys().map(|project| {
        let mut quota = limits(scene, project);
        quota.insert("project_id".to_owned(), json!(project));
        quota.insert("tenant_id".to_owned(), json!(project));
        Value::Object(quota)
    });
    Ok(Reply::value(
        &json!({ "quotas": quotas.collect::<Vec<_>>() }),
    ))
}

pub(super) fn show(scene: &Scene<'_>, project: &str) -> Result<Reply, Fault> {
    // The two words by which a caller asks for the own project's id.
    let own = scene.caller().project();
    match project {
        "tenant" => return Ok(Reply::value(&json!({"tenant": {"tenant_id": own}}))),
        "project" => return Ok(Reply::value(&json!({"project": {"project_id": own}}))),
        _ => {}
    }
    require_read(scene, project)?;
    Ok(Reply::value(&json!({ "quota": limits(scene, project) })))
}

/// Everyone may read the own project's; the rule is about others'.
fn require_read(scene: &Scene<'_>, project: &str) -> Result<(), Fault> {
    if scene.caller().project() == project {
        return Ok(());
    }
    require(scene, "get_quota", project)
}

pub(super) fn defaults(scene: &Scene<'_>, project: &str) -> Result<Reply, Fault> {
    require_read(scene, project)?;
    let config = scene.api.hub.config();
    let default = |(name, _): &(&str, _)| ((*name).to_owned(), json!(config.default_quota(name)));
    let defaults: Map<String, Value> = LIMITED.iter().map(default).collect();
    Ok(Reply::value(&json!({ "quota": defaults })))
}

pub(super) fn details(scene: &Scene<'_>, project: &str) -> Result<Reply, Fault> {
    require_read(scene, project)?;
    let details = limits(scene, project).into_iter().map(|(name, limit)| {
        let used = quota_used(scene.state(), &project.into(), &name);
        (name, json!({"limit": limit, "used": used, "reserved": 0}))
    });
    let details: Map<String, Value> = details.collect();
    Ok(Reply::value(&json!({ "quota": details })))
}

pub(super) async fn set(scene: &mut Scene<'_>, project: &str) -> Result<Reply, Fault> {
    require(scene, "update_quota", project)?;
    let draft = draft(scene)?;
    let key = ProjectId::from(project);
    scene
        .submit(Command::SetQuota {
            project: key,
            draft,
        })
        .await?;
    Ok(Reply::value(&json!({ "quota": limits(scene, project) })))
}

/// The limits in the body, and the two words that say how strictly they are meant.
fn draft(scene: &Scene<'_>) -> Result<Draft, Fault> {
    const WORDS: [&str; 2] = ["force", "check_limit"];
    let mut body = scene.asked.json()?;
    let Some(Value::Object(quota)) = body.remove("quota") else {
        return Err(Fault::bad_request("Unable to find 'quota' in request body"));
    };
    let names = || LIMITED.iter().map(|(name, _)| *name).chain(WORDS);
    let known = |name: &str| names().find(|known| *known == name);
    let unknown: Vec<&str> = quota
        .keys()
        .map(String::as_str)
        .filter(|name| known(name).is_none())
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(Fault::bad_request(format!(
            "Unrecognized attribute(s) '{unknown}'"
        )));
    }
    let mut draft = Draft::new();
    for (name, value) in &quota {
        let Some(name) = known(name) else { continue };
        draft.insert(name, limit(name, value)?);
    }
    Ok(draft)
}

fn limit(name: &str, value: &Value) -> Result<Value, Fault> {
    use intent::attrs::{Attr, To};
    let attr = match name {
        "force" | "check_limit" => Attr::new("").to(To::Boolean),
        _ => Attr::new("").to(To::Int),
    };
    let value = attr.read(value.clone())?;
    if value.as_i64().is_some_and(|limit| limit < -1) {
        let limit = str(&value);
        return Err(BadInput::new(
            "HTTPBadRequest",
            format!(
                "Invalid input for {name}. Reason: '{limit}' is too small - must be at least '-1'."
            ),
        )
        .into());
    }
    Ok(value)
}

pub(super) async fn reset(scene: &mut Scene<'_>, project: &str) -> Result<Reply, Fault> {
    require(scene, "delete_quota", project)?;
    let key = ProjectId::from(project);
    scene.submit(Command::ResetQuota { project: key }).await?;
    Ok(Reply::empty())
}

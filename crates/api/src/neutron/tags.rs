//! Tags: `RESOURCE/ID/tags`, whole and one by one.

use std::collections::BTreeSet;

use intent::{
    Kind, Resource,
    attrs::{BadInput, Table, str},
};
use ledger::Command;
use serde_json::{Value, json};

use super::{
    asked::Reply,
    scene::Scene,
    scope::{Scoped, on_kind},
};
use crate::fault::Fault;

const LONGEST: usize = 255;

/// A resource's tags, which the caller may do this to.
fn tags_for(
    scene: &Scene<'_>,
    table: &'static Table,
    id: &str,
    verb: &str,
) -> Result<(Kind, BTreeSet<String>), Fault> {
    let rule = format!("{verb}_{}:tags", table.name);
    on_kind!(table.kind, R => {
        let object = scene.find::<R>(id)?;
        scene.require_of(&rule, &*object, None)?;
        Ok((R::KIND, tags_of(&*object)))
    }, else Err(Fault::not_found()))
}

fn tags_of<R: Scoped>(object: &R) -> BTreeSet<String> {
    let meta = Resource::meta(object);
    meta.map(|meta| meta.tags.clone()).unwrap_or_default()
}

fn no_tag(tag: &str) -> Fault {
    Fault::neutron(
        http::StatusCode::NOT_FOUND,
        "TagNotFound",
        format!("Tag {tag} could not be found."),
    )
}

pub(super) fn list(scene: &Scene<'_>, table: &'static Table, id: &str) -> Result<Reply, Fault> {
    let (_, tags) = tags_for(scene, table, id, "get")?;
    Ok(Reply::value(&json!({ "tags": tags })))
}

pub(super) fn show(
    scene: &Scene<'_>,
    table: &'static Table,
    id: &str,
    tag: &str,
) -> Result<Reply, Fault> {
    let (_, tags) = tags_for(scene, table, id, "get")?;
    if !tags.contains(tag) {
        return Err(no_tag(tag));
    }
    Ok(Reply::empty())
}

/// `PUT …/tags`: these and no others.
pub(super) async fn replace(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
) -> Result<Reply, Fault> {
    let (kind, _) = tags_for(scene, table, id, "update")?;
    let tags = body(scene)?;
    let answer = json!({ "tags": tags });
    let key = id.to_owned();
    let command = Command::ReplaceTags { kind, key, tags };
    scene.submit(command).await?;
    Ok(Reply::value(&answer))
}

/// `POST …/tags`: these as well.
pub(super) async fn add(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
) -> Result<Reply, Fault> {
    let (kind, _) = tags_for(scene, table, id, "create")?;
    let tags = body(scene)?;
    let answer = json!({ "tags": tags });
    let key = id.to_owned();
    scene.submit(Command::AddTags { kind, key, tags }).await?;
    Ok(Reply::value(&answer))
}

pub(super) async fn add_one(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
    tag: &str,
) -> Result<Reply, Fault> {
    let (kind, _) = tags_for(scene, table, id, "update")?;
    check(&tag.into())?;
    let (key, tags) = (id.to_owned(), vec![tag.to_owned()]);
    scene.submit(Command::AddTags { kind, key, tags }).await?;
    Ok(Reply::created("null"))
}

pub(super) async fn remove_all(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
) -> Result<Reply, Fault> {
    let (kind, _) = tags_for(scene, table, id, "delete")?;
    let (key, tags) = (id.to_owned(), Vec::new());
    scene
        .submit(Command::ReplaceTags { kind, key, tags })
        .await?;
    Ok(Reply::empty())
}

pub(super) async fn remove_one(
    scene: &mut Scene<'_>,
    table: &'static Table,
    id: &str,
    tag: &str,
) -> Result<Reply, Fault> {
    let (kind, tags) = tags_for(scene, table, id, "delete")?;
    if !tags.contains(tag) {
        return Err(no_tag(tag));
    }
    let (key, tag) = (id.to_owned(), tag.to_owned());
    scene.submit(Command::RemoveTag { kind, key, tag }).await?;
    Ok(Reply::empty())
}

fn body(scene: &Scene<'_>) -> Result<Vec<String>, Fault> {
    let mut body = scene.asked.json()?;
    let tags = body
        .remove("tags")
        .ok_or_else(|| BadInput::operation("Invalid tags body"))?;
    let Value::Array(tags) = tags else {
        let tags = str(&tags);
        return Err(BadInput::operation(format!("'{tags}' is not a list")).into());
    };
    let mut seen = BTreeSet::new();
    let mut twice = Vec::new();
    for tag in &tags {
        if !seen.insert(tag.to_string()) {
            twice.push(str(tag));
        }
    }
    if !twice.is_empty() {
        let twice = twice.join(", ");
        return Err(BadInput::operation(format!("Duplicate items in the list: '{twice}'")).into());
    }
    tags.iter().map(check).collect()
}

fn check(tag: &Value) -> Result<String, Fault> {
    let Some(text) = tag.as_str() else {
        let tag = str(tag);
        return Err(BadInput::operation(format!("'{tag}' is not a valid string")).into());
    };
    if text.chars().count() > LONGEST {
        let bad = format!("'{text}' exceeds maximum length of {LONGEST}");
        return Err(BadInput::operation(bad).into());
    }
    Ok(text.to_owned())
}

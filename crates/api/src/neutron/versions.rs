//! What the API says of itself: versions, the core's collections, extensions.

use intent::attrs::{EXTENSIONS, Extension};
use serde_json::{Value, json};

use super::asked::{Asked, Reply};
use crate::fault::{Body, Fault};

/// `GET /`
pub(super) fn versions(base: &str) -> Reply {
    let links = json!([{"rel": "self", "href": format!("{base}/v2.0/")}]);
    Reply::value(&json!({"versions": [{"id": "v2.0", "status": "CURRENT", "links": links}]}))
}

/// `GET /v2.0/`
pub(super) fn root(asked: &Asked) -> Reply {
    const CORE: [(&str, &str); 4] = [
        ("network", "networks"),
        ("subnet", "subnets"),
        ("subnetpool", "subnetpools"),
        ("port", "ports"),
    ];
    let resources = CORE.map(|(name, collection)| {
        let href = format!("{}/v2.0/{collection}", asked.base);
        json!({"name": name, "collection": collection, "links": [{"rel": "self", "href": href}]})
    });
    Reply::value(&json!({ "resources": resources }))
}

fn extension(extension: &Extension) -> Value {
    json!({
        "name": extension.name,
        "alias": extension.alias,
        "description": extension.description,
        "updated": extension.updated,
        "links": [],
    })
}

pub(super) fn extensions() -> Reply {
    let all: Vec<Value> = EXTENSIONS.iter().map(extension).collect();
    Reply::value(&json!({ "extensions": all }))
}

pub(super) fn one_extension(alias: &str) -> Result<Reply, Fault> {
    match EXTENSIONS.iter().find(|known| known.alias == alias) {
        Some(known) => Ok(Reply::value(&json!({ "extension": extension(known) }))),
        None => Err(Fault {
            status: http::StatusCode::NOT_FOUND,
            body: Body::NoExtension(alias.to_owned()),
        }),
    }
}

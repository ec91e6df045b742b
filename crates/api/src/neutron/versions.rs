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

/// Those that work as this server is set.
fn announced(filter_validation: bool) -> impl Iterator<Item = &'static Extension> {
    let works = move |known: &&Extension| filter_validation || known.alias != "filter-validation";
    EXTENSIONS.iter().filter(works)
}

pub(super) fn extensions(filter_validation: bool) -> Reply {
    let all: Vec<Value> = announced(filter_validation).map(extension).collect();
    Reply::value(&json!({ "extensions": all }))
}

pub(super) fn one_extension(alias: &str, filter_validation: bool) -> Result<Reply, Fault> {
    match announced(filter_validation).find(|known| known.alias == alias) {
        Some(known) => Ok(Reply::value(&json!({ "extension": extension(known) }))),
        None => Err(Fault {
            status: http::StatusCode::NOT_FOUND,
            body: Body::NoExtension(alias.to_owned()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_switched_off_is_not_announced() {
        assert!(one_extension("filter-validation", true).is_ok());
        assert!(one_extension("filter-validation", false).is_err());
        assert!(one_extension("router", false).is_ok());
    }
}

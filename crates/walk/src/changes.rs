//! What if: changes to intent that nobody has made yet, put into the API's answers before they are
//! read. A file of changes names collections as the API does; an object with the id or the name of
//! one that is there changes that one, any other is new.
use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// A change that cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error("changes are a map of collections, such as security_group_rules, to lists of objects")]
    NotCollections,
    #[error("'{0}' is no collection of the API that a walk reads")]
    Collection(String),
    #[error("{0}: every change is an object with attributes")]
    NotAnObject(String),
    #[error("{collection}: there is none called '{name}' to delete")]
    Nothing { collection: String, name: String },
    #[error("api/{file}: {error}")]
    Unreadable {
        file: String,
        error: serde_json::Error,
    },
}

/// Collections by the name that they have in answers, and by their file's.
const COLLECTIONS: &[(&str, &str)] = &[
    ("networks", "networks"),
    ("subnets", "subnets"),
    ("ports", "ports"),
    ("routers", "routers"),
    ("floatingips", "floatingips"),
    ("security_groups", "security-groups"),
    ("security_group_rules", "security-group-rules"),
    ("address_groups", "address-groups"),
    ("agents", "agents"),
];

/// Attributes that may be given by the name of what they lead to.
const REFERENCES: &[(&str, &str)] = &[
    ("network_id", "networks"),
    ("subnet_id", "subnets"),
    ("port_id", "ports"),
    ("router_id", "routers"),
    ("security_group_id", "security_groups"),
    ("remote_group_id", "security_groups"),
    ("floating_network_id", "networks"),
];

type Files = BTreeMap<String, String>;

/// Put changes into a snapshot's files.
pub fn apply(files: &mut Files, changes: &Value) -> Result<(), ChangeError> {
    let changes = changes.as_object().ok_or(ChangeError::NotCollections)?;
    let mut made = 0;
    for (collection, objects) in changes.iter().filter(|(name, _)| *name != "delete") {
        let objects = objects.as_array().ok_or(ChangeError::NotCollections)?;
        let mut rows = read(files, collection)?;
        for object in objects {
            let bad = || ChangeError::NotAnObject(collection.clone());
            let mut object = object.as_object().ok_or_else(bad)?.clone();
            resolve(files, &mut object)?;
            put(&mut rows, object, collection, &mut made);
        }
        write(files, collection, rows)?;
    }
    let Some(delete) = changes.get("delete") else {
        return Ok(());
    };
    for (collection, names) in delete.as_object().ok_or(ChangeError::NotCollections)? {
        let names = names.as_array().ok_or(ChangeError::NotCollections)?;
        let mut rows = read(files, collection)?;
        for name in names.iter().filter_map(Value::as_str) {
            let before = rows.len();
            rows.retain(|row| !is_called(row, name));
            if rows.len() == before {
                let (collection, name) = (collection.clone(), name.to_owned());
                return Err(ChangeError::Nothing { collection, name });
            }
        }
        write(files, collection, rows)?;
    }
    Ok(())
}

fn file_of(collection: &str) -> Result<String, ChangeError> {
    let mut known = COLLECTIONS.iter();
    let found = known.find(|(name, _)| *name == collection);
    let (_, file) = found.ok_or_else(|| ChangeError::Collection(collection.to_owned()))?;
    Ok(format!("api/{file}.json"))
}

fn read(files: &Files, collection: &str) -> Result<Vec<Value>, ChangeError> {
    let file = file_of(collection)?;
    let Some(text) = files.get(&file) else {
        return Ok(Vec::new());
    };
    let unreadable = |error| ChangeError::Unreadable { file, error };
    let document: Value = serde_json::from_str(text).map_err(unreadable)?;
    let rows = document.get(collection).and_then(Value::as_array);
    Ok(rows.cloned().unwrap_or_default())
}

fn write(files: &mut Files, collection: &str, rows: Vec<Value>) -> Result<(), ChangeError> {
    let document = Value::Object(Map::from_iter([(
        collection.to_owned(),
        Value::Array(rows),
    )]));
    files.insert(file_of(collection)?, document.to_string());
    Ok(())
}

fn is_called(row: &Value, name: &str) -> bool {
    ["id", "name"].iter().any(|key| row[*key] == name)
}

/// Names in the place of ids become ids.
fn resolve(files: &Files, object: &mut Map<String, Value>) -> Result<(), ChangeError> {
    for (attribute, collection) in REFERENCES {
        let named = object.get(*attribute).and_then(Value::as_str);
        let Some(name) = named.map(str::to_owned) else {
            continue;
        };
        let rows = read(files, collection)?;
        if let Some(id) = rows
            .iter()
            .find(|row| is_called(row, &name))
            .map(|row| row["id"].clone())
        {
            object.insert((*attribute).to_owned(), id);
        }
    }
    Ok(())
}

/// Change the row that the object is called like, or add a new one.
fn put(rows: &mut Vec<Value>, object: Map<String, Value>, collection: &str, made: &mut u32) {
    let name = ["id", "name"]
        .iter()
        .find_map(|key| object.get(*key)?.as_str());
    let known = name.and_then(|name| rows.iter_mut().find(|row| is_called(row, name)));
    if let Some(row) = known.and_then(Value::as_object_mut) {
        row.extend(object);
        return;
    }
    let mut row = defaults(collection, rows.first());
    *made += 1;
    // Ids that no server gives.
    let id = format!("00000000-0000-4000-8000-{made:012x}");
    row.insert("id".to_owned(), Value::String(id));
    row.extend(object);
    rows.push(Value::Object(row));
}

/// What a new object has where nothing is said: the project of the others, and for a rule what
/// the API gives.
fn defaults(collection: &str, like: Option<&Value>) -> Map<String, Value> {
    let mut row = Map::new();
    let project = like.map(|row| row["project_id"].clone());
    row.insert(
        "project_id".to_owned(),
        project.unwrap_or_else(|| "".into()),
    );
    if collection == "security_group_rules" {
        row.insert("direction".to_owned(), "ingress".into());
        row.insert("ethertype".to_owned(), "IPv4".into());
        for key in [
            "protocol",
            "port_range_min",
            "port_range_max",
            "remote_ip_prefix",
            "remote_group_id",
        ] {
            row.insert(key.to_owned(), Value::Null);
        }
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn files() -> Files {
        let groups = json!({"security_groups": [{"id": "g1", "name": "web", "project_id": "p"}]});
        let rules = json!({"security_group_rules": [{"id": "r1", "protocol": "tcp"}]});
        [
            ("api/security-groups.json".to_owned(), groups.to_string()),
            (
                "api/security-group-rules.json".to_owned(),
                rules.to_string(),
            ),
        ]
        .into()
    }

    fn rules(files: &Files) -> Vec<Value> {
        read(files, "security_group_rules").unwrap()
    }

    #[test]
    fn rules_are_added_changed_and_deleted() {
        let mut files = files();
        let changes = json!({"security_group_rules": [
            {"security_group_id": "web", "protocol": "tcp", "port_range_min": 80},
            {"id": "r1", "protocol": "udp"},
        ]});
        apply(&mut files, &changes).unwrap();
        let now = rules(&files);
        assert_eq!(now[0]["protocol"], "udp");
        assert_eq!(now[1]["security_group_id"], "g1");
        assert_eq!(now[1]["direction"], "ingress");
        apply(
            &mut files,
            &json!({"delete": {"security_group_rules": ["r1"]}}),
        )
        .unwrap();
        assert_eq!(rules(&files).len(), 1);
    }

    #[test]
    fn what_cannot_be_changed_is_said() {
        let mut files = files();
        let error =
            |files: &mut Files, changes: &Value| apply(files, changes).unwrap_err().to_string();
        assert!(error(&mut files, &json!({"cats": []})).contains("'cats' is no collection"));
        assert!(error(&mut files, &json!([])).contains("a map of collections"));
        let gone = json!({"delete": {"security_groups": ["db"]}});
        assert!(error(&mut files, &gone).contains("none called 'db'"));
    }
}

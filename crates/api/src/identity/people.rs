//! Who there is in the embedded identity: users, projects, roles, grants, application credentials.
//!
//! Kept in the same store as everything else, as kinds of their own. A record is a JSON object
//! with the attributes that the identity API shows, and a few that it never does (`secret`).

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::fault::Fault;

/// The kinds of records, under the store's names for them.
pub const KINDS: &[&str] = &[
    USER,
    PROJECT,
    ROLE,
    GRANT,
    CREDENTIAL,
    KEY,
    REVOKED,
    crate::metadata::INSTANCE,
];
pub const USER: &str = "identity_user";
pub const PROJECT: &str = "identity_project";
pub const ROLE: &str = "identity_role";
/// That a user has a role in a project; its id is `USER/PROJECT/ROLE`.
pub const GRANT: &str = "identity_grant";
pub const CREDENTIAL: &str = "identity_application_credential";
/// The key that tokens are signed with.
pub const KEY: &str = "identity_key";
/// A token that was taken back before its time, by its fingerprint.
pub const REVOKED: &str = "identity_revoked_token";

pub type Record = Map<String, Value>;

/// All records.
#[derive(Debug, Clone, Default)]
pub struct People {
    records: OrdMap<(&'static str, String), Record>,
}

/// A record set, or taken away.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    pub kind: &'static str,
    pub id: String,
    pub value: Option<Record>,
}

impl Change {
    pub(crate) fn encode(&self) -> store::Change {
        let document = self.value.as_ref().map(|value| {
            let document = Document {
                format: FORMAT,
                record: value.clone(),
            };
            serde_json::to_string(&document).expect("records have text keys")
        });
        store::Change {
            kind: self.kind.into(),
            id: self.id.clone(),
            project: None,
            document,
        }
    }

    pub(crate) fn decode(
        kind: &'static str,
        id: &str,
        document: Option<&str>,
    ) -> Result<Self, serde_json::Error> {
        let document: Option<Document> = document.map(serde_json::from_str).transpose()?;
        if document
            .as_ref()
            .is_some_and(|document| document.format > FORMAT)
        {
            return Err(serde::de::Error::custom(
                "its format is newer than this server",
            ));
        }
        Ok(Self {
            kind,
            id: id.to_owned(),
            value: document.map(|document| document.record),
        })
    }
}

/// The version of the documents' form.
const FORMAT: u64 = 1;

#[derive(Serialize, Deserialize)]
struct Document {
    format: u64,
    record: Record,
}

/// What may be asked of the records, all of it or nothing.
#[derive(Debug)]
pub enum Command {
    /// Refused when one of the kind has the name.
    Create(&'static str, String, Record),
    Update(&'static str, String, Record),
    Delete(&'static str, String),
    /// Set whole, new or not.
    Put(&'static str, String, Record),
    /// Only into a store without users.
    Begin(Vec<Change>),
    /// Takes a token back that would be over by itself at `expires`.
    Revoke {
        print: String,
        expires: i64,
        now: i64,
    },
}

impl People {
    pub fn get(&self, kind: &'static str, id: &str) -> Option<&Record> {
        self.records.get(&(kind, id.to_owned()))
    }

    pub fn all(&self, kind: &'static str) -> impl Iterator<Item = (&str, &Record)> {
        self.records
            .range((kind, String::new())..)
            .take_while(move |((at, _), _)| *at == kind)
            .map(|((_, id), record)| (id.as_str(), record))
    }

    /// By id, or by name.
    pub fn find(&self, kind: &'static str, id: &str) -> Option<(&str, &Record)> {
        let named = |(_, record): &(&str, &Record)| record.get("name").is_some_and(|it| it == id);
        self.records
            .get_key_value(&(kind, id.to_owned()))
            .map(|((_, id), record)| (id.as_str(), record))
            .or_else(|| self.all(kind).find(named))
    }

    pub(crate) fn apply(&mut self, change: &Change) {
        let key = (change.kind, change.id.clone());
        match &change.value {
            Some(value) => self.records.insert(key, value.clone()),
            None => self.records.remove(&key),
        };
    }

    /// The ids of the roles that a user has in a project.
    pub fn roles(&self, user: &str, project: &str) -> Vec<String> {
        let prefix = format!("{user}/{project}/");
        let grants = self.all(GRANT);
        grants
            .filter_map(|(id, _)| id.strip_prefix(&prefix))
            .map(str::to_owned)
            .collect()
    }
}

fn missing(kind: &str, id: &str) -> Fault {
    let noun = kind.trim_start_matches("identity_").replace('_', " ");
    Fault::identity(
        http::StatusCode::NOT_FOUND,
        format!("Could not find {noun}: {id}."),
    )
}

/// What becomes of a command.
pub(crate) fn decide(people: &People, command: Command) -> Result<Vec<Change>, Fault> {
    let put = |kind, id, record| Change {
        kind,
        id,
        value: Some(record),
    };
    match command {
        Command::Create(kind, id, record) => {
            let name = record.get("name").and_then(Value::as_str).unwrap_or(&id);
            if people.find(kind, name).is_some() {
                return Err(Fault::identity(
                    http::StatusCode::CONFLICT,
                    format!("Conflict occurred attempting to store {name}."),
                ));
            }
            Ok(vec![put(kind, id, record)])
        }
        Command::Update(kind, id, changes) => {
            let record = people.get(kind, &id).ok_or_else(|| missing(kind, &id))?;
            let mut record = record.clone();
            record.extend(changes);
            Ok(vec![put(kind, id, record)])
        }
        Command::Delete(kind, id) => {
            people.get(kind, &id).ok_or_else(|| missing(kind, &id))?;
            Ok(without(people, kind, id))
        }
        Command::Put(kind, id, record) => Ok(vec![put(kind, id, record)]),
        Command::Begin(changes) => {
            if people.all(USER).next().is_some() {
                return Ok(Vec::new());
            }
            Ok(changes)
        }
        Command::Revoke {
            print,
            expires,
            now,
        } => {
            let record = Record::from_iter([(EXPIRES.to_owned(), expires.into())]);
            let mut changes = over(people, now);
            changes.push(put(REVOKED, print, record));
            Ok(changes)
        }
    }
}

const EXPIRES: &str = "expires";

/// Tokens that were taken back and are over by now: nobody need remember them.
fn over(people: &People, now: i64) -> Vec<Change> {
    let is_over = |record: &Record| record.get(EXPIRES).and_then(Value::as_i64) <= Some(now);
    let over = people
        .all(REVOKED)
        .filter(|(_, record)| is_over(record))
        .map(|(id, _)| Change {
            kind: REVOKED,
            id: id.to_owned(),
            value: None,
        });
    over.collect()
}

/// A record, and all that says something of it.
fn without(people: &People, kind: &'static str, id: String) -> Vec<Change> {
    let gone = |kind, id| Change {
        kind,
        id,
        value: None,
    };
    let grants = people
        .all(GRANT)
        .filter(|(grant, _)| kind != GRANT && grant.split('/').any(|part| part == id));
    let credentials = people.all(CREDENTIAL).filter(|(_, record)| {
        let of = |field| record.get(field).is_some_and(|it| *it == id.as_str());
        (kind == USER && of("user_id")) || (kind == PROJECT && of("project_id"))
    });
    let mut changes: Vec<Change> = grants
        .map(|(id, _)| gone(GRANT, id.to_owned()))
        .chain(credentials.map(|(id, _)| gone(CREDENTIAL, id.to_owned())))
        .collect();
    changes.push(gone(kind, id));
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Record {
        Map::from_iter([("name".to_owned(), name.into())])
    }

    fn done(people: &mut People, command: Command) {
        for change in decide(people, command).expect("granted") {
            people.apply(&change);
        }
    }

    #[test]
    fn a_token_taken_back_is_remembered_until_its_time_is_up() {
        let mut people = People::default();
        for (print, expires, now) in [("a", 10, 1), ("b", 30, 2), ("c", 40, 10)] {
            let print = print.to_owned();
            let revoke = Command::Revoke {
                print,
                expires,
                now,
            };
            done(&mut people, revoke);
        }
        let left: Vec<&str> = people.all(REVOKED).map(|(print, _)| print).collect();
        assert_eq!(left, ["b", "c"]);
    }

    #[test]
    fn names_are_unique_and_a_project_takes_its_grants_along() {
        let mut people = People::default();
        done(
            &mut people,
            Command::Create(USER, "u".into(), named("demo")),
        );
        done(
            &mut people,
            Command::Create(PROJECT, "p".into(), named("demo")),
        );
        done(
            &mut people,
            Command::Create(GRANT, "u/p/member".into(), Record::new()),
        );
        assert_eq!(people.roles("u", "p"), ["member"]);
        let again = decide(&people, Command::Create(USER, "v".into(), named("demo")));
        assert_eq!(again.expect_err("refused").status, 409);
        done(&mut people, Command::Delete(PROJECT, "p".into()));
        assert!(people.roles("u", "p").is_empty());
        assert!(people.find(USER, "demo").is_some());
    }
}

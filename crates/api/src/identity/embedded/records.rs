//! Users, projects, roles, grants and application credentials over HTTP.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::{Command, Embedded, People, Record, fresh_id, login, people, random_hex, record};
use crate::{fault::Fault, neutron::Reply, policy::Credentials};

/// One request about records.
pub(super) struct Asked<'a> {
    pub(super) method: &'a Method,
    pub(super) caller: &'a Credentials,
    pub(super) query: &'a crate::neutron::Query,
    pub(super) body: Value,
}

/// A collection of records and what it is called.
struct Noun {
    kind: &'static str,
    one: &'static str,
    many: &'static str,
}

const NOUNS: [Noun; 3] = [
    Noun {
        kind: people::USER,
        one: "user",
        many: "users",
    },
    Noun {
        kind: people::PROJECT,
        one: "project",
        many: "projects",
    },
    Noun {
        kind: people::ROLE,
        one: "role",
        many: "roles",
    },
];

fn not_found() -> Fault {
    Fault::identity(StatusCode::NOT_FOUND, "The resource could not be found.")
}

fn forbidden() -> Fault {
    Fault::identity(
        StatusCode::FORBIDDEN,
        "You are not authorized to perform the requested action.",
    )
}

fn shown(id: &str, record: &Record) -> Value {
    let mut shown = record.clone();
    shown.retain(|name, _| !matches!(name.as_str(), "secret" | "secret_hash"));
    shown.insert("id".to_owned(), id.into());
    shown.insert("links".to_owned(), json!({}));
    Value::Object(shown)
}

/// Answers what is below `/v3/` and about records.
pub(super) async fn answer(
    service: &Embedded,
    parts: &[&str],
    asked: Asked<'_>,
) -> Result<Reply, Fault> {
    let noun = |many: &str| NOUNS.iter().find(|noun| noun.many == many);
    let admin = asked.caller.has_role("admin");
    let own = |user: &str| admin || asked.caller.user == user;
    match *parts {
        ["users", user, "application_credentials"] if own(user) => {
            credentials(service, user, &asked).await
        }
        ["users", user, "application_credentials", id] if own(user) => {
            one_credential(service, user, id, &asked).await
        }
        ["users", user, "projects"] if own(user) => Ok(projects_of(&service.hub.people(), user)),
        ["users", user] if *asked.method == Method::GET && own(user) => {
            member(service, &NOUNS[0], user, asked).await
        }
        ["projects", id] if *asked.method == Method::GET && asked.caller.project == id => {
            member(service, &NOUNS[1], id, asked).await
        }
        _ if !admin => Err(forbidden()),
        ["role_assignments"] => Ok(assignments(&service.hub.people(), asked.query)),
        ["projects", project, "users", user, "roles"] => {
            Ok(roles_of(&service.hub.people(), user, project))
        }
        ["projects", project, "users", user, "roles", role] => {
            grant(service, [user, project, role], asked.method).await
        }
        [many] => collection(service, noun(many).ok_or_else(not_found)?, asked).await,
        [many, id] => member(service, noun(many).ok_or_else(not_found)?, id, asked).await,
        _ => Err(not_found()),
    }
}

/// The attributes in a body, with a password hashed.
async fn attributes(noun: &Noun, body: &mut Value) -> Result<Record, Fault> {
    let mut record = match body[noun.one].take() {
        Value::Object(record) => record,
        _ => {
            let message = format!("The request has no '{}'.", noun.one);
            return Err(Fault::identity(StatusCode::BAD_REQUEST, message));
        }
    };
    record.retain(|name, _| !matches!(name.as_str(), "id" | "links" | "secret"));
    if let Some(password) = record.remove("password").as_ref().and_then(Value::as_str) {
        record.insert("secret".to_owned(), login::hash(password).await?.into());
    }
    Ok(record)
}

async fn collection(service: &Embedded, noun: &Noun, mut asked: Asked<'_>) -> Result<Reply, Fault> {
    match *asked.method {
        Method::GET => {
            let people = service.hub.people();
            let name = asked.query.first("name");
            let all = people.all(noun.kind).filter(|(_, record)| {
                name.is_none_or(|name| record.get("name").is_some_and(|own| own == name))
            });
            let all: Vec<Value> = all.map(|(id, record)| shown(id, record)).collect();
            Ok(Reply::value(&json!({ noun.many: all, "links": {} })))
        }
        Method::POST => {
            let mut record = attributes(noun, &mut asked.body).await?;
            if record
                .get("name")
                .and_then(Value::as_str)
                .is_none_or(str::is_empty)
            {
                let message = "'name' is a required property";
                return Err(Fault::identity(StatusCode::BAD_REQUEST, message));
            }
            if noun.kind != people::ROLE {
                record.entry("domain_id").or_insert(super::DOMAIN.into());
                record.entry("enabled").or_insert(true.into());
            }
            let id = fresh_id();
            let command = Command::Create(noun.kind, id.clone(), record);
            service.hub.submit_people(command).await?;
            let made = member_value(service, noun, &id)?;
            Ok(Reply::created(made.to_string()))
        }
        _ => Err(Fault::method_not_allowed()),
    }
}

fn member_value(service: &Embedded, noun: &Noun, id: &str) -> Result<Value, Fault> {
    let people = service.hub.people();
    let record = people.get(noun.kind, id).ok_or_else(not_found)?;
    Ok(json!({ noun.one: shown(id, record) }))
}

async fn member(
    service: &Embedded,
    noun: &Noun,
    id: &str,
    mut asked: Asked<'_>,
) -> Result<Reply, Fault> {
    match *asked.method {
        Method::GET | Method::HEAD => {}
        Method::PATCH => {
            let changes = attributes(noun, &mut asked.body).await?;
            let command = Command::Update(noun.kind, id.to_owned(), changes);
            service.hub.submit_people(command).await?;
        }
        Method::DELETE => {
            let command = Command::Delete(noun.kind, id.to_owned());
            service.hub.submit_people(command).await?;
            return Ok(Reply::empty());
        }
        _ => return Err(Fault::method_not_allowed()),
    }
    member_value(service, noun, id).map(|value| Reply::value(&value))
}

fn projects_of(people: &People, user: &str) -> Reply {
    let all = people.all(people::PROJECT);
    let own = all.filter(|(id, _)| !people.roles(user, id).is_empty());
    let own: Vec<Value> = own.map(|(id, record)| shown(id, record)).collect();
    Reply::value(&json!({"projects": own, "links": {}}))
}

/// `GET auth/projects`: where the caller may go.
pub(super) fn own_projects(service: &Embedded, caller: &Credentials) -> Reply {
    projects_of(&service.hub.people(), &caller.user)
}

fn roles_of(people: &People, user: &str, project: &str) -> Reply {
    let ids = people.roles(user, project);
    let roles = ids
        .iter()
        .filter_map(|id| Some(shown(id, people.get(people::ROLE, id)?)));
    Reply::value(&json!({"roles": roles.collect::<Vec<_>>(), "links": {}}))
}

fn assignments(people: &People, query: &crate::neutron::Query) -> Reply {
    let wanted = |name: &str, id: &str| query.first(name).is_none_or(|wanted| wanted == id);
    let all = people.all(people::GRANT).filter_map(|(id, _)| {
        let [user, project, role] = id.split('/').collect::<Vec<_>>()[..] else {
            return None;
        };
        let met = wanted("user.id", user)
            && wanted("scope.project.id", project)
            && wanted("role.id", role);
        met.then(|| {
            json!({"user": {"id": user}, "scope": {"project": {"id": project}}, "role": {"id": role}})
        })
    });
    Reply::value(&json!({"role_assignments": all.collect::<Vec<_>>(), "links": {}}))
}

async fn grant(
    service: &Embedded,
    [user, project, role]: [&str; 3],
    method: &Method,
) -> Result<Reply, Fault> {
    let people = service.hub.people();
    let there = people.get(people::USER, user).is_some()
        && people.get(people::PROJECT, project).is_some()
        && people.get(people::ROLE, role).is_some();
    if !there {
        return Err(not_found());
    }
    let id = format!("{user}/{project}/{role}");
    let has = people.get(people::GRANT, &id).is_some();
    let command = match *method {
        Method::PUT if has => return Ok(Reply::empty()),
        Method::PUT => Command::Create(people::GRANT, id, Record::new()),
        Method::DELETE if has => Command::Delete(people::GRANT, id),
        Method::GET | Method::HEAD if has => return Ok(Reply::empty()),
        _ => return Err(not_found()),
    };
    service.hub.submit_people(command).await?;
    Ok(Reply::empty())
}

async fn credentials(service: &Embedded, user: &str, asked: &Asked<'_>) -> Result<Reply, Fault> {
    let people = service.hub.people();
    if *asked.method == Method::GET {
        let own = people.all(people::CREDENTIAL);
        let own = own.filter(|(_, record)| record.get("user_id").is_some_and(|it| it == user));
        let own: Vec<Value> = own.map(|(id, record)| shown(id, record)).collect();
        return Ok(Reply::value(
            &json!({"application_credentials": own, "links": {}}),
        ));
    }
    let wanted = &asked.body["application_credential"];
    let project = &asked.caller.project;
    let held = people.roles(user, project);
    let named = wanted["roles"].as_array().filter(|roles| !roles.is_empty());
    let roles = held.iter().filter(|id| {
        let name = people
            .get(people::ROLE, id)
            .and_then(|role| role.get("name"));
        let is = |role: &Value| role["id"] == id.as_str() || Some(&role["name"]) == name;
        named.is_none_or(|named| named.iter().any(is))
    });
    let roles: Vec<Value> = roles.map(|id| json!({ "id": id })).collect();
    let given = wanted["secret"].as_str().map(str::to_owned);
    let secret = given.unwrap_or_else(|| random_hex(32));
    let name = wanted["name"].as_str().unwrap_or_default();
    let made = record(json!({
        "name": name, "description": wanted["description"], "user_id": user,
        "project_id": project, "roles": roles, "unrestricted": false, "expires_at": null,
        "secret_hash": login::hash(&secret).await?,
    }));
    let id = fresh_id();
    let mut answer = shown(&id, &made);
    answer["secret"] = secret.into();
    let command = Command::Create(people::CREDENTIAL, id, made);
    service.hub.submit_people(command).await?;
    Ok(Reply::created(
        json!({ "application_credential": answer }).to_string(),
    ))
}

async fn one_credential(
    service: &Embedded,
    user: &str,
    id: &str,
    asked: &Asked<'_>,
) -> Result<Reply, Fault> {
    let people = service.hub.people();
    let found = people.find(people::CREDENTIAL, id);
    let own = found.filter(|(_, record)| record.get("user_id").is_some_and(|it| it == user));
    let (id, record) = own.ok_or_else(not_found)?;
    if *asked.method == Method::DELETE {
        let command = Command::Delete(people::CREDENTIAL, id.to_owned());
        service.hub.submit_people(command).await?;
        return Ok(Reply::empty());
    }
    Ok(Reply::value(
        &json!({ "application_credential": shown(id, record) }),
    ))
}

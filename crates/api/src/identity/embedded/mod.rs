//! Identity `embedded`: enough of the identity v3 API for a cloud on one machine. Users prove
//! themselves by password or application credential, tokens are signed and hold nothing secret.
//!
//! A token says who and where; the roles are looked up when it is used, so a role that was taken
//! away is gone at once.

mod api;
mod login;
mod records;
mod token;

use http::HeaderMap;
use serde_json::{Map, Value, json};

pub use api::{Answer, Request, answer};
use token::Token;

use super::people::{self, Change, Command, People, Record};
use crate::{Hub, config, fault::Fault, policy::Credentials};

/// Roles of a new store, each with all after it.
const ROLES: [&str; 4] = ["admin", "manager", "member", "reader"];
/// The role of services among each other; it implies none.
const SERVICE: &str = "service";
const DOMAIN: &str = "default";

/// The settings, and where the records are.
#[derive(Debug)]
pub struct Embedded {
    pub hub: Hub,
    pub settings: config::Embedded,
}

fn record(pairs: Value) -> Record {
    match pairs {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn random_hex(bytes: usize) -> String {
    (0..bytes)
        .map(|_| format!("{:02x}", rand::random::<u8>()))
        .collect()
}

/// A fresh id in the identity service's form.
fn fresh_id() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

impl Embedded {
    /// Fills a new store: roles, the first project and user, and the key of tokens. Does nothing
    /// where there are users.
    pub async fn begin(&self) -> Result<(), Fault> {
        if self.hub.people().all(people::USER).next().is_some() {
            return Ok(());
        }
        let given = self.settings.admin_password.clone();
        let password = if given.is_empty() {
            random_hex(12)
        } else {
            given.clone()
        };
        let secret = login::hash(&password).await?;
        self.hub
            .submit_people(Command::Begin(self.first(&secret)))
            .await?;
        if given.is_empty() {
            tracing::warn!(user = %self.settings.admin_user, %password, "the first user was made");
        }
        Ok(())
    }

    fn first(&self, secret: &str) -> Vec<Change> {
        let settings = &self.settings;
        let put = |kind, id: &str, value| Change {
            kind,
            id: id.to_owned(),
            value: Some(record(value)),
        };
        let (user, project, service) = (fresh_id(), fresh_id(), fresh_id());
        let of_project = |name: &str| json!({"name": name, "domain_id": DOMAIN, "enabled": true});
        let of_user = json!({
            "name": settings.admin_user, "domain_id": DOMAIN, "enabled": true, "secret": secret,
            "default_project_id": project,
        });
        let mut changes = vec![
            put(people::KEY, "tokens", json!({"secret": random_hex(32)})),
            put(
                people::PROJECT,
                &project,
                of_project(&settings.admin_project),
            ),
            put(people::PROJECT, &service, of_project("service")),
            put(people::USER, &user, of_user),
        ];
        for role in ROLES.into_iter().chain([SERVICE]) {
            let id = fresh_id();
            changes.push(put(people::ROLE, &id, json!({"name": role})));
            if role == ROLES[0] {
                changes.push(put(
                    people::GRANT,
                    &format!("{user}/{project}/{id}"),
                    json!({}),
                ));
            }
        }
        changes
    }

    fn key(people: &People) -> Result<Vec<u8>, Fault> {
        let key = people
            .get(people::KEY, "tokens")
            .and_then(|key| key.get("secret")?.as_str());
        key.map(|key| key.as_bytes().to_vec())
            .ok_or_else(Fault::unavailable)
    }

    /// A token that is good now: ours, not over, and not taken back.
    fn token(people: &People, text: &str) -> Result<Option<Token>, Fault> {
        let token = Token::read(text, &Self::key(people)?);
        let revoked = || people.get(people::REVOKED, &Token::print(text)).is_some();
        Ok(token.filter(|_| !revoked()))
    }

    /// Who a request's token is of.
    pub(super) fn credentials(&self, headers: &HeaderMap) -> Result<Credentials, Fault> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let people = self.hub.people();
        let of = |token: &str| -> Result<(Token, Vec<String>), Fault> {
            let token = Self::token(&people, token)?.ok_or_else(Fault::unauthorized)?;
            let roles = token.roles(&people).ok_or_else(Fault::unauthorized)?;
            Ok((token, roles))
        };
        let (token, roles) = of(text("x-auth-token").ok_or_else(Fault::unauthorized)?)?;
        let service = text("x-service-token").map(of).transpose()?;
        Ok(Credentials {
            user: token.user,
            project: token.project.unwrap_or_default(),
            domain: DOMAIN.to_owned(),
            roles: roles.into_iter().collect(),
            service_roles: service
                .map(|(_, roles)| roles.into_iter().collect())
                .unwrap_or_default(),
        })
    }
}

/// A role's name with the names of those that it implies.
fn with_implied(role: &str) -> Vec<String> {
    match ROLES.iter().position(|known| *known == role) {
        Some(place) => ROLES[place..]
            .iter()
            .map(|role| (*role).to_owned())
            .collect(),
        None => vec![role.to_owned()],
    }
}

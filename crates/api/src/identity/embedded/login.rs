//! Proofs: passwords and application credentials, hashed with argon2.

use argon2::{
    Argon2,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use http::StatusCode;
use serde_json::Value;

use super::{Embedded, People, Record, Token, people};
use crate::{fault::Fault, hub::now};

/// Hashing takes tens of milliseconds by intent: it has threads of its own.
pub(super) async fn hash(password: &str) -> Result<String, Fault> {
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || {
        let hash = Argon2::default().hash_password(password.as_bytes());
        hash.map(|hash| hash.to_string())
    });
    hashed
        .await
        .ok()
        .and_then(Result::ok)
        .ok_or_else(Fault::internal)
}

async fn verify(password: &str, secret: &str) -> bool {
    let (password, secret) = (password.to_owned(), secret.to_owned());
    let verified = tokio::task::spawn_blocking(move || {
        PasswordHash::new(&secret).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        })
    });
    verified.await.unwrap_or(false)
}

fn bad(what: &str) -> Fault {
    Fault::identity(
        StatusCode::BAD_REQUEST,
        format!("The request's {what} is not right."),
    )
}

/// The body of `POST auth/tokens`, proved.
pub(super) async fn login(service: &Embedded, body: &Value) -> Result<Token, Fault> {
    let auth = &body["auth"];
    let identity = &auth["identity"];
    let method = identity["methods"].get(0).and_then(Value::as_str);
    let people = service.hub.people();
    let (user, credential, project) = match method {
        Some("password") => {
            let user = by_password(&people, &identity["password"]["user"]).await?;
            (user, None, scope(&people, &auth["scope"])?)
        }
        Some("token") => {
            let text = identity["token"]["id"].as_str().unwrap_or_default();
            let token = Token::read(text, &Embedded::key(&people)?);
            let token = token.ok_or_else(Fault::unauthorized)?;
            (
                token.user,
                token.credential,
                scope(&people, &auth["scope"])?.or(token.project),
            )
        }
        Some("application_credential") => {
            let asked = &identity["application_credential"];
            let (id, record) = by_credential(&people, asked).await?;
            let text = |name: &str| record.get(name).and_then(Value::as_str).map(str::to_owned);
            (
                text("user_id").unwrap_or_default(),
                Some(id),
                text("project_id"),
            )
        }
        _ => return Err(bad("authentication method")),
    };
    let issued = now().0;
    let seconds = i64::try_from(service.settings.token_seconds).unwrap_or(i64::MAX);
    let token = Token {
        user,
        project,
        credential,
        issued,
        expires: issued.saturating_add(seconds),
    };
    let roles = token.roles(&people).ok_or_else(Fault::unauthorized)?;
    if token.project.is_some() && roles.is_empty() {
        return Err(Fault::unauthorized());
    }
    Ok(token)
}

fn by_id_or_name<'a>(
    people: &'a People,
    kind: &'static str,
    asked: &Value,
) -> Option<(&'a str, &'a Record)> {
    let name = asked["id"].as_str().or_else(|| asked["name"].as_str())?;
    people.find(kind, name)
}

async fn by_password(people: &People, asked: &Value) -> Result<String, Fault> {
    let password = asked["password"].as_str().unwrap_or_default();
    let found = by_id_or_name(people, people::USER, asked);
    let secret = found.and_then(|(_, user)| user.get("secret")?.as_str());
    // A user that is not there takes as long as a wrong password.
    let good = verify(password, secret.unwrap_or(NOBODY)).await;
    match found {
        Some((id, _)) if good && secret.is_some() => Ok(id.to_owned()),
        _ => Err(Fault::unauthorized()),
    }
}

/// A hash that no password has.
const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5bm9ib2R5$\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn by_credential(people: &People, asked: &Value) -> Result<(String, Record), Fault> {
    let of_user = by_id_or_name(people, people::USER, &asked["user"]).map(|(id, _)| id.to_owned());
    let id = asked["id"].as_str();
    let found = people
        .all(people::CREDENTIAL)
        .find(|(known, record)| match id {
            Some(id) => *known == id,
            None => {
                record.get("name") == Some(&asked["name"])
                    && record.get("user_id").and_then(Value::as_str) == of_user.as_deref()
            }
        });
    let (id, record) = found.ok_or_else(Fault::unauthorized)?;
    let secret = record
        .get("secret_hash")
        .and_then(Value::as_str)
        .unwrap_or(NOBODY);
    if verify(asked["secret"].as_str().unwrap_or_default(), secret).await {
        return Ok((id.to_owned(), record.clone()));
    }
    Err(Fault::unauthorized())
}

/// The project that a token is wanted for. What is no project is a token without one.
fn scope(people: &People, asked: &Value) -> Result<Option<String>, Fault> {
    let project = &asked["project"];
    if project.is_null() {
        return Ok(None);
    }
    match by_id_or_name(people, people::PROJECT, project) {
        Some((id, _)) => Ok(Some(id.to_owned())),
        None => Err(Fault::unauthorized()),
    }
}

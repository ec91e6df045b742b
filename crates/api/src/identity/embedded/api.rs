//! The identity v3 API: versions, tokens, the catalogue, and what `records` answers.

use http::{HeaderMap, Method, StatusCode};
use intent::Timestamp;
use serde_json::{Value, json};

use super::{Embedded, People, Token, login, people, records};
use crate::{
    fault::Fault,
    hub::now,
    neutron::{Query, Reply},
    policy::Credentials,
};

/// One request to the identity service, whose path is what follows `/identity` or nothing.
#[derive(Debug)]
pub struct Request<'a> {
    pub method: &'a Method,
    /// Scheme, authority, and what comes before `/v3`.
    pub base: &'a str,
    /// Scheme and authority: where the network API is.
    pub network: &'a str,
    pub path: &'a str,
    pub query: Query,
    pub headers: &'a HeaderMap,
    pub body: &'a [u8],
}

/// An answer, and the token that goes into its header.
#[derive(Debug)]
pub struct Answer {
    pub reply: Reply,
    pub token: Option<String>,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self { reply, token: None }
    }
}

fn version(base: &str) -> Value {
    json!({
        "id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
        "links": [{"rel": "self", "href": format!("{base}/v3/")}],
        "media-types": [{
            "base": "application/json",
            "type": "application/vnd.openstack.identity-v3+json",
        }],
    })
}

/// Answers a request to the identity service.
pub async fn answer(service: &Embedded, request: Request<'_>) -> Result<Answer, Fault> {
    let parts: Vec<&str> = request
        .path
        .split('/')
        .filter(|part| !part.is_empty())
        .collect();
    let body: Value = match request.body {
        [] => Value::Null,
        body => serde_json::from_slice(body).map_err(|_| {
            Fault::identity(StatusCode::BAD_REQUEST, "The request's body is no JSON.")
        })?,
    };
    match (request.method, &parts[..]) {
        (&Method::GET, []) => {
            let all = json!({"versions": {"values": [version(request.base)]}});
            let mut reply = Reply::value(&all);
            reply.status = StatusCode::MULTIPLE_CHOICES;
            Ok(reply.into())
        }
        (&Method::GET, ["v3"]) => {
            Ok(Reply::value(&json!({ "version": version(request.base) })).into())
        }
        (&Method::POST, ["v3", "auth", "tokens"]) => {
            let token = login::login(service, &body).await?;
            issued(service, &request, &token)
        }
        (_, ["v3", rest @ ..]) => known(service, &request, rest, body).await,
        _ => Err(Fault::identity(
            StatusCode::NOT_FOUND,
            "The resource could not be found.",
        )),
    }
}

/// Requests that need a token.
async fn known(
    service: &Embedded,
    request: &Request<'_>,
    parts: &[&str],
    body: Value,
) -> Result<Answer, Fault> {
    let caller = service.credentials(request.headers)?;
    match (request.method, parts) {
        (_, ["auth", "tokens"]) => subject(service, request, &caller).await,
        (_, ["auth", "catalog"]) => {
            Ok(Reply::value(&json!({"catalog": catalog(service, request), "links": {}})).into())
        }
        (_, ["auth", "projects"]) => Ok(records::own_projects(service, &caller).into()),
        (_, ["domains"]) => Ok(Reply::value(&json!({"domains": [domain()], "links": {}})).into()),
        (_, ["domains", _]) => Ok(Reply::value(&json!({ "domain": domain() })).into()),
        (_, ["services" | "endpoints" | "regions"]) => {
            Ok(listed(service, request, parts[0]).into())
        }
        _ => {
            let asked = records::Asked {
                method: request.method,
                caller: &caller,
                query: &request.query,
                body,
            };
            records::answer(service, parts, asked).await.map(Into::into)
        }
    }
}

fn domain() -> Value {
    json!({"id": super::DOMAIN, "name": "Default", "enabled": true, "links": {}})
}

/// The services of this server: identity, and the network.
fn services(request: &Request<'_>) -> [(&'static str, &'static str, String); 2] {
    [
        ("identity", "keystone", format!("{}/v3", request.base)),
        ("network", "neutron", request.network.to_owned()),
    ]
}

fn catalog(service: &Embedded, request: &Request<'_>) -> Value {
    let region = &service.settings.region;
    let all = services(request).map(|(kind, name, url)| {
        let endpoints = ["public", "internal", "admin"].map(|interface| {
            json!({
                "id": format!("{kind}-{interface}"), "interface": interface, "region": region,
                "region_id": region, "url": url,
            })
        });
        json!({"id": kind, "type": kind, "name": name, "endpoints": endpoints})
    });
    json!(all)
}

fn listed(service: &Embedded, request: &Request<'_>, what: &str) -> Reply {
    let region = &service.settings.region;
    let items: Vec<Value> = match what {
        "services" => services(request)
            .iter()
            .map(|(kind, name, _)| json!({"id": kind, "type": kind, "name": name, "enabled": true}))
            .collect(),
        "regions" => vec![json!({"id": region, "description": "", "parent_region_id": null})],
        _ => services(request)
            .iter()
            .map(|(kind, _, url)| {
                json!({
                    "id": format!("{kind}-public"), "service_id": kind, "interface": "public",
                    "region": region, "region_id": region, "url": url, "enabled": true,
                })
            })
            .collect(),
    };
    Reply::value(&json!({ what: items, "links": {} }))
}

/// What a token says of itself, as the identity service tells it.
fn described(service: &Embedded, request: &Request<'_>, token: &Token) -> Option<Value> {
    let people: &People = &service.hub.people();
    let name = |kind, id: &str| Some(people.get(kind, id)?.get("name")?.clone());
    let role_names = token.roles(people)?;
    let role = |name: &String| {
        let (id, _) = people.find(people::ROLE, name)?;
        Some(json!({"id": id, "name": name}))
    };
    let roles: Vec<Value> = role_names.iter().filter_map(role).collect();
    let method = if token.credential.is_some() {
        "application_credential"
    } else {
        "password"
    };
    let moment = |seconds: i64| {
        let text = Timestamp(seconds).to_string();
        format!("{}.000000Z", text.trim_end_matches('Z'))
    };
    let mut described = json!({
        "methods": [method],
        "user": {
            "id": token.user, "name": name(people::USER, &token.user)?, "domain": short_domain(),
            "password_expires_at": null,
        },
        "issued_at": moment(token.issued),
        "expires_at": moment(token.expires),
        "audit_ids": ["nucleon"],
    });
    if let Some(project) = &token.project {
        described["project"] = json!({
            "id": project, "name": name(people::PROJECT, project)?, "domain": short_domain(),
        });
        described["is_domain"] = false.into();
        described["roles"] = roles.into();
        described["catalog"] = catalog(service, request);
    }
    Some(described)
}

fn short_domain() -> Value {
    json!({"id": super::DOMAIN, "name": "Default"})
}

fn issued(service: &Embedded, request: &Request<'_>, token: &Token) -> Result<Answer, Fault> {
    let key = Embedded::key(&service.hub.people())?;
    let described = described(service, request, token).ok_or_else(Fault::unauthorized)?;
    Ok(Answer {
        reply: Reply::created(json!({ "token": described }).to_string()),
        token: Some(token.sign(&key).ok_or_else(Fault::internal)?),
    })
}

/// `auth/tokens` with a token to speak of in `X-Subject-Token`.
async fn subject(
    service: &Embedded,
    request: &Request<'_>,
    caller: &Credentials,
) -> Result<Answer, Fault> {
    let header = request.headers.get("x-subject-token");
    let text = header
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let gone = || Fault::identity(StatusCode::NOT_FOUND, "Could not find token.");
    let token = Embedded::token(&service.hub.people(), text)?.ok_or_else(gone)?;
    if *request.method == Method::DELETE {
        if token.user != caller.user && !caller.has_role("admin") {
            return Err(Fault::identity(
                StatusCode::FORBIDDEN,
                "You are not authorized to perform the requested action: identity:revoke_token.",
            ));
        }
        let revoke = people::Command::Revoke {
            print: Token::print(text),
            expires: token.expires,
            now: now().0,
        };
        service.hub.submit_people(revoke).await?;
        return Ok(Reply::empty().into());
    }
    let described = described(service, request, &token).ok_or_else(gone)?;
    Ok(Answer {
        reply: Reply::value(&json!({ "token": described })),
        token: Some(text.to_owned()),
    })
}

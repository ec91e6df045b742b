//! Identity `keystone`: tokens checked with a Keystone by a service user, and the answers believed
//! for a while.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use intent::Timestamp;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use tls::{TlsError, http as https};

use crate::{config, fault::Fault, hub::now, policy::Credentials, writer::chain};

/// Tokens that are remembered; beyond that the ones that are over go, and then all.
const REMEMBERED: usize = 100_000;
const PATIENCE: Duration = Duration::from_secs(10);
const LONGEST: usize = 4 << 20;

/// A token's fingerprint: the token itself is not kept.
type Print = [u8; 32];

/// The Keystone, as this server asks it.
#[derive(Debug)]
pub struct Keystone {
    settings: config::Keystone,
    client: https::Client,
    own: tokio::sync::Mutex<Option<String>>,
    known: Mutex<BTreeMap<Print, Known>>,
}

#[derive(Debug, Clone)]
struct Known {
    until: Instant,
    /// `None`: Keystone does not know the token.
    credentials: Option<Credentials>,
}

impl Known {
    /// Believed for a while, but no longer than the token itself is good.
    fn until(now: (Instant, Timestamp), cache: Duration, expires: Option<Timestamp>) -> Instant {
        let (instant, moment) = now;
        let left = expires.map(|expires| {
            let left = u64::try_from(expires.0 - moment.0).unwrap_or(0);
            Duration::from_secs(left)
        });
        instant + left.map_or(cache, |left| left.min(cache))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Heard {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl Keystone {
    pub fn new(settings: config::Keystone) -> Result<Self, TlsError> {
        Ok(Self {
            client: https::for_peer(&settings.url, settings.authority.as_deref())?,
            settings,
            own: tokio::sync::Mutex::new(None),
            known: Mutex::default(),
        })
    }

    pub(super) async fn credentials(&self, headers: &HeaderMap) -> Result<Credentials, Fault> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let token = text("x-auth-token").ok_or_else(Fault::unauthorized)?;
        let mut credentials = self.of(token).await?;
        if let Some(service) = text("x-service-token") {
            credentials.service_roles = self.of(service).await?.roles;
        }
        Ok(credentials)
    }

    async fn of(&self, token: &str) -> Result<Credentials, Fault> {
        let print: Print = Sha256::digest(token.as_bytes()).into();
        let known = lock(&self.known).get(&print).cloned();
        if let Some(known) = known.filter(|known| known.until > Instant::now()) {
            return known.credentials.ok_or_else(Fault::unauthorized);
        }
        let checked = self.check(token).await?;
        let mut all = lock(&self.known);
        if all.len() >= REMEMBERED {
            let now = Instant::now();
            all.retain(|_, known| known.until > now);
            if all.len() >= REMEMBERED {
                all.clear();
            }
        }
        let cache = Duration::from_secs(self.settings.cache_seconds);
        let expires = checked.as_ref().and_then(expires);
        let credentials = checked.as_ref().map(credentials);
        let known = Known {
            until: Known::until((Instant::now(), now()), cache, expires),
            credentials: credentials.clone(),
        };
        all.insert(print, known);
        credentials.ok_or_else(Fault::unauthorized)
    }

    /// What Keystone says of a token. The service user's own token may be over: then once more.
    async fn check(&self, token: &str) -> Result<Option<Value>, Fault> {
        for renew in [false, true] {
            let own = self.own_token(renew).await?;
            let headers = [("x-auth-token", own.as_str()), ("x-subject-token", token)];
            let mut heard = self
                .ask(Method::GET, "/auth/tokens", &headers, None)
                .await?;
            match heard.status {
                StatusCode::OK => return Ok(Some(heard.body["token"].take())),
                StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST => return Ok(None),
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {}
                status => {
                    tracing::warn!(%status, "Keystone does not answer about a token");
                    return Err(Fault::unavailable());
                }
            }
        }
        tracing::error!("Keystone does not take the service user's token");
        Err(Fault::unavailable())
    }

    /// The service user's token, got when there is none or it is over.
    pub(crate) async fn own_token(&self, renew: bool) -> Result<String, Fault> {
        let mut own = self.own.lock().await;
        if let Some(token) = own.as_ref().filter(|_| !renew) {
            return Ok(token.clone());
        }
        let it = &self.settings;
        let body = json!({"auth": {
            "identity": {"methods": ["password"], "password": {"user": {
                "name": it.username, "password": it.password, "domain": {"name": it.user_domain},
            }}},
            "scope": {"project": {"name": it.project, "domain": {"name": it.project_domain}}},
        }});
        let heard = self
            .ask(Method::POST, "/auth/tokens", &[], Some(&body))
            .await?;
        let token = heard.headers.get("x-subject-token");
        let token = token
            .and_then(|token| token.to_str().ok())
            .map(str::to_owned);
        let token = token.ok_or_else(|| {
            tracing::error!(status = %heard.status, "Keystone does not let the service user in");
            Fault::unavailable()
        })?;
        *own = Some(token.clone());
        Ok(token)
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Heard, Fault> {
        let url = format!("{}{path}", self.settings.url.trim_end_matches('/'));
        let mut request = Request::builder()
            .method(method)
            .uri(url)
            .header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(ToString::to_string).unwrap_or_default();
        // A token that no header can hold is no token.
        let request = request
            .body(Full::from(body))
            .map_err(|_| Fault::unauthorized())?;
        let asked = async {
            let response = self.client.request(request).await.map_err(|error| {
                tracing::warn!(error = %chain(&error), "Keystone can't be reached");
                Fault::unavailable()
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, LONGEST).collect().await;
            let body = body.map_err(|_| Fault::unavailable())?.to_bytes();
            Ok(Heard {
                status: head.status,
                headers: head.headers,
                body: serde_json::from_slice(&body).unwrap_or_default(),
            })
        };
        let answered = tokio::time::timeout(PATIENCE, asked).await;
        answered.unwrap_or_else(|_| Err(Fault::unavailable()))
    }
}

/// Until when Keystone says that the token is good.
fn expires(token: &Value) -> Option<Timestamp> {
    Timestamp::read(token["expires_at"].as_str()?)
}

fn credentials(token: &Value) -> Credentials {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let roles = token["roles"].as_array().into_iter().flatten();
    Credentials {
        user: text(&token["user"]["id"]),
        project: text(&token["project"]["id"]),
        domain: text(&token["user"]["domain"]["id"]),
        roles: roles
            .map(|role| text(&role["name"]).to_lowercase())
            .collect(),
        ..Credentials::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_not_believed_longer_than_it_is_good() {
        let (instant, cache) = (Instant::now(), Duration::from_secs(300));
        let until = |expires: Option<i64>| {
            let now = (instant, Timestamp(1_000));
            Known::until(now, cache, expires.map(Timestamp)) - instant
        };
        assert_eq!(until(None), cache);
        assert_eq!(until(Some(5_000)), cache);
        assert_eq!(until(Some(1_060)), Duration::from_secs(60));
        assert_eq!(until(Some(900)), Duration::ZERO);
    }
}

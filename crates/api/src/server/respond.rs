//! One request: its id, its bounds, its caller, its answer.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tracing::Instrument;

use crate::{
    Api,
    agents::elsewhere,
    fault::Fault,
    identity::{
        Identity,
        embedded::{self, Embedded},
    },
    metadata,
    neutron::{self, Asked, Query, Reply, decode},
    operators,
    replica::{FOLLOW, Passed, PassedOn},
};

/// What one client, or many, may take of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body: usize,
    pub connections: usize,
    /// Requests worked on at once; more are told to come back.
    pub requests: usize,
    /// How long one request may take.
    pub time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 4 << 20,
            connections: 4096,
            requests: 2048,
            time: Duration::from_secs(60),
        }
    }
}

pub(super) struct Shared {
    pub(super) api: Arc<Api>,
    pub(super) limits: Limits,
    pub(super) secure: bool,
    pub(super) requests: Semaphore,
}

pub(super) async fn respond(shared: &Shared, request: Request<Incoming>) -> Response<Full<Bytes>> {
    // Out of this thread's generator: the kernel need not be asked for each.
    let id = uuid::Builder::from_random_bytes(rand::random()).into_uuid();
    let id = format!("req-{id}");
    let began = Instant::now();
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let span = tracing::info_span!("request", id = %id, method = %method, path = %path);
    let work = AssertUnwindSafe(within(shared, request)).catch_unwind();
    let outcome = work.instrument(span.clone()).await.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!(id, "a panic ended the request"));
        Err(Fault::internal())
    });
    let mut response = match outcome {
        Ok(response) => response,
        Err(fault) => rendered(fault.status, fault.to_bytes(), &method),
    };
    let status = response.status();
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert("x-openstack-request-id", id);
    }
    let took = began.elapsed();
    shared
        .api
        .metrics
        .count(method.as_str(), status.as_u16(), took);
    span.in_scope(|| {
        let micros = took.as_micros();
        if status.is_server_error() {
            // The span is there only where calls are logged.
            tracing::warn!(id, status = status.as_u16(), micros, "answered");
        } else if method == Method::GET {
            tracing::debug!(status = status.as_u16(), micros, "answered");
        } else {
            tracing::info!(status = status.as_u16(), micros, "answered");
        }
    });
    response
}

/// The answer, unless there are too many others or it takes too long.
async fn within(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Fault> {
    if let Some(plain) = plain(shared, request.uri().path()) {
        return Ok(plain);
    }
    let _turn = shared
        .requests
        .try_acquire()
        .map_err(|_| Fault::unavailable())?;
    let changes = !is_read(request.method());
    let answered = tokio::time::timeout(shared.limits.time, answer(shared, request));
    answered.await.unwrap_or_else(|_| {
        // A command that is on its way to the store stays there.
        Err(match changes {
            true => Fault::too_late(),
            false => Fault::unavailable(),
        })
    })
}

/// What those ask who run the server, and load balancers.
fn plain(shared: &Shared, path: &str) -> Option<Response<Full<Bytes>>> {
    let text = |status: StatusCode, text: String| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let kind = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    };
    match path {
        "/healthz" => Some(text(StatusCode::OK, "ok\n".to_owned())),
        "/readyz" if shared.api.hub.is_ready() => Some(text(StatusCode::OK, "ok\n".to_owned())),
        "/readyz" => Some(text(
            StatusCode::SERVICE_UNAVAILABLE,
            "not known to be fresh\n".to_owned(),
        )),
        "/metrics" => {
            let revision = shared.api.hub.state().revision;
            let watches = shared.api.agents.hosts().len();
            let metrics = shared.api.metrics.text(revision, watches);
            Some(text(StatusCode::OK, metrics))
        }
        _ => None,
    }
}

async fn answer(
    shared: &Shared,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Fault> {
    let (head, body) = request.into_parts();
    let method = head.method.clone();
    let path = decode(head.uri.path(), false);
    let base = base(&head.headers, shared.secure);
    if path == "/" {
        return Ok(render(neutron::versions(&base), &method));
    }
    if path == FOLLOW && method == Method::POST {
        let told = read(body, shared.limits).await?;
        return Ok(shared.api.hub.handle.hear(&head.headers, &told));
    }
    if elsewhere::is_for_peers(&path) {
        let told = read(body, shared.limits).await?;
        return elsewhere::answer(&shared.api, &path, &head.headers, &told).await;
    }
    if let Identity::Embedded(service) = &shared.api.identity
        && (path.starts_with("/v3") || path.starts_with("/identity"))
    {
        let body = read(body, shared.limits).await?;
        return match identity(service, &head, &path, &base, &body).await {
            // Who there is, is written where everything is.
            Err(fault) if fault == Fault::not_writer() => {
                pass_on(shared, Passed::of(&head, body)).await
            }
            answer => answer,
        };
    }
    if let Some(below) = path.strip_prefix(operators::PATH) {
        let credentials = shared.api.identity.credentials(&head.headers).await?;
        let body = read(body, shared.limits).await?;
        let caller = shared.api.caller(credentials);
        let reply = operators::answer(&shared.api, &caller, &method, below, &body).await?;
        return Ok(render(reply, &method));
    }
    if !path.starts_with("/v2.0") && !path.starts_with(metadata::PATH) {
        return Err(Fault::no_api());
    }
    of_the_cloud(shared, head, body, path, base).await
}

/// What is about the cloud itself: read here, or written here or by who writes.
async fn of_the_cloud(
    shared: &Shared,
    head: http::request::Parts,
    body: Incoming,
    path: String,
    base: String,
) -> Result<Response<Full<Bytes>>, Fault> {
    let method = head.method.clone();
    if shared.api.hub.handle.follows() && !is_read(&method) {
        let body = read(body, shared.limits).await?;
        return pass_on(shared, Passed::of(&head, body)).await;
    }
    let credentials = shared.api.identity.credentials(&head.headers).await?;
    if let Some(instance) = path.strip_prefix(metadata::PATH) {
        let caller = shared.api.caller(credentials);
        let body = read(body, shared.limits).await?;
        return metadata::answer(&shared.api, &caller, &method, instance, &body).await;
    }
    if !accepts_json(&head.headers) {
        return Err(Fault::not_acceptable());
    }
    let asked = Asked {
        caller: shared.api.caller(credentials),
        query: Query::parse(head.uri.query().unwrap_or_default()),
        if_match: text(&head.headers, "if-match"),
        body: read(body, shared.limits).await?,
        method,
        base,
        path,
    };
    // Asked before the state is looked at: what is fresh by then shows all that came before.
    let fresh = shared.api.hub.is_ready();
    let reply = match neutron::answer(&shared.api, &asked).await {
        // Some reads write, and a writer may lose its lease with a command in hand.
        Err(fault) if fault == Fault::not_writer() => {
            return pass_on(shared, Passed::of(&head, asked.body)).await;
        }
        reply => reply,
    };
    // A refusal may be stale as well: what is not found here may be elsewhere.
    let mut response = match reply {
        Ok(reply) => render(reply, &asked.method),
        Err(fault) => rendered(fault.status, fault.to_bytes(), &asked.method),
    };
    if is_read(&asked.method) && !fresh {
        let stale = HeaderValue::from_static(r#"110 nucleon "Response is Stale""#);
        response.headers_mut().insert(header::WARNING, stale);
    }
    Ok(response)
}

fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Has the writer answer what this server can't.
async fn pass_on(shared: &Shared, asked: Passed) -> Result<Response<Full<Bytes>>, Fault> {
    if asked.is_again() {
        return Err(Fault::unavailable());
    }
    match shared.api.hub.handle.pass_on(asked).await {
        PassedOn::Answered(answer) => Ok(answer.map(Full::new)),
        PassedOn::NoWriter => Err(Fault::unavailable()),
        PassedOn::Unknown => Err(Fault::unknown_outcome()),
    }
}

/// The embedded identity service, at `/identity/v3` and at `/v3`.
async fn identity(
    service: &Embedded,
    head: &http::request::Parts,
    path: &str,
    network: &str,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Fault> {
    let (base, below) = match path.strip_prefix("/identity") {
        Some(below) => (format!("{network}/identity"), below),
        None => (network.to_owned(), path),
    };
    let request = embedded::Request {
        method: &head.method,
        base: &base,
        network,
        path: below,
        query: Query::parse(head.uri.query().unwrap_or_default()),
        headers: &head.headers,
        body,
    };
    let answer = embedded::answer(service, request).await?;
    let mut response = render(answer.reply, &head.method);
    if let Some(token) = answer
        .token
        .and_then(|token| HeaderValue::from_str(&token).ok())
    {
        response.headers_mut().insert("x-subject-token", token);
    }
    Ok(response)
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}

/// Scheme and authority as the client sees them, behind a proxy as well.
fn base(headers: &HeaderMap, secure: bool) -> String {
    let scheme = text(headers, "x-forwarded-proto");
    let scheme = scheme
        .as_deref()
        .unwrap_or(if secure { "https" } else { "http" });
    let host = text(headers, "x-forwarded-host").or_else(|| text(headers, "host"));
    format!("{scheme}://{}", host.as_deref().unwrap_or("localhost"))
}

fn accepts_json(headers: &HeaderMap) -> bool {
    let Some(accept) = text(headers, "accept") else {
        return true;
    };
    accept.split(',').any(|kind| {
        let kind = kind.split(';').next().unwrap_or_default().trim();
        matches!(
            kind,
            "" | "*/*" | "application/*" | "application/json" | "text/plain" | "text/html"
        )
    })
}

/// The body, which may take half of the request's time: after it nothing is done yet.
async fn read(body: Incoming, limits: Limits) -> Result<Bytes, Fault> {
    let body = Limited::new(body, limits.body).collect();
    match tokio::time::timeout(limits.time / 2, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Fault::too_large()),
        Ok(Err(_)) => Err(Fault::invalid_body()),
        Err(_) => Err(Fault::too_slow()),
    }
}

fn render(reply: Reply, method: &Method) -> Response<Full<Bytes>> {
    rendered(reply.status, reply.body, method)
}

fn rendered(status: StatusCode, body: Bytes, method: &Method) -> Response<Full<Bytes>> {
    let empty = body.is_empty() || *method == Method::HEAD;
    let mut response = Response::new(Full::new(if *method == Method::HEAD {
        Bytes::new()
    } else {
        body
    }));
    *response.status_mut() = status;
    if !empty {
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(header::CONTENT_TYPE, json);
    }
    if status == StatusCode::UNAUTHORIZED {
        let realm = HeaderValue::from_static("Keystone uri=\"/\"");
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, realm);
    }
    response
}

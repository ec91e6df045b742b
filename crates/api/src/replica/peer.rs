//! How servers that share a store talk to each other, over the API's own listener: followers tell
//! the writer how far they are, and pass on to it what they can't do themselves. They know each
//! other by the secret that the store was born with.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use serde::{Deserialize, Serialize};
use store::Store;
use tls::http as https;
use tokio::time::timeout;

use crate::writer::{Decide, Handle, Role, chain};

/// Where followers tell how far they are.
pub const FOLLOW: &str = "/nucleon/follow";
const SECRET: HeaderName = HeaderName::from_static("x-nucleon-secret");
/// Set on what was passed on once: it is not passed on again.
const PASSED: HeaderName = HeaderName::from_static("x-nucleon-passed-on");

/// A writer that does not answer a follower by then is not waited for.
pub(super) const TELL: Duration = Duration::from_millis(500);
/// What is passed on takes as long as the longest write may take.
const PASS: Duration = Duration::from_secs(60);
/// Bytes of an answer that is passed back.
const ANSWER: usize = 64 << 20;

/// What a follower says.
#[derive(Debug, Serialize, Deserialize)]
struct Told {
    name: String,
    applied: u64,
}

/// What the writer says to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Granted {
    /// No write after this revision is acknowledged without the follower while its lease runs.
    pub(crate) from: u64,
    /// Counted from when the follower asked.
    pub(crate) lease_ms: u64,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum PeerError {
    /// It surely did nothing.
    #[error("the writer at {address} can't be reached")]
    Away {
        address: String,
        source: Option<hyper_util::client::legacy::Error>,
    },
    #[error("the writer at {address} broke off")]
    BrokeOff { address: String },
    #[error("the server at {address} does not write: {status}")]
    NotWriter { address: String, status: StatusCode },
}

/// The connections to other servers.
#[derive(Debug)]
pub(crate) struct Peers {
    client: https::Client,
    secret: HeaderValue,
}

impl Peers {
    pub(crate) fn new(store: &Store, client: https::Client) -> Self {
        // The store makes its secret of hexadecimal digits; another matches nobody's.
        let secret = HeaderValue::from_str(store.secret());
        let mut secret = secret.unwrap_or(HeaderValue::from_static(""));
        secret.set_sensitive(true);
        Self { client, secret }
    }

    /// Tells the writer that this server has applied everything up to a revision.
    pub(crate) async fn tell(
        &self,
        address: &str,
        name: &str,
        applied: u64,
    ) -> Result<Granted, PeerError> {
        let told = Told {
            name: name.to_owned(),
            applied,
        };
        let body = serde_json::to_vec(&told).unwrap_or_default();
        let request = Request::post(format!("{address}{FOLLOW}"))
            .header(SECRET, self.secret.clone())
            .body(Full::from(body));
        let away = || PeerError::Away {
            address: address.to_owned(),
            source: None,
        };
        let request = request.map_err(|_| away())?;
        let asked = timeout(TELL, self.ask(address, request));
        let answer = asked.await.map_err(|_| away())??;
        serde_json::from_slice(answer.body()).map_err(|_| PeerError::NotWriter {
            address: address.to_owned(),
            status: answer.status(),
        })
    }

    /// Has the writer answer a request.
    pub(crate) async fn pass_on(
        &self,
        address: &str,
        asked: Passed,
    ) -> Result<Response<Bytes>, PeerError> {
        let mut request = Request::new(Full::from(asked.body));
        let target = format!("{address}{}", asked.target).parse();
        *request.uri_mut() = target.map_err(|_| PeerError::Away {
            address: address.to_owned(),
            source: None,
        })?;
        *request.method_mut() = asked.method;
        *request.headers_mut() = asked.headers;
        for hop in [
            header::CONNECTION,
            header::TRANSFER_ENCODING,
            header::CONTENT_LENGTH,
        ] {
            request.headers_mut().remove(hop);
        }
        request
            .headers_mut()
            .insert(PASSED, HeaderValue::from_static("1"));
        let answer = timeout(PASS, self.ask(address, request)).await;
        answer.unwrap_or(Err(PeerError::BrokeOff {
            address: address.to_owned(),
        }))
    }

    async fn ask(
        &self,
        address: &str,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Bytes>, PeerError> {
        let broke_off = || PeerError::BrokeOff {
            address: address.to_owned(),
        };
        let answer = self.client.request(request).await;
        let answer = answer.map_err(|source| {
            if source.is_connect() {
                PeerError::Away {
                    address: address.to_owned(),
                    source: Some(source),
                }
            } else {
                broke_off()
            }
        })?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, ANSWER).collect().await;
        let body = body.map_err(|_| broke_off())?.to_bytes();
        Ok(Response::from_parts(head, body))
    }
}

/// A request on its way to the writer.
#[derive(Debug, Clone)]
pub struct Passed {
    pub method: Method,
    /// The path and the query.
    pub target: String,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Passed {
    pub fn of(head: &http::request::Parts, body: Bytes) -> Self {
        let target = head.uri.path_and_query();
        Self {
            method: head.method.clone(),
            target: target.map_or("/", |target| target.as_str()).to_owned(),
            headers: head.headers.clone(),
            body,
        }
    }

    /// Whether another server has passed it on already.
    pub fn is_again(&self) -> bool {
        self.headers.contains_key(PASSED)
    }
}

/// What became of a request that this server could not do itself.
#[derive(Debug)]
pub enum PassedOn {
    Answered(Response<Bytes>),
    /// Nothing was done: there is no writer to reach.
    NoWriter,
    /// The writer broke off, and may have done it.
    Unknown,
}

impl<D: Decide> Handle<D> {
    /// Whether writes have to be passed on.
    pub fn follows(&self) -> bool {
        !matches!(*self.shared.role.borrow(), Role::Writer { .. })
    }

    /// Has the writer do what this server can't.
    pub async fn pass_on(&self, asked: Passed) -> PassedOn {
        let role = self.shared.role.borrow().clone();
        let Role::Follower {
            writer: Some(address),
        } = role
        else {
            return PassedOn::NoWriter;
        };
        match self.shared.peers.pass_on(&address, asked).await {
            Ok(answer) => PassedOn::Answered(answer),
            Err(error) => {
                tracing::warn!(error = %chain(&error), "a request can't be passed on");
                match error {
                    PeerError::BrokeOff { .. } => PassedOn::Unknown,
                    PeerError::Away { .. } | PeerError::NotWriter { .. } => PassedOn::NoWriter,
                }
            }
        }
    }

    /// Asks the writer as one server asks another.
    pub(crate) async fn ask_writer(&self, method: Method, target: &str, body: Bytes) -> PassedOn {
        let mut headers = HeaderMap::new();
        headers.insert(SECRET, self.shared.peers.secret.clone());
        let asked = Passed {
            method,
            target: target.to_owned(),
            headers,
            body,
        };
        self.pass_on(asked).await
    }

    /// Whether a request comes from a server of the same store.
    pub(crate) fn is_peer(&self, headers: &HeaderMap) -> bool {
        headers.get(SECRET) == Some(&self.shared.peers.secret)
    }

    /// Answers a follower that tells how far it is: 409 unless this server is surely the writer.
    /// An older writer that can't prove it any more must not keep followers believing in it.
    pub fn hear(&self, headers: &HeaderMap, body: &[u8]) -> Response<Full<Bytes>> {
        let refuse = |status| {
            let mut response = Response::new(Full::default());
            *response.status_mut() = status;
            response
        };
        if !self.is_peer(headers) {
            return refuse(StatusCode::FORBIDDEN);
        }
        let Ok(told) = serde_json::from_slice::<Told>(body) else {
            return refuse(StatusCode::BAD_REQUEST);
        };
        if self.follows() || !self.is_fresh() {
            return refuse(StatusCode::CONFLICT);
        }
        let published = || self.published().revision;
        let grant = self
            .shared
            .followers
            .applied(&told.name, told.applied, published);
        let granted = Granted {
            from: grant.from,
            lease_ms: grant.lease.as_millis() as u64,
        };
        Response::new(Full::from(serde_json::to_vec(&granted).unwrap_or_default()))
    }
}

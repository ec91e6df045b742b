//! The listener itself: connections, who they are, and the three paths.

use std::{collections::BTreeMap, convert::Infallible, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use intent::view::Holding;
use rustls::pki_types::CertificateDer;
use serde::Deserialize;
use serde_json::{Value, json};
use tls::{ServerStream as TlsStream, TlsAcceptor};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch as told};

use super::{
    elsewhere, moves, report,
    socket::{Socket, Stream},
    watch,
};
use crate::{Api, fault::Fault};

type Body = BoxBody<Bytes, Infallible>;

/// Bytes of a report or an answer: a snapshot of a large host is long.
const LONGEST: usize = 256 << 20;
/// How long a host may take to agree on TLS, and to send a request's head.
const HEAD: Duration = Duration::from_secs(10);

/// Which token proves which host.
#[derive(Debug, Default)]
pub struct Tokens {
    of_host: BTreeMap<String, String>,
    of_any: Option<String>,
}

impl Tokens {
    /// Reads `HOST TOKEN` lines; `*` is any host.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        let mut tokens = Self::default();
        for line in std::fs::read_to_string(path)?.lines() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                ["*", token] => tokens.of_any = Some(token.to_owned()),
                [host, token] => {
                    tokens.of_host.insert(host.to_owned(), token.to_owned());
                }
                _ => {}
            }
        }
        Ok(tokens)
    }

    fn prove(&self, host: &str, token: &str) -> bool {
        let own = self.of_host.get(host).or(self.of_any.as_ref());
        own.is_some_and(|own| same(own.as_bytes(), token.as_bytes()))
    }
}

/// Equality that takes as long for a near miss as for a far one.
fn same(left: &[u8], right: &[u8]) -> bool {
    let differences = left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b));
    left.len() == right.len() && differences == 0
}

/// The agents' listener.
pub struct Listener {
    pub api: Arc<Api>,
    pub socket: Socket,
    pub tls: Option<TlsAcceptor>,
    /// `None`: nobody needs a token. Only where nobody else can connect.
    pub tokens: Option<Tokens>,
    /// Connections at once; more wait.
    pub connections: usize,
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

struct Shared {
    api: Arc<Api>,
    tokens: Option<Tokens>,
    /// Client certificates are asked for.
    certificates: bool,
}

impl Listener {
    /// Serves until `stop` turns true. Watches end with the process.
    pub async fn run(self, mut stop: told::Receiver<bool>) {
        let moves = tokio::spawn(moves::distribute(self.api.clone()));
        let shared = Arc::new(Shared {
            api: self.api,
            tokens: self.tokens,
            certificates: self.tls.is_some(),
        });
        let connections = Arc::new(Semaphore::new(self.connections));
        loop {
            let accepted = tokio::select! {
                accepted = accept(&self.socket, &connections) => accepted,
                _ = stop.wait_for(|stop| *stop) => return moves.abort(),
            };
            let Some((stream, room)) = accepted else {
                continue;
            };
            let (shared, tls) = (shared.clone(), self.tls.clone());
            let mut stop = stop.clone();
            tokio::spawn(async move {
                let serving = async {
                    match tls {
                        None => serve(shared, TokioIo::new(stream), None).await,
                        Some(tls) => {
                            if let Some(stream) = shaken(&tls, stream).await {
                                let chain = stream.get_ref().1.peer_certificates();
                                let own = chain.and_then(|chain| chain.first());
                                let own = own.map(|own| own.clone().into_owned());
                                serve(shared, TokioIo::new(stream), own).await;
                            }
                        }
                    }
                };
                tokio::select! {
                    () = serving => {}
                    _ = stop.wait_for(|stop| *stop) => {}
                }
                drop(room);
            });
        }
    }
}

/// The next connection, as soon as there is room for it.
async fn accept(
    socket: &Socket,
    connections: &Arc<Semaphore>,
) -> Option<(Box<dyn Stream>, OwnedSemaphorePermit)> {
    let room = connections.clone().acquire_owned().await.ok()?;
    match socket.accept().await {
        Ok(stream) => Some((stream, room)),
        Err(error) => {
            tracing::warn!(%error, "a host's connection can't be accepted");
            tokio::time::sleep(Duration::from_millis(50)).await;
            None
        }
    }
}

/// Who does not shake hands in time, or shows a certificate that nobody signed, is let go.
async fn shaken<S: Stream>(tls: &TlsAcceptor, stream: S) -> Option<TlsStream<S>> {
    match tokio::time::timeout(HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => return Some(stream),
        Ok(Err(error)) => tracing::warn!(%error, "an agent can't connect by TLS"),
        Err(_) => tracing::debug!("an agent's TLS takes too long"),
    }
    None
}

async fn serve<I>(shared: Arc<Shared>, io: I, certificate: Option<CertificateDer<'static>>)
where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let certificate = Arc::new(certificate);
    let cut = Arc::new(Notify::new());
    let is_cut = cut.clone();
    let service = service_fn(move |request| {
        let (shared, certificate, cut) = (shared.clone(), certificate.clone(), cut.clone());
        async move {
            let answer = answer(&shared, (*certificate).as_ref(), &cut, request).await;
            Ok::<_, Infallible>(
                answer.unwrap_or_else(|fault| plain(fault.status, fault.to_bytes())),
            )
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(io, service);
    tokio::select! {
        served = connection => if let Err(error) = served {
            tracing::debug!(%error, "an agent's connection ended badly");
        },
        // A connection that nobody reads from would not end by itself.
        () = is_cut.notified() => {}
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed());
    *response.status_mut() = status;
    response
}

fn forbidden(host: &str) -> Fault {
    let message = format!("This connection does not prove that it is host {host}.");
    Fault::identity(StatusCode::FORBIDDEN, message)
}

impl Shared {
    fn prove(
        &self,
        host: &str,
        certificate: Option<&CertificateDer<'_>>,
        request: &Request<Incoming>,
    ) -> Result<(), Fault> {
        if self.certificates && certificate.is_some_and(|own| is_for(own, host)) {
            return Ok(());
        }
        let Some(tokens) = &self.tokens else {
            // Nothing is set up to prove a name with: the listener is this machine's own.
            return if self.certificates {
                Err(forbidden(host))
            } else {
                Ok(())
            };
        };
        let header = request.headers().get("authorization");
        let token = header.and_then(|header| header.to_str().ok());
        let token = token.and_then(|token| token.strip_prefix("Bearer "));
        if token.is_some_and(|token| tokens.prove(host, token.trim())) {
            return Ok(());
        }
        Err(forbidden(host))
    }
}

/// Whether a certificate (whose signature TLS has checked) is the host's: made out to its very
/// name, not to all names of a domain, or to the name in other letters.
fn is_for(certificate: &CertificateDer<'_>, host: &str) -> bool {
    let parsed = webpki::EndEntityCert::try_from(certificate);
    parsed.is_ok_and(|parsed| parsed.valid_dns_names().any(|name| name == host))
}

async fn answer(
    shared: &Shared,
    certificate: Option<&CertificateDer<'_>>,
    cut: &Arc<Notify>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Fault> {
    let path = crate::neutron::decode(request.uri().path(), false);
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let ["v1", "hosts", host, ref rest @ ..] = parts[..] else {
        return Err(Fault::no_api());
    };
    shared.prove(host, certificate, &request)?;
    match (request.method(), rest) {
        (&Method::GET, ["watch"]) => Ok(watching(shared, host, None, cut)),
        (&Method::POST, ["watch"]) => {
            let body = read(request).await?;
            // Who can't be understood is told everything.
            let holding = serde_json::from_slice(&body).ok();
            Ok(watching(shared, host, holding, cut))
        }
        (&Method::POST, ["status"]) => {
            let body = read(request).await?;
            let report = serde_json::from_slice(&body).map_err(|error| {
                Fault::bad_request(format!("The status of {host} can't be read: {error}"))
            })?;
            if shared.api.hub.handle.follows() {
                elsewhere::pass_on(&shared.api, host, &body).await?;
            } else {
                report::take(&shared.api, &host.into(), report).await?;
            }
            Ok(plain(StatusCode::NO_CONTENT, Bytes::new()))
        }
        (&Method::POST, ["history"]) => {
            let body = read(request).await?;
            let told: Told = serde_json::from_slice(&body).map_err(|_| Fault::invalid_body())?;
            let mark = shared.api.hub.handle.store().mark(told.revision).await;
            let mark = mark.map_err(|error| {
                tracing::warn!(%host, error = crate::writer::chain(&error), "the log can't be read");
                Fault::unavailable()
            })?;
            let answer = json!({"continues": mark.is_some_and(|mark| mark == told.mark)});
            Ok(plain(StatusCode::OK, answer.to_string()))
        }
        (&Method::POST, ["answers", id]) => {
            let body = read(request).await?;
            let answer: Value = serde_json::from_slice(&body).map_err(|_| Fault::invalid_body())?;
            if shared.api.agents.answer(id, answer) {
                return Ok(plain(StatusCode::NO_CONTENT, Bytes::new()));
            }
            Err(Fault::not_found())
        }
        _ => Err(Fault::not_found()),
    }
}

/// A revision that a host was told of, and its mark.
#[derive(Deserialize)]
struct Told {
    revision: u64,
    mark: String,
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Fault> {
    let body = Limited::new(request.into_body(), LONGEST).collect().await;
    Ok(body.map_err(|_| Fault::too_large())?.to_bytes())
}

fn watching(
    shared: &Shared,
    host: &str,
    holding: Option<Holding>,
    cut: &Arc<Notify>,
) -> Response<Body> {
    let (pieces, receiver) = mpsc::channel(watch::PIECES);
    let cut = cut.clone();
    let way = watch::Way { pieces, cut };
    tokio::spawn(watch::watch(
        shared.api.clone(),
        host.to_owned(),
        holding,
        way,
    ));
    let frames = stream::unfold(receiver, |mut receiver| async move {
        let bytes = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(bytes)), receiver))
    });
    Response::new(StreamBody::new(frames).boxed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_proves_its_host_and_no_other() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "c1 one\nc2 two\n").expect("written");
        let tokens = Tokens::read(file.path()).expect("read");
        assert!(tokens.prove("c1", "one"));
        assert!(!tokens.prove("c1", "two") && !tokens.prove("c3", "one"));
        assert!(!tokens.prove("c1", "") && !tokens.prove("c1", "on"));
        std::fs::write(file.path(), "* any\nc2 two").expect("written");
        let tokens = Tokens::read(file.path()).expect("read");
        assert!(tokens.prove("c3", "any") && !tokens.prove("c2", "any"));
    }
}

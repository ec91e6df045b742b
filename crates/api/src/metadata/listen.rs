//! The listener that the agents' metadata listeners pass requests on to.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use sha2::Sha256;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::{Answer, Instance, read};
use crate::Api;

/// Connections at once, and how long the head of a request may take.
const CONNECTIONS: usize = 1024;
const HEAD_TIME: Duration = Duration::from_secs(30);

/// What agents sign instances' ids with.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    pub fn new(secret: impl Into<Vec<u8>>) -> Self {
        Self(secret.into())
    }

    /// In constant time: a forger learns nothing from how long it took.
    fn signed(&self, instance: &str, signature: &str) -> bool {
        let Some(signature) = bytes_of(signature) else {
            return false;
        };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return false;
        };
        mac.update(instance.as_bytes());
        mac.verify_slice(&signature).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

pub struct Listener {
    pub api: Arc<Api>,
    pub listener: TcpListener,
    pub secret: Secret,
}

impl Listener {
    /// Serves until `stop` turns true.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let (Ok((stream, _)), Ok(place)) = (accepted, places.clone().acquire_owned().await)
            else {
                continue;
            };
            let (api, secret) = (self.api.clone(), self.secret.clone());
            tokio::spawn(async move {
                serve(stream, api, secret).await;
                drop(place);
            });
        }
    }
}

async fn serve(stream: TcpStream, api: Arc<Api>, secret: Secret) {
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = answer(
            &api,
            &secret,
            request.method(),
            request.uri().path(),
            request.headers(),
        );
        async move { Ok::<_, std::convert::Infallible>(answer) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a request for metadata broke off");
    }
}

fn answer(
    api: &Api,
    secret: &Secret,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Response<Full<Bytes>> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(id), Some(signature)) = (text("x-instance-id"), text("x-instance-id-signature"))
    else {
        return plain(StatusCode::BAD_REQUEST, "no instance is named\n");
    };
    if !secret.signed(id, signature) {
        tracing::warn!(
            instance = id,
            "metadata was asked for with a wrong signature"
        );
        return plain(StatusCode::FORBIDDEN, "the signature is wrong\n");
    }
    if *method != Method::GET && *method != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "metadata is only read\n");
    }
    let Some(instance) = Instance::find(&api.hub.state(), &api.hub.people(), id) else {
        return plain(StatusCode::NOT_FOUND, "no such instance\n");
    };
    let owner = text("x-tenant-id").is_none_or(|project| project == instance.project);
    if !owner {
        return plain(StatusCode::NOT_FOUND, "no such instance\n");
    }
    render(read(&instance, path))
}

fn render(answer: Answer) -> Response<Full<Bytes>> {
    let (kind, body) = match answer {
        Answer::Text(text) => ("text/plain; charset=utf-8", text.into_bytes()),
        Answer::Json(text) => ("application/json", text.into_bytes()),
        Answer::Bytes(bytes) => ("application/octet-stream", bytes),
        Answer::NotFound => return plain(StatusCode::NOT_FOUND, "404 Not Found\n"),
    };
    let mut response = Response::new(Full::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = render(Answer::Text(text.to_owned()));
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_secrets_signature_is_taken() {
        let secret = Secret::new("Jefe");
        let data = "what do ya want for nothing?";
        let right = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert!(secret.signed(data, right));
        for wrong in ["", "00", "zz", &right[2..]] {
            assert!(!secret.signed(data, wrong), "{wrong}");
        }
        assert!(!Secret::new("other").signed(data, right));
    }
}

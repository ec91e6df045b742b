//! A small client of the Neutron API, for labs, the command line and tests.

use crate::patience::patience;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Speaks to one API. Each request is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    /// `http://HOST:PORT` or `https://HOST:PORT`.
    origin: String,
    /// Who signs the API's certificate; this machine's own authorities unless given.
    authority: Option<PathBuf>,
    headers: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url} is not of the form http://HOST:PORT or https://HOST:PORT")]
    Url { url: String },
    #[error("{method} {path} got no answer from {origin}")]
    Transport {
        method: Method,
        path: String,
        origin: String,
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{method} {path} was answered with {status}: {said}")]
    Refused {
        method: Method,
        path: String,
        status: u16,
        said: String,
    },
    #[error("the answer to {path} has no {what}")]
    Shape { path: String, what: String },
}

/// What came back, whatever it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Client {
    /// For the API at `http://HOST:PORT` or `https://HOST:PORT`.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let origin = url.trim_end_matches('/');
        let rest = ["http://", "https://"]
            .iter()
            .find_map(|scheme| origin.strip_prefix(scheme));
        match rest {
            Some(rest) if !rest.is_empty() && !rest.contains('/') => Ok(Self {
                origin: origin.to_owned(),
                authority: None,
                headers: Vec::new(),
            }),
            _ => Err(ClientError::Url {
                url: url.to_owned(),
            }),
        }
    }

    /// Believes an API whose certificate an authority in this file signed.
    #[must_use]
    pub fn with_authority(mut self, file: &Path) -> Self {
        self.authority = Some(file.to_owned());
        self
    }

    /// Sends this header with every request.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// One request, and the answer to it even when it is a refusal.
    pub fn ask(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ClientError> {
        let transport = |source| ClientError::Transport {
            method: method.clone(),
            path: path.to_owned(),
            origin: self.origin.clone(),
            source,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| transport(error.into()))?;
        let exchange = self.exchange(method, path, body);
        let limited = async { tokio::time::timeout(patience(PATIENCE), exchange).await };
        runtime
            .block_on(limited)
            .map_err(|late| transport(late.into()))?
            .map_err(transport)
    }

    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let client = tls::http::for_peer(&self.origin, self.authority.as_deref())?;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.origin))
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = client.request(request).await?;
        let status = answer.status().as_u16();
        let bytes = answer.into_body().collect().await?.to_bytes();
        Ok(Answer {
            status,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        })
    }

    /// `GET /v2.0/{path}`, the value under the answer's only key.
    pub fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.expect(Method::GET, path, None)
    }

    /// Makes a resource: `create("networks", "network", {…})`; gives the resource.
    pub fn create(
        &self,
        collection: &str,
        kind: &str,
        resource: Value,
    ) -> Result<Value, ClientError> {
        let mut body = serde_json::Map::new();
        body.insert(kind.to_owned(), resource);
        self.expect(Method::POST, collection, Some(&Value::Object(body)))
    }

    /// `PUT /v2.0/{path}`, the value under the answer's only key.
    pub fn update(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        self.expect(Method::PUT, path, Some(body))
    }

    pub fn delete(&self, path: &str) -> Result<(), ClientError> {
        self.expect(Method::DELETE, path, None).map(drop)
    }

    /// The one resource of a collection that has this name.
    pub fn find(&self, collection: &str, name: &str) -> Result<Value, ClientError> {
        let path = format!("{collection}?name={name}");
        let shape = |what: &str| ClientError::Shape {
            path: path.clone(),
            what: what.to_owned(),
        };
        let Value::Array(mut found) = self.get(&path)? else {
            return Err(shape("list"));
        };
        match found.len() {
            1 => Ok(found.remove(0)),
            0 => Err(shape(&format!("member called {name}"))),
            _ => Err(shape(&format!("single member called {name}"))),
        }
    }

    fn expect(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ClientError> {
        let full = format!("/v2.0/{path}");
        let answer = self.ask(&method, &full, body)?;
        if !(200..300).contains(&answer.status) {
            let said = refusal(&answer.body);
            return Err(ClientError::Refused {
                method,
                path: full,
                status: answer.status,
                said,
            });
        }
        Ok(match answer.body {
            Value::Object(map) => map
                .into_iter()
                .next()
                .map_or(Value::Null, |(_, value)| value),
            other => other,
        })
    }
}

/// Neutron's sentence, or whatever came in its stead.
fn refusal(body: &Value) -> String {
    match body["NeutronError"]["message"].as_str() {
        Some(message) => message.to_owned(),
        None => body.to_string(),
    }
}

/// A text attribute of a resource, for callers that know that it is there.
pub fn text<'a>(resource: &'a Value, attribute: &str) -> Result<&'a str, ClientError> {
    resource[attribute]
        .as_str()
        .ok_or_else(|| ClientError::Shape {
            path: "resource".to_owned(),
            what: format!("text {attribute}"),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use tls::rig::Authority;

    /// Answers one request with `status` and `body`; gives what was asked.
    fn serve_once(status: &str, body: &str) -> (Client, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = Client::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let asked = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut heard = vec![0; 4096];
            let read = stream.read(&mut heard).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            String::from_utf8_lossy(&heard[..read]).into_owned()
        });
        (client, asked)
    }

    #[test]
    fn a_resource_is_wrapped_and_unwrapped() {
        let (client, asked) = serve_once("201 Created", r#"{"network":{"id":"n"}}"#);
        let client = client.with_header("x-auth-token", "t");
        let network = client
            .create("networks", "network", serde_json::json!({"name": "red"}))
            .unwrap();
        assert_eq!(text(&network, "id").unwrap(), "n");
        let asked = asked.join().unwrap();
        assert!(
            asked.starts_with("POST /v2.0/networks HTTP/1.1\r\n"),
            "{asked}"
        );
        assert!(asked.contains("x-auth-token: t\r\n"), "{asked}");
    }

    #[test]
    fn a_refusal_says_neutrons_sentence() {
        let body = r#"{"NeutronError":{"type":"NetworkNotFound","message":"Network x could not be found.","detail":""}}"#;
        let (client, asked) = serve_once("404 Not Found", body);
        let error = client.get("networks/x").unwrap_err();
        assert_eq!(
            error.to_string(),
            "GET /v2.0/networks/x was answered with 404: Network x could not be found."
        );
        asked.join().unwrap();
    }

    #[test]
    fn other_urls_are_refused() {
        assert!(Client::new("ftp://localhost:9696").is_err());
        assert!(Client::new("https://").is_err());
        assert!(Client::new("http://localhost:9696/v2.0").is_err());
    }

    #[test]
    fn over_tls_only_who_is_signed_for_is_believed() {
        let (ours, other) = (Authority::new(), Authority::new());
        let certificate = ours.issue("api", "IP:127.0.0.1");
        let url = serve_by_tls(tls::acceptor(certificate.shown(), None).unwrap());
        let client = Client::new(&url).unwrap();
        let believing = client.clone().with_authority(&ours.file());
        assert_eq!(believing.get("networks").unwrap(), serde_json::json!([]));
        let doubting = client.with_authority(&other.file());
        let error = doubting.get("networks").unwrap_err();
        assert!(matches!(error, ClientError::Transport { .. }), "{error}");
    }

    /// Answers every request with an empty list; where it does.
    fn serve_by_tls(acceptor: tls::TlsAcceptor) -> String {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let serve = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let _ = stream.read(&mut [0; 4096]).await;
                let answer = "HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"networks\":[]}";
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        };
        std::thread::spawn(move || runtime.block_on(serve));
        url
    }
}

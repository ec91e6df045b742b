//! A small client of the Neutron API, for labs and tests.

use crate::patience::patience;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Speaks to one API over plain HTTP. Each request is a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    authority: String,
    headers: Vec<(String, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("{url} is not of the form http://HOST:PORT")]
    Url { url: String },
    #[error("{method} {path} got no answer from {authority}")]
    Transport {
        method: Method,
        path: String,
        authority: String,
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
    /// For the API at `http://HOST:PORT`.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let authority = url
            .strip_prefix("http://")
            .map(|rest| rest.trim_end_matches('/'));
        match authority {
            Some(authority) if !authority.is_empty() && !authority.contains('/') => Ok(Self {
                authority: authority.to_owned(),
                headers: Vec::new(),
            }),
            _ => Err(ClientError::Url {
                url: url.to_owned(),
            }),
        }
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
            authority: self.authority.clone(),
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
        let stream = TcpStream::connect(&self.authority).await?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", &self.authority)
            .header("content-type", "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let body = body.map(Value::to_string).unwrap_or_default();
        let answer = sender
            .send_request(request.body(Full::new(Bytes::from(body)))?)
            .await?;
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
        assert!(Client::new("https://localhost:9696").is_err());
        assert!(Client::new("http://localhost:9696/v2.0").is_err());
    }
}

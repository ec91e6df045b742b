//! One connection that speaks HTTP/1.1, made again when it breaks.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{net::TcpStream, time::timeout};

/// Longer than any answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of one server.
#[derive(Debug)]
pub struct Client {
    server: SocketAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

/// What a server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    /// The server could not prove that it is fresh.
    pub stale: bool,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

impl Client {
    pub fn new(server: SocketAddr) -> Self {
        Self {
            server,
            connection: None,
        }
    }

    pub async fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.call(Method::GET, path, Bytes::new()).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call(Method::POST, path, body.to_string().into()).await
    }

    pub async fn put(&mut self, path: &str, body: &Value) -> io::Result<Answer> {
        self.call(Method::PUT, path, body.to_string().into()).await
    }

    pub async fn delete(&mut self, path: &str) -> io::Result<Answer> {
        self.call(Method::DELETE, path, Bytes::new()).await
    }

    /// One request and its answer. An error leaves open whether the server did it.
    pub async fn call(&mut self, method: Method, path: &str, body: Bytes) -> io::Result<Answer> {
        let asked = timeout(PATIENCE, self.ask(method, path, body)).await;
        let answer = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        if answer.is_err() {
            self.connection = None;
        }
        answer
    }

    async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> io::Result<Answer> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.server.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(io::Error::other)?;
        let connection = self.connect().await?;
        connection.ready().await.map_err(io::Error::other)?;
        let answer = connection
            .send_request(request)
            .await
            .map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        Ok(Answer {
            status: head.status,
            stale: head.headers.contains_key(header::WARNING),
            body,
        })
    }

    async fn connect(&mut self) -> io::Result<&mut SendRequest<Full<Bytes>>> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = TcpStream::connect(self.server).await?;
            stream.set_nodelay(true)?;
            let (connection, pump) = handshake(TokioIo::new(stream))
                .await
                .map_err(io::Error::other)?;
            // It ends with the connection; what went wrong is told to the request.
            tokio::spawn(async move { drop(pump.await) });
            self.connection = Some(connection);
        }
        self.connection
            .as_mut()
            .ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

//! A whole server, as `nucleon server` runs it, and a client for it.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use api::{
    config::{Agents, AgentsAt, Config},
    run::{RunError, run},
};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tls::http::Client;
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::Answer;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// An address that nobody listens on.
pub(crate) fn free() -> SocketAddr {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    free.local_addr().expect("bound")
}

pub(crate) struct Running {
    url: String,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), RunError>>,
}

impl Running {
    /// Starts a server on ports of its own.
    pub(crate) fn start(settings: Config) -> Self {
        let listen = free();
        let config = Config {
            listen,
            agents: Agents {
                listen: AgentsAt::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))),
                ..settings.agents
            },
            ..settings
        };
        let scheme = if config.tls.is_some() {
            "https"
        } else {
            "http"
        };
        let (stop, stopped) = watch::channel(false);
        Self {
            url: format!("{scheme}://{listen}"),
            stop,
            task: tokio::spawn(run(config, stopped)),
        }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// `None`: it can't be reached.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        (method, path): (Method, &str),
        headers: &[(&str, &str)],
        body: Value,
    ) -> Option<Answer> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let request = request.body(Full::from(body)).expect("a request");
        let answer = client.request(request).await.ok()?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        let token = head.headers.get("x-subject-token");
        Some(Answer {
            status: head.status,
            body: serde_json::from_slice(&body).unwrap_or_default(),
            token: token.map(|token| token.to_str().expect("text").to_owned()),
        })
    }

    /// Waits until it answers with a status.
    pub(crate) async fn until(&self, client: &Client, path: &str, status: StatusCode) {
        let answered = timeout(PATIENCE, async {
            let asked = || self.ask(client, (Method::GET, path), &[], Value::Null);
            while asked().await.is_none_or(|heard| heard.status != status) {
                assert!(!self.task.is_finished(), "the server goes on");
                sleep(Duration::from_millis(50)).await;
            }
        });
        answered.await.expect("in time");
    }

    pub(crate) async fn end(self) {
        self.stop.send_replace(true);
        let ended = self.task.await.expect("no panic");
        ended.expect("a clean end");
    }
}

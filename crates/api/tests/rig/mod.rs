//! A whole server on loopback, over a store of its own, and a client that believes it.

// Each test uses a part of it.
#![allow(dead_code)]

pub(crate) mod running;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use api::{
    Api, Hub,
    agents::Agents,
    identity::Identity,
    policy::Policy,
    replica::{Member, Replica},
    rules::Rules,
    server::{Limits, Metrics, Server},
    writer::Role,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use ledger::{Actor, Command, Config};
use serde_json::Value;
use tokio::{net::TcpListener, sync::watch};

pub(crate) struct Rig {
    pub(crate) api: Arc<Api>,
    pub(crate) at: SocketAddr,
    client: Client<HttpConnector, Full<Bytes>>,
    _stop: watch::Sender<bool>,
    _folder: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
    /// The token that a login gives.
    pub(crate) token: Option<String>,
}

impl Rig {
    pub(crate) async fn start(config: Config) -> Self {
        Self::with(config, |_| Identity::None).await
    }

    pub(crate) async fn with(config: Config, identity: impl FnOnce(Hub) -> Identity) -> Self {
        Self::beating(config, identity, Duration::from_millis(500)).await
    }

    /// With heartbeats on hosts' watches that often.
    pub(crate) async fn beating(
        config: Config,
        identity: impl FnOnce(Hub) -> Identity,
        heartbeat: Duration,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("store.db").display());
        let store = store::Store::open(&url).await.expect("a store");
        let member = Member::new("one".to_owned(), "http://one.test".to_owned(), None);
        let member = member.expect("a member");
        let replica = Replica::start(Rules::new(config), store, member).await;
        let handle = replica.expect("a server").handle.clone();
        let mut role = handle.role();
        let writes = role.wait_for(|role| matches!(role, Role::Writer { .. }));
        drop(writes.await.expect("it writes"));
        let hub = Hub { handle };
        let api = Arc::new(Api {
            identity: identity(hub.clone()),
            hub,
            policy: Policy::read(None).expect("rules"),
            filter_validation: true,
            metrics: Metrics::default(),
            agents: Agents::default(),
            heartbeat,
        });
        api.hub
            .submit(Actor::system(), Command::Found)
            .await
            .expect("founded");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let (told, stop) = watch::channel(false);
        let server = Server {
            api: api.clone(),
            listener,
            tls: None,
            limits: Limits::default(),
        };
        tokio::spawn(server.run(stop));
        Self {
            api,
            at,
            client: Client::builder(TokioExecutor::new()).build_http(),
            _stop: told,
            _folder: folder,
        }
    }

    pub(crate) async fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Answer {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.at));
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).expect("a request");
        let response = self.client.request(request).await.expect("an answer");
        let status = response.status();
        let token = response.headers().get("x-subject-token");
        let token = token
            .and_then(|token| token.to_str().ok())
            .map(str::to_owned);
        let bytes = response.into_body().collect().await.expect("a body");
        let body = serde_json::from_slice(&bytes.to_bytes()).unwrap_or(Value::Null);
        Answer {
            status,
            body,
            token,
        }
    }
}

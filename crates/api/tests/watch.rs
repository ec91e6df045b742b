//! The agents' listener: a host that follows its watch holds what its view is, and gets nobody
//! else's.

mod rig;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use api::{
    Api,
    agents::{Listener, Tokens},
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use intent::view::{Difference, Item, ItemKey, View, view};
use ledger::Config;
use rig::Rig;
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::watch};

async fn listen(api: Arc<Api>) -> (SocketAddr, watch::Sender<bool>) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "c1 one\nc2 two\n").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let (told, stop) = watch::channel(false);
    let listener = Listener {
        api,
        listener,
        tls: None,
        tokens: Some(Tokens::read(file.path()).expect("tokens")),
    };
    tokio::spawn(listener.run(stop));
    (at, told)
}

async fn call(
    at: SocketAddr,
    path: &str,
    token: &str,
    body: Option<&Value>,
) -> (StatusCode, Incoming) {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let method = if body.is_some() { "POST" } else { "GET" };
    let body = body.map(ToString::to_string).unwrap_or_default();
    let request = Request::builder()
        .method(method)
        .uri(format!("http://{at}{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(body)))
        .expect("a request");
    let response = client.request(request).await.expect("an answer");
    (response.status(), response.into_body())
}

/// What a host holds that follows its stream.
struct Follower {
    body: Incoming,
    buffer: Vec<u8>,
    view: View,
}

impl Follower {
    /// Follows up to a mark at or behind a revision.
    async fn reach(&mut self, revision: u64) {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                let line: Value = serde_json::from_slice(&line).expect("JSON");
                let mut step = Difference::default();
                match line["event"].as_str().expect("an event") {
                    "put" => step.put.push(item(&line["item"])),
                    "remove" => step.remove.push(key(&line["key"])),
                    "synced" if line["revision"].as_u64() >= Some(revision) => return,
                    _ => {}
                }
                self.view.follow(step);
            }
            let frame = tokio::time::timeout(Duration::from_secs(10), self.body.frame());
            let frame = frame
                .await
                .expect("in time")
                .expect("a frame")
                .expect("bytes");
            self.buffer
                .extend_from_slice(frame.data_ref().expect("data"));
        }
    }
}

fn item(value: &Value) -> Item {
    serde_json::from_value(value.clone()).expect("an item")
}

fn key(value: &Value) -> ItemKey {
    serde_json::from_value(value.clone()).expect("a key")
}

#[tokio::test]
async fn following_a_watch_gives_the_hosts_view() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    let agent = json!({"agents": [{
        "type": "Open vSwitch agent",
        "configurations": {"tunneling_ip": "10.9.9.1", "tunnel_types": ["vxlan"]},
    }], "started": true});
    let (status, _) = call(at, "/v1/hosts/c1/status", "one", Some(&agent)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    let (status, body) = call(at, "/v1/hosts/c1/watch", "one", None).await;
    assert_eq!(status, StatusCode::OK);
    let mut follower = Follower {
        body,
        buffer: Vec::new(),
        view: View::default(),
    };

    let post = async |path: &str, body: Value| {
        let headers = [("x-project-id", "p".to_owned())];
        let answer = rig
            .ask("POST", path, &headers, body.to_string().into())
            .await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.body
    };
    let network = post("/v2.0/networks", json!({"network": {"name": "n"}})).await;
    let network = network["network"]["id"].clone();
    let subnet = json!({"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4});
    post("/v2.0/subnets", json!({ "subnet": subnet })).await;
    let port = json!({
        "network_id": network, "binding:host_id": "c1", "device_owner": "compute:x",
        "device_id": "vm",
    });
    let port = post("/v2.0/ports", json!({ "port": port })).await;
    follower.reach(rig.api.hub.state().revision).await;
    assert_eq!(follower.view.ports.len(), 1);
    assert_eq!(follower.view, view(&rig.api.hub.state(), &"c1".into()));

    let path = format!(
        "/v2.0/ports/{}",
        port["port"]["id"].as_str().expect("an id")
    );
    let gone = rig.ask("DELETE", &path, &[], Bytes::new()).await;
    assert_eq!(gone.status, 204);
    follower.reach(rig.api.hub.state().revision).await;
    assert!(follower.view.ports.is_empty());
    assert_eq!(follower.view, view(&rig.api.hub.state(), &"c1".into()));
}

#[tokio::test]
async fn a_watch_beats_while_all_that_happens_is_elsewhere() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    let (_, mut body) = call(at, "/v1/hosts/c1/watch", "one", None).await;
    let busy = async {
        loop {
            let headers = [("x-project-id", "p".to_owned())];
            rig.ask(
                "POST",
                "/v2.0/networks",
                &headers,
                r#"{"network": {}}"#.into(),
            )
            .await;
        }
    };
    let beat = async {
        loop {
            let frame = body.frame().await.expect("a frame").expect("bytes");
            let line: Value =
                serde_json::from_slice(frame.data_ref().expect("data")).expect("JSON");
            if line["event"] == "heartbeat" {
                return;
            }
        }
    };
    tokio::select! {
        () = busy => {}
        beat = tokio::time::timeout(Duration::from_secs(10), beat) => beat.expect("a heartbeat"),
    }
}

#[tokio::test]
async fn a_host_can_ask_whether_the_history_is_the_one_it_was_told_of() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    let network = json!({"network": {}}).to_string();
    let headers = [("x-project-id", "p".to_owned())];
    rig.ask("POST", "/v2.0/networks", &headers, network.into())
        .await;
    let (_, mut body) = call(at, "/v1/hosts/c1/watch", "one", None).await;
    let mut said = String::new();
    let told = loop {
        let line = said.lines().find(|line| line.contains("\"mark\""));
        if let Some(line) = line {
            break serde_json::from_str::<Value>(line).expect("JSON");
        }
        let frame = body.frame().await.expect("a frame").expect("bytes");
        said += std::str::from_utf8(frame.data_ref().expect("data")).expect("text");
    };
    let revision = rig.api.hub.state().revision;
    assert_eq!(told["revision"], revision, "{told}");
    for (at_revision, mark, continues) in [
        (revision, told["mark"].clone(), true),
        (revision, json!("of another history"), false),
        (revision + 1, told["mark"].clone(), false),
    ] {
        let asked = json!({"revision": at_revision, "mark": mark});
        let (status, body) = call(at, "/v1/hosts/c1/history", "one", Some(&asked)).await;
        assert_eq!(status, StatusCode::OK);
        let bytes = body.collect().await.expect("an answer").to_bytes();
        let answer: Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(answer, json!({"continues": continues}), "{asked}");
    }
}

#[tokio::test]
async fn a_host_gets_its_own_view_and_nothing_else() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    for (path, token) in [
        ("/v1/hosts/c2/watch", "one"),
        ("/v1/hosts/c1/watch", "two"),
        ("/v1/hosts/c1/watch", ""),
        ("/v1/hosts/c3/watch", "one"),
    ] {
        let (status, _) = call(at, path, token, None).await;
        assert_eq!(status, StatusCode::FORBIDDEN, "{path} {token}");
    }
    let (status, _) = call(at, "/v1/hosts/c2/status", "one", Some(&json!({}))).await;
    assert_eq!(status, StatusCode::FORBIDDEN);
}

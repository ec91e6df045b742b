//! The agents' listener: a host that follows its watch holds what its view is, and gets nobody
//! else's.

mod rig;

use std::{
    net::SocketAddr,
    sync::{Arc, Weak},
    time::Duration,
};

use api::{
    Api,
    agents::{Listener, Tokens},
    identity::Identity,
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use intent::{
    AgentType, Kind, State, attrs,
    view::{Difference, Holding, Item, ItemKey, View, view},
};
use ledger::{Actor, Command, Config};
use rig::Rig;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
};

async fn listen(api: Arc<Api>) -> (SocketAddr, watch::Sender<bool>) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), "c1 one\nc2 two\n").expect("written");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let (told, stop) = watch::channel(false);
    let listener = Listener {
        api,
        socket: listener.into(),
        tls: None,
        tokens: Some(Tokens::read(file.path()).expect("tokens")),
        connections: 100,
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
    /// What it was sent: items put, items taken away, and whether the whole view was begun with.
    put: usize,
    removed: usize,
    whole: Option<bool>,
}

impl Follower {
    fn new(body: Incoming, view: View) -> Self {
        Self {
            body,
            buffer: Vec::new(),
            view,
            put: 0,
            removed: 0,
            whole: None,
        }
    }

    /// Connects as a host that holds a view already.
    async fn again(at: SocketAddr, api: &Api, revision: u64, view: View) -> Self {
        let holding = Holding {
            store: api.hub.handle.store().id().to_string(),
            revision,
            items: view.summary(),
        };
        let body = serde_json::to_value(holding).expect("it prints");
        let (status, body) = call(at, "/v1/hosts/c1/watch", "one", Some(&body)).await;
        assert_eq!(status, StatusCode::OK);
        Self::new(body, view)
    }

    /// Follows up to a mark at or behind a revision.
    async fn reach(&mut self, revision: u64) {
        loop {
            while let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                let line: Value = serde_json::from_slice(&line).expect("JSON");
                let mut step = Difference::default();
                match line["event"].as_str().expect("an event") {
                    "begins" => self.whole = line["whole"].as_bool(),
                    "put" => step.put.push(item(&line["item"])),
                    "remove" => step.remove.push(key(&line["key"])),
                    "synced" if line["revision"].as_u64() >= Some(revision) => return,
                    _ => {}
                }
                self.put += step.put.len();
                self.removed += step.remove.len();
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

async fn post(rig: &Rig, path: &str, body: Value) -> Value {
    let headers = [("x-project-id", "p".to_owned())];
    let answer = rig
        .ask("POST", path, &headers, body.to_string().into())
        .await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    answer.body
}

fn id(answer: &Value, name: &str) -> String {
    answer[name]["id"].as_str().expect("an id").to_owned()
}

/// A network with a subnet.
async fn network(rig: &Rig) -> String {
    let network = post(rig, "/v2.0/networks", json!({"network": {"name": "n"}})).await;
    let network = id(&network, "network");
    let subnet = json!({"network_id": network, "cidr": "10.0.0.0/24", "ip_version": 4});
    post(rig, "/v2.0/subnets", json!({ "subnet": subnet })).await;
    network
}

/// A port on host c1.
async fn port(rig: &Rig, network: &str) -> String {
    let port = json!({
        "network_id": network, "binding:host_id": "c1", "device_owner": "compute:x",
        "device_id": "vm",
    });
    id(
        &post(rig, "/v2.0/ports", json!({ "port": port })).await,
        "port",
    )
}

/// Host c1 says that it has a switch.
async fn begin(at: SocketAddr) {
    let agent = json!({"agents": [{
        "type": "Open vSwitch agent",
        "configurations": {"tunneling_ip": "10.9.9.1", "tunnel_types": ["vxlan"]},
    }], "started": true});
    let (status, _) = call(at, "/v1/hosts/c1/status", "one", Some(&agent)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn following_a_watch_gives_the_hosts_view() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    begin(at).await;
    let (status, body) = call(at, "/v1/hosts/c1/watch", "one", None).await;
    assert_eq!(status, StatusCode::OK);
    let mut follower = Follower::new(body, View::default());

    let network = network(&rig).await;
    let port = port(&rig, &network).await;
    follower.reach(rig.api.hub.state().revision).await;
    assert_eq!(follower.view.ports.len(), 1);
    assert_eq!(follower.view, view(&rig.api.hub.state(), &"c1".into()));

    let path = format!("/v2.0/ports/{port}");
    let gone = rig.ask("DELETE", &path, &[], Bytes::new()).await;
    assert_eq!(gone.status, 204);
    follower.reach(rig.api.hub.state().revision).await;
    assert!(follower.view.ports.is_empty());
    assert_eq!(follower.view, view(&rig.api.hub.state(), &"c1".into()));
}

/// A host's L3 agent says what it is, and at which revision its host is as it should be.
async fn says_of_routers(at: SocketAddr, host: &str, token: &str, revision: u64) {
    let agent = json!({"agents": [{"type": "L3 agent"}], "revision": revision});
    let path = format!("/v1/hosts/{host}/status");
    let (status, _) = call(at, &path, token, Some(&agent)).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_router_is_contested_until_its_last_host_reports_that_it_knows() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    says_of_routers(at, "c1", "one", 0).await;
    let router = post(&rig, "/v2.0/routers", json!({"router": {}})).await;
    let router = id(&router, "router");
    says_of_routers(at, "c2", "two", 0).await;
    let agent_of = |host: &str| {
        let state = rig.api.hub.state();
        let key = (host.into(), AgentType::L3);
        let id = state.index.agent_of_host.one(&key).expect("it said so");
        format!("/v2.0/agents/{id}/l3-routers")
    };
    let path = format!("{}/{router}", agent_of("c1"));
    let gone = rig.ask("DELETE", &path, &[], Bytes::new()).await;
    assert_eq!(gone.status, 204);
    let taken_at = rig.api.hub.state().revision;
    post(&rig, &agent_of("c2"), json!({"router_id": router})).await;
    let is_contested = async || {
        let look = rig.api.hub.submit(Actor::system(), Command::Reschedule);
        look.await.expect("looked");
        let view = view(&rig.api.hub.state(), &"c2".into());
        let role = view.router_roles.values().next().expect("it is here");
        role.contested
    };
    says_of_routers(at, "c1", "one", taken_at - 1).await;
    assert!(is_contested().await);
    says_of_routers(at, "c1", "one", taken_at).await;
    assert!(!is_contested().await);
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

#[tokio::test]
async fn who_says_what_it_holds_is_sent_the_difference() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    begin(at).await;
    let network = network(&rig).await;
    let mut ports = Vec::new();
    for _ in 0..20 {
        ports.push(port(&rig, &network).await);
    }
    let (_, body) = call(at, "/v1/hosts/c1/watch", "one", None).await;
    let mut follower = Follower::new(body, View::default());
    let now = || rig.api.hub.state();
    follower.reach(now().revision).await;
    assert_eq!(follower.whole, Some(true));
    let (held, revision) = (follower.view.clone(), now().revision);
    drop(follower);

    // Nothing happened.
    let mut follower = Follower::again(at, &rig.api, revision, held).await;
    follower.reach(now().revision).await;
    assert_eq!(follower.whole, Some(false));
    assert_eq!((follower.put, follower.removed), (0, 0));
    let held = follower.view;

    let path = format!("/v2.0/ports/{}", ports[0]);
    rig.ask("DELETE", &path, &[], Bytes::new()).await;
    port(&rig, &network).await;
    let mut follower = Follower::again(at, &rig.api, revision, held).await;
    follower.reach(now().revision).await;
    assert_eq!(follower.view, view(&now(), &"c1".into()));
    assert!(follower.put >= 1 && follower.put < 10, "{}", follower.put);
    assert!((1..5).contains(&follower.removed), "{}", follower.removed);
    // It goes on as any watch does.
    port(&rig, &network).await;
    follower.reach(now().revision).await;
    assert_eq!(follower.view, view(&now(), &"c1".into()));

    // Who can't be understood is told everything, and so is who holds what never was.
    let odd = json!({"store": 7});
    let (_, body) = call(at, "/v1/hosts/c1/watch", "one", Some(&odd)).await;
    let mut follower = Follower::new(body, View::default());
    follower.reach(now().revision).await;
    assert_eq!(follower.whole, Some(true));
    assert_eq!(follower.view, view(&now(), &"c1".into()));
    let elsewhere = view(&now(), &"c1".into());
    let mut follower = Follower::again(at, &rig.api, revision, elsewhere).await;
    follower.reach(now().revision).await;
    assert_eq!((follower.put, follower.removed), (0, 0));
}

/// A host's connection whose bytes nobody takes out of the kernel.
async fn connect_and_read_nothing(at: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(at).await.expect("a connection");
    let request =
        b"GET /v1/hosts/c1/watch HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer one\r\n\r\n";
    stream.write_all(request).await.expect("written");
    stream
}

/// Ports on host c1.
async fn ports(rig: &Rig, network: &str, count: usize) -> Vec<String> {
    let port = json!({"network_id": network, "binding:host_id": "c1", "device_owner": "compute:x"});
    let made = post(rig, "/v2.0/ports", json!({ "ports": vec![port; count] })).await;
    let made = made["ports"].as_array().expect("a list");
    let id = |port: &Value| port["id"].as_str().expect("an id").to_owned();
    made.iter().map(id).collect()
}

/// Changes ports of c1 in turn, with much to tell each time; the state after every hundred.
async fn change_much(rig: &Rig, ports: &[String], times: usize) -> Vec<Weak<State>> {
    let mut states = Vec::new();
    let table = attrs::table_of(Kind::Port).expect("ports have attributes");
    for from in (0..times).step_by(100) {
        let changes = (from..from + 100).map(|n| {
            let body = json!({"binding:profile": {"n": n, "filler": "x".repeat(2_000)}});
            let body = body.as_object().cloned().expect("an object");
            let command = Command::Update {
                kind: Kind::Port,
                key: ports[n % ports.len()].clone(),
                draft: table.read_update(body).expect("a change"),
                if_match: None,
            };
            rig.api.hub.submit(Actor::system(), command)
        });
        for done in futures::future::join_all(changes).await {
            done.expect("the writer goes on");
        }
        states.push(Arc::downgrade(&rig.api.hub.state()));
    }
    states
}

async fn metric(rig: &Rig, name: &str) -> u64 {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let uri = format!("http://{}/metrics", rig.at).parse().expect("a URI");
    let answer = client.get(uri).await.expect("an answer");
    let text = answer.into_body().collect().await.expect("text").to_bytes();
    let text = String::from_utf8(text.to_vec()).expect("text");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("nucleon_{name} ")));
    line.and_then(|value| value.parse().ok())
        .unwrap_or_else(|| panic!("{name} in {text}"))
}

/// The kernel's own buffers swallow some megabytes before a connection is stuck.
const MANY: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_stops_reading_costs_nothing_and_ends_with_the_right_view() {
    let patient = Duration::from_secs(600);
    let rig = Rig::beating(Config::default(), |_| Identity::None, patient).await;
    let (at, _told) = listen(rig.api.clone()).await;
    begin(at).await;
    let network = network(&rig).await;
    let changed = ports(&rig, &network, 100).await;
    let stuck = connect_and_read_nothing(at).await;
    while metric(&rig, "watches").await == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let states = change_much(&rig, &changed, MANY).await;
    // More time than a host has for a piece.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(metric(&rig, "watch_overflows_total").await, 1);
    let kept = states
        .iter()
        .filter(|state| state.strong_count() > 0)
        .count();
    assert!(kept <= 2, "{kept} of {} old states are held", states.len());

    let last = rig.api.hub.state();
    let mut stuck = BufReader::new(stuck).lines();
    let (mut held, mut put) = (View::default(), 0);
    loop {
        let line = tokio::time::timeout(Duration::from_secs(60), stuck.next_line());
        let line = line.await.expect("in time").expect("text");
        // Between the lines stands how long the pieces are.
        let line = line.expect("it is not cut off");
        if !line.starts_with('{') {
            continue;
        }
        let line: Value = serde_json::from_str(&line).expect("JSON");
        match line["event"].as_str().expect("an event") {
            "put" => held.put(item(&line["item"])),
            "remove" => held.remove(&key(&line["key"])),
            "synced" if line["revision"] == last.revision => break,
            _ => {}
        }
        put += usize::from(line["event"] == "put");
    }
    assert_eq!(held, view(&last, &"c1".into()));
    assert!(
        put < MANY / 2,
        "{put} items: it was told all that it missed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_reads_nothing_is_cut_off_and_begins_anew() {
    let rig = Rig::start(Config::default()).await;
    let (at, _told) = listen(rig.api.clone()).await;
    begin(at).await;
    let network = network(&rig).await;
    let changed = ports(&rig, &network, 100).await;
    let (held, revision) = (
        view(&rig.api.hub.state(), &"c1".into()),
        rig.api.hub.state().revision,
    );
    let stuck = connect_and_read_nothing(at).await;
    while metric(&rig, "watch_cut_offs_total").await == 0 {
        change_much(&rig, &changed, 1_000).await;
    }
    // The connection itself is ended, whatever waited in it.
    let mut rest = Vec::new();
    let mut stuck = stuck;
    let read = tokio::time::timeout(Duration::from_secs(60), stuck.read_to_end(&mut rest));
    let _ = read.await.expect("the connection ends");
    assert_eq!(metric(&rig, "watches").await, 0);

    let mut follower = Follower::again(at, &rig.api, revision, held).await;
    let last = rig.api.hub.state();
    follower.reach(last.revision).await;
    assert_eq!(follower.view, view(&last, &"c1".into()));
    assert!(follower.put <= 2 * changed.len(), "{} items", follower.put);
    assert_eq!(metric(&rig, "watches").await, 1);
}

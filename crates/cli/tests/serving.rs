//! The server's process as its clients and its operators meet it: told to stop in the middle of a
//! request, asked for too much, and with its database away.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use bench::{Server, Settings};
use http::StatusCode;
use serde_json::json;
use store::rig::{self, Cut, Proxy};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(60);

async fn start(folder: &Path, store: String, config: &str) -> Server {
    let settings = Settings {
        binary: env!("CARGO_BIN_EXE_nucleon").into(),
        store,
        config: config.to_owned(),
        log: folder.join("log"),
    };
    Server::start(settings).await.expect("it starts")
}

fn sqlite(folder: &Path) -> String {
    format!("sqlite:{}", folder.join("db").display())
}

const NETWORK: &str = r#"{"network": {"name": "late"}}"#;

/// A client whose bytes are sent by hand.
struct Wire(TcpStream);

impl Wire {
    async fn open(server: &Server) -> Self {
        let stream = TcpStream::connect(server.address()).await;
        Self(stream.expect("a connection"))
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("sent");
    }

    /// Reads up to some text, or to the end.
    async fn read_to(&mut self, end: &str) -> String {
        let (mut heard, mut piece) = (String::new(), [0; 4096]);
        while !heard.contains(end) {
            let read = timeout(PATIENCE, self.0.read(&mut piece));
            match read.await.expect("in time") {
                Ok(0) | Err(_) => break,
                Ok(read) => heard.push_str(&String::from_utf8_lossy(&piece[..read])),
            }
        }
        heard
    }

    /// Begins to create a network: the server is at work on it when this returns, and waits for
    /// the body.
    async fn begin_network(&mut self) {
        let length = NETWORK.len();
        self.send(&format!(
            "POST /v2.0/networks HTTP/1.1\r\nHost: x\r\nX-Project-Id: p\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        ))
        .await;
        let heard = self.read_to("\r\n\r\n").await;
        assert!(heard.starts_with("HTTP/1.1 100"), "{heard}");
    }
}

#[tokio::test]
async fn told_to_stop_a_server_ends_what_it_began_and_then_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = start(folder.path(), sqlite(folder.path()), "").await;
    let mut wire = Wire::open(&server).await;
    wire.begin_network().await;
    server.terminate().expect("told");
    let begun = Instant::now();
    while TcpStream::connect(server.address()).await.is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "it still listens");
        sleep(Duration::from_millis(20)).await;
    }
    wire.send(NETWORK).await;
    let heard = wire.read_to("\"late\"").await;
    assert!(heard.starts_with("HTTP/1.1 201"), "{heard}");
    let status = loop {
        if let Some(status) = server.ended().expect("a child") {
            break status;
        }
        assert!(begun.elapsed() < PATIENCE, "it does not end");
        sleep(Duration::from_millis(20)).await;
    };
    assert!(status.success(), "{status}: {}", server.log());
    server.go_on().expect("started again");
    server.ready().await.expect("ready");
    let list = server.client().get("/v2.0/networks?name=late").await;
    let list = list.expect("an answer").json();
    assert_eq!(list["networks"].as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn one_request_too_many_is_told_to_come_back_and_its_id_is_in_the_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[limits]\nrequests = 1\n";
    let server = start(folder.path(), sqlite(folder.path()), config).await;
    let mut first = Wire::open(&server).await;
    first.begin_network().await;
    let mut second = Wire::open(&server).await;
    let ask =
        "GET /v2.0/networks HTTP/1.1\r\nHost: x\r\nX-Project-Id: p\r\nConnection: close\r\n\r\n";
    second.send(ask).await;
    let refused = second.read_to("nothing ends it before its end").await;
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let id = refused
        .lines()
        .find_map(|line| line.strip_prefix("x-openstack-request-id: "))
        .expect("an id");
    assert!(id.starts_with("req-"), "{id}");
    let log = server.log();
    assert!(log.lines().any(|line| line.contains(id)), "{id} in {log}");
    // Who only looks after the server gets in all the same.
    let health = server.client().get("/healthz").await.expect("an answer");
    assert_eq!(health.status, StatusCode::OK);
    first.send(NETWORK).await;
    let heard = first.read_to("\"late\"").await;
    assert!(heard.starts_with("HTTP/1.1 201"), "{heard}");
    let again = server.client().get("/v2.0/networks").await;
    assert_eq!(again.expect("an answer").status, StatusCode::OK);
}

#[tokio::test]
async fn clients_that_dawdle_are_sent_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = "[limits]\nseconds = 4\nconnections = 3\n";
    let server = start(folder.path(), sqlite(folder.path()), config).await;
    // A body that never comes: nothing was done, and the client hears so.
    let mut body = Wire::open(&server).await;
    body.begin_network().await;
    let heard = body.read_to("took too long").await;
    assert!(heard.starts_with("HTTP/1.1 408"), "{heard}");
    drop(body);
    // Heads that never end, on every connection that there may be: the next client waits until
    // they are cut off, and no longer.
    let mut slow = Vec::new();
    for _ in 0..3 {
        let mut wire = Wire::open(&server).await;
        wire.send("GET / HTTP/1.1\r\nX-Slow: ").await;
        slow.push(wire);
    }
    let begun = Instant::now();
    let answer = server.client().get("/healthz").await.expect("an answer");
    assert_eq!(answer.status, StatusCode::OK);
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
    for mut wire in slow {
        let heard = wire.read_to("nothing ends it before its end").await;
        assert!(
            heard.is_empty() || heard.starts_with("HTTP/1.1 408"),
            "{heard}"
        );
    }
    // Heads that are too long, or hold too much.
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let long = format!("X-Long: {}\r\n", "y".repeat(1 << 20));
    for headers in [many, long] {
        let mut wire = Wire::open(&server).await;
        let text = format!("GET / HTTP/1.1\r\nHost: x\r\n{headers}\r\n");
        // It may be cut off while it still sends.
        let _ = wire.0.write_all(text.as_bytes()).await;
        let heard = wire.read_to("\r\n\r\n").await;
        assert!(
            heard.is_empty() || heard.starts_with("HTTP/1.1 431"),
            "{heard}"
        );
    }
    let answer = server
        .client()
        .get("/v2.0/networks")
        .await
        .expect("an answer");
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn while_the_database_is_silent_reads_say_that_they_may_be_old_and_it_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = rig::Server::start();
    let proxy = Proxy::start(database.port()).await.expect("a proxy");
    let server = start(folder.path(), database.url_at(proxy.port()), "").await;
    let mut client = server.client();
    let network = json!({"network": {"name": "n"}});
    let made = client.post("/v2.0/networks", &network).await;
    assert_eq!(made.expect("an answer").status, StatusCode::CREATED);

    proxy.set(Cut::Silent);
    let begun = Instant::now();
    let refused = client
        .post("/v2.0/networks", &network)
        .await
        .expect("an answer");
    assert!(refused.status.is_server_error(), "{refused:?}");
    assert!(
        begun.elapsed() < Duration::from_secs(25),
        "{:?}",
        begun.elapsed()
    );
    let ready = client.get("/readyz").await.expect("an answer");
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    let alive = client.get("/healthz").await.expect("an answer");
    assert_eq!(alive.status, StatusCode::OK);
    let list = client
        .get("/v2.0/networks?name=n")
        .await
        .expect("an answer");
    assert_eq!((list.status, list.stale), (StatusCode::OK, true));
    assert_eq!(list.json()["networks"].as_array().map(Vec::len), Some(1));
    let asked = Instant::now();
    let refused = client
        .post("/v2.0/networks", &network)
        .await
        .expect("an answer");
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "{:?}",
        asked.elapsed()
    );

    proxy.set(Cut::Never);
    let begun = Instant::now();
    loop {
        let made = client
            .post("/v2.0/networks", &network)
            .await
            .expect("an answer");
        if made.status == StatusCode::CREATED {
            break;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "it does not come back: {}",
            server.log()
        );
        sleep(Duration::from_millis(100)).await;
    }
    while client.get("/readyz").await.expect("an answer").status != StatusCode::OK {
        assert!(begun.elapsed() < PATIENCE, "it is not ready again");
        sleep(Duration::from_millis(100)).await;
    }
}

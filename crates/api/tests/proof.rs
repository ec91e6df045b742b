//! Who may be which host on the agents' listener: by client certificate, by token, and on a socket
//! in this machine's folders.

mod rig;

use std::{
    io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    time::Duration,
};

use api::{
    agents::{Listener, Socket, Tokens},
    config::{Agents, AgentsAt, Config},
    run::{RunError, run},
};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rig::{Rig, running::free};
use serde_json::{Value, json};
use tls::{
    Trust,
    rig::{Authority, Certificate},
};
use tokio::{
    net::{TcpListener, UnixStream},
    sync::watch,
    time::{sleep, timeout},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Asks to be a host, showing what there is to show.
struct Agent<'a> {
    at: SocketAddr,
    authority: &'a Authority,
    certificate: Option<&'a Certificate>,
    token: &'a str,
}

impl Agent<'_> {
    /// The head and the stream of the answer; `None` when there is no connection to be had.
    async fn ask(&self, path: &str, body: Option<&Value>) -> Option<(StatusCode, Incoming)> {
        let trust = Trust::File(self.authority.file());
        let shown = self.certificate.map(Certificate::shown);
        let tls = tls::client(&trust, shown).expect("a client");
        let client = tls::http::client(tls, PATIENCE);
        let method = if body.is_some() { "POST" } else { "GET" };
        let body = body.map(ToString::to_string).unwrap_or_default();
        let request = Request::builder()
            .method(method)
            .uri(format!("https://{}{path}", self.at))
            .header("authorization", format!("Bearer {}", self.token))
            .body(Full::new(Bytes::from(body)));
        let answer = client.request(request.expect("a request")).await.ok()?;
        Some((answer.status(), answer.into_body()))
    }

    async fn watch(&self, host: &str) -> Option<StatusCode> {
        let answer = self.ask(&format!("/v1/hosts/{host}/watch"), None).await;
        answer.map(|(status, _)| status)
    }
}

/// What a watch says up to its first mark.
async fn said(mut body: Incoming) -> String {
    let mut said = String::new();
    while !said.contains("\"synced\"") {
        let frame = timeout(PATIENCE, body.frame()).await.expect("in time");
        let frame = frame.expect("a frame").expect("bytes");
        said += std::str::from_utf8(frame.data_ref().expect("data")).expect("text");
    }
    said
}

/// A port that is bound to c1, and so in the view of c1 alone.
async fn port_of_c1(rig: &Rig) -> String {
    let post = async |path: &str, body: Value| {
        let headers = [("x-project-id", "p".to_owned())];
        let answer = rig.ask("POST", path, &headers, body.to_string().into());
        answer.await.body
    };
    let network = post("/v2.0/networks", json!({"network": {}})).await;
    let port = json!({"port": {"network_id": network["network"]["id"], "binding:host_id": "c1"}});
    let port = post("/v2.0/ports", port).await;
    port["port"]["id"].as_str().expect("an id").to_owned()
}

async fn listen(rig: &Rig, authority: &Authority) -> (SocketAddr, watch::Sender<bool>) {
    let tokens = authority.folder().join("tokens");
    std::fs::write(&tokens, "c2 two\n").expect("written");
    let own = authority.issue("agents", "IP:127.0.0.1");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let (told, stop) = watch::channel(false);
    let listener = Listener {
        api: rig.api.clone(),
        socket: listener.into(),
        tls: Some(tls::acceptor(own.shown(), Some(&authority.file())).expect("an acceptor")),
        tokens: Some(Tokens::read(&tokens).expect("tokens")),
        connections: 100,
    };
    tokio::spawn(listener.run(stop));
    (at, told)
}

#[tokio::test]
async fn a_certificate_proves_its_host_and_no_other() {
    let (ours, other) = (Authority::new(), Authority::new());
    let rig = Rig::start(ledger::Config::default()).await;
    let (at, _told) = listen(&rig, &ours).await;
    let (one, two) = (ours.issue("c1", "DNS:c1"), ours.issue("c2", "DNS:c2"));
    let both = ours.issue("both", "DNS:c1,DNS:c3");
    let all = ours.issue("all", "DNS:*.example");
    let forged = other.issue("c1", "DNS:c1");
    let (good, refused) = (Some(StatusCode::OK), Some(StatusCode::FORBIDDEN));
    for (certificate, token, host, expected) in [
        (Some(&one), "", "c1", good),
        (Some(&one), "", "c2", refused),
        (Some(&two), "", "c1", refused),
        (Some(&both), "", "c3", good),
        (Some(&one), "", "C1", refused),
        (Some(&all), "", "c1.example", refused),
        (None, "", "c1", refused),
        (None, "two", "c2", good),
        (None, "two", "c1", refused),
        (Some(&one), "two", "c2", good),
        // Whom nobody signed does not even get a refusal.
        (Some(&forged), "", "c1", None),
        (Some(&forged), "two", "c2", None),
    ] {
        let agent = Agent {
            at,
            authority: &ours,
            certificate,
            token,
        };
        assert_eq!(
            agent.watch(host).await,
            expected,
            "{certificate:?} {token} {host}"
        );
    }
}

#[tokio::test]
async fn a_host_that_is_proven_reports_and_gets_its_own_view() {
    let ours = Authority::new();
    let rig = Rig::start(ledger::Config::default()).await;
    let (at, _told) = listen(&rig, &ours).await;
    let agent = |certificate| Agent {
        at,
        authority: &ours,
        certificate: Some(certificate),
        token: "",
    };
    let (one, two) = (ours.issue("c1", "DNS:c1"), ours.issue("c2", "DNS:c2"));
    let report = json!({"agents": [{
        "type": "Open vSwitch agent",
        "configurations": {"tunneling_ip": "10.9.9.1", "tunnel_types": ["vxlan"]},
    }], "started": true});
    let taken = agent(&one).ask("/v1/hosts/c1/status", Some(&report)).await;
    assert_eq!(taken.map(|it| it.0), Some(StatusCode::NO_CONTENT));
    let refused = agent(&two).ask("/v1/hosts/c1/status", Some(&report)).await;
    assert_eq!(refused.map(|it| it.0), Some(StatusCode::FORBIDDEN));

    let port = port_of_c1(&rig).await;
    for (certificate, host, sees) in [(&one, "c1", true), (&two, "c2", false)] {
        let path = format!("/v1/hosts/{host}/watch");
        let (status, body) = agent(certificate)
            .ask(&path, None)
            .await
            .expect("an answer");
        assert_eq!(status, StatusCode::OK);
        assert_eq!(said(body).await.contains(&port), sees, "{host}");
    }
}

fn config(folder: &Path, agents: Agents) -> Config {
    Config {
        listen: free(),
        store: format!("sqlite:{}", folder.join("store.db").display()),
        agents,
        ..Config::default()
    }
}

async fn over_socket(path: &Path, token: &str) -> io::Result<StatusCode> {
    let stream = UnixStream::connect(path).await?;
    let shaken = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = shaken.map_err(io::Error::other)?;
    tokio::spawn(connection);
    let request = Request::get("/v1/hosts/c1/watch")
        .header("host", "nucleon")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::<Bytes>::default());
    let answer = sender.send_request(request.expect("a request")).await;
    Ok(answer.map_err(io::Error::other)?.status())
}

#[tokio::test]
async fn an_agent_beside_the_server_comes_by_a_socket_in_a_folder() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agents");
    let tokens = folder.path().join("tokens");
    std::fs::write(&tokens, "c1 one\n").expect("written");
    // What a server leaves behind that is killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    for (tokens, token, expected) in [
        (None, "", StatusCode::OK),
        (Some(tokens.clone()), "one", StatusCode::OK),
        (Some(tokens), "two", StatusCode::FORBIDDEN),
    ] {
        let agents = Agents {
            listen: format!("unix:{}", path.display()).parse().expect("a place"),
            tokens,
            ..Agents::default()
        };
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(run(config(folder.path(), agents), stopped));
        let asked = timeout(PATIENCE, async {
            loop {
                if let Ok(status) = over_socket(&path, token).await {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert_eq!(asked.await.expect("in time"), expected, "{token}");
        let it = std::fs::metadata(&path).expect("the socket");
        assert!(it.file_type().is_socket());
        assert_eq!(it.permissions().mode() & 0o777, 0o600);
        // Another server does not take it over.
        let at = AgentsAt::Unix(path.clone());
        let second = Socket::bind(&at).await.expect_err("in use");
        assert_eq!(second.kind(), io::ErrorKind::AddrInUse);
        stop.send_replace(true);
        server.await.expect("no panic").expect("a clean end");
    }
    assert!(!path.exists(), "it goes with the server");
}

#[tokio::test]
async fn a_listener_where_nobody_could_prove_anything_is_refused() {
    let ours = Authority::new();
    let own = ours.issue("agents", "IP:127.0.0.1");
    let (_stop, stopped) = watch::channel(false);
    let folder = tempfile::tempdir().expect("a folder");
    let agents = Agents {
        listen: AgentsAt::Tcp(free()),
        certificate: Some(own.certificate),
        key: Some(own.key),
        ..Agents::default()
    };
    let ended = timeout(
        PATIENCE,
        run(config(folder.path(), agents), stopped.clone()),
    )
    .await;
    let refused = ended.expect("in time").expect_err("refused");
    assert!(matches!(refused, RunError::NoProof(_)), "{refused}");
    let folder = tempfile::tempdir().expect("another folder");
    let agents = Agents {
        listen: AgentsAt::Tcp(SocketAddr::from(([0, 0, 0, 0], 0))),
        ..Agents::default()
    };
    let ended = timeout(PATIENCE, run(config(folder.path(), agents), stopped)).await;
    let refused = ended.expect("in time").expect_err("refused");
    assert!(matches!(refused, RunError::PlainAgents(_)), "{refused}");
}

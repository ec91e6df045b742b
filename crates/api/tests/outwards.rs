//! A server among services that speak TLS: PostgreSQL, Keystone, Nova and other servers of its own
//! kind. Whom it does not believe it does not ask.

mod rig;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use api::{
    config::{self, Config, IdentityKind, Nova},
    identity::{Identity, keystone::Keystone},
};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rig::{
    Rig,
    running::{PATIENCE, Running},
};
use serde_json::{Value, json};
use tls::rig::{Authority, Certificate};
use tokio::{net::TcpListener, sync::mpsc, time::timeout};

/// Serves over TLS with one answer to every request, for as long as the test lasts.
async fn secure(
    own: &Certificate,
    answer: impl Fn(&http::request::Parts, Value) -> Response<Full<Bytes>> + Send + Sync + 'static,
) -> SocketAddr {
    let acceptor = tls::acceptor(own.shown(), None).expect("an acceptor");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let at = listener.local_addr().expect("bound");
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let answer = answer.clone();
            let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                let answer = answer.clone();
                async move {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await?.to_bytes();
                    let body = serde_json::from_slice(&body).unwrap_or_default();
                    Ok::<_, hyper::Error>(answer(&head, body))
                }
            });
            let serving = hyper::server::conn::http1::Builder::new();
            tokio::spawn(serving.serve_connection(TokioIo::new(stream), service));
        }
    });
    at
}

/// A Keystone that knows one token, `token`, of an administrator.
async fn keystone(own: &Certificate) -> String {
    let at = secure(own, |head, _| {
        let mut answer = Response::new(Full::default());
        let subject = head.headers.get("x-subject-token");
        if head.method == Method::POST {
            *answer.status_mut() = StatusCode::CREATED;
            let token = "service".parse().expect("a header");
            answer.headers_mut().insert("x-subject-token", token);
        } else if subject.is_some_and(|subject| subject == "token") {
            let token = json!({"token": {
                "user": {"id": "u", "domain": {"id": "default"}},
                "project": {"id": "p"}, "roles": [{"name": "admin"}],
            }});
            *answer.body_mut() = Full::from(token.to_string());
        } else {
            *answer.status_mut() = StatusCode::NOT_FOUND;
        }
        answer
    });
    format!("https://{}/v3", at.await)
}

fn asks(url: &str, authority: &Path) -> config::Keystone {
    config::Keystone {
        url: url.to_owned(),
        authority: Some(authority.to_owned()),
        ..config::Keystone::default()
    }
}

#[tokio::test]
async fn a_keystone_is_asked_over_tls_when_it_is_believed() {
    let (ours, other) = (Authority::new(), Authority::new());
    let url = keystone(&ours.issue("keystone", "IP:127.0.0.1")).await;
    for (authority, token, expected) in [
        (&ours, "token", StatusCode::OK),
        (&ours, "another", StatusCode::UNAUTHORIZED),
        (&other, "token", StatusCode::SERVICE_UNAVAILABLE),
    ] {
        let asked = Keystone::new(asks(&url, &authority.file())).expect("a client");
        let rig = Rig::with(ledger::Config::default(), |_| {
            Identity::Keystone(Box::new(asked))
        });
        let rig = rig.await;
        let headers = [("x-auth-token", token.to_owned())];
        let answer = rig.ask("GET", "/v2.0/networks", &headers, Bytes::new());
        assert_eq!(answer.await.status, expected, "{token}");
    }
    let missing = Keystone::new(asks(&url, Path::new("/nowhere/ca.pem"))).expect_err("no file");
    assert_eq!(missing.to_string(), "/nowhere/ca.pem can't be read");
}

/// Settings of a server that shows a certificate and believes others by an authority.
fn secured(own: &Certificate, peer_authority: PathBuf, settings: &Config) -> Config {
    Config {
        peer_authority: Some(peer_authority),
        tls: Some(config::Tls {
            certificate: own.certificate.clone(),
            key: own.key.clone(),
        }),
        ..settings.clone()
    }
}

#[tokio::test]
async fn servers_of_a_cloud_behind_tls_pass_writes_on_and_tell_nova() {
    let (ours, other) = (Authority::new(), Authority::new());
    let own = ours.issue("own", "IP:127.0.0.1");
    let database = store::rig::Server::start();
    database.encrypt(
        [&*own.certificate, &own.key, &ours.file()],
        "hostssl all all 127.0.0.1/32 trust",
    );
    let (told, mut events) = mpsc::unbounded_channel();
    let nova = secure(&own, move |head, body| {
        assert_eq!(head.headers["x-auth-token"], "service");
        assert_eq!(head.uri.path(), "/v2.1/os-server-external-events");
        told.send(body).expect("the test listens");
        Response::new(Full::from("{}"))
    });
    let settings = Config {
        store: format!(
            "{}?sslmode=verify-full&sslrootcert={}",
            database.url(),
            ours.file().display()
        ),
        identity: IdentityKind::Keystone,
        keystone: asks(&keystone(&own).await, &ours.file()),
        nova: Some(Nova {
            url: format!("https://{}/v2.1", nova.await),
            authority: Some(ours.file()),
            token: String::new(),
        }),
        ..Config::default()
    };
    let client = tls::http::for_peer("https://", Some(&ours.file())).expect("a client");
    let writer = Running::start(secured(&own, ours.file(), &settings));
    writer.until(&client, "/readyz", StatusCode::OK).await;
    let follower = Running::start(secured(&own, ours.file(), &settings));
    let distrusts = Running::start(secured(&own, other.file(), &settings));
    follower.until(&client, "/readyz", StatusCode::OK).await;
    let unsure = StatusCode::SERVICE_UNAVAILABLE;
    distrusts.until(&client, "/readyz", unsure).await;

    let ask = async |at: &Running, method: Method, path: &str, body: Value| {
        let token = [("x-auth-token", "token")];
        let answer = at.ask(&client, (method, path), &token, body).await;
        let answer = answer.expect("an answer");
        (answer.status, answer.body)
    };
    let post =
        async |at: &Running, path: &str, body: Value| ask(at, Method::POST, path, body).await;
    let network = json!({"network": {"name": "n"}});
    let (status, body) = post(&follower, "/v2.0/networks", network.clone()).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let (status, body) = post(&distrusts, "/v2.0/networks", network).await;
    assert_eq!(status, unsure, "{body}");

    let (_, listed) = ask(&follower, Method::GET, "/v2.0/networks", Value::Null).await;
    let networks = &listed["networks"];
    assert_eq!(networks.as_array().map(Vec::len), Some(1), "{networks}");
    let port = json!({"port": {
        "network_id": networks[0]["id"], "device_owner": "compute:nova", "device_id": "vm",
    }});
    let (status, body) = post(&follower, "/v2.0/ports", port).await;
    assert_eq!(status, StatusCode::CREATED, "{body}");
    let path = format!(
        "/v2.0/ports/{}",
        body["port"]["id"].as_str().expect("an id")
    );
    let (status, body) = ask(&follower, Method::DELETE, &path, Value::Null).await;
    assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    let event = timeout(PATIENCE, events.recv()).await.expect("in time");
    let event = &event.expect("an event")["events"][0];
    assert_eq!(event["name"], "network-vif-deleted");
    assert_eq!(event["server_uuid"], "vm");
    for server in [follower, distrusts, writer] {
        server.end().await;
    }
}

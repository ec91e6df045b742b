//! Who there is, is written by the writer, whichever server is asked: the embedded identity on a
//! server that follows.

mod rig;

use std::time::Duration;

use api::config::{Config, Embedded, IdentityKind};
use http::{Method, StatusCode};
use rig::{
    Answer,
    running::{PATIENCE, Running},
};
use serde_json::{Value, json};
use tls::http::Client;
use tokio::time::{sleep, timeout};

const PASSWORD: &str = "first";

struct Server {
    running: Running,
    client: Client,
}

impl Server {
    async fn start(settings: &Config) -> Self {
        let client = tls::http::for_peer("http://", None).expect("a client");
        let running = Running::start(settings.clone());
        running.until(&client, "/readyz", StatusCode::OK).await;
        Self { running, client }
    }

    async fn ask(&self, token: &str, asked: (Method, &str), body: Value) -> Answer {
        let headers = [("x-auth-token", token)];
        let answer = self.running.ask(&self.client, asked, &headers, body).await;
        answer.expect("an answer")
    }

    /// Makes something, and shows it here at once; its id.
    async fn make(&self, token: &str, path: &str, noun: &str, it: Value) -> String {
        let made = self
            .ask(token, (Method::POST, path), json!({ noun: it }))
            .await;
        assert_eq!(made.status, StatusCode::CREATED, "{path}: {}", made.body);
        let id = made.body[noun]["id"].as_str().expect("an id").to_owned();
        let one = format!("{path}/{id}");
        let shown = self.ask(token, (Method::GET, &one), Value::Null).await;
        assert_eq!(shown.status, StatusCode::OK, "{one}: {}", shown.body);
        id
    }

    async fn does(&self, token: &str, method: Method, path: &str, body: Value) {
        let answer = self.ask(token, (method, path), body).await;
        assert!(answer.status.is_success(), "{path}: {}", answer.body);
    }

    async fn login(&self, identity: Value, project: Option<&str>) -> Answer {
        let mut auth = json!({ "identity": identity });
        if let Some(name) = project {
            auth["scope"] = json!({"project": {"name": name, "domain": {"name": "Default"}}});
        }
        let asked = (Method::POST, "/v3/auth/tokens");
        self.ask("", asked, json!({ "auth": auth })).await
    }

    async fn password(&self, user: &str, password: &str, project: &str) -> Answer {
        let user = json!({"name": user, "password": password, "domain": {"name": "Default"}});
        let identity = json!({"methods": ["password"], "password": {"user": user}});
        self.login(identity, Some(project)).await
    }

    async fn status(&self, token: &str, path: &str) -> StatusCode {
        self.ask(token, (Method::GET, path), Value::Null)
            .await
            .status
    }
}

/// Two servers of one store, the second of which follows, and an administrator's token.
async fn two(database: &store::rig::Server) -> (Server, Server, String) {
    let settings = Config {
        store: database.url(),
        identity: IdentityKind::Embedded,
        embedded: Embedded {
            admin_password: PASSWORD.to_owned(),
            ..Embedded::default()
        },
        ..Config::default()
    };
    let writer = Server::start(&settings).await;
    let follower = Server::start(&settings).await;
    // The first user is made a moment after the writer listens. Logging in writes nothing.
    let first = timeout(PATIENCE, async {
        loop {
            let admin = follower.password("admin", PASSWORD, "admin").await;
            if let Some(token) = admin.token {
                return token;
            }
            sleep(Duration::from_millis(50)).await;
        }
    });
    let admin = first.await.expect("a first user");
    (writer, follower, admin)
}

/// A user with two roles in a project, all of them made by way of one server.
struct Made {
    user: String,
    grants: [String; 2],
    token: String,
}

async fn made(by: &Server, admin: &str) -> Made {
    let project = json!({"name": "one"});
    let project = by.make(admin, "/v3/projects", "project", project).await;
    let user = json!({"name": "one", "password": "old"});
    let user = by.make(admin, "/v3/users", "user", user).await;
    let role = json!({"name": "own"});
    let role = by.make(admin, "/v3/roles", "role", role).await;
    let members = by.ask(admin, (Method::GET, "/v3/roles?name=member"), Value::Null);
    let members = members.await.body;
    let member = members["roles"][0]["id"].as_str().expect("an id");
    let grants =
        [member, &*role].map(|role| format!("/v3/projects/{project}/users/{user}/roles/{role}"));
    for grant in &grants {
        by.does(admin, Method::PUT, grant, Value::Null).await;
    }
    let token = by.password("one", "old", "one").await.token;
    Made {
        user,
        grants,
        token: token.expect("a token"),
    }
}

#[tokio::test]
async fn what_is_made_on_a_server_that_follows_is_known_to_all() {
    let database = store::rig::Server::start();
    let (writer, follower, admin) = two(&database).await;
    let one = made(&follower, &admin).await;
    let network = json!({"name": "mine"});
    let network = follower.make(&one.token, "/v2.0/networks", "network", network);
    let network = format!("/v2.0/networks/{}", network.await);
    assert_eq!(writer.status(&one.token, &network).await, StatusCode::OK);

    // A credential of the user's own, used at the other server.
    let path = format!("/v3/users/{}/application_credentials", one.user);
    let body = json!({"application_credential": {"name": "robot"}});
    let credential = follower.ask(&one.token, (Method::POST, &path), body).await;
    assert_eq!(
        credential.status,
        StatusCode::CREATED,
        "{}",
        credential.body
    );
    let credential = &credential.body["application_credential"];
    let identity = json!({
        "methods": ["application_credential"],
        "application_credential": {"id": credential["id"], "secret": credential["secret"]},
    });
    let robot = writer.login(identity, None).await;
    assert_eq!(robot.status, StatusCode::CREATED, "{}", robot.body);

    // A refusal is the writer's as well.
    let again = json!({"project": {"name": "one"}});
    let refused = follower.ask(&admin, (Method::POST, "/v3/projects"), again);
    assert_eq!(refused.await.status, StatusCode::CONFLICT);
    follower.running.end().await;
    writer.running.end().await;
}

#[tokio::test]
async fn what_is_taken_away_on_a_server_that_follows_is_gone_for_all() {
    let database = store::rig::Server::start();
    let (writer, follower, admin) = two(&database).await;
    let one = made(&follower, &admin).await;
    let both = [&writer, &follower];

    let changed = json!({"user": {"password": "new"}});
    let path = format!("/v3/users/{}", one.user);
    follower.does(&admin, Method::PATCH, &path, changed).await;
    for server in both {
        let old = server.password("one", "old", "one").await.status;
        let new = server.password("one", "new", "one").await.status;
        assert_eq!((old, new), (StatusCode::UNAUTHORIZED, StatusCode::CREATED));
    }
    for grant in &one.grants {
        let gone = follower.does(&admin, Method::DELETE, grant, Value::Null);
        gone.await;
    }
    for server in both {
        let status = server.status(&one.token, "/v2.0/networks").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "no role is left");
    }
    let headers = [("x-auth-token", &*admin), ("x-subject-token", &*admin)];
    let asked = (Method::DELETE, "/v3/auth/tokens");
    let revoked = follower
        .running
        .ask(&follower.client, asked, &headers, Value::Null);
    let revoked = revoked.await.expect("an answer");
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    for server in both {
        let status = server.status(&admin, "/v3/users").await;
        assert_eq!(status, StatusCode::UNAUTHORIZED, "the token is taken back");
    }
    follower.running.end().await;
    writer.running.end().await;
}

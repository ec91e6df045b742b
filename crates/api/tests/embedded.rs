//! The embedded identity over HTTP: who gets in, how far, and what of others they see.

mod rig;

use api::{
    config,
    identity::{Identity, embedded::Embedded},
};
use ledger::Config;
use rig::{Answer, Rig};
use serde_json::{Value, json};

const PASSWORD: &str = "first";

async fn start() -> Rig {
    let rig = Rig::with(Config::default(), |hub| {
        let settings = config::Embedded {
            admin_password: PASSWORD.to_owned(),
            ..config::Embedded::default()
        };
        Identity::Embedded(Box::new(Embedded { hub, settings }))
    })
    .await;
    let Identity::Embedded(service) = &rig.api.identity else {
        panic!("it is embedded");
    };
    service.begin().await.expect("a first user");
    service.begin().await.expect("a second time does nothing");
    rig
}

async fn login(rig: &Rig, user: &str, password: &str, project: &str) -> Answer {
    let default = json!({"name": "Default"});
    let body = json!({"auth": {
        "identity": {"methods": ["password"], "password": {
            "user": {"name": user, "password": password, "domain": default}
        }},
        "scope": {"project": {"name": project, "domain": default}},
    }});
    let body = body.to_string().into();
    rig.ask("POST", "/v3/auth/tokens", &[], body).await
}

async fn ask(rig: &Rig, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let headers = [("x-auth-token", token.to_owned())];
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    rig.ask(method, path, &headers, body.into()).await
}

/// A user of a project of its own, as an administrator makes it; its project's id and its token.
async fn member(rig: &Rig, admin: &str, name: &str) -> (String, String) {
    let id =
        |answer: &Answer, noun: &str| answer.body[noun]["id"].as_str().expect("an id").to_owned();
    let project = json!({"project": {"name": name}});
    let project = id(
        &ask(rig, admin, "POST", "/v3/projects", &project).await,
        "project",
    );
    let user = json!({"user": {"name": name, "password": name}});
    let user = ask(rig, admin, "POST", "/v3/users", &user).await;
    assert!(!user.body.to_string().contains("argon2"), "{}", user.body);
    let user = id(&user, "user");
    let roles = ask(rig, admin, "GET", "/v3/roles?name=member", &Value::Null).await;
    let role = roles.body["roles"][0]["id"]
        .as_str()
        .expect("a role")
        .to_owned();
    let grant = format!("/v3/projects/{project}/users/{user}/roles/{role}");
    assert_eq!(
        ask(rig, admin, "PUT", &grant, &Value::Null).await.status,
        204
    );
    let token = login(rig, name, name, name).await.token.expect("a token");
    (project, token)
}

#[tokio::test]
async fn users_get_in_by_password_and_see_their_own() {
    let rig = start().await;
    assert_eq!(login(&rig, "admin", "wrong", "admin").await.status, 401);
    assert_eq!(login(&rig, "nobody", PASSWORD, "admin").await.status, 401);
    let admin = login(&rig, "admin", PASSWORD, "admin").await;
    assert_eq!(admin.status, 201);
    let admin = admin.token.expect("a token");
    let (project, one) = member(&rig, &admin, "one").await;
    let (_, two) = member(&rig, &admin, "two").await;

    let network = json!({"network": {"name": "mine"}});
    let made = ask(&rig, &one, "POST", "/v2.0/networks", &network).await;
    assert_eq!(made.status, 201);
    assert_eq!(made.body["network"]["project_id"], project.as_str());
    let path = format!(
        "/v2.0/networks/{}",
        made.body["network"]["id"].as_str().expect("an id")
    );
    assert_eq!(
        ask(&rig, &one, "GET", &path, &Value::Null).await.status,
        200
    );
    assert_eq!(
        ask(&rig, &two, "GET", &path, &Value::Null).await.status,
        404
    );
    assert_eq!(
        ask(&rig, &two, "DELETE", &path, &Value::Null).await.status,
        404
    );
    assert_eq!(
        ask(&rig, &admin, "GET", &path, &Value::Null).await.status,
        200
    );
    assert_eq!(
        ask(&rig, "bogus", "GET", &path, &Value::Null).await.status,
        401
    );
    assert_eq!(
        ask(&rig, &one, "GET", "/v3/users", &Value::Null)
            .await
            .status,
        403
    );
    assert_eq!(
        ask(&rig, &one, "GET", "/nucleon/hosts", &Value::Null)
            .await
            .status,
        403
    );
}

#[tokio::test]
async fn an_application_credential_stands_for_its_user_until_it_is_deleted() {
    let rig = start().await;
    let admin = login(&rig, "admin", PASSWORD, "admin").await;
    let user = admin.body["token"]["user"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let admin = admin.token.expect("a token");
    let path = format!("/v3/users/{user}/application_credentials");
    let wanted = json!({"application_credential": {"name": "robot"}});
    let made = ask(&rig, &admin, "POST", &path, &wanted).await;
    let credential = &made.body["application_credential"];
    let body = json!({"auth": {"identity": {
        "methods": ["application_credential"],
        "application_credential": {"id": credential["id"], "secret": credential["secret"]},
    }}});
    let body = || body.to_string().into();
    let robot = rig.ask("POST", "/v3/auth/tokens", &[], body()).await;
    let robot = robot.token.expect("a token");
    assert_eq!(
        ask(&rig, &robot, "GET", "/v2.0/agents", &Value::Null)
            .await
            .status,
        200
    );

    let own = format!("{path}/{}", credential["id"].as_str().expect("an id"));
    assert_eq!(
        ask(&rig, &admin, "DELETE", &own, &Value::Null).await.status,
        204
    );
    assert_eq!(
        ask(&rig, &robot, "GET", "/v2.0/agents", &Value::Null)
            .await
            .status,
        401
    );
    assert_eq!(
        rig.ask("POST", "/v3/auth/tokens", &[], body()).await.status,
        401
    );
}

#[tokio::test]
async fn a_token_that_is_taken_back_lets_nobody_in() {
    let rig = start().await;
    let admin = login(&rig, "admin", PASSWORD, "admin").await;
    let admin = admin.token.expect("a token");
    let (_, one) = member(&rig, &admin, "one").await;
    let (_, two) = member(&rig, &admin, "two").await;
    let again = login(&rig, "one", "one", "one").await;
    let again = again.token.expect("a token");
    let revoke = async |by: &str, token: &str| {
        let headers = [
            ("x-auth-token", by.to_owned()),
            ("x-subject-token", token.to_owned()),
        ];
        let path = "/v3/auth/tokens";
        rig.ask("DELETE", path, &headers, "".into()).await.status
    };
    let status = async |token: &str| {
        let path = "/v2.0/networks";
        ask(&rig, token, "GET", path, &Value::Null).await.status
    };
    assert_eq!(revoke(&two, &one).await, 403);
    assert_eq!(status(&one).await, 200);
    assert_eq!(revoke(&one, &one).await, 204);
    assert_eq!(status(&one).await, 401);
    assert_eq!(revoke(&one, &one).await, 401);
    assert_eq!(revoke(&admin, &one).await, 404);
    assert_eq!(revoke(&admin, &two).await, 204);
    assert_eq!(status(&two).await, 401);
    // Another token of the same user is another token.
    let same_second = again == one;
    assert_eq!(status(&again).await, if same_second { 401 } else { 200 });
}

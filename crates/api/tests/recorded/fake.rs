//! A Neutron that answers what was recorded, in pages of its own size, and is now and then not up
//! to it. It knows no other verb than `GET`.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
    routing::get,
};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// Members of one page, however many are asked for.
const PAGE: usize = 20;
/// Every so manieth request is answered as by a server that is overloaded.
const FAULT: usize = 5;
pub(crate) const TOKEN: &str = "an administrator's";

pub(crate) type World = BTreeMap<String, Value>;

#[derive(Debug)]
struct Fake {
    world: World,
    /// The first network of a page has changed whenever it is asked for.
    changes: bool,
    asked: AtomicUsize,
}

/// Serves a world; gives its URL.
pub(crate) async fn serve(world: World) -> String {
    listen(world, false).await
}

/// The same, and a user is at work meanwhile.
pub(crate) async fn serve_changing(world: World) -> String {
    listen(world, true).await
}

async fn listen(world: World, changes: bool) -> String {
    let fake = Arc::new(Fake {
        world,
        changes,
        asked: AtomicUsize::new(0),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let app = Router::new()
        .route("/v2.0/{*path}", get(answer))
        .with_state(fake);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn answer(
    State(fake): State<Arc<Fake>>,
    headers: HeaderMap,
    uri: Uri,
) -> (StatusCode, Json<Value>) {
    let said = |status, message: &str| {
        let fault = json!({"NeutronError": {"type": "X", "message": message, "detail": ""}});
        (status, Json(fault))
    };
    if headers.get("x-auth-token").is_none_or(|it| it != TOKEN) {
        return said(StatusCode::UNAUTHORIZED, "who are you?");
    }
    if fake.asked.fetch_add(1, Ordering::Relaxed) % FAULT == FAULT - 1 {
        return said(StatusCode::SERVICE_UNAVAILABLE, "come back later");
    }
    let path = uri.path().trim_start_matches("/v2.0/");
    if path.ends_with("/bindings") {
        return (StatusCode::OK, Json(json!({"bindings": []})));
    }
    let Some(whole) = fake.world.get(path) else {
        return said(StatusCode::NOT_FOUND, "nothing of that kind");
    };
    let mut page = page(whole, uri.query().unwrap_or_default());
    if fake.changes && path == "networks" && !page["networks"].is_null() {
        let at = fake.asked.load(Ordering::Relaxed);
        page["networks"][0]["revision_number"] = at.into();
    }
    (StatusCode::OK, Json(page))
}

/// The page that begins after the marker, for those who ask for pages.
fn page(whole: &Value, query: &str) -> Value {
    let marker = query.split('&').find_map(|it| it.strip_prefix("marker="));
    let (plural, members) = whole
        .as_object()
        .and_then(|it| it.iter().next())
        .expect("a list");
    let Some(members) = members.as_array().filter(|_| query.contains("limit=")) else {
        return whole.clone();
    };
    let is_marker = |it: &Value| it["id"].as_str() == marker;
    let after = members.iter().position(is_marker).map_or(0, |at| at + 1);
    let page = &members[after..members.len().min(after + PAGE)];
    let more = after + page.len() < members.len();
    let links = if more {
        json!([{"rel": "next", "href": "elsewhere"}])
    } else {
        json!([])
    };
    json!({plural: page, format!("{plural}_links"): links})
}

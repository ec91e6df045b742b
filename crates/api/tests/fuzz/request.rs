//! Requests that are HTTP: to every collection, member and call, with ids that are there.

use std::{collections::BTreeMap, sync::Mutex};

use intent::attrs::{TABLES, Table, Verbs};
use serde_json::{Map, Value, json};

use crate::{
    body::{self, PROJECTS},
    chance::Chance,
    wire,
};

/// One request, not yet bytes.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: &'static str,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.with_length(Some(&self.body.len().to_string()));
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The head, with this for its length; and the body, where there is a length at all.
    pub(crate) fn with_length(&self, length: Option<&str>) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nhost: fuzz\r\n", self.method, self.path);
        if let Some(length) = length {
            head.push_str("content-length: ");
            head.push_str(length);
            head.push_str("\r\n");
        }
        let mut bytes = head.into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes
    }
}

/// Ids that answers told, by the kind of resource; the last few of each.
#[derive(Debug, Default)]
pub(crate) struct Ids(Mutex<BTreeMap<String, Vec<String>>>);

impl Ids {
    const KEPT: usize = 40;

    /// Ids of what was made or shown; one that is gone is forgotten.
    pub(crate) fn learn(&self, asked: &Asked, status: u16, body: &[u8]) {
        if status == 204 && asked.method == "DELETE" {
            let gone = asked.path.rsplit('/').next().unwrap_or_default();
            let mut ids = self.0.lock().expect("no client panicked");
            ids.values_mut().for_each(|ids| ids.retain(|id| id != gone));
        }
        let Ok(Value::Object(answer)) = serde_json::from_slice(body) else {
            return;
        };
        for (kind, value) in &answer {
            let Some(id) = value.get("id").and_then(Value::as_str) else {
                continue;
            };
            let mut ids = self.0.lock().expect("no client panicked");
            let known = ids.entry(kind.clone()).or_default();
            known.push(id.to_owned());
            if known.len() > Self::KEPT {
                known.remove(0);
            }
        }
    }

    /// One that is there, most likely.
    pub(crate) fn any(&self, chance: &mut Chance, kind: &str) -> String {
        let ids = self.0.lock().expect("no client panicked");
        match ids.get(kind).filter(|_| !chance.one_in(25)) {
            Some(known) if !known.is_empty() => chance.of(known).clone(),
            _ => "00000000-0000-0000-0000-00000000dead".to_owned(),
        }
    }
}

/// Whatever somebody may ask.
pub(crate) fn any(chance: &mut Chance, ids: &Ids) -> Asked {
    let mut table = *chance.of(TABLES);
    // Mostly what can be made.
    while table.verbs != Verbs::All && !chance.one_in(6) {
        table = *chance.of(TABLES);
    }
    let mut asked = match chance.below(16) {
        0..5 => create(chance, ids, table),
        5..8 => update(chance, ids, table),
        8 | 9 => plain("GET", member(chance, ids, table)),
        10 => plain("DELETE", member(chance, ids, table)),
        11 | 12 => plain(
            "GET",
            format!("{}{}", table.path, query(chance, ids, table)),
        ),
        13 => action(chance, ids),
        14 => beside(chance, ids, table),
        _ => odd_path(chance, table),
    };
    asked.path = format!("/v2.0/{}", asked.path);
    headers(chance, &mut asked);
    if chance.one_in(8) && !asked.body.is_empty() {
        asked.body = broken_body(chance, asked.body);
    }
    if chance.one_in(50) {
        asked.method = *chance.of(&["PATCH", "OPTIONS", "HEAD", "TRACE", "BREW"]);
    }
    asked
}

fn plain(method: &'static str, path: String) -> Asked {
    Asked {
        method,
        path,
        headers: Vec::new(),
        body: Vec::new(),
    }
}

fn with(method: &'static str, path: String, chance: &mut Chance, mut body: Value) -> Asked {
    if chance.one_in(6) {
        body::spoil(chance, &mut body);
    }
    let mut asked = plain(method, path);
    asked.body = body.to_string().into_bytes();
    asked
}

fn create(chance: &mut Chance, ids: &Ids, table: &Table) -> Asked {
    let one = |chance: &mut Chance| Value::Object(body::attributes(chance, ids, table, true));
    let body = if chance.one_in(8) {
        let many: Vec<Value> = (0..chance.below(5)).map(|_| one(chance)).collect();
        json!({table.plural: many})
    } else {
        json!({table.name: one(chance)})
    };
    with("POST", table.path.to_owned(), chance, body)
}

fn member(chance: &mut Chance, ids: &Ids, table: &Table) -> String {
    let suffix = if chance.one_in(20) { ".json" } else { "" };
    format!("{}/{}{suffix}", table.path, ids.any(chance, table.name))
}

fn update(chance: &mut Chance, ids: &Ids, table: &Table) -> Asked {
    let body = json!({table.name: body::attributes(chance, ids, table, false)});
    let path = member(chance, ids, table);
    with("PUT", path, chance, body)
}

/// The named calls of routers, pools and groups.
fn action(chance: &mut Chance, ids: &Ids) -> Asked {
    let acting: Vec<&Table> = TABLES
        .iter()
        .copied()
        .filter(|table| !table.actions.is_empty())
        .collect();
    let table = *chance.of(&acting);
    let action = chance.of(table.actions);
    let path = format!("{}/{}", member(chance, ids, table), action.name);
    let route = json!([{"destination": "10.9.0.0/16", "nexthop": "10.0.0.9"}]);
    let body = match chance.below(6) {
        0 => json!({"subnet_id": ids.any(chance, "subnet")}),
        1 => json!({"port_id": ids.any(chance, "port")}),
        2 => json!({"router": {"routes": route}}),
        3 => json!({"prefixes": ["10.77.0.0/16"]}),
        4 => json!({"addresses": ["10.1.0.0/16"]}),
        _ => json!({"network_id": ids.any(chance, "network")}),
    };
    with("PUT", path, chance, body)
}

/// Tags, bindings, quotas, scheduling: what has no table of its own.
fn beside(chance: &mut Chance, ids: &Ids, table: &Table) -> Asked {
    let method = *chance.of(&["GET", "PUT", "POST", "DELETE"]);
    let (path, body) = match chance.below(5) {
        0 => (
            format!("{}/tags", member(chance, ids, table)),
            json!({"tags": ["a", body::junk(chance, 1)]}),
        ),
        1 => (
            format!("{}/tags/a", member(chance, ids, table)),
            Value::Null,
        ),
        2 => {
            let host = chance.of(&["", "/host-1", "/host-1/activate", "/host-2"]);
            let port = ids.any(chance, "port");
            let binding = json!({"binding": {"host": "host-2", "profile": body::junk(chance, 2)}});
            (format!("ports/{port}/bindings{host}"), binding)
        }
        3 => {
            let project = *chance.of(&PROJECTS);
            let what = chance.of(&["", "/default", "/details"]);
            let limits = json!({"quota": {"port": chance.below(600), "force": true,
                *chance.of(&["network", "router", "nothing"]): body::junk(chance, 1)}});
            (format!("quotas/{project}{what}"), limits)
        }
        _ => {
            let agent = ids.any(chance, "agent");
            let what = chance.of(&["l3-routers", "dhcp-networks"]);
            let body = json!({"router_id": ids.any(chance, "router"),
                "network_id": ids.any(chance, "network")});
            (format!("agents/{agent}/{what}"), body)
        }
    };
    with(method, path, chance, body)
}

fn odd_path(chance: &mut Chance, table: &Table) -> Asked {
    const ENDS: [&str; 14] = [
        "/",
        "//",
        "/%00",
        "/%ff%fe",
        "/%2e%2e/",
        "/..",
        ".xml",
        ".json",
        "/null",
        "/None",
        "/a/b/c/d/e",
        "/%",
        "/%zz",
        "?",
    ];
    let path = format!("{}{}", table.path, chance.of(&ENDS));
    let method = *chance.of(&["GET", "PUT", "POST", "DELETE"]);
    let body = Value::Object(Map::new());
    with(method, path, chance, body)
}

/// Filters, fields, order and pages; sensible ones, and others.
fn query(chance: &mut Chance, ids: &Ids, table: &Table) -> String {
    let mut pairs: Vec<String> = Vec::new();
    for _ in 0..chance.below(5) {
        let attr = chance.of(table.attrs);
        let value = match body::fitting(chance, ids, attr) {
            Value::String(text) => text,
            other => other.to_string(),
        };
        pairs.push(match chance.below(9) {
            0 => format!("fields={}", attr.name),
            1 => format!(
                "sort_key={}&sort_dir={}",
                attr.name,
                chance.of(&["asc", "desc", "up"])
            ),
            2 => format!(
                "limit={}",
                chance.of(&["0", "1", "2", "-1", "9999999999999999999999"])
            ),
            3 => format!("marker={}", ids.any(chance, table.name)),
            4 => "page_reverse=True".to_owned(),
            5 => format!("fixed_ips=ip_address_substr%3D{}", chance.below(20)),
            6 => format!(
                "{}={}",
                chance.of(&["tags", "not-tags", "tags-any", "x"]),
                "a,b"
            ),
            7 => (*chance.of(&["=", "&", "%", "a=%ff%00", "=x", "a=b=c", "%3D=%26"])).to_owned(),
            _ => format!("{}={}", attr.name, escaped(&value)),
        });
    }
    match pairs.is_empty() {
        true => String::new(),
        false => format!("?{}", pairs.join("&")),
    }
}

fn escaped(text: &str) -> String {
    let bytes = text.bytes().take(200);
    let escaped = bytes.map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02x}"),
    });
    escaped.collect()
}

fn headers(chance: &mut Chance, asked: &mut Asked) {
    let mut add = |name: &str, value: &[u8]| asked.headers.push((name.to_owned(), value.to_vec()));
    let roles = [
        "admin,member,reader,service",
        "admin",
        "member,reader",
        "reader",
        "",
        "x,,",
    ];
    let roles = if chance.one_in(3) {
        *chance.of(&roles)
    } else {
        roles[0]
    };
    add("x-roles", roles.as_bytes());
    add("x-project-id", chance.of(&PROJECTS).as_bytes());
    if chance.one_in(6) {
        let revision = format!("revision_number={}", chance.below(4));
        let odd = *chance.of(&[
            revision.as_str(),
            "revision_number=",
            "revision_number=-1",
            "*",
            "\"\"",
        ]);
        add("if-match", odd.as_bytes());
    }
    if chance.one_in(12) {
        let names = [
            "accept",
            "content-type",
            "x-forwarded-proto",
            "x-forwarded-host",
            "cookie",
            "x-auth-token",
            "expect",
            "connection",
            "accept-encoding",
            "x-openstack-request-id",
        ];
        let values: [&[u8]; 9] = [
            b"",
            b"*/*",
            b"application/xml",
            b"text/plain; q=x",
            b"\xff\xfe",
            b"100-continue",
            b"close",
            b"a, b, c;;;",
            b"javascript:alert(1)",
        ];
        let (name, value): (&&str, &&[u8]) = (chance.of(&names), chance.of(&values));
        add(name, value);
    }
}

/// A body that is no JSON any more, or no UTF-8, or much too much.
fn broken_body(chance: &mut Chance, body: Vec<u8>) -> Vec<u8> {
    match chance.below(8) {
        0 => body[..chance.below(body.len())].to_vec(),
        1 => b"\xff\xfe\x00".iter().copied().chain(body).collect(),
        2 => {
            let depth = 1 + chance.below(3_000);
            [b"{\"network\":".repeat(depth), b"}".repeat(depth)].concat()
        }
        3 => {
            let items = vec!["{}"; chance.below(600)].join(",");
            format!("{{\"networks\":[{items}]}}").into_bytes()
        }
        4 => Vec::new(),
        _ => wire::scrambled(chance, body),
    }
}

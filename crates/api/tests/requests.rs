//! Requests that no client would send get a clear answer all the same.

mod rig;

use ledger::Config;
use proptest::{
    prelude::*,
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};
use rig::Rig;
use serde_json::{Value, json};

const PROJECT: &str = "e6f84c3a75674fecbe2663df4abbc4ac";

fn headers(who: &str) -> Vec<(&'static str, String)> {
    let roles = match who {
        "admin" | "service" => "admin,member,reader,service",
        "reader" => "reader",
        _ => "member,reader",
    };
    vec![
        ("x-project-id", PROJECT.to_owned()),
        ("x-roles", roles.to_owned()),
    ]
}

/// Names that mean something somewhere, and some that mean nothing.
fn name() -> impl Strategy<Value = String> {
    const NAMES: [&str; 24] = [
        "network",
        "networks",
        "port",
        "ports",
        "subnet",
        "router",
        "security_group",
        "name",
        "network_id",
        "fixed_ips",
        "ip_address",
        "subnet_id",
        "cidr",
        "ip_version",
        "tags",
        "external_gateway_info",
        "allowed_address_pairs",
        "binding:profile",
        "project_id",
        "quota",
        "binding",
        "host",
        "segments",
        "extra_dhcp_opts",
    ];
    prop_oneof![
        4 => proptest::sample::select(NAMES.to_vec()).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        Just(json!("10.0.0.0/24")),
        Just(json!("fd00::/64")),
        Just(json!("00000000-0000-0000-0000-00000000dead")),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::vec((name(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn path() -> impl Strategy<Value = String> {
    const PARTS: [&str; 26] = [
        "networks",
        "ports",
        "subnets",
        "subnetpools",
        "routers",
        "floatingips",
        "agents",
        "security-groups",
        "security-group-rules",
        "address-groups",
        "address-scopes",
        "rbac-policies",
        "quotas",
        "tags",
        "bindings",
        "details",
        "l3-routers",
        "dhcp-agents",
        "extensions",
        "segments",
        "network-ip-availabilities",
        "auto-allocated-topology",
        "00000000-0000-0000-0000-00000000dead",
        "add_router_interface",
        "x.json",
        "%2e%ff",
    ];
    let parts = proptest::collection::vec(proptest::sample::select(PARTS.to_vec()), 0..4);
    let query = proptest::collection::vec((name(), "[a-z0-9%=+:-]{0,8}"), 0..4);
    (parts, query).prop_map(|(parts, query)| {
        let plain = |text: &str| -> String {
            text.chars()
                .filter(|c| c.is_ascii_alphanumeric() || "_:-".contains(*c))
                .collect()
        };
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{}={value}", plain(name)))
            .collect();
        format!("/v2.0/{}?{}", parts.join("/"), query.join("&"))
    })
}

/// How many requests one run throws; `NUCLEON_FUZZ` says another number.
fn rounds() -> usize {
    let wanted = option_env!("NUCLEON_FUZZ").and_then(|text| text.parse().ok());
    wanted.unwrap_or(3_000)
}

#[tokio::test]
async fn no_request_is_answered_with_a_500() {
    let rig = Rig::start(Config::default()).await;
    let mut runner = TestRunner::deterministic();
    let method = proptest::sample::select(vec!["GET", "POST", "PUT", "DELETE", "PATCH"]);
    let requests = (method, path(), value());
    for _ in 0..rounds() {
        let tree = requests.new_tree(&mut runner).expect("a request");
        let (method, path, body) = tree.current();
        let answer = rig
            .ask(method, &path, &headers("admin"), body.to_string().into())
            .await;
        let status = answer.status.as_u16();
        assert!(
            status < 500,
            "{method} {path} {body}: {status} {}",
            answer.body
        );
    }
    assert!(rig.api.hub.is_ready(), "it serves as before");
}

#[tokio::test]
async fn bodies_are_bounded_and_broken_ones_refused() {
    let rig = Rig::start(Config::default()).await;
    let deep = "[".repeat(100_000);
    let million = format!("{{\"networks\": [{}]}}", vec!["{}"; 1_000_000].join(","));
    let huge = format!("{{\"network\": {{\"name\": \"{}\"}}}}", "x".repeat(5 << 20));
    for (body, status) in [
        (b"{\"network\": ".to_vec(), 400),
        (vec![0xff, 0xfe, b'{'], 400),
        (deep.into_bytes(), 400),
        (huge.into_bytes(), 413),
        (million.into_bytes(), 400),
    ] {
        let length = body.len();
        let answer = rig
            .ask("POST", "/v2.0/networks", &headers("admin"), body.into())
            .await;
        assert_eq!(
            answer.status.as_u16(),
            status,
            "{length} bytes: {}",
            answer.body
        );
    }
}

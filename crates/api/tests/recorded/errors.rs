//! Bad requests, and some odd ones that are granted: refused with the same status, type and words.
//!
//! They were sent to the server that the scenario had been played on, after more had been made
//! there ([`make`]); so they are here.

use api::identity::{Identity, embedded::Embedded};
use bytes::Bytes;
use serde_json::{Value, json};

use crate::{
    TRIES, ask,
    compare::{Absent, Known},
    config, headers, is_unlucky,
    listed::{self, Listed},
    requests,
    rig::{Answer, Rig},
    transcript,
};

const RECORDED: &str = include_str!("../../../../tests/reference/api/errors.jsonl");

const DEMO: &str = "e6f84c3a75674fecbe2663df4abbc4ac";
const ALT: &str = "f3a6abf355aa45438bc16c10fc559688";
/// Recorded ids of what many requests name.
const EXTERNAL: &str = "ddcb0b56-ba7e-48bd-9187-ebc9de331323";
const FIRST: &str = "705f0c3b-dfc1-43ec-8b18-4ba2978ef624";
const FIRST_SUBNET: &str = "2d08da85-60f2-44a0-9861-79d287f16538";
const SECOND: &str = "0f7fa371-abf7-4bab-a94b-f91dc8c3c50d";
const THIRD: &str = "ab50f35a-4d13-4d18-b6a2-3f52a66702dc";
const POOL: &str = "a794d621-fd8a-47b5-88d0-ba72377abf86";
const SCOPE: &str = "bcb3b944-c969-4079-8a57-c753eee3dff1";
const GUEST: &str = "31c48b06-243e-40e3-9f92-7e67b720c9c4";
const ROUTER: &str = "a40f9b20-6fdb-407c-aa1d-3ad1dc2f7761";
const GROUP: &str = "52e275e8-fc4a-4778-ac95-d878d352e369";

/// The cloud that the requests are about, in the making.
struct Cloud<'a> {
    rig: &'a Rig,
    known: &'a mut Known,
}

impl Cloud<'_> {
    async fn post(&mut self, who: &str, path: &str, body: &Value) -> Value {
        let body = self.known.ours(&body.to_string());
        let path = format!("/v2.0/{path}");
        let headers = headers(who);
        let made = self.rig.ask("POST", &path, &headers, body.into()).await;
        assert_eq!(made.status.as_u16(), 201, "{path}: {}", made.body);
        let object = made.body.as_object().and_then(|map| map.values().next());
        object.expect("what was made").clone()
    }

    /// Makes what had this id there.
    async fn make(&mut self, there: &str, who: &str, path: &str, body: Value) {
        let made = self.post(who, path, &body).await;
        self.known.bind(there, made["id"].as_str().expect("an id"));
    }
}

async fn make(rig: &Rig, known: &mut Known) {
    let mut cloud = Cloud { rig, known };
    networks(&mut cloud).await;
    pools(&mut cloud).await;
    groups(&mut cloud).await;
    guests(&mut cloud).await;
    routed(&mut cloud).await;
}

async fn networks(cloud: &mut Cloud<'_>) {
    let external = json!({"network": {"name": "ext", "router:external": true}});
    cloud.make(EXTERNAL, "admin", "networks", external).await;
    let subnet = json!({"subnet": {"network_id": EXTERNAL, "ip_version": 4,
        "cidr": "203.0.113.0/24"}});
    let there = "46f8c9a0-e1e7-4015-81d7-936516a65947";
    cloud.make(there, "admin", "subnets", subnet).await;
    let there = "d7e09aad-bae8-4a89-ad92-c5d05e34bf3b";
    cloud
        .make(there, "alt", "networks", json!({"network": {}}))
        .await;
    for (there, name) in [(FIRST, "e"), (SECOND, "e2"), (THIRD, "e3")] {
        let network = json!({"network": {"name": name}});
        cloud.make(there, "demo", "networks", network).await;
    }
    let slaac = json!("slaac");
    for (there, network, cidr, mode) in [
        (FIRST_SUBNET, FIRST, "10.0.0.0/24", None),
        (
            "6e035754-f984-4755-b52a-b31448ea37fa",
            SECOND,
            "10.0.0.0/24",
            None,
        ),
        (
            "1d388ad5-89c9-4815-a139-e435a63d7046",
            SECOND,
            "fd00:9::/64",
            Some(&slaac),
        ),
        (
            "1d154af9-a17f-4d8d-9b04-1ffe331cbf04",
            SECOND,
            "10.3.0.0/30",
            None,
        ),
    ] {
        let version = if mode.is_some() { 6 } else { 4 };
        let mut subnet = json!({"network_id": network, "ip_version": version, "cidr": cidr});
        if let Some(mode) = mode {
            subnet["ipv6_ra_mode"] = mode.clone();
            subnet["ipv6_address_mode"] = mode.clone();
        }
        let body = json!({"subnet": subnet});
        cloud.make(there, "demo", "subnets", body).await;
    }
    let share = json!({"rbac_policy": {"object_type": "network", "object_id": FIRST,
        "action": "access_as_shared", "target_tenant": ALT}});
    let there = "c322d204-6d11-4e82-815e-4a220bea3317";
    cloud.make(there, "demo", "rbac-policies", share).await;
}

async fn pools(cloud: &mut Cloud<'_>) {
    let scope = json!({"address_scope": {"name": "s", "ip_version": 4}});
    cloud.make(SCOPE, "demo", "address-scopes", scope).await;
    let pool = json!({"subnetpool": {"name": "p", "prefixes": ["10.60.0.0/16"],
        "min_prefixlen": 24, "default_prefixlen": 24, "max_prefixlen": 26,
        "address_scope_id": SCOPE}});
    cloud.make(POOL, "demo", "subnetpools", pool).await;
    let tight = json!({"subnetpool": {"name": "q", "prefixes": ["10.61.0.0/16"],
        "default_prefixlen": 24, "default_quota": 256}});
    let there = "279fda8d-3bcd-4368-8ff6-934a7d560322";
    cloud.make(there, "demo", "subnetpools", tight).await;
    let subnet = json!({"subnet": {"network_id": THIRD, "ip_version": 4, "subnetpool_id": POOL}});
    cloud.post("demo", "subnets", &subnet).await;
}

async fn groups(cloud: &mut Cloud<'_>) {
    let group = json!({"security_group": {"name": "g"}});
    cloud.make(GROUP, "demo", "security-groups", group).await;
    let rule = json!({"security_group_rule": {"security_group_id": GROUP, "direction": "ingress",
        "protocol": "tcp", "port_range_min": 1, "port_range_max": 2}});
    let there = "4c4f0d17-282b-4d42-9821-f8204278edff";
    cloud
        .make(there, "demo", "security-group-rules", rule)
        .await;
    let addresses = json!({"address_group": {"name": "a", "addresses": ["10.0.0.0/8"]}});
    let there = "d1cb1aec-b3cf-466f-bf77-a27e8c19631f";
    cloud.make(there, "demo", "address-groups", addresses).await;
}

async fn guests(cloud: &mut Cloud<'_>) {
    let guest = json!({"network_id": FIRST, "fixed_ips": [{"ip_address": "10.0.0.50"}],
        "mac_address": "fa:16:3e:12:34:56"});
    for (there, port) in [
        (GUEST, guest),
        (
            "59675391-770a-466f-9583-adfa6766bad4",
            json!({"network_id": FIRST, "fixed_ips": []}),
        ),
        // There a trunk's, which is a later extension: here they are ports like others.
        (
            "8d8e42f8-ad89-45ba-99c6-84a88492d6fa",
            json!({"network_id": FIRST}),
        ),
        (
            "5d130b82-faa4-43b5-9e49-6597baa063a8",
            json!({"network_id": FIRST}),
        ),
        (
            "179ba68b-c2b1-46bc-96ad-c6cb165bbbd8",
            json!({"network_id": SECOND,
                "fixed_ips": [{"subnet_id": "6e035754-f984-4755-b52a-b31448ea37fa"}]}),
        ),
        (
            "7333c519-b3cf-43f4-9904-75efb0f46fa2",
            json!({"network_id": SECOND,
                "fixed_ips": [{"subnet_id": "1d154af9-a17f-4d8d-9b04-1ffe331cbf04"}]}),
        ),
        (
            "3c1e5fda-aa0f-4335-84b0-64cac12881a9",
            json!({"network_id": SECOND, "security_groups": [GROUP],
                "fixed_ips": [{"subnet_id": "6e035754-f984-4755-b52a-b31448ea37fa"}]}),
        ),
    ] {
        let body = json!({"port": port});
        cloud.make(there, "demo", "ports", body).await;
    }
}

async fn routed(cloud: &mut Cloud<'_>) {
    // First the address that is asked for, before others are drawn.
    let alone = json!({"floatingip": {"floating_network_id": EXTERNAL, "project_id": DEMO,
        "floating_ip_address": "203.0.113.9"}});
    let there = "866a8a67-0ca1-4027-a615-1d57da91be63";
    cloud.make(there, "admin", "floatingips", alone).await;
    let gateway = json!({"router": {"external_gateway_info": {"network_id": EXTERNAL}}});
    cloud.make(ROUTER, "demo", "routers", gateway).await;
    let there = "21043003-4e15-4fc8-965d-edfcedf1bab4";
    cloud
        .make(there, "demo", "routers", json!({"router": {}}))
        .await;
    let path = format!("/v2.0/routers/{ROUTER}/add_router_interface");
    let body = json!({"subnet_id": FIRST_SUBNET}).to_string();
    let (path, body) = (cloud.known.ours(&path), cloud.known.ours(&body));
    let demo = headers("demo");
    let added = cloud.rig.ask("PUT", &path, &demo, body.into()).await.body;
    let port = added["port_id"].as_str().expect("an interface");
    cloud
        .known
        .bind("2a80c172-2cb6-4f1d-bb22-b3bd14560716", port);
    let floating = json!({"floatingip": {"floating_network_id": EXTERNAL, "port_id": GUEST}});
    let there = "c178ec93-7365-4d25-a5b0-b509e3942ea1";
    cloud.make(there, "demo", "floatingips", floating).await;
}

/// The lists of what is not tried and of what may differ, and how many answers came out how.
struct Judge {
    /// A server that believes tokens only.
    guarded: Rig,
    not_tried: Listed,
    different: Listed,
    equal: usize,
    differ: usize,
    left_out: usize,
    wrong: Vec<String>,
    unlucky: bool,
}

/// Asks as somebody whom the server does not know.
async fn stranger(guarded: &Rig, request: &Value, headers: &[(&str, String)]) -> Answer {
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let (method, path) = (text("method"), text("path"));
    guarded.ask(method, path, headers, Bytes::new()).await
}

impl Judge {
    async fn new() -> Self {
        let embedded = |hub| {
            let settings = api::config::Embedded::default();
            Identity::Embedded(Box::new(Embedded { hub, settings }))
        };
        let guarded = Rig::with(config(), embedded).await;
        if let Identity::Embedded(service) = &guarded.api.identity {
            service.begin().await.expect("a first user");
        }
        Self {
            guarded,
            not_tried: Listed::under("Errors not tried"),
            different: Listed::under("Errors that differ"),
            equal: 0,
            differ: 0,
            left_out: 0,
            wrong: Vec::new(),
            unlucky: false,
        }
    }

    async fn ask(&mut self, rig: &Rig, request: &Value, known: &mut Known, absent: &Absent) {
        let label = request["label"].as_str().unwrap_or_default();
        if self.not_tried.covers(&[label]) {
            self.left_out += 1;
            return;
        }
        let answer = match request["as"].as_str() {
            Some("-") => stranger(&self.guarded, request, &[]).await,
            Some("bogus") => {
                let token = ("x-auth-token", "bogus".to_owned());
                stranger(&self.guarded, request, &[token]).await
            }
            _ => ask(rig, request, known).await,
        };
        self.unlucky |= is_unlucky(request, &answer);
        let (ours, theirs) = (u64::from(answer.status.as_u16()), &request["status"]);
        let recorded = absent.without(&request["response"]);
        let mut found = known.compare(&recorded, &answer.body, false);
        if *theirs != ours {
            let what = format!("status {theirs}, here {ours}");
            found = [(what, answer.body.to_string())].into();
        }
        self.equal += usize::from(found.is_empty());
        self.differ += usize::from(!found.is_empty());
        for (what, how) in found {
            if !self.different.covers(&[label, &what]) {
                self.wrong.push(format!("`{label}` | `{what}`: {how}"));
            }
        }
    }
}

/// Asks everything of a fresh server.
async fn judged(absent: &Absent) -> Judge {
    let rig = Rig::start(config()).await;
    let mut known = Known::default();
    let mut judge = Judge::new().await;
    let mut unlucky = false;
    transcript::play(&rig, &mut known, absent, |request, answer, known| {
        unlucky |= is_unlucky(request, answer);
        // Only to learn what is called how here.
        known.compare(&absent.without(&request["response"]), &answer.body, false);
    })
    .await;
    judge.unlucky = unlucky;
    make(&rig, &mut known).await;
    // There a metering agent, which is not here; any agent does.
    let agent = known.ours("33926f08-b611-411f-ad4c-045c6f087398");
    known.bind("1fc38ef5-6ef0-4ee9-bcfa-572fca3db1f9", &agent);
    for mut request in requests(RECORDED) {
        // A later extension's quota, which some requests set with all others.
        if let Some(quota) = request["body"]["quota"].as_object_mut() {
            quota.remove("trunk");
        }
        judge.ask(&rig, &request, &mut known, absent).await;
    }
    judge
}

#[tokio::test]
async fn bad_requests_are_refused_word_for_word() {
    let absent = Absent::new(&listed::names("Not here"));
    let mut judge = judged(&absent).await;
    for _ in 1..TRIES {
        if judge.unlucky {
            judge = judged(&absent).await;
        }
    }
    println!(
        "{} are answered alike, {} differ as listed, {} are not tried",
        judge.equal, judge.differ, judge.left_out
    );
    let mut wrong = judge.wrong;
    wrong.extend(judge.not_tried.idle());
    wrong.extend(judge.different.idle());
    assert!(
        wrong.is_empty(),
        "not as docs/compatibility.md says:\n{}",
        wrong.join("\n")
    );
}

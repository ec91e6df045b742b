//! Clouds brought over into empty stores: one that a real Neutron showed, and one of ours.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use api::{
    config::{Config as Settings, Tls},
    import::{Answers, Neutron, ReadError, Target, Terms, WriteError, judge, read},
};
use http::{Method, StatusCode};
use intent::{Kind, Meta, Object, Port, attrs::TABLES};
use serde_json::Value;
use store::rig::Server;
use tls::{http::Client, rig::Authority};

use crate::{
    compare::{Absent, Known},
    config,
    fake::{self, TOKEN, World},
    headers, listed,
    rig::{Rig, running::Running},
    transcript::play,
};

/// Everything that a real Neutron 29 listed for its administrator at one moment, by path.
const WORLD: &str = include_str!("../../../../tests/reference/api/world.json");

fn world() -> World {
    serde_json::from_str(WORLD).expect("JSON")
}

fn neutron(url: &str) -> Neutron {
    Neutron::new(url, Some(TOKEN.to_owned()), None).expect("a URL")
}

fn terms(leave_out: &[&str]) -> Terms {
    Terms {
        config: config(),
        leave_out: leave_out.iter().map(|it| (*it).to_owned()).collect(),
        ..Terms::default()
    }
}

#[tokio::test]
async fn what_cannot_come_over_is_named() {
    let url = fake::serve(world()).await;
    let answers = read(&neutron(&url)).await.expect("read");
    let (_, report) = judge(&answers, &terms(&[]));
    assert!(!report.is_clean());
    expect_test::expect![[r#"
                1 address_group
                2 address_scope
                8 agent
                4 default_security_group_rule
               11 dhcp_binding
                4 floatingip
               14 network
               34 port
                5 rbac_policy
                5 router
                5 router_binding
                5 security_group
               30 security_group_rule
               15 segment
               17 subnet
                2 subnetpool
        !       1 local_ips: not served here [--leave-out local_ips]
        !       1 metering_labels: not served here [--leave-out metering_labels]
        !       1 qos_policies: not served here [--leave-out qos_policies]
        !       1 trunks: not served here [--leave-out trunks]
        ~       2 agents.agent_type: agents of kinds that do nothing here are not taken
        ~       8 agents.alive: until the host's agent is replaced nothing is heard of it
        ~       8 agents.heartbeat_timestamp: as above
        !       1 floatingips.port_forwardings: d527b4de-bf5e-4544-8eaa-9c99fb1701b9: [{"id":"e7a84c65-5ac2-46fc-b6bb-c64e0a04ea5d","protocol":"udp","internal_ip_address":"10.0.0.77","internal_port_id":"81eab433-3f5f-4840-b8be-b273766534f1"}] there, [] here [--leave-out floatingips.port_forwardings]
        !       1 floatingips.qos_policy_id: d527b4de-bf5e-4544-8eaa-9c99fb1701b9: "2e2b5561-754c-48fc-b784-4dc82b03037b" there, null here [--leave-out qos_policies]
        !       1 floatingips.router_id: d527b4de-bf5e-4544-8eaa-9c99fb1701b9: "fb441948-740e-4add-a7b9-a99ac5f9eaeb" there, null here [--leave-out floatingips.port_forwardings]
        !       1 ports.qos_policy_id: 81eab433-3f5f-4840-b8be-b273766534f1: "2e2b5561-754c-48fc-b784-4dc82b03037b" there, null here [--leave-out qos_policies]
        !       1 ports.resource_request: 81eab433-3f5f-4840-b8be-b273766534f1: {"request_groups":[{"id":"a088feb9-3a89-5256-96e0-6fb00fe64830","required":["CUSTOM_NETWORK_TUNNEL_PROVIDER","CUSTOM_VNIC_TYPE_NORMAL"],"resources":{"NET_BW_EGR_KILOBIT_PER_SEC":500}},{"id":"097b041a- there, null here [--leave-out qos_policies]
        !       1 ports.trunk_details: 252c2a9c-cb8e-4863-ac84-b950e13710be: {"trunk_id":"c00d8400-18d7-482b-a74d-b7d51044d9e0","sub_ports":[{"segmentation_id":10,"segmentation_type":"vlan","port_id":"7fafcfe9-3452-4f4b-affd-9ee84dd66c00","mac_address":"fa:16:3e:d0:b9:aa"},{"s there, null here [--leave-out trunks]
        !       1 rbac_policies.object_type: 23c08d4c-b2c0-4ea0-a521-4ffe8bdc108d: "qos_policy" there, null here [--leave-out qos_policies]
        !       1 routers.external_gateway_info.qos_policy_id: fb441948-740e-4add-a7b9-a99ac5f9eaeb: "2e2b5561-754c-48fc-b784-4dc82b03037b" there, null here [--leave-out qos_policies]
        !       1 routers.ha: 6a879889-55a8-4b0e-b24e-238f3870b8f5: true there, false here; no router is highly available here: make it one that isn't, in Neutron
        !       1 routers.qos_policy_id: fb441948-740e-4add-a7b9-a99ac5f9eaeb: "2e2b5561-754c-48fc-b784-4dc82b03037b" there, null here [--leave-out qos_policies]
        ~      30 security_groups.security_group_rules.standard_attr_id: a number of Neutron's own database
        !       1 subnets.subnetpool_id: fccf6a60-b77a-46b3-b422-f689cd2a04c5: "prefix_delegation" there, null here [--leave-out subnets.subnetpool_id]
        !       2 dvr_macs: hosts of distributed routers get new MACs for it, which the API does not show: --dvr-macs keeps them (host-1, host-2) [--leave-out dvr_macs]
        ! agent fd964474-e6f7-4220-9b75-22f75a6fd082 is given router 6a879889-55a8-4b0e-b24e-238f3870b8f5, as has 6e471f23-2425-4dd6-96af-ca76b116fef9
    "#]].assert_eq(&report.to_string());
}

/// What has to be said to go without the rest of later extensions.
const WITHOUT: &[&str] = &[
    "dvr_macs",
    "floatingips.port_forwardings",
    "qos_policies",
    "trunks",
];

#[tokio::test]
async fn a_real_neutrons_cloud_is_shown_as_it_was() {
    let absent = Absent::new(&listed::names("Not here"));
    let world: World = world()
        .into_iter()
        .map(|(path, answer)| (path, absent.without(&answer)))
        .collect();
    let url = fake::serve(world).await;
    let theirs = read(&neutron(&url)).await.expect("read");
    let (state, report) = judge(&theirs, &terms(WITHOUT));
    assert!(report.is_clean(), "{report}");
    let folder = tempfile::tempdir().expect("a folder");
    let store = format!("sqlite:{}", folder.path().join("store.db").display());
    let target = Target::open(&store).await.expect("an empty store");
    target.write(&state).await.expect("written");
    let server = start(&store).await;
    let ours = read(&neutron(server.url())).await.expect("read");
    let different = different(&theirs, &ours);
    assert_eq!(different, BTreeSet::from(DIFFERENT.map(str::to_owned)));
    server.end().await;
}

/// Shown otherwise than by Neutron, and why that is no loss.
const DIFFERENT: [&str; 4] = [
    // Left out above; the router's gateway says nothing of QoS here.
    "floatingips.router_id",
    "ports.resource_request",
    "ports.trunk_details",
    "routers.external_gateway_info",
];

/// A server on a store, with a client that has seen it ready.
async fn start(store: &str) -> Running {
    let server = Running::start(Settings {
        store: store.to_owned(),
        ledger: config(),
        ..Settings::default()
    });
    server
        .until(&client(server.url()), "/readyz", StatusCode::OK)
        .await;
    server
}

fn client(url: &str) -> Client {
    tls::http::for_peer(url, None).expect("a client")
}

/// What is each server's own: a number of Neutron's database, when an agent was heard of.
const OWN: [&str; 2] = ["standard_attr_id", "heartbeat_timestamp"];

/// The same in an order of its own, without what is each server's own.
fn plain(value: &Value) -> Value {
    match value {
        Value::Array(items) => {
            let mut items: Vec<Value> = items.iter().map(plain).collect();
            items.sort_by_key(Value::to_string);
            items.into()
        }
        Value::Object(map) => {
            let kept = map.iter().filter(|(name, _)| !OWN.contains(&name.as_str()));
            Value::Object(kept.map(|(name, it)| (name.clone(), plain(it))).collect())
        }
        other => other.clone(),
    }
}

/// Which attributes of which members are not as they were; what only one has by its collection.
fn different(theirs: &Answers, ours: &Answers) -> BTreeSet<String> {
    let mut different = BTreeSet::new();
    for (plural, members) in &theirs.lists {
        let by_id = |members: &[Value]| -> BTreeMap<String, Value> {
            let ids = members.iter().map(|it| (it["id"].to_string(), it.clone()));
            ids.collect()
        };
        let (theirs, ours) = (by_id(members), by_id(ours.of(plural)));
        for (id, theirs) in &theirs {
            let Some(ours) = ours.get(id) else {
                different.insert(format!("{plural}: gone"));
                continue;
            };
            let attributes = theirs.as_object().expect("a resource").iter();
            let attributes = attributes.filter(|(name, _)| !OWN.contains(&name.as_str()));
            let differ = attributes.filter(|(name, it)| plain(it) != plain(&ours[*name]));
            different.extend(differ.map(|(name, _)| format!("{plural}.{name}")));
        }
        if ours.keys().any(|id| !theirs.contains_key(id)) {
            different.insert(format!("{plural}: more"));
        }
    }
    different
}

/// Who is served by whom; the bodies are those of the lists.
fn told(answers: &Answers) -> Vec<(String, Vec<String>)> {
    let ids = |answer: &Value| {
        let lists = answer.as_object().expect("a list").values();
        let members = lists.filter_map(Value::as_array).flatten();
        let mut ids: Vec<String> = members
            .map(|it| format!("{}{}", it["id"], it["host"]))
            .collect();
        ids.sort_unstable();
        ids
    };
    let told = answers.told.iter();
    told.map(|(of, answer)| (format!("{of:?}"), ids(answer)))
        .collect()
}

/// The scenario on a server of ours, and what it does not have: a quota, a guest that moves.
async fn source(absent: &Absent) -> Rig {
    let rig = Rig::start(config()).await;
    let mut known = Known::default();
    play(&rig, &mut known, absent, |request, answer, known| {
        let theirs = crate::pages::dealt_anew(request, known);
        known.compare(&absent.without(&theirs), &answer.body, false);
    })
    .await;
    let admin = headers("admin");
    let quota = serde_json::json!({"quota": {"network": 7, "port": 500}});
    let set = rig.ask("PUT", "/v2.0/quotas/p", &admin, quota.to_string().into());
    assert_eq!(set.await.status, StatusCode::OK);
    let ports = "/v2.0/ports?device_owner=compute:nova&binding:host_id=host-2";
    let ports = rig.ask("GET", ports, &admin, "".into()).await;
    let port = ports.body["ports"][0]["id"]
        .as_str()
        .expect("a guest's port")
        .to_owned();
    let nova = headers("nova");
    let body = serde_json::json!({"binding": {"host": "host-1"}});
    let path = format!("/v2.0/ports/{port}/bindings");
    let bound = rig.ask("POST", &path, &nova, body.to_string().into()).await;
    assert_eq!(bound.status, StatusCode::CREATED, "{}", bound.body);
    rig
}

/// Without what no answer says.
fn as_shown(object: Object) -> Object {
    match object {
        Object::Port(port) => Object::from(Port {
            awaits_dhcp: false,
            ..Port::clone(&port)
        }),
        // A limit that is the default follows it.
        Object::Quota(mut quota) => {
            let limits = &mut Arc::make_mut(&mut quota).limits;
            limits.retain(|name, limit| *limit != config().default_quota(name));
            quota.into()
        }
        Object::DefaultRule(mut rule) => {
            let rule = Arc::make_mut(&mut rule);
            let description = rule.meta.description.take();
            rule.meta = Meta {
                description,
                ..Meta::default()
            };
            rule.clone().into()
        }
        other => other,
    }
}

/// Brings a server's cloud over into a store, and compares the server on it with the first.
async fn goes_over(rig: &Rig, store: &str) {
    let url = format!("http://{}", rig.at);
    let theirs = read(&neutron(&url)).await.expect("read");
    let were = rig.api.hub.state();
    let terms = Terms {
        config: config(),
        dvr_macs: were.dvr_macs.values().map(|it| (**it).clone()).collect(),
        ..Terms::default()
    };
    let (state, report) = judge(&theirs, &terms);
    assert!(report.is_clean(), "{report}");
    // What may still be on a host that a router was taken from: no answer says so.
    let shown = |object: &Object| object.kind() != Kind::RouterRemnant;
    for object in were.objects().filter(shown) {
        let is = state.object(object.kind(), &object.key());
        assert_eq!(is, Some(as_shown(object)), "as kept");
    }
    assert_eq!(
        state.objects().count(),
        were.objects().filter(shown).count()
    );
    let target = Target::open(store).await.expect("an empty store");
    target.write(&state).await.expect("written");

    let server = start(store).await;
    let ours = read(&neutron(server.url())).await.expect("read");
    assert_eq!(different(&theirs, &ours), BTreeSet::new());
    assert_eq!(told(&theirs), told(&ours));
    let client = client(server.url());
    for path in paths(&theirs) {
        let path = format!("/v2.0/{path}");
        let was = rig.ask("GET", &path, &[], "".into()).await;
        let asked = server.ask(&client, (Method::GET, &path), &[], Value::Null);
        let is = asked.await.expect("an answer");
        assert_eq!(
            (was.status, plain(&was.body)),
            (is.status, plain(&is.body)),
            "{path}"
        );
    }
    let again = Target::open(store).await;
    assert!(
        matches!(again, Err(WriteError::Open(_) | WriteError::Held(_))),
        "it runs"
    );
    server.end().await;
    let again = Target::open(store).await;
    assert!(
        matches!(again, Err(WriteError::Occupied { .. })),
        "it is not empty"
    );
}

/// Every member by itself, and what is computed.
fn paths(answers: &Answers) -> Vec<String> {
    let computed = ["network-ip-availabilities", "floatingip-pools", "quotas/p"];
    let mut paths: Vec<String> = computed.map(str::to_owned).into();
    // An agent says when it was heard of.
    for table in TABLES.iter().filter(|it| it.plural != "agents") {
        let ids = answers
            .of(table.plural)
            .iter()
            .filter_map(|it| it["id"].as_str());
        paths.extend(ids.map(|id| format!("{}/{id}", table.path)));
    }
    paths
}

#[tokio::test]
async fn a_cloud_of_ours_is_the_same_in_another_store() {
    let absent = Absent::new(&listed::names("Not here"));
    let rig = source(&absent).await;
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = format!("sqlite:{}", folder.path().join("store.db").display());
    goes_over(&rig, &sqlite).await;
    let postgres = Server::start();
    goes_over(&rig, &postgres.url()).await;
}

#[tokio::test]
async fn a_cloud_that_is_being_changed_is_not_taken() {
    let url = fake::serve_changing(world()).await;
    let error = read(&neutron(&url)).await.expect_err("it changes");
    let ReadError::Changing(what) = error else {
        panic!("{error}");
    };
    assert_eq!(what.len(), 1, "{what:?}");
    assert!(what[0].starts_with("networks "), "{what:?}");
}

#[tokio::test]
async fn who_is_no_administrator_is_told_so() {
    let url = fake::serve(world()).await;
    let stranger = Neutron::new(&url, None, None).expect("a URL");
    let error = read(&stranger).await.expect_err("no token");
    assert_eq!(
        error.to_string(),
        "extensions was answered with 401 Unauthorized: who are you?"
    );
}

#[tokio::test]
async fn over_tls_only_who_is_signed_for_is_asked() {
    let (ours, other) = (Authority::new(), Authority::new());
    let own = ours.issue("api", "IP:127.0.0.1");
    let folder = tempfile::tempdir().expect("a folder");
    let server = Running::start(Settings {
        store: format!("sqlite:{}", folder.path().join("store.db").display()),
        tls: Some(Tls {
            certificate: own.certificate.clone(),
            key: own.key.clone(),
        }),
        ..Settings::default()
    });
    let file = ours.file();
    let client = tls::http::for_peer(server.url(), Some(&file)).expect("a client");
    server.until(&client, "/readyz", StatusCode::OK).await;
    let reads = async |file: &Path| {
        let neutron = Neutron::new(server.url(), None, Some(file)).expect("a URL");
        read(&neutron).await
    };
    let answers = reads(&file).await.expect("read");
    assert_eq!(answers.of("default_security_group_rules").len(), 4);
    let error = reads(&other.file()).await.expect_err("not believed");
    assert!(matches!(error, ReadError::NoAnswer { .. }), "{error}");
    server.end().await;
}

//! What a real Neutron answered, asked again of an empty server: the same statuses and the same
//! bodies, up to ids, times, MACs and freely chosen addresses. [`transcript`] asks what a scripted
//! scenario asked, [`errors`] what is refused; [`moved`] brings whole clouds over. What differs is a closed list in
//! `docs/compatibility.md`: a difference without a row fails, and so does a row without one.

mod compare;
mod errors;
mod fake;
mod hosts;
mod listed;
mod moved;
mod pages;
#[path = "../rig/mod.rs"]
mod rig;
mod transcript;

use compare::Known;
use intent::AgentType;
use ledger::{Actor, AgentReport, Command, Config, VlanRange};
use rig::Rig;
use serde_json::Value;

const RECORDED: &str = include_str!("../../../../tests/reference/api/transcript.jsonl");

/// One recorded request a line.
fn requests(recorded: &str) -> Vec<Value> {
    let lines = recorded.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// The settings of the recorded server.
fn config() -> Config {
    let range = |name: &str, low, high| VlanRange {
        physical_network: name.to_owned(),
        range: Some((low, high)),
    };
    Config {
        network_vlan_ranges: vec![
            range("public", 1, 4094),
            range("physnet1", 100, 1999),
            range("physnet2", 100, 299),
        ],
        gre_tunnel_id_ranges: vec![(1, 4000)],
        vxlan_vni_ranges: vec![(1, 65000)],
        geneve_vni_ranges: vec![(1, 65000)],
        dns_domain: "lab.example.".to_owned(),
        ..Config::default()
    }
}

/// The agents that the recorded server had, as its first list shows them.
async fn agents(rig: &Rig, recorded: &[Value], known: &mut Known) {
    let list = recorded.iter().find(|it| it["path"] == "/v2.0/agents");
    for agent in list.expect("recorded")["response"]["agents"]
        .as_array()
        .expect("a list")
    {
        let text = |name: &str| agent[name].as_str().unwrap_or_default().to_owned();
        let Ok(agent_type) = text("agent_type").parse::<AgentType>() else {
            continue;
        };
        let report = AgentReport {
            id: None,
            agent_type,
            host: text("host").into(),
            availability_zone: agent["availability_zone"].as_str().map(str::to_owned),
            configurations: agent["configurations"].as_object().cloned().expect("a map"),
            started: true,
        };
        rig.api
            .hub
            .submit(Actor::system(), Command::ReportAgent(report))
            .await
            .expect("reported");
        let state = rig.api.hub.state();
        let key = (text("host").into(), agent_type);
        let id = *state.index.agent_of_host.one(&key).expect("there");
        rig.api.hub.hear(id, 0);
        known.bind(&text("id"), &id.to_string());
    }
}

fn headers(who: &str) -> Vec<(&'static str, String)> {
    let (project, roles) = match who {
        "admin" => ("bc51b510aec8479d9a995ef37797f66a", "admin,member,reader"),
        "demo" => ("e6f84c3a75674fecbe2663df4abbc4ac", "member,reader"),
        "reader" => ("e6f84c3a75674fecbe2663df4abbc4ac", "reader"),
        "alt" => ("f3a6abf355aa45438bc16c10fc559688", "member,reader"),
        _ => (
            "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e",
            "admin,member,reader,service",
        ),
    };
    vec![
        ("x-project-id", project.to_owned()),
        ("x-roles", roles.to_owned()),
        ("x-user-id", who.to_owned()),
    ]
}

/// Asks one recorded request of this server.
async fn ask(rig: &Rig, request: &Value, known: &Known) -> rig::Answer {
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let mut headers = headers(text("as"));
    let own = request["headers"].as_object().into_iter().flatten();
    for (name, value) in own {
        for known in ["if-match", "accept", "content-type"] {
            if name.eq_ignore_ascii_case(known) {
                headers.push((known, value.as_str().unwrap_or_default().to_owned()));
            }
        }
    }
    let path = known.ours(&pages::path(request, known));
    let body = match &request["body"] {
        Value::Null => String::new(),
        body => match body["<raw>"].as_str() {
            Some(raw) => raw.to_owned(),
            None => known.ours(&body.to_string()),
        },
    };
    rig.ask(text("method"), &path, &headers, body.into()).await
}

/// A third lot, and one that can't be drawn alike: one server in five draws an address that the
/// recording gives to another port later, or looks for by a part of it. So many servers are tried.
const TRIES: usize = 12;

/// Whether an answer may differ because of an address that had been drawn before.
fn is_unlucky(request: &Value, answer: &rig::Answer) -> bool {
    let taken = answer.body["NeutronError"]["type"] == "IpAddressAlreadyAllocated";
    let path = request["path"].as_str().unwrap_or_default();
    let ports = |list: &Value| list["ports"].as_array().map(Vec::len);
    (taken && request["status"] != answer.status.as_u16())
        || (path.contains("ip_address_substr")
            && ports(&request["response"]) != ports(&answer.body))
}

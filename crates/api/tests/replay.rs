//! What a real Neutron answered, asked again of an empty server: the same statuses and the same
//! bodies, up to ids, times, MACs and freely chosen addresses.
//!
//! Requests about later extensions are not in the recording (the rule is the path's: see
//! `tests/reference/api/README.md`). What differs all the same is a closed list in
//! `docs/compatibility.md`: a difference without a row fails, and so does a row without one.

mod compare;
mod rig;

use std::collections::{BTreeMap, BTreeSet};

use compare::Known;
use intent::AgentType;
use ledger::{Actor, AgentReport, Command, Config, VlanRange};
use rig::Rig;
use serde_json::Value;

const RECORDED: &str = include_str!("../../../tests/reference/api/transcript.jsonl");
const COMPATIBILITY: &str = include_str!("../../../docs/compatibility.md");

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
        rig.api.hub.hear(id);
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

async fn differences(rig: &Rig, recorded: &[Value]) -> (BTreeMap<String, Vec<String>>, usize) {
    let mut known = Known::default();
    agents(rig, recorded, &mut known).await;
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let (mut equal, mut faults) = (0, 0);
    for request in recorded {
        let text = |name: &str| request[name].as_str().unwrap_or_default();
        // That server's faults are no model; what they should have done was not done.
        if request["status"] == 500 {
            faults += 1;
            continue;
        }
        let mut headers = headers(text("as"));
        if let Some(own) = request["headers"].as_object() {
            let own = own
                .iter()
                .filter_map(|(name, value)| Some((name, value.as_str()?)));
            let if_match = own.filter(|(name, _)| name.eq_ignore_ascii_case("if-match"));
            headers.extend(if_match.map(|(_, value)| ("if-match", value.to_owned())));
        }
        let path = known.ours(text("path"));
        let body = match &request["body"] {
            Value::Null => String::new(),
            body => known.ours(&body.to_string()),
        };
        let answer = rig.ask(text("method"), &path, &headers, body.into()).await;
        let label = format!("{} {} {}", request["n"], text("method"), text("path"));
        let mut differs = BTreeSet::new();
        let status = request["status"].as_u64().unwrap_or_default();
        if u64::from(answer.status.as_u16()) != status {
            let said = &answer.body["NeutronError"]["message"];
            differs.insert((
                format!("status-{status}"),
                format!("{} {said}", answer.status),
            ));
        } else {
            let ordered = text("path").contains("sort_key");
            differs = known.compare(&request["response"], &answer.body, ordered);
        }
        equal += usize::from(differs.is_empty());
        let luck = luck(text("path"));
        for (key, what) in differs {
            let zones = (key == "length-availability_zones").then_some("scheduled");
            let key = luck.or(zones).map_or(key, str::to_owned);
            found
                .entry(key)
                .or_default()
                .push(format!("{label}: {what}"));
        }
    }
    println!("{faults} faults of the recorded server are left out");
    (found, equal)
}

/// Kinds of differences that a lucky draw may leave out.
const LUCK: [&str; 2] = ["scheduled", "order-of-ids"];

/// Requests whose answer depends on what a server draws by lot: which agent is chosen, and in
/// which order random ids come. All that differs there is one kind of difference.
fn luck(path: &str) -> Option<&'static str> {
    const SCHEDULED: [&str; 4] = ["l3-agents", "l3-routers", "dhcp-agents", "dhcp-networks"];
    if SCHEDULED.iter().any(|word| path.contains(word)) {
        return Some("scheduled");
    }
    let in_pages = path.contains("limit=") && !path.contains("sort_key");
    in_pages.then_some("order-of-ids")
}

/// The keys of the rows of the table below a heading.
fn rows(heading: &str) -> BTreeSet<String> {
    let section = COMPATIBILITY.split(heading).nth(1).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next())
        .map(str::to_owned)
        .collect()
}

#[tokio::test]
async fn a_real_neutrons_answers_come_again() {
    let rig = Rig::start(config()).await;
    let recorded: Vec<Value> = RECORDED
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let (found, equal) = differences(&rig, &recorded).await;
    println!("{equal} of {} answers are equal", recorded.len());
    let listed = rows("## API");
    let mut wrong = 0;
    for (key, places) in &found {
        if !listed.contains(key) {
            wrong += 1;
            println!("{key}: {} times", places.len());
            for place in places.iter().take(6) {
                println!("    {place}");
            }
        }
    }
    let gone = |key: &&String| !found.contains_key(*key) && !LUCK.contains(&key.as_str());
    for key in listed.iter().filter(gone) {
        wrong += 1;
        println!("{key}: listed, but no longer so");
    }
    assert_eq!(
        wrong, 0,
        "kinds of differences that docs/compatibility.md does not know"
    );
}

//! What a real Neutron answered, asked again of an empty server: the same statuses and the same
//! bodies, up to ids, times, MACs and freely chosen addresses.
//!
//! Requests about later extensions are not in the recording (the rule is the path's: see
//! `tests/reference/api/README.md`); what other answers say of them is left out before comparing,
//! as `docs/compatibility.md` lists it. What differs all the same is a closed list there: a
//! difference without a row fails, and so does a row without one.
//!
//! Two things a server draws by lot, so that no two servers answer alike. Ids are random, and pages
//! without a sort key come in their order: the recorded page is dealt anew in the order of ours
//! ([`pages`]). Of several agents any may be given a router or a network: what was drawn there is drawn here by
//! the scheduling calls, before it is asked about ([`Lot`]).

mod compare;
mod listed;
mod pages;
mod rig;

use std::collections::BTreeSet;

use compare::{Absent, Known};
use intent::AgentType;
use ledger::{Actor, AgentReport, Command, Config, VlanRange};
use listed::{Listed, RequestKind};
use rig::Rig;
use serde_json::{Value, json};

const RECORDED: &str = include_str!("../../../tests/reference/api/transcript.jsonl");

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

/// The lists of what may differ, and how many answers came out how.
struct Judge {
    /// Ids of resources that belong to later extensions, or were refused here.
    absent: Absent,
    later: Listed,
    different: Listed,
    equal: usize,
    equal_without_later: usize,
    differ: usize,
    wrong: Vec<String>,
}

impl Judge {
    fn new() -> Self {
        Self {
            absent: Absent::new(&listed::names("Not here")),
            later: Listed::under("Of later extensions"),
            different: Listed::under("Different"),
            equal: 0,
            equal_without_later: 0,
            differ: 0,
            wrong: Vec::new(),
        }
    }

    fn judge(&mut self, request: &Value, answer: &rig::Answer, known: &mut Known) {
        let kind = RequestKind(request).to_string();
        let status = request["status"].as_u64().unwrap_or_default();
        let ours = u64::from(answer.status.as_u16());
        let ordered = kind.contains("sort_key");
        let recorded = pages::dealt_anew(request, known);
        let theirs = self.absent.without(&recorded);
        let found = if ours == status {
            known.compare(&theirs, &answer.body, ordered)
        } else {
            let said = answer.body["NeutronError"]["message"].to_string();
            BTreeSet::from([(format!("status {status}, here {ours}"), said)])
        };
        let (mut later, mut differs) = (theirs != recorded, false);
        for (what, how) in &found {
            if self.later.covers(&[&kind, what]) {
                later = true;
            } else {
                differs = true;
                if !self.different.covers(&[&kind, what]) {
                    let place = format!("{} `{kind}` | `{what}`: {how}", request["n"]);
                    self.wrong.push(place);
                }
            }
        }
        match (differs, later) {
            (true, _) => self.differ += 1,
            (false, true) => self.equal_without_later += 1,
            (false, false) => self.equal += 1,
        }
    }
}

/// Asks one recorded request of this server.
async fn ask(rig: &Rig, request: &Value, known: &Known) -> rig::Answer {
    let text = |name: &str| request[name].as_str().unwrap_or_default();
    let mut headers = headers(text("as"));
    if let Some(own) = request["headers"].as_object() {
        let own = own
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_str()?)));
        let if_match = own.filter(|(name, _)| name.eq_ignore_ascii_case("if-match"));
        headers.extend(if_match.map(|(_, value)| ("if-match", value.to_owned())));
    }
    let path = known.ours(&pages::path(request, known));
    let body = match &request["body"] {
        Value::Null => String::new(),
        body => known.ours(&body.to_string()),
    };
    rig.ask(text("method"), &path, &headers, body.into()).await
}

/// A lot that is drawn: an agent is given what it serves.
struct Lot {
    agent_type: &'static str,
    /// Of the calls and of their answers.
    calls: &'static str,
    plural: &'static str,
    attr: &'static str,
}

const LOTS: [Lot; 2] = [
    Lot {
        agent_type: "L3%20agent",
        calls: "l3-routers",
        plural: "routers",
        attr: "router_id",
    },
    Lot {
        agent_type: "DHCP%20agent",
        calls: "dhcp-networks",
        plural: "networks",
        attr: "network_id",
    },
];

impl Lot {
    /// Gives the agent whose list is in the recording what it had there, and the other one the rest.
    async fn draw_alike(&self, rig: &Rig, recorded: &[Value], known: &Known, absent: &Absent) {
        let get = async |path: &str, name: &str| {
            let answer = rig.ask("GET", path, &headers("admin"), "".into()).await;
            ids(&answer.body, name)
        };
        let list = recorded.iter().find(|it| {
            let path = it["path"].as_str().unwrap_or_default();
            it["method"] == "GET" && path.ends_with(self.calls)
        });
        let list = list.expect("recorded");
        let path = known.ours(list["path"].as_str().unwrap_or_default());
        let theirs = ids(&absent.without(&list["response"]), self.plural);
        let wanted: BTreeSet<String> = theirs.iter().map(|id| known.ours(id)).collect();
        let held = get(&path, self.plural).await;
        let agents = format!("/v2.0/agents?agent_type={}", self.agent_type);
        let agents = get(&agents, "agents").await;
        let calls = agents
            .iter()
            .map(|id| format!("/v2.0/agents/{id}/{}", self.calls));
        let other = calls.into_iter().find(|calls| *calls != path);
        let other = other.expect("another agent");
        let comes = wanted.difference(&held).map(|id| (id, &other, &path));
        let goes = held.difference(&wanted).map(|id| (id, &path, &other));
        for (id, from, to) in comes.chain(goes) {
            self.give(rig, id, from, to).await;
        }
    }

    async fn give(&self, rig: &Rig, id: &str, from: &str, to: &str) {
        let admin = headers("admin");
        let from = format!("{from}/{id}");
        // A network that was refused here what gives it DHCP has no agent yet.
        let gone = rig.ask("DELETE", &from, &admin, "".into()).await;
        assert!(matches!(gone.status.as_u16(), 204 | 409), "{}", gone.body);
        let body = json!({self.attr: id}).to_string();
        let there = rig.ask("POST", to, &admin, body.into()).await;
        assert_eq!(there.status.as_u16(), 201, "{}", there.body);
    }
}

fn ids(list: &Value, name: &str) -> BTreeSet<String> {
    let items = list[name].as_array().into_iter().flatten();
    let ids = items.filter_map(|it| it["id"].as_str());
    ids.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_real_neutrons_answers_come_again() {
    let rig = Rig::start(config()).await;
    let recorded: Vec<Value> = RECORDED
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    let mut known = Known::default();
    agents(&rig, &recorded, &mut known).await;
    let mut judge = Judge::new();
    let mut faults = 0;
    let mut drawn = false;
    for request in &recorded {
        // That server's faults are no model; what they should have done was not done.
        if request["status"] == 500 {
            faults += 1;
            continue;
        }
        let path = request["path"].as_str().unwrap_or_default();
        if !drawn && (path.ends_with("/l3-agents") || path.ends_with("/dhcp-agents")) {
            for lot in &LOTS {
                let absent = &judge.absent;
                lot.draw_alike(&rig, &recorded, &known, absent).await;
            }
            drawn = true;
        }
        let answer = ask(&rig, request, &known).await;
        judge.judge(request, &answer, &mut known);
    }
    println!(
        "of {} answers {} are equal as they stand, {} without what they say of later extensions, \
         {} differ as listed; {faults} faults of the recorded server are left out",
        recorded.len(),
        judge.equal,
        judge.equal_without_later,
        judge.differ,
    );
    let mut wrong = judge.wrong;
    wrong.extend(judge.later.idle());
    wrong.extend(judge.different.idle());
    wrong.extend(judge.absent.idle());
    assert!(
        wrong.is_empty(),
        "not as docs/compatibility.md says:\n{}",
        wrong.join("\n")
    );
}

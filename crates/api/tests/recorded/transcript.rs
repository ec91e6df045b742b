//! A scripted scenario, asked again.
//!
//! Requests about later extensions are not in the recording (the rule is the path's: see
//! `tests/reference/api/README.md`); what other answers say of them is left out before comparing,
//! as `docs/compatibility.md` lists it.
//!
//! Two things a server draws by lot, so that no two servers answer alike. Ids are random, and pages
//! without a sort key come in their order: the recorded page is dealt anew in the order of ours
//! ([`pages`]). Of several agents any may be given a router or a network: what was drawn there is
//! drawn here by the scheduling calls, before it is asked about ([`Lot`]).

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    RECORDED, TRIES, agents, ask,
    compare::{Absent, Known},
    config, headers, is_unlucky,
    listed::{self, Listed, RequestKind},
    pages, requests,
    rig::{self, Rig},
};

/// The lists of what may differ, and how many answers came out how.
struct Judge<'a> {
    /// Ids of resources that belong to later extensions, or were refused here.
    absent: &'a Absent,
    later: Listed,
    different: Listed,
    equal: usize,
    equal_without_later: usize,
    differ: usize,
    wrong: Vec<String>,
}

impl<'a> Judge<'a> {
    fn new(absent: &'a Absent) -> Self {
        Self {
            absent,
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

/// Asks the whole scenario; `judge` is shown each request with its answer.
pub(crate) async fn play(
    rig: &Rig,
    known: &mut Known,
    absent: &Absent,
    mut judge: impl FnMut(&Value, &rig::Answer, &mut Known),
) {
    let recorded = requests(RECORDED);
    agents(rig, &recorded, known).await;
    let mut drawn = false;
    // That server's faults are no model; what they should have done was not done.
    for request in recorded.iter().filter(|it| it["status"] != 500) {
        let path = request["path"].as_str().unwrap_or_default();
        if !drawn && (path.ends_with("/l3-agents") || path.ends_with("/dhcp-agents")) {
            for lot in &LOTS {
                lot.draw_alike(rig, &recorded, known, absent).await;
            }
            drawn = true;
        }
        let answer = ask(rig, request, known).await;
        judge(request, &answer, known);
    }
}

#[tokio::test]
async fn a_real_neutrons_answers_come_again() {
    let absent = Absent::new(&listed::names("Not here"));
    let mut judge = Judge::new(&absent);
    for _ in 0..TRIES {
        let rig = Rig::start(config()).await;
        let mut known = Known::default();
        judge = Judge::new(&absent);
        let mut unlucky = false;
        play(&rig, &mut known, &absent, |request, answer, known| {
            unlucky |= is_unlucky(request, answer);
            judge.judge(request, answer, known);
        })
        .await;
        if !unlucky {
            break;
        }
    }
    let compared = judge.equal + judge.equal_without_later + judge.differ;
    let all = RECORDED.lines().count();
    println!(
        "of {all} answers {} are equal as they stand, {} without what they say of later extensions, \
         {} differ as listed; {} faults of the recorded server are left out",
        judge.equal,
        judge.equal_without_later,
        judge.differ,
        all - compared,
    );
    let mut wrong = judge.wrong;
    wrong.extend(judge.later.idle());
    wrong.extend(judge.different.idle());
    wrong.extend(absent.idle());
    assert!(
        wrong.is_empty(),
        "not as docs/compatibility.md says:\n{}",
        wrong.join("\n")
    );
}

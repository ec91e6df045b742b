//! From Neutron's answers to a state, and to what is to be said about it.

use std::collections::{BTreeMap, BTreeSet};

use intent::{
    Agent, AgentType, AutoTopology, DvrMac, HostName, NetworkId, ProjectId, Quota, RouterId, State,
    Timestamp,
    attrs::{Cx, EXTENSIONS, Soft, TABLES, Verb},
    import::import,
};
use ledger::{Config, LIMITED};
use serde_json::{Map, Value};

use super::{
    compare::{Excuse, differences, excuse},
    read::Answers,
    report::{Finding, Report},
};
use crate::neutron::listed;

/// What an import goes by besides what it reads.
#[derive(Debug, Default)]
pub struct Terms {
    /// The settings of the server that is to take over.
    pub config: Config,
    /// Which the API does not show.
    pub dvr_macs: Vec<DvrMac>,
    /// Findings that the operator accepts, by their words.
    pub leave_out: BTreeSet<String>,
}

/// The state that answers speak of, and the report on it. A pure function.
pub fn judge(answers: &Answers, terms: &Terms) -> (State, Report) {
    let (state, mut cannot) = understood(answers, terms);
    cannot.extend(ledger::broken(&state));
    let mut findings = not_served(answers);
    findings.extend(lost(answers, &state, &terms.config));
    findings.extend(other_defaults(answers, &terms.config));
    findings.extend(macs_to_be_made(&state));
    for finding in findings.iter_mut().filter(|it| it.can_be_accepted) {
        finding.is_accepted |= terms.leave_out.contains(finding.word_to_say());
    }
    let mut taken = BTreeMap::new();
    for object in state.objects() {
        *taken.entry(object.kind().as_str()).or_default() += 1;
    }
    let unknown = answers.extensions.iter().filter(|alias| {
        let is_ours = EXTENSIONS.iter().any(|it| it.alias == **alias);
        !is_ours && !answers.covers(alias)
    });
    let report = Report {
        taken,
        findings,
        cannot,
        unknown: unknown.cloned().collect(),
    };
    (state, report)
}

fn understood(answers: &Answers, terms: &Terms) -> (State, Vec<String>) {
    let documents: Vec<Value> = answers
        .lists
        .iter()
        .map(|(plural, list)| {
            Value::Object(Map::from_iter([((*plural).into(), list.clone().into())]))
        })
        .collect();
    let told = answers.told.iter().map(|(of, answer)| (*of, answer));
    let (mut state, cannot) = import(&documents, told);
    let quotas: Vec<Quota> = state.quotas.values().map(|it| Quota::clone(it)).collect();
    for mut quota in quotas {
        // What nobody set follows the defaults, also when they change; as long as they are the same.
        quota.limits.retain(|name, limit| {
            let theirs = answers.default_quota.get(name).and_then(Value::as_i64);
            let ours = terms.config.default_quota(name);
            let is_default = theirs == Some(*limit) && ours == *limit;
            LIMITED.iter().any(|(known, _)| known == name) && !is_default
        });
        state.put(quota.into());
    }
    for topology in topologies(&state) {
        state.put(topology.into());
    }
    for mac in &terms.dvr_macs {
        state.put(mac.clone().into());
    }
    (state, cannot)
}

/// The API tells nobody which topologies were allocated by themselves without allocating one. Their
/// parts have names of their own, and a project that has one of each has such a topology.
fn topologies(state: &State) -> Vec<AutoTopology> {
    let mut parts: BTreeMap<&ProjectId, (Vec<NetworkId>, Vec<RouterId>)> = BTreeMap::new();
    for network in state.networks.values() {
        if network.name == "auto_allocated_network" {
            let (networks, _) = parts.entry(&network.project_id).or_default();
            networks.push(network.id);
        }
    }
    for router in state.routers.values() {
        if router.name == "auto_allocated_router" {
            let (_, routers) = parts.entry(&router.project_id).or_default();
            routers.push(router.id);
        }
    }
    let whole = |(project, parts): (&ProjectId, (Vec<NetworkId>, Vec<RouterId>))| match parts {
        (networks, routers) if networks.len() == 1 && routers.len() == 1 => Some(AutoTopology {
            project_id: project.clone(),
            network_id: networks[0],
            router_id: routers[0],
        }),
        _ => None,
    };
    parts.into_iter().filter_map(whole).collect()
}

fn not_served(answers: &Answers) -> Vec<Finding> {
    let some = answers.foreign.iter().filter(|(_, count)| **count > 0);
    some.map(|(word, count)| Finding::new(word, *count, "not served here"))
        .collect()
}

/// Attributes that would not be shown here as Neutron showed them, one finding a place.
fn lost(answers: &Answers, state: &State, config: &Config) -> Vec<Finding> {
    let cx = Cx {
        state,
        project: "",
        verb: Verb::List,
        filtering: false,
        dns_domain: &config.dns_domain,
        soft: &Unheard,
    };
    let mut findings: BTreeMap<String, Finding> = BTreeMap::new();
    for table in TABLES {
        let Some(kind) = table.kind else { continue };
        for theirs in answers.of(table.plural) {
            let id = theirs["id"].as_str().unwrap_or_default();
            let differences = match listed(&cx, kind, id) {
                Some(ours) => differences(theirs, &ours, table.plural),
                // It was not read: for a word that is not known, or it was noted why.
                None => differences(
                    &why_unread(theirs),
                    &Value::Object(Map::new()),
                    table.plural,
                ),
            };
            for difference in differences {
                let says = format!(
                    "{id}: {} there, {} here",
                    cut(&difference.theirs),
                    cut(&difference.ours)
                );
                let finding = findings.entry(difference.place.clone());
                let finding = finding.or_insert_with(|| excused(&difference.place, says));
                finding.count += 1;
            }
        }
    }
    findings.into_values().collect()
}

fn excused(place: &str, says: String) -> Finding {
    let mut finding = Finding::new(place, 0, "");
    match excuse(place) {
        Some(Excuse::Harmless(why)) => {
            why.clone_into(&mut finding.says);
            finding.is_accepted = true;
        }
        Some(Excuse::With(word)) => {
            finding.says = says;
            finding.with = Some(word);
        }
        Some(Excuse::First(what)) => {
            finding.says = format!("{says}; {what}");
            finding.can_be_accepted = false;
        }
        None => finding.says = says,
    }
    finding
}

/// The word of a member that makes it one of those that aren't kept here.
fn why_unread(theirs: &Value) -> Value {
    let words = ["agent_type", "object_type"];
    let said = words
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), theirs.get(*name)?.clone())));
    Value::Object(said.collect())
}

/// The beginning of a value.
fn cut(value: &Value) -> String {
    value.to_string().chars().take(200).collect()
}

fn other_defaults(answers: &Answers, config: &Config) -> Option<Finding> {
    let differ = LIMITED.iter().filter_map(|(name, _)| {
        let theirs = answers.default_quota.get(*name)?.as_i64()?;
        let ours = config.default_quota(name);
        (theirs != ours).then(|| format!("{name} = {theirs} there, {ours} here"))
    });
    let differ: Vec<String> = differ.collect();
    let says = format!("a setting under [ledger]: {}", differ.join(", "));
    (!differ.is_empty()).then(|| Finding::new("default_quotas", differ.len(), &says))
}

/// Hosts of distributed routers whose MAC for it nobody said.
fn macs_to_be_made(state: &State) -> Option<Finding> {
    if !state.routers.values().any(|router| router.distributed) {
        return None;
    }
    let agents = state
        .agents
        .values()
        .filter(|it| it.agent_type == AgentType::L3);
    let distributed = agents.filter(|agent| {
        let mode = agent
            .configurations
            .get("agent_mode")
            .and_then(Value::as_str);
        mode.is_some_and(|mode| mode.starts_with("dvr"))
    });
    let hosts = distributed.map(|agent| &agent.host);
    let without: BTreeSet<&HostName> = hosts
        .filter(|it| !state.dvr_macs.contains_key(*it))
        .collect();
    let says = format!(
        "hosts of distributed routers get new MACs for it, which the API does not show: \
         --dvr-macs keeps them ({})",
        without
            .iter()
            .map(|it| it.as_str())
            .collect::<Vec<_>>()
            .join(", ")
    );
    (!without.is_empty()).then(|| Finding::new("dvr_macs", without.len(), &says))
}

/// No agent was heard of yet.
struct Unheard;

impl Soft for Unheard {
    fn heartbeat(&self, agent: &Agent) -> Timestamp {
        agent.started_at
    }

    fn is_alive(&self, _: &Agent) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;

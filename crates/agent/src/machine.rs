//! This machine: what it holds, as far as that is known, and how it is changed. Reading is lazy:
//! what was read is believed until an event puts it in doubt, and everything is read anew when the
//! slow timer says so.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::diff::diff;
use host::iptables::{Rule, Target};
use host::names::{self, PortChain};
use host::netns::{Family, Netns};
use host::{HostState, NsName, Why};
use plan::{GivenBack, Numbers};

use crate::config::Config;
use crate::filters::{self, Filters, script::Middle};
use crate::openflow::{Heard, Ports};
use crate::ours;
use crate::ovsdb::{Ovsdb, TransactError, observe::Bridges, write};
use crate::services::{Services, Wake};
use crate::switches::Switches;

/// Something that did not work, with what it was for.
#[derive(Clone, Debug)]
pub struct Problem {
    pub text: String,
    pub why: Why,
}

impl Problem {
    pub fn new(error: &dyn std::error::Error) -> Problem {
        Problem {
            text: crate::chain(error),
            why: Why::none(),
        }
    }
}

/// How much a pass changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    pub database: usize,
    pub flows: usize,
    pub filters: usize,
    pub services: usize,
}

/// What is to be done: both sides are cut to what is ours and can be there now.
pub struct Change<'a> {
    pub have: &'a HostState,
    pub want: &'a HostState,
    pub numbers: &'a Numbers,
    pub given_back: &'a GivenBack,
}

pub struct Machine {
    host: String,
    pub ovsdb: Ovsdb,
    bridges: Bridges,
    switches: Switches,
    /// The host's own.
    filters: filters::Known,
    pub services: Services,
}

impl Machine {
    /// `wake` is called when something changed that the loop must look at.
    pub fn new(
        config: &Config,
        wake: impl Fn() + Send + Sync + 'static,
        heard: impl Fn(&str, Heard) + Send + Sync + 'static,
    ) -> Machine {
        let wake: Wake = Arc::new(wake);
        let changed = wake.clone();
        Machine {
            host: config.host.clone(),
            ovsdb: Ovsdb::start(config.ovsdb.clone(), move || changed()),
            bridges: Bridges::default(),
            switches: Switches::new(config.switch_dir(), others(config), heard),
            filters: filters::Known::of(NsName::root(), filters::Sets::Used),
            services: Services::new(config, wake),
        }
    }

    pub fn doubt_flows(&mut self, bridge: &str) {
        self.switches.doubt(bridge);
    }

    pub fn doubt_rules(&mut self) {
        self.filters.doubt_rules();
    }

    /// What tells nobody when it is changed.
    pub fn doubt_what_is_silent(&mut self) {
        self.filters.doubt();
        self.services.doubt();
    }

    pub fn doubt_everything(&mut self) {
        self.switches.doubt_all();
        self.filters.forget();
        self.services.forget_all();
    }

    /// What the machine holds, of what `want` speaks of.
    pub async fn observe(&mut self, want: &HostState, problems: &mut Vec<Problem>) -> HostState {
        let mut seen = HostState::new(self.host.clone());
        seen.bridges = self.bridges.read(&self.ovsdb.cache());
        if !want.bridges.is_empty() {
            let there = want
                .bridges
                .keys()
                .filter(|name| seen.bridges.contains_key(*name));
            self.switches.keep(there);
            self.switches.greet().await;
        }
        for name in want.bridges.keys() {
            if let Some(bridge) = seen.bridges.get_mut(name)
                && self.switches.is_up(name)
            {
                match self.switches.observe(name, &Ports::of(bridge)).await {
                    Ok(flows) => bridge.flows = flows,
                    Err(error) => problems.push(Problem::new(&error)),
                }
            }
        }
        if want.root().is_some() || self.filters.is_read() {
            match self.filters.observe().await {
                Ok(filters) => {
                    let root = seen.netns_mut(NsName::root());
                    root.iptables = filters.iptables;
                    root.ipsets = filters.ipsets;
                }
                Err(error) => problems.push(Problem::new(&error)),
            }
            crate::sysctl::observe(want.root(), seen.netns_mut(NsName::root()));
        }
        self.services.observe(want, &mut seen, problems).await;
        seen
    }

    /// Give the switches of bridges that are there a moment to be connected: for those who look
    /// once, and would take an unread bridge for an empty one.
    pub async fn settle(&mut self, settings: &plan::Settings) {
        let ours = [&settings.integration_bridge, &settings.tunnel_bridge];
        let all: Vec<String> = ours
            .into_iter()
            .chain(settings.bridge_mappings.values())
            .cloned()
            .collect();
        let there = self.bridges.read(&self.ovsdb.cache());
        let names: Vec<&String> = all
            .iter()
            .filter(|name| there.contains_key(*name))
            .collect();
        self.switches.keep(names.iter().copied());
        for _ in 0..200 {
            if names.iter().all(|name| self.switches.is_up(name)) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    /// What was found to be as wanted is held once: the observed becomes the wanted itself.
    pub fn settle_on(&mut self, have: &HostState, want: &HostState) {
        for (name, wanted) in &want.bridges {
            let flows = have.bridges.get(name).map(|bridge| &bridge.flows);
            if flows.is_some_and(|flows| *flows == wanted.flows) {
                self.switches.settle_on(name, &wanted.flows);
            }
        }
        if let Some(root) = want.root() {
            self.filters.settle_on(&root.iptables, &root.ipsets);
        }
        self.services.settle_on(have, want);
    }

    /// Turn what is there into what is wanted. Filters come first: no port is wired before its rules
    /// stand.
    pub async fn apply(&mut self, change: &Change<'_>, problems: &mut Vec<Problem>) -> Applied {
        let Change { have, want, .. } = change;
        let mut applied = Applied::default();
        let filters_stand = self.apply_filters(change, &mut applied, problems).await;
        let unfiltered = (!filters_stand && want.root().is_some())
            .then(|| ours::unwired(&have.bridges, &want.bridges));
        let bridges = unfiltered.as_ref().unwrap_or(&want.bridges);
        let operations = write::operations(&self.ovsdb.cache(), &have.bridges, bridges);
        applied.database = operations.len();
        let (wired, prepared) = tokio::join!(
            transact(&self.ovsdb, operations),
            self.services.prepare(have, want, problems),
        );
        applied.services = prepared;
        problems.extend(wired.err().map(|error| Problem::new(&error)));
        applied.flows = self.apply_flows(have, want, problems).await;
        let vlans = change
            .given_back
            .vlans
            .iter()
            .filter_map(|(_, vlan)| u16::try_from(*vlan).ok());
        let vlans: Vec<u16> = vlans.collect();
        for bridge in want.bridges.keys() {
            if let Err(error) = self.switches.forget_learned(bridge, &vlans).await {
                problems.push(Problem::new(&error));
            }
        }
        applied.services += self.services.apply(have, want, problems).await;
        applied
    }

    async fn apply_flows(
        &mut self,
        have: &HostState,
        want: &HostState,
        problems: &mut Vec<Problem>,
    ) -> usize {
        let bridges = self.bridges.read(&self.ovsdb.cache());
        let mut changed = 0;
        for (name, want) in &want.bridges {
            let (Some(have), Some(bridge)) = (have.bridges.get(name), bridges.get(name)) else {
                continue;
            };
            if !self.switches.is_up(name) {
                continue;
            }
            if have.flows == want.flows {
                continue;
            }
            changed += diff(&have.flows, &want.flows).len();
            match self
                .switches
                .apply(name, &have.flows, &want.flows, &Ports::of(bridge))
                .await
            {
                Ok(refused) => problems.extend(refused.into_iter().map(|refused| Problem {
                    text: format!("{name} refused flow {:?}: {}", refused.key, refused.what),
                    why: refused.why,
                })),
                Err(error) => problems.push(Problem::new(&error)),
            }
        }
        changed
    }

    /// Whether the filters stand as they are wanted.
    async fn apply_filters(
        &mut self,
        change: &Change<'_>,
        applied: &mut Applied,
        problems: &mut Vec<Problem>,
    ) -> bool {
        let Change { have, want, .. } = change;
        let none = Netns::default();
        let root = NsName::root();
        let of = |state: &HostState| {
            let netns = state.root().unwrap_or(&none);
            Filters {
                iptables: netns.iptables.clone(),
                ipsets: netns.ipsets.clone(),
            }
        };
        let (old, new) = (of(have), of(want));
        let mut stand = self.filters.is_read();
        if old != new && stand {
            applied.filters = 1;
            let failed = self.filters.apply(&old, &new).await;
            stand = failed.is_empty();
            problems.extend(failed.iter().map(|error| Problem::new(error)));
        }
        for (zone, filter) in connections_to_end(&old, &new, change) {
            if let Err(error) = filters::forget_connections(&root, zone, &filter).await {
                problems.push(Problem::new(&error));
            }
        }
        if let Some(netns) = want.root() {
            crate::sysctl::apply(&root, have.root(), netns, problems);
        }
        stand
    }
}

/// Nothing to do is nothing to ask for.
async fn transact(ovsdb: &Ovsdb, operations: Vec<serde_json::Value>) -> Result<(), TransactError> {
    if operations.is_empty() {
        return Ok(());
    }
    ovsdb.transact(operations).await.map(drop)
}

/// The cookies of flows that are not ours.
fn others(config: &Config) -> BTreeSet<u64> {
    let foreign = config.foreign_cookies.iter().copied();
    foreign.chain([plan::l2::LEARNED_COOKIE]).collect()
}

/// The connections that stood on rules which are no more: by zone, and what of it.
fn connections_to_end(
    old: &Filters,
    new: &Filters,
    change: &Change<'_>,
) -> BTreeSet<(u16, Vec<String>)> {
    let mut found = BTreeSet::new();
    for (_, zone) in &change.given_back.zones {
        found.insert((*zone as u16, Vec::new()));
    }
    if old == new {
        return found;
    }
    let shrunk = shrunk_sets(old, new);
    let zones = zones_of_chains(change.numbers);
    for (family, tables) in &new.iptables {
        let Some(before) = old.iptables.get(family) else {
            continue;
        };
        let word = if *family == Family::V4 {
            "ipv4"
        } else {
            "ipv6"
        };
        for (table, content) in tables {
            let Some(before) = before.get(table) else {
                continue;
            };
            for (name, chain) in &content.chains {
                let before = before.chains.get(name);
                let Some(before) = before.filter(|it| !it.is(chain) || !shrunk.is_empty()) else {
                    continue;
                };
                let Some(zone) = zones.get(name) else {
                    continue;
                };
                let (left, came) = Middle::of(&before.rules, &chain.rules).differ();
                let gone = left
                    .iter()
                    .filter(|rule| lets_pass(rule) && !came.contains(rule));
                for rule in gone {
                    let mut filter = vec!["-f".to_owned(), word.to_owned()];
                    if let Some(proto) = rule.proto.as_ref().filter(|proto| !proto.not) {
                        filter.extend(["-p".to_owned(), proto.value.clone()]);
                    }
                    found.insert((*zone, filter));
                }
                let rules = chain.rules.iter().filter(|_| !shrunk.is_empty());
                for member in rules.flat_map(|rule| set_members(rule, &shrunk)) {
                    for side in ["-s", "-d"] {
                        let filter = ["-f", word, side, member].map(str::to_owned).to_vec();
                        found.insert((*zone, filter));
                    }
                }
            }
        }
    }
    found
}

/// Chains that are one port's, and the zone of its connections.
fn zones_of_chains(numbers: &Numbers) -> BTreeMap<String, u16> {
    let ports = numbers.zones.held();
    let chains = ports.flat_map(|(port, zone)| {
        let both = [PortChain::Ingress, PortChain::Egress];
        both.map(|which| (names::port_chain(which, port), zone as u16))
    });
    chains.collect()
}

fn lets_pass(rule: &Rule) -> bool {
    matches!(rule.target, Target::Return | Target::Accept)
}

/// The members that sets have lost.
fn shrunk_sets<'a>(old: &'a Filters, new: &Filters) -> BTreeMap<&'a str, Vec<&'a str>> {
    let lost = old.ipsets.iter().filter_map(|(name, set)| {
        let now = new.ipsets.get(name).filter(|now| !now.is(set))?;
        let lost: Vec<&str> = set
            .members
            .keys()
            .filter(|member| !now.members.contains_key(*member))
            .map(String::as_str)
            .collect();
        (!lost.is_empty()).then_some((name.as_str(), lost))
    });
    lost.collect()
}

fn set_members<'a>(rule: &Rule, shrunk: &BTreeMap<&str, Vec<&'a str>>) -> Vec<&'a str> {
    let sets = rule
        .conditions
        .iter()
        .filter_map(|condition| match condition {
            host::iptables::Condition::Set { name, .. } => shrunk.get(name.value.as_str()),
            _ => None,
        });
    sets.flatten().copied().collect()
}

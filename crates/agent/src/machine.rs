//! This machine: what it holds, as far as that is known, and how it is changed. Reading is lazy:
//! what was read is believed until an event puts it in doubt, and everything is read anew when the
//! slow timer says so.
use std::collections::{BTreeMap, BTreeSet};

use host::diff::diff;
use host::iptables::{Iptables, Rule, Target};
use host::names::{self, PortChain};
use host::netns::{Family, Netns};
use host::{HostState, NsName, Why};
use plan::Plan;

use crate::config::Config;
use crate::filters::{self, Filters};
use crate::openflow::{Heard, Ports};
use crate::ours;
use crate::ovsdb::{Ovsdb, observe, write};
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

pub struct Machine {
    host: String,
    pub ovsdb: Ovsdb,
    switches: Switches,
    /// The host's own filters; none is not known.
    filters: Option<Filters>,
    /// Sets alone are in doubt: rules raise events, sets do not.
    sets_in_doubt: bool,
    pub services: crate::services::Services,
}

impl Machine {
    /// `wake` is called when something changed that the loop must look at.
    pub fn new(
        config: &Config,
        wake: impl Fn() + Send + Sync + 'static,
        heard: impl Fn(&str, Heard) + Send + Sync + 'static,
    ) -> Machine {
        Machine {
            host: config.host.clone(),
            ovsdb: Ovsdb::start(config.ovsdb.clone(), wake),
            switches: Switches::new(config.switch_dir(), heard),
            filters: None,
            sets_in_doubt: false,
            services: crate::services::Services::new(config),
        }
    }

    pub fn doubt_flows(&mut self, bridge: &str) {
        self.switches.doubt(bridge);
    }

    pub fn doubt_filters(&mut self) {
        self.filters = None;
    }

    pub fn doubt_sets(&mut self) {
        self.sets_in_doubt = true;
    }

    pub fn doubt_everything(&mut self) {
        self.switches.doubt_all();
        self.filters = None;
        self.services.doubt();
    }

    /// What the machine holds, of what `want` speaks of.
    pub async fn observe(&mut self, want: &HostState, problems: &mut Vec<Problem>) -> HostState {
        let mut seen = HostState::new(self.host.clone());
        seen.bridges = observe::bridges(&self.ovsdb.cache());
        if !want.bridges.is_empty() {
            let there = want
                .bridges
                .keys()
                .filter(|name| seen.bridges.contains_key(*name));
            self.switches.keep(there);
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
        if want.root().is_some() || self.filters.is_some() {
            match self.observe_filters().await {
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
        let there = observe::bridges(&self.ovsdb.cache());
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

    async fn observe_filters(&mut self) -> Result<Filters, filters::FilterError> {
        let root = NsName::root();
        let mut known = match self.filters.take() {
            Some(known) => known,
            None => {
                self.sets_in_doubt = false;
                filters::observe(&root).await?
            }
        };
        if std::mem::take(&mut self.sets_in_doubt) {
            known.ipsets = filters::observe_ipsets(&root).await?;
        }
        self.filters = Some(known.clone());
        Ok(known)
    }

    /// Turn `have` into `want`: both are cut to what is ours and can be there now. Filters come
    /// first: no port is wired before its rules stand.
    pub async fn apply(
        &mut self,
        have: &HostState,
        want: &HostState,
        plan: &Plan,
        problems: &mut Vec<Problem>,
    ) -> Applied {
        let mut applied = Applied::default();
        self.apply_filters(have, want, plan, &mut applied, problems)
            .await;
        applied.services = self.services.prepare(have, want, problems);
        // Filters that could not be written are not known.
        let unfiltered = (self.filters.is_none() && want.root().is_some())
            .then(|| ours::unwired(&have.bridges, &want.bridges));
        let bridges = unfiltered.as_ref().unwrap_or(&want.bridges);
        let operations = write::operations(&self.ovsdb.cache(), &have.bridges, bridges);
        applied.database = operations.len();
        if !operations.is_empty()
            && let Err(error) = self.ovsdb.transact(operations).await
        {
            problems.push(Problem::new(&error));
        }
        applied.flows = self.apply_flows(have, want, problems).await;
        let vlans = plan
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
        let bridges = observe::bridges(&self.ovsdb.cache());
        let mut changed = 0;
        for (name, want) in &want.bridges {
            let (Some(have), Some(bridge)) = (have.bridges.get(name), bridges.get(name)) else {
                continue;
            };
            if !self.switches.is_up(name) {
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

    async fn apply_filters(
        &mut self,
        have: &HostState,
        want: &HostState,
        plan: &Plan,
        applied: &mut Applied,
        problems: &mut Vec<Problem>,
    ) {
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
        if old != new && self.filters.is_some() {
            applied.filters = 1;
            let failed = filters::apply(&root, &old, &new).await;
            if failed.is_empty() {
                self.believe(&old, &new);
            } else {
                self.filters = None;
                problems.extend(failed.iter().map(|error| Problem::new(error)));
            }
        }
        for (zone, filter) in connections_to_end(&old, &new, plan) {
            if let Err(error) = filters::forget_connections(&root, zone, &filter).await {
                problems.push(Problem::new(&error));
            }
        }
        if let Some(netns) = want.root() {
            crate::sysctl::apply(&root, have.root(), netns, problems);
        }
    }

    /// `iptables-restore` and `ipset restore` are all or nothing: what they took is there. The slow
    /// timer reads it back.
    fn believe(&mut self, old: &Filters, new: &Filters) {
        let Some(known) = &mut self.filters else {
            return;
        };
        for (name, _) in diff(&old.ipsets, &new.ipsets).remove {
            known.ipsets.remove(name);
        }
        known.ipsets.extend(
            new.ipsets
                .iter()
                .map(|(name, set)| (name.clone(), set.clone())),
        );
        for (family, tables) in &new.iptables {
            let known = known.iptables.entry(*family).or_default();
            let none = Iptables::new();
            believe_tables(known, old.iptables.get(family).unwrap_or(&none), tables);
        }
    }
}

fn believe_tables(known: &mut Iptables, old: &Iptables, new: &Iptables) {
    for (name, table) in new {
        let chains = &mut known.entry(name.clone()).or_default().chains;
        let nothing = BTreeMap::new();
        let before = old.get(name).map_or(&nothing, |table| &table.chains);
        let difference = diff(before, &table.chains);
        for (chain, _) in &difference.remove {
            chains.remove(*chain);
        }
        for put in &difference.put {
            match chains.get_mut(put.key) {
                // Ours came to the top of the built-in chain; the rest is others'.
                Some(chain) if put.new.policy.is_some() => {
                    let before = put.old.map_or(&[][..], |old| &old.rules);
                    chain.rules.retain(|rule| !before.contains(rule));
                    chain.rules.splice(0..0, put.new.rules.iter().cloned());
                }
                _ => drop(chains.insert(put.key.clone(), put.new.clone())),
            }
        }
    }
}

/// The connections that stood on rules which are no more: by zone, and what of it.
fn connections_to_end(old: &Filters, new: &Filters, plan: &Plan) -> BTreeSet<(u16, Vec<String>)> {
    let mut found = BTreeSet::new();
    for (_, zone) in &plan.given_back.zones {
        found.insert((*zone as u16, Vec::new()));
    }
    let shrunk = shrunk_sets(old, new);
    let zones = zones_of_chains(plan);
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
                let zone = zones.get(name);
                let (Some(zone), Some(before)) = (zone, before.chains.get(name)) else {
                    continue;
                };
                let gone = before
                    .rules
                    .iter()
                    .filter(|rule| lets_pass(rule) && !chain.rules.contains(rule));
                for rule in gone {
                    let mut filter = vec!["-f".to_owned(), word.to_owned()];
                    if let Some(proto) = rule.proto.as_ref().filter(|proto| !proto.not) {
                        filter.extend(["-p".to_owned(), proto.value.clone()]);
                    }
                    found.insert((*zone, filter));
                }
                for member in chain
                    .rules
                    .iter()
                    .flat_map(|rule| set_members(rule, &shrunk))
                {
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
fn zones_of_chains(plan: &Plan) -> BTreeMap<String, u16> {
    let ports = plan.numbers.zones.held();
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
        let now = new.ipsets.get(name)?;
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

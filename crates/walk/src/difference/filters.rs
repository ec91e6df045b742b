//! iptables and sets of addresses.
use host::ipset::Ipset;
use host::iptables::{Chain, Iptables, Rule};
use host::netns::{Family, Netns};
use host::{HostState, NsName, Shared};

use super::{Difference, Kind};
use crate::text;

/// A namespace of a host.
pub(super) type Spot<'a> = (&'a str, &'a NsName);

/// Change a namespace's table in a copy of the host.
fn chain_mut<'a>(
    state: &'a mut HostState,
    (ns, family, table, chain): &(NsName, Family, String, String),
) -> &'a mut Chain {
    let tables = state
        .netns_mut(ns.clone())
        .iptables
        .entry(*family)
        .or_default();
    let table = tables.entry(table.clone()).or_default();
    table.chains.entry(chain.clone()).or_default()
}

pub(super) fn compare(spot: Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    for (family, wanted) in &want.iptables {
        // A version of IP that was not recorded is not one without rules.
        if let Some(tables) = have.iptables.get(family) {
            tables_of(spot, *family, tables, wanted, found);
        }
    }
    if have.ipsets.is_empty() && have.iptables.is_empty() {
        return;
    }
    for (name, wanted) in &want.ipsets {
        match have.ipsets.get(name) {
            Some(set) => members(spot, name, set, wanted, found),
            None => found.push(missing_set(spot, name, wanted)),
        }
    }
}

fn missing_set((host, ns): Spot<'_>, name: &str, wanted: &Ipset) -> Difference {
    let (at, key, set) = (ns.clone(), name.to_owned(), wanted.clone());
    let text = format!("create {name} {} family {}", wanted.kind, wanted.family);
    Difference::new(
        (host, ns.as_str(), name),
        Kind::Missing,
        text,
        move |state| {
            state
                .netns_mut(at.clone())
                .ipsets
                .insert(key.clone(), set.clone().into());
        },
    )
    .because(&wanted.why)
}

fn members(
    (host, ns): Spot<'_>,
    name: &str,
    have: &Ipset,
    want: &Ipset,
    found: &mut Vec<Difference>,
) {
    let place = (host, ns.as_str(), name);
    let member_mut = |add: bool, member: &str| {
        let (at, set, member) = (ns.clone(), name.to_owned(), member.to_owned());
        move |state: &mut HostState| {
            let sets = &mut state.netns_mut(at.clone()).ipsets;
            let set = sets.entry(set.clone()).or_default();
            if add {
                set.members.entry(member.clone()).or_default();
            } else {
                set.members.remove(&member);
            }
        }
    };
    for (member, row) in &want.members {
        if !have.members.contains_key(member) {
            let text = format!("add {name} {member}");
            let undo = member_mut(true, member);
            found.push(Difference::new(place, Kind::Missing, text, undo).because(&row.why));
        }
    }
    for member in have
        .members
        .keys()
        .filter(|m| !want.members.contains_key(*m))
    {
        let text = format!("add {name} {member}");
        let undo = member_mut(false, member);
        found.push(Difference::new(place, Kind::Extra, text, undo).filtering());
    }
}

fn tables_of(
    (host, ns): Spot<'_>,
    family: Family,
    have: &Iptables,
    want: &Iptables,
    found: &mut Vec<Difference>,
) {
    for (table, wanted) in want {
        for (name, chain) in &wanted.chains {
            let at = (ns.clone(), family, table.clone(), name.clone());
            let now = have.get(table).and_then(|t| t.chains.get(name));
            let Some(now) = now else {
                let whole = chain.clone();
                let text = format!(":{name} - [0:0]");
                let undo =
                    move |state: &mut HostState| *chain_mut(state, &at) = Chain::clone(&whole);
                found.push(
                    Difference::new((host, ns.as_str(), name), Kind::Missing, text, undo)
                        .because(&chain.why),
                );
                continue;
            };
            if let Some(policy) = &chain.policy
                && now.policy.as_ref().is_some_and(|p| p != policy)
            {
                let text = format!(":{name} {}", now.policy.as_deref().unwrap_or("-"));
                let (at, policy) = (at.clone(), policy.clone());
                let good = format!(":{name} {policy}");
                let undo = move |state: &mut HostState| {
                    chain_mut(state, &at).policy = Some(policy.clone());
                };
                let spot = (host, ns.as_str(), name.as_str());
                found.push(Difference::new(spot, Kind::Changed, text, undo).wanted(good));
            }
            rules(host, &at, now, chain, found);
        }
    }
}

type At = (NsName, Family, String, String);

fn rules(host: &str, at: &At, have: &Chain, want: &Chain, found: &mut Vec<Difference>) {
    let (ns, _, _, name) = at;
    let spot = (host, ns.as_str(), name.as_str());
    let missing: Vec<usize> = (0..want.rules.len())
        .filter(|n| !have.rules.contains(&want.rules[*n]))
        .collect();
    let mut extra: Vec<&Shared<Rule>> = have
        .rules
        .iter()
        .filter(|r| !want.rules.contains(r))
        .collect();
    for n in missing {
        let rule = &want.rules[n];
        let good = text::rule(name, rule);
        let alike = extra.iter().position(|now| resembles(name, rule, now));
        if let Some(now) = alike.map(|found| extra.swap_remove(found)) {
            let (at, old, new) = (at.clone(), now.clone(), rule.clone());
            let undo = move |state: &mut HostState| {
                let rules = &mut chain_mut(state, &at).rules;
                rules
                    .iter_mut()
                    .filter(|r| **r == old)
                    .for_each(|r| *r = new.clone());
            };
            let text = text::rule(name, now);
            found.push(
                Difference::new(spot, Kind::Changed, text, undo)
                    .wanted(good)
                    .because(&rule.why),
            );
            continue;
        }
        let (at, new) = (at.clone(), rule.clone());
        let before: Vec<Shared<Rule>> = want.rules[..n].to_vec();
        let undo = move |state: &mut HostState| {
            let rules = &mut chain_mut(state, &at).rules;
            let after = rules
                .iter()
                .rposition(|r| before.contains(r))
                .map_or(0, |p| p + 1);
            rules.insert(after, new.clone());
        };
        found.push(Difference::new(spot, Kind::Missing, good, undo).because(&rule.why));
    }
    for rule in extra {
        let (at, old) = (at.clone(), rule.clone());
        let undo = move |state: &mut HostState| {
            chain_mut(state, &at).rules.retain(|r| *r != old);
        };
        let text = text::rule(name, rule);
        found.push(Difference::new(spot, Kind::Extra, text, undo).filtering());
    }
}

/// Is a rule another one with one thing wrong? They differ in one word, or in a word and its
/// negation.
fn resembles(chain: &str, rule: &Rule, other: &Rule) -> bool {
    let (a, b) = (text::rule(chain, rule), text::rule(chain, other));
    let (a, b): (Vec<&str>, Vec<&str>) = (
        a.split_whitespace().collect(),
        b.split_whitespace().collect(),
    );
    a.len() == b.len() && a.iter().zip(&b).filter(|(x, y)| x != y).count() == 1
}

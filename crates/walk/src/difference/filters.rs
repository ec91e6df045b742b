//! iptables and sets of addresses.
use std::collections::BTreeSet;

use host::ipset::Ipset;
use host::iptables::{Chain, Condition, Iptables, Maybe, Rule};
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
            if now.rules != chain.rules {
                rules(host, &at, now, chain, found);
                out_of_place(host, &at, now, chain, found);
            }
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
            insert_after(&mut chain_mut(state, &at).rules, &before, new.clone());
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

/// Rules that are asked for and stand in another place than they should, or once too often: which
/// rule is met first decides.
fn out_of_place(host: &str, at: &At, have: &Chain, want: &Chain, found: &mut Vec<Difference>) {
    let shared = |rules: &[Shared<Rule>], others: &[Shared<Rule>]| -> Vec<Shared<Rule>> {
        let both = rules.iter().filter(|rule| others.contains(rule));
        both.cloned().collect()
    };
    let now = shared(&have.rules, &want.rules);
    let goal = shared(&want.rules, &have.rules);
    if now == goal {
        return;
    }
    let (ns, _, _, name) = at;
    let stay = in_place(&now, &goal);
    for (n, rule) in now.iter().enumerate().filter(|(n, _)| !stay.contains(n)) {
        let count = |rules: &[Shared<Rule>]| rules.iter().filter(|r| *r == rule).count();
        let moved = count(&now) <= count(&goal);
        if moved && !matters(rule, (&now, n), &goal) {
            continue;
        }
        let before: Option<Vec<Shared<Rule>>> = moved.then(|| {
            let place = want.rules.iter().position(|r| r == rule);
            want.rules[..place.unwrap_or(0)].to_vec()
        });
        let (at, old, nth) = (at.clone(), rule.clone(), count(&now[..n]));
        let after = before.as_ref().map(|rules| rules.last().cloned());
        let undo = move |state: &mut HostState| {
            let rules = &mut chain_mut(state, &at).rules;
            let mut alike = (0..rules.len()).filter(|i| rules[*i] == old);
            let Some(place) = alike.nth(nth) else {
                return;
            };
            rules.remove(place);
            if let Some(before) = &before {
                insert_after(rules, before, old.clone());
            }
        };
        let spot = (host, ns.as_str(), name.as_str());
        let text = text::rule(name, rule);
        found.push(match after {
            None => Difference::new(spot, Kind::Extra, text, undo).filtering(),
            Some(after) => {
                let place = after.map_or_else(
                    || "first of its chain".to_owned(),
                    |after| format!("after {}", text::rule(name, &after)),
                );
                let good = format!("{text} {place}");
                Difference::new(spot, Kind::Changed, text, undo)
                    .wanted(good)
                    .because(&rule.why)
            }
        });
    }
}

/// Does it matter that a rule stands in one place of a chain and not in that which it has among
/// others: does it pass by a rule that does another thing to the same packets?
fn matters(rule: &Rule, (now, n): (&[Shared<Rule>], usize), goal: &[Shared<Rule>]) -> bool {
    let place = |rule: &Rule| goal.iter().position(|r| **r == *rule);
    let own = place(rule);
    let mut others = now.iter().enumerate().filter(|(i, _)| *i != n);
    others.any(|(i, other)| {
        let passed = (i < n) != (place(other) < own);
        passed && other.target != rule.target && !are_apart(rule, other)
    })
}

/// Are two rules about different devices? On a bridge, about different ports of the cloud: the
/// devices of one port have the start of its id in common.
fn are_apart(one: &Rule, other: &Rule) -> bool {
    let differ = |a: &Option<Maybe<String>>, b: &Option<Maybe<String>>| match (a, b) {
        (Some(a), Some(b)) => !a.not && !b.not && a.value != b.value,
        _ => false,
    };
    let (mine, theirs) = (bridged(one), bridged(other));
    let strangers = !mine.is_empty() && !theirs.is_empty() && mine.is_disjoint(&theirs);
    strangers || differ(&one.in_dev, &other.in_dev) || differ(&one.out_dev, &other.out_dev)
}

/// The ports of the cloud that a rule for bridged frames names, by the start of their ids.
fn bridged(rule: &Rule) -> BTreeSet<&str> {
    let devices = rule
        .conditions
        .iter()
        .filter_map(|condition| match condition {
            Condition::Physdev {
                in_dev, out_dev, ..
            } => Some([in_dev, out_dev]),
            _ => None,
        });
    let named = devices.flatten().flatten().filter(|dev| !dev.not);
    named.filter_map(|dev| dev.value.get(3..)).collect()
}

/// Put a rule behind the last of those that come before it.
fn insert_after(rules: &mut Vec<Shared<Rule>>, before: &[Shared<Rule>], new: Shared<Rule>) {
    let last = rules.iter().rposition(|r| before.contains(r));
    rules.insert(last.map_or(0, |place| place + 1), new);
}

/// Of rules the places of the most that are in the order of others.
fn in_place(now: &[Shared<Rule>], goal: &[Shared<Rule>]) -> Vec<usize> {
    let (rows, columns) = (now.len(), goal.len());
    // How many of the rules from one place on are in the order of the others from another on.
    let mut most = vec![vec![0; columns + 1]; rows + 1];
    for i in (0..rows).rev() {
        for j in (0..columns).rev() {
            most[i][j] = match now[i] == goal[j] {
                true => most[i + 1][j + 1] + 1,
                false => most[i + 1][j].max(most[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut stay) = (0, 0, Vec::new());
    while i < rows && j < columns {
        if now[i] == goal[j] {
            stay.push(i);
            (i, j) = (i + 1, j + 1);
        } else if most[i + 1][j] >= most[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    stay
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(words: &str) -> Vec<Shared<Rule>> {
        let text: String = words
            .split(' ')
            .map(|name| format!("-A INPUT -j {name}\n"))
            .collect();
        let tables =
            host::iptables::read_iptables(&format!("*filter\n:INPUT ACCEPT [0:0]\n{text}COMMIT\n"));
        tables.expect("a dump")["filter"].chains["INPUT"]
            .rules
            .clone()
    }

    #[test]
    fn the_fewest_rules_are_out_of_place() {
        for (now, goal, stay) in [
            ("a b c", "a b c", vec![0, 1, 2]),
            ("c a b", "a b c", vec![1, 2]),
            ("b c a", "a b c", vec![0, 1]),
            ("c a b c", "a b c", vec![1, 2, 3]),
        ] {
            assert_eq!(
                in_place(&rules(now), &rules(goal)),
                stay,
                "{now} for {goal}"
            );
        }
    }

    #[test]
    fn a_rule_that_was_moved_is_put_back_and_one_too_much_taken_out() {
        for (now, goal) in [
            ("c a b", "a b c"),
            ("b c a", "a b c"),
            ("c a b c", "a b c"),
            ("a a b", "a b"),
        ] {
            let chain = |words: &str| Chain {
                rules: rules(words),
                ..Chain::default()
            };
            let at = (
                NsName::root(),
                Family::V4,
                "filter".to_owned(),
                "INPUT".to_owned(),
            );
            let mut found = Vec::new();
            out_of_place("h", &at, &chain(now), &chain(goal), &mut found);
            assert_eq!(found.len(), 1, "{now} for {goal}: {found:?}");
            let mut state = HostState::new("h");
            *chain_mut(&mut state, &at) = chain(now);
            (found[0].undo)(&mut state);
            assert_eq!(
                chain_mut(&mut state, &at).rules,
                rules(goal),
                "{now} for {goal}"
            );
        }
    }
}

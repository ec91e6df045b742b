//! Sets of addresses: of remote groups and address groups that rules here name, by version of IP.
//!
//! A set of a group without members is empty, and a rule that names it takes nothing. A set of
//! networks cannot hold `/0`: that is its two halves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::{NsName, Shared, Why, ipset::Ipset, names, netns::Family, why::want};
use intent::{AddressGroup, state::Pair, view::Member};
use ipnet::IpNet;

use super::{Filtered, family_of};
use crate::Draft;

/// Whose addresses a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Group(intent::SecurityGroupId),
    Addresses(intent::AddressGroupId),
}

/// Sets as they were made, and what of: kept from one run to the next. In a group of thousands most
/// often one member comes.
#[derive(Debug, Default)]
pub(crate) struct Sets(BTreeMap<(Source, Family), Made>);

#[derive(Debug)]
struct Made {
    why: Why,
    from: Vec<Given>,
    set: Shared<Ipset>,
}

/// An item of the view that gives a set addresses.
#[derive(Debug, Clone)]
enum Given {
    Member(Arc<Member>),
    Addresses(Arc<AddressGroup>),
}

impl Given {
    fn is(&self, other: &Given) -> bool {
        match (self, other) {
            (Given::Member(one), Given::Member(other)) => Arc::ptr_eq(one, other),
            (Given::Addresses(one), Given::Addresses(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    fn add_to(&self, set: &mut Ipset, family: Family) {
        match self {
            Given::Member(member) => {
                let why = Why::of("port", member.port_id);
                insert(set, member.prefixes.iter(), family, &why);
            }
            Given::Addresses(group) => {
                let why = Why::of("address_group", group.id);
                insert(set, group.addresses.iter(), family, &why);
            }
        }
    }
}

pub(super) fn emit(draft: &mut Draft<'_>, sets: &mut Sets, ports: &[Filtered<'_>]) {
    let root = NsName::root();
    let mut before = std::mem::take(&mut sets.0);
    for ((source, family), why) in named(draft, ports) {
        let known = before.remove(&(source, family));
        let made = made(draft, known, (source, family), why);
        let name = match source {
            Source::Group(id) => names::ipset(&id.to_string(), family),
            Source::Addresses(id) => names::ipset(&id.to_string(), family),
        };
        let set = made.set.clone();
        sets.0.insert((source, family), made);
        let refused = want(&mut draft.netns(&root).ipsets, name.clone(), set);
        draft.contradiction(refused, format!("set {name}"));
    }
}

/// The set as it was, with what came since; anew when something went.
fn made(
    draft: &Draft<'_>,
    known: Option<Made>,
    (source, family): (Source, Family),
    why: Why,
) -> Made {
    let from = given(draft, source);
    let came = known.as_ref().and_then(|made| came(&made.from, &from));
    let (mut set, new) = match (known, came) {
        (Some(made), Some(came)) if came.is_empty() && made.why.causes == why.causes => {
            return made;
        }
        (Some(made), Some(came)) => (made.set, came),
        _ => (Ipset::networks(family, why.clone()).into(), from.clone()),
    };
    set.why.clone_from(&why);
    for given in new {
        given.add_to(&mut set, family);
    }
    Made { why, from, set }
}

/// What came to a list, when nothing went.
fn came(before: &[Given], now: &[Given]) -> Option<Vec<Given>> {
    let mut before = before.iter().peekable();
    let is_new = |given: &&Given| before.next_if(|old| old.is(given)).is_none();
    let came: Vec<Given> = now.iter().filter(is_new).cloned().collect();
    before.next().is_none().then_some(came)
}

/// What gives a set its addresses, in order.
fn given(draft: &Draft<'_>, source: Source) -> Vec<Given> {
    match source {
        Source::Group(group) => {
            let from = Pair(group, intent::Id::new(Default::default()));
            let members = draft.view.members.range(from..);
            let members = members.take_while(|(key, _)| key.0 == group);
            members
                .map(|(_, member)| Given::Member(member.clone()))
                .collect()
        }
        Source::Addresses(id) => {
            let found = draft.view.address_groups.get(&id).into_iter();
            found.cloned().map(Given::Addresses).collect()
        }
    }
}

/// The sets that the rules of ports here name, and the rules that do.
fn named(draft: &Draft<'_>, ports: &[Filtered<'_>]) -> BTreeMap<(Source, Family), Why> {
    let filtered = ports.iter().filter(|port| !port.trusted);
    let groups: BTreeSet<_> = filtered
        .flat_map(|port| &port.port.security_groups)
        .collect();
    let mut sets: BTreeMap<(Source, Family), Why> = BTreeMap::new();
    let rules = draft.view.security_group_rules.values();
    for rule in rules.filter(|rule| groups.contains(&rule.security_group_id)) {
        let group = rule.matches.remote_group_id.map(Source::Group);
        let addresses = rule.matches.remote_address_group_id.map(Source::Addresses);
        if let Some(source) = group.or(addresses) {
            let key = (source, family_of(rule.matches.ethertype));
            let why = Why::of("security_group_rule", rule.id);
            sets.entry(key).or_default().merge(why);
        }
    }
    sets
}

fn insert<'a>(
    set: &mut Ipset,
    prefixes: impl Iterator<Item = &'a IpNet>,
    family: Family,
    why: &Why,
) {
    for prefix in prefixes.filter(|prefix| Family::of(prefix.addr()) == family) {
        let halves = match (prefix.prefix_len(), family) {
            (0, Family::V4) => vec!["0.0.0.0/1".to_owned(), "128.0.0.0/1".to_owned()],
            (0, Family::V6) => vec!["::/1".to_owned(), "8000::/1".to_owned()],
            _ => vec![prefix.to_string()],
        };
        for member in halves {
            set.insert(&member, why.clone());
        }
    }
}

//! Sets of addresses: of remote groups and address groups that rules here name, by version of IP.
//!
//! A set of a group without members is empty, and a rule that names it takes nothing. A set of
//! networks cannot hold `/0`: that is its two halves.

use std::collections::{BTreeMap, BTreeSet};

use host::{NsName, Why, ipset::Ipset, names, netns::Family, why::want};
use intent::state::Pair;
use ipnet::IpNet;

use super::{Filtered, family_of};
use crate::Draft;

/// Whose addresses a set holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Group(intent::SecurityGroupId),
    Addresses(intent::AddressGroupId),
}

pub(super) fn emit(draft: &mut Draft<'_>, ports: &[Filtered<'_>]) {
    let root = NsName::root();
    for ((source, family), why) in named(draft, ports) {
        let mut set = Ipset::networks(family, why);
        let id = match source {
            Source::Group(id) => {
                group_members(draft, &mut set, id, family);
                id.to_string()
            }
            Source::Addresses(id) => {
                addresses(draft, &mut set, id, family);
                id.to_string()
            }
        };
        let name = names::ipset(&id, family);
        let refused = want(&mut draft.netns(&root).ipsets, name.clone(), set.into());
        draft.contradiction(refused, format!("set {name}"));
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

fn group_members(
    draft: &Draft<'_>,
    set: &mut Ipset,
    group: intent::SecurityGroupId,
    family: Family,
) {
    let from = Pair(group, intent::Id::new(Default::default()));
    let members = draft.view.members.range(from..);
    for (_, member) in members.take_while(|(key, _)| key.0 == group) {
        for prefix in &member.prefixes {
            insert(set, *prefix, family, &Why::of("port", member.port_id));
        }
    }
}

fn addresses(draft: &Draft<'_>, set: &mut Ipset, id: intent::AddressGroupId, family: Family) {
    let Some(group) = draft.view.address_groups.get(&id) else {
        return;
    };
    for prefix in &group.addresses {
        insert(set, *prefix, family, &Why::of("address_group", id));
    }
}

fn insert(set: &mut Ipset, prefix: IpNet, family: Family, why: &Why) {
    if Family::of(prefix.addr()) != family {
        return;
    }
    let halves = match (prefix.prefix_len(), family) {
        (0, Family::V4) => vec!["0.0.0.0/1".to_owned(), "128.0.0.0/1".to_owned()],
        (0, Family::V6) => vec!["::/1".to_owned(), "8000::/1".to_owned()],
        _ => vec![prefix.to_string()],
    };
    for member in halves {
        set.insert(&member, why.clone());
    }
}

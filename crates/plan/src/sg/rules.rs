//! A group's rules as iptables says them.
//!
//! Every rule lets something pass, so their order says nothing: they stand in the order of their
//! groups' and their own ids. Two rules that say the same are one, with both reasons.

use std::collections::BTreeMap;

use host::{
    Why,
    iptables::{Rule, protocol_name, read_rule},
    names,
    netns::Family,
};
use intent::{Direction, Port, SecurityGroupId, SecurityGroupRule};

use super::family_of;
use crate::Draft;

/// Every group's rules as iptables has them, read once for all ports.
pub(super) struct Groups {
    rules: BTreeMap<(SecurityGroupId, Direction, Family), Vec<Spoken>>,
}

/// A rule in the words of iptables, which tell equal ones, and read.
struct Spoken {
    text: String,
    rule: Rule,
}

impl Groups {
    pub(super) fn read(draft: &mut Draft<'_>) -> Groups {
        let mut rules: BTreeMap<_, Vec<Spoken>> = BTreeMap::new();
        for intent in draft.view.security_group_rules.values() {
            let family = family_of(intent.matches.ethertype);
            let text = text(intent, family);
            match read_rule(&text) {
                Ok(mut rule) => {
                    rule.why = Why::of("security_group_rule", intent.id);
                    let key = (intent.security_group_id, intent.matches.direction, family);
                    rules.entry(key).or_default().push(Spoken { text, rule });
                }
                Err(error) => {
                    let about = format!("security group rule {}", intent.id);
                    draft.note(about, format!("{text}: {error}"));
                }
            }
        }
        Groups { rules }
    }

    /// A port's rules of one direction, each with the rules of intent behind it.
    pub(super) fn of_port(&self, port: &Port, family: Family, direction: Direction) -> Vec<Rule> {
        let mut rules: Vec<Rule> = Vec::new();
        let mut said: BTreeMap<&str, usize> = BTreeMap::new();
        let groups = port.security_groups.iter();
        let spoken = groups.filter_map(|group| self.rules.get(&(*group, direction, family)));
        for Spoken { text, rule } in spoken.flatten() {
            match said.get(text.as_str()) {
                Some(known) => rules[*known].why.merge(rule.why.clone()),
                None => {
                    said.insert(text, rules.len());
                    rules.push(rule.clone());
                }
            }
        }
        rules
    }
}

/// The rule's own words, without the chain.
fn text(rule: &SecurityGroupRule, family: Family) -> String {
    let from_outside = rule.matches.direction == Direction::Ingress;
    let mut words = Vec::new();
    if let Some(prefix) = rule.matches.normalized_cidr() {
        let side = if from_outside { "-s" } else { "-d" };
        words.push(format!("{side} {prefix}"));
    }
    words.extend(protocol(rule, family));
    if let Some(set) = remote_set(rule, family) {
        let side = if from_outside { "src" } else { "dst" };
        words.push(format!("-m set --match-set {set} {side}"));
    }
    words.push("-j RETURN".to_owned());
    words.join(" ")
}

/// The set of the addresses that the rule speaks of, when it names a group of them.
fn remote_set(rule: &SecurityGroupRule, family: Family) -> Option<String> {
    let group = rule.matches.remote_group_id.map(|id| id.to_string());
    let addresses = rule
        .matches
        .remote_address_group_id
        .map(|id| id.to_string());
    group.or(addresses).map(|id| names::ipset(&id, family))
}

/// The protocol by the name that iptables has for it; `any` is none.
fn protocol_of(rule: &SecurityGroupRule, family: Family) -> Option<String> {
    let name = rule.matches.protocol.as_deref()?;
    match (name, family) {
        ("any" | "0" | "-1" | "", _) => None,
        ("icmp" | "1", Family::V6) => Some("ipv6-icmp".to_owned()),
        _ => Some(protocol_name(name)),
    }
}

/// `-p tcp -m tcp --dport 22`: the protocol, and the ports or the ICMP type that are named.
fn protocol(rule: &SecurityGroupRule, family: Family) -> Option<String> {
    let name = protocol_of(rule, family)?;
    let plain = format!("-p {name}");
    let (first, last) = (rule.matches.port_range_min, rule.matches.port_range_max);
    let Some(first) = first else {
        return Some(plain);
    };
    Some(match name.as_str() {
        "icmp" | "ipv6-icmp" => {
            let (module, option) = match name.as_str() {
                "icmp" => ("icmp", "--icmp-type"),
                _ => ("icmp6", "--icmpv6-type"),
            };
            let code = last.map(|code| format!("/{code}")).unwrap_or_default();
            format!("{plain} -m {module} {option} {first}{code}")
        }
        "tcp" | "udp" | "sctp" | "dccp" | "udplite" => match last.unwrap_or(first) {
            last if last == first => format!("{plain} -m {name} --dport {first}"),
            last => format!("{plain} -m {name} -m multiport --dports {first}:{last}"),
        },
        _ => plain,
    })
}

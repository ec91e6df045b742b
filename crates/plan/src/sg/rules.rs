//! A group's rules as iptables says them.
//!
//! Every rule lets something pass, so their order says nothing: they stand in the order of their
//! groups' and their own ids. Two rules that say the same are one, with both reasons.

use host::{Why, iptables::protocol_name, names, netns::Family};
use intent::{Direction, SecurityGroupId, SecurityGroupRule};

use super::{Filtered, family_of};
use crate::Draft;

/// A port's rules of one direction, each with the rules of intent behind it.
pub(super) fn of_port(
    draft: &Draft<'_>,
    port: &Filtered<'_>,
    family: Family,
    direction: Direction,
) -> Vec<(String, Why)> {
    let mut texts: Vec<(String, Why)> = Vec::new();
    for group in &port.port.security_groups {
        for rule in of_group(draft, *group) {
            if rule.matches.direction != direction || family_of(rule.matches.ethertype) != family {
                continue;
            }
            let text = text(rule, family);
            let why = Why::of("security_group_rule", rule.id);
            match texts.iter_mut().find(|(known, _)| *known == text) {
                Some((_, reasons)) => reasons.merge(why),
                None => texts.push((text, why)),
            }
        }
    }
    texts
}

/// A group's rules, in the order of their ids.
pub(super) fn of_group<'a>(
    draft: &Draft<'a>,
    group: SecurityGroupId,
) -> impl Iterator<Item = &'a SecurityGroupRule> + use<'a> {
    let rules = draft.view.security_group_rules.values().map(|rule| &**rule);
    rules.filter(move |rule| rule.security_group_id == group)
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

//! A group's rules as iptables says them.
//!
//! Every rule lets something pass, so their order says nothing: they stand in the order of their
//! groups' and their own ids. Two rules that say the same are one, with both reasons.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::{
    Shared, Why,
    iptables::{Rule, protocol_name, read_rule},
    names,
    netns::Family,
};
use intent::{Direction, Port, SecurityGroupId, SecurityGroupRule, SecurityGroupRuleId};

use super::family_of;
use crate::Draft;

/// Every group's rules as iptables has them, read once for all ports. What did not change since the
/// compiler ran last is what it was.
#[derive(Debug, Default)]
pub(super) struct Groups {
    rules: BTreeMap<SecurityGroupId, Shared<GroupRules>>,
    read: BTreeMap<SecurityGroupRuleId, (Arc<SecurityGroupRule>, Shared<Spoken>)>,
}

/// One group's.
pub(super) type GroupRules = BTreeMap<(Direction, Family), Vec<Shared<Spoken>>>;

/// A rule in the words of iptables, which tell equal ones, and read.
#[derive(Debug, PartialEq)]
pub(super) struct Spoken {
    id: SecurityGroupRuleId,
    text: String,
    rule: Shared<Rule>,
}

impl Groups {
    /// Bring what was read before up to the draft's view.
    pub(super) fn update(&mut self, draft: &mut Draft<'_>) {
        let before = std::mem::take(&mut self.read);
        let mut rules: BTreeMap<SecurityGroupId, GroupRules> = BTreeMap::new();
        for (id, intent) in &draft.view.security_group_rules {
            let known = before.get(id).filter(|(was, _)| Arc::ptr_eq(was, intent));
            let known = known.map(|(_, spoken)| spoken.clone());
            if let Some(spoken) = known.or_else(|| spoken(draft, intent)) {
                self.read.insert(*id, (intent.clone(), spoken.clone()));
                let family = family_of(intent.matches.ethertype);
                let group = rules.entry(intent.security_group_id).or_default();
                let list = group.entry((intent.matches.direction, family));
                list.or_default().push(spoken);
            }
        }
        let before = std::mem::take(&mut self.rules);
        let same = |(id, rules): (SecurityGroupId, GroupRules)| {
            let known = before.get(&id).filter(|known| ***known == rules);
            (id, known.cloned().unwrap_or_else(|| rules.into()))
        };
        self.rules = rules.into_iter().map(same).collect();
    }

    /// What a port's rules are made of.
    pub(super) fn groups_of(&self, port: &Port) -> Vec<Option<Shared<GroupRules>>> {
        let groups = port.security_groups.iter();
        groups.map(|id| self.rules.get(id).cloned()).collect()
    }

    /// A port's rules of one direction, each with the rules of intent behind it.
    pub(super) fn of_port(
        &self,
        port: &Port,
        family: Family,
        direction: Direction,
    ) -> Vec<Shared<Rule>> {
        let mut rules: Vec<Shared<Rule>> = Vec::new();
        let mut said: BTreeMap<&str, usize> = BTreeMap::new();
        let groups = port.security_groups.iter();
        let groups = groups.filter_map(|group| self.rules.get(group));
        let spoken = groups.filter_map(|rules| rules.get(&(direction, family)));
        for spoken in spoken.flatten() {
            let Spoken { text, rule, .. } = &**spoken;
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

fn spoken(draft: &mut Draft<'_>, intent: &SecurityGroupRule) -> Option<Shared<Spoken>> {
    let text = text(intent, family_of(intent.matches.ethertype));
    match read_rule(&text) {
        Ok(mut rule) => {
            rule.why = Why::of("security_group_rule", intent.id);
            let (id, rule) = (intent.id, rule.into());
            Some(Spoken { id, text, rule }.into())
        }
        Err(error) => {
            let about = format!("security group rule {}", intent.id);
            draft.note(about, format!("{text}: {error}"));
            None
        }
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

//! The smallest scripts that turn one set of filters into another.
use std::fmt::Write;

use host::Shared;
use host::diff::{Put, diff};
use host::ipset::{Ipset, Ipsets, print_add, print_create};
use host::iptables::{Chain, Iptables, Rule, Table, print_rule};

/// Up to so many rules of a chain are changed one by one.
const FEW: usize = 8;

/// What `iptables-restore --noflush` reads to turn `have` into `want`; empty when nothing differs.
/// A chain of ours that differs much is written anew; in a built-in chain, which others use too,
/// our rules go and come one by one.
pub fn iptables(have: &Iptables, want: &Iptables) -> String {
    let mut out = String::new();
    let none = Table::default();
    let names: std::collections::BTreeSet<&String> = have.keys().chain(want.keys()).collect();
    for name in names {
        let of = |tables: &Iptables| tables.get(name).unwrap_or(&none).clone();
        let lines = table(&of(have), &of(want));
        if !lines.is_empty() {
            let _ = write!(out, "*{name}\n{lines}COMMIT\n");
        }
    }
    out
}

fn table(have: &Table, want: &Table) -> String {
    let difference = diff(&have.chains, &want.chains);
    let (mut declared, mut rules, mut gone) = (String::new(), String::new(), String::new());
    for put in &difference.put {
        match put.new.policy {
            Some(_) => built_in(put, &mut rules),
            None => own(put, &mut declared, &mut rules),
        }
    }
    for (name, chain) in &difference.remove {
        if chain.policy.is_some() {
            chain
                .rules
                .iter()
                .for_each(|rule| delete(name, rule, &mut rules));
        } else {
            let _ = writeln!(declared, ":{name} - [0:0]");
            let _ = writeln!(gone, "-X {name}");
        }
    }
    declared + &rules + &gone
}

/// What differs between two lists: they begin alike and end alike.
pub(crate) struct Middle<'a, T> {
    start: usize,
    old: &'a [T],
    new: &'a [T],
}

impl<'a, T: PartialEq> Middle<'a, T> {
    pub(crate) fn of(old: &'a [T], new: &'a [T]) -> Middle<'a, T> {
        let same = |(old, new): &(&T, &T)| old == new;
        let start = old.iter().zip(new).take_while(same).count();
        let (old, new) = (&old[start..], &new[start..]);
        let end = old.iter().rev().zip(new.iter().rev());
        let end = end.take_while(same).count();
        Middle {
            start,
            old: &old[..old.len() - end],
            new: &new[..new.len() - end],
        }
    }

    pub(crate) fn differ(&self) -> (&'a [T], &'a [T]) {
        (self.old, self.new)
    }
}

/// A chain of ours: a few rules go and come one by one, more and it is written anew.
fn own(put: &Put<'_, String, Shared<Chain>>, declared: &mut String, rules: &mut String) {
    let (name, new) = (put.key, &put.new.rules);
    if let Some(old) = put.old {
        let middle = Middle::of(&old.rules, new);
        let (gone, come) = middle.differ();
        let few = gone.len() + come.len() <= FEW.min(new.len().saturating_sub(1));
        // A rule is taken away by what it says: one that stands twice might go in the wrong place.
        let once = |rule: &&Shared<Rule>| old.rules.iter().filter(|it| it == rule).count() == 1;
        if few && gone.iter().all(|rule| once(&rule)) {
            gone.iter().for_each(|rule| delete(name, rule, rules));
            for (n, rule) in come.iter().enumerate() {
                insert(name, middle.start + n, rule, rules);
            }
            return;
        }
    }
    // Declaring a chain empties it.
    let _ = writeln!(declared, ":{name} - [0:0]");
    for rule in new {
        let _ = writeln!(rules, "{}", print_rule(name, rule));
    }
}

fn insert(chain: &str, place: usize, rule: &Rule, rules: &mut String) {
    let line = print_rule(chain, rule);
    let rest = &line["-A ".len() + chain.len()..];
    let _ = writeln!(rules, "-I {chain} {}{rest}", place + 1);
}

fn delete(chain: &str, rule: &Rule, rules: &mut String) {
    let _ = writeln!(rules, "-D{}", &print_rule(chain, rule)["-A".len()..]);
}

/// Ours stand at the top, in order.
fn built_in(put: &Put<'_, String, Shared<Chain>>, rules: &mut String) {
    let old = put.old.map_or(&[][..], |chain| &chain.rules);
    let kept = old
        .iter()
        .zip(&put.new.rules)
        .take_while(|(old, new)| old == new)
        .count();
    old[kept..]
        .iter()
        .for_each(|rule| delete(put.key, rule, rules));
    for (n, rule) in put.new.rules.iter().enumerate().skip(kept) {
        insert(put.key, n, rule, rules);
    }
}

/// What `ipset restore` reads before the rules change, and after.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SetScripts {
    pub before: String,
    pub after: String,
}

pub fn ipsets(have: &Ipsets, want: &Ipsets) -> SetScripts {
    let mut scripts = SetScripts::default();
    let difference = diff(have, want);
    for put in &difference.put {
        match put.old {
            Some(old) if (&old.kind, &old.family) == (&put.new.kind, &put.new.family) => {
                members(put.key, old, put.new, &mut scripts.before);
            }
            Some(_) => replace(put.key, put.new, &mut scripts.before),
            None => create(put.key, put.new, &mut scripts.before),
        }
    }
    for (name, _) in &difference.remove {
        let _ = writeln!(scripts.after, "destroy {name}");
    }
    scripts
}

fn create(name: &str, set: &Ipset, out: &mut String) {
    let _ = writeln!(out, "{}", print_create(name, set));
    for (member, options) in &set.members {
        let _ = writeln!(out, "{}", print_add(name, member, options));
    }
}

/// A set of another kind can't be changed into this one: it changes places with a new one.
fn replace(name: &str, set: &Ipset, out: &mut String) {
    let new = format!("{name}-n");
    create(&new, set, out);
    let _ = writeln!(out, "swap {new} {name}\ndestroy {new}");
}

fn members(name: &str, old: &Ipset, new: &Ipset, out: &mut String) {
    let difference = diff(&old.members, &new.members);
    for (member, _) in &difference.remove {
        let _ = writeln!(out, "del {name} {member}");
    }
    for put in &difference.put {
        if put.old.is_some() {
            let _ = writeln!(out, "del {name} {}", put.key);
        }
        let _ = writeln!(out, "{}", print_add(name, put.key, put.new));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::ipset::read_ipsets;
    use host::iptables::read_iptables;

    fn script(have: &str, want: &str) -> String {
        let read = |text| read_iptables(text).expect("a dump");
        iptables(&read(have), &read(want))
    }

    #[test]
    fn only_chains_that_differ_are_written() {
        let have = "*filter\n:a - [0:0]\n:b - [0:0]\n:old - [0:0]\n-A a -j b\n-A b -j ACCEPT\n-A old -j b\nCOMMIT\n";
        let want = "*filter\n:a - [0:0]\n:b - [0:0]\n:new - [0:0]\n-A a -j new\n-A b -j ACCEPT\n-A new -j b\nCOMMIT\n";
        assert_eq!(
            script(have, want),
            "*filter\n:a - [0:0]\n:new - [0:0]\n:old - [0:0]\n-A a -j new\n-A new -j b\n-X old\nCOMMIT\n"
        );
        assert_eq!(script(want, want), "");
    }

    #[test]
    fn a_rule_in_a_long_chain_goes_or_comes_alone() {
        let have = "*filter\n:a - [0:0]\n-A a -p tcp -j ACCEPT\n-A a -p udp -j ACCEPT\n-A a -p icmp -j ACCEPT\n-A a -j DROP\nCOMMIT\n";
        let want = "*filter\n:a - [0:0]\n-A a -p tcp -j ACCEPT\n-A a -p sctp -j ACCEPT\n-A a -p icmp -j ACCEPT\n-A a -j DROP\nCOMMIT\n";
        assert_eq!(
            script(have, want),
            "*filter\n-D a -p udp -j ACCEPT\n-I a 2 -p sctp -j ACCEPT\nCOMMIT\n"
        );
        let (old, new) = ([1, 2, 2, 3], [1, 2, 3]);
        assert_eq!(Middle::of(&old, &new).differ(), (&[2][..], &[][..]));
    }

    #[test]
    fn in_a_built_in_chain_ours_come_first_one_by_one() {
        let have = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j b\nCOMMIT\n";
        let want = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j a\n-A FORWARD -j b\nCOMMIT\n";
        assert_eq!(
            script(have, want),
            "*filter\n-D FORWARD -j b\n-I FORWARD 1 -j a\n-I FORWARD 2 -j b\nCOMMIT\n"
        );
    }

    #[test]
    fn a_member_is_one_line() {
        let read = |text| read_ipsets(text).expect("sets");
        let have = read(
            "create A hash:net family inet\nadd A 10.0.0.1\ncreate B hash:net family inet\ncreate C hash:net family inet\n",
        );
        let want = read(
            "create A hash:net family inet\nadd A 10.0.0.2\ncreate C hash:net family inet6\ncreate D hash:ip family inet\nadd D 10.0.0.3\n",
        );
        let scripts = ipsets(&have, &want);
        assert_eq!(
            scripts.before,
            "del A 10.0.0.1\nadd A 10.0.0.2\n\
             create C-n hash:net family inet6\nswap C-n C\ndestroy C-n\n\
             create D hash:ip family inet\nadd D 10.0.0.3\n"
        );
        assert_eq!(scripts.after, "destroy B\n");
        assert_eq!(ipsets(&want, &want), SetScripts::default());
    }
}

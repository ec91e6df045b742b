//! The smallest scripts that turn one set of filters into another.
use std::collections::BTreeMap;
use std::fmt::Write;

use host::diff::{Put, diff};
use host::ipset::{Ipset, print_add, print_create};
use host::iptables::{Chain, Iptables, Table, print_rule};

/// What `iptables-restore --noflush` reads to turn `have` into `want`; empty when nothing differs.
/// A chain of ours that differs is written anew; in a built-in chain, which others use too, our
/// rules go and come one by one.
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

fn own(put: &Put<'_, String, Chain>, declared: &mut String, rules: &mut String) {
    // Declaring a chain empties it.
    let _ = writeln!(declared, ":{} - [0:0]", put.key);
    for rule in &put.new.rules {
        let _ = writeln!(rules, "{}", print_rule(put.key, rule));
    }
}

fn delete(chain: &str, rule: &host::iptables::Rule, rules: &mut String) {
    let _ = writeln!(rules, "-D{}", &print_rule(chain, rule)["-A".len()..]);
}

/// Ours stand at the top, in order.
fn built_in(put: &Put<'_, String, Chain>, rules: &mut String) {
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
        let line = print_rule(put.key, rule);
        let rest = &line["-A ".len() + put.key.len()..];
        let _ = writeln!(rules, "-I {} {}{rest}", put.key, n + 1);
    }
}

/// What `ipset restore` reads before the rules change, and after.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SetScripts {
    pub before: String,
    pub after: String,
}

pub fn ipsets(have: &BTreeMap<String, Ipset>, want: &BTreeMap<String, Ipset>) -> SetScripts {
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

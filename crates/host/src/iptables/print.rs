//! Printing rules and tables as `iptables-save` prints them and `iptables-restore` takes them.
use std::fmt;

use ipnet::IpNet;

use super::words::word;
use super::{Chain, Iptables, Maybe, Rule, Table};

fn push(out: &mut String, name: &str, not: bool, value: &str) {
    out.push_str(if not { " ! " } else { " " });
    out.push_str(name);
    out.push(' ');
    out.push_str(value);
}

fn push_net(out: &mut String, name: &str, net: Option<&Maybe<IpNet>>) {
    if let Some(net) = net {
        push(out, name, net.not, &net.value.to_string());
    }
}

fn push_name(out: &mut String, name: &str, value: Option<&Maybe<String>>) {
    if let Some(value) = value {
        push(out, name, value.not, &word(&value.value));
    }
}

impl fmt::Display for Rule {
    /// The rule without its chain: `-s 10.0.0.1/32 -j ACCEPT`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        push_net(&mut out, "-s", self.src.as_ref());
        push_net(&mut out, "-d", self.dst.as_ref());
        push_name(&mut out, "-i", self.in_dev.as_ref());
        push_name(&mut out, "-o", self.out_dev.as_ref());
        push_name(&mut out, "-p", self.proto.as_ref());
        if let Some(fragment) = &self.fragment {
            out.push_str(if fragment.not { " ! -f" } else { " -f" });
        }
        for condition in &self.conditions {
            condition.print(&mut out);
        }
        self.target.print(&mut out);
        f.write_str(out.trim_start())
    }
}

/// A rule with its chain, as iptables-save and `iptables -S` print it.
pub fn print_rule(chain: &str, rule: &Rule) -> String {
    let text = rule.to_string();
    let space = if text.is_empty() { "" } else { " " };
    format!("-A {}{space}{text}", word(chain))
}

/// The chain's line: `:NAME POLICY [0:0]`.
pub fn print_chain(name: &str, chain: &Chain) -> String {
    let policy = chain.policy.as_deref().unwrap_or("-");
    let (packets, bytes) = chain.counters.0.unwrap_or_default();
    format!(":{name} {policy} [{packets}:{bytes}]")
}

/// A table, whole, as `iptables-restore` takes it.
pub fn print_table(name: &str, table: &Table) -> String {
    let mut out = format!("*{name}\n");
    for (name, chain) in &table.chains {
        out.push_str(&print_chain(name, chain));
        out.push('\n');
    }
    for (name, chain) in &table.chains {
        for rule in &chain.rules {
            out.push_str(&print_rule(name, rule));
            out.push('\n');
        }
    }
    out.push_str("COMMIT\n");
    out
}

/// All tables.
pub fn print_iptables(tables: &Iptables) -> String {
    let table = |(name, table): (&String, &Table)| print_table(name, table);
    tables.iter().map(table).collect()
}

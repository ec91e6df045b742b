//! The bare tools doing the same work once: what stands on the host is printed before and after, and
//! what came is given to `ovs-ofctl`, `ovs-vsctl`, `iptables-restore` and `ipset restore`, one call
//! each.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    io,
    time::{Duration, Instant},
};

use super::{Machine, feed, run};

const BRIDGES: [&str; 2] = ["br-int", "br-tun"];

/// What the tools print of a host.
#[derive(Default)]
pub(crate) struct Dump {
    flows: BTreeMap<&'static str, BTreeSet<String>>,
    /// By program: tables, their chains, the rules of each.
    rules: BTreeMap<&'static str, Tables>,
    sets: BTreeSet<String>,
    /// `tag` of every port.
    tags: BTreeMap<String, String>,
}

type Tables = BTreeMap<String, BTreeMap<String, Vec<String>>>;

impl Dump {
    pub(crate) fn read(machine: &Machine) -> io::Result<Dump> {
        let mut dump = Dump::default();
        for bridge in BRIDGES {
            let text = machine.ofctl(&["dump-flows"], bridge, &["--no-stats"])?;
            let lines = text.lines().map(|line| line.trim().to_owned());
            dump.flows.insert(bridge, lines.collect());
        }
        for (save, restore) in [
            ("iptables-save", "iptables-restore"),
            ("ip6tables-save", "ip6tables-restore"),
        ] {
            dump.rules.insert(restore, tables(&run(&[save])?));
        }
        dump.sets = run(&["ipset", "save"])?
            .lines()
            .map(str::to_owned)
            .collect();
        let tags = machine.vsctl(&[
            "--columns=name,tag",
            "--format=csv",
            "--no-headings",
            "list",
            "Port",
        ])?;
        let pairs = tags.lines().filter_map(|line| line.split_once(','));
        let tagged = pairs.filter(|(_, tag)| *tag != "[]");
        dump.tags = tagged
            .map(|(name, tag)| (name.to_owned(), tag.to_owned()))
            .collect();
        Ok(dump)
    }

    /// How much it is: flows and rules.
    pub(crate) fn size(&self) -> (usize, usize) {
        let tables = self.rules.values().flat_map(BTreeMap::values);
        let rules = tables.flat_map(BTreeMap::values).map(Vec::len).sum();
        (self.flows.values().map(BTreeSet::len).sum(), rules)
    }

    /// What came since `before`, done by the tools; how long that took.
    pub(crate) fn done_by_tools(&self, before: &Dump, machine: &Machine) -> io::Result<Duration> {
        let mut scripts = Vec::new();
        for (program, tables) in &self.rules {
            let none = Tables::new();
            let old = before.rules.get(program).unwrap_or(&none);
            scripts.push((*program, restore(old, tables)));
        }
        let sets: String = lines(self.sets.difference(&before.sets));
        let mut files = Vec::new();
        let none = BTreeSet::new();
        for (bridge, flows) in &self.flows {
            let new = flows.difference(before.flows.get(bridge).unwrap_or(&none));
            let text = lines(new);
            if !text.is_empty() {
                let path = machine.path(&format!("flows-{bridge}"));
                std::fs::write(&path, text)?;
                files.push((*bridge, path.display().to_string()));
            }
        }
        let mut set_tags = Vec::new();
        for (port, tag) in &self.tags {
            if before.tags.get(port) != Some(tag) {
                let tag = format!("tag={tag}");
                set_tags
                    .extend(["--", "--if-exists", "set", "Port", port, &tag].map(str::to_owned));
            }
        }
        let begun = Instant::now();
        if !sets.is_empty() {
            feed(&["ipset", "restore", "-!"], &sets)?;
        }
        for (program, script) in scripts.iter().filter(|(_, script)| !script.is_empty()) {
            feed(&[program, "--noflush", "--wait"], script)?;
        }
        if !set_tags.is_empty() {
            machine.vsctl(&set_tags.iter().map(String::as_str).collect::<Vec<_>>())?;
        }
        for (bridge, path) in &files {
            machine.ofctl(&["--bundle", "add-flows"], bridge, &[path])?;
        }
        Ok(begun.elapsed())
    }
}

fn lines<'a>(lines: impl Iterator<Item = &'a String>) -> String {
    lines.fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{line}");
        text
    })
}

fn tables(text: &str) -> Tables {
    let mut tables = Tables::new();
    let mut table = String::new();
    for line in text.lines() {
        let chains = tables.entry(table.clone()).or_default();
        if let Some(name) = line.strip_prefix('*') {
            name.clone_into(&mut table);
        } else if let Some(chain) = line.strip_prefix(':') {
            let name = chain.split(' ').next().unwrap_or_default();
            chains.entry(name.to_owned()).or_default();
        } else if let Some(rule) = line.strip_prefix("-A ") {
            let name = rule.split(' ').next().unwrap_or_default();
            chains
                .entry(name.to_owned())
                .or_default()
                .push(line.to_owned());
        }
    }
    tables.retain(|_, chains| !chains.is_empty());
    tables
}

/// New chains, and new rules at the end of their chains: it costs the same wherever they stand.
fn restore(before: &Tables, after: &Tables) -> String {
    let mut out = String::new();
    let (no_table, no_rules) = (BTreeMap::new(), Vec::new());
    for (table, chains) in after {
        let old = before.get(table).unwrap_or(&no_table);
        let mut text = String::new();
        let built_in = |name: &str| name.bytes().all(|c| c.is_ascii_uppercase());
        for name in chains.keys() {
            if !old.contains_key(name) && !built_in(name) {
                let _ = writeln!(text, ":{name} - [0:0]");
            }
        }
        for (name, rules) in chains {
            let old: BTreeSet<&String> = old.get(name).unwrap_or(&no_rules).iter().collect();
            for rule in rules.iter().filter(|rule| !old.contains(rule)) {
                let _ = writeln!(text, "{rule}");
            }
        }
        if !text.is_empty() {
            let _ = write!(out, "*{table}\n{text}COMMIT\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_came_is_restored() {
        let before = tables("*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n-A INPUT -j a\nCOMMIT\n");
        let after = tables(
            "*filter\n:INPUT ACCEPT [0:0]\n:a - [0:0]\n:b - [0:0]\n-A INPUT -j a\n-A a -j b\nCOMMIT\n*raw\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n",
        );
        assert_eq!(
            restore(&before, &after),
            "*filter\n:b - [0:0]\n-A a -j b\nCOMMIT\n"
        );
        assert_eq!(restore(&after, &after), "");
    }
}

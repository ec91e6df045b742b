//! What differs between wanted and observed, thing by thing, each with the intent behind it: what a
//! dry run prints, what `doctor` reports, and by which a port is judged to be up.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use host::diff::diff;
use host::iptables::{Chain, Iptables, Table};
use host::netns::{Family, Netns};
use host::ovs::Bridge;
use host::{HostState, Shared, Why};

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drift {
    pub kind: Kind,
    /// The thing, as the tools name it.
    pub what: String,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Missing,
    Different,
    Unwanted,
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.kind {
            Kind::Missing => '+',
            Kind::Different => '~',
            Kind::Unwanted => '-',
        };
        write!(f, "{sign} {}", self.what)?;
        match self.why.causes.is_empty() {
            true => Ok(()),
            false => write!(f, "  # {}", self.why),
        }
    }
}

impl Drift {
    /// Is this object a reason for it?
    pub fn concerns(&self, kind: &str, id: &str) -> bool {
        self.why
            .causes
            .iter()
            .any(|cause| cause.kind == kind && cause.id == id)
    }
}

/// Everything that differs. Both sides must be cut to what is ours (see [`crate::ours`]).
pub fn drift(have: &HostState, want: &HostState) -> Vec<Drift> {
    let mut found = Found::default();
    for put in diff(&have.bridges, &want.bridges).put {
        match put.old {
            None => found.push(Kind::Missing, format!("bridge {}", put.key), &put.new.why),
            Some(old) => found.bridge(put.key, old, put.new),
        }
    }
    let none = Netns::default();
    let names: BTreeSet<_> = have.netns.keys().chain(want.netns.keys()).collect();
    for name in names {
        match (have.netns.get(name), want.netns.get(name)) {
            (Some(have), Some(want)) if have == want => {}
            (Some(have), Some(want)) => found.netns(name.as_str(), have, want),
            (None, Some(want)) if name.is_root() => found.netns(name.as_str(), &none, want),
            (None, Some(want)) => found.push(Kind::Missing, format!("namespace {name}"), &want.why),
            (Some(have), None) if name.is_root() => found.netns(name.as_str(), have, &none),
            (Some(_), None) => {
                found.push(Kind::Unwanted, format!("namespace {name}"), &Why::none())
            }
            (None, None) => {}
        }
    }
    found.map(
        &have.files,
        &want.files,
        |path| format!("file {path}"),
        |file| {
            let mut why = Why::none();
            file.lines
                .iter()
                .for_each(|line| why.merge(line.why.clone()));
            why
        },
    );
    found.map(
        &have.processes,
        &want.processes,
        |name| format!("process {name}"),
        |process| process.why.clone(),
    );
    found.0
}

#[derive(Default)]
struct Found(Vec<Drift>);

impl Found {
    fn push(&mut self, kind: Kind, what: String, why: &Why) {
        self.0.push(Drift {
            kind,
            what,
            why: why.clone(),
        });
    }

    fn map<K: Ord, V: PartialEq>(
        &mut self,
        have: &BTreeMap<K, V>,
        want: &BTreeMap<K, V>,
        name: impl Fn(&K) -> String,
        why: impl Fn(&V) -> Why,
    ) {
        let difference = diff(have, want);
        for (key, value) in &difference.remove {
            self.push(Kind::Unwanted, name(key), &why(value));
        }
        for put in &difference.put {
            let kind = if put.old.is_some() {
                Kind::Different
            } else {
                Kind::Missing
            };
            self.push(kind, name(put.key), &why(put.new));
        }
    }

    fn bridge(&mut self, name: &str, have: &Bridge, want: &Bridge) {
        let settings = |bridge: &Bridge| Bridge {
            ports: Shared::default(),
            flows: Shared::default(),
            ..bridge.clone()
        };
        if settings(have) != settings(want) {
            self.push(
                Kind::Different,
                format!("settings of bridge {name}"),
                &want.why,
            );
        }
        self.map(
            &have.ports,
            &want.ports,
            |port| format!("port {port} of {name}"),
            |port| port.why.clone(),
        );
        if have.flows == want.flows {
            return;
        }
        let difference = diff(&have.flows, &want.flows);
        let text = |key: &host::ovs::FlowKey, flow: &host::ovs::Flow| {
            let flows = BTreeMap::from([(key.clone(), flow.clone())]);
            format!("flow of {name}: {}", host::ovs::print_flows(&flows).trim())
        };
        for (key, flow) in &difference.remove {
            self.push(Kind::Unwanted, text(key, flow), &flow.why);
        }
        for put in &difference.put {
            let kind = if put.old.is_some() {
                Kind::Different
            } else {
                Kind::Missing
            };
            self.push(kind, text(put.key, put.new), &put.new.why);
        }
    }

    fn netns(&mut self, name: &str, have: &Netns, want: &Netns) {
        let place = if name == "root" {
            String::new()
        } else {
            format!(" in {name}")
        };
        self.filters(&place, have, want);
        self.map(
            &have.links,
            &want.links,
            |link| format!("link {link}{place}"),
            |link| link.why.clone(),
        );
        self.map(
            &have.addrs,
            &want.addrs,
            |key| format!("address {} on {}{place}", key.net, key.dev),
            |addr| addr.why.clone(),
        );
        let none = BTreeMap::new();
        let tables: BTreeSet<u32> = have
            .routes
            .keys()
            .chain(want.routes.keys())
            .copied()
            .collect();
        for table in tables {
            let of = |netns: &Netns| netns.routes.get(&table).unwrap_or(&none).clone();
            let text = |key: &host::netns::RouteKey| {
                let dev = key.dev.as_deref().unwrap_or("none");
                format!("route {} dev {dev} table {table}{place}", key.dst)
            };
            self.map(&of(have), &of(want), text, |route| route.why.clone());
        }
        self.map(
            &have.rules,
            &want.rules,
            |key| format!("ip rule {}{place}", key.priority),
            |action| action.why.clone(),
        );
        self.map(
            &have.neighbours,
            &want.neighbours,
            |key| format!("neighbour {} on {}{place}", key.ip, key.dev),
            |neighbour| neighbour.why.clone(),
        );
        self.map(
            &have.sysctls,
            &want.sysctls,
            |key| format!("sysctl {key}{place}"),
            |sysctl| sysctl.why.clone(),
        );
    }

    fn filters(&mut self, place: &str, have: &Netns, want: &Netns) {
        for put in diff(&have.ipsets, &want.ipsets).put {
            match put.old {
                None => self.push(
                    Kind::Missing,
                    format!("ipset {}{place}", put.key),
                    &put.new.why,
                ),
                Some(old) => self.map(
                    &old.members,
                    &put.new.members,
                    |member| format!("member {member} of ipset {}{place}", put.key),
                    |member| member.why.clone(),
                ),
            }
        }
        for (set, content) in diff(&have.ipsets, &want.ipsets).remove {
            self.push(Kind::Unwanted, format!("ipset {set}{place}"), &content.why);
        }
        let (no_tables, no_table) = (Iptables::new(), Table::default());
        for (family, program) in [(Family::V4, "iptables"), (Family::V6, "ip6tables")] {
            let of = |netns: &'_ Netns| netns.iptables.get(&family).unwrap_or(&no_tables).clone();
            let (have, want) = (of(have), of(want));
            let tables: BTreeSet<&String> = have.keys().chain(want.keys()).collect();
            for table in tables {
                let of = |tables: &Iptables| tables.get(table).unwrap_or(&no_table).clone();
                let (have, want) = (of(&have), of(&want));
                if have != want {
                    let text =
                        |chain: &String| format!("{program} -t {table} chain {chain}{place}");
                    self.map(&have.chains, &want.chains, text, chain_why);
                }
            }
        }
    }
}

/// Why a chain is there is also why its rules are.
fn chain_why(chain: &Shared<Chain>) -> Why {
    let mut why = chain.why.clone();
    // A chain that all ports share would concern all of them.
    if why.causes.is_empty() {
        chain
            .rules
            .iter()
            .for_each(|rule| why.merge(rule.why.clone()));
    }
    why
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::ovs::{Action, Flow, FlowKey, Match};

    #[test]
    fn each_line_says_what_and_why() {
        let mut want = HostState::new("c1");
        let key = FlowKey {
            table: 60,
            priority: 1,
            matches: Match::any(),
        };
        let flow = Flow::new(1, vec![Action::normal()], Why::of("port", "p1"));
        want.bridge_mut("br-int").flows.insert(key, flow);
        let mut have = HostState::new("c1");
        have.bridge_mut("br-int");
        let found = drift(&have, &want);
        assert_eq!(found.len(), 1);
        assert!(found[0].concerns("port", "p1"));
        let text = found[0].to_string();
        assert!(
            text.starts_with("+ flow of br-int: ") && text.ends_with("# port p1"),
            "{text}"
        );
        assert_eq!(drift(&want, &want), []);
        assert_eq!(drift(&want, &have)[0].kind, Kind::Unwanted);
    }
}

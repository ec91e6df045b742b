//! Programs and their files: dnsmasq, radvd, the metadata proxy and the agent behind it.
use std::collections::{BTreeMap, BTreeSet};

use host::netns::{Listener, Netns};
use host::process::{Line, Process};
use host::{HostState, NsName};

use super::{Difference, Kind};
use crate::autoconf;
use crate::wanted::is_stock;
use crate::world::World;

/// Metadata agents that the API knows of, alive or not.
pub(super) fn sound(world: &World, have: &HostState, found: &mut Vec<Difference>) {
    let binary = "neutron-metadata-agent";
    let known = world
        .cloud
        .agents
        .values()
        .any(|a| a.host == have.name && a.binary == binary);
    let runs = |p: &Process| p.argv.iter().any(|a| a.contains(binary));
    if !known || have.processes.is_empty() || have.processes.values().any(runs) {
        return;
    }
    let undo = move |state: &mut HostState| {
        let process = Process {
            argv: vec![binary.to_owned()],
            ..Process::default()
        };
        state.processes.insert(binary.to_owned(), process);
    };
    let text = format!("process {binary}");
    found.push(Difference::new(
        (&have.name, "root", ""),
        Kind::Missing,
        text,
        undo,
    ));
}

pub(super) fn compare(have: &HostState, want: &HostState, found: &mut Vec<Difference>) {
    for (key, wanted) in &want.processes {
        if let Some(network) = key.strip_prefix("dnsmasq ") {
            dnsmasq(have, network, wanted, found);
        }
        if let Some(router) = key.strip_prefix("radvd ") {
            radvd(have, want, (router, wanted), found);
        }
    }
    for (name, wanted) in &want.netns {
        if let Some(netns) = have.netns.get(name) {
            proxies(have, (name, netns), wanted, found);
        }
    }
    files(have, want, found);
}

fn dnsmasq(have: &HostState, network: &str, wanted: &Process, found: &mut Vec<Difference>) {
    let ns = host::names::qdhcp(network);
    let ports = autoconf::ports(wanted);
    let listens = |port: &u16| {
        let netns = have.netns.get(&ns);
        netns.is_some_and(|n| {
            n.listeners
                .iter()
                .any(|l| l.proto == "udp" && l.port == *port)
        })
    };
    let sockets = have.netns.values().any(|n| !n.listeners.is_empty());
    let key = format!("dnsmasq {network}");
    let running = have.processes.get(&key);
    let gone = match (sockets, have.processes.is_empty()) {
        (true, _) => ports.iter().copied().find(|port| !listens(port)),
        (false, false) => ports.first().copied().filter(|_| running.is_none()),
        (false, true) => return,
    };
    let ranges = |p: &Process| autoconf::ranges(p).into_iter().collect::<BTreeSet<_>>();
    let other = running.filter(|now| !now.argv.is_empty() && ranges(now) != ranges(wanted));
    if gone.is_none() && other.is_none() {
        return;
    }
    let (at, process) = (ns.clone(), wanted.clone());
    let undo = move |state: &mut HostState| {
        state.processes.insert(key.clone(), process.clone());
        let sockets = ports.iter().map(|port| Listener {
            proto: "udp".to_owned(),
            addr: None,
            port: *port,
            dev: None,
            process: None,
        });
        state.netns_mut(at.clone()).listeners.extend(sockets);
    };
    let spot = (have.name.as_str(), ns.as_str(), "");
    let difference = match (other, gone) {
        (Some(now), _) => {
            let text = format!("process {}", now.argv.join(" "));
            Difference::new(spot, Kind::Changed, text, undo).wanted(wanted.argv.join(" "))
        }
        (None, gone) => {
            let port = gone.unwrap_or_default();
            let text = format!("process dnsmasq in {ns} (nothing listens on udp/{port})");
            Difference::new(spot, Kind::Missing, text, undo)
        }
    };
    found.push(difference.because(&wanted.why));
}

/// A router's radvd, which no list of sockets shows, and what it was told to announce.
fn radvd(
    have: &HostState,
    want: &HostState,
    (router, wanted): (&str, &Process),
    found: &mut Vec<Difference>,
) {
    if have.processes.is_empty() {
        return;
    }
    let ns = host::names::qrouter(router);
    let spot = (have.name.as_str(), ns.as_str(), "");
    let (key, path) = (autoconf::radvd_key(router), autoconf::radvd_file(router));
    if !have.processes.contains_key(&key) {
        let process = wanted.clone();
        let undo = move |state: &mut HostState| {
            state.processes.insert(key.clone(), process.clone());
        };
        let text = format!("process radvd in {ns}");
        found.push(Difference::new(spot, Kind::Missing, text, undo).because(&wanted.why));
    }
    let Some((now, goal)) = have.files.get(&path).zip(want.files.get(&path)) else {
        return;
    };
    let has = |line: &Line| now.lines.iter().any(|l| l.text.trim() == line.text.trim());
    if let Some(line) = goal.lines.iter().find(|line| !has(line)) {
        let whole = goal.clone();
        let undo = move |state: &mut HostState| {
            state.files.insert(path.clone(), whole.clone());
        };
        let text = line.text.trim().to_owned();
        found.push(Difference::new(spot, Kind::Missing, text, undo).because(&line.why));
    }
}

/// Who listens for metadata: one program, on all the addresses of a port.
fn proxies(
    have: &HostState,
    (ns, netns): (&NsName, &Netns),
    want: &Netns,
    found: &mut Vec<Difference>,
) {
    if have.netns.values().all(|n| n.listeners.is_empty()) {
        return;
    }
    let there = |wanted: &&Listener| {
        netns.listeners.iter().any(|l| {
            l.proto == wanted.proto
                && l.port == wanted.port
                && (l.addr == wanted.addr || l.addr.is_none())
        })
    };
    let mut gone: BTreeMap<(String, u16), Vec<Listener>> = BTreeMap::new();
    for wanted in want.listeners.iter().filter(|wanted| !there(wanted)) {
        let key = (wanted.proto.clone(), wanted.port);
        gone.entry(key).or_default().push(wanted.clone());
    }
    let program = if is_stock(have) { "haproxy" } else { "nucleon" };
    for ((proto, port), listeners) in gone {
        let text = format!("process {program} in {ns} (nothing listens on {proto}/{port})");
        let at = ns.clone();
        let undo = move |state: &mut HostState| {
            let netns = state.netns_mut(at.clone());
            netns.listeners.extend(listeners.iter().cloned());
        };
        let spot = (have.name.as_str(), ns.as_str(), "");
        found.push(Difference::new(spot, Kind::Missing, text, undo).because(&want.why));
    }
}

/// Lines of dnsmasq's files that it reads for its answers.
fn files(have: &HostState, want: &HostState, found: &mut Vec<Difference>) {
    for (path, wanted) in want
        .files
        .iter()
        .filter(|(path, _)| path.ends_with("/host"))
    {
        let Some(file) = have.files.get(path) else {
            continue;
        };
        let asked = |text: &str| wanted.lines.iter().any(|l| l.text == text);
        for line in &wanted.lines {
            if file.lines.iter().any(|l| l.text == line.text) {
                continue;
            }
            let mut others = file.lines.iter().filter(|l| !asked(&l.text));
            let now = others.find(|l| one_word_off(&l.text, &line.text));
            found.push(host_line(have, path, line, now));
        }
    }
}

/// Do two lines differ in one of their words: the MAC, a name, an address?
fn one_word_off(one: &str, other: &str) -> bool {
    let (a, b): (Vec<&str>, Vec<&str>) = (one.split(',').collect(), other.split(',').collect());
    a.len() == b.len() && a.iter().zip(&b).filter(|(x, y)| x != y).count() == 1
}

fn host_line(have: &HostState, path: &str, line: &Line, now: Option<&Line>) -> Difference {
    let (at, new, old) = (path.to_owned(), line.clone(), now.map(|l| l.text.clone()));
    let undo = move |state: &mut HostState| {
        let lines = &mut state.files.entry(at.clone()).or_default().lines;
        lines.retain(|l| Some(&l.text) != old.as_ref());
        lines.push(new.clone());
    };
    let place = path.split('/').nth(1).map(host::names::qdhcp);
    let place = place.map_or_else(String::new, |ns| ns.to_string());
    let spot = (have.name.as_str(), place.as_str(), "");
    match now {
        Some(now) => Difference::new(spot, Kind::Changed, now.text.clone(), undo)
            .wanted(line.text.clone())
            .because(&line.why),
        None => Difference::new(spot, Kind::Missing, line.text.clone(), undo).because(&line.why),
    }
}

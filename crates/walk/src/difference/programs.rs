//! Programs and their files: dnsmasq, the metadata proxy and the agent behind it.
use std::net::IpAddr;

use host::netns::Listener;
use host::process::{Line, Process};
use host::{HostState, NsName, Why};

use super::{Difference, Kind};
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
    }
    for (name, wanted) in &want.netns {
        let Some(netns) = have.netns.get(name) else {
            continue;
        };
        let recorded = have.netns.values().any(|n| !n.listeners.is_empty());
        for listener in &wanted.listeners {
            let there = netns.listeners.iter().any(|l| {
                l.proto == listener.proto
                    && l.port == listener.port
                    && (l.addr == listener.addr || l.addr.is_none())
            });
            if recorded && !there {
                found.push(proxy(have, name, listener, &wanted.why));
            }
        }
    }
    files(have, want, found);
}

fn listening(state: &mut HostState, ns: &NsName, proto: &str, addr: Option<IpAddr>, port: u16) {
    state.netns_mut(ns.clone()).listeners.insert(Listener {
        proto: proto.to_owned(),
        addr,
        port,
        dev: None,
        process: None,
    });
}

fn dnsmasq(have: &HostState, network: &str, wanted: &Process, found: &mut Vec<Difference>) {
    let ns = host::names::qdhcp(network);
    let listens = have
        .netns
        .get(&ns)
        .is_some_and(|n| n.listeners.iter().any(|l| l.proto == "udp" && l.port == 67));
    let sockets = have.netns.values().any(|n| !n.listeners.is_empty());
    let runs = have.processes.contains_key(&format!("dnsmasq {network}"));
    let fine = match (sockets, have.processes.is_empty()) {
        (true, _) => listens,
        (false, false) => runs,
        (false, true) => return,
    };
    if fine {
        return;
    }
    let (at, key, process) = (ns.clone(), format!("dnsmasq {network}"), wanted.clone());
    let undo = move |state: &mut HostState| {
        state.processes.insert(key.clone(), process.clone());
        listening(state, &at, "udp", None, 67);
        listening(state, &at, "udp", None, 53);
    };
    let text = format!("process dnsmasq in {ns} (nothing listens on udp/67)");
    found.push(
        Difference::new((&have.name, ns.as_str(), ""), Kind::Missing, text, undo)
            .because(&wanted.why),
    );
}

fn proxy(have: &HostState, ns: &NsName, listener: &Listener, why: &Why) -> Difference {
    let program = if is_stock(have) { "haproxy" } else { "nucleon" };
    let (proto, addr, port) = (listener.proto.clone(), listener.addr, listener.port);
    let text = format!("process {program} in {ns} (nothing listens on {proto}/{port})");
    let at = ns.clone();
    let undo = move |state: &mut HostState| listening(state, &at, &proto, addr, port);
    Difference::new((&have.name, ns.as_str(), ""), Kind::Missing, text, undo).because(why)
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

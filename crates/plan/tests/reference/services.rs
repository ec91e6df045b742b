//! Namespaces, files and processes of DHCP servers and routers, planned or observed, beside those
//! that a real Neutron left for the same intent: equal but for the kinds of difference that
//! `docs/compatibility.md` lists.

use std::{collections::BTreeSet, net::IpAddr};

use host::{
    HostState, NsName,
    iptables::print_iptables,
    netns::{Family, MAIN, Netns, RouteKey},
    process::File,
};

use super::{assert_same_lines, compare::Met};

/// The namespaces with names of this beginning, which are the same in both states.
fn namespaces(ours: &HostState, seen: &HostState, prefix: &str) -> Vec<NsName> {
    let names = named(ours, prefix);
    assert_eq!(names, named(seen, prefix), "namespaces {prefix}…");
    assert!(!names.is_empty(), "the scenario has namespaces {prefix}…");
    names
}

fn named(state: &HostState, prefix: &str) -> Vec<NsName> {
    let names = state.netns.keys();
    let names = names.filter(|ns| ns.as_str().starts_with(prefix));
    names.cloned().collect()
}

impl Met {
    /// What stands in all namespaces with names of these beginnings.
    pub(crate) fn compare_namespaces(
        &mut self,
        ours: &HostState,
        seen: &HostState,
        prefixes: &[&str],
    ) {
        // Where no floating IP is, nothing is made for them.
        let spared = named(ours, "fip-").is_empty() && !named(seen, "fip-").is_empty();
        if spared {
            self.with("fip-namespace-only-where-needed");
        }
        for prefix in prefixes {
            for ns in namespaces(ours, seen, prefix) {
                let (ours, seen) = (&ours.netns[&ns], &seen.netns[&ns]);
                self.compare_lines(&ns, ours, seen, spared);
                self.compare_settings(&ns, ours, seen);
                assert_tables(&ns, ours, seen, spared);
            }
        }
    }

    fn compare_lines(&mut self, ns: &NsName, ours: &Netns, seen: &Netns, spared: bool) {
        let (mut our_lines, mut their_lines) = (lines(ours), lines(seen));
        if ns.as_str().starts_with("qdhcp-") {
            let only_ours: Vec<_> = our_lines.difference(&their_lines).cloned().collect();
            for line in only_ours.iter().filter(|line| **line == answers_metadata()) {
                self.with("metadata-beside-a-router");
                our_lines.remove(line);
            }
        }
        if spared {
            their_lines.retain(|line| !is_of_pair(line));
        }
        if our_lines != their_lines && our_lines.iter().any(|line| is_of_pair(line)) {
            self.with("pair-macs");
            our_lines = lines(&without_pairs_macs(ours));
            their_lines = lines(&without_pairs_macs(seen));
        }
        assert_same_lines(&format!("{ns}"), &our_lines, &their_lines);
    }

    fn compare_settings(&mut self, ns: &NsName, ours: &Netns, seen: &Netns) {
        for (key, from_the_kernel) in OF_NEW_NAMESPACES {
            let value = |netns: &Netns| {
                let set = netns.sysctls.get(*key);
                set.map_or_else(|| (*from_the_kernel).to_owned(), |it| it.value.to_string())
            };
            if !seen.sysctls.is_empty() {
                assert_eq!(value(ours), value(seen), "{key} in {ns}");
            }
        }
        for (key, sysctl) in &ours.sysctls {
            let Some(seen) = seen.sysctls.get(key) else {
                continue;
            };
            // Every device comes with what is set by default.
            let may_redirect = key.ends_with(".send_redirects") && !key.contains(".all.");
            if may_redirect && (&*sysctl.value, &*seen.value) == ("0", "1") {
                self.with("no-redirects-by-default");
            } else {
                assert_eq!(sysctl.value, seen.value, "{key} in {ns}");
            }
        }
    }
}

/// Settings of whole namespaces, as the kernel makes them: what is otherwise in a recorded one was set.
const OF_NEW_NAMESPACES: &[(&str, &str)] = &[
    ("net.ipv4.conf.all.arp_announce", "0"),
    ("net.ipv4.conf.all.arp_ignore", "0"),
    ("net.ipv4.conf.all.promote_secondaries", "0"),
    ("net.ipv4.conf.all.rp_filter", "0"),
    ("net.ipv4.conf.all.send_redirects", "1"),
    ("net.ipv4.ip_forward", "0"),
    ("net.ipv4.ip_nonlocal_bind", "0"),
    ("net.ipv6.conf.all.forwarding", "0"),
    ("net.ipv6.conf.default.accept_ra", "1"),
    ("net.netfilter.nf_conntrack_tcp_loose", "1"),
];

/// A line of the difference `metadata-beside-a-router`.
fn answers_metadata() -> String {
    format!("listener {:?} 80", Some(IpAddr::from([169, 254, 169, 254])))
}

/// Of the pair of devices between a router's namespace and the one of floating IPs.
fn is_of_pair(line: &str) -> bool {
    line.contains("rfp-") || line.contains("fpr-")
}

/// The pair's MACs are random there and computed here, and the kernel makes addresses of them.
fn without_pairs_macs(netns: &Netns) -> Netns {
    let mut netns = netns.clone();
    let mut links = (*netns.links).clone();
    for (_, link) in links.iter_mut().filter(|(name, _)| is_of_pair(name)) {
        link.mac = None;
    }
    netns.links = links.into();
    let neighbours = netns.neighbours.iter_mut();
    for (_, neighbour) in neighbours.filter(|(key, _)| is_of_pair(&key.dev)) {
        neighbour.mac = None;
    }
    let main = netns.routes.get_mut(&MAIN);
    for (_, route) in main.into_iter().flatten() {
        if matches!(route.via, Some(IpAddr::V6(via)) if via.is_unicast_link_local()) {
            route.via = None;
        }
    }
    netns
}

/// One comparable line for everything in a namespace, planned or seen: without what the kernel
/// made by itself.
fn lines(netns: &Netns) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for (key, addr) in &netns.addrs {
        if addr.scope == "global" {
            let (dev, net) = (&key.dev, key.net);
            lines.insert(format!("address {dev} {net} {:?}", addr.broadcast));
        }
    }
    for (table, routes) in &netns.routes {
        for (RouteKey { dst, dev, .. }, route) in routes {
            if route.proto == "static" {
                let (via, scope) = (route.via, &route.scope);
                lines.insert(format!("route {table} {dst} {via:?} {dev:?} {scope}"));
            }
        }
    }
    for (name, link) in netns.links.iter().filter(|(name, _)| *name != "lo") {
        let (mac, mtu, up) = (link.mac, link.mtu, link.up);
        lines.insert(format!("link {name} {mac:?} {mtu} {up}"));
    }
    for (key, rule) in &netns.rules {
        if ![0, 32_766, 32_767].contains(&key.priority) {
            lines.insert(format!("rule {key:?} {:?}", rule.verdict));
        }
    }
    for (key, neighbour) in &netns.neighbours {
        if neighbour.is_permanent() {
            let (dev, ip, mac) = (&key.dev, key.ip, neighbour.mac);
            lines.insert(format!("neighbour {dev} {ip} {mac:?}"));
        }
    }
    for listener in &netns.listeners {
        if [80, 9697].contains(&listener.port) {
            lines.insert(format!("listener {:?} {}", listener.addr, listener.port));
        }
    }
    lines
}

fn assert_tables(ns: &NsName, ours: &Netns, seen: &Netns, spared: bool) {
    assert!(seen.iptables.contains_key(&Family::V4), "{ns} was recorded");
    for family in seen.iptables.keys() {
        let rules = |netns: &Netns| -> Vec<String> {
            let mut tables = netns.iptables[family].clone();
            let chains = tables.values_mut();
            for chain in chains.flat_map(|table| table.chains.values_mut()) {
                chain.counters.0 = None;
            }
            let text = print_iptables(&tables);
            let rules = text.lines().map(str::to_owned);
            rules.filter(|rule| !spared || !is_of_pair(rule)).collect()
        };
        let (ours, seen) = (rules(ours).join("\n"), rules(seen).join("\n"));
        assert!(
            ours == seen,
            "{ns} {family:?}\n--- ours\n{ours}\n--- seen\n{seen}"
        );
    }
}

/// Four files for each of three networks; so many were recorded, line for line the same in any order.
pub(crate) fn assert_files(ours: &HostState, seen: &HostState, recorded: usize) {
    assert_eq!(ours.files.len(), 12, "{:?}", ours.files.keys());
    let lines = |file: &File| file.lines.iter().map(|line| line.text.clone()).collect();
    let mut compared = 0;
    for (path, file) in &ours.files {
        if let Some(theirs) = seen.files.get(path) {
            assert_same_lines(path, &lines(file), &lines(theirs));
            compared += 1;
        }
    }
    assert_eq!(compared, recorded, "{:?}", seen.files.keys());
}

/// A DHCP server for each of three networks, with the same arguments, wherever its files are.
pub(crate) fn assert_servers(ours: &HostState, seen: &HostState) {
    let servers = |host: &HostState| -> BTreeSet<String> {
        let processes = host.processes.iter();
        let servers = processes.filter(|(key, _)| key.starts_with("dnsmasq "));
        servers
            .map(|(key, server)| {
                let line = server.argv.join(" ");
                let folder = line
                    .split_once("--pid-file=")
                    .and_then(|(_, rest)| rest.split_once("/dhcp/"));
                let (folder, _) = folder.unwrap_or_else(|| panic!("{key} has files: {line}"));
                line.replace(folder, "")
            })
            .collect()
    };
    let ours = servers(ours);
    assert_same_lines("DHCP servers", &ours, &servers(seen));
    assert_eq!(ours.len(), 3);
}

//! What agents make of the recorded intent on empty hosts is what a real Neutron had programmed
//! there: read back with the tools, and compared line by line with what was recorded. Differences
//! are those that `docs/compatibility.md` lists, and no others.

use crate::reference::{
    self,
    compare::Met,
    recorded_lease,
    services::{assert_files, assert_servers},
};
use crate::stock::Stock;
use host::HostState;
use host::netns::Family;
use lab::topology::Addressing;
use std::collections::BTreeSet;

/// The network node and c1 with its guests, made from nothing.
fn made(scenario: &'static str, addressing: Addressing) -> Stock {
    let mut stock = Stock::hosts(scenario);
    for host in ["net", "c1"] {
        stock.make(host);
    }
    stock.converges("net");
    stock.plug_guests("c1", addressing);
    stock.converges("c1");
    stock
}

/// Bridges, ports, flows, filters and sets; then all that is in namespaces of these names.
fn compare(stock: &Stock, met: &mut Met, host: &str, prefixes: &[&str]) -> HostState {
    let ours = stock.collect(host);
    let recorded = stock.recorded(host);
    let tables = &recorded.root().unwrap().iptables;
    assert!(tables.contains_key(&Family::V4), "{host} was recorded");
    let families: Vec<Family> = tables.keys().copied().collect();
    stock.assert_is_recorded(met, host, &ours, &families);
    met.compare_namespaces(&ours, &recorded, prefixes);
    ours
}

/// DHCP's files, and the servers that read them.
fn compare_dhcp(stock: &Stock, net: &HostState, files: usize) {
    let recorded = stock.recorded("net");
    assert_files(net, &recorded, files);
    assert_servers(net, &recorded);
}

/// What the servers hold of c1's guests is what was recorded, but for when it ends.
fn compare_leases(stock: &Stock, scenario: &str) {
    let guests = [
        "fa:16:3e:00:00:11",
        "fa:16:3e:00:00:12",
        "fa:16:3e:00:00:13",
    ];
    let of_guests = |text: &str| -> BTreeSet<String> {
        let held = text.lines().filter_map(|line| line.split_once(' '));
        let held = held.filter(|(_, lease)| guests.iter().any(|card| lease.starts_with(card)));
        held.map(|(_, lease)| lease.to_owned()).collect()
    };
    let recorded = reference::recorded(scenario, "net");
    let mut compared = 0;
    for (path, text) in recorded
        .iter()
        .filter(|(path, _)| path.ends_with("/leases"))
    {
        let folder = stock.state("net");
        let path = folder.join(path.trim_start_matches("state/"));
        let ours = stock.sh("net", &format!("cat {}", path.display()));
        assert_eq!(of_guests(&ours), of_guests(text), "{}", path.display());
        compared += of_guests(text).len();
    }
    assert_eq!(compared, guests.len());
}

/// The centralized scenario of this name, with so many of its files of DHCP.
pub(crate) fn centralized(scenario: &'static str, files: usize) {
    let stock = made(scenario, Addressing::Dhcp);
    let mut met = Met::default();
    let net = compare(&stock, &mut met, "net", &["qdhcp-", "qrouter-"]);
    compare_dhcp(&stock, &net, files);
    compare(&stock, &mut met, "c1", &[]);
    met.assert_meant(&["fixed-cookies", "metadata-beside-a-router"]);
    for guest in ["red1", "red2", "green1"] {
        let told = stock.sh("c1", &format!("cat /run/lab-lease-{guest}"));
        assert_eq!(told, recorded_lease(scenario, guest), "{guest}");
    }
    compare_leases(&stock, scenario);
}

#[test]
fn hosts_of_a_centralized_router_are_neutrons() {
    centralized("vxlan-legacy-hybrid", 12);
}

#[test]
fn hosts_of_a_distributed_router_are_neutrons() {
    let stock = made("vxlan-dvr-hybrid", Addressing::Static);
    let mut met = Met::default();
    let net = compare(&stock, &mut met, "net", &["qdhcp-", "qrouter-", "snat-"]);
    compare_dhcp(&stock, &net, 12);
    compare(&stock, &mut met, "c1", &["qrouter-", "fip-"]);
    met.assert_meant(&[
        "fip-namespace-only-where-needed",
        "no-redirects-by-default",
        "pair-macs",
    ]);
}

//! Hosts out of intent alone: what is wanted of a host, and what the machine and its kernel add to
//! that by themselves, so that a packet can be followed where no host was asked.
use std::collections::{BTreeMap, BTreeSet};

use host::netns::{Addr, AddrKey, Family, Listener, Netns, RuleAction, RuleKey, RuleVerdict};
use host::ovs::{Interface, Port};
use host::process::Process;
use host::{HostState, NsName, Why};
use ipnet::IpNet;
use serde_json::Value;

use crate::autoconf;
use crate::cloud::{Agent, Cloud};
use crate::routing::by_kernel;

/// The card that stands for whatever joins a provider bridge to its physical network.
const CARD: &str = "card";

/// Every host that has an agent for layer 2, with nothing on it.
pub(super) fn hosts(cloud: &Cloud) -> BTreeMap<String, HostState> {
    let agents = cloud.agents.values().filter(|a| is_layer_2(a));
    agents
        .map(|agent| (agent.host.clone(), HostState::new(&agent.host)))
        .collect()
}

fn is_layer_2(agent: &Agent) -> bool {
    agent.binary.contains("openvswitch")
}

/// A host that holds what is wanted of it.
pub(super) fn realise(mut state: HostState, cloud: &Cloud) -> HostState {
    for netns in state.netns.values_mut() {
        usual_rules(netns);
        link_local(netns);
        let addrs: Vec<_> = netns.addrs.keys().cloned().collect();
        for (table, key, route) in addrs.iter().flat_map(by_kernel) {
            let table = netns.routes.entry(table).or_default();
            table.entry(key).or_insert(route);
        }
    }
    for bridge in provider_bridges(cloud, &state.name) {
        let card = format!("{bridge}-{CARD}");
        let row = Port {
            interfaces: [(card.clone(), Interface::default())].into(),
            ..Port::default()
        };
        state.bridge_mut(&bridge).ports.insert(card, row.into());
    }
    listen(&mut state);
    // The agent that answers for metadata is on every host where something asks it.
    let agent = Process {
        argv: vec!["nucleon".to_owned(), "agent".to_owned()],
        ..Process::default()
    };
    state.processes.insert("nucleon".to_owned(), agent);
    state.netns_mut(NsName::root());
    state
}

/// What dnsmasq listens on.
fn listen(state: &mut HostState) {
    let servers = state.processes.iter();
    let served: Vec<(NsName, Vec<u16>)> = servers
        .filter_map(|(key, server)| {
            let network = key.strip_prefix("dnsmasq ")?;
            Some((host::names::qdhcp(network), autoconf::ports(server)))
        })
        .collect();
    for (ns, ports) in served {
        let listeners = ports.into_iter().map(|port| Listener {
            proto: "udp".to_owned(),
            addr: None,
            port,
            dev: None,
            process: None,
        });
        state.netns_mut(ns).listeners.extend(listeners);
    }
}

/// A device with an address of IPv6 has one for its link too.
fn link_local(netns: &mut Netns) {
    let six = netns.addrs.keys().filter(|a| a.net.addr().is_ipv6());
    let devices: BTreeSet<String> = six.map(|a| a.dev.clone()).collect();
    for dev in devices {
        let mac = netns.links.get(&dev).and_then(|link| link.mac);
        let net = mac.and_then(|mac| IpNet::new(mac.link_local().into(), 64).ok());
        if let Some(net) = net {
            let addr = Addr {
                scope: "link".to_owned(),
                ..Addr::default()
            };
            netns.addrs.entry(AddrKey { dev, net }).or_insert(addr);
        }
    }
}

/// The rules that every namespace is born with.
pub(crate) fn usual_rules(netns: &mut Netns) {
    for family in [Family::V4, Family::V6] {
        for (priority, table) in [(0, 255), (32766, 254), (32767, 253)] {
            let action = RuleAction {
                verdict: RuleVerdict::Lookup(table),
                why: Why::none(),
            };
            netns.rules.insert(RuleKey::new(priority, family), action);
        }
    }
}

fn provider_bridges(cloud: &Cloud, host: &str) -> Vec<String> {
    let mut agents = cloud.agents.values();
    let agent = agents.find(|a| a.host == host && is_layer_2(a));
    let mappings = agent.and_then(|a| a.configurations.get("bridge_mappings")?.as_object());
    let bridges = mappings.into_iter().flat_map(|m| m.values());
    bridges
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// A MAC for a host's distributed routers, which no API tells: by the host's place among all.
pub(super) fn dvr_mac(cloud: &Cloud, host: &str) -> Option<intent::Mac> {
    let distributes = |a: &&Agent| {
        let mode = a.configurations.get("agent_mode").and_then(Value::as_str);
        mode.is_some_and(|mode| mode.starts_with("dvr"))
    };
    let mut hosts: Vec<&str> = cloud
        .agents
        .values()
        .filter(distributes)
        .map(|a| a.host.as_str())
        .collect();
    hosts.sort_unstable();
    let place = hosts.iter().position(|name| *name == host)?;
    let [.., high, low] = place.to_be_bytes();
    Some(intent::Mac([0xfa, 0x16, 0x3f, 0, high, low]))
}

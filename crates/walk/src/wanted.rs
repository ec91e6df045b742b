//! What is wanted of each host of a snapshot: intent read out of the API's answers and compiled as
//! for our own hosts, with the numbers that each host holds (tags, zones, priorities) kept.
mod bare;
mod native;

pub(crate) use bare::usual_rules;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use host::HostState;
use host::iptables::Maybe;
use host::netns::{LOCAL, Neighbour, NeighbourKey, Netns};
use host::ovs::flow::{Flow, FlowKey};
use host::ovs::{Action, Field};
use intent::import::{Served, import};
use intent::{DvrMac, HostName, NetworkType, State, view};
use plan::{AgentMode, Numbers, Settings, compile};
use serde_json::Value;

use crate::cloud::{Agent, Cloud};

/// What is wanted, by host, and what could not be read or planned.
#[derive(Debug, Default)]
pub struct Wanted {
    pub hosts: BTreeMap<String, HostState>,
    pub notes: Vec<String>,
}

/// Compile what the documents of a snapshot's `api` folder ask of its hosts.
pub fn compile_all(
    documents: &BTreeMap<String, Value>,
    cloud: &Cloud,
    hosts: &BTreeMap<String, HostState>,
) -> Wanted {
    let served: Vec<(Served, &Value)> = documents
        .iter()
        .filter_map(|(name, document)| Some((serves(name, cloud)?, document)))
        .collect();
    let plain = documents
        .iter()
        .filter(|(name, _)| !name.contains("-agents"));
    let (mut state, mut notes) = import(plain.map(|(_, document)| document), served);
    for have in hosts.values() {
        let made_up = || bare::dvr_mac(cloud, &have.name).filter(|_| have.bridges.is_empty());
        if let Some(mac_address) = dvr_mac(have).or_else(made_up) {
            let host = HostName::from(have.name.as_str());
            state.put(DvrMac { host, mac_address }.into());
        }
    }
    let mut wanted = BTreeMap::new();
    if state.ports.is_empty() {
        notes.clear();
    } else {
        for (name, have) in hosts {
            let (plan, said) = compile_host(&state, cloud, have);
            wanted.insert(name.clone(), plan);
            notes.extend(said);
        }
    }
    Wanted {
        hosts: wanted,
        notes,
    }
}

/// All hosts that have agents, each holding what is wanted of it and nothing else.
pub fn imagine(documents: &BTreeMap<String, Value>, cloud: &Cloud) -> Wanted {
    let mut wanted = compile_all(documents, cloud, &bare::hosts(cloud));
    for state in wanted.hosts.values_mut() {
        *state = bare::realise(std::mem::take(state), cloud);
    }
    wanted
}

/// The network or router that a list of agents is for, by its file's name.
fn serves(name: &str, cloud: &Cloud) -> Option<Served> {
    if let Some(network) = name.strip_prefix("network-") {
        let network = network.strip_suffix("-dhcp-agents.json")?;
        return Some(Served::Network(cloud.network(network)?.id.parse().ok()?));
    }
    let router = name
        .strip_prefix("router-")?
        .strip_suffix("-l3-agents.json")?;
    let by_name = cloud.routers.values().find(|r| r.name == router);
    let router = cloud.routers.get(router).or(by_name)?;
    Some(Served::Router(router.id.parse().ok()?))
}

fn compile_host(state: &State, cloud: &Cloud, have: &HostState) -> (HostState, Vec<String>) {
    let settings = settings(cloud, have);
    let name = HostName::from(have.name.as_str());
    let plan = compile(&view(state, &name), &settings, &numbers(cloud, have));
    let mut want = plan.want;
    let about_filters = |n: &&plan::Note| !n.text.contains("no filter can stand");
    let notes = plan.notes.iter().filter(about_filters);
    let notes = notes.map(|n| format!("{}: {n}", have.name)).collect();
    if native::is_used(have) {
        native::expect(cloud, have, &mut want);
    }
    as_found(have, &mut want);
    if is_stock(have) {
        spare_pairs(have, &mut want);
    }
    (want, notes)
}

/// What a host may choose as it likes is wanted as it was found: the MACs of a distributed
/// router's veth, and with them the neighbours and the link-local addresses that name them.
fn as_found(have: &HostState, want: &mut HostState) {
    let pair = |dev: &str| dev.starts_with("rfp-") || dev.starts_with("fpr-");
    let found: BTreeMap<String, host::Mac> = have
        .netns
        .values()
        .flat_map(|ns| ns.links.iter().map(move |(dev, link)| (ns, dev, link)))
        .filter(|(_, dev, _)| pair(dev))
        .filter_map(|(ns, dev, link)| Some((dev.clone(), made_with(have, ns, dev, link.mac?))))
        .collect();
    for netns in want.netns.values_mut() {
        for (dev, link) in netns.links.iter_mut().filter(|(dev, _)| pair(dev)) {
            link.mac = found.get(dev).copied().or(link.mac);
        }
        for (key, neighbour) in netns.neighbours.iter_mut().filter(|(k, _)| pair(&k.dev)) {
            let other = other_end(&key.dev).and_then(|other| found.get(&other));
            neighbour.mac = other.copied().or(neighbour.mac);
        }
        for (key, route) in netns.routes.values_mut().flatten() {
            let other = key.dev.as_deref().and_then(other_end);
            let to_it =
                |ip: &&mut IpAddr| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
            if let Some(mac) = other.and_then(|other| found.get(&other))
                && let Some(via) = route.via.as_mut().filter(to_it)
            {
                *via = mac.link_local().into();
            }
        }
    }
}

/// The MAC that a device of a pair was made with: what the far end remembers, where the device's
/// own link-local address, which the kernel made of it, says the same.
fn made_with(have: &HostState, ns: &Netns, dev: &str, now: host::Mac) -> host::Mac {
    let neighbours = have.netns.values().flat_map(|ns| &ns.neighbours);
    let by_far_end = |key: &NeighbourKey| other_end(&key.dev).as_deref() == Some(dev);
    let mut known = neighbours.filter(|(key, n)| n.is_permanent() && by_far_end(key));
    let first = known.find_map(|(_, neighbour)| neighbour.mac);
    let made = |mac: &host::Mac| {
        let own = IpAddr::from(mac.link_local());
        let mut addrs = ns.addrs.keys();
        addrs.any(|key| key.dev == dev && key.net.addr() == own)
    };
    first.filter(made).unwrap_or(now)
}

/// The other device of a distributed router's pair.
fn other_end(dev: &str) -> Option<String> {
    match dev.split_once('-')? {
        ("rfp", id) => Some(format!("fpr-{id}")),
        ("fpr", id) => Some(format!("rfp-{id}")),
        _ => None,
    }
}

/// Neutron joins a distributed router to the namespace of floating IPs on every host, ours only
/// where it has some: what stands there for that pair alone is left as it was found.
fn spare_pairs(have: &HostState, want: &mut HostState) {
    for (ns, found) in &have.netns {
        let Some(wanted) = want.netns.get_mut(ns) else {
            continue;
        };
        let pair = |dev: &str| dev.starts_with("rfp-") && !wanted.links.contains_key(dev);
        let Some(dev) = found.links.keys().find(|dev| pair(dev)) else {
            continue;
        };
        let addrs = found.addrs.iter().filter(|(key, _)| key.dev == *dev);
        wanted
            .addrs
            .extend(addrs.map(|(k, a)| (k.clone(), a.clone())));
        let kept = |(k, n): &(&NeighbourKey, &Neighbour)| k.dev == *dev && n.is_permanent();
        let neighbours = found.neighbours.iter().filter(kept);
        wanted
            .neighbours
            .extend(neighbours.map(|(k, n)| (k.clone(), n.clone())));
        for (table, routes) in found.routes.iter().filter(|(t, _)| **t != LOCAL) {
            let by_it = routes.iter().filter(|(k, _)| k.dev.as_ref() == Some(dev));
            let by_it = by_it.map(|(k, r)| (k.clone(), r.clone()));
            wanted.routes.entry(*table).or_default().extend(by_it);
        }
        for (family, tables) in &found.iptables {
            for (name, table) in tables {
                let goal = wanted
                    .iptables
                    .get_mut(family)
                    .and_then(|t| t.get_mut(name));
                for (name, chain) in goal.into_iter().flat_map(|t| &mut t.chains) {
                    let rules = table.chains.get(name).into_iter().flat_map(|c| &c.rules);
                    let names =
                        |d: &Option<Maybe<String>>| d.as_ref().is_some_and(|d| d.value == *dev);
                    let its = rules.filter(|r| names(&r.in_dev) || names(&r.out_dev));
                    let new: Vec<_> = its.filter(|r| !chain.rules.contains(r)).cloned().collect();
                    chain.rules.extend(new);
                }
            }
        }
    }
}

/// Whether Neutron's own agents serve this host.
pub(crate) fn is_stock(have: &HostState) -> bool {
    have.processes.values().any(|process| {
        let mut words = process.argv.iter();
        words.any(|word| word.contains("neutron-") || word.contains("haproxy"))
    })
}

/// What the agents said of a host's configuration.
fn settings(cloud: &Cloud, have: &HostState) -> Settings {
    let mut settings = Settings::new(have.name.as_str());
    let agents = |kind: &str| {
        let mut agents = cloud.agents.values();
        let of_host = |a: &&Agent| a.host == have.name && a.binary.contains(kind);
        agents.find(of_host).map(|a| &a.configurations)
    };
    if let Some(l2) = agents("openvswitch") {
        let text = |key: &str| l2.get(key).and_then(Value::as_str);
        settings.local_ip = text("tunneling_ip").and_then(|ip| ip.parse().ok());
        let types = l2.get("tunnel_types").and_then(Value::as_array);
        settings.tunnel_types = types
            .into_iter()
            .flatten()
            .filter_map(|t| serde_json::from_value::<NetworkType>(t.clone()).ok())
            .collect();
        if let Some(Value::Object(mappings)) = l2.get("bridge_mappings") {
            let pairs = mappings
                .iter()
                .filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
            settings.bridge_mappings = pairs.collect();
        }
        let flag = |key: &str| l2.get(key).and_then(Value::as_bool).unwrap_or(true);
        settings.l2_population = flag("l2_population");
        settings.arp_responder = flag("arp_responder_enabled");
        // In userspace our agents answer neighbour discovery too; Neutron's do nowhere.
        let ours = have.bridges.is_empty() || answers_discovery(have);
        if let Some(kind) = text("datapath_type").filter(|_| ours && !is_stock(have)) {
            kind.clone_into(&mut settings.datapath_type);
        }
    }
    settings.metadata.ends_with_router = is_stock(have);
    settings.agent_mode = match agents("l3").and_then(|c| c.get("agent_mode")?.as_str()) {
        Some("dvr") => AgentMode::Dvr,
        Some("dvr_snat") => AgentMode::DvrSnat,
        Some("dvr_no_external") => AgentMode::DvrNoExternal,
        _ => AgentMode::Legacy,
    };
    settings
}

/// Are there flows that answer neighbour discovery? Without a word of its programs this tells whose
/// a host is.
fn answers_discovery(have: &HostState) -> bool {
    let flows = have.bridges.get("br-tun").map(|bridge| &bridge.flows);
    flows.is_some_and(|flows| {
        flows
            .keys()
            .any(|key| key.table == plan::l2::tun::ND_ANSWER)
    })
}

/// The numbers that a host holds: its networks' tags, its ports' zones.
fn numbers(cloud: &Cloud, have: &HostState) -> Numbers {
    let mut numbers = Numbers::default();
    for bridge in have.bridges.values() {
        for port in bridge.ports.values() {
            let network = port.other_config.get("net_uuid");
            let tag = port.other_config.get("tag").and_then(|t| t.parse().ok());
            if let (Some(network), Some(tag)) = (network, tag) {
                numbers.vlans.adopt(network, tag);
            }
        }
    }
    for (network, tag) in tags_of_tunnels(cloud, have) {
        if numbers.vlans.get(&network).is_none() {
            numbers.vlans.adopt(&network, tag);
        }
    }
    for (port, zone) in zones(have) {
        numbers.zones.adopt(&port, zone);
    }
    for (ns, netns) in &have.netns {
        if let Some(router) = ns.as_str().strip_prefix("qrouter-") {
            distributed(cloud, router, netns, &mut numbers);
        }
    }
    numbers
}

/// The tags that flows give to what comes out of tunnels, by network: they are there when the
/// network's ports are gone.
fn tags_of_tunnels(cloud: &Cloud, have: &HostState) -> Vec<(String, u32)> {
    let flows = have
        .bridges
        .get("br-tun")
        .into_iter()
        .flat_map(|b| b.flows.iter());
    let tag = |(key, flow): (&FlowKey, &Flow)| {
        let id = key.matches.exact(Field::TunId)?;
        let mut networks = cloud.networks.values();
        let network = networks.find(|n| {
            let tunnelled = n.network_type.as_deref().is_some_and(|kind| kind != "vlan");
            tunnelled && n.segmentation_id.is_some_and(|own| u128::from(own) == id)
        })?;
        flow.actions.iter().find_map(|action| match action {
            Action::Set {
                field: Field::VlanVid,
                value,
                ..
            } => Some((network.id.clone(), (*value & 0xfff) as u32)),
            _ => None,
        })
    };
    flows.filter_map(tag).collect()
}

/// A distributed router's numbers: its floating IPs' priorities, and the pair of addresses that
/// joins it to their namespace.
fn distributed(cloud: &Cloud, router: &str, netns: &Netns, numbers: &mut Numbers) {
    let device = host::names::rfp(router);
    let pair = netns.addrs.keys().find_map(|key| match key.net.addr() {
        IpAddr::V4(v4) if key.dev == device => Some(u32::from(v4)),
        _ => None,
    });
    let first = u32::from(Ipv4Addr::new(169, 254, 64, 0));
    if let Some(offset) = pair.and_then(|ip| ip.checked_sub(first)) {
        numbers.link_local_pairs.adopt(router, offset / 2);
    }
    for key in netns.rules.keys() {
        let from = key
            .from
            .filter(|net| net.prefix_len() == net.max_prefix_len());
        let mut floating = cloud.floating_ips.values();
        let of = floating
            .find(|f| f.fixed_ip_address.is_some() && f.fixed_ip_address == from.map(|n| n.addr()));
        if let Some(address) = of.and_then(|f| f.floating_ip_address) {
            numbers
                .floating_priorities
                .adopt(&address.to_string(), key.priority);
        }
    }
}

/// The MAC that a host's distributed routers send from: what most of its own flows say.
fn dvr_mac(have: &HostState) -> Option<intent::Mac> {
    let tunnels = have.bridges.get("br-tun")?;
    let mut count: BTreeMap<u128, usize> = BTreeMap::new();
    for (key, flow) in tunnels.flows.iter().filter(|(key, _)| key.table == 1) {
        for action in &flow.actions {
            if let Action::Set {
                field: Field::EthSrc,
                value,
                ..
            } = action
                && key.matches.exact(Field::EthSrc).is_some()
            {
                *count.entry(*value).or_default() += 1;
            }
        }
    }
    let integration = have.bridges.get("br-int")?;
    for key in integration
        .flows
        .keys()
        .filter(|k| k.table == 0 && k.priority == 5)
    {
        if let Some(mac) = key.matches.exact(Field::EthDst) {
            *count.entry(mac).or_default() += 1;
        }
    }
    let (mac, _) = count.into_iter().max_by_key(|(_, n)| *n)?;
    Some(host::Mac::from_bits(mac as u64))
}

/// Zones by port, out of the comments of the raw table's rules.
fn zones(have: &HostState) -> Vec<(String, u32)> {
    let tables = have.root().into_iter().flat_map(|r| r.iptables.values());
    let chains = tables
        .filter_map(|t| t.get("raw"))
        .flat_map(|t| t.chains.values());
    let rules = chains.flat_map(|c| &c.rules);
    rules
        .filter_map(|rule| {
            let port = rule.comment()?.strip_prefix("Set zone for ")?;
            match &rule.target {
                host::iptables::Target::Ct {
                    zone: Some(zone), ..
                } => Some((port.to_owned(), u32::from(*zone))),
                _ => None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is wanted in userspace differs, as its switch can answer neighbour discovery.
    #[test]
    fn the_kind_of_switch_is_the_agents_word() {
        let mut cloud = Cloud::default();
        let agents = serde_json::json!({"agents": [{
            "id": "1", "host": "c1", "binary": "neutron-openvswitch-agent", "alive": true,
            "configurations": {"datapath_type": "netdev"},
        }]});
        cloud.read("agents.json", &agents.to_string()).unwrap();
        let mut have = HostState::new("c1");
        assert_eq!(settings(&cloud, &have).datapath_type, "netdev");
        have = HostState::new("c2");
        assert_eq!(settings(&cloud, &have).datapath_type, "system");
    }
}

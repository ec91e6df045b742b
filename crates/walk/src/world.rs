//! The hosts as one world: which device leads to which, where a guest's port is plugged, which
//! tunnel ends on which host, which network cards share a physical network.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use host::netns::{Link, Netns};
use host::ovs::{Bridge, Interface, Port as SwitchPort};
use host::{HostState, NsName, names};

use crate::cloud::{Cloud, Port};
use crate::difference::{self, Difference};

/// Hosts, what the API says of them, and the ways between them.
#[derive(Clone, Debug, Default)]
pub struct World {
    pub hosts: BTreeMap<String, Arc<HostState>>,
    /// What is wanted of each host, where that is known.
    pub wanted: BTreeMap<String, Arc<HostState>>,
    pub cloud: Arc<Cloud>,
    /// By host and interface: the bridge of Open vSwitch that it is on.
    switch_ports: BTreeMap<(String, String), String>,
    /// By host and device: the guest behind it.
    guests: BTreeMap<(String, String), String>,
    /// By address: the host that has it, or whose tunnels say so.
    tunnel_hosts: BTreeMap<IpAddr, String>,
    /// By physical network: the cards on it, as host, bridge and interface.
    pub segments: BTreeMap<String, BTreeSet<Card>>,
    /// The MACs by which the outside is known.
    pub gateways: Vec<host::Mac>,
    /// Hosts were made of what is wanted of them.
    as_wanted: bool,
    /// Where hosts differ from what is wanted, once somebody has asked.
    differences: OnceLock<Arc<Vec<Difference>>>,
}

/// A network card of a host on a physical network, and the bridge that has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Card {
    pub host: String,
    pub bridge: String,
    pub dev: String,
}

/// Where a guest's network card is plugged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plug {
    /// The host's end of it is a device of the kernel.
    Device { host: String, dev: String },
    /// Devices were not recorded; the switch has the port.
    Switch {
        host: String,
        bridge: String,
        port: String,
    },
    /// The host is there, and nothing of the port on it.
    Missing { host: String, tap: String },
    /// The host's state was not given.
    UnknownHost { host: String },
}

/// Where a frame comes out that leaves by a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Beyond {
    Guest(String),
    Device { ns: NsName, dev: String },
    Switch { bridge: String },
    Segment(String),
    Unknown,
}

impl World {
    pub fn new(hosts: BTreeMap<String, HostState>, cloud: Cloud) -> World {
        let shared = |(name, state)| (name, Arc::new(state));
        let mut world = World {
            hosts: hosts.into_iter().map(shared).collect(),
            cloud: Arc::new(cloud),
            ..World::default()
        };
        world.index();
        world
    }

    /// A world of hosts that are what is wanted of them.
    pub fn imagined(hosts: BTreeMap<String, HostState>, cloud: Cloud) -> World {
        World {
            as_wanted: true,
            ..World::new(hosts, cloud)
        }
    }

    pub fn is_as_wanted(&self) -> bool {
        self.as_wanted
    }

    /// Look at the hosts as they would be with every difference from what is wanted put right, and
    /// no connection open.
    pub fn want(&mut self) {
        for state in self.hosts.values_mut() {
            if state.netns.values().all(|ns| ns.conntrack.is_empty()) {
                continue;
            }
            for netns in Arc::make_mut(state).netns.values_mut() {
                netns.conntrack.clear();
            }
        }
        for difference in self.differences().iter() {
            difference.undo(self);
        }
        self.index();
    }

    /// Where the hosts differ from what is wanted of them.
    pub fn differences(&self) -> Arc<Vec<Difference>> {
        let found = self
            .differences
            .get_or_init(|| Arc::new(difference::all(self)));
        Arc::clone(found)
    }

    /// Compute the ways anew, after the hosts were changed.
    pub fn index(&mut self) {
        self.differences = OnceLock::new();
        self.switch_ports.clear();
        self.guests.clear();
        self.segments.clear();
        for (host, state) in &self.hosts {
            for (bridge, row) in &state.bridges {
                for (name, _) in row.interfaces() {
                    self.switch_ports
                        .insert((host.clone(), name.to_owned()), bridge.clone());
                }
            }
        }
        for port in self.cloud.ports.values().filter(|p| p.is_guest()) {
            self.guests
                .insert((port.host.clone(), names::tap(&port.id)), port.id.clone());
        }
        self.find_addresses();
        self.find_cards();
        self.gateways = crate::outside::macs(self);
    }

    /// The cards of provider bridges: bridges with a patch to the integration bridge, and on
    /// them the interfaces that are devices of the host.
    fn find_cards(&mut self) {
        for (host, state) in &self.hosts {
            for (name, bridge) in &state.bridges {
                let provider = name != "br-int"
                    && bridge.interfaces().any(|(_, i)| {
                        let peer = i.options.get("peer");
                        let integration = state.bridges.get("br-int");
                        peer.zip(integration)
                            .is_some_and(|(peer, int)| int.interface(peer).is_some())
                    });
                let tunnels = bridge.interfaces().any(|(_, i)| is_tunnel(i));
                if !provider || tunnels {
                    continue;
                }
                for (dev, interface) in bridge.interfaces() {
                    if !interface.kind.is_empty() && interface.kind != "system" {
                        continue;
                    }
                    let card = Card {
                        host: host.clone(),
                        bridge: name.clone(),
                        dev: dev.to_owned(),
                    };
                    let physical = self.physical_network(host, name);
                    self.segments.entry(physical).or_default().insert(card);
                }
            }
        }
    }

    /// The physical network behind a bridge, by the agents' `bridge_mappings`; else the bridge
    /// gives its name: hosts name the same bridge for the same network.
    fn physical_network(&self, host: &str, bridge: &str) -> String {
        let agents = self.cloud.agents.values().filter(|a| a.host == host);
        let mut mappings =
            agents.filter_map(|a| a.configurations.get("bridge_mappings")?.as_object());
        mappings
            .find_map(|m| m.iter().find(|(_, b)| b.as_str() == Some(bridge)))
            .map_or(bridge, |(physical, _)| physical.as_str())
            .to_owned()
    }

    pub fn netns(&self, host: &str, ns: &NsName) -> Option<&Netns> {
        self.hosts.get(host)?.netns.get(ns).map(|netns| &**netns)
    }

    pub fn link(&self, host: &str, ns: &NsName, dev: &str) -> Option<&Link> {
        self.netns(host, ns)?.links.get(dev)
    }

    pub fn bridge(&self, host: &str, bridge: &str) -> Option<&Bridge> {
        self.hosts.get(host)?.bridges.get(bridge)
    }

    /// The bridge of Open vSwitch that a device is a port of.
    pub fn switch_of(&self, host: &str, dev: &str) -> Option<&str> {
        let key = (host.to_owned(), dev.to_owned());
        self.switch_ports.get(&key).map(String::as_str)
    }

    /// The namespace in which a device of this name is, the host's own first.
    pub fn namespace_of(&self, host: &str, dev: &str) -> Option<&NsName> {
        let state = self.hosts.get(host)?;
        let mut with = state
            .netns
            .iter()
            .filter(|(_, ns)| ns.links.contains_key(dev));
        let first = with.next()?;
        Some(with.find(|(name, _)| name.is_root()).unwrap_or(first).0)
    }

    pub fn guest_at(&self, host: &str, dev: &str) -> Option<&Port> {
        let id = self.guests.get(&(host.to_owned(), dev.to_owned()))?;
        self.cloud.ports.get(id)
    }

    /// Where a guest's port is plugged in.
    pub fn plug(&self, port: &Port) -> Plug {
        let host = port.host.clone();
        let Some(state) = self.hosts.get(&host) else {
            return Plug::UnknownHost { host };
        };
        let tap = names::tap(&port.id);
        if state.root().is_some_and(|r| r.links.contains_key(&tap)) {
            return Plug::Device { host, dev: tap };
        }
        let devices = state.root().is_some_and(|r| !r.links.is_empty());
        let names = [names::qvo(&port.id), tap.clone()];
        let on_switch = names.into_iter().find_map(|name| {
            let bridge = self.switch_of(&host, &name)?.to_owned();
            Some((bridge, name))
        });
        match on_switch {
            Some((bridge, port)) if !devices => Plug::Switch { host, bridge, port },
            _ => Plug::Missing { host, tap },
        }
    }

    /// The other end of a veth.
    pub fn peer(&self, host: &str, ns: &NsName, dev: &str) -> Option<(NsName, String)> {
        far_end(self.hosts.get(host)?, ns, dev)
    }

    /// Where a frame comes out that is sent on a device.
    pub fn beyond(&self, host: &str, ns: &NsName, dev: &str) -> Beyond {
        if ns.is_root()
            && let Some(port) = self.guest_at(host, dev)
        {
            return Beyond::Guest(port.id.clone());
        }
        if let Some((ns, dev)) = self.peer(host, ns, dev) {
            return Beyond::Device { ns, dev };
        }
        if let Some(bridge) = self.switch_of(host, dev) {
            let interface = self.bridge(host, bridge).and_then(|b| b.interface(dev));
            if interface.is_some_and(|i| i.kind == "internal") || bridge == dev {
                return Beyond::Switch {
                    bridge: bridge.to_owned(),
                };
            }
        }
        match self.segment_of(host, dev) {
            Some(segment) => Beyond::Segment(segment.to_owned()),
            None => Beyond::Unknown,
        }
    }

    /// The physical network that a card is on.
    pub fn segment_of(&self, host: &str, dev: &str) -> Option<&str> {
        let has = |c: &Card| c.host == host && c.dev == dev;
        let mut segments = self.segments.iter();
        segments
            .find(|(_, cards)| cards.iter().any(has))
            .map(|(name, _)| name.as_str())
    }

    /// The host that has an address on a device of its own, by that or by its tunnels' word.
    pub fn host_with(&self, ip: IpAddr) -> Option<&str> {
        self.tunnel_hosts.get(&ip).map(String::as_str)
    }

    fn find_addresses(&mut self) {
        self.tunnel_hosts.clear();
        let mut by_word = BTreeMap::new();
        for (name, state) in &self.hosts {
            let addrs = state.root().into_iter().flat_map(|r| r.addrs.keys());
            let own: Vec<IpAddr> = addrs.map(|a| a.net.addr()).collect();
            // Without addresses in the snapshot, what the tunnels say has to do.
            if own.is_empty() {
                let interfaces = state.bridges.values().flat_map(Bridge::interfaces);
                let tunnels = interfaces.filter(|(_, i)| is_tunnel(i));
                let claimed = tunnels.filter_map(|(_, i)| option_ip(i, "local_ip"));
                by_word.extend(claimed.map(|ip| (ip, name.clone())));
            }
            for ip in own {
                self.tunnel_hosts.entry(ip).or_insert_with(|| name.clone());
            }
        }
        for (ip, name) in by_word {
            self.tunnel_hosts.entry(ip).or_insert(name);
        }
    }

    /// A port of a bridge with the interface of that name.
    pub fn switch_port(&self, host: &str, bridge: &str, name: &str) -> Option<&SwitchPort> {
        let ports = &self.bridge(host, bridge)?.ports;
        let named = ports.get(name).filter(|p| p.interfaces.contains_key(name));
        named
            .or_else(|| ports.values().find(|p| p.interfaces.contains_key(name)))
            .map(|port| &**port)
    }
}

/// The other end of a veth, as the host shows it; that of a distributed router's pair goes by its
/// name where nothing is shown.
pub fn far_end(state: &HostState, ns: &NsName, dev: &str) -> Option<(NsName, String)> {
    let here = state.netns.get(ns)?;
    let link = here.links.get(dev)?;
    if let Some(peer) = link.peer.as_ref().filter(|p| here.links.contains_key(*p)) {
        return Some((ns.clone(), peer.clone()));
    }
    far_end_elsewhere(state, link).or_else(|| far_end_by_name(state, dev))
}

fn far_end_elsewhere(state: &HostState, link: &Link) -> Option<(NsName, String)> {
    let other = link.peer_netns.0.as_deref()?;
    let name = NsName::new(other.split_whitespace().last()?);
    let index = link.peer_index.0?;
    let links = &state.netns.get(&name)?.links;
    let found = links.iter().find(|(_, l)| l.index.0 == index)?;
    Some((name, found.0.clone()))
}

fn far_end_by_name(state: &HostState, dev: &str) -> Option<(NsName, String)> {
    let other = match dev.split_once('-')? {
        ("rfp", router) => format!("fpr-{router}"),
        ("fpr", router) => format!("rfp-{router}"),
        _ => return None,
    };
    let mut spaces = state.netns.iter();
    let (ns, _) = spaces.find(|(_, netns)| netns.links.contains_key(&other))?;
    Some((ns.clone(), other))
}

/// Is this interface the end of a tunnel?
pub fn is_tunnel(interface: &Interface) -> bool {
    matches!(
        interface.kind.as_str(),
        "vxlan" | "gre" | "geneve" | "ip6gre" | "stt" | "lisp" | "erspan"
    )
}

/// An option of an interface that is an address.
pub fn option_ip(interface: &Interface, name: &str) -> Option<IpAddr> {
    interface.options.get(name)?.parse().ok()
}

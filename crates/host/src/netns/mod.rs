//! One network namespace: links, addresses, routes, rules, neighbours, filters, sets, settings.
mod ip_addr;
mod observed;
mod route;
#[cfg(test)]
mod tests;

pub use ip_addr::{
    LinksAndAddrs, print_addr, print_link, read_brctl_show, read_bridge_link, read_ip_addr,
};
pub use observed::{
    print_connection, print_sysctls, read_conntrack, read_listeners, read_netns_list, read_sysctls,
};
pub use route::{
    DEFAULT, LOCAL, MAIN, Routes, print_ip_rule, print_neighbour, print_route, read_neighbours,
    read_route, read_routes, read_rules, table_name,
};

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use crate::ipset::Ipsets;
use crate::iptables::Iptables;
use crate::{Mac, Merge, Shared, Shown, Why};

/// Devices by name.
pub type Links = BTreeMap<String, Link>;

/// What one namespace holds. Connections and listeners are only observed, never wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Netns {
    pub links: Shared<Links>,
    pub addrs: BTreeMap<AddrKey, Addr>,
    /// By table number: 254 is main, 255 local, 253 default.
    pub routes: BTreeMap<u32, BTreeMap<RouteKey, Route>>,
    pub rules: BTreeMap<RuleKey, RuleAction>,
    pub neighbours: BTreeMap<NeighbourKey, Neighbour>,
    pub iptables: BTreeMap<Family, Iptables>,
    pub ipsets: Ipsets,
    pub sysctls: BTreeMap<String, Sysctl>,
    pub listeners: BTreeSet<Listener>,
    pub conntrack: Vec<Connection>,
    pub why: Why,
}

impl Merge for Netns {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

/// IP's two versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: IpAddr) -> Family {
        match address {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// A network device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    pub kind: LinkKind,
    pub mac: Option<Mac>,
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// The bridge it is a port of.
    pub master: Option<String>,
    /// The other end of a veth, when it is in the same namespace or was named.
    pub peer: Option<String>,
    pub index: Shown<u32>,
    /// All flags as shown: `BROADCAST`, `UP`, `LOWER_UP`, `NO-CARRIER`, …
    pub flags: Shown<BTreeSet<String>>,
    /// `UP`, `DOWN`, `UNKNOWN`, …
    pub state: Shown<String>,
    /// `link-netns …` or `link-netnsid …`: where the other end is.
    pub peer_netns: Shown<Option<String>>,
    /// The other end's index, as in `eth0@if8`.
    pub peer_index: Shown<Option<u32>>,
    /// What a Linux bridge knows of this port.
    pub bridge_port: Shown<Option<BridgePort>>,
    pub why: Why,
}

/// What a device is.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkKind {
    /// A device of hardware, or one whose kind was not shown.
    #[default]
    Device,
    Loopback,
    Veth,
    Bridge,
    Tun,
    Vlan(u16),
    Dummy,
    Other(String),
}

/// A port of a Linux bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BridgePort {
    /// `forwarding`, `disabled`, …
    pub state: String,
    /// `hairpin`, `learning`, `flood`, … as `on` or `off`.
    pub settings: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddrKey {
    pub dev: String,
    /// The address with its prefix; host bits are kept.
    pub net: IpNet,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addr {
    pub broadcast: Option<IpAddr>,
    /// `global`, `link`, `host`.
    pub scope: String,
    /// `dynamic`, `tentative`, `dadfailed`, `secondary`, … shown, never compared.
    pub flags: Shown<BTreeSet<String>>,
    pub why: Why,
}

/// What makes a route that route and no other within its table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    /// `0.0.0.0/0` and `::/0` are `default`.
    pub dst: IpNet,
    pub metric: u32,
    pub kind: RouteKind,
    pub dev: Option<String>,
    pub tos: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RouteKind {
    #[default]
    Unicast,
    Local,
    Broadcast,
    Multicast,
    Anycast,
    Unreachable,
    Blackhole,
    Prohibit,
    Throw,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    pub via: Option<IpAddr>,
    /// `link`, `host`, `global`; empty when not shown.
    pub scope: String,
    pub src: Option<IpAddr>,
    /// `kernel`, `static`, `boot`, …
    pub proto: String,
    pub onlink: bool,
    pub mtu: Option<u32>,
    /// Several ways at once, each `via … dev … weight …`.
    pub nexthops: Vec<Nexthop>,
    /// `linkdown`, `pref medium`, `expires …`: shown, never compared.
    pub rest: Shown<Vec<String>>,
    pub why: Why,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nexthop {
    pub via: Option<IpAddr>,
    pub dev: Option<String>,
    pub weight: u32,
}

/// A rule of policy routing: everything but where it leads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleKey {
    pub priority: u32,
    pub family: Family,
    pub not: bool,
    /// `None` is `all`. Host bits are kept, as the kernel shows them.
    pub from: Option<IpNet>,
    pub to: Option<IpNet>,
    pub iif: Option<String>,
    pub oif: Option<String>,
    /// Value and mask.
    pub fwmark: Option<(u32, u32)>,
    /// Further selectors, as they stood.
    pub rest: Vec<String>,
}

impl RuleKey {
    /// A rule that selects everything, to be narrowed.
    pub fn new(priority: u32, family: Family) -> RuleKey {
        RuleKey {
            priority,
            family,
            not: false,
            from: None,
            to: None,
            iif: None,
            oif: None,
            fwmark: None,
            rest: Vec::new(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleAction {
    pub verdict: RuleVerdict,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleVerdict {
    Lookup(u32),
    Unreachable,
    Blackhole,
    Prohibit,
    Goto(u32),
    Nop,
}

impl Default for RuleVerdict {
    fn default() -> Self {
        RuleVerdict::Lookup(254)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NeighbourKey {
    pub dev: String,
    pub ip: IpAddr,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Neighbour {
    pub mac: Option<Mac>,
    /// `PERMANENT`, `REACHABLE`, `STALE`, `FAILED`, …
    pub state: String,
    pub router: bool,
    pub proxy: bool,
    pub why: Why,
}

impl Neighbour {
    /// Set by hand; the others come and go by themselves and are never wanted.
    pub fn is_permanent(&self) -> bool {
        self.state == "PERMANENT" || self.proxy
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctl {
    pub value: String,
    pub why: Why,
}

/// Whether a setting is one device's, which brings it along and takes it away again.
pub fn is_setting_of(key: &str, dev: &str) -> bool {
    key.contains(&format!(".{dev}."))
}

/// An open socket that waits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    /// `tcp`, `udp`, `raw`, …
    pub proto: String,
    /// `None` is every address.
    pub addr: Option<IpAddr>,
    pub port: u16,
    /// The device it is bound to.
    pub dev: Option<String>,
    /// The program's name and its process.
    pub process: Option<(String, u32)>,
}

/// A tracked connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    pub proto: String,
    pub state: Option<String>,
    pub original: Tuple,
    pub reply: Tuple,
    pub assured: bool,
    pub unreplied: bool,
    pub mark: u32,
    pub zone: u16,
    pub timeout_s: Shown<Option<u64>>,
    /// Everything else, as it stood.
    pub rest: Vec<String>,
}

/// One direction of a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuple {
    pub src: Option<IpAddr>,
    pub dst: Option<IpAddr>,
    pub sport: Option<u16>,
    pub dport: Option<u16>,
    pub icmp_type: Option<u8>,
    pub icmp_code: Option<u8>,
    pub icmp_id: Option<u16>,
}

macro_rules! carries_why {
    ($($kind:ty),*) => { $(impl Merge for $kind {
        fn why_mut(&mut self) -> &mut Why { &mut self.why }
    })* };
}
carries_why!(Link, Addr, Route, RuleAction, Neighbour, Sysctl);

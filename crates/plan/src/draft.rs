//! The plan while it is being written: what stages read from and write to.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use host::{
    HostState, Merge, NsName, Shared, Why,
    netns::{Addr, AddrKey, Link, LinkKind, Netns, Route, RouteKey, RouteKind, Sysctl},
    ovs,
    why::want,
};
use intent::{Network, NetworkId, Port, Subnet, SubnetId, View};
use ipnet::IpNet;

use crate::{Numbers, Plan, Settings};

/// Something in intent that could not be planned as it stands, or that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub about: String,
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.about, self.text)
    }
}

/// What stages keep from one run of the compiler to the next.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    pub(crate) dhcp: crate::memo::Memo<NetworkId>,
    pub(crate) l3: crate::memo::Memo<crate::l3::From>,
    pub(crate) l2: crate::l2::Memo,
    pub(crate) sg: crate::sg::Memo,
}

pub struct Draft<'a> {
    pub view: &'a View,
    pub settings: &'a Settings,
    pub numbers: Numbers,
    pub want: HostState,
    pub notes: Vec<Note>,
    pub contested: BTreeSet<NsName>,
    /// What was written before, and can be written again without being worked out.
    pub(crate) memo: Memo,
}

impl<'a> Draft<'a> {
    pub fn new(view: &'a View, settings: &'a Settings, numbers: Numbers) -> Self {
        Self {
            view,
            settings,
            numbers,
            memo: Memo::default(),
            want: HostState::new(settings.host.as_str()),
            notes: Vec::new(),
            contested: BTreeSet::new(),
        }
    }

    pub fn finish(mut self) -> Plan {
        let given_back = self.numbers.settle();
        Plan {
            want: self.want,
            numbers: self.numbers,
            given_back,
            notes: self.notes,
            contested: self.contested,
        }
    }

    pub fn note(&mut self, about: impl fmt::Display, text: impl Into<String>) {
        self.notes.push(Note {
            about: about.to_string(),
            text: text.into(),
        });
    }

    /// The subnets of a network, in the order of their ids.
    pub fn subnets_of(&self, network: NetworkId) -> impl Iterator<Item = &'a Subnet> + use<'a> {
        let subnets = self.view.subnets.values().map(|subnet| &**subnet);
        subnets.filter(move |subnet| subnet.network_id == network)
    }

    pub fn ports_of(&self, network: NetworkId) -> impl Iterator<Item = &'a Port> + use<'a> {
        let ports = self.view.ports.values().map(|port| &**port);
        ports.filter(move |port| port.network_id == network)
    }

    pub fn subnet(&self, id: SubnetId) -> Option<&'a Subnet> {
        self.view.subnets.get(&id).map(|subnet| &**subnet)
    }

    pub fn network(&self, id: NetworkId) -> Option<&'a Network> {
        self.view.networks.get(&id).map(|network| &**network)
    }

    /// A port's addresses with their subnets' prefix lengths, in the port's order.
    pub fn prefixes(&self, port: &Port) -> Vec<(&'a Subnet, IpNet)> {
        let fixed = port.fixed_ips.iter();
        fixed
            .filter_map(|fixed| {
                let subnet = self.subnet(fixed.subnet_id)?;
                let net = IpNet::new(fixed.ip_address, subnet.cidr.prefix_len()).ok()?;
                Some((subnet, net))
            })
            .collect()
    }

    /// A device of ours in br-int that lives in a namespace: an internal port of Open vSwitch. Its
    /// tag is the network's, as every port's of br-int.
    #[track_caller]
    pub fn service_port(&mut self, ns: &NsName, device: &str, port: &Port) {
        let why = Why::of("port", port.id);
        let mtu = self
            .network(port.network_id)
            .map_or(1500, |network| network.mtu);
        let interface = ovs::Interface {
            kind: "internal".to_owned(),
            external_ids: BTreeMap::from([
                ("attached-mac".to_owned(), port.mac_address.to_string()),
                ("iface-id".to_owned(), port.id.to_string()),
                ("iface-status".to_owned(), "active".to_owned()),
            ]),
            ..ovs::Interface::default()
        };
        let wanted = ovs::Port {
            interfaces: BTreeMap::from([(device.to_owned(), interface)]),
            why: why.clone(),
            ..ovs::Port::default()
        };
        let bridge = self.settings.integration_bridge.clone();
        self.ovs_port(&bridge, device, wanted);
        let link = Link {
            kind: LinkKind::Tun,
            mac: Some(port.mac_address),
            mtu,
            up: true,
            why,
            ..Link::default()
        };
        self.link(ns, device, link);
    }

    pub fn ovs_port(&mut self, bridge: &str, name: &str, port: impl Into<Shared<ovs::Port>>) {
        let ports = &mut self.want.bridge_mut(bridge).ports;
        let refused = want(ports, name.to_owned(), port.into());
        self.contradiction(refused, format!("port {name} of {bridge}"));
    }

    pub fn link(&mut self, ns: &NsName, name: &str, link: Link) {
        let refused = want(&mut self.netns(ns).links, name.to_owned(), link);
        self.contradiction(refused, format!("{name} in {ns}"));
    }

    pub fn address(&mut self, ns: &NsName, dev: &str, net: IpNet, why: Why) {
        let key = AddrKey {
            dev: dev.to_owned(),
            net,
        };
        let broadcast = match net {
            IpNet::V4(net) if net.prefix_len() != 31 => Some(net.broadcast().into()),
            _ => None,
        };
        let addr = Addr {
            broadcast,
            scope: "global".to_owned(),
            why,
            ..Addr::default()
        };
        let refused = want(&mut self.netns(ns).addrs, key, addr);
        self.contradiction(refused, format!("{net} on {dev} in {ns}"));
    }

    pub fn sysctl(&mut self, ns: &NsName, key: &str, value: &str, why: Why) {
        let sysctl = Sysctl {
            value: value.to_owned(),
            why,
        };
        let refused = want(&mut self.netns(ns).sysctls, key.to_owned(), sysctl);
        self.contradiction(refused, format!("{key} in {ns}"));
    }

    pub fn route(&mut self, ns: &NsName, table: u32, to: To<'_>, why: Why) {
        let key = RouteKey {
            dst: to.destination,
            metric: if matches!(to.destination, IpNet::V6(_)) {
                1024
            } else {
                0
            },
            kind: RouteKind::Unicast,
            dev: Some(to.dev.to_owned()),
            tos: 0,
        };
        let route = Route {
            via: to.via,
            scope: if to.via.is_none() {
                "link".to_owned()
            } else {
                String::new()
            },
            proto: "static".to_owned(),
            why,
            ..Route::default()
        };
        let routes = self.netns(ns).routes.entry(table).or_default();
        let refused = want(routes, key, route);
        self.contradiction(refused, format!("route to {} in {ns}", to.destination));
    }

    pub fn netns(&mut self, ns: &NsName) -> &mut Netns {
        self.want.netns_mut(ns.clone())
    }

    /// Two causes want different things under one key: the first stays, and it is said.
    pub fn contradiction<T: Merge>(&mut self, refused: Result<(), T>, about: String) {
        if let Err(mut other) = refused {
            let why = std::mem::take(other.why_mut());
            self.note(
                about,
                format!("{why} wants it otherwise than what was planned before"),
            );
        }
    }
}

/// Where a route leads.
#[derive(Debug, Clone, Copy)]
pub struct To<'a> {
    pub destination: IpNet,
    pub via: Option<std::net::IpAddr>,
    pub dev: &'a str,
}

/// The routing table that every namespace begins with.
pub const MAIN: u32 = 254;

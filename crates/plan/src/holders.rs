//! Who speaks for an address of a router's subnet: one port for good, or several by turns.
//!
//! A distributed router knows its neighbours by heart, as it can't ask them: its address is on every
//! host, so that an answer would stay where it was given. That does for an address that one port
//! alone has. One that ports may take over from each other (a pair that several of them allow, or
//! a pair of many addresses) is nobody's for good, and has to be asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use host::Mac;
use intent::{Port, owner};
use ipnet::IpNet;

use crate::Draft;

pub(crate) struct Holders<'a> {
    /// Addresses that one port alone has, and the MAC that they are reached by.
    pub(crate) known: BTreeMap<IpAddr, (Mac, &'a Port)>,
    /// Addresses that somebody may have.
    pub(crate) asked_for: BTreeSet<IpNet>,
}

/// The holders of addresses in an interface's subnets.
pub(crate) fn of<'a>(draft: &Draft<'a>, interface: &Port) -> Holders<'a> {
    let subnets = draft.prefixes(interface).into_iter();
    let subnets: Vec<IpNet> = subnets.map(|(subnet, _)| subnet.cidr).collect();
    let concerns = |net: &IpNet| {
        let mut subnets = subnets.iter();
        subnets.any(|subnet| subnet.contains(net) || net.contains(subnet))
    };
    let mut speakers: BTreeMap<IpNet, BTreeMap<Mac, &Port>> = BTreeMap::new();
    let ports = draft.ports_of(interface.network_id);
    for port in ports.filter(|port| is_on_the_wire(port)) {
        let own = port.addresses().map(|ip| (ip.into(), port.mac_address));
        let pairs = port.allowed_address_pairs.iter();
        let pairs = pairs.map(|pair| (pair.ip_address.network().trunc(), pair.mac_address));
        for (net, mac) in own.chain(pairs).filter(|(net, _)| concerns(net)) {
            speakers.entry(net).or_default().insert(mac, port);
        }
    }
    let mut holders = Holders {
        known: BTreeMap::new(),
        asked_for: BTreeSet::new(),
    };
    for (net, speakers) in speakers {
        let mut speakers = speakers.into_iter();
        match (speakers.next(), speakers.next()) {
            (Some(one), None) if is_one_address(&net) => {
                holders.known.insert(net.addr(), one);
            }
            _ => {
                holders.asked_for.insert(net);
            }
        }
    }
    holders
}

pub(crate) fn is_one_address(net: &IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

/// A distributed router's own interfaces are here; the outside world's ports are not there.
fn is_on_the_wire(port: &Port) -> bool {
    let owner = port.device_owner.as_str();
    owner != owner::ROUTER_INTERFACE_DVR && owner != owner::FLOATING_IP
}

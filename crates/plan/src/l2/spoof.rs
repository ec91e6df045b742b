//! What a guest's frames may claim to come from, checked before anything else sees them.
//!
//! - ARP: the sender's address must be one of the port's (fixed or allowed pair): table 24.
//! - Neighbour advertisements: the target must be one of the port's addresses, or the link-local
//!   one that its MAC makes: table 24.
//! - Everything: the source MAC must be the port's own or one of its pairs': table 25.
//!
//! Ports without port security, and the network's own services, are not checked. A pair with the
//! prefix /0 allows every address of that family: then there is nothing to check.

use std::collections::BTreeSet;

use host::{
    Mac,
    ovs::{Action, Field, Match},
};
use intent::Port;
use ipnet::IpNet;

use super::{Plugged, int, part::Flows};

/// ICMPv6's neighbour advertisement.
const ADVERTISEMENT: u8 = 136;

/// Everything that a port may speak for.
struct Claims {
    macs: BTreeSet<Mac>,
    v4: BTreeSet<IpNet>,
    v6: BTreeSet<IpNet>,
}

impl Claims {
    fn of(port: &Port) -> Claims {
        let pairs = &port.allowed_address_pairs;
        let own = std::iter::once(port.mac_address);
        let macs = own.chain(pairs.iter().map(|pair| pair.mac_address));
        let macs: BTreeSet<Mac> = macs.collect();
        let pairs = pairs.iter().map(|pair| pair.ip_address.network());
        let addresses = port.addresses().map(IpNet::from).chain(pairs);
        let (v4, mut v6): (BTreeSet<IpNet>, BTreeSet<IpNet>) =
            addresses.partition(|net| matches!(net, IpNet::V4(_)));
        let of_macs = macs
            .iter()
            .map(|mac| IpNet::from(std::net::IpAddr::from(mac.link_local())));
        v6.extend(of_macs);
        Claims { macs, v4, v6 }
    }
}

fn is_everything(nets: &BTreeSet<IpNet>) -> bool {
    nets.iter().any(|net| net.prefix_len() == 0)
}

/// The checks of a guest's port. What a dead one sends is dropped by a flow that these would stand
/// before.
pub(super) fn guard(flows: &mut Flows, plugged: &Plugged<'_>) {
    let is_guarded = plugged.is_guest() && plugged.port.port_security_enabled;
    if !is_guarded || plugged.is_dead() {
        return;
    }
    let claims = Claims::of(plugged.port);
    let mut flow = |table, priority, matches: Match, to: u8| {
        let actions = vec![Action::GotoTable(to)];
        flows.put((table, priority), matches, actions, plugged.why());
    };
    let from = || Match::any().in_port(&plugged.device);
    let advertisement = || from().icmp6_type(ADVERTISEMENT);
    flow(int::LOCAL, 9, from(), int::MAC_SPOOF);
    for mac in &claims.macs {
        let known = from().eth_src(*mac);
        flow(int::MAC_SPOOF, 2, known, int::LOCAL_EGRESS);
    }
    if !is_everything(&claims.v4) {
        flow(int::LOCAL, 10, from().arp(), int::ARP_SPOOF);
        for net in &claims.v4 {
            let claimed = within(from().arp(), Field::ArpSpa, *net);
            flow(int::ARP_SPOOF, 2, claimed, int::MAC_SPOOF);
        }
    }
    if !is_everything(&claims.v6) {
        flow(int::LOCAL, 10, advertisement(), int::ARP_SPOOF);
        for net in &claims.v6 {
            let claimed = within(advertisement(), Field::NdTarget, *net);
            flow(int::ARP_SPOOF, 2, claimed, int::PACKET_RATE_LIMIT);
        }
    }
}

/// A field must hold an address of this network.
pub(super) fn within(matches: Match, field: Field, net: IpNet) -> Match {
    let net = net.trunc();
    match net {
        IpNet::V4(net) => {
            let (value, mask) = (u32::from(net.addr()), u32::from(net.netmask()));
            matches.masked(field, value.into(), mask.into())
        }
        IpNet::V6(net) => {
            let (value, mask) = (u128::from(net.addr()), u128::from(net.netmask()));
            matches.masked(field, value, mask)
        }
    }
}

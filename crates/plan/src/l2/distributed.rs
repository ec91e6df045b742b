//! Distributed routers in layer 2: the same interface, with the same MAC, stands on every host.
//!
//! So that no other host sees that MAC, a routed frame leaves its host with the host's own DVR MAC
//! as its sender, and gets the interface's MAC back where it arrives:
//!
//! - br-tun 1: to the interface: stays here; from it: the host's MAC is put in. ARP for the
//!   interface's address is not flooded (22): it is answered at home, everywhere.
//! - br-tun 9: what other hosts' DVR MACs send is let in without learning: they are no guests.
//! - br-int 0 sends it to 1 (through tunnels) or 2 (through a physical network), where a guest here
//!   gets it with the interface's MAC as its sender.
//! - What is addressed to the host's own DVR MAC (answers to what was routed here) goes by 3 or 4
//!   back to the interface; ARP answers among it at once (0).
//! - IPv6 likewise: solicitations for the interface's address are not flooded, and its router
//!   advertisements stay at home (br-tun 1). Solicitations for addresses that go from holder to
//!   holder are heard by all (br-int 1); the answer is for the interface, which every host has, so
//!   all of them hear it (br-int 60).
//! - The interface's own ARP requests stay here, as it knows its neighbours by heart; but those for
//!   addresses that go from holder to holder leave as requests of nobody's (br-tun 1), with the
//!   host's MAC for an answer, so that no holder takes that MAC for the router's; elsewhere they are
//!   heard by all (br-int 1).
//! - A physical network's bridge does what br-tun does: 1, 2 and 3.

use std::collections::BTreeSet;
use std::net::IpAddr;

use host::{
    Mac, Why, names,
    ovs::{Action, Field, Match},
};
use intent::{PortId, Subnet, owner};
use ipnet::IpNet;

use super::{
    At, Carrier, LocalNet, PATCH_INT, PATCH_TUN, Plugged, has_tunnels, int, is_distributed,
    spoof::within, tun,
};
use crate::{Draft, holders};

const ROUTER_ADVERTISEMENT: u8 = 134;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// Where frames to IPv6's all-nodes group go.
const ALL_NODES: Mac = Mac([0x33, 0x33, 0, 0, 0, 1]);

/// A provider bridge's tables.
mod phys {
    pub(super) const DVR_PROCESS: u8 = 1;
    pub(super) const TRANSLATE: u8 = 2;
    pub(super) const NOT_LEARN: u8 = 3;
}

pub(super) fn emit(draft: &mut Draft<'_>, nets: &[LocalNet<'_>]) {
    if !is_distributed(draft.settings) {
        return;
    }
    let Some(own) = own_mac(draft) else {
        let host = draft.settings.host.clone();
        draft.note(
            format!("host {host}"),
            "has no MAC for distributed routers yet",
        );
        return;
    };
    let others = other_macs(draft);
    entrances(draft, own, &others);
    for bridge in draft.settings.bridge_mappings.values() {
        provider_bridge(draft, bridge, &others);
    }
    for net in nets {
        let ports = net.ports.iter();
        let mut interfaces: Vec<_> = ports
            .filter(|plugged| plugged.port.device_owner == owner::ROUTER_INTERFACE_DVR)
            .collect();
        interfaces.sort_by_key(|it| !it.port.addresses().any(|address| address.is_ipv4()));
        let mut taken = Taken::default();
        for plugged in interfaces {
            interface(draft, own, net, plugged, &mut taken);
        }
    }
}

/// What of a network's frames its interfaces stand for so far. Where a network has several, as it
/// has where IPv6 was added to it, the later ones are told apart by more than MACs.
#[derive(Default)]
struct Taken {
    /// What is addressed to the host's MAC.
    is_answered: bool,
    /// What is routed to these.
    guests: BTreeSet<PortId>,
}

fn own_mac(draft: &Draft<'_>) -> Option<Mac> {
    let peer = draft.view.peers.get(&draft.settings.host)?;
    peer.dvr_mac
}

/// Other hosts' MACs, and the agents they are of.
fn other_macs(draft: &Draft<'_>) -> Vec<(Mac, Why)> {
    let peers = draft.view.peers.values();
    let others = peers.filter(|peer| peer.host != draft.settings.host);
    others
        .filter_map(|peer| Some((peer.dvr_mac?, Why::of("agent", &peer.host))))
        .collect()
}

/// Where frames of distributed routers come into br-int, and into br-tun from tunnels.
fn entrances(draft: &mut Draft<'_>, own: Mac, others: &[(Mac, Why)]) {
    let integration = draft.settings.integration_bridge.clone();
    let at = |table, priority| At::new(&integration, table, priority);
    for table in [int::DVR_TO_SRC_MAC, int::DVR_TO_SRC_MAC_PHYSICAL] {
        draft.flow(at(table, 1), Match::any(), Vec::new(), Why::base());
    }
    let mut doors = Vec::new();
    for bridge in draft.settings.bridge_mappings.values() {
        let (int_end, _) = names::provider_patch(bridge);
        let tables = (int::DVR_TO_LOCAL_PHYSICAL, int::DVR_TO_SRC_MAC_PHYSICAL);
        doors.push((int_end, tables, 4));
    }
    if has_tunnels(draft.settings) {
        let tables = (int::DVR_TO_LOCAL, int::DVR_TO_SRC_MAC);
        doors.push((PATCH_TUN.to_owned(), tables, 2));
    }
    for (door, (to_local, to_src), priority) in doors {
        let from = || Match::any().in_port(&door);
        let actions = vec![Action::GotoTable(to_local)];
        draft.flow(at(int::LOCAL, 5), from().eth_dst(own), actions, Why::base());
        for (mac, why) in others {
            let actions = vec![Action::GotoTable(to_src)];
            let matches = from().eth_src(*mac);
            draft.flow(at(int::LOCAL, priority), matches, actions, why.clone());
        }
    }
    if has_tunnels(draft.settings) {
        let tunnel = draft.settings.tunnel_bridge.clone();
        for (mac, why) in others {
            let at = At::new(&tunnel, tun::DVR_NOT_LEARN, 1);
            let actions = vec![Action::output(PATCH_INT)];
            draft.flow(at, Match::any().eth_src(*mac), actions, why.clone());
        }
    }
}

/// The skeleton of a physical network's bridge: frames from inside are told apart before they are
/// translated, those of other hosts' routers are not learned from.
fn provider_bridge(draft: &mut Draft<'_>, bridge: &str, others: &[(Mac, Why)]) {
    let (_, phy_end) = names::provider_patch(bridge);
    for (table, priority, matches, next) in [
        (0, 2, Match::any().in_port(&phy_end), phys::DVR_PROCESS),
        (0, 1, Match::any(), phys::NOT_LEARN),
        (phys::DVR_PROCESS, 0, Match::any(), phys::TRANSLATE),
    ] {
        let actions = vec![Action::GotoTable(next)];
        draft.flow(
            At::new(bridge, table, priority),
            matches,
            actions,
            Why::base(),
        );
    }
    for (mac, why) in others {
        let at = At::new(bridge, phys::NOT_LEARN, 2);
        let actions = vec![Action::output(phy_end.as_str())];
        draft.flow(at, Match::any().eth_src(*mac), actions, why.clone());
    }
    let at = At::new(bridge, phys::NOT_LEARN, 1);
    draft.flow(at, Match::any(), vec![Action::normal()], Why::base());
}

/// How a network's frames are known where they come in: by the local VLAN from tunnels, by the
/// network's own VLAN from a physical network.
struct Wire {
    to_src: u8,
    to_local: u8,
    /// None: without a tag (flat).
    vlan: Option<u16>,
}

impl Wire {
    fn of(net: &LocalNet<'_>) -> Option<Self> {
        match &net.carrier {
            Carrier::Tunnel { .. } => Some(Self {
                to_src: int::DVR_TO_SRC_MAC,
                to_local: int::DVR_TO_LOCAL,
                vlan: Some(net.vlan),
            }),
            Carrier::Provider { vlan, .. } => Some(Self {
                to_src: int::DVR_TO_SRC_MAC_PHYSICAL,
                to_local: int::DVR_TO_LOCAL_PHYSICAL,
                vlan: *vlan,
            }),
            Carrier::Local => None,
        }
    }

    fn matches(&self) -> Match {
        match self.vlan {
            Some(vlan) => Match::any().vlan(vlan),
            None => Match::any().untagged(),
        }
    }

    /// Takes the tag off, where there is one.
    fn untag(&self) -> Option<Action> {
        self.vlan.map(|_| Action::pop_vlan())
    }

    /// Gives the frame the local VLAN, as all of br-int's frames have.
    fn as_local(&self, net: &LocalNet<'_>) -> Vec<Action> {
        match self.vlan {
            Some(vlan) if vlan == net.vlan => Vec::new(),
            Some(_) => vec![Action::set(Field::VlanVid, u128::from(0x1000 | net.vlan))],
            None => Action::tag(net.vlan).to_vec(),
        }
    }
}

fn set_src(mac: Mac) -> Action {
    Action::set(Field::EthSrc, u128::from(mac.to_bits()))
}

fn set_dst(mac: Mac) -> Action {
    Action::set(Field::EthDst, u128::from(mac.to_bits()))
}

/// One interface of a distributed router on this host.
fn interface(
    draft: &mut Draft<'_>,
    own: Mac,
    net: &LocalNet<'_>,
    plugged: &Plugged<'_>,
    taken: &mut Taken,
) {
    let Some(wire) = Wire::of(net) else { return };
    let mac = plugged.port.mac_address;
    answers(draft, own, mac, plugged);
    let subnets: Vec<&Subnet> = draft
        .prefixes(plugged.port)
        .into_iter()
        .map(|(subnet, _)| subnet)
        .collect();
    let to_own = wire.matches().eth_dst(own);
    let arrivals = match std::mem::replace(&mut taken.is_answered, true) {
        false => vec![(5, to_own)],
        true => answers_of(&to_own, &subnets),
    };
    to_interface(draft, mac, &wire, plugged, arrivals);
    for guest in &net.ports {
        let owner = guest.port.device_owner.as_str();
        let fixed = &guest.port.fixed_ips;
        let on_subnet = fixed
            .iter()
            .any(|fixed| subnets.iter().any(|subnet| subnet.id == fixed.subnet_id));
        if on_subnet && owner != owner::ROUTER_INTERFACE_DVR {
            let to_it = wire.matches().eth_dst(guest.port.mac_address);
            let routed = match taken.guests.insert(guest.port.id) {
                true => vec![(20, to_it)],
                false => bound_for(&to_it, &subnets),
            };
            to_guest(draft, mac, net, &wire, guest, routed);
        }
    }
    leaving(draft, own, mac, net, plugged);
    hears(draft, net, &wire, plugged);
}

/// An ARP answer to the host's MAC that is meant for the interface.
fn answers(draft: &mut Draft<'_>, own: Mac, mac: Mac, plugged: &Plugged<'_>) {
    let bridge = draft.settings.integration_bridge.clone();
    let answer = Match::any()
        .arp()
        .eth_dst(own)
        .field(Field::ArpOp, 2)
        .field(Field::ArpTha, u128::from(mac.to_bits()));
    let actions = vec![set_dst(mac), Action::GotoTable(int::PACKET_RATE_LIMIT)];
    draft.flow(
        At::new(&bridge, int::LOCAL, 99),
        answer,
        actions,
        plugged.why(),
    );
}

/// What is addressed to the host's MAC in the interface's network is for the interface.
fn to_interface(
    draft: &mut Draft<'_>,
    mac: Mac,
    wire: &Wire,
    plugged: &Plugged<'_>,
    arrivals: Vec<(u16, Match)>,
) {
    let bridge = draft.settings.integration_bridge.clone();
    for (priority, matches) in arrivals {
        let mut actions = vec![set_dst(mac)];
        actions.extend(wire.untag());
        actions.push(Action::output(plugged.device.as_str()));
        let at = At::new(&bridge, wire.to_local, priority);
        draft.flow(at, matches, actions, plugged.why());
    }
}

/// A guest here gets what was routed elsewhere as if it had been routed here.
fn to_guest(
    draft: &mut Draft<'_>,
    mac: Mac,
    net: &LocalNet<'_>,
    wire: &Wire,
    guest: &Plugged<'_>,
    routed: Vec<(u16, Match)>,
) {
    let bridge = draft.settings.integration_bridge.clone();
    for (priority, matches) in routed {
        let mut actions = vec![set_src(mac)];
        actions.extend(wire.as_local(net));
        actions.push(Action::GotoTable(int::PACKET_RATE_LIMIT));
        let at = At::new(&bridge, wire.to_src, priority);
        draft.flow(at, matches, actions, guest.why());
    }
    let actions = vec![Action::pop_vlan(), Action::output(guest.device.as_str())];
    let matches = Match::any().vlan(net.vlan).eth_dst(guest.port.mac_address);
    draft.flow(
        At::new(&bridge, int::TRANSIENT, 20),
        matches,
        actions,
        guest.why(),
    );
}

/// ARP's answers from these subnets.
fn answers_of(matches: &Match, subnets: &[&Subnet]) -> Vec<(u16, Match)> {
    let cidrs = subnets.iter().map(|subnet| subnet.cidr);
    let cidrs = cidrs.filter(|cidr| matches!(cidr, IpNet::V4(_)));
    let answers = cidrs.map(|cidr| (6, within(matches.clone().arp(), Field::ArpSpa, cidr)));
    answers.collect()
}

/// What of the frames to a guest on several subnets is for its addresses on these: IPv6, or the
/// addresses of IPv4.
fn bound_for(matches: &Match, subnets: &[&Subnet]) -> Vec<(u16, Match)> {
    let parts = subnets.iter().map(|subnet| match subnet.cidr {
        IpNet::V4(_) => within(matches.clone().ip(), Field::IpDst, subnet.cidr),
        IpNet::V6(_) => matches.clone().ipv6(),
    });
    parts.map(|matches| (21, matches)).collect()
}

/// What leaves the host of the interface's: nothing to it, from it with the host's MAC.
fn leaving(draft: &mut Draft<'_>, own: Mac, mac: Mac, net: &LocalNet<'_>, plugged: &Plugged<'_>) {
    let (bridge, process, next, requests) = match &net.carrier {
        Carrier::Tunnel { .. } if has_tunnels(draft.settings) => {
            let bridge = draft.settings.tunnel_bridge.clone();
            (bridge, tun::DVR_PROCESS, tun::PATCH_LV, tun::FLOOD)
        }
        Carrier::Provider { bridge, .. } => (
            bridge.clone(),
            phys::DVR_PROCESS,
            phys::TRANSLATE,
            phys::DVR_PROCESS,
        ),
        _ => return,
    };
    let on = |table, priority| At::new(&bridge, table, priority);
    let local = || Match::any().vlan(net.vlan);
    draft.flow(
        on(process, 2),
        local().eth_dst(mac),
        Vec::new(),
        plugged.why(),
    );
    let actions = vec![set_src(own), Action::GotoTable(next)];
    draft.flow(on(process, 1), local().eth_src(mac), actions, plugged.why());
    for address in plugged.port.addresses() {
        let question = match address {
            IpAddr::V4(address) => local().arp().ip4(Field::ArpTpa, address),
            IpAddr::V6(address) => {
                // Every host's announces the same; told by its MAC, before that is replaced.
                let announced = local().icmp6_type(ROUTER_ADVERTISEMENT).eth_src(mac);
                draft.flow(on(process, 3), announced, Vec::new(), plugged.why());
                local()
                    .icmp6_type(SOLICITATION)
                    .ip6(Field::NdTarget, address)
            }
        };
        draft.flow(on(requests, 3), question, Vec::new(), plugged.why());
    }
    for held in holders::of(draft, plugged.port).asked_for {
        if let Some(request) = requests_for(local().eth_src(mac), held) {
            let actions = vec![
                set_src(own),
                Action::set(Field::ArpSha, u128::from(own.to_bits())),
                Action::set(Field::ArpSpa, 0),
                Action::GotoTable(next),
            ];
            draft.flow(on(process, 2), request, actions, plugged.why());
        }
    }
}

/// What interfaces on other hosts ask is heard by everyone here. An ARP answer goes to the host that
/// asked. A neighbour advertisement goes to the interface, which every host has: all of them hear it.
fn hears(draft: &mut Draft<'_>, net: &LocalNet<'_>, wire: &Wire, plugged: &Plugged<'_>) {
    let bridge = draft.settings.integration_bridge.clone();
    let mac = plugged.port.mac_address;
    for held in holders::of(draft, plugged.port).asked_for {
        let everyone = wire.matches().eth_dst(Mac::BROADCAST);
        let question = match requests_for(everyone, held) {
            Some(request) => request,
            None => {
                let answer = Match::any().untagged().eth_dst(mac);
                let answer = within(answer.icmp6_type(ADVERTISEMENT), Field::NdTarget, held);
                let actions = vec![set_dst(ALL_NODES), Action::normal()];
                let at = At::new(&bridge, int::TRANSIENT, 21);
                draft.flow(at, answer, actions, plugged.why());
                let group_bit = 1 << 40;
                let multicast = wire.matches().masked(Field::EthDst, group_bit, group_bit);
                within(multicast.icmp6_type(SOLICITATION), Field::NdTarget, held)
            }
        };
        let mut actions = wire.as_local(net);
        actions.push(Action::GotoTable(int::PACKET_RATE_LIMIT));
        let at = At::new(&bridge, wire.to_src, 20);
        draft.flow(at, question, actions, plugged.why());
    }
}

/// ARP requests for any of these addresses; IPv6 has none.
fn requests_for(matches: Match, held: IpNet) -> Option<Match> {
    let IpNet::V4(held) = held else { return None };
    let request = matches.arp().field(Field::ArpOp, 1);
    let (address, mask) = (u32::from(held.addr()), u32::from(held.netmask()));
    Some(match held.prefix_len() {
        0 => request,
        32 => request.ip4(Field::ArpTpa, held.addr()),
        _ => request.masked(Field::ArpTpa, address.into(), mask.into()),
    })
}

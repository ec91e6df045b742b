//! Questions for the MAC of a port elsewhere, answered here instead of flooded: ARP's requests and
//! IPv6's neighbour solicitations, in br-tun's table 21.
//!
//! - ARP: one flow an address turns the request into its answer and sends it back.
//! - Neighbour discovery, on the userspace datapath: the same, in two steps, because Open vSwitch
//!   writes an advertisement's fields only into what is an advertisement already. Table 26 ends it.
//!   The kernel's datapath cannot write the option's type: there solicitations flood.
//! - A solicitation from the unspecified address asks whether an address is taken; its answer
//!   would have to go to everybody, so it floods to whom it concerns.
//! - What nobody here knows floods: table 22.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use host::{
    Mac, Why,
    ovs::{Action, Field, Match, PortRef},
};
use intent::{owner, view::Neighbour};

use super::{At, part::Flows, tun};
use crate::{Draft, Settings};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
/// The option that carries an advertisement's MAC.
const TARGET_LINK_ADDRESS: u128 = 2;
/// An advertisement's flags: it was asked for, and it overrides what was known.
const SOLICITED_OVERRIDE: u128 = 0x6000_0000;
/// The flag of one that comes from a router.
const ROUTER: u128 = 0x8000_0000;

fn answers_arp(settings: &Settings) -> bool {
    settings.l2_population && settings.arp_responder
}

fn answers_nd(settings: &Settings) -> bool {
    answers_arp(settings) && settings.datapath_type == "netdev"
}

/// The road of questions, whoever may be known.
pub(super) fn base(draft: &mut Draft<'_>, bridge: &str) {
    let settings = draft.settings;
    let mut flow = |table, priority, matches: Match, actions: Vec<Action>| {
        let at = At::new(bridge, table, priority);
        draft.flow(at, matches, actions, Why::base());
    };
    let go = |table| vec![Action::GotoTable(table)];
    if answers_arp(settings) {
        let requests = Match::any().arp().eth_dst(Mac::BROADCAST);
        flow(tun::PATCH_LV, 1, requests, go(tun::ARP));
        flow(tun::ARP, 0, Match::any(), go(tun::FLOOD));
    }
    if answers_nd(settings) {
        let group_bit = 1 << 40;
        let solicitations = || Match::any().icmp6_type(SOLICITATION);
        let multicast = solicitations().masked(Field::EthDst, group_bit, group_bit);
        flow(tun::PATCH_LV, 1, multicast, go(tun::ARP));
        let unaddressed = solicitations().ip6(Field::Ipv6Src, Ipv6Addr::UNSPECIFIED);
        flow(tun::ARP, 2, unaddressed, go(tun::FLOOD));
        let last = vec![
            Action::copy(Field::EthSrc, Field::NdTll),
            Action::Output(PortRef::InPort),
        ];
        let answers = Match::any().icmp6_type(ADVERTISEMENT);
        flow(tun::ND_ANSWER, 1, answers, last);
        flow(tun::ND_ANSWER, 0, Match::any(), Vec::new());
    }
}

/// Which questions this host answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answers {
    arp: bool,
    nd: bool,
}

impl Answers {
    pub(super) fn of(settings: &Settings) -> Answers {
        Answers {
            arp: answers_arp(settings),
            nd: answers_nd(settings),
        }
    }
}

/// The addresses of one port elsewhere.
pub(super) fn known(flows: &mut Flows, answers: Answers, vlan: u16, port: &Neighbour) {
    let mac = port.mac_address;
    let at = (tun::ARP, 1);
    for address in &port.addresses {
        let why = Why::of("port", port.port_id);
        match address {
            IpAddr::V4(address) if answers.arp => {
                let asked = Match::any().arp().vlan(vlan);
                let asked = asked.ip4(Field::ArpTpa, *address);
                flows.put(at, asked, arp_answer(mac, *address), why);
            }
            IpAddr::V6(address) if answers.nd => {
                let asked = Match::any().icmp6_type(SOLICITATION).vlan(vlan);
                let asked = asked.ip6(Field::NdTarget, *address);
                let is_router = owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str());
                flows.put(at, asked, nd_answer(mac, *address, is_router), why);
            }
            _ => {}
        }
    }
}

/// Turn a request into its answer and send it back where it came from.
fn arp_answer(mac: Mac, address: Ipv4Addr) -> Vec<Action> {
    let mac = u128::from(mac.to_bits());
    vec![
        Action::set(Field::ArpOp, 2),
        Action::copy(Field::ArpSha, Field::ArpTha),
        Action::copy(Field::ArpSpa, Field::ArpTpa),
        Action::set(Field::ArpSha, mac),
        Action::set(Field::ArpSpa, u32::from(address).into()),
        Action::copy(Field::EthSrc, Field::EthDst),
        Action::set(Field::EthSrc, mac),
        Action::Output(PortRef::InPort),
    ]
}

/// Turn a solicitation into an advertisement. Its option is still the solicitation's when its
/// MAC is written, so that is written there; the last table writes it as the advertisement's too.
fn nd_answer(mac: Mac, address: Ipv6Addr, is_router: bool) -> Vec<Action> {
    let mac = u128::from(mac.to_bits());
    let flags = match is_router {
        true => SOLICITED_OVERRIDE | ROUTER,
        false => SOLICITED_OVERRIDE,
    };
    vec![
        Action::set(Field::NdSll, mac),
        Action::set(Field::Icmpv6Type, ADVERTISEMENT.into()),
        Action::set(Field::NdReserved, flags),
        Action::set(Field::NdOptionsType, TARGET_LINK_ADDRESS),
        Action::copy(Field::EthSrc, Field::EthDst),
        Action::set(Field::EthSrc, mac),
        Action::copy(Field::Ipv6Src, Field::Ipv6Dst),
        Action::set(Field::Ipv6Src, u128::from(address)),
        Action::GotoTable(tun::ND_ANSWER),
    ]
}

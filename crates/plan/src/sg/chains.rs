//! One port's chains.
//!
//! Towards the guest (`i…`): connections that are known, answers of DHCP servers, what the rules
//! let in; from the guest (`o…`): asking for an address, then the check of the source (`s…`), then
//! DHCP and neighbour discovery, what the rules let out. A guest is never a DHCP server and never
//! announces itself as a router. What is left falls into `sg-fallback`.

use std::collections::BTreeSet;
use std::net::IpAddr;

use host::{
    Mac, Why,
    names::{self, L2_CHAINS, PortChain},
    netns::Family,
};
use intent::Direction;
use ipnet::IpNet;

use super::{Filtered, comment};
use crate::rules::Writer;

const KNOWN: &str = "Direct packets associated with a known session to the RETURN chain.";
const INVALID: &str = "Drop packets that appear related to an existing connection (e.g. TCP ACK/FIN) but do not have an entry in conntrack.";
const UNMATCHED: &str = "Send unmatched traffic to the fallback chain.";
const DHCP_CLIENT: &str = "Allow DHCP client traffic.";
const DHCP_SPOOF: &str = "Prevent DHCP Spoofing by VM.";
const ICMP6: &str = "Allow IPv6 ICMP traffic.";
const NO_ROUTER: &str = "Drop IPv6 Router Advts from VM Instance.";
const OWN_SOURCE: &str = "Allow traffic from defined IP/MAC pairs.";
const FORGED: &str = "Drop traffic without an IP/MAC allow rule.";

/// Neighbour discovery and listener queries that every guest hears.
const HEARD: [u8; 3] = [130, 135, 136];
/// What a guest without an address yet may say.
const SAID_UNADDRESSED: [u8; 3] = [131, 135, 143];
const ROUTER_ADVERTISEMENT: u8 = 134;

/// One of a port's chains while rules are put into it.
struct Chain<'a> {
    writer: &'a mut Writer,
    name: String,
    why: Why,
}

impl<'a> Chain<'a> {
    fn new(writer: &'a mut Writer, which: PortChain, port: &Filtered<'_>) -> Self {
        let name = names::port_chain(which, &port.id);
        let name = name.replace(&format!("{L2_CHAINS}-"), "");
        writer.own("filter", &name);
        Self {
            writer,
            name,
            why: port.why(),
        }
    }

    #[track_caller]
    fn rule(&mut self, text: &str) {
        let why = self.why.clone();
        self.writer.rule("filter", &self.name, text, why);
    }

    /// Here comes what the rules of the port's groups let pass.
    fn groups(&mut self, direction: Direction) {
        self.writer.gap("filter", &self.name, direction);
    }

    fn known_sessions(&mut self) {
        let known = comment(KNOWN);
        self.rule(&format!(
            "-m state --state RELATED,ESTABLISHED {known} -j RETURN"
        ));
    }

    fn end(&mut self, stateful: bool) {
        if stateful {
            let invalid = comment(INVALID);
            self.rule(&format!("-m state --state INVALID {invalid} -j DROP"));
        }
        self.rule(&format!("{} -j $-sg-fallback", comment(UNMATCHED)));
    }
}

pub(super) fn emit(writer: &mut Writer, port: &Filtered<'_>, family: Family) {
    ingress(writer, port, family);
    egress(writer, port, family);
}

/// The port's own addresses of one version of IP.
fn addresses(port: &Filtered<'_>, family: Family) -> Vec<IpAddr> {
    let addresses = port.port.addresses();
    addresses.filter(|a| Family::of(*a) == family).collect()
}

fn ingress(writer: &mut Writer, port: &Filtered<'_>, family: Family) {
    let mut chain = Chain::new(writer, PortChain::Ingress, port);
    if family == Family::V6 {
        for kind in HEARD {
            chain.rule(&format!(
                "-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN"
            ));
        }
    }
    if port.stateful {
        chain.known_sessions();
    }
    let own = addresses(port, family);
    if family == Family::V6 && !own.is_empty() {
        let kind = ROUTER_ADVERTISEMENT;
        chain.rule(&format!(
            "-p ipv6-icmp -m icmp6 --icmpv6-type {kind} -j RETURN"
        ));
    }
    let (server, client, everyone) = match family {
        Family::V4 => (67, 68, "255.255.255.255/32"),
        Family::V6 => (547, 546, "fe80::/64"),
    };
    let own = own.iter().map(|address| IpNet::from(*address).to_string());
    for to in own.chain([everyone.to_owned()]) {
        let ports = format!("-p udp -m udp --sport {server} --dport {client}");
        chain.rule(&format!("-d {to} {ports} -j RETURN"));
    }
    chain.groups(Direction::Ingress);
    chain.end(port.stateful);
}

fn egress(writer: &mut Writer, port: &Filtered<'_>, family: Family) {
    let has_sources = sources(writer, port, family);
    let mut chain = Chain::new(writer, PortChain::Egress, port);
    let (dhcp_client, spoof) = (comment(DHCP_CLIENT), comment(DHCP_SPOOF));
    match family {
        Family::V4 => chain.rule(&format!(
            "-s 0.0.0.0/32 -d 255.255.255.255/32 -p udp -m udp --sport 68 --dport 67 {dhcp_client} -j RETURN"
        )),
        Family::V6 => {
            for kind in SAID_UNADDRESSED {
                chain.rule(&format!(
                    "-s ::/128 -d ff02::/16 -p ipv6-icmp -m icmp6 --icmpv6-type {kind} {} -j RETURN",
                    comment(ICMP6)
                ));
            }
        }
    }
    if has_sources {
        let sources = names::port_chain(PortChain::Spoof, &port.id);
        chain.rule(&format!("-j {sources}"));
    }
    if family == Family::V6 {
        chain.rule(&format!(
            "-p ipv6-icmp -m icmp6 --icmpv6-type {ROUTER_ADVERTISEMENT} {} -j DROP",
            comment(NO_ROUTER)
        ));
        chain.rule(&format!("-p ipv6-icmp {} -j RETURN", comment(ICMP6)));
    }
    let (server, client) = match family {
        Family::V4 => (67, 68),
        Family::V6 => (547, 546),
    };
    chain.rule(&format!(
        "-p udp -m udp --sport {client} --dport {server} {dhcp_client} -j RETURN"
    ));
    chain.rule(&format!(
        "-p udp -m udp --sport {server} --dport {client} {spoof} -j DROP"
    ));
    if port.stateful {
        chain.known_sessions();
    }
    chain.groups(Direction::Egress);
    chain.end(port.stateful);
}

/// The chain against forged sources; without any address of this version there is none.
fn sources(writer: &mut Writer, port: &Filtered<'_>, family: Family) -> bool {
    let pairs = source_pairs(port, family);
    if pairs.is_empty() {
        return false;
    }
    let mut chain = Chain::new(writer, PortChain::Spoof, port);
    let own = comment(OWN_SOURCE);
    let mut said = BTreeSet::new();
    for (mac, net) in pairs {
        let from = net
            .map(|net| format!("-s {} ", net.trunc()))
            .unwrap_or_default();
        let rule = format!("{from}-m mac --mac-source {mac} {own} -j RETURN");
        if said.insert(rule.clone()) {
            chain.rule(&rule);
        }
    }
    chain.rule(&format!("{} -j DROP", comment(FORGED)));
    true
}

/// Which MAC may send from which address: pairs first, then the port's own. A port without any
/// address is held to its MAC.
fn source_pairs(port: &Filtered<'_>, family: Family) -> Vec<(Mac, Option<IpNet>)> {
    let allowed = port.port.allowed_address_pairs.iter();
    let allowed = allowed.map(|pair| (pair.mac_address, pair.ip_address.network()));
    let own = port.port.addresses();
    let own = own.map(|address| (port.port.mac_address, IpNet::from(address)));
    let mut pairs = Vec::new();
    for (mac, net) in allowed.chain(own) {
        if Family::of(net.addr()) != family {
            continue;
        }
        pairs.push((mac, Some(net)));
        if family == Family::V6 {
            let link_local = IpAddr::from(mac.link_local());
            pairs.push((mac, Some(IpNet::from(link_local))));
        }
    }
    if port.port.fixed_ips.is_empty() {
        pairs.push((port.port.mac_address, None));
    }
    pairs
}

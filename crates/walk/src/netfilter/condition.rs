//! Does a rule apply to a packet? Every condition that `host` types is answered; one that it does
//! not know makes the answer unknown, unless another condition already says no.
use std::net::IpAddr;

use host::ipset::Ipset;
use host::iptables::{Condition, ConnState, Maybe, PortSide, Rule};
use host::netns::Netns;
use ipnet::IpNet;

use super::{Passage, Skb, State};
use crate::memory::Conn;
use crate::packet::{Ip, Load};

/// Does the rule fit? An error names what is not known.
pub(super) fn fits(
    rule: &Rule,
    skb: &Skb,
    conn: Option<&Conn>,
    at: &Passage<'_>,
    netns: &Netns,
) -> Result<bool, String> {
    let Some(ip) = skb.packet.ip() else {
        return Ok(false);
    };
    let plain = is(&rule.src, |net| net.contains(&ip.src))
        && is(&rule.dst, |net| net.contains(&ip.dst))
        && is(&rule.in_dev, |dev| device(dev, at.in_dev))
        && is(&rule.out_dev, |dev| device(dev, at.out_dev))
        && is(&rule.proto, |proto| protocol(proto, ip))
        && is(&rule.fragment, |()| false);
    if !plain {
        return Ok(false);
    }
    let mut unknown = None;
    for condition in &rule.conditions {
        match holds(condition, skb, ip, conn, at, netns) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(what) => unknown = Some(what),
        }
    }
    match unknown {
        None => Ok(true),
        Some(what) => Err(what),
    }
}

/// A condition that is not there holds.
fn is<T>(condition: &Option<Maybe<T>>, test: impl Fn(&T) -> bool) -> bool {
    condition.as_ref().is_none_or(|c| test(&c.value) != c.not)
}

fn device(wanted: &str, name: Option<&str>) -> bool {
    let name = name.unwrap_or("");
    match wanted.strip_suffix('+') {
        Some(start) => name.starts_with(start),
        None => name == wanted,
    }
}

fn protocol(wanted: &str, ip: &Ip) -> bool {
    let number = match wanted {
        "all" | "0" => return true,
        "icmp" => 1,
        "tcp" => 6,
        "udp" => 17,
        "ipv6-icmp" | "icmpv6" => 58,
        "sctp" => 132,
        "vrrp" => 112,
        "igmp" => 2,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "ipip" | "ipencap" => 4,
        "ospf" => 89,
        "pgm" => 113,
        "rsvp" => 46,
        "udplite" => 136,
        "dccp" => 33,
        "egp" => 8,
        other => match other.parse() {
            Ok(number) => number,
            Err(_) => return false,
        },
    };
    ip.load.proto() == number
}

fn holds(
    condition: &Condition,
    skb: &Skb,
    ip: &Ip,
    conn: Option<&Conn>,
    at: &Passage<'_>,
    netns: &Netns,
) -> Result<bool, String> {
    Ok(match condition {
        Condition::Comment(_) => true,
        Condition::Ports {
            sport,
            dport,
            flags,
            ..
        } => {
            let Some((from, to)) = ip.load.ports() else {
                return Ok(false);
            };
            is(sport, |range| range.contains(from))
                && is(dport, |range| range.contains(to))
                && is(flags, |(mask, set)| tcp_flags(&ip.load, mask, set))
        }
        Condition::Multiport { side, ports } => {
            let Some((from, to)) = ip.load.ports() else {
                return Ok(false);
            };
            let any = |port: u16| ports.value.iter().any(|r| r.contains(port));
            let found = match side {
                PortSide::Source => any(from),
                PortSide::Destination => any(to),
                PortSide::Either => any(from) || any(to),
            };
            found != ports.not
        }
        Condition::Icmp { kind, .. } => {
            let Some((t, c)) = ip.load.icmp() else {
                return Ok(false);
            };
            is(kind, |k| {
                (k.icmp_type == 255 || k.icmp_type == t) && k.code.is_none_or(|code| code == c)
            })
        }
        Condition::State(states) => {
            states.value.iter().any(|s| in_state(*s, skb, conn)) != states.not
        }
        Condition::Conntrack { states, rest } => {
            if let Some(option) = rest.first() {
                return Err(format!("option {option} of conntrack"));
            }
            is(states, |set| set.iter().any(|s| in_state(*s, skb, conn)))
        }
        Condition::Mac(mac) => (mac.value == skb.packet.eth_src) != mac.not,
        Condition::Mark(mark) => ((skb.mark & mark.value.mask) == mark.value.value) != mark.not,
        Condition::Connmark(mark) => {
            let have = conn.map_or(0, |c| c.mark);
            ((have & mark.value.mask) == mark.value.value) != mark.not
        }
        other => return holds_here(other, ip, at, netns),
    })
}

/// Conditions on where the packet is and who is in a set.
fn holds_here(
    condition: &Condition,
    ip: &Ip,
    at: &Passage<'_>,
    netns: &Netns,
) -> Result<bool, String> {
    match condition {
        Condition::Physdev {
            in_dev,
            out_dev,
            is_in,
            is_out,
            is_bridged,
        } => {
            let bridged = at.phys_in.is_some() && at.phys_out.is_some();
            let agrees = |wanted: &Option<bool>, is: bool| wanted.is_none_or(|w| w == is);
            Ok(is(in_dev, |d| device(d, at.phys_in))
                && is(out_dev, |d| device(d, at.phys_out))
                && agrees(is_in, at.phys_in.is_some())
                && agrees(is_out, at.phys_out.is_some())
                && agrees(is_bridged, bridged))
        }
        Condition::Set { name, sides, rest } => {
            if let Some(option) = rest.first() {
                return Err(format!("option {option} of set"));
            }
            let Some(set) = netns.ipsets.get(&name.value) else {
                return Err(format!("set {}", name.value));
            };
            let address = match sides.as_slice() {
                [side] if side == "src" => ip.src,
                [side] if side == "dst" => ip.dst,
                sides => return Err(format!("set match {}", sides.join(","))),
            };
            Ok(contains(set, address) != name.not)
        }
        Condition::Unknown { module, .. } => Err(format!("match {module}")),
        _ => Err("match".to_owned()),
    }
}

/// Is an address in a set? A member with `nomatch` takes out what a wider one lets in.
pub(super) fn contains(set: &Ipset, address: IpAddr) -> bool {
    // Most members are single addresses: of those only one can be it, and none is narrower.
    if let Some(member) = set.members.get(&address.to_string()) {
        return !member.options.contains("nomatch");
    }
    let ranges = set.members.iter().filter(|(text, _)| text.contains('/'));
    let matching = ranges.filter_map(|(text, member)| {
        let net: IpNet = text.parse().ok()?;
        net.contains(&address)
            .then(|| (net.prefix_len(), !member.options.contains("nomatch")))
    });
    matching
        .max_by_key(|(len, _)| *len)
        .is_some_and(|(_, yes)| yes)
}

fn tcp_flags(
    load: &Load,
    mask: &std::collections::BTreeSet<String>,
    set: &std::collections::BTreeSet<String>,
) -> bool {
    let Load::Tcp { flags, .. } = load else {
        return false;
    };
    let bits = |names: &std::collections::BTreeSet<String>| {
        names.iter().fold(0u16, |bits, name| {
            bits | match name.as_str() {
                "FIN" => 0x01,
                "SYN" => 0x02,
                "RST" => 0x04,
                "PSH" => 0x08,
                "ACK" => 0x10,
                "URG" => 0x20,
                "ALL" => 0x3f,
                _ => 0,
            }
        })
    };
    flags & bits(mask) == bits(set)
}

fn in_state(state: ConnState, skb: &Skb, conn: Option<&Conn>) -> bool {
    match state {
        ConnState::New => skb.state == State::New,
        ConnState::Established => skb.state == State::Established,
        ConnState::Invalid => skb.state == State::Invalid,
        ConnState::Untracked => skb.state == State::Untracked,
        ConnState::Related => false,
        ConnState::Snat => conn.is_some_and(Conn::has_snat),
        ConnState::Dnat => conn.is_some_and(Conn::has_dnat),
    }
}

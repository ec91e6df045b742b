//! What a security group rule may say: ports need a protocol that has them, prefixes their
//! ethertype. Rules and the templates of rules are held to the same.

use intent::{Direction, Ethertype, RuleMatch};
use ipnet::IpNet;

use crate::{Draft, Refusal, draft::Reading};

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// The protocols by name, as `/etc/protocols` numbers them.
const NUMBERS: [(&str, u8); 24] = [
    ("ah", 51),
    ("dccp", 33),
    ("egp", 8),
    ("esp", 50),
    ("gre", 47),
    ("hopopt", 0),
    ("icmp", ICMP),
    ("igmp", 2),
    ("ip", 0),
    ("ipip", 4),
    ("ipv6-encap", 41),
    ("ipv6-frag", 44),
    ("ipv6-icmp", ICMP_V6),
    ("icmpv6", ICMP_V6),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ipv6-route", 43),
    ("ospf", 89),
    ("pgm", 113),
    ("rsvp", 46),
    ("sctp", 132),
    ("tcp", 6),
    ("udp", 17),
    ("udplite", 136),
];

const VRRP: u8 = 112;

/// Of these a rule may name ports.
const WITH_PORTS: [u8; 5] = [33, 132, 6, 17, 136];

/// Of these there are no IPv4 packets.
const IPV6_ONLY: [&str; 7] = [
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "icmpv6",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
];

/// Reads a rule's match out of a draft. The remote group is the caller's to look up.
pub(crate) fn read<G>(draft: &Draft, remote_group_id: Option<G>) -> Result<RuleMatch<G>, Refusal> {
    let ethertype = draft.parsed("ethertype").unwrap_or(Ethertype::Ipv4);
    let matches = RuleMatch {
        direction: draft.parsed("direction").unwrap_or(Direction::Ingress),
        ethertype,
        protocol: canonical(draft.text("protocol"), ethertype),
        port_range_min: port(draft, "port_range_min"),
        port_range_max: port(draft, "port_range_max"),
        remote_ip_prefix: draft.parsed::<IpNet>("remote_ip_prefix"),
        remote_group_id,
        remote_address_group_id: draft.parsed("remote_address_group_id"),
    };
    check_ports(&matches)?;
    check_prefix(&matches)?;
    check_ethertype(&matches)?;
    one_remote(draft)?;
    Ok(matches)
}

fn port(draft: &Draft, name: &str) -> Option<u16> {
    draft.number(name)?.try_into().ok()
}

/// `any` is no protocol at all, and ICMP for IPv6 has one name.
fn canonical(protocol: Option<&str>, ethertype: Ethertype) -> Option<String> {
    match (protocol?, ethertype) {
        ("any", _) => None,
        ("icmp" | "icmpv6", Ethertype::Ipv6) => Some("ipv6-icmp".to_owned()),
        (protocol, _) => Some(protocol.to_owned()),
    }
}

/// A protocol's number, by its name or as itself.
fn number(protocol: &str, ethertype: Ethertype) -> Option<u8> {
    if protocol == "vrrp" {
        return Some(VRRP);
    }
    let named = NUMBERS.iter().find(|(name, _)| *name == protocol);
    match named.map(|(_, number)| *number).or(protocol.parse().ok()) {
        Some(ICMP) if ethertype == Ethertype::Ipv6 => Some(ICMP_V6),
        number => number,
    }
}

fn check_ports<G>(matches: &RuleMatch<G>) -> Result<(), Refusal> {
    let (low, high) = (matches.port_range_min, matches.port_range_max);
    if low.is_none() && high.is_none() {
        return Ok(());
    }
    let Some(protocol) = &matches.protocol else {
        return Err(Refusal::protocol_required_with_ports());
    };
    match number(protocol, matches.ethertype) {
        Some(ICMP | ICMP_V6) => check_icmp(low, high),
        Some(number) if WITH_PORTS.contains(&number) => check_range(low, high),
        number => Err(Refusal::invalid_protocol_for_port(
            number.map_or_else(|| protocol.clone(), |number| number.to_string()),
        )),
    }
}

fn check_range(low: Option<u16>, high: Option<u16>) -> Result<(), Refusal> {
    match (low, high) {
        (Some(0), _) | (_, Some(0)) => Err(Refusal::invalid_port_value(0)),
        (Some(low), Some(high)) if low <= high => Ok(()),
        _ => Err(Refusal::invalid_port_range()),
    }
}

fn check_icmp(kind: Option<u16>, code: Option<u16>) -> Result<(), Refusal> {
    let fields = [
        (kind, "type", "port_range_min"),
        (code, "code", "port_range_max"),
    ];
    for (value, field, attr) in fields {
        if let Some(value) = value.filter(|value| *value > 255) {
            return Err(Refusal::invalid_icmp_value(field, attr, value));
        }
    }
    match (kind, code) {
        (None, Some(code)) => Err(Refusal::missing_icmp_type(code)),
        _ => Ok(()),
    }
}

fn check_prefix<G>(matches: &RuleMatch<G>) -> Result<(), Refusal> {
    let fits = match (matches.remote_ip_prefix, matches.ethertype) {
        (None, _)
        | (Some(IpNet::V4(_)), Ethertype::Ipv4)
        | (Some(IpNet::V6(_)), Ethertype::Ipv6) => {
            return Ok(());
        }
        (Some(prefix), _) => prefix,
    };
    Err(Refusal::prefix_conflicts_with_ethertype(
        matches.ethertype,
        fits,
    ))
}

fn check_ethertype<G>(matches: &RuleMatch<G>) -> Result<(), Refusal> {
    match &matches.protocol {
        Some(protocol)
            if matches.ethertype == Ethertype::Ipv4 && IPV6_ONLY.contains(&protocol.as_str()) =>
        {
            Err(Refusal::ethertype_conflicts_with_protocol(
                matches.ethertype,
                protocol,
            ))
        }
        _ => Ok(()),
    }
}

fn one_remote(draft: &Draft) -> Result<(), Refusal> {
    let remotes = [
        "remote_ip_prefix",
        "remote_group_id",
        "remote_address_group_id",
    ];
    let named = remotes.iter().filter(|name| draft.text(name).is_some());
    match named.count() {
        0 | 1 => Ok(()),
        _ => Err(Refusal::several_remotes()),
    }
}

/// Whether two rules of a group let the same packets pass, however they are written.
pub(crate) fn same<G: PartialEq>(a: &RuleMatch<G>, b: &RuleMatch<G>) -> bool {
    a.direction == b.direction
        && a.ethertype == b.ethertype
        && protocol_key(a) == protocol_key(b)
        && ports_key(a) == ports_key(b)
        && prefix_key(a) == prefix_key(b)
        && a.remote_group_id == b.remote_group_id
        && a.remote_address_group_id == b.remote_address_group_id
}

fn protocol_key<G>(matches: &RuleMatch<G>) -> Option<u8> {
    number(matches.protocol.as_deref()?, matches.ethertype)
}

fn ports_key<G>(matches: &RuleMatch<G>) -> (u16, u16) {
    (
        matches.port_range_min.unwrap_or(1),
        matches.port_range_max.unwrap_or(u16::MAX),
    )
}

/// From everywhere is as good as from nowhere in particular.
fn prefix_key<G>(matches: &RuleMatch<G>) -> Option<IpNet> {
    matches
        .remote_ip_prefix
        .filter(|prefix| prefix.prefix_len() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn read_one(draft: &[(&'static str, Value)]) -> Result<RuleMatch<()>, Refusal> {
        read(&draft.iter().cloned().collect(), None)
    }

    fn refusal(draft: &[(&'static str, Value)]) -> String {
        read_one(draft).expect_err("must be refused").to_string()
    }

    #[test]
    fn ports_need_a_protocol_that_has_them() {
        let ports = |protocol: Value, low: u16, high: u16| {
            [
                ("protocol", protocol),
                ("port_range_min", low.into()),
                ("port_range_max", high.into()),
            ]
        };
        read_one(&ports(json!("udplite"), 1, 65535)).expect("has ports");
        read_one(&ports(json!("17"), 1000, 2000)).expect("udp by number");
        assert_eq!(
            refusal(&ports(Value::Null, 1, 2)),
            "Must also specify protocol if port range is given."
        );
        assert_eq!(
            refusal(&ports(json!("tcp"), 9, 2)),
            "For TCP/UDP protocols, port_range_min must be <= port_range_max"
        );
        assert_eq!(
            refusal(&ports(json!("tcp"), 0, 5)),
            "Invalid value for port 0"
        );
        assert_eq!(
            refusal(&ports(json!("gre"), 5, 6)),
            "Ports cannot be specified for protocol 47. Ports are only supported for DCCP, SCTP, \
             TCP, UDP, UDPLITE."
        );
    }

    #[test]
    fn icmp_has_a_type_before_a_code() {
        read_one(&[("protocol", json!("icmp")), ("port_range_min", json!(8))]).expect("a type");
        assert_eq!(
            refusal(&[("protocol", json!("icmp")), ("port_range_min", json!(256))]),
            "Invalid value for ICMP type (port_range_min) 256. It must be 0 to 255."
        );
        assert_eq!(
            refusal(&[("protocol", json!("icmp")), ("port_range_max", json!(1))]),
            "ICMP code (port-range-max) 1 is provided but ICMP type (port-range-min) is missing."
        );
    }

    #[test]
    fn a_prefix_and_a_protocol_are_of_the_ethertype() {
        assert_eq!(
            refusal(&[("remote_ip_prefix", json!("fd00::/8"))]),
            "Conflicting value ethertype IPv4 for CIDR fd00::/8"
        );
        assert_eq!(
            refusal(&[("protocol", json!("ipv6-nonxt"))]),
            "Invalid ethertype IPv4 for protocol ipv6-nonxt."
        );
    }

    #[test]
    fn icmp_for_ipv6_has_one_name_and_rules_are_compared_by_meaning() {
        let v6 = |protocol: &str| {
            read_one(&[("ethertype", json!("IPv6")), ("protocol", json!(protocol))]).expect("valid")
        };
        assert_eq!(v6("icmp").protocol.as_deref(), Some("ipv6-icmp"));
        assert!(same(&v6("icmp"), &v6("58")));
        let all = read_one(&[("remote_ip_prefix", json!("0.0.0.0/0"))]).expect("valid");
        let none = read_one(&[]).expect("valid");
        assert!(same(&all, &none));
    }
}

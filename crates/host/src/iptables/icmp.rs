//! The names that iptables has for types and codes of ICMP.
use super::IcmpKind;

/// Names that old iptables prints for types of ICMP.
pub(super) const ICMP_NAMES: [(&str, IcmpKind); 8] = [
    (
        "any",
        IcmpKind {
            icmp_type: 255,
            code: None,
        },
    ),
    (
        "echo-reply",
        IcmpKind {
            icmp_type: 0,
            code: None,
        },
    ),
    (
        "destination-unreachable",
        IcmpKind {
            icmp_type: 3,
            code: None,
        },
    ),
    (
        "port-unreachable",
        IcmpKind {
            icmp_type: 3,
            code: Some(3),
        },
    ),
    (
        "fragmentation-needed",
        IcmpKind {
            icmp_type: 3,
            code: Some(4),
        },
    ),
    (
        "redirect",
        IcmpKind {
            icmp_type: 5,
            code: None,
        },
    ),
    (
        "echo-request",
        IcmpKind {
            icmp_type: 8,
            code: None,
        },
    ),
    (
        "time-exceeded",
        IcmpKind {
            icmp_type: 11,
            code: None,
        },
    ),
];
pub(super) const ICMP6_NAMES: [(&str, IcmpKind); 9] = [
    (
        "destination-unreachable",
        IcmpKind {
            icmp_type: 1,
            code: None,
        },
    ),
    (
        "packet-too-big",
        IcmpKind {
            icmp_type: 2,
            code: None,
        },
    ),
    (
        "time-exceeded",
        IcmpKind {
            icmp_type: 3,
            code: None,
        },
    ),
    (
        "echo-request",
        IcmpKind {
            icmp_type: 128,
            code: None,
        },
    ),
    (
        "echo-reply",
        IcmpKind {
            icmp_type: 129,
            code: None,
        },
    ),
    (
        "router-solicitation",
        IcmpKind {
            icmp_type: 133,
            code: None,
        },
    ),
    (
        "router-advertisement",
        IcmpKind {
            icmp_type: 134,
            code: None,
        },
    ),
    (
        "neighbour-solicitation",
        IcmpKind {
            icmp_type: 135,
            code: None,
        },
    ),
    (
        "neighbour-advertisement",
        IcmpKind {
            icmp_type: 136,
            code: None,
        },
    ),
];

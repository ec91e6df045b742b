//! iptables, both versions of IP: tables, chains, rules. A rule is typed where `walk` has to
//! evaluate it and `plan` has to write it; the rest is kept as it stood.
mod condition;
mod icmp;
mod print;
mod read;
mod target;
#[cfg(test)]
mod tests;
mod words;

use std::collections::{BTreeMap, BTreeSet};

pub use print::{print_chain, print_iptables, print_rule, print_table};
pub use read::{protocol_name, protocol_number, read_iptables, read_iptables_of, read_rule};

use ipnet::IpNet;

use crate::{Mac, Merge, Shared, Shown, Why};

/// Tables by name: `raw`, `mangle`, `nat`, `filter`.
pub type Iptables = BTreeMap<String, Table>;

/// One table: chains by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub chains: Shared<Chains>,
}

/// The chains of a table by name.
pub type Chains = BTreeMap<String, Shared<Chain>>;

/// One chain: an ordered list of rules, compared and replaced whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// What becomes of a packet at the end of a built-in chain. Chains of users have none.
    pub policy: Option<String>,
    pub rules: Vec<Shared<Rule>>,
    /// Packets and bytes.
    pub counters: Shown<Option<(u64, u64)>>,
    pub why: Why,
}

impl Merge for Chain {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

/// A condition, or its contrary.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Maybe<T> {
    pub not: bool,
    pub value: T,
}

impl<T> Maybe<T> {
    pub fn is(value: T) -> Maybe<T> {
        Maybe { not: false, value }
    }

    pub fn not(value: T) -> Maybe<T> {
        Maybe { not: true, value }
    }
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub src: Option<Maybe<IpNet>>,
    pub dst: Option<Maybe<IpNet>>,
    /// A device's name; `+` at its end stands for any continuation.
    pub in_dev: Option<Maybe<String>>,
    pub out_dev: Option<Maybe<String>>,
    /// A protocol's name as iptables prints it, or its number.
    pub proto: Option<Maybe<String>>,
    /// `-f`: second and further fragments.
    pub fragment: Option<Maybe<()>>,
    /// The conditions of `-m`, in order.
    pub conditions: Vec<Condition>,
    pub target: Target,
    /// Packets and bytes.
    pub counters: Shown<Option<(u64, u64)>>,
    pub why: Why,
}

/// From a port to a port; the same twice is one port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl PortRange {
    pub fn one(port: u16) -> PortRange {
        PortRange {
            first: port,
            last: port,
        }
    }

    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

/// A mark and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    pub value: u32,
    pub mask: u32,
}

/// One `-m`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `-m tcp`, `-m udp`, `-m sctp`, `-m dccp`, `-m udplite`: of the rule's own protocol.
    Ports {
        module: String,
        sport: Option<Maybe<PortRange>>,
        dport: Option<Maybe<PortRange>>,
        /// `--tcp-flags FIN,SYN SYN`: the flags looked at, and those of them that are set.
        flags: Option<Maybe<(BTreeSet<String>, BTreeSet<String>)>>,
    },
    Multiport {
        side: PortSide,
        ports: Maybe<Vec<PortRange>>,
    },
    /// `-m icmp --icmp-type`, `-m icmp6 --icmpv6-type`.
    Icmp {
        v6: bool,
        kind: Option<Maybe<IcmpKind>>,
    },
    /// `-m state --state`.
    State(Maybe<BTreeSet<ConnState>>),
    /// `-m conntrack --ctstate`; further options as they stood.
    Conntrack {
        states: Option<Maybe<BTreeSet<ConnState>>>,
        rest: Vec<String>,
    },
    Physdev {
        in_dev: Option<Maybe<String>>,
        out_dev: Option<Maybe<String>>,
        is_in: Option<bool>,
        is_out: Option<bool>,
        is_bridged: Option<bool>,
    },
    Mac(Maybe<Mac>),
    /// `-m set --match-set NAME src,dst`.
    Set {
        name: Maybe<String>,
        sides: Vec<String>,
        /// `--return-nomatch` and the like.
        rest: Vec<String>,
    },
    Mark(Maybe<Mark>),
    Connmark(Maybe<Mark>),
    Comment(String),
    /// A module this version does not know: its name and options as they stood.
    Unknown {
        module: String,
        options: Vec<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortSide {
    Source,
    Destination,
    /// `--ports`: either.
    Either,
}

/// ICMP's type and code; no code is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct IcmpKind {
    /// 255 is any type.
    pub icmp_type: u8,
    pub code: Option<u8>,
}

/// What conntrack thinks of a packet, in the order in which iptables prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConnState {
    Invalid,
    New,
    Related,
    Established,
    Untracked,
    Snat,
    Dnat,
}

/// What a rule does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Target {
    /// A rule without a target only counts.
    #[default]
    None,
    Accept,
    Drop,
    Return,
    /// Go on in another chain, and come back.
    Jump(String),
    /// Go on in another chain, and return from there to this one's caller.
    Goto(String),
    Reject(Option<String>),
    Snat(NatTo),
    Dnat(NatTo),
    Redirect {
        to_ports: Option<PortRange>,
        flags: Vec<String>,
    },
    Masquerade {
        to_ports: Option<PortRange>,
        flags: Vec<String>,
    },
    /// Connection tracking: a zone, or none at all.
    Ct {
        zone: Option<u16>,
        notrack: bool,
        rest: Vec<String>,
    },
    /// `mark = (mark & !mask) ^ value`.
    Mark(Mark),
    Connmark(ConnmarkAction),
    ChecksumFill,
    /// `LOG`, `NFLOG` with their options as they stood: the packet goes on.
    Log {
        kind: String,
        options: Vec<String>,
    },
    /// A target this version does not know, with its options as they stood.
    Unknown {
        name: String,
        options: Vec<String>,
    },
}

/// Where a packet is sent instead: one address or a range, ports or not, as it stood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NatTo {
    /// `10.0.0.1`, `10.0.0.1-10.0.0.9:80`, `[fd00::1]:80`
    pub to: String,
    /// `--random-fully`, `--persistent`, …
    pub flags: Vec<String>,
}

/// `CONNMARK`: between a packet's mark and its connection's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnmarkAction {
    /// `ctmark = (ctmark & !mask) ^ value`
    Set(Mark),
    /// `ctmark = (ctmark & !ctmask) ^ (nfmark & nfmask)`
    Save { nfmask: u32, ctmask: u32 },
    /// `nfmark = (nfmark & !nfmask) ^ (ctmark & ctmask)`
    Restore { nfmask: u32, ctmask: u32 },
}

impl Rule {
    pub fn new(target: Target, why: Why) -> Rule {
        Rule {
            target,
            why,
            ..Rule::default()
        }
    }

    /// The rule's comment, if it has one.
    pub fn comment(&self) -> Option<&str> {
        self.conditions.iter().find_map(|c| match c {
            Condition::Comment(text) => Some(text.as_str()),
            _ => None,
        })
    }
}

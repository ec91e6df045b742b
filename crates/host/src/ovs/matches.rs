//! A flow's match, canonical: each field once, as value and mask, shorthands (`arp`, `dl_vlan`)
//! spelled out, so that two matches are equal exactly when they match the same packets in the
//! same words of OpenFlow, whatever order and spelling they came in.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::field::Field;
use crate::Mac;

/// A port as flows name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortRef {
    Number(u32),
    Name(String),
    /// The port the packet came in by.
    InPort,
    Local,
    Normal,
    Flood,
    All,
    Table,
    Controller,
    None,
    Any,
}

impl PortRef {
    pub fn name(name: impl Into<String>) -> PortRef {
        PortRef::Name(name.into())
    }
}

/// Bits that must have certain values: `packet & mask == value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Masked {
    pub value: u128,
    pub mask: u128,
}

impl Masked {
    /// Does a field's content satisfy this?
    pub fn accepts(self, content: u128) -> bool {
        content & self.mask == self.value
    }
}

/// What a packet must look like for a flow to act on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Match {
    pub in_port: Option<PortRef>,
    pub fields: BTreeMap<Field, Masked>,
    /// Parts that this version does not know, as they stood.
    pub unknown: BTreeSet<String>,
}

pub const ETH_ARP: u16 = 0x0806;
pub const ETH_RARP: u16 = 0x8035;
pub const ETH_IP: u16 = 0x0800;
pub const ETH_IPV6: u16 = 0x86dd;
pub const PROTO_ICMP: u8 = 1;
pub const PROTO_TCP: u8 = 6;
pub const PROTO_UDP: u8 = 17;
pub const PROTO_ICMP6: u8 = 58;
pub const PROTO_SCTP: u8 = 132;

/// In a tag's bits this one says that there is a tag at all.
pub const VLAN_PRESENT: u16 = 0x1000;

/// Building a match, for `plan`. Fields are kept canonical by every function here.
impl Match {
    pub fn any() -> Match {
        Match::default()
    }

    #[must_use]
    pub fn in_port(mut self, port: impl Into<String>) -> Match {
        self.in_port = Some(PortRef::Name(port.into()));
        self
    }

    /// Match all bits of a field.
    #[must_use]
    pub fn field(self, field: Field, value: u128) -> Match {
        self.masked(field, value, field.full_mask())
    }

    /// Match some bits of a field; bits already asked for stay.
    #[must_use]
    pub fn masked(mut self, field: Field, value: u128, mask: u128) -> Match {
        self.require(field, value, mask);
        self
    }

    /// Match some bits of a field; bits already asked for stay. A mask of nothing is no match.
    pub fn require(&mut self, field: Field, value: u128, mask: u128) {
        let field = field.in_match();
        let mask = mask & field.full_mask();
        if mask == 0 {
            return;
        }
        let bits = self
            .fields
            .entry(field)
            .or_insert(Masked { value: 0, mask: 0 });
        bits.value = (bits.value & !mask) | (value & mask);
        bits.mask |= mask;
    }

    /// Frames that carry this tag.
    #[must_use]
    pub fn vlan(self, vlan: u16) -> Match {
        let tci = u128::from(VLAN_PRESENT | (vlan & 0xfff));
        self.masked(Field::VlanTci, tci, 0x1fff)
    }

    /// Frames without a tag.
    #[must_use]
    pub fn untagged(self) -> Match {
        self.masked(Field::VlanTci, 0, 0x1fff)
    }

    #[must_use]
    pub fn eth_src(self, mac: Mac) -> Match {
        self.field(Field::EthSrc, u128::from(mac.to_bits()))
    }

    #[must_use]
    pub fn eth_dst(self, mac: Mac) -> Match {
        self.field(Field::EthDst, u128::from(mac.to_bits()))
    }

    #[must_use]
    pub fn eth_type(self, eth_type: u16) -> Match {
        self.field(Field::EthType, u128::from(eth_type))
    }

    #[must_use]
    pub fn arp(self) -> Match {
        self.eth_type(ETH_ARP)
    }

    #[must_use]
    pub fn ip(self) -> Match {
        self.eth_type(ETH_IP)
    }

    #[must_use]
    pub fn ipv6(self) -> Match {
        self.eth_type(ETH_IPV6)
    }

    #[must_use]
    pub fn proto(self, proto: u8) -> Match {
        self.field(Field::IpProto, u128::from(proto))
    }

    /// ICMPv6 of one type.
    #[must_use]
    pub fn icmp6_type(self, icmp_type: u8) -> Match {
        self.ipv6()
            .proto(PROTO_ICMP6)
            .field(Field::IcmpType, u128::from(icmp_type))
    }

    #[must_use]
    pub fn ip4(self, field: Field, address: Ipv4Addr) -> Match {
        self.field(field, u128::from(u32::from(address)))
    }

    #[must_use]
    pub fn ip6(self, field: Field, address: Ipv6Addr) -> Match {
        self.field(field, u128::from(address))
    }

    /// All bits of a field, when the match asks for all of them.
    pub fn exact(&self, field: Field) -> Option<u128> {
        let bits = self.fields.get(&field.in_match())?;
        (bits.mask == field.in_match().full_mask()).then_some(bits.value)
    }

    /// The tag that frames must carry, if the match names one.
    pub fn vlan_id(&self) -> Option<u16> {
        let bits = self.fields.get(&Field::VlanTci)?;
        let wanted = u128::from(VLAN_PRESENT | 0xfff);
        let named = bits.mask & wanted == wanted && bits.value & u128::from(VLAN_PRESENT) != 0;
        named.then_some((bits.value & 0xfff) as u16)
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PortRef::Number(number) => return write!(f, "{number}"),
            PortRef::Name(name) => return f.write_str(&crate::text::quote(name)),
            PortRef::InPort => "IN_PORT",
            PortRef::Local => "LOCAL",
            PortRef::Normal => "NORMAL",
            PortRef::Flood => "FLOOD",
            PortRef::All => "ALL",
            PortRef::Table => "TABLE",
            PortRef::Controller => "CONTROLLER",
            PortRef::None => "NONE",
            PortRef::Any => "ANY",
        })
    }
}

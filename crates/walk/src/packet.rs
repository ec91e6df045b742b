//! A packet as the simulation carries it: the headers that anything on the road can look at or
//! rewrite, and the metadata that Open vSwitch keeps beside it while it is in one bridge.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use host::Mac;
use host::ovs::Field;
use host::ovs::matches::{ETH_ARP, ETH_IP, ETH_IPV6, VLAN_PRESENT};

pub const TCP_SYN: u16 = 0x02;
pub const TCP_RST: u16 = 0x04;
pub const TCP_ACK: u16 = 0x10;
pub const ICMP_ECHO_REPLY: u8 = 0;
pub const ICMP_ECHO: u8 = 8;
pub const ICMP6_ECHO: u8 = 128;
pub const ICMP6_ECHO_REPLY: u8 = 129;
pub const ND_ROUTER_SOLICIT: u8 = 133;
pub const ND_ROUTER_ADVERT: u8 = 134;
pub const ND_SOLICIT: u8 = 135;
pub const ND_ADVERT: u8 = 136;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    pub eth_src: Mac,
    pub eth_dst: Mac,
    /// Tags, the outer one last; each with its priority bits, as on the wire.
    pub tags: Vec<u16>,
    pub net: Net,
}

/// What the frame carries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Net {
    Arp(Arp),
    Ip(Ip),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Arp {
    /// 1 asks, 2 answers.
    pub op: u16,
    pub sha: Mac,
    pub spa: Ipv4Addr,
    pub tha: Mac,
    pub tpa: Ipv4Addr,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ip {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub ttl: u8,
    pub dont_fragment: bool,
    /// The length of the IP packet in bytes, header included.
    pub size: u32,
    pub load: Load,
}

/// The transport header.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Load {
    Icmp {
        kind: u8,
        code: u8,
        id: u16,
    },
    Icmp6 {
        kind: u8,
        code: u8,
        id: u16,
        /// Of neighbour discovery: who is asked for, and the address given with it.
        target: Option<Ipv6Addr>,
        lladdr: Option<Mac>,
    },
    Tcp {
        sport: u16,
        dport: u16,
        flags: u16,
    },
    Udp {
        sport: u16,
        dport: u16,
    },
    Other(u8),
}

impl Load {
    pub fn proto(&self) -> u8 {
        match self {
            Load::Icmp { .. } => 1,
            Load::Tcp { .. } => 6,
            Load::Udp { .. } => 17,
            Load::Icmp6 { .. } => 58,
            Load::Other(proto) => *proto,
        }
    }

    /// Source and destination port.
    pub fn ports(&self) -> Option<(u16, u16)> {
        match self {
            Load::Tcp { sport, dport, .. } | Load::Udp { sport, dport } => Some((*sport, *dport)),
            _ => None,
        }
    }

    pub fn ports_mut(&mut self) -> Option<(&mut u16, &mut u16)> {
        match self {
            Load::Tcp { sport, dport, .. } | Load::Udp { sport, dport } => Some((sport, dport)),
            _ => None,
        }
    }

    /// ICMP's type and code, of either version.
    pub fn icmp(&self) -> Option<(u8, u8)> {
        match self {
            Load::Icmp { kind, code, .. } | Load::Icmp6 { kind, code, .. } => Some((*kind, *code)),
            _ => None,
        }
    }
}

impl Packet {
    /// An ARP request, as a machine sends it.
    pub fn arp_request(from: Mac, spa: Ipv4Addr, tpa: Ipv4Addr) -> Packet {
        Packet {
            eth_src: from,
            eth_dst: Mac::BROADCAST,
            tags: Vec::new(),
            net: Net::Arp(Arp {
                op: 1,
                sha: from,
                spa,
                tha: Mac::ZERO,
                tpa,
            }),
        }
    }

    /// A neighbour solicitation, as a machine sends it.
    pub fn nd_solicit(from: Mac, src: Ipv6Addr, target: Ipv6Addr) -> Packet {
        let low = target.octets();
        let dst = Ipv6Addr::new(
            0xff02,
            0,
            0,
            0,
            0,
            1,
            0xff00 | u16::from(low[13]),
            u16::from_be_bytes([low[14], low[15]]),
        );
        Packet {
            eth_src: from,
            eth_dst: Mac([0x33, 0x33, 0xff, low[13], low[14], low[15]]),
            tags: Vec::new(),
            net: Net::Ip(Ip {
                src: src.into(),
                dst: dst.into(),
                ttl: 255,
                dont_fragment: false,
                size: 72,
                load: Load::Icmp6 {
                    kind: ND_SOLICIT,
                    code: 0,
                    id: 0,
                    target: Some(target),
                    lladdr: Some(from),
                },
            }),
        }
    }

    pub fn eth_type(&self) -> u16 {
        match &self.net {
            Net::Arp(_) => ETH_ARP,
            Net::Ip(ip) if ip.src.is_ipv4() => ETH_IP,
            Net::Ip(_) => ETH_IPV6,
        }
    }

    pub fn ip(&self) -> Option<&Ip> {
        match &self.net {
            Net::Ip(ip) => Some(ip),
            Net::Arp(_) => None,
        }
    }

    pub fn ip_mut(&mut self) -> Option<&mut Ip> {
        match &mut self.net {
            Net::Ip(ip) => Some(ip),
            Net::Arp(_) => None,
        }
    }

    pub fn arp(&self) -> Option<&Arp> {
        match &self.net {
            Net::Arp(arp) => Some(arp),
            Net::Ip(_) => None,
        }
    }

    fn arp_mut(&mut self) -> Option<&mut Arp> {
        match &mut self.net {
            Net::Arp(arp) => Some(arp),
            Net::Ip(_) => None,
        }
    }

    /// The outer tag's network.
    pub fn vlan(&self) -> Option<u16> {
        self.tags.last().map(|tci| tci & 0xfff)
    }

    /// The length of what follows the Ethernet header and tags.
    pub fn size(&self) -> u32 {
        match &self.net {
            Net::Arp(_) => 28,
            Net::Ip(ip) => ip.size,
        }
    }

    /// Where a field's bits are, or nothing when the packet has no such field.
    pub fn get(&self, field: Field) -> Option<u128> {
        let mac = |mac: Mac| Some(u128::from(mac.to_bits()));
        match field {
            Field::EthSrc => mac(self.eth_src),
            Field::EthDst => mac(self.eth_dst),
            Field::EthType => Some(u128::from(self.eth_type())),
            Field::VlanTci => Some(match self.tags.last() {
                Some(tci) => u128::from(tci | VLAN_PRESENT),
                None => 0,
            }),
            Field::VlanVid => Some(match self.vlan() {
                Some(vid) => u128::from(vid | VLAN_PRESENT),
                None => 0,
            }),
            Field::VlanPcp => self.tags.last().map(|tci| u128::from(tci >> 13)),
            _ => match &self.net {
                Net::Arp(arp) => arp_field(arp, field),
                Net::Ip(ip) => ip_field(ip, field),
            },
        }
    }

    /// Write a field. False when the packet has no such field.
    pub fn set(&mut self, field: Field, value: u128) -> bool {
        match field {
            Field::EthSrc => self.eth_src = Mac::from_bits(value as u64),
            Field::EthDst => self.eth_dst = Mac::from_bits(value as u64),
            Field::VlanTci => {
                self.tags.pop();
                if value & u128::from(VLAN_PRESENT) != 0 {
                    self.tags.push(value as u16 & !VLAN_PRESENT);
                }
            }
            Field::VlanVid => {
                let pcp = self.tags.pop().unwrap_or(0) & 0xe000;
                self.tags.push(pcp | (value as u16 & 0xfff));
            }
            Field::VlanPcp => {
                let vid = self.tags.pop().unwrap_or(0) & 0xfff;
                self.tags.push(vid | ((value as u16 & 7) << 13));
            }
            _ if self.arp().is_some() => {
                return self.arp_mut().is_some_and(|a| set_arp(a, field, value));
            }
            _ => return self.ip_mut().is_some_and(|ip| set_ip(ip, field, value)),
        }
        true
    }

    /// What differs between this packet and what became of it: name, before, after.
    pub fn changes(&self, after: &Packet) -> Vec<(String, String, String)> {
        let mut out = Vec::new();
        let mut note = |name: &str, before: String, after: String| {
            if before != after {
                out.push((name.to_owned(), before, after));
            }
        };
        let tag = |p: &Packet| p.vlan().map_or("none".to_owned(), |v| v.to_string());
        note(
            "eth_src",
            self.eth_src.to_string(),
            after.eth_src.to_string(),
        );
        note(
            "eth_dst",
            self.eth_dst.to_string(),
            after.eth_dst.to_string(),
        );
        note("vlan", tag(self), tag(after));
        match (&self.net, &after.net) {
            (Net::Arp(a), Net::Arp(b)) => {
                note("arp_op", a.op.to_string(), b.op.to_string());
                note("arp_spa", a.spa.to_string(), b.spa.to_string());
                note("arp_sha", a.sha.to_string(), b.sha.to_string());
                note("arp_tpa", a.tpa.to_string(), b.tpa.to_string());
                note("arp_tha", a.tha.to_string(), b.tha.to_string());
            }
            (Net::Ip(a), Net::Ip(b)) => {
                note("src", a.src.to_string(), b.src.to_string());
                note("dst", a.dst.to_string(), b.dst.to_string());
                note("ttl", a.ttl.to_string(), b.ttl.to_string());
                if let (Some(x), Some(y)) = (a.load.ports(), b.load.ports()) {
                    note("src port", x.0.to_string(), y.0.to_string());
                    note("dst port", x.1.to_string(), y.1.to_string());
                }
            }
            _ => {}
        }
        out
    }
}

fn arp_field(arp: &Arp, field: Field) -> Option<u128> {
    Some(match field {
        Field::ArpOp | Field::IpProto => u128::from(arp.op),
        Field::ArpSpa | Field::IpSrc => u128::from(u32::from(arp.spa)),
        Field::ArpTpa | Field::IpDst => u128::from(u32::from(arp.tpa)),
        Field::ArpSha => u128::from(arp.sha.to_bits()),
        Field::ArpTha => u128::from(arp.tha.to_bits()),
        _ => return None,
    })
}

fn ip_field(ip: &Ip, field: Field) -> Option<u128> {
    let number = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    };
    let v4 = ip.src.is_ipv4();
    match field {
        Field::IpSrc if v4 => Some(number(ip.src)),
        Field::IpDst if v4 => Some(number(ip.dst)),
        Field::Ipv6Src if !v4 => Some(number(ip.src)),
        Field::Ipv6Dst if !v4 => Some(number(ip.dst)),
        Field::IpProto => Some(u128::from(ip.load.proto())),
        Field::IpTtl => Some(u128::from(ip.ttl)),
        Field::IpFrag | Field::NwTos | Field::IpDscp | Field::IpEcn | Field::Ipv6Label => Some(0),
        _ => load_field(&ip.load, field),
    }
}

fn load_field(load: &Load, field: Field) -> Option<u128> {
    use Field as F;
    match (load, field.in_match()) {
        (Load::Tcp { sport, .. } | Load::Udp { sport, .. }, F::TpSrc) => Some(u128::from(*sport)),
        (Load::Tcp { dport, .. } | Load::Udp { dport, .. }, F::TpDst) => Some(u128::from(*dport)),
        (Load::Tcp { flags, .. }, F::TcpFlags) => Some(u128::from(*flags)),
        (Load::Icmp { kind, .. } | Load::Icmp6 { kind, .. }, F::IcmpType | F::TpSrc) => {
            Some(u128::from(*kind))
        }
        (Load::Icmp { code, .. } | Load::Icmp6 { code, .. }, F::IcmpCode | F::TpDst) => {
            Some(u128::from(*code))
        }
        (Load::Icmp6 { target, .. }, F::NdTarget) => target.map(u128::from),
        (Load::Icmp6 { kind, lladdr, .. }, F::NdSll) if *kind == ND_SOLICIT => {
            lladdr.map(|mac| u128::from(mac.to_bits()))
        }
        (Load::Icmp6 { kind, lladdr, .. }, F::NdTll) if *kind == ND_ADVERT => {
            lladdr.map(|mac| u128::from(mac.to_bits()))
        }
        _ => None,
    }
}

fn set_arp(arp: &mut Arp, field: Field, value: u128) -> bool {
    match field {
        Field::ArpOp => arp.op = value as u16,
        Field::ArpSpa => arp.spa = Ipv4Addr::from(value as u32),
        Field::ArpTpa => arp.tpa = Ipv4Addr::from(value as u32),
        Field::ArpSha => arp.sha = Mac::from_bits(value as u64),
        Field::ArpTha => arp.tha = Mac::from_bits(value as u64),
        _ => return false,
    }
    true
}

fn set_ip(ip: &mut Ip, field: Field, value: u128) -> bool {
    match (field.in_match(), ip.src.is_ipv4()) {
        (Field::IpSrc, true) => ip.src = Ipv4Addr::from(value as u32).into(),
        (Field::IpDst, true) => ip.dst = Ipv4Addr::from(value as u32).into(),
        (Field::Ipv6Src, false) => ip.src = Ipv6Addr::from(value).into(),
        (Field::Ipv6Dst, false) => ip.dst = Ipv6Addr::from(value).into(),
        (Field::IpTtl, _) => ip.ttl = value as u8,
        (Field::NwTos | Field::IpDscp | Field::IpEcn, _) => {}
        (field, _) => return set_load(&mut ip.load, field, value),
    }
    true
}

fn set_load(load: &mut Load, field: Field, value: u128) -> bool {
    match (load, field) {
        (Load::Tcp { sport, .. } | Load::Udp { sport, .. }, Field::TpSrc) => *sport = value as u16,
        (Load::Tcp { dport, .. } | Load::Udp { dport, .. }, Field::TpDst) => *dport = value as u16,
        (Load::Icmp { kind, .. } | Load::Icmp6 { kind, .. }, Field::IcmpType) => {
            *kind = value as u8;
        }
        (Load::Icmp { code, .. } | Load::Icmp6 { code, .. }, Field::IcmpCode) => {
            *code = value as u8;
        }
        (Load::Icmp6 { target, .. }, Field::NdTarget) => *target = Some(Ipv6Addr::from(value)),
        (Load::Icmp6 { lladdr, .. }, Field::NdSll | Field::NdTll) => {
            *lladdr = Some(Mac::from_bits(value as u64));
        }
        _ => return false,
    }
    true
}

impl fmt::Display for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.net {
            Net::Arp(arp) if arp.op == 1 => {
                write!(f, "arp who has {} tell {}", arp.tpa, arp.spa)
            }
            Net::Arp(arp) => write!(f, "arp {} is at {}", arp.spa, arp.sha),
            Net::Ip(ip) => write!(f, "{ip}"),
        }
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (src, dst) = (self.src, self.dst);
        match &self.load {
            Load::Icmp { kind, .. } if *kind == ICMP_ECHO => write!(f, "icmp echo {src} > {dst}"),
            Load::Icmp { kind, .. } if *kind == ICMP_ECHO_REPLY => {
                write!(f, "icmp echo reply {src} > {dst}")
            }
            Load::Icmp { kind, code, .. } => {
                write!(f, "icmp type {kind} code {code} {src} > {dst}")
            }
            Load::Icmp6 { kind, .. } if *kind == ND_ROUTER_SOLICIT => {
                write!(f, "icmp6 router solicitation {src} > {dst}")
            }
            Load::Icmp6 { kind, .. } if *kind == ND_ROUTER_ADVERT => {
                write!(f, "icmp6 router advertisement {src} > {dst}")
            }
            Load::Icmp6 { kind, code, .. } => {
                write!(f, "icmp6 type {kind} code {code} {src} > {dst}")
            }
            Load::Tcp {
                sport,
                dport,
                flags,
            } => {
                let flags = match flags & (TCP_SYN | TCP_ACK | TCP_RST) {
                    TCP_SYN => " syn",
                    0x12 => " syn-ack",
                    _ => "",
                };
                write!(f, "tcp{flags} {src}:{sport} > {dst}:{dport}")
            }
            Load::Udp { sport, dport } => write!(f, "udp {src}:{sport} > {dst}:{dport}"),
            Load::Other(proto) => write!(f, "ip protocol {proto} {src} > {dst}"),
        }
    }
}

/// The bits that Open vSwitch keeps beside a packet inside one bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    pub tun_id: u64,
    pub tun_src: u32,
    pub tun_dst: u32,
    pub regs: [u32; 16],
    pub metadata: u64,
    pub pkt_mark: u32,
    pub ct_state: u32,
    pub ct_zone: u16,
    pub ct_mark: u32,
    pub ct_label: u128,
    pub conj_id: u32,
}

impl Meta {
    pub fn get(&self, field: Field) -> Option<u128> {
        let wide = |from: usize, count: usize| {
            let words = self.regs[from..from + count].iter();
            words.fold(0u128, |bits, reg| (bits << 32) | u128::from(*reg))
        };
        if let Some((from, count)) = register(field) {
            return Some(wide(from, count));
        }
        Some(match field {
            Field::TunId => u128::from(self.tun_id),
            Field::TunSrc => u128::from(self.tun_src),
            Field::TunDst => u128::from(self.tun_dst),
            Field::Metadata => u128::from(self.metadata),
            Field::PktMark => u128::from(self.pkt_mark),
            Field::CtState => u128::from(self.ct_state),
            Field::CtZone => u128::from(self.ct_zone),
            Field::CtMark => u128::from(self.ct_mark),
            Field::CtLabel => self.ct_label,
            Field::ConjId => u128::from(self.conj_id),
            Field::RecircId => 0,
            _ => return None,
        })
    }

    /// Write a field. False when it is none of these, or is not to be written.
    pub fn set(&mut self, field: Field, value: u128) -> bool {
        if let Some((from, count)) = register(field) {
            for (n, reg) in self.regs[from..from + count].iter_mut().rev().enumerate() {
                *reg = (value >> (32 * n)) as u32;
            }
            return true;
        }
        match field {
            Field::TunId => self.tun_id = value as u64,
            Field::TunSrc => self.tun_src = value as u32,
            Field::TunDst => self.tun_dst = value as u32,
            Field::Metadata => self.metadata = value as u64,
            Field::PktMark => self.pkt_mark = value as u32,
            _ => return false,
        }
        true
    }

    pub fn clear_ct(&mut self) {
        (self.ct_state, self.ct_zone, self.ct_mark, self.ct_label) = (0, 0, 0, 0);
    }
}

/// Which 32-bit registers a register field stands for: the first, and how many.
fn register(field: Field) -> Option<(usize, usize)> {
    let at = |first: Field| (field as usize).checked_sub(first as usize);
    if (Field::Reg0..=Field::Reg15).contains(&field) {
        return at(Field::Reg0).map(|n| (n, 1));
    }
    if (Field::Xreg0..=Field::Xreg7).contains(&field) {
        return at(Field::Xreg0).map(|n| (n * 2, 2));
    }
    if (Field::Xxreg0..=Field::Xxreg3).contains(&field) {
        return at(Field::Xxreg0).map(|n| (n * 4, 4));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_bits_as_a_switch_sees_them() {
        let mut packet = Packet::arp_request(Mac([2; 6]), Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST);
        assert_eq!(packet.get(Field::VlanTci), Some(0));
        packet.tags.push(0);
        assert!(packet.set(Field::VlanVid, 0x1003));
        assert_eq!(packet.vlan(), Some(3));
        assert_eq!(packet.get(Field::VlanTci), Some(0x1003));
        assert!(packet.set(Field::VlanTci, 0));
        assert_eq!(packet.vlan(), None);
    }

    #[test]
    fn fields_of_another_protocol_are_not_there() {
        let mut packet = Packet::arp_request(Mac([2; 6]), Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST);
        assert_eq!(packet.get(Field::TpDst), None);
        assert!(!packet.set(Field::TpDst, 1));
        assert_eq!(packet.get(Field::ArpOp), Some(1));
    }

    #[test]
    fn wide_registers_are_several_narrow_ones() {
        let mut meta = Meta::default();
        assert!(meta.set(Field::Xxreg0, 0x1_0000_0002_0000_0003_0000_0004));
        assert_eq!(meta.regs[..4], [1, 2, 3, 4]);
        assert_eq!(meta.get(Field::Xreg1), Some(0x3_0000_0004));
    }
}

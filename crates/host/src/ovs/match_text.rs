//! A match as `ovs-ofctl` writes it: `icmp6,in_port="qvo1",icmp_type=136`.
use std::fmt::{self, Write};

use super::field::Field;
use super::matches::{
    ETH_ARP, ETH_IP, ETH_IPV6, ETH_RARP, Masked, Match, PROTO_ICMP, PROTO_ICMP6, PROTO_SCTP,
    PROTO_TCP, PROTO_UDP, PortRef, VLAN_PRESENT,
};
use super::value;
use crate::text::{number, unquote};

const ETH_MPLS: u16 = 0x8847;
const ETH_MPLSM: u16 = 0x8848;
const PROTO_IGMP: u8 = 2;

/// Words that stand for a type of frame and perhaps a protocol. The first fitting row is printed.
const SHORTHANDS: &[(&str, u16, Option<u8>)] = &[
    ("icmp", ETH_IP, Some(PROTO_ICMP)),
    ("igmp", ETH_IP, Some(PROTO_IGMP)),
    ("tcp", ETH_IP, Some(PROTO_TCP)),
    ("udp", ETH_IP, Some(PROTO_UDP)),
    ("sctp", ETH_IP, Some(PROTO_SCTP)),
    ("ip", ETH_IP, None),
    ("icmp6", ETH_IPV6, Some(PROTO_ICMP6)),
    ("tcp6", ETH_IPV6, Some(PROTO_TCP)),
    ("udp6", ETH_IPV6, Some(PROTO_UDP)),
    ("sctp6", ETH_IPV6, Some(PROTO_SCTP)),
    ("ipv6", ETH_IPV6, None),
    ("ip6", ETH_IPV6, None),
    ("arp", ETH_ARP, None),
    ("rarp", ETH_RARP, None),
    ("mpls", ETH_MPLS, None),
    ("mplsm", ETH_MPLSM, None),
];

/// Words for reserved ports.
pub(super) fn port_ref(text: &str) -> PortRef {
    if text.starts_with('"') {
        return PortRef::Name(unquote(text));
    }
    if let Some(number) = number(text).and_then(|n| u32::try_from(n).ok()) {
        return match number {
            0xfffe | 0xffff_fffe => PortRef::Local,
            0xfff8 | 0xffff_fff8 => PortRef::InPort,
            number => PortRef::Number(number),
        };
    }
    match text.to_ascii_uppercase().as_str() {
        "IN_PORT" => PortRef::InPort,
        "LOCAL" => PortRef::Local,
        "NORMAL" => PortRef::Normal,
        "FLOOD" => PortRef::Flood,
        "ALL" => PortRef::All,
        "TABLE" => PortRef::Table,
        "CONTROLLER" => PortRef::Controller,
        "NONE" => PortRef::None,
        "ANY" => PortRef::Any,
        _ => PortRef::Name(text.to_owned()),
    }
}

impl Match {
    /// Take one part of a match in: `arp`, `dl_vlan=3`, `reg0=1/0xf`. What is not known is kept.
    pub(super) fn read_part(&mut self, part: &str) {
        let known = match part.split_once('=') {
            None => self.read_shorthand(part),
            Some((name, value)) => self.read_field(name, value),
        };
        if !known {
            self.unknown.insert(part.to_owned());
        }
    }

    fn read_shorthand(&mut self, word: &str) -> bool {
        let Some((_, eth_type, proto)) = SHORTHANDS.iter().find(|row| row.0 == word) else {
            return false;
        };
        self.require(Field::EthType, u128::from(*eth_type), 0xffff);
        if let Some(proto) = proto {
            self.require(Field::IpProto, u128::from(*proto), 0xff);
        }
        true
    }

    fn read_field(&mut self, name: &str, text: &str) -> bool {
        if matches!(name, "in_port" | "in_port_oxm") {
            self.in_port = Some(port_ref(text));
            return true;
        }
        if let Some(known) = self.read_vlan(name, text) {
            return known;
        }
        let Some(field) = Field::by_name(name) else {
            return false;
        };
        let Some(bits) = value::parse(field, text) else {
            return false;
        };
        match field {
            Field::NwTos => self.require(field, bits.value, 0xfc),
            Field::IpDscp => self.require(Field::NwTos, bits.value << 2, 0xfc),
            _ => self.require(field, bits.value, bits.mask),
        }
        true
    }

    /// The five ways to speak of a tag, all of them bits of one field.
    fn read_vlan(&mut self, name: &str, text: &str) -> Option<bool> {
        let present = u128::from(VLAN_PRESENT);
        let (field, shift, extra) = match name {
            "dl_vlan" if matches!(text, "0xffff" | "65535") => {
                self.require(Field::VlanTci, 0, 0xffff);
                return Some(true);
            }
            "dl_vlan" => (Field::VlanVid, 0, present),
            "dl_vlan_pcp" | "vlan_pcp" => (Field::VlanPcp, 13, present),
            "vlan_vid" => (Field::VlanVid, 0, 0),
            _ => return None,
        };
        let Some(bits) = value::parse(field, text) else {
            return Some(false);
        };
        let value = (bits.value << shift) | extra;
        let mask = (bits.mask << shift) | extra;
        self.require(Field::VlanTci, value, mask);
        Some(true)
    }

    /// Older forms write ARP's addresses and operation with the words of IP.
    pub(super) fn settle(&mut self) {
        let is_arp = matches!(
            self.exact(Field::EthType),
            Some(t) if t == u128::from(ETH_ARP) || t == u128::from(ETH_RARP)
        );
        if !is_arp {
            return;
        }
        for (ip, arp, mask) in [
            (Field::IpSrc, Field::ArpSpa, u128::MAX),
            (Field::IpDst, Field::ArpTpa, u128::MAX),
            (Field::IpProto, Field::ArpOp, 0xffff),
        ] {
            if let Some(bits) = self.fields.remove(&ip) {
                let whole = bits.mask == ip.full_mask();
                self.require(arp, bits.value, if whole { mask } else { bits.mask });
            }
        }
    }

    /// The shorthand that this match is printed with.
    fn shorthand(&self) -> Option<&'static (&'static str, u16, Option<u8>)> {
        let eth_type = self.exact(Field::EthType)?;
        let proto = self.exact(Field::IpProto);
        SHORTHANDS.iter().find(|(_, eth, p)| {
            u128::from(*eth) == eth_type && p.is_none_or(|p| proto == Some(u128::from(p)))
        })
    }

    /// The parts in the order in which `ovs-ofctl` prints them.
    pub(super) fn parts(&self) -> Vec<String> {
        let shorthand = self.shorthand();
        let mut parts = Vec::new();
        let mut said = shorthand.is_none();
        let mut in_port_said = false;
        for (field, bits) in &self.fields {
            if !said && *field >= Field::Reg0 {
                parts.extend(shorthand.map(|row| row.0.to_owned()));
                said = true;
            }
            if !in_port_said && *field > Field::InPort {
                parts.extend(self.in_port_part());
                in_port_said = true;
            }
            match field {
                Field::EthType if shorthand.is_some() => {}
                Field::IpProto if shorthand.is_some_and(|row| row.2.is_some()) => {}
                Field::VlanTci => parts.extend(vlan_parts(*bits)),
                field => parts.push(field_part(*field, *bits)),
            }
        }
        if !in_port_said {
            parts.extend(self.in_port_part());
        }
        parts.extend(self.unknown.iter().cloned());
        parts
    }

    fn in_port_part(&self) -> Option<String> {
        Some(format!("in_port={}", self.in_port.as_ref()?))
    }
}

fn field_part(field: Field, bits: Masked) -> String {
    let mut out = format!("{}=", field.info().name);
    let whole = bits.mask == field.full_mask();
    match field {
        Field::EthType if whole => out.push_str(&format!("{:#06x}", bits.value)),
        Field::Ipv6Label if whole => out.push_str(&format!("{:#07x}", bits.value)),
        Field::NwTos if bits.mask == 0xfc => out.push_str(&bits.value.to_string()),
        // Writing to a String does not fail.
        _ => drop(value::print_match(&mut out, field, bits)),
    }
    out
}

/// A tag's bits in the words that OVS finds for them.
fn vlan_parts(bits: Masked) -> Vec<String> {
    const VID: u128 = 0xfff;
    const PCP: u128 = 0xe000;
    let Masked { value, mask } = bits;
    let present = u128::from(VLAN_PRESENT);
    let (vid, pcp) = (mask & VID, mask & PCP);
    let whole_words = (vid == 0 || vid == VID) && (pcp == 0 || pcp == PCP) && vid | pcp != 0;
    if mask & present != 0 && value & present != 0 && whole_words {
        let mut parts = Vec::new();
        if vid != 0 {
            parts.push(format!("dl_vlan={}", value & VID));
        }
        if pcp != 0 {
            parts.push(format!("dl_vlan_pcp={}", value >> 13));
        }
        return parts;
    }
    match mask {
        0xffff => vec![format!("vlan_tci={value:#06x}")],
        mask => vec![format!("vlan_tci={value:#06x}/{mask:#06x}")],
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, part) in self.parts().iter().enumerate() {
            if n > 0 {
                f.write_char(',')?;
            }
            f.write_str(part)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Match {
        let mut m = Match::any();
        for part in crate::text::split_outside(text, ',') {
            m.read_part(part.text);
        }
        m.settle();
        m
    }

    #[test]
    fn matches_read_as_they_are_written() {
        for text in [
            r#"icmp6,in_port="qvo1",icmp_type=136,nd_target=fe80::1"#,
            "ct_state=+est-rel+rpl,ct_zone=1,ct_mark=0,reg5=0x4",
            "tcp,reg5=0x3,tp_dst=0x1f40/0xffc0",
            "arp,dl_dst=fa:16:3f:8a:e9:59,arp_op=2,arp_tha=fa:16:3e:c2:b7:26",
            "in_port=1,vlan_tci=0x0000/0x1fff",
            "vlan_tci=0x0001/0x0fff,dl_dst=fa:16:3e:be:10:92",
            "dl_vlan=1,dl_vlan_pcp=7",
            "in_port=LOCAL,dl_type=0x88cc",
            "ip,nw_proto=47,nw_tos=32",
            "conj_id=24,ct_state=+new-est,ip,reg5=0x4",
        ] {
            assert_eq!(read(text).to_string(), text);
            assert!(read(text).unknown.is_empty(), "{text}");
        }
    }

    #[test]
    fn spellings_of_one_match_are_equal() {
        assert_eq!(
            read("dl_type=0x0806,nw_dst=10.0.0.1,nw_proto=1,dl_vlan=2"),
            read("vlan_vid=0x1002/0x1fff,arp,arp_op=1,arp_tpa=10.0.0.1")
        );
        assert_eq!(read("udp,udp_dst=53"), read("tp_dst=53,udp"));
        assert_eq!(read("in_port=65534"), read("in_port=LOCAL"));
        assert_eq!(read("dl_vlan=7").vlan_id(), Some(7));
        assert_eq!(read("dl_vlan=0xffff").to_string(), "vlan_tci=0x0000");
    }

    #[test]
    fn the_unknown_is_kept() {
        let m = read("arp,nsh_spi=3,foo,reg0=zz");
        assert_eq!(m.to_string(), "arp,foo,nsh_spi=3,reg0=zz");
        assert_eq!(m.unknown.len(), 3);
    }
}

//! Where each field stands on the wire: class, number and width of its OXM or NXM header.
use host::ovs::Field;

use super::wire::{Reader, Short, Writer};

/// NXM_OF, NXM_NX, OXM_OF, OXM_OF_PKT_REG and Ericsson's extension.
const NXM: u16 = 0x0000;
const NX: u16 = 0x0001;
const OXM: u16 = 0x8000;
const PKT_REG: u16 = 0x8001;
const ERIC: u16 = 0x1000;

/// A row: the field, the header it is written with, the bytes of its value.
type Row = (Field, u16, u8, u8);

/// The header that each field is written with stands first; others that mean it follow below.
const FIELDS: &[Row] = &[
    (Field::InPortOxm, OXM, 0, 4),
    (Field::InPort, NXM, 0, 2),
    (Field::Metadata, OXM, 2, 8),
    (Field::EthDst, NXM, 1, 6),
    (Field::EthSrc, NXM, 2, 6),
    (Field::EthType, NXM, 3, 2),
    (Field::VlanTci, NXM, 4, 2),
    (Field::VlanVid, OXM, 6, 2),
    (Field::VlanPcp, OXM, 7, 1),
    (Field::NwTos, NXM, 5, 1),
    (Field::IpDscp, OXM, 8, 1),
    (Field::IpEcn, NX, 28, 1),
    (Field::IpProto, NXM, 6, 1),
    (Field::IpSrc, NXM, 7, 4),
    (Field::IpDst, NXM, 8, 4),
    (Field::TcpSrc, NXM, 9, 2),
    (Field::TcpDst, NXM, 10, 2),
    (Field::UdpSrc, NXM, 11, 2),
    (Field::UdpDst, NXM, 12, 2),
    (Field::SctpSrc, OXM, 17, 2),
    (Field::SctpDst, OXM, 18, 2),
    (Field::IcmpType, NXM, 13, 1),
    (Field::IcmpCode, NXM, 14, 1),
    (Field::ArpOp, NXM, 15, 2),
    (Field::ArpSpa, NXM, 16, 4),
    (Field::ArpTpa, NXM, 17, 4),
    (Field::ArpSha, NX, 17, 6),
    (Field::ArpTha, NX, 18, 6),
    (Field::Reg0, NX, 0, 4),
    (Field::Reg1, NX, 1, 4),
    (Field::Reg2, NX, 2, 4),
    (Field::Reg3, NX, 3, 4),
    (Field::Reg4, NX, 4, 4),
    (Field::Reg5, NX, 5, 4),
    (Field::Reg6, NX, 6, 4),
    (Field::Reg7, NX, 7, 4),
    (Field::Reg8, NX, 8, 4),
    (Field::Reg9, NX, 9, 4),
    (Field::Reg10, NX, 10, 4),
    (Field::Reg11, NX, 11, 4),
    (Field::Reg12, NX, 12, 4),
    (Field::Reg13, NX, 13, 4),
    (Field::Reg14, NX, 14, 4),
    (Field::Reg15, NX, 15, 4),
    (Field::Xreg0, PKT_REG, 0, 8),
    (Field::Xreg1, PKT_REG, 1, 8),
    (Field::Xreg2, PKT_REG, 2, 8),
    (Field::Xreg3, PKT_REG, 3, 8),
    (Field::Xreg4, PKT_REG, 4, 8),
    (Field::Xreg5, PKT_REG, 5, 8),
    (Field::Xreg6, PKT_REG, 6, 8),
    (Field::Xreg7, PKT_REG, 7, 8),
    (Field::Xxreg0, NX, 111, 16),
    (Field::Xxreg1, NX, 112, 16),
    (Field::Xxreg2, NX, 113, 16),
    (Field::Xxreg3, NX, 114, 16),
    (Field::TunId, NX, 16, 8),
    (Field::TunSrc, NX, 31, 4),
    (Field::TunDst, NX, 32, 4),
    (Field::TunIpv6Src, NX, 109, 16),
    (Field::TunIpv6Dst, NX, 110, 16),
    (Field::Ipv6Src, NX, 19, 16),
    (Field::Ipv6Dst, NX, 20, 16),
    (Field::Icmpv6Type, NX, 21, 1),
    (Field::Icmpv6Code, NX, 22, 1),
    (Field::NdTarget, NX, 23, 16),
    (Field::NdSll, NX, 24, 6),
    (Field::NdTll, NX, 25, 6),
    (Field::IpFrag, NX, 26, 1),
    (Field::Ipv6Label, NX, 27, 4),
    (Field::IpTtl, NX, 29, 1),
    (Field::MplsTtl, NX, 30, 1),
    (Field::PktMark, NX, 33, 4),
    (Field::TcpFlags, NX, 34, 2),
    (Field::DpHash, NX, 35, 4),
    (Field::RecircId, NX, 36, 4),
    (Field::ConjId, NX, 37, 4),
    (Field::CtState, NX, 105, 4),
    (Field::CtZone, NX, 106, 2),
    (Field::CtMark, NX, 107, 4),
    (Field::CtLabel, NX, 108, 16),
    (Field::CtNwProto, NX, 119, 1),
    (Field::CtNwSrc, NX, 120, 4),
    (Field::CtNwDst, NX, 121, 4),
    (Field::CtIpv6Src, NX, 122, 16),
    (Field::CtIpv6Dst, NX, 123, 16),
    (Field::CtTpSrc, NX, 124, 2),
    (Field::CtTpDst, NX, 125, 2),
    (Field::MplsLabel, OXM, 34, 4),
    (Field::MplsTc, OXM, 35, 1),
    (Field::MplsBos, OXM, 36, 1),
    (Field::NdReserved, ERIC, 1, 4),
    (Field::NdOptionsType, ERIC, 2, 1),
    // The same fields under their standard headers, which a switch prefers when it answers.
    (Field::EthDst, OXM, 3, 6),
    (Field::EthSrc, OXM, 4, 6),
    (Field::EthType, OXM, 5, 2),
    (Field::IpEcn, OXM, 9, 1),
    (Field::IpProto, OXM, 10, 1),
    (Field::IpSrc, OXM, 11, 4),
    (Field::IpDst, OXM, 12, 4),
    (Field::TcpSrc, OXM, 13, 2),
    (Field::TcpDst, OXM, 14, 2),
    (Field::UdpSrc, OXM, 15, 2),
    (Field::UdpDst, OXM, 16, 2),
    (Field::IcmpType, OXM, 19, 1),
    (Field::IcmpCode, OXM, 20, 1),
    (Field::ArpOp, OXM, 21, 2),
    (Field::ArpSpa, OXM, 22, 4),
    (Field::ArpTpa, OXM, 23, 4),
    (Field::ArpSha, OXM, 24, 6),
    (Field::ArpTha, OXM, 25, 6),
    (Field::Ipv6Src, OXM, 26, 16),
    (Field::Ipv6Dst, OXM, 27, 16),
    (Field::Ipv6Label, OXM, 28, 4),
    (Field::Icmpv6Type, OXM, 29, 1),
    (Field::Icmpv6Code, OXM, 30, 1),
    (Field::NdTarget, OXM, 31, 16),
    (Field::NdSll, OXM, 32, 6),
    (Field::NdTll, OXM, 33, 6),
    (Field::TunId, OXM, 38, 8),
    (Field::TcpFlags, OXM, 42, 2),
];

/// A field's header: class, number, bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub class: u16,
    pub number: u8,
    pub bytes: u8,
}

impl Header {
    /// The header a field is written with; some fields exist only in text.
    pub fn of(field: Field) -> Option<Header> {
        let row = FIELDS.iter().find(|(candidate, ..)| *candidate == field)?;
        Some(Header {
            class: row.1,
            number: row.2,
            bytes: row.3,
        })
    }

    /// Which field a header means.
    pub fn field(self) -> Option<Field> {
        let row = FIELDS
            .iter()
            .find(|(_, class, number, _)| *class == self.class && *number == self.number);
        row.map(|row| row.0)
    }

    pub fn write(self, masked: bool, out: &mut Writer) {
        out.u16(self.class);
        out.u8((self.number << 1) | u8::from(masked));
        out.u8(self.bytes << u8::from(masked));
    }

    /// A header, and whether a mask follows the value. The length of the value is its own.
    pub fn read(from: &mut Reader<'_>) -> Result<(Header, bool), Short> {
        let class = from.u16()?;
        let number = from.u8()?;
        let masked = number & 1 == 1;
        let bytes = from.u8()? >> u8::from(masked);
        Ok((
            Header {
                class,
                number: number >> 1,
                bytes,
            },
            masked,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn headers_and_fields_lead_to_each_other() {
        let mut headers = BTreeSet::new();
        for (field, class, number, bytes) in FIELDS {
            let header = Header {
                class: *class,
                number: *number,
                bytes: *bytes,
            };
            assert_eq!(header.field(), Some(*field));
            assert!(headers.insert((class, number)), "{field:?} twice");
            assert!(field.info().bits <= u32::from(*bytes) * 8, "{field:?}");
            let mut out = Writer::default();
            header.write(true, &mut out);
            assert_eq!(Header::read(&mut Reader(&out.0)), Ok((header, true)));
        }
    }

    #[test]
    fn every_field_but_those_of_text_has_a_header() {
        let none: Vec<&str> = Field::ALL
            .iter()
            .filter(|field| Header::of(**field).is_none())
            .map(|field| field.info().name)
            .collect();
        assert_eq!(none, ["tp_src", "tp_dst"]);
    }
}

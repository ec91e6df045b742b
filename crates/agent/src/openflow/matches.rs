//! A flow's match on the wire, to and from the canonical form that the rest of the system has.
use std::collections::BTreeMap;

use host::ovs::matches::{PROTO_ICMP6, PROTO_SCTP, PROTO_UDP, PortRef};
use host::ovs::{Bridge, Field, Masked, Match};

use super::CodecError;
use super::field::Header;
use super::wire::{Reader, Writer};

/// OpenFlow's reserved ports.
const RESERVED: [(u32, PortRef); 9] = [
    (0xffff_fff8, PortRef::InPort),
    (0xffff_fff9, PortRef::Table),
    (0xffff_fffa, PortRef::Normal),
    (0xffff_fffb, PortRef::Flood),
    (0xffff_fffc, PortRef::All),
    (0xffff_fffd, PortRef::Controller),
    (0xffff_fffe, PortRef::Local),
    (0xffff_ffff, PortRef::Any),
    (0xffff_ffff, PortRef::None),
];

/// The numbers that a bridge's ports have just now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    by_name: BTreeMap<String, u32>,
    by_number: BTreeMap<u32, String>,
}

impl Ports {
    pub fn of(bridge: &Bridge) -> Ports {
        let numbered = |(name, interface): (&str, &host::ovs::Interface)| {
            Some((name.to_owned(), interface.ofport.0?))
        };
        Ports::new(bridge.interfaces().filter_map(numbered))
    }

    pub fn new(ports: impl IntoIterator<Item = (String, u32)>) -> Ports {
        let by_name: BTreeMap<String, u32> = ports.into_iter().collect();
        let by_number = by_name
            .iter()
            .map(|(name, number)| (*number, name.clone()))
            .collect();
        Ports { by_name, by_number }
    }

    /// Does every port that was known keep its number?
    pub fn extends(&self, known: &Ports) -> bool {
        known
            .by_name
            .iter()
            .all(|(name, number)| self.by_name.get(name) == Some(number))
    }

    /// A port's number. One that the switch has not made yet has none.
    pub fn number(&self, port: &PortRef) -> Result<u32, CodecError> {
        match port {
            PortRef::Number(number) => Ok(*number),
            PortRef::Name(name) => match self.by_name.get(name) {
                Some(65534) => Ok(0xffff_fffe),
                Some(number) => Ok(*number),
                None => Err(CodecError::NoPort(name.clone())),
            },
            port => {
                let row = RESERVED.iter().find(|(_, reserved)| reserved == port);
                row.map(|row| row.0)
                    .ok_or_else(|| CodecError::Unsayable(format!("port {port}")))
            }
        }
    }

    pub fn name(&self, number: u32) -> PortRef {
        if let Some((_, reserved)) = RESERVED.iter().find(|row| row.0 == number) {
            return reserved.clone();
        }
        match self.by_number.get(&number) {
            Some(name) => PortRef::Name(name.clone()),
            None => PortRef::Number(number),
        }
    }

    /// As OpenFlow 1.0's 16 bits, which the switch's own extensions use.
    pub fn short(&self, port: &PortRef) -> Result<u16, CodecError> {
        self.number(port).map(|number| number as u16)
    }

    /// From OpenFlow 1.0's 16 bits.
    pub fn name_of_short(&self, number: u16) -> PortRef {
        match number {
            0xff00.. => self.name(0xffff_0000 | u32::from(number)),
            number => self.name(u32::from(number)),
        }
    }
}

/// `ofp_match`: type, length, fields, padding.
pub fn write(matches: &Match, ports: &Ports, out: &mut Writer) -> Result<(), CodecError> {
    if let Some(unknown) = matches.unknown.first() {
        return Err(CodecError::Unsayable(unknown.clone()));
    }
    let start = out.len();
    out.u16(1);
    out.u16(0);
    if let Some(port) = &matches.in_port {
        header(Field::InPortOxm)?.write(false, out);
        out.u32(ports.number(port)?);
    }
    for (field, bits) in &matches.fields {
        let header = header(concrete(*field, matches))?;
        let exact = bits.mask == field.full_mask();
        header.write(!exact, out);
        out.number(bits.value, header.bytes.into());
        if !exact {
            out.number(bits.mask, header.bytes.into());
        }
    }
    let length = out.len() - start;
    out.set_u16(start + 2, length);
    out.pad8(start);
    Ok(())
}

pub(super) fn header(field: Field) -> Result<Header, CodecError> {
    Header::of(field).ok_or_else(|| CodecError::Unsayable(format!("field {}", field.info().name)))
}

/// The field that a match means: ports and ICMP's types belong to a protocol.
fn concrete(field: Field, matches: &Match) -> Field {
    let proto = matches.exact(Field::IpProto);
    let of = |tcp, udp, sctp| match proto {
        Some(n) if n == u128::from(PROTO_UDP) => udp,
        Some(n) if n == u128::from(PROTO_SCTP) => sctp,
        _ => tcp,
    };
    let v6 = proto == Some(u128::from(PROTO_ICMP6));
    match field {
        Field::TpSrc => of(Field::TcpSrc, Field::UdpSrc, Field::SctpSrc),
        Field::TpDst => of(Field::TcpDst, Field::UdpDst, Field::SctpDst),
        Field::IcmpType if v6 => Field::Icmpv6Type,
        Field::IcmpCode if v6 => Field::Icmpv6Code,
        field => field,
    }
}

/// Read `ofp_match` with its padding.
pub fn read(from: &mut Reader<'_>, ports: &Ports) -> Result<Match, CodecError> {
    from.skip(2)?;
    let length = usize::from(from.u16()?);
    let mut body = from.take(length.checked_sub(4).ok_or(super::wire::Short)?)?;
    from.skip(length.next_multiple_of(8) - length)?;
    let mut matches = Match::default();
    while !body.is_empty() {
        let (header, masked) = Header::read(&mut body)?;
        let bytes = header.bytes.into();
        let value = body.number(bytes)?;
        let mask = if masked {
            Some(body.number(bytes)?)
        } else {
            None
        };
        require(
            &mut matches,
            header,
            Masked {
                value,
                mask: mask.unwrap_or(u128::MAX),
            },
            ports,
        );
    }
    Ok(matches)
}

fn require(matches: &mut Match, header: Header, bits: Masked, ports: &Ports) {
    match header.field() {
        Some(Field::InPortOxm | Field::InPort) => {
            matches.in_port = Some(ports.name(bits.value as u32));
        }
        // The standard's tag fields are parts of the one that matches hold.
        Some(Field::VlanVid) => matches.require(Field::VlanTci, bits.value, bits.mask & 0x1fff),
        Some(Field::VlanPcp) => {
            matches.require(Field::VlanTci, bits.value << 13, (bits.mask & 7) << 13);
            // A priority is only there where there is a tag.
            matches.require(Field::VlanTci, 0x1000, 0x1000);
        }
        Some(field) => matches.require(field, bits.value, bits.mask),
        None => {
            let text = format!(
                "oxm {:#x}:{}={:#x}/{:#x}",
                header.class, header.number, bits.value, bits.mask
            );
            matches.unknown.insert(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::ovs::matches::PROTO_TCP;

    fn ports() -> Ports {
        Ports::new([("patch-tun".to_owned(), 2), ("br-int".to_owned(), 65534)])
    }

    #[test]
    fn a_match_survives_the_wire() {
        let cases = [
            Match::any(),
            Match::any()
                .in_port("patch-tun")
                .vlan(7)
                .eth_dst("fa:16:3e:00:00:11".parse().unwrap()),
            Match::any().untagged(),
            Match::any()
                .ip()
                .proto(PROTO_TCP)
                .masked(Field::TpDst, 0x1f40, 0xfff8),
            Match::any()
                .icmp6_type(136)
                .ip6(Field::NdTarget, "fe80::1".parse().unwrap()),
            Match::any()
                .arp()
                .ip4(Field::ArpSpa, "10.0.0.1".parse().unwrap()),
            Match::any()
                .masked(Field::CtState, 0x22, 0x23)
                .field(Field::Reg5, 9),
            Match::any().masked(Field::EthDst, 0, 0x0100_0000_0000),
        ];
        for matches in cases {
            let mut out = Writer::default();
            write(&matches, &ports(), &mut out).expect("sayable");
            assert_eq!(out.len() % 8, 0);
            assert_eq!(read(&mut Reader(&out.0), &ports()), Ok(matches));
        }
    }

    #[test]
    fn ports_have_numbers_names_and_reserved_words() {
        let ports = ports();
        assert_eq!(ports.number(&PortRef::name("br-int")), Ok(0xffff_fffe));
        assert_eq!(
            ports.number(&PortRef::name("gone")),
            Err(CodecError::NoPort("gone".into()))
        );
        assert_eq!(ports.name(2), PortRef::name("patch-tun"));
        assert_eq!(ports.name(9), PortRef::Number(9));
        assert_eq!(ports.name_of_short(0xfff8), PortRef::InPort);
        assert_eq!(ports.short(&PortRef::Local), Ok(0xfffe));
    }
}

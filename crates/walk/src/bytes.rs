//! A packet as it is on a wire: what a walk supposes, as a frame that can really be sent. A mark
//! in it tells it from all others, on whatever device it is seen, in a tunnel too.
mod lease;

use std::net::{IpAddr, Ipv6Addr};

use etherparse::{
    Icmpv4Header, Icmpv4Type, Icmpv6Header, Icmpv6Type, IpNumber, Ipv4Header, Ipv6Header,
    TcpHeader, UdpHeader,
};
use host::Mac;

use crate::autoconf::{DHCP_CLIENT, DHCP_SERVER, DHCP6_CLIENT, DHCP6_SERVER};
use crate::packet::{
    Arp, ICMP_ECHO, ICMP6_ECHO, Ip, Load, ND_ADVERT, ND_ROUTER_SOLICIT, ND_SOLICIT, Net, Packet,
    TCP_ACK, TCP_RST, TCP_SYN,
};

/// A number that no other packet carries: the first bytes of its payload, or, of TCP, where its
/// sequence begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub u64);

const ETH_VLAN: u16 = 0x8100;

/// The questions for leases.
const DHCP: Load = Load::Udp {
    sport: DHCP_CLIENT,
    dport: DHCP_SERVER,
};
const DHCP6: Load = Load::Udp {
    sport: DHCP6_CLIENT,
    dport: DHCP6_SERVER,
};

impl Mark {
    fn sequence(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// By which bytes a frame shows that it is the marked packet. An ARP question has no room for
    /// a mark: it is known by who asks for what; and so has one for routers, known by who asks.
    fn of_packet(self, packet: &Packet) -> Vec<u8> {
        match &packet.net {
            Net::Arp(arp) => arp_bytes(arp)[6..].to_vec(),
            Net::Ip(ip) => match &ip.load {
                Load::Tcp { .. } => self.sequence().to_be_bytes().to_vec(),
                &DHCP => lease::marks(self.sequence()).0,
                &DHCP6 => lease::marks_6(self.sequence()).0,
                load if load.icmp() == Some((ND_ROUTER_SOLICIT, 0)) => {
                    router_option(packet.eth_src)
                }
                _ => self.0.to_be_bytes().to_vec(),
            },
        }
    }

    /// By which bytes a frame shows that it answers the marked packet; nothing where an answer
    /// says nothing of what it answers. That of UDP is known by its ports alone.
    pub(crate) fn of_answer(self, packet: &Packet) -> Option<Vec<u8>> {
        match &packet.ip()?.load {
            Load::Tcp { .. } => Some(self.sequence().wrapping_add(1).to_be_bytes().to_vec()),
            Load::Icmp {
                kind: ICMP_ECHO, ..
            }
            | Load::Icmp6 {
                kind: ICMP6_ECHO, ..
            } => Some(self.0.to_be_bytes().to_vec()),
            &DHCP => Some(lease::marks(self.sequence()).1),
            &DHCP6 => Some(lease::marks_6(self.sequence()).1),
            Load::Udp { sport, dport } => Some([dport.to_be_bytes(), sport.to_be_bytes()].concat()),
            _ => None,
        }
    }

    /// Is a frame the marked packet, not its answer?
    pub fn is_packet(self, packet: &Packet, frame: &[u8]) -> bool {
        Self::is(packet, frame, &self.of_packet(packet), false) && !self.is_refusal(packet, frame)
    }

    /// Is a frame the answer to the marked packet?
    pub fn is_answer(self, packet: &Packet, frame: &[u8]) -> bool {
        self.of_answer(packet)
            .is_some_and(|mark| Self::is(packet, frame, &mark, true))
            || self.is_refusal(packet, frame)
    }

    /// Does a frame say that nobody listens on a port of UDP? It quotes the packet, mark and all.
    fn is_refusal(self, packet: &Packet, frame: &[u8]) -> bool {
        let Some(ip) = packet.ip().filter(|ip| matches!(ip.load, Load::Udp { .. })) else {
            return false;
        };
        let mark = self.of_packet(packet);
        let Some(at) = frame.windows(mark.len()).position(|bytes| bytes == mark) else {
            return false;
        };
        // How far before the mark ICMP begins, the quoted headers being between, and the number of
        // its protocol stands.
        let (head, kind, proto_at, proto) = match ip.src {
            IpAddr::V4(_) => (36, [3, 3], 47, 1),
            IpAddr::V6(_) => (56, [1, 4], 90, 58),
        };
        let before = |distance: usize| at.checked_sub(distance);
        before(head).and_then(|from| frame.get(from..from + 2)) == Some(&kind)
            && before(proto_at).and_then(|at| frame.get(at)) == Some(&proto)
    }

    fn is(packet: &Packet, frame: &[u8], mark: &[u8], answer: bool) -> bool {
        let found = frame.windows(mark.len()).position(|bytes| bytes == mark);
        let Some(at) = found else {
            return false;
        };
        let echo = packet.ip().and_then(|ip| ip.load.icmp());
        let kind = at.checked_sub(8).and_then(|at| frame.get(at));
        match (echo, kind) {
            // Echo and reply carry the same payload, eight bytes after their types.
            (Some((sent, _)), Some(kind)) => (*kind == sent) != answer,
            _ => true,
        }
    }
}

/// The packet as bytes, from its destination address on; nothing when it cannot be written.
pub fn frame(packet: &Packet, mark: Mark) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    out.extend(packet.eth_dst.0);
    out.extend(packet.eth_src.0);
    for tag in packet.tags.iter().rev() {
        out.extend(ETH_VLAN.to_be_bytes());
        out.extend(tag.to_be_bytes());
    }
    out.extend(packet.eth_type().to_be_bytes());
    match &packet.net {
        Net::Arp(arp) => out.extend(arp_bytes(arp)),
        Net::Ip(ip) => out.extend(ip_bytes(ip, packet.eth_src, mark)?),
    }
    Some(out)
}

fn arp_bytes(arp: &Arp) -> Vec<u8> {
    // Ethernet and IPv4, and how long their addresses are.
    let mut out = vec![0, 1, 8, 0, 6, 4];
    out.extend(arp.op.to_be_bytes());
    out.extend(arp.sha.0);
    out.extend(arp.spa.octets());
    out.extend(arp.tha.0);
    out.extend(arp.tpa.octets());
    out
}

fn ip_bytes(ip: &Ip, sender: Mac, mark: Mark) -> Option<Vec<u8>> {
    let ends = match (ip.src, ip.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => Ends::V4(src.octets(), dst.octets()),
        (IpAddr::V6(src), IpAddr::V6(dst)) => Ends::V6(src.octets(), dst.octets()),
        _ => return None,
    };
    let load = load(ip, sender, mark, ends)?;
    let length = u16::try_from(load.len()).ok()?;
    let proto = IpNumber(ip.load.proto());
    Some(match ends {
        Ends::V4(src, dst) => {
            let mut head = Ipv4Header::new(length, ip.ttl, proto, src, dst).ok()?;
            head.identification = mark.0 as u16;
            head.dont_fragment = ip.dont_fragment;
            head.header_checksum = head.calc_header_checksum();
            [head.to_bytes().as_slice(), &load].concat()
        }
        Ends::V6(source, destination) => {
            let head = Ipv6Header {
                payload_length: length,
                next_header: proto,
                hop_limit: ip.ttl,
                source,
                destination,
                ..Ipv6Header::default()
            };
            [head.to_bytes().as_slice(), &load].concat()
        }
    })
}

/// The addresses of a packet, of one family: checksums are over them too.
#[derive(Clone, Copy)]
enum Ends {
    V4([u8; 4], [u8; 4]),
    V6([u8; 16], [u8; 16]),
}

impl Ends {
    /// How long the packet's header is, and an echo's or UDP's after it.
    fn heads(self) -> u32 {
        match self {
            Self::V4(..) => 28,
            Self::V6(..) => 48,
        }
    }

    fn checksum_of_tcp(self, head: &TcpHeader) -> Option<u16> {
        match self {
            Self::V4(src, dst) => head.calc_checksum_ipv4_raw(src, dst, &[]).ok(),
            Self::V6(src, dst) => head.calc_checksum_ipv6_raw(src, dst, &[]).ok(),
        }
    }

    fn checksum_of_udp(self, head: &UdpHeader, rest: &[u8]) -> Option<u16> {
        match self {
            Self::V4(src, dst) => head.calc_checksum_ipv4_raw(src, dst, rest).ok(),
            Self::V6(src, dst) => head.calc_checksum_ipv6_raw(src, dst, rest).ok(),
        }
    }
}

/// The mark, and as many bytes after it as the packet is long.
fn payload(ip: &Ip, heads: u32, mark: Mark) -> Vec<u8> {
    let mut payload = mark.0.to_be_bytes().to_vec();
    let length = ip.size.saturating_sub(heads) as usize;
    payload.resize(length.max(payload.len()), 0);
    payload
}

fn load(ip: &Ip, sender: Mac, mark: Mark, ends: Ends) -> Option<Vec<u8>> {
    let rest = match ip.load {
        DHCP => lease::discover(sender, mark.sequence()),
        DHCP6 => lease::solicit(sender, mark.sequence()),
        _ => payload(ip, ends.heads(), mark),
    };
    Some(match (&ip.load, ends) {
        (Load::Icmp { kind, code, id }, Ends::V4(..)) => {
            let kind = Icmpv4Type::Unknown {
                type_u8: *kind,
                code_u8: *code,
                bytes5to8: id_and_sequence(*id),
            };
            let head = Icmpv4Header::with_checksum(kind, &rest);
            [head.to_bytes().as_slice(), &rest].concat()
        }
        (
            Load::Icmp6 {
                kind,
                code,
                id,
                target,
                lladdr,
            },
            Ends::V6(src, dst),
        ) => {
            let (more, rest) = match target {
                Some(target) => ([0; 4], neighbour(*kind, *target, *lladdr)),
                None if *kind == ND_ROUTER_SOLICIT => ([0; 4], router_option(sender)),
                None => (id_and_sequence(*id), rest),
            };
            let kind = Icmpv6Type::Unknown {
                type_u8: *kind,
                code_u8: *code,
                bytes5to8: more,
            };
            let head = Icmpv6Header::with_checksum(kind, src, dst, &rest).ok()?;
            [head.to_bytes().as_slice(), &rest].concat()
        }
        (
            Load::Tcp {
                sport,
                dport,
                flags,
            },
            _,
        ) => {
            let mut head = tcp(*sport, *dport, *flags, mark);
            head.checksum = ends.checksum_of_tcp(&head)?;
            head.to_bytes().to_vec()
        }
        (Load::Udp { sport, dport }, _) => {
            let length = u16::try_from(rest.len() + UdpHeader::LEN).ok()?;
            let mut head = udp(*sport, *dport, length);
            head.checksum = ends.checksum_of_udp(&head, &rest)?;
            [&head.to_bytes()[..], &rest].concat()
        }
        (Load::Icmp { .. } | Load::Icmp6 { .. } | Load::Other(_), _) => rest,
    })
}

/// What neighbour discovery asks or says: the address, and whose hardware address goes with it.
fn neighbour(kind: u8, target: Ipv6Addr, lladdr: Option<Mac>) -> Vec<u8> {
    let mut out = target.octets().to_vec();
    let option = match kind {
        ND_SOLICIT => Some(1),
        ND_ADVERT => Some(2),
        _ => None,
    };
    if let Some((option, mac)) = option.zip(lladdr) {
        out.extend([option, 1]);
        out.extend(mac.0);
    }
    out
}

/// Whose hardware address goes with a question for routers.
fn router_option(sender: Mac) -> Vec<u8> {
    [&[1, 1][..], &sender.0].concat()
}

fn id_and_sequence(id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [high, low, 0, 1]
}

fn tcp(sport: u16, dport: u16, flags: u16, mark: Mark) -> TcpHeader {
    const WINDOW: u16 = 64240;
    let mut head = TcpHeader::new(sport, dport, mark.sequence(), WINDOW);
    head.syn = flags & TCP_SYN != 0;
    head.ack = flags & TCP_ACK != 0;
    head.rst = flags & TCP_RST != 0;
    head
}

fn udp(source_port: u16, destination_port: u16, length: u16) -> UdpHeader {
    UdpHeader {
        source_port,
        destination_port,
        length,
        checksum: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MARK: Mark = Mark(0x0123_4567_89ab_cdef);

    fn packet(src: &str, dst: &str, size: u32, load: Load) -> Packet {
        Packet {
            eth_src: Mac([2, 0, 0, 0, 0, 1]),
            eth_dst: Mac([2, 0, 0, 0, 0, 2]),
            tags: Vec::new(),
            net: Net::Ip(Ip {
                src: src.parse().unwrap(),
                dst: dst.parse().unwrap(),
                ttl: 64,
                dont_fragment: false,
                size,
                load,
            }),
        }
    }

    fn echo(kind: u8) -> Packet {
        let load = Load::Icmp {
            kind,
            code: 0,
            id: 1,
        };
        packet("10.1.0.11", "10.1.0.12", 84, load)
    }

    #[test]
    fn an_echo_is_as_long_as_it_says_and_its_reply_is_told_from_it() {
        let sent = frame(&echo(8), MARK).unwrap();
        assert_eq!(sent.len(), 14 + 84);
        let read = etherparse::PacketHeaders::from_ethernet_slice(&sent).unwrap();
        assert!(read.net.is_some() && read.transport.is_some());
        let back = frame(&echo(0), MARK).unwrap();
        assert!(MARK.is_packet(&echo(8), &sent) && !MARK.is_answer(&echo(8), &sent));
        assert!(MARK.is_answer(&echo(8), &back) && !MARK.is_packet(&echo(8), &back));
        // So it is inside another packet.
        let wrapped = [&[0x2a; 50][..], &back].concat();
        assert!(MARK.is_answer(&echo(8), &wrapped) && !Mark(7).is_answer(&echo(8), &wrapped));
    }

    #[test]
    fn a_connection_is_known_by_where_its_sequence_begins() {
        let load = Load::Tcp {
            sport: 40000,
            dport: 22,
            flags: TCP_SYN,
        };
        let syn = packet("10.1.0.11", "10.1.0.12", 40, load);
        let sent = frame(&syn, MARK).unwrap();
        assert_eq!(sent.len(), 14 + 40);
        assert!(MARK.is_packet(&syn, &sent) && !MARK.is_answer(&syn, &sent));
        // The other side's own sequence, and where ours is expected to go on.
        let mut answer = sent.clone();
        answer[38..42].copy_from_slice(&[9; 4]);
        answer[42..46].copy_from_slice(&0x0123_4568_u32.to_be_bytes());
        assert!(MARK.is_answer(&syn, &answer) && !MARK.is_packet(&syn, &answer));
    }

    #[test]
    fn an_answer_of_udp_is_known_by_its_ports_and_a_refusal_by_what_it_quotes() {
        let load = |sport, dport| Load::Udp { sport, dport };
        for (a, b, head) in [
            ("10.1.0.11", "10.1.0.12", &[3, 3][..]),
            ("2001:db8::a", "2001:db8::b", &[1, 4]),
        ] {
            let sent = packet(a, b, 0, load(40000, 53));
            let bytes = frame(&sent, MARK).unwrap();
            assert!(MARK.is_packet(&sent, &bytes) && !MARK.is_answer(&sent, &bytes));
            let back = packet(b, a, 0, load(53, 40000));
            let back = frame(&back, Mark(9)).unwrap();
            assert!(MARK.is_answer(&sent, &back) && !MARK.is_packet(&sent, &back));
            let other = frame(&packet(b, a, 0, load(53, 40001)), Mark(9)).unwrap();
            assert!(!MARK.is_answer(&sent, &other));

            let mut refusal = bytes.clone();
            let (ip, proto) = if a.contains(':') { (40, 20) } else { (20, 23) };
            refusal[proto] = if a.contains(':') { 58 } else { 1 };
            refusal.truncate(14 + ip);
            refusal.extend([head, &[0; 6]].concat());
            refusal.extend(&bytes[14..]);
            assert!(MARK.is_answer(&sent, &refusal) && !MARK.is_packet(&sent, &refusal));
        }
    }

    #[test]
    fn questions_for_leases_and_routers_are_what_servers_read() {
        let client = Mac([0xfa, 0x16, 0x3e, 0, 0, 5]);
        let asks = crate::autoconf::discover(client);
        let bytes = frame(&asks, MARK).unwrap();
        assert_eq!(bytes.len(), 14 + 20 + 8 + 236 + 8);
        assert_eq!(bytes[42..50], [1, 1, 6, 0, 1, 0x23, 0x45, 0x67]);
        assert_eq!(bytes[70..76], client.0);
        let mut offer = bytes.clone();
        offer[42] = 2;
        assert!(MARK.is_packet(&asks, &bytes) && !MARK.is_answer(&asks, &bytes));
        assert!(MARK.is_answer(&asks, &offer) && !MARK.is_packet(&asks, &offer));

        let asks = crate::autoconf::solicit_lease(client);
        let bytes = frame(&asks, MARK).unwrap();
        let mut advertise = bytes.clone();
        advertise[62] = 2;
        assert!(MARK.is_packet(&asks, &bytes) && MARK.is_answer(&asks, &advertise));
        assert!(!Mark(7 << 32 | 7 << 40).is_answer(&asks, &advertise));

        let asks = crate::autoconf::solicit_router(client);
        let bytes = frame(&asks, MARK).unwrap();
        assert_eq!(bytes[54..].len(), 16);
        assert!(MARK.is_packet(&asks, &bytes) && MARK.of_answer(&asks).is_none());
    }

    #[test]
    fn tags_and_both_families_are_written() {
        let load = Load::Udp {
            sport: 1,
            dport: 53,
        };
        let mut tagged = packet("2001:db8::1", "2001:db8::2", 0, load);
        tagged.tags.push(7);
        let bytes = frame(&tagged, MARK).unwrap();
        assert_eq!(bytes[12..18], [0x81, 0, 0, 7, 0x86, 0xdd]);
        assert_eq!(bytes.len(), 18 + 40 + 8 + 8);
        let solicit = Packet::nd_solicit(
            Mac([2; 6]),
            "fe80::1".parse().unwrap(),
            "2001:db8::2".parse().unwrap(),
        );
        assert_eq!(frame(&solicit, MARK).unwrap().len(), 14 + 40 + 8 + 16 + 8);
        let arp = Packet::arp_request(Mac([2; 6]), Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST);
        let bytes = frame(&arp, MARK).unwrap();
        assert_eq!(bytes.len(), 42);
        assert!(MARK.is_packet(&arp, &bytes));
    }

    #[test]
    fn families_do_not_mix() {
        let load = Load::Other(89);
        assert_eq!(
            frame(&packet("10.0.0.1", "2001:db8::1", 20, load), MARK),
            None
        );
    }
}

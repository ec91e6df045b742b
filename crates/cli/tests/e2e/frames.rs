//! Frames as a guest might forge them, byte by byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) type Mac = [u8; 6];

pub(crate) const BROADCAST: Mac = [0xff; 6];

pub(crate) fn mac(text: &str) -> Mac {
    let bytes: Vec<u8> = text
        .split(':')
        .map(|part| u8::from_str_radix(part, 16).unwrap())
        .collect();
    bytes.try_into().expect("six bytes")
}

pub(crate) fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => panic!("{v6} is not IPv4"),
    }
}

fn ethernet(to: Mac, from: Mac, kind: u16, payload: &[u8]) -> Vec<u8> {
    [&to[..], &from, &kind.to_be_bytes(), payload].concat()
}

/// An ARP answer: `address` is at `from`.
pub(crate) fn arp_answer(to: Mac, from: Mac, address: Ipv4Addr, asker: Ipv4Addr) -> Vec<u8> {
    let head = [0, 1, 8, 0, 6, 4, 0, 2];
    let payload = [&head[..], &from, &address.octets(), &to, &asker.octets()].concat();
    ethernet(to, from, 0x0806, &payload)
}

/// An ICMP echo request.
pub(crate) fn echo(to: (Mac, Ipv4Addr), from: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut icmp = vec![8, 0, 0, 0, 0x4e, 0x75, 0, 1];
    icmp.extend(b"crafted");
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    ethernet(to.0, from.0, 0x0800, &ipv4(to.1, from.1, 1, &icmp))
}

/// A UDP datagram.
pub(crate) fn udp(to: (Mac, Ipv4Addr, u16), from: (Mac, Ipv4Addr, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 8).unwrap();
    let mut datagram = Vec::new();
    // A checksum of zero says that there is none, which IPv4 allows.
    for word in [from.2, to.2, length, 0] {
        datagram.extend(word.to_be_bytes());
    }
    datagram.extend(payload);
    ethernet(to.0, from.0, 0x0800, &ipv4(to.1, from.1, 17, &datagram))
}

/// What a DHCP server offers; the options are none of those that matter to a filter.
pub(crate) fn dhcp_offer(to: Mac, from: (Mac, Ipv4Addr)) -> Vec<u8> {
    let mut offer = vec![2, 1, 6, 0, 1, 2, 3, 4];
    offer.resize(236, 0);
    offer.extend([99, 130, 83, 99, 53, 1, 2, 255]);
    udp((to, Ipv4Addr::BROADCAST, 68), (from.0, from.1, 67), &offer)
}

/// A router advertisement to all nodes.
pub(crate) fn router_advertisement(from: Mac) -> Vec<u8> {
    to_all_nodes(
        from,
        &[134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0],
    )
}

/// An advertisement that nobody asked for, to all nodes: `address` is at `from` now.
pub(crate) fn advertisement(from: Mac, address: Ipv6Addr) -> Vec<u8> {
    // It overrides what was known; an option says the MAC.
    let head = [136, 0, 0, 0, 0x20, 0, 0, 0];
    to_all_nodes(
        from,
        &[&head[..], &address.octets(), &[2, 1], &from].concat(),
    )
}

fn to_all_nodes(from: Mac, icmp: &[u8]) -> Vec<u8> {
    let source = link_local(from);
    let to: Ipv6Addr = "ff02::1".parse().unwrap();
    let mut icmp = icmp.to_vec();
    let length = u32::try_from(icmp.len()).unwrap();
    let pseudo = [
        &source.octets()[..],
        &to.octets(),
        &length.to_be_bytes(),
        &[0, 0, 0, 58],
        &icmp,
    ]
    .concat();
    icmp[2..4].copy_from_slice(&checksum(&pseudo).to_be_bytes());
    let head = [0x60, 0, 0, 0, 0, u8::try_from(icmp.len()).unwrap(), 58, 255];
    let packet = [&head[..], &source.octets(), &to.octets(), &icmp].concat();
    ethernet([0x33, 0x33, 0, 0, 0, 1], from, 0x86dd, &packet)
}

/// The address that a card gives itself.
pub(crate) fn link_local(card: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = card;
    let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
    Ipv6Addr::new(
        0xfe80,
        0,
        0,
        0,
        word(a ^ 2, b),
        word(c, 0xff),
        word(0xfe, d),
        word(e, f),
    )
}

fn ipv4(to: Ipv4Addr, from: Ipv4Addr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len() + 20).unwrap().to_be_bytes();
    let mut head = vec![
        0x45, 0, length[0], length[1], 0, 7, 0, 0, 64, protocol, 0, 0,
    ];
    head.extend(from.octets());
    head.extend(to.octets());
    let sum = checksum(&head);
    head[10..12].copy_from_slice(&sum.to_be_bytes());
    [head, payload.to_vec()].concat()
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes
        .chunks(2)
        .map(|pair| u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap()
}

#[test]
fn checksums_are_the_internets() {
    // The example of RFC 1071, section 3.
    assert_eq!(
        checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
        !0xddf2
    );
    assert_eq!(
        link_local(mac("fa:16:3e:00:00:11")).to_string(),
        "fe80::f816:3eff:fe00:11"
    );
}

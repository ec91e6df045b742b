//! Releases of leases, as clients send them (RFC 2131 and RFC 8415), said to the DHCP server of the
//! namespace that the thread is in, by the server's own device.
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

use host::Mac;
use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{setsockopt, sockopt::BindToDevice};

use super::leases::{Holder, Lease};

const DHCP_SERVER: u16 = 67;
const DHCP6_SERVER: u16 = 547;
/// All DHCP servers of a link.
const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);

/// Say all of them. `server` is by what the server names itself in IPv6.
pub(super) fn all(device: &str, server: &[u8], gone: &[Lease]) -> io::Result<()> {
    let own = own_addresses(device)?;
    let [four, six] = [
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    ];
    for lease in gone {
        match (lease.address, lease.holder) {
            (IpAddr::V4(address), Holder::Card(card)) => {
                let Some((server, _)) = own.iter().find(|(own, mask)| {
                    own.to_bits() & mask.to_bits() == address.to_bits() & mask.to_bits()
                }) else {
                    continue;
                };
                let message = release(card, address, *server, &lease.client);
                by(device, four)?.send_to(&message, (*server, DHCP_SERVER))?;
            }
            (IpAddr::V6(address), Holder::Number(number)) if !server.is_empty() => {
                let message = release_6(number, address, server, &lease.client);
                by(device, six)?.send_to(&message, (SERVERS, DHCP6_SERVER))?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A socket whose packets are for the server as if they had come in by its device.
fn by(device: &str, any: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(any)?;
    setsockopt(&socket, BindToDevice, &device.into())?;
    Ok(socket)
}

/// The device's addresses of IPv4, with their masks.
fn own_addresses(device: &str) -> io::Result<Vec<(Ipv4Addr, Ipv4Addr)>> {
    let all = getifaddrs()?.filter(|it| it.interface_name == device);
    let own = all.filter_map(|it| {
        let (address, mask) = (it.address?, it.netmask?);
        Some((address.as_sockaddr_in()?.ip(), mask.as_sockaddr_in()?.ip()))
    });
    Ok(own.collect())
}

/// DHCPRELEASE.
fn release(card: Mac, address: Ipv4Addr, server: Ipv4Addr, client: &[u8]) -> Vec<u8> {
    // A request of a card of Ethernet's; no hops, no number, no flags.
    let mut message = vec![1, 1, 6, 0];
    message.resize(12, 0);
    message.extend(address.octets());
    message.resize(28, 0);
    message.extend(card.0);
    message.resize(236, 0);
    message.extend([99, 130, 83, 99]);
    message.extend([53, 1, 7]);
    message.extend([54, 4]);
    message.extend(server.octets());
    if let Ok(length @ 1..) = u8::try_from(client.len()) {
        message.extend([61, length]);
        message.extend(client);
    }
    message.push(255);
    message
}

/// RELEASE, of one address.
fn release_6(number: u32, address: Ipv6Addr, server: &[u8], client: &[u8]) -> Vec<u8> {
    let option = |code: u16, content: &[u8]| {
        // None is longer: they are names of a few bytes, and what is made here.
        let length = content.len() as u16;
        [&code.to_be_bytes(), &length.to_be_bytes(), content].concat()
    };
    // Lifetimes of nothing.
    let one = option(5, &[&address.octets()[..], &[0; 8]].concat());
    let all = [&number.to_be_bytes()[..], &[0; 8], &one].concat();
    [
        vec![8, 0, 0, 1],
        option(1, client),
        option(2, server),
        option(8, &[0, 0]),
        option(3, &all),
    ]
    .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_names_card_address_server_and_client() {
        let card = Mac([0xfa, 0x16, 0x3e, 0, 0, 1]);
        let (address, server) = (Ipv4Addr::new(10, 0, 0, 11), Ipv4Addr::new(10, 0, 0, 2));
        let message = release(card, address, server, &[1, 2]);
        assert_eq!(message[..4], [1, 1, 6, 0]);
        assert_eq!(message[12..16], [10, 0, 0, 11]);
        assert_eq!(message[28..34], card.0);
        let options = [53, 1, 7, 54, 4, 10, 0, 0, 2, 61, 2, 1, 2, 255];
        assert_eq!(message[240..], options);
        assert_eq!(release(card, address, server, &[])[240..].len(), 10);
    }

    #[test]
    fn a_release_of_ipv6_names_client_server_and_the_clients_number() {
        let address: Ipv6Addr = "fd00::11".parse().expect("an address");
        let message = release_6(7, address, &[0xaa], &[0xbb, 0xcc]);
        let wanted = [
            &[8, 0, 0, 1][..],
            &[0, 1, 0, 2, 0xbb, 0xcc],
            &[0, 2, 0, 1, 0xaa],
            &[0, 8, 0, 2, 0, 0],
            &[0, 3, 0, 40, 0, 0, 0, 7],
            &[0; 8],
            &[0, 5, 0, 24],
            &address.octets(),
            &[0; 8],
        ]
        .concat();
        assert_eq!(message, wanted);
    }
}

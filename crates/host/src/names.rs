//! Names that are computed, not stored, and are Neutron's: devices, namespaces, chains, sets.
//! One place, so that every part of the system finds what another made.
use crate::NsName;
use crate::netns::Family;

/// A device's name holds 15 characters, 14 of which Neutron uses.
const DEVICE: usize = 14;

/// A device: a prefix and as much of an id as fits.
fn device(prefix: &str, id: &str) -> String {
    let mut name = format!("{prefix}{id}");
    truncate(&mut name, DEVICE);
    name
}

/// Cut at a number of bytes, at a character's border (ids are ASCII; anything else still ends well).
fn truncate(text: &mut String, bytes: usize) {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
}

/// The first `count` bytes of an id.
fn head(id: &str, count: usize) -> String {
    let mut text = id.to_owned();
    truncate(&mut text, count);
    text
}

macro_rules! devices {
    ($($(#[$doc:meta])* $name:ident $prefix:literal;)*) => { $(
        $(#[$doc])*
        pub fn $name(id: &str) -> String { device($prefix, id) }
    )* };
}

devices! {
    /// A guest's or a DHCP server's end of a port.
    tap "tap";
    /// The Linux bridge of a port in hybrid plugging.
    qbr "qbr";
    /// The veth's end in that bridge.
    qvb "qvb";
    /// The veth's end in br-int.
    qvo "qvo";
    /// A router's interface on a subnet.
    qr "qr-";
    /// A router's gateway.
    qg "qg-";
    /// A distributed router's centralised source NAT port.
    sg "sg-";
    /// A floating IP agent gateway.
    fg "fg-";
    /// From a distributed router to the floating IP namespace.
    rfp "rfp-";
    /// From the floating IP namespace to a distributed router.
    fpr "fpr-";
}

/// A router's namespace.
pub fn qrouter(router: &str) -> NsName {
    NsName::new(format!("qrouter-{router}"))
}

/// A network's DHCP namespace.
pub fn qdhcp(network: &str) -> NsName {
    NsName::new(format!("qdhcp-{network}"))
}

/// A distributed router's namespace of source NAT.
pub fn snat(router: &str) -> NsName {
    NsName::new(format!("snat-{router}"))
}

/// An external network's namespace of floating IPs.
pub fn fip(network: &str) -> NsName {
    NsName::new(format!("fip-{network}"))
}

/// What starts the names of the L2 agent's chains.
pub const L2_CHAINS: &str = "neutron-openvswi";
/// What starts the names of a router's chains.
pub const L3_CHAINS: &str = "neutron-l3-agent";
/// What starts the names of a DHCP namespace's chains.
pub const DHCP_CHAINS: &str = "neutron-dhcp-age";

/// A chain of a component: `neutron-openvswi-sg-chain`.
pub fn chain(component: &str, name: &str) -> String {
    format!("{component}-{name}")
}

/// Which of a port's three chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PortChain {
    /// Towards the guest.
    Ingress,
    /// From the guest.
    Egress,
    /// Against forged sources.
    Spoof,
}

/// A port's chain: `neutron-openvswi-i10eac69c-7`.
pub fn port_chain(which: PortChain, port: &str) -> String {
    let letter = match which {
        PortChain::Ingress => 'i',
        PortChain::Egress => 'o',
        PortChain::Spoof => 's',
    };
    format!("{L2_CHAINS}-{letter}{}", head(port, 10))
}

/// The set of a group's addresses: `NIPv4` and as much of the id as fits 31 characters with
/// room for the swap suffix.
pub fn ipset(group: &str, family: Family) -> String {
    let version = match family {
        Family::V4 => "NIPv4",
        Family::V6 => "NIPv6",
    };
    let mut name = format!("{version}{group}");
    truncate(&mut name, 29);
    name
}

/// The longest name of a device.
const LONGEST: usize = 15;

/// A tunnel's port: its kind, and the other end's address in hexadecimal. An IPv6 address is too long
/// for that: as much of its hash as fits stands for it.
pub fn tunnel(kind: &str, remote: std::net::IpAddr) -> String {
    match remote {
        std::net::IpAddr::V4(ip) => format!("{kind}-{:08x}", u32::from(ip)),
        std::net::IpAddr::V6(ip) => {
            let hash = sha1_smol::Sha1::from(ip.to_string()).digest().bytes();
            let length = LONGEST.saturating_sub(kind.len() + 1);
            format!("{kind}-{}", base32(&hash, length))
        }
    }
}

/// Whether a port of this kind has a name that [`tunnel`] gives.
pub fn is_tunnel(kind: &str, name: &str) -> bool {
    let rest = name
        .strip_prefix(kind)
        .and_then(|rest| rest.strip_prefix('-'));
    rest.is_some_and(|rest| {
        let address = rest.len() == 8 && rest.bytes().all(|c| c.is_ascii_hexdigit());
        let hash = name.len() == LONGEST && rest.bytes().all(|c| BASE32.contains(&c));
        address || hash
    })
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// The first `length` digits of it, each of five bits.
fn base32(bytes: &[u8], length: usize) -> String {
    let bit = |n: usize| bytes.get(n / 8).map_or(0, |byte| (byte >> (7 - n % 8)) & 1);
    let digit = |n: usize| (0..5).fold(0, |digit, place| digit << 1 | bit(5 * n + place));
    (0..length)
        .map(|n| char::from(BASE32[usize::from(digit(n))]))
        .collect()
}

/// The patch ports between br-int and a provider bridge: br-int's end, the bridge's end.
pub fn provider_patch(bridge: &str) -> (String, String) {
    let end = |prefix: &str| {
        let mut name = format!("{prefix}{bridge}");
        truncate(&mut name, LONGEST);
        name
    };
    (end("int-"), end("phy-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_neutrons() {
        let port = "10eac69c-78cd-4d01-9133-6a7e416acc34";
        assert_eq!(tap(port), "tap10eac69c-78");
        assert_eq!(qr(port), "qr-10eac69c-78");
        assert_eq!(rfp("399c4c88-9446-4509-aff4"), "rfp-399c4c88-9");
        assert_eq!(
            port_chain(PortChain::Ingress, port),
            "neutron-openvswi-i10eac69c-7"
        );
        assert_eq!(
            ipset("5ec5919f-3716-442a-8288-000000000000", Family::V4),
            "NIPv45ec5919f-3716-442a-8288-"
        );
        assert_eq!(
            tunnel("vxlan", "10.30.0.11".parse().unwrap()),
            "vxlan-0a1e000b"
        );
        let six = "2001:db8::b".parse().unwrap();
        assert_eq!(tunnel("vxlan", six), "vxlan-jgej6fwy3");
        assert_eq!(tunnel("gre", six), "gre-jgej6fwy3rf");
        let six = "fd00:30::11".parse().unwrap();
        assert_eq!(tunnel("geneve", six), "geneve-xk7alx4h");
        for (kind, name) in [
            ("vxlan", "vxlan-0a1e000b"),
            ("vxlan", "vxlan-jgej6fwy3"),
            ("gre", "gre-jgej6fwy3rf"),
        ] {
            assert!(is_tunnel(kind, name), "{name}");
        }
        for (kind, name) in [("vxlan", "vxlan-mine"), ("gre", "vxlan-0a1e000b")] {
            assert!(!is_tunnel(kind, name), "{name}");
        }
        assert_eq!(
            provider_patch("br-ex"),
            ("int-br-ex".to_owned(), "phy-br-ex".to_owned())
        );
    }

    #[test]
    fn short_and_foreign_ids_do_no_harm() {
        assert_eq!(tap("é"), "tapé");
        assert_eq!(device("tap", "0123456789é"), "tap0123456789");
    }
}

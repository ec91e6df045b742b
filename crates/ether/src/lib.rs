//! Ethernet addresses: users name them and machines hold them, so that both vocabularies, intent
//! and host state, have this one type.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Six bytes, printed in lower case as every tool here but old iptables does.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text was not six bytes in hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a valid MAC address")]
pub struct BadMac(pub String);

impl Mac {
    pub const BROADCAST: Self = Self([0xff; 6]);
    pub const ZERO: Self = Self([0; 6]);

    /// The address as a number, first byte highest, the way flow matches hold it.
    pub fn to_bits(self) -> u64 {
        self.0
            .iter()
            .fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
    }

    /// The lowest 48 bits as an address.
    pub fn from_bits(bits: u64) -> Self {
        let bytes = bits.to_be_bytes();
        Self([bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }

    /// Broadcast and multicast addresses have the group bit set.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The lower half of the IPv6 addresses that a machine with this address makes for itself
    /// (EUI-64; RFC 4291, appendix A).
    pub fn interface_id(self) -> u64 {
        let [a, b, c, d, e, f] = self.0;
        u64::from_be_bytes([a ^ 2, b, c, 0xff, 0xfe, d, e, f])
    }

    /// The link-local one of those.
    pub fn link_local(self) -> Ipv6Addr {
        Ipv6Addr::from_bits((0xfe80 << 112) | u128::from(self.interface_id()))
    }
}

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let bad = || BadMac(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split([':', '-']);
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        match parts.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(bad()),
        }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_bits_and_json_round_trip() {
        let mac: Mac = "FA:16:3e:00:0:11".parse().expect("a MAC");
        assert_eq!(mac.to_string(), "fa:16:3e:00:00:11");
        assert_eq!("fa-16-3e-0-0-11".parse(), Ok(mac));
        assert_eq!(Mac::from_bits(mac.to_bits()), mac);
        let json = serde_json::to_string(&mac).expect("JSON");
        assert_eq!(serde_json::from_str::<Mac>(&json).ok(), Some(mac));
        assert!(Mac::BROADCAST.is_multicast() && !mac.is_multicast());
    }

    #[test]
    fn a_machine_names_itself_by_its_address() {
        let mac: Mac = "fa:16:3e:00:00:11".parse().expect("a MAC");
        assert_eq!(mac.link_local().to_string(), "fe80::f816:3eff:fe00:11");
        assert_eq!(mac.interface_id(), 0xf816_3eff_fe00_0011);
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "fa:16:3e:00:00",
            "fa:16:3e:00:00:11:22",
            "fa:16:3e:00:00:+1",
            "fa:16:3e::00:11",
            "ga:16:3e:00:00:11",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(BadMac(text.to_owned())));
        }
    }
}

//! An Ethernet address: six bytes, printed in lower case as every tool here but old iptables does.
use std::fmt;
use std::str::FromStr;

/// An Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text was not six colon-separated bytes.
#[derive(Debug, thiserror::Error, PartialEq, Eq, Clone)]
#[error("'{0}' is not a MAC address")]
pub struct MacError(pub String);

impl Mac {
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    pub const ZERO: Mac = Mac([0; 6]);

    /// The address as a number, first byte highest, the way flow matches hold it.
    pub fn to_bits(self) -> u64 {
        self.0
            .iter()
            .fold(0, |bits, byte| (bits << 8) | u64::from(*byte))
    }

    /// The lowest 48 bits as an address.
    pub fn from_bits(bits: u64) -> Mac {
        let bytes = bits.to_be_bytes();
        Mac([bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]])
    }

    /// Broadcast and multicast addresses have the group bit set.
    pub fn is_multicast(self) -> bool {
        self.0[0] & 1 == 1
    }

    /// The link-local IPv6 address that a machine with this address makes for itself (EUI-64).
    pub fn link_local(self) -> std::net::Ipv6Addr {
        let m = self.0;
        let word = |high: u8, low: u8| u16::from_be_bytes([high, low]);
        std::net::Ipv6Addr::new(
            0xfe80,
            0,
            0,
            0,
            word(m[0] ^ 2, m[1]),
            word(m[2], 0xff),
            word(0xfe, m[3]),
            word(m[4], m[5]),
        )
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Mac, MacError> {
        let bad = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().ok_or_else(bad)?;
            if part.is_empty() || part.len() > 2 || !part.bytes().all(|c| c.is_ascii_hexdigit()) {
                return Err(bad());
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        match parts.next() {
            None => Ok(Mac(bytes)),
            Some(_) => Err(bad()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bits_round_trip() {
        let mac: Mac = "FA:16:3e:00:0:11".parse().unwrap();
        assert_eq!(mac.to_string(), "fa:16:3e:00:00:11");
        assert_eq!(Mac::from_bits(mac.to_bits()), mac);
        assert_eq!(mac.link_local().to_string(), "fe80::f816:3eff:fe00:11");
        assert!(Mac::BROADCAST.is_multicast() && !mac.is_multicast());
    }

    #[test]
    fn other_text_is_refused() {
        for text in [
            "",
            "fa:16:3e:00:00",
            "fa:16:3e:00:00:11:22",
            "fa:16:3e:00:00:+1",
            "ga:16:3e:00:00:11",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError(text.to_owned())));
        }
    }
}

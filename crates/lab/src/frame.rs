//! Sends frames exactly as they are given, past everything that a guest's kernel would forbid.

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrLike, sendto, socket,
};
use std::io;
use std::os::fd::AsRawFd;

#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("{text:?} is not an even number of hexadecimal digits")]
    Hex { text: String },
    #[error("there is no device {device}")]
    NoDevice { device: String },
    #[error("a frame of {length} bytes could not be sent on {device}")]
    Send {
        device: String,
        length: usize,
        source: io::Error,
    },
}

/// Sends each frame, Ethernet header and all, on the device.
pub fn send(device: &str, frames: &[Vec<u8>]) -> Result<(), FrameError> {
    let failed = |length, source: nix::Error| FrameError::Send {
        device: device.to_owned(),
        length,
        source: source.into(),
    };
    let address = link_address(device)?;
    let raw = socket(
        AddressFamily::Packet,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(|source| failed(0, source))?;
    for frame in frames {
        sendto(raw.as_raw_fd(), frame, &address, MsgFlags::empty())
            .map_err(|source| failed(frame.len(), source))?;
    }
    Ok(())
}

/// The device's link-layer address, which names the device by its index.
fn link_address(device: &str) -> Result<LinkAddr, FrameError> {
    let missing = || FrameError::NoDevice {
        device: device.to_owned(),
    };
    getifaddrs()
        .map_err(|_| missing())?
        .filter(|entry| entry.interface_name == device)
        .find_map(|entry| {
            entry
                .address
                .filter(|a| a.family() == Some(AddressFamily::Packet))?
                .as_link_addr()
                .copied()
        })
        .ok_or_else(missing)
}

/// Bytes as hexadecimal digits, as the command line takes them.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The other way round.
pub fn from_hex(text: &str) -> Result<Vec<u8>, FrameError> {
    let wrong = || FrameError::Hex {
        text: text.to_owned(),
    };
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(wrong());
    }
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_both_ways() {
        assert_eq!(from_hex("00fa16").unwrap(), [0, 0xfa, 0x16]);
        assert_eq!(to_hex(&[0, 0xfa, 0x16]), "00fa16");
        assert!(from_hex("0").is_err());
        assert!(from_hex("zz").is_err());
    }

    #[test]
    fn a_missing_device_is_named() {
        let error = send("no-such-device", &[]).unwrap_err();
        assert_eq!(error.to_string(), "there is no device no-such-device");
    }
}

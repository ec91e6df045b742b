//! A frame that a bridge takes for one that came in at a port: it goes through all flows, as the
//! guest's own would. In hybrid plugging it is past the guest's firewall bridge.
use serde::Deserialize;

use crate::config::Config;
use crate::exec::{ExecError, Program};

/// Which frame, and where.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    bridge: String,
    /// The port's name: `qvo…`, or `tap…` of a port that is plugged directly.
    port: String,
    /// The frame from its destination address on, in hexadecimal.
    frame: String,
}

/// The frame can't be sent.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    #[error("'{0}' is no name of a bridge or of a port")]
    Name(String),
    #[error("a frame is an even number of hexadecimal digits, 14 to {LONGEST} bytes")]
    Frame,
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// Shorter ones have no whole header.
const HEADER: usize = 14;
/// Longer ones pass no network: a jumbo frame's 9,216 bytes with header and tags.
const LONGEST: usize = 9238;

impl Request {
    fn check(&self) -> Result<(), InjectError> {
        for name in [&self.bridge, &self.port] {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || name.starts_with('-') || !name.chars().all(plain) {
                return Err(InjectError::Name(name.clone()));
            }
        }
        let digits = self.frame.bytes().all(|c| c.is_ascii_hexdigit());
        let bytes = self.frame.len() / 2;
        let whole = (HEADER..=LONGEST).contains(&bytes) && self.frame.len().is_multiple_of(2);
        match digits && whole {
            true => Ok(()),
            false => Err(InjectError::Frame),
        }
    }
}

pub async fn inject(config: &Config, request: &Request) -> Result<(), InjectError> {
    request.check()?;
    let socket = config.switch_dir().join(format!("{}.mgmt", request.bridge));
    let bridge = format!("unix:{}", socket.display());
    let packet = format!(
        "in_port=\"{}\",packet={},actions=TABLE",
        request.port, request.frame
    );
    let argv = [
        "ovs-ofctl",
        "-O",
        "OpenFlow13",
        "--names",
        "packet-out",
        &bridge,
        &packet,
    ];
    Program::new(argv).run().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_but_names_and_digits_reaches_the_switch() {
        let request = |port: &str, frame: &str| Request {
            bridge: "br-int".to_owned(),
            port: port.to_owned(),
            frame: frame.to_owned(),
        };
        let frame = "ff".repeat(HEADER);
        assert!(request("qvo00000000-00", &frame).check().is_ok());
        for port in ["", "a b", "a\",actions=drop", "-a"] {
            assert!(matches!(
                request(port, &frame).check(),
                Err(InjectError::Name(_))
            ));
        }
        let long = "ff".repeat(LONGEST + 1);
        for frame in ["", "ff", &frame[1..], &frame.replace('f', "g"), &long] {
            assert!(matches!(
                request("a", frame).check(),
                Err(InjectError::Frame)
            ));
        }
    }
}

//! What passes a device: frames as `tcpdump` sees them, for a short time.
use serde::{Deserialize, Serialize};

use host::NsName;

use crate::exec::{ExecError, Program};

/// Nobody waits for an answer longer than this.
const LONGEST: u64 = 25;
const MOST: u32 = 1000;

/// Where to look, for what, and for how long.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    device: String,
    /// The namespace that has the device; none is the host's own.
    #[serde(default)]
    namespace: Option<String>,
    /// As tcpdump takes it.
    #[serde(default)]
    filter: String,
    /// It ends after so many frames.
    #[serde(default = "frames")]
    frames: u32,
    /// Or after so many seconds.
    #[serde(default = "seconds")]
    seconds: u64,
}

fn frames() -> u32 {
    100
}

fn seconds() -> u64 {
    5
}

/// A frame that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Frame {
    /// Seconds since 1970.
    pub at: String,
    /// As tcpdump puts it.
    pub text: String,
    /// All of it, in hexadecimal.
    pub bytes: String,
}

pub async fn capture(request: &Request) -> Result<Vec<Frame>, ExecError> {
    let netns = match &request.namespace {
        Some(name) => NsName::new(name.clone()),
        None => NsName::root(),
    };
    let argv = request.argv();
    let said = Program::new(argv).within(&netns).run().await?;
    Ok(read(&said))
}

impl Request {
    /// The command that answers it, within the namespace that has the device.
    pub fn argv(&self) -> Vec<String> {
        let seconds = self.seconds.min(LONGEST).to_string();
        let frames = self.frames.min(MOST).to_string();
        let patience = ["timeout", "--preserve-status", "--signal=INT", &seconds];
        let tcpdump = ["tcpdump", "--immediate-mode", "-n", "-e", "-tt", "-xx"];
        let what = ["-c", &frames, "-i", &self.device, "--", &self.filter];
        let argv = patience.into_iter().chain(tcpdump).chain(what);
        argv.map(str::to_owned).collect()
    }
}

/// What tcpdump said: a line of text for each frame, then its bytes, indented, each line after its
/// offset.
pub fn read(said: &str) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for line in said.lines() {
        if let Some((_, bytes)) = line.trim_start().split_once(":  ")
            && line.starts_with('\t')
        {
            if let Some(frame) = frames.last_mut() {
                frame.bytes.extend(bytes.split_whitespace());
            }
        } else if let Some((at, text)) = line.split_once(' ') {
            frames.push(Frame {
                at: at.to_owned(),
                text: text.to_owned(),
                bytes: String::new(),
            });
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_with_their_bytes() {
        let said = "1700000000.000001 fa:16:3e:00:00:01 > ff:ff:ff:ff:ff:ff, ethertype 0x88b5, length 20: \n\
                    \t0x0000:  ffff ffff ffff fa16 3e00 0001 88b5 2a2a\n\
                    \t0x0010:  2a2a 2a2a\n\
                    1700000000.000002 next\n";
        let frames = read(said);
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].at, "1700000000.000001");
        assert_eq!(frames[0].bytes, "fffffffffffffa163e00000188b52a2a2a2a2a2a");
        assert_eq!(
            (frames[1].text.as_str(), frames[1].bytes.as_str()),
            ("next", "")
        );
    }
}

//! The number by which the kernel counts changes of a namespace's rules: as long as it stays the same
//! nobody has changed any, and what was read once need not be read again.
use host::NsName;
use netlink_sys::{Socket, protocols::NETLINK_NETFILTER};

/// nf_tables asked for its number, and its answer.
const GET: u16 = (10 << 8) | 16;
const NEW: u16 = (10 << 8) | 15;
/// The attribute that holds it.
const ID: u16 = 1;
const REQUEST: u16 = 1;
/// The number of a namespace where nobody has ever made a rule.
pub(super) const UNTOUCHED: u32 = 1;
/// A netlink header, and nfnetlink's after it.
const HEADER: usize = 16;
const BODY: usize = HEADER + 4;

/// A socket of one namespace. Where iptables is of the old kind (`iptables-legacy`) the number says
/// nothing of it, and there is none.
#[derive(Debug, Default)]
pub(super) struct Generation {
    socket: Option<Socket>,
}

impl Generation {
    pub(super) fn of(netns: &NsName) -> Generation {
        let open = || {
            // The old kind shows the tables that it has.
            let is_old = |file: &str| {
                let names = std::fs::read_to_string(format!("/proc/thread-self/net/{file}"));
                names.is_ok_and(|names| !names.is_empty())
            };
            if is_old("ip_tables_names") || is_old("ip6_tables_names") {
                return Ok(None);
            }
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            Ok(Some(socket))
        };
        let socket = match crate::netns::within(netns, open) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(
                    error = crate::chain(&error),
                    "whether rules have changed can't be asked; they will be read again and again"
                );
                None
            }
        };
        Generation { socket }
    }

    /// The number now. Answers come at once: the kernel writes them while it is asked.
    pub(super) fn now(&self) -> Option<u32> {
        let socket = self.socket.as_ref()?;
        socket.send(&question(), 0).ok()?;
        let (answer, _) = socket.recv_from_full().ok()?;
        read(&answer)
    }
}

fn question() -> [u8; BODY] {
    let mut message = [0; BODY];
    message[..4].copy_from_slice(&(BODY as u32).to_ne_bytes());
    message[4..6].copy_from_slice(&GET.to_ne_bytes());
    message[6..8].copy_from_slice(&REQUEST.to_ne_bytes());
    message
}

fn read(answer: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    if word(4)? != NEW {
        return None;
    }
    let mut at = BODY;
    loop {
        let (length, kind) = (usize::from(word(at)?), word(at + 2)?);
        if kind == ID {
            let number = answer.get(at + 4..at + 8)?.try_into().ok()?;
            return Some(u32::from_be_bytes(number));
        }
        // Attributes begin at multiples of four.
        at += length.max(4).next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_found_among_attributes() {
        let mut answer = question().to_vec();
        answer[4..6].copy_from_slice(&NEW.to_ne_bytes());
        for (kind, bytes) in [(3_u16, &b"sh\0"[..]), (ID, &7_u32.to_be_bytes())] {
            answer.extend(((bytes.len() + 4) as u16).to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(bytes);
            answer.resize(answer.len().next_multiple_of(4), 0);
        }
        assert_eq!(read(&answer), Some(7));
        assert_eq!(read(&answer[..BODY]), None);
        assert_eq!(read(&question()), None, "an answer of another kind");
    }
}

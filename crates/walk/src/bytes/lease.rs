//! What a client says that wants an address: a DISCOVER of DHCP, a SOLICIT of DHCPv6, with a number
//! of its own that servers repeat in their answers.
use host::Mac;

/// The first byte of a question in DHCP, and of an answer; then Ethernet, whose addresses have six
/// bytes, by no relay.
const ASKS: [u8; 4] = [1, 1, 6, 0];
const ANSWERS: [u8; 4] = [2, 1, 6, 0];
/// The types of DHCPv6's messages.
const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;

/// By what a DISCOVER with a number is known, and its answer.
pub(super) fn marks(number: u32) -> (Vec<u8>, Vec<u8>) {
    let with = |head: [u8; 4]| [head, number.to_be_bytes()].concat();
    (with(ASKS), with(ANSWERS))
}

/// The same of a SOLICIT, whose number has three bytes.
pub(super) fn marks_6(number: u32) -> (Vec<u8>, Vec<u8>) {
    let [_, number @ ..] = number.to_be_bytes();
    let with = |kind: u8| [&[kind][..], &number].concat();
    (with(SOLICIT), with(ADVERTISE))
}

/// A DISCOVER that asks for a broadcast of nothing: the offer goes to the client's own MAC.
pub(super) fn discover(client: Mac, number: u32) -> Vec<u8> {
    const ADDRESSES_AND_TIMES: usize = 20;
    const NAMES: usize = 192;
    const COOKIE: [u8; 4] = [99, 130, 83, 99];
    // The kind of message: DISCOVER; the end.
    const OPTIONS: [u8; 4] = [53, 1, 1, 255];
    let mut out = marks(number).0;
    out.extend([0; ADDRESSES_AND_TIMES]);
    out.extend(client.0);
    out.extend([0; 10]);
    out.extend([0; NAMES]);
    out.extend(COOKIE);
    out.extend(OPTIONS);
    out
}

/// A SOLICIT for one address.
pub(super) fn solicit(client: Mac, number: u32) -> Vec<u8> {
    let mut out = marks_6(number).0;
    let mut option = |kind: u16, body: &[u8]| {
        out.extend(kind.to_be_bytes());
        out.extend((body.len() as u16).to_be_bytes());
        out.extend(body);
    };
    // Who asks: by a link-layer address, of Ethernet.
    option(1, &[&[0, 3, 0, 1][..], &client.0].concat());
    // One address: for this association, with whatever times the server likes.
    option(3, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    // No time has gone by.
    option(8, &[0, 0]);
    out
}

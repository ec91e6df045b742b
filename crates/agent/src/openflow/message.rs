//! Messages of OpenFlow 1.4: changes of flows, bundles of them, asking for flows, watching them.
use std::collections::BTreeSet;

use host::ovs::{Flow, FlowKey, FlowStats, Match};

use super::CodecError;
use super::action::{read_instructions, write_instructions};
use super::matches::{self, Ports};
use super::wire::{Reader, Short, Writer};

/// The version on the wire.
const VERSION: u8 = 5;
pub(super) const HEADER: usize = 8;

/// Kinds of messages.
pub(super) mod kind {
    pub(in super::super) const HELLO: u8 = 0;
    pub(in super::super) const ERROR: u8 = 1;
    pub(in super::super) const ECHO_REQUEST: u8 = 2;
    pub(in super::super) const ECHO_REPLY: u8 = 3;
    pub(in super::super) const FLOW_MOD: u8 = 14;
    pub(in super::super) const MULTIPART_REQUEST: u8 = 18;
    pub(in super::super) const MULTIPART_REPLY: u8 = 19;
    pub(in super::super) const BUNDLE_CONTROL: u8 = 33;
    pub(in super::super) const BUNDLE_ADD: u8 = 34;
}

pub(super) mod multipart {
    pub(in super::super) const FLOW: u16 = 1;
    pub(in super::super) const FLOW_MONITOR: u16 = 16;
}

/// What to do to a bundle, and what the switch did.
pub(super) mod bundle {
    pub(in super::super) const OPEN: u16 = 0;
    pub(in super::super) const COMMIT: u16 = 4;
    pub(in super::super) const COMMITTED: u16 = 5;
    pub(in super::super) const DISCARD: u16 = 6;
    /// All or nothing, in the order given.
    pub(super) const FLAGS: u16 = 3;
}

const ANY: u32 = 0xffff_ffff;

/// A message: header and body.
pub(super) fn message(kind: u8, xid: u32, body: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut out = Writer::default();
    out.u8(VERSION);
    out.u8(kind);
    out.u16(0);
    out.u32(xid);
    body(&mut out);
    let length = out.len();
    out.set_u16(2, length);
    out.0
}

pub(super) fn hello() -> Vec<u8> {
    // The element says which versions: a bitmap with 1.4 alone.
    message(kind::HELLO, 0, |out| {
        out.u16(1);
        out.u16(8);
        out.u32(1 << VERSION);
    })
}

pub(super) fn bundle_control(xid: u32, id: u32, what: u16) -> Vec<u8> {
    message(kind::BUNDLE_CONTROL, xid, |out| {
        out.u32(id);
        out.u16(what);
        out.u16(bundle::FLAGS);
    })
}

/// A message inside a bundle. Both carry the same number.
pub(super) fn bundle_add(xid: u32, id: u32, body: &[u8]) -> Vec<u8> {
    let inner = message(kind::FLOW_MOD, xid, |out| out.0.extend_from_slice(body));
    message(kind::BUNDLE_ADD, xid, |out| {
        out.u32(id);
        out.zeros(2);
        out.u16(bundle::FLAGS);
        out.0.extend_from_slice(&inner);
    })
}

/// Flags of a flow, by bit.
const FLAGS: [(u16, &str); 5] = [
    (1, "send_flow_rem"),
    (2, "check_overlap"),
    (4, "reset_counts"),
    (8, "no_packet_counts"),
    (16, "no_byte_counts"),
];

fn flag_bits(flags: &BTreeSet<String>) -> u16 {
    let set = FLAGS.iter().filter(|(_, name)| flags.contains(*name));
    set.fold(0, |bits, (bit, _)| bits | bit)
}

const ADD: u8 = 0;
const DELETE: u8 = 3;
const DELETE_STRICT: u8 = 4;

/// The body of a `flow_mod` that puts a flow, over one of the same key if there is one.
pub fn put(key: &FlowKey, flow: &Flow, ports: &Ports) -> Result<Vec<u8>, CodecError> {
    if let Some(unknown) = flow.unknown.first() {
        return Err(CodecError::Unsayable(unknown.clone()));
    }
    flow_mod(ADD, key, flow, ports)
}

/// The body of a `flow_mod` that removes exactly this flow.
pub fn remove(key: &FlowKey, ports: &Ports) -> Result<Vec<u8>, CodecError> {
    flow_mod(DELETE_STRICT, key, &Flow::default(), ports)
}

/// The body of a `flow_mod` that removes all flows with a cookie that a match covers.
pub fn remove_all(cookie: u64, table: u8, matches: &Match) -> Result<Vec<u8>, CodecError> {
    let key = FlowKey {
        table,
        priority: 0,
        matches: matches.clone(),
    };
    let flow = Flow {
        cookie,
        ..Flow::default()
    };
    let mut body = flow_mod(DELETE, &key, &flow, &Ports::default())?;
    // Every bit of the cookie counts.
    body[8..16].fill(0xff);
    Ok(body)
}

fn flow_mod(command: u8, key: &FlowKey, flow: &Flow, ports: &Ports) -> Result<Vec<u8>, CodecError> {
    let mut out = Writer::default();
    out.u64(flow.cookie);
    out.u64(0);
    out.u8(key.table);
    out.u8(command);
    out.u16(flow.idle_timeout);
    out.u16(flow.hard_timeout);
    out.u16(key.priority);
    out.u32(ANY);
    out.u32(ANY);
    out.u32(ANY);
    out.u16(flag_bits(&flow.flags));
    out.u16(flow.importance);
    matches::write(&key.matches, ports, &mut out)?;
    write_instructions(&flow.actions, ports, &mut out)?;
    Ok(out.0)
}

/// Ask for flows: all, or those of one table that a match covers.
pub(super) fn flows_request(xid: u32, table: Option<u8>, matches: &[u8]) -> Vec<u8> {
    message(kind::MULTIPART_REQUEST, xid, |out| {
        out.u16(multipart::FLOW);
        out.zeros(6);
        out.u8(table.unwrap_or(0xff));
        out.zeros(3);
        out.u32(ANY);
        out.u32(ANY);
        out.zeros(4);
        out.u64(0);
        out.u64(0);
        out.0.extend_from_slice(matches);
    })
}

/// A match that covers everything, as bytes.
pub(super) const EVERYTHING: [u8; 8] = [0, 1, 0, 4, 0, 0, 0, 0];

/// Ask to be told of every change of a flow by anybody. Ours are told in short.
pub(super) fn watch_request(xid: u32) -> Vec<u8> {
    const CHANGES: u16 = 2 | 4 | 8;
    message(kind::MULTIPART_REQUEST, xid, |out| {
        out.u16(multipart::FLOW_MONITOR);
        out.zeros(6);
        out.u32(1);
        out.u32(ANY);
        out.u32(ANY);
        out.u16(CHANGES);
        out.u8(0xff);
        out.u8(0);
        out.0.extend_from_slice(&EVERYTHING);
    })
}

/// The flows of one answer's body.
pub fn flows(body: &[u8], ports: &Ports) -> Result<Vec<(FlowKey, Flow)>, CodecError> {
    let mut from = Reader(body);
    let mut flows = Vec::new();
    while !from.is_empty() {
        let length = usize::from(from.u16()?);
        let entry = from.take(length.checked_sub(2).ok_or(Short)?)?;
        flows.push(flow(entry, ports)?);
    }
    Ok(flows)
}

fn flow(mut from: Reader<'_>, ports: &Ports) -> Result<(FlowKey, Flow), CodecError> {
    let table = from.u8()?;
    from.skip(1)?;
    let (seconds, nanos) = (from.u32()?, from.u32()?);
    let priority = from.u16()?;
    let (idle_timeout, hard_timeout) = (from.u16()?, from.u16()?);
    let bits = from.u16()?;
    let importance = from.u16()?;
    from.skip(2)?;
    let cookie = from.u64()?;
    let (packets, bytes) = (from.u64()?, from.u64()?);
    let matches: Match = matches::read(&mut from, ports)?;
    let set = FLAGS.iter().filter(|(bit, _)| bits & bit != 0);
    let stats = FlowStats {
        duration_s: f64::from(seconds) + f64::from(nanos) / 1e9,
        packets,
        bytes,
        idle_age: None,
        hard_age: None,
    };
    let flow = Flow {
        cookie,
        idle_timeout,
        hard_timeout,
        importance,
        flags: set.map(|(_, name)| (*name).to_owned()).collect(),
        actions: read_instructions(from, ports)?,
        stats: Some(stats).into(),
        ..Flow::default()
    };
    Ok((
        FlowKey {
            table,
            priority,
            matches,
        },
        flow,
    ))
}

/// The cookies of flows that somebody else changed, from the body of a watch's message.
pub(super) fn changed_by_others(body: &[u8]) -> Result<Vec<u64>, CodecError> {
    const ABBREVIATED: u16 = 4;
    let mut from = Reader(body);
    let mut cookies = Vec::new();
    while !from.is_empty() {
        let length = usize::from(from.u16()?);
        let mut entry = from.take(length.checked_sub(2).ok_or(Short)?)?;
        if entry.u16()? < ABBREVIATED {
            entry.skip(12)?;
            cookies.push(entry.u64()?);
        }
    }
    Ok(cookies)
}

/// What an error message says, as far as its numbers tell.
pub(super) fn error_text(body: &[u8]) -> String {
    let mut from = Reader(body);
    let (kind, code) = (from.u16().unwrap_or(0), from.u16().unwrap_or(0));
    let kinds = [
        (0, "hello failed"),
        (1, "bad request"),
        (2, "bad action"),
        (3, "bad instruction"),
        (4, "bad match"),
        (5, "flow refused"),
        (17, "bundle refused"),
        (0xffff, "refused by an extension"),
    ];
    let name = kinds
        .iter()
        .find(|row| row.0 == kind)
        .map_or("error", |row| row.1);
    format!("{name} (type {kind}, code {code})")
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::ovs::Action;

    #[test]
    fn a_hello_speaks_one_version() {
        assert_eq!(hello(), [5, 0, 0, 16, 0, 0, 0, 0, 0, 1, 0, 8, 0, 0, 0, 32]);
    }

    #[test]
    fn only_what_others_change_is_told() {
        let own = [0, 8, 0, 4, 0, 0, 0, 1];
        let mut other = vec![0, 32, 0, 2, 20, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
        other.extend(7u64.to_be_bytes());
        other.extend(EVERYTHING);
        let body = [&own[..], &other].concat();
        assert_eq!(changed_by_others(&body), Ok(vec![7]));
        assert!(changed_by_others(&body[..12]).is_err());
    }

    #[test]
    fn a_flow_that_names_a_port_of_elsewhere_is_refused() {
        let key = FlowKey {
            table: 0,
            priority: 1,
            matches: Match::any(),
        };
        let flow = Flow::new(1, vec![Action::output("gone")], host::Why::none());
        assert_eq!(
            put(&key, &flow, &Ports::default()),
            Err(CodecError::NoPort("gone".to_owned()))
        );
    }
}

//! What the machines remember while packets cross them: MAC tables, learned flows, neighbours,
//! connections. A walk begins with what was observed and forgets its own additions afterwards.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use host::netns::{self, Connection, print_connection};
use host::ovs::bridge::Flows;
use host::{Mac, NsName};

use crate::packet::{ICMP_ECHO, ICMP_ECHO_REPLY, ICMP6_ECHO, ICMP6_ECHO_REPLY, Ip, Load};

/// Everything that packets of this walk left behind.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    /// By host and bridge: where `NORMAL` saw a MAC.
    pub fdb: BTreeMap<(String, String), BTreeMap<(u16, Mac), String>>,
    /// By host and bridge: flows that `learn` wrote.
    pub learned: BTreeMap<(String, String), Arc<Flows>>,
    /// By who remembers: the MAC of an address.
    pub neighbours: BTreeMap<(Owner, IpAddr), Mac>,
    pub tracked: BTreeMap<Tracker, Vec<Conn>>,
}

/// Who remembers a neighbour: a device of a namespace, a guest's port, or the outside.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    Device {
        host: String,
        ns: NsName,
        dev: String,
    },
    Guest(String),
    Outside(String),
}

/// Who tracks connections: a namespace's kernel, or the switch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tracker {
    Kernel { host: String, ns: NsName },
    Switch { host: String },
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub proto: u8,
    pub sport: u16,
    pub dport: u16,
}

/// Which way along a connection a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dir {
    Original,
    Reply,
}

/// A tracked connection. Address translation is in the two tuples: the reply's is not the
/// original's turned round where something was translated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conn {
    pub zone: u16,
    pub original: Tuple,
    pub reply: Tuple,
    pub mark: u32,
    pub label: u128,
    pub replied: bool,
    /// Kept only once the first packet has passed; before, it is only the packet's own.
    pub confirmed: bool,
    /// `nat` was asked at the hooks that give a new destination, and a new source.
    pub dst_done: bool,
    pub src_done: bool,
    /// It was there before this walk, in these words of `conntrack -L`.
    pub recorded: Option<String>,
}

/// A packet of this walk belongs to a connection that a host was found to track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Met {
    pub tracker: Tracker,
    pub text: String,
    pub dir: Dir,
}

impl Tuple {
    /// The tuple of a packet; both ports are the identifier of an echo.
    pub fn of(ip: &Ip) -> Tuple {
        let (sport, dport) = match &ip.load {
            Load::Icmp { id, .. } | Load::Icmp6 { id, .. } => (*id, *id),
            load => load.ports().unwrap_or((0, 0)),
        };
        Tuple {
            src: ip.src,
            dst: ip.dst,
            proto: ip.load.proto(),
            sport,
            dport,
        }
    }

    #[must_use]
    pub fn turned(self) -> Tuple {
        Tuple {
            src: self.dst,
            dst: self.src,
            proto: self.proto,
            sport: self.dport,
            dport: self.sport,
        }
    }
}

/// Can this packet open a connection? Answers without a question cannot.
pub fn opens(load: &Load) -> bool {
    use crate::packet::{TCP_ACK, TCP_RST, TCP_SYN};
    match load {
        Load::Icmp { kind, .. } => *kind == ICMP_ECHO,
        Load::Icmp6 { kind, .. } => *kind == ICMP6_ECHO,
        Load::Tcp { flags, .. } => {
            flags & TCP_RST == 0 && flags & (TCP_SYN | TCP_ACK) != (TCP_SYN | TCP_ACK)
        }
        Load::Udp { .. } | Load::Other(_) => true,
    }
}

/// Does this answer an echo?
pub fn is_echo_reply(load: &Load) -> bool {
    matches!(load.icmp(), Some((ICMP_ECHO_REPLY | ICMP6_ECHO_REPLY, _)))
}

/// One direction of a recorded connection.
fn end(found: &netns::Tuple, proto: u8) -> Option<Tuple> {
    Some(Tuple {
        src: found.src?,
        dst: found.dst?,
        proto,
        sport: found.sport.or(found.icmp_id).unwrap_or(0),
        dport: found.dport.or(found.icmp_id).unwrap_or(0),
    })
}

impl Conn {
    pub fn new(zone: u16, original: Tuple) -> Conn {
        Conn {
            zone,
            original,
            reply: original.turned(),
            mark: 0,
            label: 0,
            replied: false,
            confirmed: false,
            dst_done: false,
            src_done: false,
            recorded: None,
        }
    }

    /// A connection that a host was found to track, if it is one that a packet from one of its
    /// ends can belong to: on one that is over, a new one is opened.
    pub fn recorded(found: &Connection) -> Option<Conn> {
        let is_over = |state: &str| matches!(state, "TIME_WAIT" | "CLOSE");
        if found.state.as_deref().is_some_and(is_over) {
            return None;
        }
        let proto = match found.proto.as_str() {
            "icmp" => 1,
            "tcp" => 6,
            "udp" => 17,
            "icmpv6" | "ipv6-icmp" => 58,
            other => other.parse().ok()?,
        };
        Some(Conn {
            reply: end(&found.reply, proto)?,
            mark: found.mark,
            replied: !found.unreplied,
            confirmed: true,
            dst_done: true,
            src_done: true,
            recorded: Some(print_connection(found)),
            ..Conn::new(found.zone, end(&found.original, proto)?)
        })
    }

    /// Which way a packet in a zone goes along it, if it is of this connection.
    pub fn dir(&self, zone: u16, tuple: Tuple) -> Option<Dir> {
        match tuple {
            _ if self.zone != zone || !self.confirmed => None,
            t if t == self.original => Some(Dir::Original),
            t if t == self.reply => Some(Dir::Reply),
            _ => None,
        }
    }

    pub fn has_dnat(&self) -> bool {
        let turned = self.original.turned();
        (self.reply.src, self.reply.sport) != (turned.src, turned.sport)
    }

    pub fn has_snat(&self) -> bool {
        let turned = self.original.turned();
        (self.reply.dst, self.reply.dport) != (turned.dst, turned.dport)
    }
}

impl Memory {
    /// The confirmed connection that a packet belongs to, and its direction.
    pub fn find(&self, tracker: &Tracker, zone: u16, tuple: Tuple) -> Option<(usize, Dir)> {
        let conns = self.tracked.get(tracker)?;
        conns.iter().enumerate().find_map(|(n, conn)| {
            let dir = conn.dir(zone, tuple)?;
            Some((n, dir))
        })
    }

    pub fn conn(&self, tracker: &Tracker, n: usize) -> Option<&Conn> {
        self.tracked.get(tracker)?.get(n)
    }

    pub fn conn_mut(&mut self, tracker: &Tracker, n: usize) -> Option<&mut Conn> {
        self.tracked.get_mut(tracker)?.get_mut(n)
    }

    pub fn track(&mut self, tracker: &Tracker, conn: Conn) -> usize {
        let conns = self.tracked.entry(tracker.clone()).or_default();
        conns.push(conn);
        conns.len() - 1
    }

    pub fn learn_neighbour(&mut self, owner: Owner, ip: IpAddr, mac: Mac) {
        self.neighbours.entry((owner, ip)).or_insert(mac);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Option<Conn> {
        let found = netns::read_conntrack(line).unwrap();
        Conn::recorded(&found[0])
    }

    #[test]
    fn a_recorded_connection_has_both_its_ends_and_its_zone() {
        let line = "tcp 6 431999 ESTABLISHED src=10.1.0.11 dst=1.2.3.4 sport=40000 dport=22 \
                    src=1.2.3.4 dst=172.24.4.5 sport=22 dport=1024 [ASSURED] mark=1 zone=5 use=1";
        let conn = read(line).unwrap();
        assert!(conn.replied && conn.has_snat() && !conn.has_dnat());
        assert_eq!((conn.zone, conn.mark), (5, 1));
        let (there, back) = (conn.original, conn.reply);
        assert_eq!(conn.dir(5, there), Some(Dir::Original));
        assert_eq!(conn.dir(5, back), Some(Dir::Reply));
        assert_eq!(conn.dir(4, there), None);
        assert_eq!(conn.dir(5, there.turned()), None);
    }

    #[test]
    fn an_echo_is_known_by_its_number_and_what_is_over_does_not_count() {
        let echo = "icmp 1 19 src=10.1.0.1 dst=10.1.0.2 type=8 code=0 id=7 [UNREPLIED] \
                    src=10.1.0.2 dst=10.1.0.1 type=0 code=0 id=7 mark=0 use=1";
        let conn = read(echo).unwrap();
        assert_eq!((conn.original.sport, conn.original.dport), (7, 7));
        assert!(!conn.replied);
        let over = "tcp 6 21 TIME_WAIT src=10.1.0.1 dst=10.1.0.2 sport=1 dport=2 \
                    src=10.1.0.2 dst=10.1.0.1 sport=2 dport=1 [ASSURED] mark=0 use=1";
        assert_eq!(read(over), None);
    }
}

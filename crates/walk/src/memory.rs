//! What the machines remember while packets cross them: MAC tables, learned flows, neighbours,
//! connections. A walk begins with what was observed and forgets its own additions afterwards.
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

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
            if conn.zone != zone || !conn.confirmed {
                return None;
            }
            match tuple {
                t if t == conn.original => Some((n, Dir::Original)),
                t if t == conn.reply => Some((n, Dir::Reply)),
                _ => None,
            }
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

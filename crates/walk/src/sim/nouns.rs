//! What a walk is told in: where a frame arrives, how its way ends, who takes it, what was asked.
use host::NsName;

use crate::memory::Owner;
use crate::packet::Packet;
use crate::report::Step;

/// A step's place in the tree.
pub type StepId = usize;

/// Where a frame arrives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// A device of a namespace takes it in.
    Device {
        host: String,
        ns: NsName,
        dev: String,
    },
    /// A bridge of Open vSwitch takes it in by a port.
    Switch {
        host: String,
        bridge: String,
        port: String,
        tunnel: Option<Tunnelled>,
    },
    /// A guest's network card.
    Guest(String),
    /// The world outside, on a physical network.
    Outside(String),
}

/// The outer header that a frame came in, as far as flows can see it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Tunnelled {
    pub id: u64,
    pub src: u32,
    pub dst: u32,
}

/// A frame that came into a switch from elsewhere, not from another of its bridges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub host: String,
    pub bridge: String,
    pub port: String,
    pub packet: Packet,
    pub tunnel: Option<Tunnelled>,
}

/// A frame that leaves a switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    pub bridge: String,
    pub port: String,
    pub packet: Packet,
    /// The key, where the port is a tunnel's.
    pub tun_id: u64,
}

/// Who takes a packet in, and answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Party {
    Guest(String),
    Outside(String),
    /// A namespace itself: the kernel, or a program that listens there.
    Netns {
        host: String,
        ns: NsName,
    },
}

/// How a frame's way ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Its addressee took it.
    Taken(Party),
    /// Something discarded it on purpose, or for want of something.
    Dropped,
    /// A copy for somebody else: flooding makes these.
    Ignored,
    /// The state given does not say what happens.
    Unknown,
}

/// An end of the tree.
#[derive(Clone, Debug)]
pub struct End {
    pub step: StepId,
    pub fate: Fate,
    pub packet: Packet,
}

#[derive(Clone, Debug)]
pub struct Node {
    pub step: Step,
    pub parent: Option<StepId>,
}

/// A question for a MAC that was asked on the way.
#[derive(Clone, Debug)]
pub struct Asked {
    pub owner: Owner,
    pub address: std::net::IpAddr,
    pub answer: Option<host::Mac>,
    pub ends: Vec<End>,
    /// The step that needed the answer.
    pub needed_by: StepId,
}

/// A packet that somebody took and that wants an answer.
#[derive(Clone, Debug)]
pub struct Request {
    pub party: Party,
    pub packet: Packet,
    /// The device that it came in by, in a namespace.
    pub dev: String,
    pub step: StepId,
}

/// The place of a step in three words: host, namespace or bridge, device.
#[derive(Clone, Copy, Debug)]
pub struct Spot<'a> {
    pub host: &'a str,
    pub place: &'a str,
    pub device: &'a str,
}

//! The real packet beside the one that is foretold: which frame to send, at which devices to look
//! for it, what to look for, and what it means that it was seen or was not. Sending and looking
//! are the caller's.
use std::fmt::Write as _;
use std::net::IpAddr;

use host::{Mac, names};
use serde::Serialize;

use crate::autoconf::{DHCP_SERVER, DHCP6_SERVER};
use crate::bytes::{self, Mark};
use crate::cloud::Port;
use crate::packet::{Load, ND_ROUTER_SOLICIT, Packet};
use crate::question::{Goal, Plan, Question, QuestionError, Sender, plan};
use crate::report::{Step, Walk};
use crate::tunnel;
use crate::world::{World, is_tunnel};

/// The packet cannot be sent.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LiveError {
    #[error(transparent)]
    Question(#[from] QuestionError),
    #[error("a real packet is sent from a guest's port, and '{0}' is none")]
    NotAGuest(String),
    #[error("the packet would not leave {0}: {1}; a question for the MAC alone is --proto arp")]
    Stays(String, String),
    #[error("this packet cannot be written as a frame")]
    Frame,
    #[error("{0} is not plugged into a bridge of Open vSwitch on {1}")]
    Unplugged(String, String),
}

/// Which of the packet's ways a place is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    There,
    /// Where the packet would go next, were it not lost.
    Beyond,
    Back,
}

/// Where to look, as the agents' question `capture` takes it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watch {
    pub host: String,
    pub namespace: Option<String>,
    pub device: String,
    /// As tcpdump takes it.
    pub filter: String,
}

/// A place on the way, and what is expected there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Point {
    pub way: Way,
    pub host: String,
    pub place: String,
    pub device: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub letter: Option<char>,
    /// Should the packet be seen here, as foretold?
    pub predicted: bool,
    /// Was it? Nothing where nobody could look.
    pub seen: Option<bool>,
    /// Why nobody could look, or where was looked instead.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub note: String,
    #[serde(skip)]
    pub watch: Option<Watch>,
    /// The packet as it is foretold to be here.
    #[serde(skip)]
    carried: String,
}

/// What is sent, what is foretold of it, and where to look.
#[derive(Clone, Debug)]
pub struct Experiment {
    pub walk: Walk,
    pub frame: Vec<u8>,
    pub packet: Packet,
    pub mark: Mark,
    /// The guest's port, by its id, and its host.
    pub port: String,
    pub host: String,
    /// The bridge and its port that the guest's frames come in by.
    pub entry: (String, String),
    pub points: Vec<Point>,
}

/// Make ready to send a packet. `within` says that the guest itself sends it, not the switch in
/// its place.
pub fn prepare(
    world: &World,
    question: &Question,
    mark: Mark,
    within: bool,
) -> Result<Experiment, LiveError> {
    // A port of its own for each run, so that no connection from before is met.
    const FIRST: u64 = 32768;
    let question = Question {
        src_port: question
            .src_port
            .or(u16::try_from(FIRST + mark.0 % FIRST).ok()),
        ..question.clone()
    };
    let plan = plan(world, &question)?;
    let Sender::Guest(id) = &plan.sender else {
        return Err(LiveError::NotAGuest(question.from.clone()));
    };
    let not_a_guest = || LiveError::NotAGuest(question.from.clone());
    let port = world.cloud.ports.get(id).ok_or_else(not_a_guest)?;
    let walk = crate::walk(world, &question)?;
    let packet = leaving(&plan, &walk, mark)
        .ok_or_else(|| LiveError::Stays(plan.from_name.clone(), walk.summary.clone()))?;
    let entry = entry(world, port)
        .ok_or_else(|| LiveError::Unplugged(plan.from_name.clone(), port.host.clone()))?;
    let mut points = points(world, &walk.forward, Way::There);
    if !within {
        put_in_at(&mut points, &entry.1);
    }
    points.extend(beyond(world, &question, &plan, &points));
    points.extend(self::points(world, &walk.reverse, Way::Back));
    for point in &mut points {
        look(world, point, &packet, mark);
    }
    Ok(Experiment {
        frame: bytes::frame(&packet, mark).ok_or(LiveError::Frame)?,
        walk,
        packet,
        mark,
        port: port.id.clone(),
        host: port.host.clone(),
        entry,
        points,
    })
}

/// The packet as it leaves the guest, sent to whom ARP says.
fn leaving(plan: &Plan, walk: &Walk, mark: Mark) -> Option<Packet> {
    let told = walk
        .forward
        .iter()
        .filter(|step| step.place == plan.from_name)
        .flat_map(|step| &step.changes)
        .find(|change| change.field == "eth_dst")
        .and_then(|change| change.after.parse::<Mac>().ok());
    let mut packet = plan.packet.clone();
    packet.eth_dst = plan.dst_mac.or(told)?;
    if let Some(ip) = packet.ip_mut()
        && let Load::Icmp { id, .. } | Load::Icmp6 { id, .. } = &mut ip.load
    {
        *id = mark.0 as u16;
    }
    Some(packet)
}

/// The bridge and the port that a guest's frames come in by.
fn entry(world: &World, port: &Port) -> Option<(String, String)> {
    let names = [names::qvo(&port.id), names::tap(&port.id)];
    names.into_iter().find_map(|name| {
        let bridge = world.switch_of(&port.host, &name)?.to_owned();
        Some((bridge, name))
    })
}

/// The places of a way: steps at the same device are one.
fn points(world: &World, steps: &[Step], way: Way) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    // Whoever begins has the packet; afterwards it is at a device when it came in there, or left
    // by it.
    let mut left = true;
    for step in steps.iter().filter(|step| !step.device.is_empty()) {
        let guest = is_guest(world, &step.place);
        let same = points
            .last()
            .is_some_and(|last| last.host == step.host && last.device == step.device);
        if !same {
            points.push(Point {
                way,
                host: step.host.clone(),
                place: step.place.clone(),
                device: step.device.clone(),
                letter: step.letter,
                predicted: left,
                seen: None,
                note: String::new(),
                watch: None,
                carried: step.packet.clone(),
            });
        }
        let leaves = step.what == format!("out of {}", step.device)
            || step.what.starts_with("into the tunnel")
            || guest;
        left = leaves;
        if let Some(point) = points.last_mut() {
            point.predicted |= leaves;
        }
    }
    points
}

fn is_guest(world: &World, place: &str) -> bool {
    let mut ports = world.cloud.ports.values();
    ports.any(|port| port.is_guest() && world.cloud.call(port) == place)
}

/// The frame is put in at a port of the switch: what is before that is passed by.
fn put_in_at(points: &mut [Point], port: &str) {
    let Some(at) = points.iter().position(|point| point.device == port) else {
        return;
    };
    for point in &mut points[..=at] {
        "the packet is put in after this".clone_into(&mut point.note);
    }
}

/// Where the packet would go if hosts were as they should be, and at last its addressee: a packet
/// that is said to be lost must not be seen there.
fn beyond(world: &World, question: &Question, plan: &Plan, known: &[Point]) -> Vec<Point> {
    let mut right = world.clone();
    right.want();
    let healthy = crate::walk(&right, question);
    let mut more = healthy.map_or(Vec::new(), |walk| {
        points(&right, &walk.forward, Way::Beyond)
    });
    if let Goal::Guest(id) = &plan.goal
        && let Some(port) = world.cloud.ports.get(id)
    {
        more.push(Point {
            way: Way::Beyond,
            host: port.host.clone(),
            place: world.cloud.call(port),
            device: names::tap(id),
            letter: Some('B'),
            predicted: false,
            seen: None,
            note: String::new(),
            watch: None,
            carried: String::new(),
        });
    }
    let mut kept: Vec<Point> = Vec::new();
    for point in more {
        let same = |other: &Point| other.host == point.host && other.device == point.device;
        if point.device != "eth0" && !known.iter().any(same) && !kept.iter().any(same) {
            kept.push(Point {
                predicted: false,
                ..point
            });
        }
    }
    kept
}

/// How a place is watched, or why it is not.
fn look(world: &World, point: &mut Point, packet: &Packet, mark: Mark) {
    if !point.note.is_empty() {
        return;
    }
    let (host, dev) = (point.host.as_str(), point.device.as_str());
    if point.way == Way::Back && mark.of_answer(packet).is_none() {
        "nothing in the answer tells it from others".clone_into(&mut point.note);
        return;
    }
    if point.way == Way::Back && !tells_its_ports(packet, &point.carried) {
        "its ports were translated here".clone_into(&mut point.note);
        return;
    }
    let interface = world
        .switch_of(host, dev)
        .and_then(|bridge| world.bridge(host, bridge)?.interface(dev));
    let mut filter = filter(packet, mark);
    let (namespace, device) = match interface {
        _ if is_guest(world, &point.place) => {
            "inside the guest".clone_into(&mut point.note);
            return;
        }
        _ if !world.hosts.contains_key(host) => {
            "not on a host of ours".clone_into(&mut point.note);
            return;
        }
        Some(interface) if interface.kind == "patch" => {
            "a patch is inside the switch".clone_into(&mut point.note);
            return;
        }
        Some(interface) if is_tunnel(interface) => {
            let Some(card) = card(world, host, interface) else {
                "the card that its packets leave by is not known".clone_into(&mut point.note);
                return;
            };
            point.note = format!("on {card}, inside the tunnel's packet");
            filter = match interface.kind.as_str() {
                "gre" => "proto gre".to_owned(),
                kind => {
                    let usual = if kind == "geneve" { "6081" } else { "4789" };
                    let port = interface.options.get("dst_port");
                    format!("udp port {}", port.map_or(usual, String::as_str))
                }
            };
            (None, card)
        }
        _ => match world.namespace_of(host, dev) {
            Some(ns) => (
                Some(ns.to_string()).filter(|_| !ns.is_root()),
                dev.to_owned(),
            ),
            None => {
                "no namespace of the host has this device".clone_into(&mut point.note);
                return;
            }
        },
    };
    point.watch = Some(Watch {
        host: host.to_owned(),
        namespace,
        device,
        filter,
    });
}

/// Does the answer have, at a place, the ports by which alone UDP's is known? Who translates
/// addresses chooses ports at random.
fn tells_its_ports(packet: &Packet, carried: &str) -> bool {
    match packet.ip().map(|ip| &ip.load) {
        Some(Load::Udp { sport, dport }) => {
            let (from, to) = (format!(":{dport} > "), format!(":{sport}"));
            is_lease(*dport) || carried.contains(&from) && carried.ends_with(&to)
        }
        _ => true,
    }
}

fn is_lease(server: u16) -> bool {
    [DHCP_SERVER, DHCP6_SERVER].contains(&server)
}

/// The card that a tunnel's packets leave by.
fn card(world: &World, host: &str, interface: &host::ovs::Interface) -> Option<String> {
    let local: IpAddr = interface.options.get("local_ip")?.parse().ok()?;
    let root = world.netns(host, &host::NsName::root())?;
    let key = root.addrs.keys().find(|key| key.net.addr() == local)?;
    let devices = tunnel::devices(world, host, &key.dev);
    devices.last().map(|(name, _)| (*name).to_owned())
}

/// UDP's packet by its mark, its answer by the ports; of leases both by the server's.
fn udp(marked: &str, (sport, dport): (u16, u16)) -> String {
    match is_lease(dport) {
        true => format!("udp port {dport}"),
        false => format!("{marked} or (udp src port {dport} and udp dst port {sport})"),
    }
}

/// What tcpdump lets through: the marked packet and its answer, with a tag or without.
fn filter(packet: &Packet, mark: Mark) -> String {
    let (high, next) = (mark.0 >> 32, ((mark.0 >> 32) as u32).wrapping_add(1));
    let plain = match packet.ip() {
        None => "arp".to_owned(),
        Some(ip) if ip.src.is_ipv6() => match &ip.load {
            Load::Tcp { .. } => format!("ip6[44:4] = {high:#x} or ip6[48:4] = {next:#x}"),
            Load::Udp { sport, dport } => {
                let marked = format!("ip6[48:4] = {high:#x} or ip6[96:4] = {high:#x}");
                udp(&marked, (*sport, *dport))
            }
            Load::Icmp6 {
                kind: ND_ROUTER_SOLICIT,
                ..
            } => format!("ip6[40] = {ND_ROUTER_SOLICIT}"),
            _ => format!("ip6[48:4] = {high:#x}"),
        },
        Some(ip) => match &ip.load {
            Load::Tcp { .. } => format!("tcp[4:4] = {high:#x} or tcp[8:4] = {next:#x}"),
            Load::Udp { sport, dport } => {
                // A refusal has the packet after its own headers.
                let marked = format!("udp[8:4] = {high:#x} or icmp[36:4] = {high:#x}");
                udp(&marked, (*sport, *dport))
            }
            Load::Icmp { .. } => format!("icmp[8:4] = {high:#x}"),
            Load::Icmp6 { .. } | Load::Other(_) => format!("ip[20:4] = {high:#x}"),
        },
    };
    // `vlan` moves all that stands after it, so it comes last.
    format!("{plain} or (vlan and ({plain}))")
}

impl Experiment {
    /// All places to look at, each once.
    pub fn watches(&self) -> Vec<Watch> {
        let mut watches: Vec<Watch> = self.points.iter().filter_map(|p| p.watch.clone()).collect();
        watches.sort();
        watches.dedup();
        watches
    }

    /// Take in what was seen at a place, or why nobody could look.
    pub fn saw(&mut self, watch: &Watch, frames: Result<&[Vec<u8>], &str>) {
        let (packet, mark) = (&self.packet, self.mark);
        for point in &mut self.points {
            if point.watch.as_ref() != Some(watch) {
                continue;
            }
            match &frames {
                Ok(frames) => {
                    point.seen = Some(frames.iter().any(|frame| match point.way {
                        Way::Back => mark.is_answer(packet, frame),
                        Way::There | Way::Beyond => mark.is_packet(packet, frame),
                    }));
                }
                Err(why) => (*why).clone_into(&mut point.note),
            }
        }
    }

    /// The first place where what was seen is not what was foretold.
    pub fn disagreement(&self) -> Option<&Point> {
        let mut points = self.points.iter();
        points.find(|point| point.seen.is_some_and(|seen| seen != point.predicted))
    }

    /// Whether anything at all could be looked at.
    pub fn watched(&self) -> bool {
        self.points.iter().any(|point| point.seen.is_some())
    }

    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "walk": self.walk,
            "sent": {
                "host": self.host, "port": self.port, "packet": self.packet.to_string(),
                "mark": format!("{:016x}", self.mark.0),
            },
            "points": self.points,
            "disagreement": self.disagreement(),
        })
    }

    /// Foretold and seen, side by side, a line a place.
    pub fn print(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "foretold: {}", self.walk.summary);
        let _ = writeln!(
            out,
            "sent: {} as a frame from {} to {}, marked {:016x}",
            self.packet, self.packet.eth_src, self.packet.eth_dst, self.mark.0
        );
        for (way, words) in [
            (Way::There, "the way there"),
            (Way::Beyond, "where it should not be seen"),
            (Way::Back, "the way back"),
        ] {
            let mut points = self.points.iter().filter(|p| p.way == way).peekable();
            if points.peek().is_some() {
                let _ = writeln!(out, "{words}:{:43}foretold  seen", "");
            }
            for point in points {
                let _ = writeln!(out, "{}", line(point));
            }
        }
        let verdict = match self.disagreement() {
            _ if !self.watched() => "nowhere could be looked".to_owned(),
            None => "what was seen agrees with what was foretold".to_owned(),
            Some(point) => format!(
                "they first disagree on {} at {}/{}: foretold to be {}, and {}",
                point.host,
                point.place,
                point.device,
                word(Some(point.predicted)),
                word(point.seen)
            ),
        };
        let _ = writeln!(out, "{verdict}");
        out
    }
}

fn word(seen: Option<bool>) -> &'static str {
    match seen {
        Some(true) => "seen",
        Some(false) => "not seen",
        None => "not to be watched",
    }
}

fn line(point: &Point) -> String {
    let at = format!("{}/{}", point.place, point.device);
    let note = match point.note.as_str() {
        "" => String::new(),
        note => format!(" ({note})"),
    };
    let differs = point.seen.is_some_and(|seen| seen != point.predicted);
    format!(
        "{} {} {:8} {at:45.45} {:8}  {}{note}",
        if differs { '!' } else { ' ' },
        point.letter.unwrap_or(' '),
        point.host,
        word(Some(point.predicted)),
        word(point.seen),
    )
}

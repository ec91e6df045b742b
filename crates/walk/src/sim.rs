//! The simulation: a queue of frames that arrive somewhere, and what each place does with one.
//! Every frame knows the step it came from, so that the steps form a tree: flooding branches it,
//! and the way to any end is the chain of its parents.
mod nouns;

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use host::NsName;
use host::netns::LinkKind;

use crate::memory::{Conn, Dir, Memory, Met, Owner, Tracker, Tuple};
use crate::packet::Packet;
use crate::report::{Change, Step};
use crate::world::{Beyond, World};

pub use nouns::{
    Asked, End, Entry, Exit, Fate, Node, Party, Place, Request, Spot, StepId, Tunnelled,
};

#[derive(Clone, Debug)]
struct Event {
    at: Place,
    packet: Packet,
    parent: StepId,
}

/// How often the same frame may arrive at the same place before it is called a loop: one that is
/// flooded comes by several ways, and one that waited for an answer comes again.
const AGAIN: u8 = 16;
/// The same for frames that change on their way round: how many may be under way in one walk.
const FUEL: u32 = 20_000;
/// A veth takes in what is longer than its mtu by no more than a tag.
const VETH_SLACK: u32 = 4;
/// How deep questions for a MAC may nest.
const DEPTH: u32 = 4;

/// One walk under way.
#[derive(Debug)]
pub struct Sim<'w> {
    pub world: &'w World,
    pub mem: Memory,
    pub nodes: Vec<Node>,
    pub ends: Vec<End>,
    pub asked: Vec<Asked>,
    pub requests: Vec<Request>,
    pub notes: Vec<String>,
    /// Nobody reads the steps: what is costly to put into words is left out of them.
    pub quiet: bool,
    /// Connections from before this walk that its packets belong to.
    pub met: Vec<Met>,
    /// What came into switches, in order.
    pub entered: Vec<Entry>,
    /// One switch is looked at alone: what leaves it goes here, and no further.
    pub exits: Option<Vec<Exit>>,
    queue: VecDeque<Event>,
    /// How often a frame has arrived at a place, by a hash of both.
    arrived: HashMap<u64, u8>,
    fuel: u32,
    depth: u32,
}

impl<'w> Sim<'w> {
    pub fn new(world: &'w World) -> Sim<'w> {
        Sim {
            world,
            mem: Memory::default(),
            nodes: Vec::new(),
            ends: Vec::new(),
            asked: Vec::new(),
            requests: Vec::new(),
            notes: Vec::new(),
            quiet: false,
            met: Vec::new(),
            entered: Vec::new(),
            exits: None,
            queue: VecDeque::new(),
            arrived: HashMap::new(),
            fuel: FUEL,
            depth: 0,
        }
    }

    /// Note a step that follows another.
    pub fn step(
        &mut self,
        parent: Option<StepId>,
        spot: Spot<'_>,
        packet: &Packet,
        what: impl Into<String>,
    ) -> StepId {
        let step = Step {
            host: spot.host.to_owned(),
            place: spot.place.to_owned(),
            device: spot.device.to_owned(),
            what: what.into(),
            packet: if self.quiet {
                String::new()
            } else {
                packet.to_string()
            },
            ..Step::default()
        };
        self.nodes.push(Node { step, parent });
        self.nodes.len() - 1
    }

    /// The rule that a step is due to, as the host prints it.
    pub fn because(&mut self, step: StepId, rule: impl Into<String>) -> StepId {
        if let Some(node) = self.nodes.get_mut(step) {
            node.step.rule = Some(rule.into());
        }
        step
    }

    /// The same, where the rule is long and has to be put into words first.
    pub fn because_of(&mut self, step: StepId, rule: impl FnOnce() -> String) {
        if !self.quiet {
            self.because(step, rule());
        }
    }

    /// The object of intent behind a step, when the thing that acted carries it.
    pub fn intent(&mut self, step: StepId, why: &host::Why) -> StepId {
        if let Some(node) = self.nodes.get_mut(step)
            && !self.quiet
            && !why.causes.is_empty()
        {
            node.step.intent = Some(why.to_string());
        }
        step
    }

    /// Note on a step what it changed in the packet's headers.
    pub fn changed(&mut self, step: StepId, before: &Packet, after: &Packet) {
        if self.quiet {
            return;
        }
        for (field, before, after) in before.changes(after) {
            self.change(step, field, before, after);
        }
    }

    pub fn change(&mut self, step: StepId, field: String, before: String, after: String) {
        let Some(node) = self.nodes.get_mut(step) else {
            return;
        };
        match node.step.changes.iter_mut().find(|c| c.field == field) {
            Some(change) => change.after = after,
            None => node.step.changes.push(Change {
                field,
                before,
                after,
            }),
        }
    }

    pub fn end(&mut self, step: StepId, packet: &Packet, fate: Fate) {
        self.ends.push(End {
            step,
            fate,
            packet: packet.clone(),
        });
    }

    /// A step that ends a frame's way.
    pub fn stop(
        &mut self,
        parent: StepId,
        spot: Spot<'_>,
        packet: &Packet,
        what: impl Into<String>,
        fate: Fate,
    ) -> StepId {
        let step = self.step(Some(parent), spot, packet, what);
        self.end(step, packet, fate);
        step
    }

    pub fn note(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// A frame arrives.
    pub fn arrive(&mut self, at: Place, packet: Packet, parent: StepId) {
        self.queue.push_back(Event { at, packet, parent });
    }

    /// Let all frames go to their ends.
    pub fn run(&mut self) {
        while let Some(event) = self.queue.pop_front() {
            let goes_round = self.has_arrived_too_often(&event);
            if goes_round || self.fuel == 0 {
                self.note("too many frames: the hosts send them round in a loop");
                self.end(event.parent, &event.packet, Fate::Unknown);
                if !goes_round {
                    self.queue.clear();
                }
                continue;
            }
            self.fuel -= 1;
            self.handle(event);
        }
    }

    fn has_arrived_too_often(&mut self, event: &Event) -> bool {
        let mut hasher = DefaultHasher::new();
        (&event.at, &event.packet).hash(&mut hasher);
        let times = self.arrived.entry(hasher.finish()).or_default();
        *times = times.saturating_add(1);
        *times > AGAIN
    }

    fn handle(&mut self, event: Event) {
        let Event { at, packet, parent } = event;
        match at {
            Place::Device { host, ns, dev } => self.receive(&host, &ns, &dev, packet, parent),
            Place::Switch {
                host,
                bridge,
                port,
                tunnel,
            } => crate::openflow::enter(self, (&host, &bridge, &port), packet, tunnel, parent),
            Place::Guest(port) => crate::guest::receive(self, &port, packet, parent),
            Place::Outside(segment) => crate::outside::receive(self, &segment, packet, parent),
        }
    }

    /// A device takes a frame in: for the switch or the bridge that it is a port of, else for the
    /// namespace's own stack.
    fn receive(&mut self, host: &str, ns: &NsName, dev: &str, packet: Packet, parent: StepId) {
        let world = self.world;
        let spot = Spot {
            host,
            place: ns.as_str(),
            device: dev,
        };
        if let Some(link) = world.link(host, ns, dev)
            && !link.up
        {
            let rule = crate::text::link(dev, link);
            let step = self.stop(
                parent,
                spot,
                &packet,
                format!("{dev} is down"),
                Fate::Dropped,
            );
            self.because(step, rule);
            return;
        }
        if let Some(link) = world.link(host, ns, dev)
            && link.kind == LinkKind::Veth
            && link.mtu > 0
            && packet.size() > link.mtu.saturating_add(VETH_SLACK)
        {
            let what = format!(
                "a packet of {} bytes is too big for {dev}'s mtu {}",
                packet.size(),
                link.mtu
            );
            let step = self.stop(parent, spot, &packet, what, Fate::Dropped);
            self.because(step, crate::text::link(dev, link));
            return;
        }
        if let Some(bridge) = world.switch_of(host, dev)
            && bridge != dev
        {
            let interface = world.bridge(host, bridge).and_then(|b| b.interface(dev));
            if interface.is_none_or(|i| i.kind != "internal") {
                let at = Place::Switch {
                    host: host.to_owned(),
                    bridge: bridge.to_owned(),
                    port: dev.to_owned(),
                    tunnel: None,
                };
                self.arrive(at, packet, parent);
                return;
            }
        }
        match world.link(host, ns, dev).and_then(|l| l.master.as_deref()) {
            Some(bridge) => crate::bridge::forward(self, (host, ns, bridge), dev, packet, parent),
            None => crate::stack::receive(self, (host, ns, dev), packet, parent),
        }
    }

    /// A device sends a frame: it comes out at the other end.
    pub fn transmit(&mut self, host: &str, ns: &NsName, dev: &str, packet: Packet, parent: StepId) {
        let world = self.world;
        let spot = Spot {
            host,
            place: ns.as_str(),
            device: dev,
        };
        if let Some(link) = world.link(host, ns, dev) {
            let lower = &link.flags.0;
            let carrier = !lower.contains("NO-CARRIER");
            if !link.up || !carrier {
                let state = if link.up { "has no carrier" } else { "is down" };
                let what = format!("{dev} {state}");
                let step = self.stop(parent, spot, &packet, what, Fate::Dropped);
                self.because(step, crate::text::link(dev, link));
                return;
            }
            if packet.size() > link.mtu && link.mtu > 0 {
                let what = format!(
                    "a packet of {} bytes does not fit {dev}'s mtu {}",
                    packet.size(),
                    link.mtu
                );
                let step = self.stop(parent, spot, &packet, what, Fate::Dropped);
                self.because(step, crate::text::link(dev, link));
                return;
            }
        }
        self.emerge(host, ns, dev, packet, parent);
    }

    fn emerge(&mut self, host: &str, ns: &NsName, dev: &str, packet: Packet, parent: StepId) {
        match self.world.beyond(host, ns, dev) {
            Beyond::Guest(port) => self.arrive(Place::Guest(port), packet, parent),
            Beyond::Device { ns, dev } => {
                let at = Place::Device {
                    host: host.to_owned(),
                    ns,
                    dev,
                };
                self.arrive(at, packet, parent);
            }
            Beyond::Switch { bridge } => {
                let at = Place::Switch {
                    host: host.to_owned(),
                    bridge,
                    port: dev.to_owned(),
                    tunnel: None,
                };
                self.arrive(at, packet, parent);
            }
            Beyond::Segment(segment) => self.onto_segment(&segment, host, dev, &packet, parent),
            Beyond::Unknown => {
                let spot = Spot {
                    host,
                    place: ns.as_str(),
                    device: dev,
                };
                let what = format!("where {dev} leads is not in the state given");
                self.stop(parent, spot, &packet, what, Fate::Unknown);
            }
        }
    }

    /// A frame on a physical network reaches every other card on it, and the outside.
    pub fn onto_segment(
        &mut self,
        segment: &str,
        from_host: &str,
        from_dev: &str,
        packet: &Packet,
        parent: StepId,
    ) {
        let world = self.world;
        if let Some(cards) = world.segments.get(segment) {
            for card in cards {
                if card.host == from_host && card.dev == from_dev {
                    continue;
                }
                let at = Place::Device {
                    host: card.host.clone(),
                    ns: NsName::root(),
                    dev: card.dev.clone(),
                };
                self.arrive(at, packet.clone(), parent);
            }
        }
        if !from_host.is_empty() {
            self.arrive(Place::Outside(segment.to_owned()), packet.clone(), parent);
        }
    }

    /// Ask for a MAC: run the question to its end, apart from what else is under way.
    pub fn ask(
        &mut self,
        owner: Owner,
        address: std::net::IpAddr,
        needed_by: StepId,
        send: impl FnOnce(&mut Self),
    ) -> Option<host::Mac> {
        let key = (owner.clone(), address);
        if let Some(mac) = self.mem.neighbours.get(&key) {
            return Some(*mac);
        }
        if self.depth >= DEPTH {
            return None;
        }
        let queue = std::mem::take(&mut self.queue);
        let ends = std::mem::take(&mut self.ends);
        let requests = std::mem::take(&mut self.requests);
        self.depth += 1;
        send(self);
        self.run();
        self.depth -= 1;
        self.queue = queue;
        self.requests = requests;
        let ends = std::mem::replace(&mut self.ends, ends);
        let answer = self.mem.neighbours.get(&key).copied();
        self.asked.push(Asked {
            owner,
            address,
            answer,
            ends,
            needed_by,
        });
        answer
    }

    /// The connection that a packet belongs to: one of this walk, else one that the host was found
    /// to track.
    pub fn connection(
        &mut self,
        tracker: &Tracker,
        zone: u16,
        tuple: Tuple,
    ) -> Option<(usize, Dir)> {
        if let Some(found) = self.mem.find(tracker, zone, tuple) {
            return Some(found);
        }
        let world = self.world;
        let rows = match tracker {
            Tracker::Kernel { host, ns } => &world.netns(host, ns)?.conntrack,
            // The kernel's switch tracks where the host itself does.
            Tracker::Switch { host } => &world.netns(host, &NsName::root())?.conntrack,
        };
        let mut rows = rows.iter().filter(|row| row.zone == zone);
        let (conn, dir) = rows.find_map(|row| {
            let conn = Conn::recorded(row)?;
            let dir = conn.dir(zone, tuple)?;
            Some((conn, dir))
        })?;
        self.met.extend(conn.recorded.clone().map(|text| Met {
            tracker: tracker.clone(),
            text,
            dir,
        }));
        Some((self.mem.track(tracker, conn), dir))
    }

    /// Say that a packet is let through, or not, as one of a connection from before this walk.
    pub fn of_before(
        &mut self,
        last: StepId,
        spot: Spot<'_>,
        packet: &Packet,
        (tracker, n): (&Tracker, usize),
    ) -> StepId {
        let conn = self.mem.conn(tracker, n);
        let Some(text) = conn.and_then(|conn| conn.recorded.clone()) else {
            return last;
        };
        let what = "a packet of a connection from before";
        let step = self.step(Some(last), spot, packet, what);
        self.because(step, text)
    }

    /// The way to a step, from its root.
    pub fn way(&self, step: StepId) -> Vec<StepId> {
        let mut way = Vec::new();
        let mut at = Some(step);
        while let Some(id) = at {
            way.push(id);
            at = self.nodes.get(id).and_then(|n| n.parent);
        }
        way.reverse();
        way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_comes_again_and_again_is_in_a_loop() {
        let world = World::default();
        let mut sim = Sim::new(&world);
        let packet = crate::autoconf::discover(host::Mac::default());
        let spot = Spot {
            host: "c1",
            place: "br-int",
            device: "p1",
        };
        let step = sim.step(None, spot, &packet, "is sent");
        for place in ["here", "there"] {
            for _ in 0..=AGAIN {
                let at = Place::Guest(place.to_owned());
                sim.arrive(at, packet.clone(), step);
            }
        }
        sim.run();
        let unknown = sim.ends.iter().filter(|end| end.fate == Fate::Unknown);
        assert_eq!(unknown.count(), 2, "one too many at each place");
        assert_eq!(sim.notes.len(), 1, "{:?}", sim.notes);
    }
}

//! Open vSwitch: a frame enters a bridge by a port and goes through its tables. Actions happen in
//! order; what one table changes, the next one sees; an output sends the frame as it is then.
mod actions;
mod conntrack;
mod learn;
mod lookup;
mod normal;

use host::ovs::flow::{Flow, FlowKey};
use host::ovs::{Bridge, Field, Interface};

use crate::packet::{Meta, Packet};
use crate::sim::{Entry, Exit, Fate, Place, Sim, Spot, StepId, Tunnelled};
use crate::world::World;

/// How deep `resubmit` may go, as in the switch.
const MAX_DEPTH: u32 = 64;

/// A frame inside one bridge.
#[derive(Clone, Debug)]
struct Pipe<'w> {
    host: &'w str,
    name: &'w str,
    bridge: &'w Bridge,
    in_port: String,
    packet: Packet,
    meta: Meta,
    /// The step that the next one follows.
    last: StepId,
    depth: u32,
    /// `exit` was met, or something unknown: nothing further happens.
    over: bool,
    /// How often the frame went out of the bridge.
    outputs: u32,
    /// Where the frame was last discarded; it counts when it went out nowhere.
    dropped: Option<StepId>,
    unknown: bool,
}

/// What a table does with a frame.
enum Found<'a> {
    Flow(&'a FlowKey, &'a Flow),
    Miss,
    /// A flow that may match, and of which this version cannot tell.
    Unknown(String),
}

/// A frame comes into a bridge.
pub fn enter(
    sim: &mut Sim<'_>,
    (host, bridge, port): (&str, &str, &str),
    packet: Packet,
    tunnel: Option<Tunnelled>,
    parent: StepId,
) {
    let world = sim.world;
    let found = world
        .hosts
        .get_key_value(host)
        .and_then(|(host, state)| Some((host, state.bridges.get_key_value(bridge)?)));
    let Some((host, (name, row))) = found else {
        return;
    };
    if !sim.quiet && row.interface(port).is_none_or(|i| i.kind != "patch") {
        sim.entered.push(Entry {
            host: host.clone(),
            bridge: name.clone(),
            port: port.to_owned(),
            packet: packet.clone(),
            tunnel,
        });
    }
    let mut meta = Meta::default();
    if let Some(tunnel) = tunnel {
        (meta.tun_id, meta.tun_src, meta.tun_dst) = (tunnel.id, tunnel.src, tunnel.dst);
    }
    let spot = Spot {
        host,
        place: name,
        device: port,
    };
    let last = sim.step(Some(parent), spot, &packet, "into the bridge");
    if let Some(interface) = row.interface(port).filter(|i| is_set(i, "NO_RECV")) {
        let what = format!("nothing is taken in by {port}");
        let step = sim.stop(last, spot, &packet, what, Fate::Dropped);
        sim.because(step, crate::text::port_config(port, interface));
        return;
    }
    let mut pipe = Pipe {
        host,
        name,
        bridge: row,
        in_port: port.to_owned(),
        packet,
        meta,
        last,
        depth: 0,
        over: false,
        outputs: 0,
        dropped: None,
        unknown: false,
    };
    pipe.whole(sim);
}

/// Did somebody set this of a port by OpenFlow?
pub fn is_set(interface: &Interface, what: &str) -> bool {
    interface.config.0.contains(what)
}

/// What one host's switch, all its bridges together, makes of a frame: where it leaves, and how.
/// Nothing, when this version cannot tell.
pub fn alone(world: &World, entry: &Entry) -> Option<Vec<Exit>> {
    let mut sim = Sim::new(world);
    sim.exits = Some(Vec::new());
    let spot = Spot {
        host: &entry.host,
        place: &entry.bridge,
        device: &entry.port,
    };
    let root = sim.step(None, spot, &entry.packet, "comes in");
    let at = Place::Switch {
        host: entry.host.clone(),
        bridge: entry.bridge.clone(),
        port: entry.port.clone(),
        tunnel: entry.tunnel,
    };
    sim.arrive(at, entry.packet.clone(), root);
    sim.run();
    let known = sim.ends.iter().all(|end| end.fate != Fate::Unknown);
    sim.exits.filter(|_| known)
}

impl<'w> Pipe<'w> {
    fn spot<'a>(&'a self, device: &'a str) -> Spot<'a> {
        Spot {
            host: self.host,
            place: self.name,
            device,
        }
    }

    /// All tables from the first, and what is to say when the frame went nowhere.
    fn whole(&mut self, sim: &mut Sim<'w>) {
        if self.bridge.flows.is_empty() {
            if self.bridge.fail_mode.as_deref() == Some("secure") {
                self.miss(sim, 0);
            } else {
                normal::forward(self, sim);
            }
        } else {
            self.table(sim, 0);
        }
        if self.outputs == 0 && !self.unknown {
            let step = self.dropped.unwrap_or(self.last);
            sim.end(step, &self.packet, Fate::Dropped);
        }
    }

    /// One table: find the flow, do what it says.
    fn table(&mut self, sim: &mut Sim<'w>, table: u8) {
        if self.depth >= MAX_DEPTH {
            self.cannot_tell(sim, format!("resubmit goes deeper than {MAX_DEPTH}"));
            return;
        }
        self.depth += 1;
        let learned = sim
            .mem
            .learned
            .get(&(self.host.to_owned(), self.name.to_owned()))
            .cloned()
            .unwrap_or_default();
        match lookup::find(self, &learned, table) {
            Found::Miss => self.miss(sim, table),
            Found::Unknown(what) => {
                self.cannot_tell(sim, format!("unknown {what} in table {table}: cannot tell"));
            }
            Found::Flow(key, flow) => self.act(sim, key, flow),
        }
        self.depth -= 1;
    }

    fn miss(&mut self, sim: &mut Sim<'w>, table: u8) {
        let what = format!("no flow of table {table} matches: dropped");
        self.last = sim.step(
            Some(self.last),
            self.spot(&self.in_port),
            &self.packet,
            what,
        );
        self.dropped = Some(self.last);
    }

    fn cannot_tell(&mut self, sim: &mut Sim<'w>, what: String) {
        let spot = self.spot(&self.in_port);
        sim.stop(self.last, spot, &self.packet, what, Fate::Unknown);
        (self.unknown, self.over) = (true, true);
    }

    /// A flow acts.
    fn act(&mut self, sim: &mut Sim<'w>, key: &FlowKey, flow: &Flow) {
        let what = actions::describe(key, flow);
        self.last = sim.step(
            Some(self.last),
            self.spot(&self.in_port),
            &self.packet,
            what,
        );
        sim.because_of(self.last, || crate::text::flow(key, flow));
        sim.intent(self.last, &flow.why);
        if flow.is_drop() {
            self.dropped = Some(self.last);
            return;
        }
        if let Some(part) = flow.unknown.first() {
            self.cannot_tell(
                sim,
                format!("unknown {part} in table {}: cannot tell", key.table),
            );
            return;
        }
        self.actions(sim, key.table, &flow.actions);
    }

    fn actions(&mut self, sim: &mut Sim<'w>, table: u8, actions: &[host::ovs::Action]) {
        for action in actions {
            if self.over {
                return;
            }
            actions::apply(self, sim, table, action);
        }
    }

    /// A field of the packet or of its metadata.
    fn get(&self, field: Field) -> Option<u128> {
        match field {
            Field::InPort | Field::InPortOxm => self.bridge.ofport(&self.in_port).map(u128::from),
            field => self.meta.get(field).or_else(|| self.packet.get(field)),
        }
    }

    /// Write a field, and note on the step what that changed.
    fn set(&mut self, sim: &mut Sim<'w>, field: Field, value: u128) -> bool {
        if let Some(before) = self.meta.get(field) {
            let done = self.meta.set(field, value);
            if done && before != value {
                let name = field.info().name.to_owned();
                sim.change(
                    self.last,
                    name,
                    format!("{before:#x}"),
                    format!("{value:#x}"),
                );
            }
            return done;
        }
        let before = self.packet.clone();
        let done = self.packet.set(field, value);
        sim.changed(self.last, &before, &self.packet);
        done
    }
}

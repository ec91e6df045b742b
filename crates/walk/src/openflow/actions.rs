//! What each action does to a frame.
use std::net::Ipv4Addr;

use host::NsName;
use host::ovs::flow::{Flow, FlowKey};
use host::ovs::matches::PortRef;
use host::ovs::{Action, Field, Interface, Subfield};

use super::{Pipe, conntrack, is_set, learn, normal};
use crate::packet::Meta;
use crate::sim::{Exit, Fate, Place, Sim, Tunnelled};
use crate::world::{is_tunnel, option_ip};

/// A flow in words.
pub(super) fn describe(key: &FlowKey, flow: &Flow) -> String {
    let table = key.table;
    if flow.is_drop() {
        return format!("table {table} drops it");
    }
    match flow.actions.as_slice() {
        [Action::GotoTable(next)] => format!("table {table}, on to table {next}"),
        [Action::Output(PortRef::Normal)] => format!("table {table}: like a normal switch"),
        _ => format!("table {table}"),
    }
}

/// Do one action.
pub(super) fn apply<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, table: u8, action: &Action) {
    match action {
        Action::Output(port) => output(pipe, sim, port),
        Action::OutputField(field) => {
            let number = read(pipe, *field).unwrap_or(0) as u32;
            output(pipe, sim, &PortRef::Number(number));
        }
        Action::OutputTruncated { port, .. } | Action::Enqueue { port, .. } => {
            output(pipe, sim, port);
        }
        Action::Resubmit {
            port,
            table: to,
            ct: _,
        } => resubmit(pipe, sim, port.as_ref(), to.unwrap_or(table)),
        Action::GotoTable(to) => pipe.table(sim, *to),
        Action::Learn(spec) => learn::learn(pipe, sim, spec),
        Action::Ct(ct) => conntrack::track(pipe, sim, ct),
        Action::CtClear => pipe.meta.clear_ct(),
        Action::Group(id) => group(pipe, sim, table, *id),
        Action::Clone(inner) => {
            let mut copy = pipe.clone();
            copy.actions(sim, table, inner);
            (pipe.outputs, pipe.unknown) = (copy.outputs, copy.unknown);
        }
        Action::WriteActions(inner) => {
            // The action set runs when the tables end; nothing follows in the pipelines met.
            pipe.actions(sim, table, inner);
        }
        Action::Exit => pipe.over = true,
        Action::Controller(_) => {
            let what = "to the controller: what it does with it is not in the state given";
            pipe.cannot_tell(sim, what.to_owned());
        }
        Action::Unknown(text) => {
            pipe.cannot_tell(
                sim,
                format!("unknown action {text} in table {table}: cannot tell"),
            );
        }
        action => rewrite(pipe, sim, table, action),
    }
}

/// Actions that only change the frame or what stands beside it.
fn rewrite<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, table: u8, action: &Action) {
    let before = pipe.packet.clone();
    match action {
        Action::Set {
            field, value, mask, ..
        } => {
            let old = pipe.get(*field).unwrap_or(0);
            pipe.set(sim, *field, (old & !mask) | value);
        }
        Action::Move { src, dst } => {
            if let Some(value) = read(pipe, *src) {
                write(pipe, sim, *dst, value);
            }
        }
        Action::PushVlan(_) => pipe.packet.tags.push(0),
        Action::PopVlan(_) => {
            pipe.packet.tags.pop();
        }
        Action::ModVlanVid(vid) => {
            pipe.packet.set(Field::VlanVid, u128::from(*vid));
        }
        Action::ModVlanPcp(pcp) => {
            pipe.packet.set(Field::VlanPcp, u128::from(*pcp));
        }
        Action::DecTtl => {
            if let Some(ip) = pipe.packet.ip_mut() {
                ip.ttl = ip.ttl.saturating_sub(1);
            }
        }
        Action::WriteMetadata { value, mask } => {
            let old = pipe.meta.metadata;
            pipe.meta.metadata = (old & !mask) | value;
        }
        Action::ClearActions
        | Action::Note(_)
        | Action::SetQueue(_)
        | Action::PopQueue
        | Action::Meter(_)
        | Action::Conjunction { .. } => {}
        other => {
            let what = format!("unknown action {other:?} in table {table}: cannot tell");
            pipe.cannot_tell(sim, what);
        }
    }
    sim.changed(pipe.last, &before, &pipe.packet);
}

/// Some bits of a field.
pub(super) fn read(pipe: &Pipe<'_>, part: Subfield) -> Option<u128> {
    let value = pipe.get(part.field)?;
    Some(value.checked_shr(part.start).unwrap_or(0) & host::ovs::field::mask(part.bits))
}

/// Bits moved up; none are left of those that go beyond the widest field.
pub(super) fn shifted(bits: u128, by: u32) -> u128 {
    bits.checked_shl(by).unwrap_or(0)
}

/// Write some bits of a field.
pub(super) fn write<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, part: Subfield, value: u128) {
    let bits = host::ovs::field::mask(part.bits);
    let old = pipe.get(part.field).unwrap_or(0);
    let new = (old & !shifted(bits, part.start)) | shifted(value & bits, part.start);
    pipe.set(sim, part.field, new);
}

fn resubmit<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, port: Option<&PortRef>, table: u8) {
    let name = match port {
        None | Some(PortRef::InPort) => pipe.in_port.clone(),
        Some(port) => port_name(pipe, port).unwrap_or_default(),
    };
    let old = std::mem::replace(&mut pipe.in_port, name);
    pipe.table(sim, table);
    pipe.in_port = old;
}

fn port_name(pipe: &Pipe<'_>, port: &PortRef) -> Option<String> {
    match port {
        PortRef::Name(name) => Some(name.clone()),
        PortRef::Number(number) => pipe.bridge.port_name(*number).map(str::to_owned),
        PortRef::Local => Some(pipe.name.to_owned()),
        PortRef::InPort => Some(pipe.in_port.clone()),
        _ => None,
    }
}

/// Send the frame out of a port. A frame does not go back by the port it came by, unless
/// `IN_PORT` says so.
fn output<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, port: &PortRef) {
    match port {
        PortRef::Normal => normal::forward(pipe, sim),
        PortRef::Flood | PortRef::All => {
            let all = *port == PortRef::All;
            let ports = pipe.bridge.interfaces();
            let floods = ports.filter(|(_, i)| all || !is_set(i, "NO_FLOOD"));
            let names: Vec<String> = floods.map(|(name, _)| name.to_owned()).collect();
            for name in names {
                if name != pipe.in_port {
                    send(pipe, sim, &name);
                }
            }
        }
        PortRef::Table => pipe.table(sim, 0),
        PortRef::InPort => {
            let name = pipe.in_port.clone();
            send(pipe, sim, &name);
        }
        PortRef::Controller => apply(pipe, sim, 0, &Action::Controller(String::new())),
        PortRef::None | PortRef::Any => {}
        named => match port_name(pipe, named) {
            Some(name) if name == pipe.in_port => {}
            Some(name) => send(pipe, sim, &name),
            None => lost(pipe, sim, &named.to_string()),
        },
    }
}

fn lost<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, port: &str) {
    let what = format!("the bridge has no port {port}");
    let step = sim.step(Some(pipe.last), pipe.spot(port), &pipe.packet, what);
    if let Some(rule) = sim.nodes[pipe.last].step.rule.clone() {
        sim.because(step, rule);
    }
    pipe.dropped = Some(step);
}

/// The frame leaves by a port that was named.
pub(super) fn send<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, port: &str) {
    let world = sim.world;
    let local = port == pipe.name;
    let Some(interface) = pipe.bridge.interface(port) else {
        lost(pipe, sim, port);
        return;
    };
    if let Some(error) = &interface.error.0 {
        let what = format!("the switch could not open {port}: {error}");
        let step = sim.step(Some(pipe.last), pipe.spot(port), &pipe.packet, what);
        pipe.dropped = Some(step);
        return;
    }
    if is_set(interface, "NO_FWD") {
        let what = format!("nothing is sent by {port}");
        let step = sim.step(Some(pipe.last), pipe.spot(port), &pipe.packet, what);
        sim.because(step, crate::text::port_config(port, interface));
        pipe.dropped = Some(step);
        return;
    }
    pipe.outputs += 1;
    if interface.kind == "patch" {
        return patch(pipe, sim, port, interface);
    }
    if let Some(exits) = &mut sim.exits {
        exits.push(Exit {
            bridge: pipe.name.to_owned(),
            port: port.to_owned(),
            packet: pipe.packet.clone(),
            tun_id: crate::tunnel::key(interface, pipe.meta.tun_id),
        });
        return;
    }
    if is_tunnel(interface) {
        return tunnel(pipe, sim, port, interface);
    }
    let step = sim.step(
        Some(pipe.last),
        pipe.spot(port),
        &pipe.packet,
        format!("out of {port}"),
    );
    let root = NsName::root();
    if interface.kind == "internal" || local {
        let ns = world.namespace_of(pipe.host, port);
        let at = Place::Device {
            host: pipe.host.to_owned(),
            ns: ns.unwrap_or(&root).clone(),
            dev: port.to_owned(),
        };
        if ns.is_some() || local {
            sim.arrive(at, pipe.packet.clone(), step);
        } else {
            let what = format!("no namespace has the device {port}");
            sim.stop(step, pipe.spot(port), &pipe.packet, what, Fate::Dropped);
        }
        return;
    }
    sim.transmit(pipe.host, &root, port, pipe.packet.clone(), step);
}

/// Through a patch: the frame enters the other bridge as a new one.
fn patch<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, port: &str, interface: &Interface) {
    let world = sim.world;
    let peer = interface.options.get("peer").map_or("", String::as_str);
    let other = world.switch_of(pipe.host, peer).and_then(|bridge| {
        let back = world.bridge(pipe.host, bridge)?.interface(peer)?;
        (back.options.get("peer").map(String::as_str) == Some(port)).then_some(bridge)
    });
    let what = format!("out of {port}");
    let step = sim.step(Some(pipe.last), pipe.spot(port), &pipe.packet, what);
    match other {
        Some(bridge) => {
            let at = Place::Switch {
                host: pipe.host.to_owned(),
                bridge: bridge.to_owned(),
                port: peer.to_owned(),
                tunnel: None,
            };
            sim.arrive(at, pipe.packet.clone(), step);
        }
        None => {
            let what = format!("{port} leads to {peer}, and {peer} does not lead back");
            sim.stop(step, pipe.spot(port), &pipe.packet, what, Fate::Dropped);
        }
    }
}

/// Into a tunnel: the host that has the far end takes the frame in by its tunnel port for us.
fn tunnel<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, port: &str, interface: &Interface) {
    let ends = option_ip(interface, "local_ip").zip(option_ip(interface, "remote_ip"));
    let what = match ends {
        Some((local, remote)) => format!(
            "into the tunnel {port}, {local} > {remote}, id {:#x}",
            pipe.meta.tun_id
        ),
        None => format!("into the tunnel {port}"),
    };
    let step = sim.step(Some(pipe.last), pipe.spot(port), &pipe.packet, what);
    sim.because(step, crate::text::interface(port, interface));
    let Some((local, remote)) = ends else {
        let what = format!("{port} does not say where it leads");
        sim.stop(step, pipe.spot(port), &pipe.packet, what, Fate::Unknown);
        return;
    };
    let key = crate::tunnel::key(interface, pipe.meta.tun_id);
    match crate::tunnel::far_end(
        sim.world,
        pipe.host,
        interface,
        (local, remote),
        (&pipe.packet, key),
    ) {
        Ok((host, bridge, far)) => {
            let number = |ip| match ip {
                std::net::IpAddr::V4(v4) => u32::from(v4),
                std::net::IpAddr::V6(_) => u32::from(Ipv4Addr::UNSPECIFIED),
            };
            let at = Place::Switch {
                host,
                bridge,
                port: far,
                tunnel: Some(Tunnelled {
                    id: key,
                    src: number(local),
                    dst: number(remote),
                }),
            };
            sim.arrive(at, pipe.packet.clone(), step);
        }
        Err(lost) => {
            let spot = pipe.spot(port);
            let end = sim.stop(step, spot, &pipe.packet, lost.what, Fate::Dropped);
            let rule = lost.rule;
            let own = || crate::text::interface(port, interface);
            sim.because(end, rule.unwrap_or_else(own));
        }
    }
}

/// A group's buckets: all of them, or the one that acts.
fn group<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, table: u8, id: u32) {
    let Some(group) = pipe.bridge.groups.get(&id) else {
        pipe.cannot_tell(
            sim,
            format!("group {id} is not in the state given: cannot tell"),
        );
        return;
    };
    let buckets = match group.kind.as_str() {
        "all" | "indirect" => group.buckets.as_slice(),
        // Which bucket a hash picks is not to be foreseen; with one there is nothing to pick.
        "select" | "ff" | "fast_failover" if group.buckets.len() <= 1 => group.buckets.as_slice(),
        kind => {
            let what = format!("group {id} picks one of several by {kind}: cannot tell which");
            pipe.cannot_tell(sim, what);
            return;
        }
    };
    for bucket in buckets {
        let mut copy = pipe.clone();
        copy.meta = Meta {
            ..pipe.meta.clone()
        };
        copy.actions(sim, table, &bucket.actions);
        pipe.outputs = copy.outputs;
        pipe.unknown |= copy.unknown;
    }
}

//! `NORMAL`: what a switch without flows would do. Ports have tags, the MAC table is by network,
//! an unknown destination is flooded.
use host::ovs::bridge::FdbKey;
use host::ovs::matches::PortRef;
use host::ovs::{Port, VlanMode};
use host::{Mac, NsName};

use super::{Pipe, actions, is_set};
use crate::sim::Sim;

/// How a port treats a network's frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Membership {
    /// It has them without a tag.
    Untagged,
    /// It has them with one.
    Tagged,
    None,
}

pub(super) fn forward<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>) {
    let Some(vlan) = vlan_in(pipe) else {
        let what = format!(
            "{} takes no frame with tag {}: {}",
            pipe.in_port,
            pipe.packet.vlan().unwrap_or(0),
            port_text(pipe, &pipe.in_port)
        );
        let port = pipe.in_port.clone();
        let step = sim.step(Some(pipe.last), pipe.spot(&port), &pipe.packet, what);
        sim.because(step, port_text(pipe, &port));
        pipe.dropped = Some(step);
        return;
    };
    let key = (pipe.host.to_owned(), pipe.name.to_owned());
    if !pipe.packet.eth_src.is_multicast() {
        let table = sim.mem.fdb.entry(key).or_default();
        table.insert((vlan, pipe.packet.eth_src), pipe.in_port.clone());
    }
    match known(pipe, sim, vlan, pipe.packet.eth_dst) {
        Some(port) if port == pipe.in_port => {
            let what = format!("{} is where it came from: dropped", pipe.packet.eth_dst);
            let step = sim.step(Some(pipe.last), pipe.spot(&port), &pipe.packet, what);
            pipe.dropped = Some(step);
        }
        Some(port) => {
            let what = format!("{} was seen on {port}", pipe.packet.eth_dst);
            pipe.last = sim.step(Some(pipe.last), pipe.spot(&port), &pipe.packet, what);
            out(pipe, sim, vlan, &port);
        }
        None => flood(pipe, sim, vlan),
    }
}

fn flood<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, vlan: u16) {
    let names: Vec<String> = pipe
        .bridge
        .ports
        .iter()
        .filter(|(_, port)| membership(port, vlan) != Membership::None)
        .flat_map(|(_, port)| port.interfaces.iter().take(1))
        .filter(|(_, interface)| !is_set(interface, "NO_FLOOD"))
        .map(|(name, _)| name.clone())
        .filter(|name| *name != pipe.in_port)
        .filter(|name| *name != pipe.name || sim.exits.is_some() || somebody_listens(pipe, sim))
        .collect();
    let before = pipe.outputs;
    let network = if vlan == 0 {
        "untagged frames".to_owned()
    } else {
        format!("tag {vlan}")
    };
    let what = match names.len() {
        0 => format!("no other port has {network}: dropped"),
        _ => format!("to every port with {network}: {}", names.join(", ")),
    };
    let port = pipe.in_port.clone();
    let flooded = sim.step(Some(pipe.last), pipe.spot(&port), &pipe.packet, what);
    for name in &names {
        pipe.last = flooded;
        out(pipe, sim, vlan, name);
    }
    pipe.last = flooded;
    if pipe.outputs == before {
        pipe.dropped = Some(flooded);
    }
}

/// Has the bridge's own device an address? A copy that goes there otherwise leads nowhere.
fn somebody_listens(pipe: &Pipe<'_>, sim: &Sim<'_>) -> bool {
    let root = sim.world.netns(pipe.host, &NsName::root());
    root.is_some_and(|root| root.addrs.keys().any(|address| address.dev == pipe.name))
}

/// Send by one port, with or without the tag.
fn out<'w>(pipe: &mut Pipe<'w>, sim: &mut Sim<'w>, vlan: u16, name: &str) {
    let Some(port) = port_of(pipe, name) else {
        return;
    };
    let before = pipe.packet.clone();
    match membership(port, vlan) {
        Membership::None => {
            let what = format!("{name} does not have tag {vlan}: dropped");
            let step = sim.step(Some(pipe.last), pipe.spot(name), &pipe.packet, what);
            sim.because(step, port_text(pipe, name));
            pipe.dropped = Some(step);
            return;
        }
        Membership::Untagged => {
            pipe.packet.tags.pop();
        }
        Membership::Tagged => {
            if pipe.packet.vlan().is_none() && vlan != 0 {
                pipe.packet.tags.push(vlan);
            }
        }
    }
    if pipe.packet != before {
        let what = format!("as {name} has tag {vlan}");
        let step = sim.step(Some(pipe.last), pipe.spot(name), &before, what);
        sim.because(step, port_text(pipe, name));
        sim.changed(step, &before, &pipe.packet);
        pipe.last = step;
    }
    actions::send(pipe, sim, name);
    pipe.packet = before;
}

/// The network of a frame that comes in: the port's tag, or its own.
fn vlan_in(pipe: &Pipe<'_>) -> Option<u16> {
    let own = pipe.packet.vlan().filter(|vid| *vid != 0);
    let Some(port) = port_of(pipe, &pipe.in_port) else {
        return Some(own.unwrap_or(0));
    };
    let tag = port.tag.unwrap_or(0);
    match mode(port) {
        VlanMode::Access => match own {
            Some(own) if tag != 0 || own != 0 => None,
            _ => Some(tag),
        },
        VlanMode::Dot1qTunnel => Some(tag),
        VlanMode::Trunk => {
            let vlan = own.unwrap_or(0);
            (port.trunks.is_empty() || port.trunks.contains(&vlan)).then_some(vlan)
        }
        VlanMode::NativeTagged | VlanMode::NativeUntagged => {
            let vlan = own.unwrap_or(tag);
            let carried = port.trunks.is_empty() || port.trunks.contains(&vlan) || vlan == tag;
            carried.then_some(vlan)
        }
    }
}

fn mode(port: &Port) -> VlanMode {
    let by_tag = if port.tag.is_some() {
        VlanMode::Access
    } else {
        VlanMode::Trunk
    };
    port.vlan_mode.unwrap_or(by_tag)
}

fn membership(port: &Port, vlan: u16) -> Membership {
    let tag = port.tag.unwrap_or(0);
    let carries = port.trunks.is_empty() || port.trunks.contains(&vlan);
    match mode(port) {
        VlanMode::Access | VlanMode::Dot1qTunnel if tag == vlan => Membership::Untagged,
        VlanMode::Access | VlanMode::Dot1qTunnel => Membership::None,
        VlanMode::NativeUntagged if tag == vlan => Membership::Untagged,
        _ if carries || tag == vlan && port.tag.is_some() => Membership::Tagged,
        _ => Membership::None,
    }
}

fn port_of<'w>(pipe: &Pipe<'w>, name: &str) -> Option<&'w Port> {
    let ports = &pipe.bridge.ports;
    let named = ports.get(name).filter(|p| p.interfaces.contains_key(name));
    named
        .or_else(|| ports.values().find(|p| p.interfaces.contains_key(name)))
        .map(|port| &**port)
}

fn port_text(pipe: &Pipe<'_>, name: &str) -> String {
    port_of(pipe, name).map_or_else(String::new, |port| crate::text::port(name, port))
}

/// Where a MAC was seen: in this walk, or before it.
fn known(pipe: &Pipe<'_>, sim: &Sim<'_>, vlan: u16, mac: Mac) -> Option<String> {
    if mac.is_multicast() {
        return None;
    }
    let key = (pipe.host.to_owned(), pipe.name.to_owned());
    if let Some(port) = sim.mem.fdb.get(&key).and_then(|t| t.get(&(vlan, mac))) {
        return Some(port.clone());
    }
    match &pipe.bridge.fdb.get(&FdbKey { vlan, mac })?.port {
        PortRef::Name(name) => Some(name.clone()),
        PortRef::Number(number) => pipe.bridge.port_name(*number).map(str::to_owned),
        // The bridge's own device; the router and the DHCP server have ports of their own.
        _ => None,
    }
}

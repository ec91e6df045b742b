//! Tunnels: which host has the far end, and whether the outer packet can get there.
use std::net::IpAddr;

use host::NsName;
use host::ovs::Interface;

use crate::packet::Packet;
use crate::sim::Fate;
use crate::world::{World, is_tunnel, option_ip};

/// Why a frame did not come out at the far end.
pub struct Lost {
    pub what: String,
    pub fate: Fate,
}

fn lost(what: String) -> Lost {
    Lost {
        what,
        fate: Fate::Dropped,
    }
}

/// The key that goes on the wire: the flow's, or the port's own.
pub fn key(interface: &Interface, tun_id: u64) -> u64 {
    let named = ["out_key", "key"]
        .iter()
        .find_map(|name| interface.options.get(*name));
    named.and_then(|key| key.parse().ok()).unwrap_or(tun_id)
}

/// What a tunnel adds in front of the inner frame, its Ethernet header included.
fn overhead(kind: &str) -> u32 {
    match kind {
        "gre" => 42,
        // An outer IP header, UDP, the tunnel's own eight bytes, the inner Ethernet header.
        _ => 50,
    }
}

/// The host, bridge and port where a frame comes out.
pub fn far_end(
    world: &World,
    host: &str,
    interface: &Interface,
    (local, remote): (IpAddr, IpAddr),
    packet: &Packet,
) -> Result<(String, String, String), Lost> {
    underlay(world, host, interface, local, packet)?;
    let Some(other) = world.host_with(remote) else {
        return Err(Lost {
            what: format!("no host of the state given has the tunnel address {remote}"),
            fate: Fate::Dropped,
        });
    };
    let state = &world.hosts[other];
    for (bridge, row) in &state.bridges {
        for (name, far) in row.interfaces() {
            let pair = far.kind == interface.kind
                && is_tunnel(far)
                && option_ip(far, "remote_ip") == Some(local)
                && option_ip(far, "local_ip").is_none_or(|ip| ip == remote)
                && far.options.get("dst_port") == interface.options.get("dst_port");
            if pair {
                return Ok((other.to_owned(), bridge.clone(), name.to_owned()));
            }
        }
    }
    Err(lost(format!(
        "{other} has no {} port whose remote_ip is {local}: it does not take the packet",
        interface.kind
    )))
}

/// Can the outer packet leave: is the local address ours, is its device up, does it fit?
fn underlay(
    world: &World,
    host: &str,
    interface: &Interface,
    local: IpAddr,
    packet: &Packet,
) -> Result<(), Lost> {
    let Some(root) = world.netns(host, &NsName::root()) else {
        return Ok(());
    };
    if root.addrs.is_empty() {
        return Ok(());
    }
    let Some(key) = root.addrs.keys().find(|a| a.net.addr() == local) else {
        return Err(lost(format!(
            "{host} does not have the address {local} that the tunnel sends from"
        )));
    };
    let Some(link) = root.links.get(&key.dev) else {
        return Ok(());
    };
    if !link.up {
        return Err(lost(format!("{} of {host} is down", key.dev)));
    }
    let more = overhead(&interface.kind) + 4 * packet.tags.len() as u32;
    let outer = packet.size().saturating_add(more);
    if link.mtu > 0 && outer > link.mtu {
        return Err(lost(format!(
            "with the tunnel's headers the packet has {outer} bytes and does not fit {}'s mtu {}",
            key.dev, link.mtu
        )));
    }
    Ok(())
}

//! Tunnels: which host has the far end, and whether the outer packet can get there.
use std::net::IpAddr;

use host::NsName;
use host::netns::Link;
use host::ovs::Interface;

use crate::packet::Packet;
use crate::routing::{self, NoWay, Query};
use crate::world::{World, is_tunnel, option_ip};

/// Why a frame did not come out at the far end.
pub struct Lost {
    pub what: String,
    /// What stopped it, as the host prints it, when that is not the tunnel's port.
    pub rule: Option<String>,
}

fn lost(what: String) -> Lost {
    Lost { what, rule: None }
}

fn by_device(what: String, dev: &str, link: &Link) -> Lost {
    Lost {
        what,
        rule: Some(crate::text::link(dev, link)),
    }
}

/// The key that goes on the wire: the flow's, or the port's own.
pub fn key(interface: &Interface, tun_id: u64) -> u64 {
    let named = ["out_key", "key"]
        .iter()
        .find_map(|name| interface.options.get(*name));
    named.and_then(|key| key.parse().ok()).unwrap_or(tun_id)
}

/// Does a tunnel's port take packets with this key: any, or its own?
fn takes(interface: &Interface, key: u64) -> bool {
    let named = ["in_key", "key"]
        .iter()
        .find_map(|name| interface.options.get(*name));
    let own = named.and_then(|own| own.parse().ok());
    own.is_none_or(|own: u64| own == key)
}

/// What a tunnel adds in front of the inner frame, its Ethernet header included.
pub fn overhead(kind: &str) -> u32 {
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
    (packet, key): (&Packet, u64),
) -> Result<(String, String, String), Lost> {
    leaves(world, host, interface, (local, remote), packet)?;
    let Some(other) = world.host_with(remote) else {
        return Err(lost(format!(
            "no host of the state given has the tunnel address {remote}"
        )));
    };
    comes_in(world, other, remote, outer_size(interface, packet))?;
    let state = &world.hosts[other];
    for (bridge, row) in &state.bridges {
        for (name, far) in row.interfaces() {
            let pair = far.kind == interface.kind
                && is_tunnel(far)
                && option_ip(far, "remote_ip") == Some(local)
                && option_ip(far, "local_ip").is_none_or(|ip| ip == remote)
                && far.options.get("dst_port") == interface.options.get("dst_port");
            if pair && !takes(far, key) {
                return Err(Lost {
                    what: format!("{name} of {other} takes no packets with the key {key:#x}"),
                    rule: Some(crate::text::interface(name, far)),
                });
            }
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

/// Can the outer packet leave: is the local address ours, is there a way, does it fit?
fn leaves(
    world: &World,
    host: &str,
    interface: &Interface,
    (local, remote): (IpAddr, IpAddr),
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
    let query = Query {
        dst: remote,
        src: Some(local),
        iif: Some("lo"),
        mark: 0,
    };
    let way = match routing::lookup(root, query) {
        _ if root.routes.is_empty() => None,
        Ok(hit) => {
            let way = hit.out(remote).map(|(dev, _)| dev.to_owned());
            // Who is on the subnet of the tunnel's address is not reached by another device.
            let astray = way.as_ref().filter(|dev| **dev != key.dev);
            if let Some(dev) = astray.filter(|_| key.net.contains(&remote)) {
                return Err(Lost {
                    what: format!("{host} sends to {remote} by {dev}, and not by {}", key.dev),
                    rule: Some(hit.text()),
                });
            }
            way
        }
        Err(no_way) => {
            let rule = match no_way {
                NoWay::Refused(rule) => Some(rule),
                NoWay::NoRoute | NoWay::Unknown(_) => None,
            };
            let what = format!("{host} has no route to {remote}");
            return Err(Lost { what, rule });
        }
    };
    let outer = outer_size(interface, packet);
    for (dev, link) in devices(world, host, way.as_deref().unwrap_or(&key.dev)) {
        if !link.up {
            return Err(by_device(format!("{dev} of {host} is down"), dev, link));
        }
        if !is_passed_by(world, host, dev) && link.mtu > 0 && outer > link.mtu {
            let what = format!(
                "with the tunnel's headers the packet has {outer} bytes and does not fit {dev}'s \
                 mtu {}",
                link.mtu
            );
            return Err(by_device(what, dev, link));
        }
    }
    Ok(())
}

fn outer_size(interface: &Interface, packet: &Packet) -> u32 {
    let more = overhead(&interface.kind) + 4 * packet.tags.len() as u32;
    packet.size().saturating_add(more)
}

/// A switch that runs in user space hands its tunnels' packets to the cards of the bridge itself:
/// the device of that bridge, and how wide it is, has no part in it.
fn is_passed_by(world: &World, host: &str, dev: &str) -> bool {
    let bridge = world.bridge(host, dev);
    bridge.is_some_and(|b| b.datapath_type == "netdev")
}

/// A device takes in what is longer than its mtu by no more than a tag.
const SLACK: u32 = 4;

/// Are the devices up and wide enough by which the far host takes outer packets in?
fn comes_in(world: &World, host: &str, address: IpAddr, outer: u32) -> Result<(), Lost> {
    let root = world.netns(host, &NsName::root());
    let mut addrs = root.into_iter().flat_map(|r| r.addrs.keys());
    let Some(key) = addrs.find(|a| a.net.addr() == address) else {
        return Ok(());
    };
    for (dev, link) in devices(world, host, &key.dev) {
        if !link.up {
            return Err(by_device(format!("{dev} of {host} is down"), dev, link));
        }
        let wide = link.mtu == 0 || outer <= link.mtu.saturating_add(SLACK);
        if !wide && !is_passed_by(world, host, dev) {
            let what = format!(
                "the tunnel's packet of {outer} bytes is too big for {dev}'s mtu {} on {host}",
                link.mtu
            );
            return Err(by_device(what, dev, link));
        }
    }
    Ok(())
}

/// A device that outer packets go by, and, where it is a bridge's own, the cards of that bridge.
pub fn devices<'w>(world: &'w World, host: &str, dev: &str) -> Vec<(&'w str, &'w Link)> {
    let Some(root) = world.netns(host, &NsName::root()) else {
        return Vec::new();
    };
    let cards = world
        .bridge(host, dev)
        .into_iter()
        .flat_map(host::ovs::Bridge::interfaces)
        .filter(|(name, i)| *name != dev && (i.kind.is_empty() || i.kind == "system"));
    std::iter::once(dev)
        .chain(cards.map(|(name, _)| name))
        .filter_map(|name| root.links.get_key_value(name))
        .map(|(name, link)| (name.as_str(), link))
        .collect()
}

//! Address translation. The nat table is asked once for a connection, at the hooks that give it a
//! new destination and a new source; every packet of it, either way, is then translated alike.
use std::net::{IpAddr, Ipv4Addr};

use host::iptables::{NatTo, Target};
use host::netns::Netns;

use super::{Hook, Passage, Ruling, Skb, spot, table, tracker};
use crate::memory::{Conn, Dir};
use crate::packet::Packet;
use crate::sim::{Fate, Sim, StepId};

/// Where a rule sends a connection.
struct To {
    address: IpAddr,
    port: Option<u16>,
}

pub(super) fn translate<'w>(
    sim: &mut Sim<'w>,
    skb: &mut Skb,
    netns: &'w Netns,
    at: &Passage<'_>,
    (hook, source): (Hook, bool),
    last: &mut StepId,
) -> Ruling {
    let Some((n, dir)) = skb.conn else {
        return Ruling::Accept;
    };
    let tracker = tracker(at);
    let asked = |c: &Conn| if source { c.src_done } else { c.dst_done };
    let ask = sim.mem.conn(&tracker, n).is_some_and(|c| !asked(c)) && dir == Dir::Original;
    if ask {
        let (rule, ruling) = table(sim, skb, netns, at, ("nat", hook), last);
        if ruling == Ruling::Ended {
            return ruling;
        }
        let to = rule.map(|rule| destination(&rule.target, skb, at, netns));
        if let Some(Err(what)) = to {
            sim.stop(*last, spot(at), &skb.packet, what, Fate::Unknown);
            return Ruling::Ended;
        }
        if let Some(conn) = sim.mem.conn_mut(&tracker, n) {
            decide(conn, source, to.and_then(Result::ok).flatten());
        }
    }
    let before = skb.packet.clone();
    if let Some(conn) = sim.mem.conn(&tracker, n) {
        apply(&mut skb.packet, conn, dir, source);
    }
    if before != skb.packet {
        if !ask {
            let what = "as the connection was translated before";
            *last = sim.step(Some(*last), spot(at), &before, what);
        }
        sim.changed(*last, &before, &skb.packet);
    }
    Ruling::Accept
}

/// Keep in the connection what the table said.
fn decide(conn: &mut Conn, source: bool, to: Option<To>) {
    if source {
        conn.src_done = true;
    } else {
        conn.dst_done = true;
    }
    let Some(to) = to else {
        return;
    };
    if source {
        conn.reply.dst = to.address;
        conn.reply.dport = to.port.unwrap_or(conn.reply.dport);
    } else {
        conn.reply.src = to.address;
        conn.reply.sport = to.port.unwrap_or(conn.reply.sport);
    }
}

/// Rewrite a packet as its connection says.
fn apply(packet: &mut Packet, conn: &Conn, dir: Dir, source: bool) {
    // What this direction's packets must look like once they are through: the other direction's
    // tuple, turned round.
    let goal = match dir {
        Dir::Original => conn.reply.turned(),
        Dir::Reply => conn.original.turned(),
    };
    let Some(ip) = packet.ip_mut() else {
        return;
    };
    let ports = ip.load.ports_mut();
    if source {
        if let Some((sport, _)) = ports {
            *sport = goal.sport;
        }
        ip.src = goal.src;
    } else {
        if let Some((_, dport)) = ports {
            *dport = goal.dport;
        }
        ip.dst = goal.dst;
    }
}

/// The address and port that a translating rule gives.
fn destination(
    target: &Target,
    skb: &Skb,
    at: &Passage<'_>,
    netns: &Netns,
) -> Result<Option<To>, String> {
    let v4 = skb.packet.ip().is_none_or(|ip| ip.src.is_ipv4());
    let own = |dev: Option<&str>| {
        let mut addrs = netns.addrs.iter();
        addrs
            .find(|(a, _)| Some(a.dev.as_str()) == dev && a.net.addr().is_ipv4() == v4)
            .map(|(a, _)| a.net.addr())
    };
    match target {
        Target::Snat(to) | Target::Dnat(to) => named(to).map(Some),
        Target::Redirect { to_ports, .. } => {
            let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
            let address = match at.in_dev {
                None => local,
                Some(dev) => own(Some(dev))
                    .ok_or_else(|| format!("{dev} has no address to redirect to: cannot tell"))?,
            };
            Ok(Some(To {
                address,
                port: to_ports.map(|p| p.first),
            }))
        }
        Target::Masquerade { to_ports, .. } => {
            let dev = at.out_dev.unwrap_or("");
            let address = own(at.out_dev)
                .ok_or_else(|| format!("{dev} has no address to masquerade as: cannot tell"))?;
            Ok(Some(To {
                address,
                port: to_ports.map(|p| p.first),
            }))
        }
        _ => Ok(None),
    }
}

/// `10.0.0.1`, `10.0.0.1-10.0.0.9`, `10.0.0.1:80`: the first of what is named.
fn named(to: &NatTo) -> Result<To, String> {
    let first = to.to.split('-').next().unwrap_or("");
    let bad = || format!("unknown address {} to translate to: cannot tell", to.to);
    if let Ok(address) = first.trim_matches(['[', ']']).parse() {
        return Ok(To {
            address,
            port: None,
        });
    }
    let socket: std::net::SocketAddr = first.parse().map_err(|_| bad())?;
    Ok(To {
        address: socket.ip(),
        port: Some(socket.port()),
    })
}

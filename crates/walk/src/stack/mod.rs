//! A namespace's own stack: what it takes in, routes, answers and sends.
mod answer;

use std::net::{IpAddr, Ipv4Addr};

use host::NsName;
use host::netns::{LinkKind, Netns};

use crate::autoconf;
use crate::memory::Owner;
use crate::netfilter::{self, Hook, Passage, Ruling, Skb};
use crate::packet::{Net, Packet};
use crate::routing::{self, Hit, NoWay, Query};
use crate::service;
use crate::sim::{Fate, Party, Request, Sim, Spot, StepId};

pub use answer::{arp_reply, nd_advert};
use answer::{forwarding_text, forwards, is_discovery, receive_arp, receive_nd, reverse_path};

/// A device of a namespace: host, namespace, device.
pub type Seat<'a> = (&'a str, &'a NsName, &'a str);

fn spot<'a>((host, ns, dev): Seat<'a>) -> Spot<'a> {
    Spot {
        host,
        place: ns.as_str(),
        device: dev,
    }
}

/// The stack takes in a frame that came by a device.
pub fn receive(sim: &mut Sim<'_>, seat: Seat<'_>, packet: Packet, parent: StepId) {
    let (host, ns, dev) = seat;
    let world = sim.world;
    let known = world.netns(host, ns);
    let Some((netns, link)) = known.and_then(|n| Some((n, n.links.get(dev)?))) else {
        let what = format!("the device {dev} is not in the state given");
        let end = sim.stop(parent, spot(seat), &packet, what, Fate::Unknown);
        let _ = end;
        return;
    };
    if let Some(vid) = packet.vlan() {
        return receive_tagged(sim, seat, netns, vid, packet, parent);
    }
    let ours = link.mac.is_none_or(|mac| mac == packet.eth_dst);
    if !ours && !packet.eth_dst.is_multicast() {
        let what = format!("{dev} is not {}: not for this one", packet.eth_dst);
        sim.stop(parent, spot(seat), &packet, what, Fate::Ignored);
        return;
    }
    let step = sim.step(Some(parent), spot(seat), &packet, format!("in by {dev}"));
    match packet.net.clone() {
        Net::Arp(arp) => receive_arp(sim, seat, netns, &packet, &arp, step),
        Net::Ip(ip) if is_discovery(&ip) => receive_nd(sim, seat, netns, &packet, &ip, step),
        Net::Ip(_) => receive_ip(sim, seat, netns, packet, step),
    }
}

/// A tagged frame is for the VLAN device on top of this one.
fn receive_tagged(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    netns: &Netns,
    vid: u16,
    mut packet: Packet,
    parent: StepId,
) {
    let (host, ns, dev) = seat;
    let on_top = netns
        .links
        .iter()
        .find(|(_, link)| link.kind == LinkKind::Vlan(vid) && link.peer.as_deref() == Some(dev));
    match on_top {
        Some((name, _)) => {
            packet.tags.pop();
            receive(sim, (host, ns, name), packet, parent);
        }
        None => {
            let what = format!("nothing on {dev} takes frames with tag {vid}");
            sim.stop(parent, spot(seat), &packet, what, Fate::Ignored);
        }
    }
}

fn passage<'a>((host, ns, _): Seat<'a>, in_dev: Option<&'a str>) -> Passage<'a> {
    Passage {
        host,
        ns,
        place: ns.as_str(),
        in_dev,
        out_dev: None,
        phys_in: None,
        phys_out: None,
    }
}

fn receive_ip(sim: &mut Sim<'_>, seat: Seat<'_>, netns: &Netns, packet: Packet, step: StepId) {
    let (_, _, dev) = seat;
    if netns.addrs.is_empty() || !netns.addrs.keys().any(|a| a.dev == dev) {
        let what = format!("{dev} has no address: nothing here takes it");
        sim.stop(step, spot(seat), &packet, what, Fate::Ignored);
        return;
    }
    let mut skb = Skb::new(packet);
    let mut last = step;
    let at = passage(seat, Some(dev));
    if netfilter::pass(sim, &mut skb, &at, Hook::Prerouting, &mut last) == Ruling::Ended {
        return;
    }
    let Some((src, dst)) = skb.packet.ip().map(|ip| (ip.src, ip.dst)) else {
        return;
    };
    if dst == IpAddr::V4(Ipv4Addr::BROADCAST) || dst.is_multicast() {
        return deliver(sim, seat, netns, skb, last);
    }
    let query = Query {
        dst,
        src: Some(src),
        iif: Some(dev),
        mark: skb.mark,
    };
    let hit = match routing::lookup(netns, query) {
        Ok(hit) => hit,
        Err(no) => return no_way(sim, seat, &skb.packet, dst, no, last),
    };
    if let Err((what, rule)) = reverse_path(netns, dev, (src, dst)) {
        let end = sim.stop(last, spot(seat), &skb.packet, what, Fate::Dropped);
        if let Some(rule) = rule {
            sim.because(end, rule);
        }
        return;
    }
    if hit.is_local() {
        return deliver(sim, seat, netns, skb, last);
    }
    forward(sim, seat, netns, skb, (hit, last));
}

fn no_way(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    packet: &Packet,
    dst: IpAddr,
    no: NoWay,
    last: StepId,
) {
    let (what, rule, fate) = match no {
        NoWay::NoRoute => (format!("no route to {dst}"), None, Fate::Dropped),
        NoWay::Refused(rule) => (
            format!("{dst} is refused by a route"),
            Some(rule),
            Fate::Dropped,
        ),
        NoWay::Unknown(what) => (what, None, Fate::Unknown),
    };
    let end = sim.stop(last, spot(seat), packet, what, fate);
    if let Some(rule) = rule {
        sim.because(end, rule);
    }
}

/// The way that a route gives, as a step.
fn routed(
    sim: &mut Sim<'_>,
    (host, ns): (&str, &NsName),
    packet: &Packet,
    hit: &Hit<'_>,
    last: StepId,
) -> StepId {
    let (dev, hop) = packet
        .ip()
        .and_then(|ip| hit.out(ip.dst))
        .map_or(("", String::new()), |(dev, hop)| (dev, hop.to_string()));
    let by_rule = hit
        .rule
        .filter(|r| r.from.is_some() || r.iif.is_some() || r.fwmark.is_some());
    let what = match by_rule {
        Some(rule) => format!(
            "routed to {hop} by {dev}, table {} by rule {}",
            hit.table, rule.priority
        ),
        None => format!("routed to {hop} by {dev}"),
    };
    let step = sim.step(Some(last), spot((host, ns, dev)), packet, what);
    sim.intent(step, &hit.route.why);
    sim.because(step, hit.text())
}

fn forward(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    netns: &Netns,
    mut skb: Skb,
    (hit, last): (Hit<'_>, StepId),
) {
    let (host, ns, dev) = seat;
    let v6 = skb.packet.ip().is_some_and(|ip| ip.src.is_ipv6());
    match forwards(netns, dev, v6) {
        Some(true) => {}
        Some(false) => {
            let what = format!("{ns} does not forward");
            let end = sim.stop(last, spot(seat), &skb.packet, what, Fate::Dropped);
            if let Some(rule) = forwarding_text(netns, dev, v6) {
                sim.because(end, rule);
            }
            return;
        }
        None if ns.is_root() => {
            let what = "not for this host, and it does not say that it forwards";
            sim.stop(last, spot(seat), &skb.packet, what, Fate::Ignored);
            return;
        }
        None => {
            let what = format!("whether {ns} forwards is not in the state given: cannot tell");
            sim.stop(last, spot(seat), &skb.packet, what, Fate::Unknown);
            return;
        }
    }
    let mut last = routed(sim, (host, ns), &skb.packet, &hit, last);
    let Some(dst) = skb.packet.ip().map(|ip| ip.dst) else {
        return;
    };
    let Some((out, hop)) = hit.out(dst) else {
        return;
    };
    if let Some(ip) = skb.packet.ip_mut() {
        if ip.ttl <= 1 {
            sim.stop(
                last,
                spot(seat),
                &skb.packet,
                "its ttl is used up",
                Fate::Dropped,
            );
            return;
        }
        ip.ttl -= 1;
    }
    if too_big(sim, (host, ns, out), netns, &skb.packet, last) {
        return;
    }
    let at = Passage {
        out_dev: Some(out),
        ..passage(seat, Some(dev))
    };
    if netfilter::pass(sim, &mut skb, &at, Hook::Forward, &mut last) == Ruling::Ended {
        return;
    }
    let at = Passage { in_dev: None, ..at };
    if netfilter::pass(sim, &mut skb, &at, Hook::Postrouting, &mut last) == Ruling::Ended {
        return;
    }
    send(sim, (host, ns, out), hop, skb.packet, last);
}

/// A router does not forward what does not fit the next device: it tells the sender, and drops it.
fn too_big(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    netns: &Netns,
    packet: &Packet,
    last: StepId,
) -> bool {
    let Some((link, ip)) = netns.links.get(seat.2).zip(packet.ip()) else {
        return false;
    };
    if link.mtu == 0 || ip.size <= link.mtu || !ip.dont_fragment {
        return false;
    }
    let what = format!(
        "a packet of {} bytes that must not be split does not fit {}'s mtu {}: answered with \
         \"fragmentation needed\"",
        ip.size, seat.2, link.mtu
    );
    let end = sim.stop(last, spot(seat), packet, what, Fate::Dropped);
    sim.because(end, crate::text::link(seat.2, link));
    true
}

/// The namespace itself is addressed.
fn deliver(sim: &mut Sim<'_>, seat: Seat<'_>, netns: &Netns, mut skb: Skb, mut last: StepId) {
    let (host, ns, dev) = seat;
    let at = passage(seat, Some(dev));
    if netfilter::pass(sim, &mut skb, &at, Hook::Input, &mut last) == Ruling::Ended {
        return;
    }
    let packet = skb.packet;
    let Some(ip) = packet.ip() else {
        return;
    };
    let party = Party::Netns {
        host: host.to_owned(),
        ns: ns.clone(),
    };
    match service::takes(sim.world, seat, netns, ip) {
        service::Takes::Yes {
            what,
            rule,
            wants_answer,
        } => {
            let step = sim.step(Some(last), spot(seat), &packet, what);
            if let Some(rule) = rule {
                sim.because(step, rule);
            }
            sim.end(step, &packet, Fate::Taken(party.clone()));
            if wants_answer {
                sim.requests.push(Request {
                    party,
                    packet,
                    dev: dev.to_owned(),
                    step,
                });
            }
        }
        service::Takes::No {
            what,
            fate,
            answered,
        } => {
            let step = sim.stop(last, spot(seat), &packet, what, fate);
            if answered {
                sim.requests.push(Request {
                    party,
                    packet,
                    dev: dev.to_owned(),
                    step,
                });
            }
        }
    }
}

/// The namespace sends a packet of its own. What is for a link alone leaves by the device that is
/// given; else the routes say by which.
pub fn originate(sim: &mut Sim<'_>, seat: Seat<'_>, packet: Packet, parent: StepId) {
    let (host, ns, dev) = seat;
    let Some(netns) = sim.world.netns(host, ns) else {
        return;
    };
    let on_link = packet.ip().map(|ip| ip.dst).filter(|dst| is_on_link(*dst));
    if let Some(dst) = on_link.filter(|_| !dev.is_empty()) {
        return originate_on_link(sim, seat, dst, packet, parent);
    }
    let seat = (host, ns, "");
    let mut skb = Skb::new(packet);
    let mut last = parent;
    let way = |skb: &Skb| {
        let ip = skb.packet.ip();
        let dst = ip.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |ip| ip.dst);
        let query = Query {
            dst,
            src: ip.map(|ip| ip.src),
            iif: Some("lo"),
            mark: skb.mark,
        };
        (dst, routing::lookup(netns, query))
    };
    if let (dst, Err(no)) = way(&skb) {
        return no_way(sim, seat, &skb.packet, dst, no, last);
    }
    let at = passage(seat, None);
    if netfilter::pass(sim, &mut skb, &at, Hook::Output, &mut last) == Ruling::Ended {
        return;
    }
    let (dst, hit) = way(&skb);
    let hit = match hit {
        Ok(hit) => hit,
        Err(no) => return no_way(sim, seat, &skb.packet, dst, no, last),
    };
    if hit.is_local() {
        return deliver(sim, (host, ns, "lo"), netns, skb, last);
    }
    let Some((out, hop)) = hit.out(dst) else {
        return;
    };
    last = routed(sim, (host, ns), &skb.packet, &hit, last);
    let at = Passage {
        out_dev: Some(out),
        ..at
    };
    if netfilter::pass(sim, &mut skb, &at, Hook::Postrouting, &mut last) == Ruling::Ended {
        return;
    }
    send(sim, (host, ns, out), hop, skb.packet, last);
}

/// Is an address the same on every link, so that no route says where it is?
fn is_on_link(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local() || ip.is_multicast())
}

fn originate_on_link(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    dst: IpAddr,
    packet: Packet,
    mut last: StepId,
) {
    let mut skb = Skb::new(packet);
    let at = passage(seat, None);
    if netfilter::pass(sim, &mut skb, &at, Hook::Output, &mut last) == Ruling::Ended {
        return;
    }
    let at = Passage {
        out_dev: Some(seat.2),
        ..at
    };
    if netfilter::pass(sim, &mut skb, &at, Hook::Postrouting, &mut last) == Ruling::Ended {
        return;
    }
    send(sim, seat, dst, skb.packet, last);
}

/// Find the next hop's MAC and send.
pub fn send(sim: &mut Sim<'_>, seat: Seat<'_>, hop: IpAddr, mut packet: Packet, last: StepId) {
    let (host, ns, dev) = seat;
    let Some(netns) = sim.world.netns(host, ns) else {
        return;
    };
    let Some(own) = netns.links.get(dev).and_then(|l| l.mac) else {
        let what = format!("the device {dev} is not in the state given");
        sim.stop(last, spot(seat), &packet, what, Fate::Unknown);
        return;
    };
    let Some(mac) = neighbour(sim, seat, netns, (&packet, hop), last) else {
        let what = format!("nobody answers for {hop} on {dev}");
        sim.stop(last, spot(seat), &packet, what, Fate::Dropped);
        return;
    };
    let before = packet.clone();
    (packet.eth_src, packet.eth_dst) = (own, mac);
    let step = sim.step(Some(last), spot(seat), &before, format!("out of {dev}"));
    sim.changed(step, &before, &packet);
    sim.transmit(host, ns, dev, packet, step);
}

fn neighbour(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    netns: &Netns,
    (packet, hop): (&Packet, IpAddr),
    last: StepId,
) -> Option<host::Mac> {
    let (host, ns, dev) = seat;
    if let IpAddr::V6(group) = hop
        && group.is_multicast()
    {
        return Some(autoconf::multicast(group));
    }
    let key = host::netns::NeighbourKey {
        dev: dev.to_owned(),
        ip: hop,
    };
    let kept = netns.neighbours.get(&key);
    let kept = kept.filter(|n| n.state != "FAILED" && n.state != "INCOMPLETE");
    if let Some(mac) = kept.and_then(|n| n.mac) {
        return Some(mac);
    }
    let own = netns.links.get(dev)?.mac?;
    let owner = Owner::Device {
        host: host.to_owned(),
        ns: ns.clone(),
        dev: dev.to_owned(),
    };
    let source = source_for(netns, dev, hop)?;
    let question = match (source, hop) {
        (IpAddr::V4(from), IpAddr::V4(to)) => Packet::arp_request(own, from, to),
        (IpAddr::V6(_), IpAddr::V6(to)) => {
            // What it sends itself it asks for from the same address, for others from its link's.
            let src = packet.ip().map(|ip| ip.src);
            let mut addrs = netns.addrs.keys().filter(|a| a.dev == dev);
            let from = addrs.find_map(|a| match a.net.addr() {
                IpAddr::V6(ip) if Some(IpAddr::V6(ip)) == src => Some(ip),
                _ => None,
            });
            Packet::nd_solicit(own, from.unwrap_or(own.link_local()), to)
        }
        _ => return None,
    };
    let what = format!("who has {hop}?");
    sim.ask(owner, hop, last, |sim| {
        let step = sim.step(None, spot(seat), &question, what);
        sim.transmit(host, ns, dev, question, step);
    })
}

/// The address that a device asks from: one in the neighbour's subnet, else its first.
fn source_for(netns: &Netns, dev: &str, hop: IpAddr) -> Option<IpAddr> {
    let own = || {
        let mut addrs = netns.addrs.keys();
        std::iter::from_fn(move || addrs.next())
            .filter(|a| a.dev == dev && a.net.addr().is_ipv4() == hop.is_ipv4())
    };
    let near = own().find(|a| a.net.contains(&hop));
    near.or_else(|| own().next()).map(|a| a.net.addr())
}

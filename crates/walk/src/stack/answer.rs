//! Who answers for an address: ARP and neighbour discovery in a namespace, and the kernel's
//! settings that say so (`arp_ignore`, `proxy_arp`, `rp_filter`, forwarding).
use std::net::IpAddr;

use host::NsName;
use host::netns::Netns;

use super::{Seat, spot};
use crate::memory::Owner;
use crate::packet::{Arp, Ip, Load, ND_ADVERT, ND_SOLICIT, Net, Packet};
use crate::routing::{self, Query};
use crate::sim::{Fate, Party, Sim, StepId};

const FORWARDING_6: &str = "net.ipv6.conf.all.forwarding";

/// A setting of a device, counting the one for all devices where the kernel does.
fn setting(netns: &Netns, dev: &str, name: &str) -> Option<u32> {
    let read = |dev: &str| -> Option<u32> {
        let key = format!("net.ipv4.conf.{dev}.{name}");
        netns.sysctls.get(&key)?.value.trim().parse().ok()
    };
    match (read(dev), read("all")) {
        (Some(own), Some(all)) => Some(own.max(all)),
        (own, all) => own.or(all),
    }
}

fn sysctl_text(netns: &Netns, key: &str) -> Option<String> {
    let value = &netns.sysctls.get(key)?.value;
    Some(format!("{key} = {value}"))
}

pub(super) fn receive_arp(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    netns: &Netns,
    packet: &Packet,
    arp: &Arp,
    step: StepId,
) {
    let (host, ns, dev) = seat;
    let owner = Owner::Device {
        host: host.to_owned(),
        ns: ns.clone(),
        dev: dev.to_owned(),
    };
    if arp.op != 1 {
        sim.mem.learn_neighbour(owner, arp.spa.into(), arp.sha);
        sim.end(step, packet, taken(host, ns));
        return;
    }
    match answers_arp(netns, dev, arp) {
        Ok(what) => {
            sim.mem.learn_neighbour(owner, arp.spa.into(), arp.sha);
            let Some(mac) = netns.links.get(dev).and_then(|l| l.mac) else {
                return;
            };
            let reply = arp_reply(arp, mac);
            let step = sim.step(Some(step), spot(seat), &reply, what.0);
            if let Some(rule) = what.1 {
                sim.because(step, rule);
            }
            sim.transmit(host, ns, dev, reply, step);
        }
        Err((what, rule)) => {
            let fate = if rule.is_some() {
                Fate::Dropped
            } else {
                Fate::Ignored
            };
            let end = sim.stop(step, spot(seat), packet, what, fate);
            if let Some(rule) = rule {
                sim.because(end, rule);
            }
        }
    }
}

/// Answer to an ARP request.
pub fn arp_reply(arp: &Arp, mac: host::Mac) -> Packet {
    Packet {
        eth_src: mac,
        eth_dst: arp.sha,
        tags: Vec::new(),
        net: Net::Arp(Arp {
            op: 2,
            sha: mac,
            spa: arp.tpa,
            tha: arp.sha,
            tpa: arp.spa,
        }),
    }
}

pub(super) type Said = (String, Option<String>);

/// Does the kernel answer for an address: because it has it, or in place of whom it can reach?
fn answers_arp(netns: &Netns, dev: &str, arp: &Arp) -> Result<Said, Said> {
    let no = |what: String| Err((what, None));
    let query = Query {
        dst: arp.tpa.into(),
        src: Some(arp.spa.into()),
        iif: Some(dev),
        mark: 0,
    };
    let hit = routing::lookup(netns, query);
    let local = hit.as_ref().is_ok_and(|h| h.is_local());
    let forged = reverse_path(netns, dev, (arp.spa.into(), arp.tpa.into()));
    if let (true, Err(said)) = (local, &forged) {
        return Err((said.0.clone(), said.1.clone()));
    }
    if local {
        let here = |only: &dyn Fn(&str) -> bool| {
            netns
                .addrs
                .keys()
                .any(|a| a.net.addr() == IpAddr::V4(arp.tpa) && only(&a.dev))
        };
        return match setting(netns, dev, "arp_ignore").unwrap_or(0) {
            0 | 3..=7 => Ok((format!("has {}: answers", arp.tpa), None)),
            1 | 2 if here(&|d| d == dev) => Ok((format!("has {}: answers", arp.tpa), None)),
            level => Err((
                format!("has {} and keeps it to itself", arp.tpa),
                ["all", dev]
                    .map(|dev| sysctl_text(netns, &format!("net.ipv4.conf.{dev}.arp_ignore")))
                    .into_iter()
                    .flatten()
                    .find(|said| said.ends_with(&format!("= {level}"))),
            )),
        };
    }
    let Ok(hit) = hit else {
        return no(format!("does not have {}", arp.tpa));
    };
    let Some((out, _)) = hit.out(arp.tpa.into()) else {
        return no(format!("does not have {}", arp.tpa));
    };
    if out == dev {
        return no(format!("does not have {}", arp.tpa));
    }
    let proxies = setting(netns, dev, "proxy_arp").unwrap_or(0) != 0;
    if proxies && forwards(netns, dev, false).unwrap_or(false) && forged.is_ok() {
        let what = format!("answers for {}, which it reaches by {out}", arp.tpa);
        return Ok((what, Some(hit.text())));
    }
    let what = format!("reaches {} by {out}, but does not answer for it", arp.tpa);
    if !proxies && hit.key.dst.prefix_len() >= 32 {
        return Err((
            what,
            sysctl_text(netns, &format!("net.ipv4.conf.{dev}.proxy_arp")),
        ));
    }
    no(what)
}

/// May a packet from this source come in by a device? The kernel takes none from an address of
/// its own, and with `rp_filter` none whose answer would leave by another way.
pub(super) fn reverse_path(
    netns: &Netns,
    dev: &str,
    (src, dst): (IpAddr, IpAddr),
) -> Result<(), Said> {
    if src.is_ipv6() || src.is_unspecified() {
        return Ok(());
    }
    let level = setting(netns, dev, "rp_filter").unwrap_or(0);
    let query = Query {
        dst: src,
        src: Some(dst),
        iif: Some("lo"),
        mark: 0,
    };
    let hit = routing::lookup(netns, query);
    if let Ok(own) = hit.as_ref()
        && own.is_local()
        && setting(netns, dev, "accept_local").unwrap_or(0) == 0
    {
        let what = format!("{src} is an address of this namespace itself: dropped");
        return Err((what, Some(own.text())));
    }
    if level == 0 {
        return Ok(());
    }
    let back = hit.as_ref().ok().and_then(|h| h.out(src));
    let fine = match level {
        1 => back.is_some_and(|(out, _)| out == dev),
        _ => back.is_some(),
    };
    if fine {
        return Ok(());
    }
    let own = format!("net.ipv4.conf.{dev}.rp_filter");
    let all = "net.ipv4.conf.all.rp_filter";
    let set = |key: &str| {
        netns
            .sysctls
            .get(key)
            .is_some_and(|s| s.value.trim() != "0")
    };
    let key = if set(&own) || !set(all) {
        own.as_str()
    } else {
        all
    };
    let what = match back {
        Some((out, _)) => format!("an answer to {src} would leave by {out}, not by {dev}: dropped"),
        None => format!("there is no way back to {src}: dropped"),
    };
    Err((what, sysctl_text(netns, key)))
}

/// Does the kernel forward what comes in by a device? Nothing when the state does not say. Of IPv6
/// one setting decides for all devices.
pub(super) fn forwards(netns: &Netns, dev: &str, v6: bool) -> Option<bool> {
    let read = |key: String| netns.sysctls.get(&key).map(|s| s.value.trim() != "0");
    if v6 {
        return read(FORWARDING_6.to_owned());
    }
    read(format!("net.ipv4.conf.{dev}.forwarding")).or_else(|| read("net.ipv4.ip_forward".into()))
}

pub(super) fn forwarding_text(netns: &Netns, dev: &str, v6: bool) -> Option<String> {
    if v6 {
        return sysctl_text(netns, FORWARDING_6);
    }
    let own = format!("net.ipv4.conf.{dev}.forwarding");
    let off = |key: &&str| {
        netns
            .sysctls
            .get(*key)
            .is_some_and(|s| s.value.trim() == "0")
    };
    let key = ["net.ipv4.ip_forward", own.as_str()]
        .into_iter()
        .find(off)?;
    sysctl_text(netns, key)
}

fn taken(host: &str, ns: &NsName) -> Fate {
    Fate::Taken(Party::Netns {
        host: host.to_owned(),
        ns: ns.clone(),
    })
}

pub(super) fn is_discovery(ip: &Ip) -> bool {
    matches!(ip.load.icmp(), Some((ND_SOLICIT | ND_ADVERT, _))) && ip.src.is_ipv6()
}

pub(super) fn receive_nd(
    sim: &mut Sim<'_>,
    seat: Seat<'_>,
    netns: &Netns,
    packet: &Packet,
    ip: &Ip,
    step: StepId,
) {
    let (host, ns, dev) = seat;
    let owner = Owner::Device {
        host: host.to_owned(),
        ns: ns.clone(),
        dev: dev.to_owned(),
    };
    let Load::Icmp6 {
        kind,
        target: Some(target),
        lladdr,
        ..
    } = ip.load
    else {
        return;
    };
    if kind == ND_ADVERT {
        if let Some(mac) = lladdr {
            sim.mem.learn_neighbour(owner, target.into(), mac);
        }
        return sim.end(step, packet, taken(host, ns));
    }
    let has = netns
        .addrs
        .keys()
        .any(|a| a.dev == dev && a.net.addr() == IpAddr::V6(target));
    let Some(mac) = netns.links.get(dev).and_then(|l| l.mac).filter(|_| has) else {
        let what = format!("does not have {target}");
        sim.stop(step, spot(seat), packet, what, Fate::Ignored);
        return;
    };
    if let Some(from) = lladdr {
        sim.mem.learn_neighbour(owner, ip.src, from);
    }
    let reply = nd_advert(packet, ip, target, mac);
    let step = sim.step(
        Some(step),
        spot(seat),
        &reply,
        format!("has {target}: answers"),
    );
    sim.transmit(host, ns, dev, reply, step);
}

/// Answer to a neighbour solicitation.
pub fn nd_advert(packet: &Packet, ip: &Ip, target: std::net::Ipv6Addr, mac: host::Mac) -> Packet {
    Packet {
        eth_src: mac,
        eth_dst: packet.eth_src,
        tags: Vec::new(),
        net: Net::Ip(Ip {
            src: target.into(),
            dst: ip.src,
            ttl: 255,
            dont_fragment: false,
            size: 72,
            load: Load::Icmp6 {
                kind: ND_ADVERT,
                code: 0,
                id: 0,
                target: Some(target),
                lladdr: Some(mac),
            },
        }),
    }
}

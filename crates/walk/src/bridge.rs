//! Linux bridges, as hybrid plugging has them: the guest's tap on one side, the veth to Open
//! vSwitch on the other, and between them iptables, which see the frame when
//! `bridge-nf-call-iptables` is on.
use host::NsName;
use host::netns::Netns;

use crate::netfilter::{self, Hook, Passage, Ruling, Skb};
use crate::packet::Packet;
use crate::sim::{Fate, Sim, Spot, StepId};

/// A port of a Linux bridge took a frame in: to every other port.
pub fn forward(
    sim: &mut Sim<'_>,
    (host, ns, bridge): (&str, &NsName, &str),
    from: &str,
    packet: Packet,
    parent: StepId,
) {
    let world = sim.world;
    let Some(netns) = world.netns(host, ns) else {
        return;
    };
    let spot = Spot {
        host,
        place: bridge,
        device: from,
    };
    let step = sim.step(
        Some(parent),
        spot,
        &packet,
        format!("into the bridge {bridge}"),
    );
    if let Some(link) = netns.links.get(bridge)
        && !link.up
    {
        let end = sim.stop(
            step,
            spot,
            &packet,
            format!("{bridge} is down"),
            Fate::Dropped,
        );
        sim.because(end, crate::text::link(bridge, link));
        return;
    }
    let mut skb = Skb::new(packet);
    let mut last = step;
    let filtered = is_filtered(netns, &skb.packet);
    let mut passage = Passage {
        host,
        ns,
        place: bridge,
        in_dev: Some(bridge),
        out_dev: None,
        phys_in: Some(from),
        phys_out: None,
    };
    if filtered {
        let ruling = netfilter::pass(sim, &mut skb, &passage, Hook::Prerouting, &mut last);
        if ruling != Ruling::Accept {
            return;
        }
    }
    let ports: Vec<&str> = members(netns, bridge).filter(|d| *d != from).collect();
    if ports.is_empty() {
        let what = format!("{bridge} has no other port: dropped");
        sim.stop(last, spot, &skb.packet, what, Fate::Dropped);
    }
    passage.out_dev = Some(bridge);
    for port in ports {
        let mut copy = skb.clone();
        let mut at = last;
        passage.phys_out = Some(port);
        let fine = !filtered
            || [Hook::Forward, Hook::Postrouting].into_iter().all(|hook| {
                netfilter::pass(sim, &mut copy, &passage, hook, &mut at) == Ruling::Accept
            });
        if fine {
            out(sim, (host, ns, bridge), port, copy.packet, at);
        }
    }
}

fn out(
    sim: &mut Sim<'_>,
    (host, ns, bridge): (&str, &NsName, &str),
    port: &str,
    packet: Packet,
    last: StepId,
) {
    let spot = Spot {
        host,
        place: bridge,
        device: port,
    };
    let step = sim.step(Some(last), spot, &packet, format!("out of {port}"));
    let link = sim.world.link(host, ns, port);
    let state = link
        .and_then(|l| l.bridge_port.0.as_ref())
        .map(|p| p.state.as_str());
    if let Some(state) = state.filter(|s| !s.is_empty() && *s != "forwarding") {
        let what = format!("{port} is {state} in {bridge}: dropped");
        sim.stop(step, spot, &packet, what, Fate::Dropped);
        return;
    }
    sim.transmit(host, ns, port, packet, step);
}

/// The ports of a Linux bridge.
pub fn members<'a>(netns: &'a Netns, bridge: &'a str) -> impl Iterator<Item = &'a str> {
    let of =
        move |(_, link): &(&String, &host::netns::Link)| link.master.as_deref() == Some(bridge);
    netns.links.iter().filter(of).map(|(dev, _)| dev.as_str())
}

/// Does netfilter see bridged frames of this kind here?
fn is_filtered(netns: &Netns, packet: &Packet) -> bool {
    let Some(ip) = packet.ip() else {
        return false;
    };
    let key = if ip.src.is_ipv4() {
        "net.bridge.bridge-nf-call-iptables"
    } else {
        "net.bridge.bridge-nf-call-ip6tables"
    };
    // Unset means that the module is loaded and has its default, on: there are rules for it.
    netns.sysctls.get(key).is_none_or(|s| s.value.trim() != "0")
}

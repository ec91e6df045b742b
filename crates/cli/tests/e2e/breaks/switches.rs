//! Walk's switches beside the real ones: what `ovs-appctl ofproto/trace` makes of a frame.

use super::scene::{Scene, UNLEARN};
use lab::frame::to_hex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use walk::bytes::{Mark, frame};
use walk::openflow::alone;
use walk::packet::Packet;
use walk::sim::{Entry, Exit};
use walk::world::{World, is_tunnel};

/// What was compared so far, and what differed.
#[derive(Default)]
pub(crate) struct Compared {
    frames: usize,
    /// Frames of which one of the two cannot tell.
    untold: usize,
    pub(crate) wrong: Vec<String>,
}

impl fmt::Display for Compared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} frames through switches compared with ofproto/trace, {} could not be",
            self.frames, self.untold
        )
    }
}

/// Where a frame leaves a switch, and what of it a switch can have rewritten: the port, or the
/// tunnel's far end and key; the tag; both MACs.
type Out = (String, Option<u16>, String, String);

impl Compared {
    /// Follows each frame through its switch in both ways.
    pub(crate) fn compare(&mut self, scene: &Scene, world: &World, entered: &[Entry]) {
        let mut by_host: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in entered {
            let same = by_host.entry(&entry.host).or_default();
            if !same.contains(&entry) {
                same.push(entry);
            }
        }
        for (host, entries) in by_host {
            let lines: Vec<String> = entries.iter().map(|entry| command(world, entry)).collect();
            let said = scene.sh(host, &lines.join("\n"));
            let mut answers = said.split("=next=\n");
            answers.next();
            for (entry, answer) in entries.into_iter().zip(answers) {
                self.one(world, entry, answer);
            }
        }
    }

    fn one(&mut self, world: &World, entry: &Entry, said: &str) {
        let foretold = alone(world, entry);
        let real = outputs(said, &entry.packet);
        let (Some(foretold), Some(real)) = (foretold, real) else {
            println!("cannot be compared: {entry:?}\n{said}");
            self.untold += 1;
            return;
        };
        self.frames += 1;
        let foretold: BTreeSet<Out> = foretold
            .iter()
            .map(|exit| out(world, entry, exit))
            // Where nobody has the tunnel's far end, the switch asks for its MAC first.
            .filter(|(port, ..)| {
                let far = port.split(' ').next().unwrap_or(port);
                !said.contains(&format!("neighbor cache miss for {far} "))
            })
            .collect();
        if foretold != real {
            let wrong =
                format!("{entry:?}\n  walk: {foretold:?}\n  ofproto/trace: {real:?}\n{said}");
            println!("WRONG: {wrong}");
            self.wrong.push(wrong);
        }
    }
}

fn command(world: &World, entry: &Entry) -> String {
    const MARK: Mark = Mark(0x6e75_636c_656f_6e21);
    let bridge = world.bridge(&entry.host, &entry.bridge);
    let port = bridge.and_then(|bridge| bridge.ofport(&entry.port));
    let port = port.map_or("none".to_owned(), |port| port.to_string());
    let tunnel = entry.tunnel.map_or(String::new(), |tunnel| {
        let address = std::net::Ipv4Addr::from;
        format!(
            ",tun_id={:#x},tun_src={},tun_dst={}",
            tunnel.id,
            address(tunnel.src),
            address(tunnel.dst)
        )
    });
    // A trace of bytes teaches the switch as the packet itself would: where the asker of an ARP
    // question is, which is where the answer must go. So each begins with a switch that knows nothing.
    let bytes = frame(&entry.packet, MARK).map_or(String::new(), |bytes| to_hex(&bytes));
    format!(
        "{UNLEARN}\necho =next=; ovs-appctl ofproto/trace --names {} in_port={port}{tunnel} {bytes} 2>&1 || :",
        entry.bridge
    )
}

fn out(world: &World, entry: &Entry, exit: &Exit) -> Out {
    let bridge = world.bridge(&entry.host, &exit.bridge);
    let interface = bridge.and_then(|bridge| bridge.interface(&exit.port));
    let port = match interface.filter(|interface| is_tunnel(interface)) {
        Some(interface) => {
            let remote = interface.options.get("remote_ip").cloned();
            format!("{} by {:#x}", remote.unwrap_or_default(), exit.tun_id)
        }
        None => exit.port.clone(),
    };
    let packet = &exit.packet;
    (
        port,
        packet.vlan(),
        packet.eth_src.to_string(),
        packet.eth_dst.to_string(),
    )
}

/// What a trace says leaves the datapath; nothing when it does not say all.
fn outputs(said: &str, packet: &Packet) -> Option<BTreeSet<Out>> {
    let (_, actions) = said.rsplit_once("Datapath actions: ")?;
    let actions = actions.lines().next()?;
    let mut outs = BTreeSet::new();
    let mut now = Now {
        tags: packet.tags.clone(),
        src: packet.eth_src.to_string(),
        dst: packet.eth_dst.to_string(),
    };
    now.all(actions, &mut outs)?;
    Some(outs)
}

/// The frame at one moment of the datapath's actions.
#[derive(Clone)]
struct Now {
    tags: Vec<u16>,
    src: String,
    dst: String,
}

impl Now {
    fn all(&mut self, actions: &str, outs: &mut BTreeSet<Out>) -> Option<()> {
        for action in parts(actions) {
            self.act(action, outs)?;
            // What follows is the outer packet's.
            if action.starts_with("tnl_push(") {
                break;
            }
        }
        Some(())
    }

    fn act(&mut self, action: &str, outs: &mut BTreeSet<Out>) -> Option<()> {
        let (name, inside) = match action.split_once('(') {
            Some((name, rest)) => (name, rest.strip_suffix(')')?),
            None => (action, ""),
        };
        match name {
            "drop" => {}
            "pop_vlan" => drop(self.tags.pop()),
            "push_vlan" => self.tags.push(value(inside, "vid=")?.parse().ok()?),
            "set" => {
                if let Some(ethernet) = inside.strip_prefix("eth(") {
                    let new = |word| {
                        value(ethernet, word).map(|mac| mac.trim_end_matches(')').to_owned())
                    };
                    self.src = new("src=").unwrap_or_else(|| self.src.clone());
                    self.dst = new("dst=").unwrap_or_else(|| self.dst.clone());
                }
            }
            "clone" => self.clone().all(inside, outs)?,
            "tnl_push" => {
                let ipv4 = inside.split_once("ipv4(")?.1;
                let remote = value(ipv4, "dst=")?;
                let key = value(inside, "vni=").or_else(|| value(inside, "key="))?;
                let key = key.trim_end_matches(')');
                let number = key.strip_prefix("0x").map_or_else(
                    || key.parse().ok(),
                    |digits| u64::from_str_radix(digits, 16).ok(),
                )?;
                self.leave(format!("{remote} by {number:#x}"), outs);
            }
            port if inside.is_empty() => self.leave(port.to_owned(), outs),
            _ => return None,
        }
        Some(())
    }

    fn leave(&self, port: String, outs: &mut BTreeSet<Out>) {
        let vlan = self.tags.last().map(|tag| tag & 0xfff);
        outs.insert((port, vlan, self.src.clone(), self.dst.clone()));
    }
}

/// What stands after a word, up to the next comma.
fn value<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    text.split_once(word)?.1.split(',').next()
}

/// A list's parts, where commas within brackets part nothing.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut depth, mut from) = (0_usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[test]
fn a_trace_is_read_with_its_rewrites() {
    let packet = Packet::arp_request(
        "02:00:00:00:00:01".parse().unwrap(),
        "10.0.0.1".parse().unwrap(),
        "10.0.0.2".parse().unwrap(),
    );
    let said = "Final flow: x\nDatapath actions: push_vlan(vid=3,pcp=0),a,pop_vlan,\
        set(eth(dst=02:00:00:00:00:09)),clone(tnl_push(tnl_port(vxlan_sys),header(size=50,type=4,\
        eth(dst=1),ipv4(src=10.30.0.11,dst=10.30.0.12,proto=17),udp(src=0),vxlan(flags=0x8,vni=0x32a)),\
        out_port(br-phy)),eth1),b\n";
    let out = |port: &str, vlan, dst: &str| {
        (
            port.to_owned(),
            vlan,
            "02:00:00:00:00:01".to_owned(),
            dst.to_owned(),
        )
    };
    let wanted = [
        out("a", Some(3), "ff:ff:ff:ff:ff:ff"),
        out("10.30.0.12 by 0x32a", None, "02:00:00:00:00:09"),
        out("b", None, "02:00:00:00:00:09"),
    ];
    assert_eq!(outputs(said, &packet), Some(BTreeSet::from(wanted)));
    assert_eq!(outputs("Datapath actions: recirc(0x1)", &packet), None);
}

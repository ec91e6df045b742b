//! Where everything stands in a picture.
use std::collections::BTreeMap;

use host::{HostState, names};

use super::cut;
use crate::world::{World, is_tunnel};

/// The name of a thing in the picture: its host, and what it is there.
pub(super) type Key = (String, String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Guest,
    Namespace,
    LinuxBridge,
    Switch,
    Band,
    Outside,
}

/// A box.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) shape: Shape,
    pub(super) label: String,
    pub(super) detail: Option<String>,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

/// A host's frame.
pub(super) struct Frame {
    pub(super) label: String,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) w: f64,
    pub(super) h: f64,
}

pub(super) struct Layout {
    pub(super) width: f64,
    pub(super) height: f64,
    pub(super) hosts: Vec<Frame>,
    pub(super) nodes: BTreeMap<Key, Node>,
    pub(super) links: Vec<(Key, Key)>,
}

const BOX: f64 = 96.0;
const GAP: f64 = 12.0;
const PAD: f64 = 16.0;
/// Rows of a host, from its top.
const TOP: f64 = 34.0;
const MIDDLE: f64 = 106.0;
const INTEGRATION: f64 = 164.0;
const LOWER: f64 = 240.0;
const FRAME: f64 = 296.0;
/// The networks under the hosts.
const BANDS: f64 = 336.0;

/// The key of the tunnels' network, and the start of physical networks' keys.
pub(super) const TUNNELS: &str = "tunnels";

impl Layout {
    /// Lay a world out, leaving room above it.
    pub(super) fn of(world: &World, above: f64) -> Layout {
        let mut layout = Layout {
            width: PAD,
            height: 0.0,
            hosts: Vec::new(),
            nodes: BTreeMap::new(),
            links: Vec::new(),
        };
        for (name, state) in &world.hosts {
            layout.host(world, (name, state), above);
        }
        layout.width += PAD;
        layout.bands(world, above);
        layout
    }

    fn put(&mut self, key: Key, shape: Shape, label: (&str, Option<String>), at: [f64; 4]) {
        let [x, y, w, h] = at;
        let room = match shape {
            Shape::LinuxBridge => 16,
            _ => (w / 7.0) as usize,
        };
        let node = Node {
            shape,
            label: cut(label.0, room),
            detail: label.1.map(|d| cut(&d, (w / 5.8) as usize)),
            x,
            y,
            w,
            h,
        };
        self.nodes.insert(key, node);
    }

    fn host(&mut self, world: &World, (name, state): (&str, &HostState), above: f64) {
        let x0 = self.width + PAD;
        let key = |place: &str| (name.to_owned(), place.to_owned());
        let integration = key("br-int");
        let mut x = x0 + PAD;
        let root = state.root();
        for port in world
            .cloud
            .ports
            .values()
            .filter(|p| p.is_guest() && p.host == name)
        {
            let guest = key(&world.cloud.call(port));
            let address = port.ip(false).or(port.ip(true)).map(|ip| ip.to_string());
            self.put(
                guest.clone(),
                Shape::Guest,
                (&guest.1, address),
                [x, above + TOP, BOX, 40.0],
            );
            let qbr = names::qbr(&port.id);
            if root.is_some_and(|r| r.links.contains_key(&qbr)) {
                let bridge = key(&qbr);
                let at = [x, above + MIDDLE, BOX, 24.0];
                self.put(bridge.clone(), Shape::LinuxBridge, (&qbr, None), at);
                self.links.push((guest, bridge.clone()));
                self.links.push((bridge, integration.clone()));
            } else {
                self.links.push((guest, integration.clone()));
            }
            x += BOX + GAP;
        }
        let named = state.netns.keys();
        let named = named.filter_map(|ns| Some((ns, called(world, ns.as_str())?)));
        let mut shown: Vec<_> = named.collect();
        // A distributed router and the floating IPs' namespace, which a veth joins, side by side.
        shown.sort_by_key(|(_, (label, _))| order(label));
        for (ns, (label, detail)) in shown {
            let namespace = key(ns.as_str());
            let at = [x, above + TOP, BOX, 40.0];
            self.put(
                namespace.clone(),
                Shape::Namespace,
                (&label, Some(detail)),
                at,
            );
            self.links.push((namespace, integration.clone()));
            x += BOX + GAP;
        }
        let width = (x - GAP - x0 + PAD).max(2.0 * (BOX + GAP) + 2.0 * PAD);
        self.switches(state, (name, x0 + PAD, width - 2.0 * PAD), above);
        self.pairs(state, name);
        self.hosts.push(Frame {
            label: name.to_owned(),
            x: x0,
            y: above,
            w: width,
            h: FRAME,
        });
        self.width = x0 + width;
    }

    /// Open vSwitch's bridges: br-int across, the others in a row under it.
    fn switches(&mut self, state: &HostState, (host, x, width): (&str, f64, f64), above: f64) {
        let key = |place: &str| (host.to_owned(), place.to_owned());
        if state.bridges.contains_key("br-int") {
            let at = [x, above + INTEGRATION, width, 30.0];
            self.put(key("br-int"), Shape::Switch, ("br-int", None), at);
        }
        let joined = |bridge: &host::ovs::Bridge| {
            bridge
                .interfaces()
                .any(|(_, i)| i.kind == "patch" || is_tunnel(i))
        };
        let lower: Vec<&String> = state
            .bridges
            .iter()
            .filter(|(name, bridge)| *name != "br-int" && joined(bridge))
            .map(|(name, _)| name)
            .collect();
        let count = lower.len().max(1) as f64;
        let each = ((width - (count - 1.0) * GAP) / count).min(150.0);
        let step = (width + GAP) / count;
        for (n, name) in lower.into_iter().enumerate() {
            let at = [
                x + n as f64 * step + (step - GAP - each) / 2.0,
                above + LOWER,
                each,
                30.0,
            ];
            self.put(key(name), Shape::Switch, (name, None), at);
            self.links.push((key("br-int"), key(name)));
        }
    }

    /// Namespaces of a distributed router are joined to the floating IPs' by a veth.
    fn pairs(&mut self, state: &HostState, host: &str) {
        for (ns, netns) in &state.netns {
            for dev in netns.links.keys().filter(|d| d.starts_with("rfp-")) {
                let other = dev.replacen("rfp-", "fpr-", 1);
                let far = state
                    .netns
                    .iter()
                    .find(|(_, n)| n.links.contains_key(&other));
                if let Some((far, _)) = far {
                    let key = |ns: &str| (host.to_owned(), ns.to_owned());
                    self.links.push((key(ns.as_str()), key(far.as_str())));
                }
            }
        }
    }

    /// The networks that join hosts: tunnels, physical networks, and the world outside.
    fn bands(&mut self, world: &World, above: f64) {
        let key = |place: &str| (String::new(), place.to_owned());
        let mut y = above + BANDS;
        let across = self.width - 2.0 * PAD;
        let tunnels: Vec<Key> = bridges_with_tunnels(world);
        if !tunnels.is_empty() {
            let at = [2.0 * PAD, y, across - PAD, 22.0];
            self.put(
                key(TUNNELS),
                Shape::Band,
                ("tunnels between hosts", None),
                at,
            );
            self.links
                .extend(tunnels.into_iter().map(|bridge| (bridge, key(TUNNELS))));
            y += 42.0;
        }
        for (segment, cards) in &world.segments {
            let label = format!("physical network {segment}");
            let at = [2.0 * PAD, y, across - PAD, 22.0];
            self.put(key(segment), Shape::Band, (&label, None), at);
            for card in cards {
                let bridge = (card.host.clone(), card.bridge.clone());
                self.links.push((bridge, key(segment)));
            }
            let at = [
                2.0 * PAD + (across - PAD) / 2.0 - 70.0,
                y + 42.0,
                140.0,
                30.0,
            ];
            let outside = ("outside".to_owned(), segment.clone());
            self.put(outside.clone(), Shape::Outside, ("outside", None), at);
            self.links.push((key(segment), outside));
            y += 92.0;
        }
        self.height = y + 10.0;
    }

    /// The ends of the line between two boxes: under each other where they can be.
    pub(super) fn link(&self, a: &Key, b: &Key) -> Option<((f64, f64), (f64, f64))> {
        let (a, b) = (self.nodes.get(a)?, self.nodes.get(b)?);
        if (a.y - b.y).abs() < 1.0 {
            let (left, right, turned) = if a.x < b.x {
                (a, b, false)
            } else {
                (b, a, true)
            };
            let y = left.y + left.h * 0.35;
            let ends = ((left.x + left.w, y), (right.x, y));
            return Some(if turned { (ends.1, ends.0) } else { ends });
        }
        // The narrower box says where the line goes down.
        let x = if a.w <= b.w {
            a.x + a.w / 2.0
        } else {
            b.x + b.w / 2.0
        };
        let down = a.y < b.y;
        let y = |node: &Node, bottom: bool| if bottom { node.y + node.h } else { node.y };
        Some(((x, y(a, down)), (x, y(b, !down))))
    }
}

fn bridges_with_tunnels(world: &World) -> Vec<Key> {
    let mut found = Vec::new();
    for (host, state) in &world.hosts {
        for (name, bridge) in &state.bridges {
            if bridge.interfaces().any(|(_, i)| is_tunnel(i)) {
                found.push((host.clone(), name.clone()));
            }
        }
    }
    found
}

/// Where a namespace stands in its row.
fn order(label: &str) -> usize {
    let kinds = ["dhcp", "snat", "router", "fip"];
    kinds
        .iter()
        .position(|kind| label.starts_with(kind))
        .unwrap_or(kinds.len())
}

/// What to call a namespace of Neutron's: what it is for, and whose.
fn called(world: &World, ns: &str) -> Option<(String, String)> {
    let kinds = [
        ("qrouter-", "router"),
        ("qdhcp-", "dhcp"),
        ("snat-", "snat"),
        ("fip-", "fip"),
    ];
    let (prefix, kind) = kinds.iter().find(|(prefix, _)| ns.starts_with(prefix))?;
    let id = ns.strip_prefix(prefix)?;
    let router = world.cloud.routers.get(id).map(|r| r.name.as_str());
    let network = world.cloud.networks.get(id).map(|n| n.name.as_str());
    let name = router.or(network).unwrap_or("");
    Some((format!("{kind} {name}"), cut(ns, 18)))
}

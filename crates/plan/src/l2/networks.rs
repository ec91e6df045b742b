//! Networks that have a port here: what carries them to other hosts, their local VLAN, and the
//! tags of their ports in br-int.
//!
//! A port's tag stands in its row twice: as `tag`, which the switch obeys, and in `other_config`
//! with the network it belongs to, which survives a restart and is how the number is kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use host::{
    Mac, Why, names,
    netns::{Link, LinkKind},
    ovs::{Interface, Match},
};
use intent::{
    Binding, Network, NetworkId, NetworkType, Port, RouterId, Segment, VifType, VnicType, owner,
};

use super::{
    DEAD_VLAN, int,
    part::{Part, PortOf},
    spoof, texts,
};
use crate::Draft;

/// How a network's frames travel between this host and others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Carrier {
    /// In tunnels of this type, under this id.
    Tunnel { kind: NetworkType, id: u32 },
    /// Through the bridge of a physical network, with this VLAN there or without any.
    Provider {
        bridge: String,
        physical_network: String,
        vlan: Option<u16>,
    },
    /// Not at all.
    Local,
}

/// A network that has a port here.
#[derive(Debug, Clone)]
pub struct LocalNet<'a> {
    pub network: &'a Arc<Network>,
    pub segment: &'a Arc<Segment>,
    pub carrier: Carrier,
    /// The network's VLAN on this host.
    pub vlan: u16,
    pub ports: Vec<Plugged<'a>>,
}

/// A port of a network in br-int.
#[derive(Debug, Clone)]
pub struct Plugged<'a> {
    pub port: &'a Arc<Port>,
    /// Its device in br-int.
    pub device: String,
    /// A guest's behind a Linux bridge (`qvo`, `qvb`, `qbr`, `tap`), where iptables filters it.
    pub hybrid: bool,
}

impl LocalNet<'_> {
    pub fn why(&self) -> Why {
        Why::of("network", self.network.id)
    }
}

impl Plugged<'_> {
    pub fn why(&self) -> Why {
        Why::of("port", self.port.id)
    }

    /// A guest's port, not one of the network's own services.
    pub fn is_guest(&self) -> bool {
        !self.port.is_network_owned()
    }

    /// Has port security, and stands where no filter can: behind no Linux bridge.
    pub fn is_unguarded(&self) -> bool {
        self.is_guest() && self.port.port_security_enabled && !self.hybrid
    }

    /// Nothing may pass: the port is switched off, or could not be kept safe.
    pub(super) fn is_dead(&self) -> bool {
        !self.port.admin_state_up || self.is_unguarded()
    }
}

/// The ports that stand in br-int on this host.
pub fn plugged<'a>(draft: &Draft<'a>) -> Vec<Plugged<'a>> {
    let ports = draft.view.ports.values();
    ports.filter_map(|port| plug(draft, port)).collect()
}

fn plug<'a>(draft: &Draft<'a>, port: &'a Arc<Port>) -> Option<Plugged<'a>> {
    let id = port.id.to_string();
    let device = match port.device_owner.as_str() {
        // A distributed router's interface stands on every host that has a part of the router.
        owner::ROUTER_INTERFACE_DVR => {
            let router: RouterId = port.device_id.parse().ok()?;
            let role = draft.view.router_roles.get(&router)?;
            return role.distributed.then(|| service(port, names::qr(&id)));
        }
        owner::DHCP => names::tap(&id),
        owner::ROUTER_INTERFACE => names::qr(&id),
        owner::ROUTER_GATEWAY => names::qg(&id),
        owner::ROUTER_SNAT => names::sg(&id),
        owner::FIP_AGENT_GATEWAY => names::fg(&id),
        owner::FLOATING_IP => return None,
        _ => {
            let binding = bound_here(draft, port)?;
            let hybrid = binding.vif_details.get("ovs_hybrid_plug");
            let hybrid = hybrid.and_then(|flag| flag.as_bool()).unwrap_or(false);
            let device = if hybrid {
                names::qvo(&id)
            } else {
                names::tap(&id)
            };
            return Some(Plugged {
                port,
                device,
                hybrid,
            });
        }
    };
    bound_here(draft, port)?;
    Some(service(port, device))
}

fn service(port: &Arc<Port>, device: String) -> Plugged<'_> {
    Plugged {
        port,
        device,
        hybrid: false,
    }
}

/// The port's binding to this host, active or not, when Open vSwitch serves it.
fn bound_here<'a>(draft: &Draft<'_>, port: &'a Port) -> Option<&'a Binding> {
    let host = &draft.settings.host;
    let mut bindings = port.bindings.iter().filter(|b| b.host == *host);
    bindings.find(|b| b.vif_type == VifType::Ovs && b.vnic_type == VnicType::Normal)
}

/// Give every network here its VLAN, and every port its tag.
pub(super) fn emit<'a>(draft: &mut Draft<'a>) -> Vec<LocalNet<'a>> {
    let mut by_network: BTreeMap<NetworkId, Vec<Plugged<'a>>> = BTreeMap::new();
    for plugged in plugged(draft) {
        let ports = by_network.entry(plugged.port.network_id).or_default();
        ports.push(plugged);
    }
    let mut memo = std::mem::take(&mut draft.memo.l2);
    let mut nets = Vec::new();
    for (id, ports) in by_network {
        let net = local_net(draft, id, ports.clone());
        for plugged in &ports {
            let from = PortOf {
                port: plugged.port.clone(),
                hybrid: plugged.hybrid,
                network: draft.view.networks.get(&id).cloned(),
                place: net.as_ref().map(|net| (net.segment.clone(), net.vlan)),
            };
            let part = memo.port(from, |from| part(plugged, from));
            add(draft, plugged, &part);
        }
        nets.extend(net);
    }
    draft.memo.l2 = memo;
    nets
}

/// Puts a port's part into the plan.
fn add(draft: &mut Draft<'_>, plugged: &Plugged<'_>, part: &Part) {
    let bridge = draft.settings.integration_bridge.clone();
    match &part.row {
        Some(row) => draft.ovs_port(&bridge, &plugged.device, row.clone()),
        None => {
            let ports = &mut draft.want.bridge_mut(&bridge).ports;
            if let Some(row) = ports.get_mut(&plugged.device) {
                row.tag = part.tag;
                row.other_config.clone_from(&part.other_config);
            }
        }
    }
    draft.put_flows(&bridge, &part.flows);
    let root = host::NsName::root();
    for (name, link) in &part.links {
        draft.link(&root, name, link.clone());
    }
}

/// A port's tag, the flows that guard what it may send, and, of a guest, its row and its devices.
fn part(plugged: &Plugged<'_>, from: &PortOf) -> Part {
    let mut part = Part::default();
    if let Some((segment, vlan)) = &from.place {
        part.other_config = tag_config(from.port.network_id, segment, *vlan);
        part.tag = Some(*vlan).filter(|_| !plugged.is_dead());
        spoof::guard(&mut part.flows, plugged);
    }
    // A port without a tag would hear every network: it is closed until it has one.
    if part.tag.is_none() {
        close(&mut part, plugged);
    }
    if plugged.is_guest() {
        let mtu = from.network.as_ref().map_or(1500, |network| network.mtu);
        guest_port(&mut part, plugged, mtu);
    }
    part
}

fn local_net<'a>(
    draft: &mut Draft<'a>,
    id: NetworkId,
    ports: Vec<Plugged<'a>>,
) -> Option<LocalNet<'a>> {
    let about = format!("network {id}");
    let Some(network) = draft.view.networks.get(&id) else {
        draft.note(about, "has a port here, but is not known");
        return None;
    };
    let Some((segment, carrier)) = carrier(draft, id) else {
        draft.note(about, "none of its segments can be carried on this host");
        return None;
    };
    let vlan = draft.numbers.vlans.take(&id.to_string());
    let Some(vlan) = vlan.and_then(|vlan| u16::try_from(vlan).ok()) else {
        draft.note(about, "no local VLAN is left");
        return None;
    };
    Some(LocalNet {
        network,
        segment,
        carrier,
        vlan,
        ports,
    })
}

/// The first of a network's segments that this host can carry.
fn carrier<'a>(draft: &Draft<'a>, network: NetworkId) -> Option<(&'a Arc<Segment>, Carrier)> {
    let segments = draft.view.segments.values();
    let mut segments: Vec<&Arc<Segment>> = segments.filter(|s| s.network_id == network).collect();
    segments.sort_by_key(|segment| (segment.index, segment.id));
    segments
        .into_iter()
        .find_map(|segment| Some((segment, carrier_of(draft, segment)?)))
}

fn carrier_of(draft: &Draft<'_>, segment: &Segment) -> Option<Carrier> {
    let settings = draft.settings;
    match segment.network_type {
        NetworkType::Local => Some(Carrier::Local),
        kind if kind.is_tunnel() => {
            let carried = settings.local_ip.is_some() && settings.tunnel_types.contains(&kind);
            let id = segment.segmentation_id.filter(|_| carried)?;
            Some(Carrier::Tunnel { kind, id })
        }
        kind => {
            let physical_network = segment.physical_network.clone()?;
            let bridge = settings.bridge_mappings.get(&physical_network)?.clone();
            let vlan = match kind {
                NetworkType::Flat => None,
                _ => Some(u16::try_from(segment.segmentation_id?).ok()?),
            };
            Some(Carrier::Provider {
                bridge,
                physical_network,
                vlan,
            })
        }
    }
}

/// The VLAN of dead ports, and a flow that drops what comes from this one.
fn close(part: &mut Part, plugged: &Plugged<'_>) {
    part.tag = Some(DEAD_VLAN);
    let from_it = Match::any().in_port(&plugged.device);
    let at = (int::LOCAL, 2);
    part.flows.put(at, from_it, Vec::new(), plugged.why());
}

fn tag_config(network: NetworkId, segment: &Segment, vlan: u16) -> BTreeMap<String, String> {
    let physical_network = segment.physical_network.as_deref();
    let mut config = texts(&[
        ("net_uuid", &network.to_string()),
        ("network_type", segment.network_type.as_str()),
        ("physical_network", physical_network.unwrap_or("None")),
        ("tag", &vlan.to_string()),
    ]);
    if let Some(id) = segment.segmentation_id {
        config.insert("segmentation_id".to_owned(), id.to_string());
    }
    config
}

/// A guest's port as who plugs it makes it. In hybrid plugging its devices on the host's side are
/// in the plan too, so that a packet can be followed through it; nobody but the one who plugs
/// makes or removes them.
fn guest_port(part: &mut Part, plugged: &Plugged<'_>, mtu: u32) {
    let port = plugged.port;
    let interface = Interface {
        external_ids: texts(&[
            ("attached-mac", &port.mac_address.to_string()),
            ("iface-id", &port.id.to_string()),
            ("iface-status", "active"),
            ("vm-uuid", port.device_id.as_str()),
        ]),
        ..Interface::default()
    };
    let row = host::ovs::Port {
        tag: part.tag,
        other_config: part.other_config.clone(),
        interfaces: [(plugged.device.clone(), interface)].into(),
        why: plugged.why(),
        ..host::ovs::Port::default()
    };
    part.row = Some(row.into());
    let id = port.id.to_string();
    let (qbr, qvb, qvo, tap) = (
        names::qbr(&id),
        names::qvb(&id),
        names::qvo(&id),
        names::tap(&id),
    );
    let link = |kind: LinkKind| Link {
        kind,
        mtu,
        up: true,
        why: plugged.why(),
        ..Link::default()
    };
    let master = plugged.hybrid.then(|| qbr.clone());
    let guest_side = Link {
        mac: None::<Mac>,
        master: master.clone(),
        ..link(LinkKind::Tun)
    };
    part.links.push((tap, guest_side));
    if !plugged.hybrid {
        return;
    }
    part.links.push((qbr, link(LinkKind::Bridge)));
    for (name, peer, master) in [(&qvb, &qvo, master), (&qvo, &qvb, None)] {
        let end = Link {
            peer: Some(peer.clone()),
            master,
            ..link(LinkKind::Veth)
        };
        part.links.push((name.clone(), end));
    }
}

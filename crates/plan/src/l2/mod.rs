//! Layer 2: which local VLAN a network has here, br-int, br-tun, the bridges of physical networks.
//!
//! Every network that has a port here gets a local VLAN, which means nothing outside this host.
//! A packet's road from a guest to another host:
//!
//! ```text
//! qvo ─ br-int: 0 ─▶ 24/25 (spoofing) ─▶ 30 ─▶ 58 ─▶ 59 ─▶ 60 NORMAL ─ patch-tun
//!     ─ br-tun: 0 ─▶ 2 ─▶ 20 (known MAC) / 21 (ARP answered here) / 22 (flood) ─ tunnel
//!     ─ br-tun: 0 ─▶ 3/4/6 (tunnel id → local VLAN) ─▶ 10 (learn) ─ patch-int ─ br-int ─ qvo
//! ```
//!
//! - `networks`: local VLANs, and the tags of ports;
//! - `integration`: br-int's skeleton;
//! - `spoof`: what a port's frames may claim to come from;
//! - `provider`: the bridges of flat and VLAN networks;
//! - `distributed`: what keeps distributed routers' MACs at home;
//! - `tunnel`: br-tun; `population`: what other hosts' ports are known by, there; `answer`: ARP
//!   and neighbour discovery answered for them.

mod answer;
mod distributed;
mod integration;
pub mod networks;
mod part;
mod population;
mod provider;
mod spoof;
mod tunnel;

use host::{
    Why,
    ovs::{Action, Bridge, Flow, FlowKey, Interface, Match, Port},
    why::want,
};

use crate::{AgentMode, Draft, Settings};
pub use networks::{Carrier, LocalNet, Plugged};
pub(crate) use part::Memo;

/// Marks every flow of ours. One fixed cookie: a flow with it that is not in the plan is removed.
pub const COOKIE: u64 = 0x6e75_636c_656f_6e01;
/// Marks flows that the switch learned by our `learn`: they come and go, and are never wanted.
pub const LEARNED_COOKIE: u64 = 0x6e75_636c_656f_6e02;
/// The VLAN of ports that are switched off: frames in it are dropped.
pub const DEAD_VLAN: u16 = 4095;

/// br-int's tables.
pub mod int {
    pub const LOCAL: u8 = 0;
    /// Routed elsewhere, for a guest here: through tunnels, through a physical network.
    pub const DVR_TO_SRC_MAC: u8 = 1;
    pub const DVR_TO_SRC_MAC_PHYSICAL: u8 = 2;
    /// For the host's own DVR MAC, in the same two ways.
    pub const DVR_TO_LOCAL: u8 = 3;
    pub const DVR_TO_LOCAL_PHYSICAL: u8 = 4;
    pub const CANARY: u8 = 23;
    pub const ARP_SPOOF: u8 = 24;
    pub const MAC_SPOOF: u8 = 25;
    pub const LOCAL_EGRESS: u8 = 30;
    pub const LOCAL_INGRESS: u8 = 31;
    pub const PACKET_RATE_LIMIT: u8 = 58;
    pub const BANDWIDTH_RATE_LIMIT: u8 = 59;
    pub const TRANSIENT: u8 = 60;
    pub const TRANSIENT_EGRESS: u8 = 62;
}

/// br-tun's tables.
pub mod tun {
    pub const CLASSIFY: u8 = 0;
    /// Where distributed routers' frames are told from others, on hosts that have any.
    pub const DVR_PROCESS: u8 = 1;
    pub const PATCH_LV: u8 = 2;
    pub const GRE: u8 = 3;
    pub const VXLAN: u8 = 4;
    pub const GENEVE: u8 = 6;
    pub const DVR_NOT_LEARN: u8 = 9;
    pub const LEARN: u8 = 10;
    pub const UNICAST: u8 = 20;
    pub const ARP: u8 = 21;
    pub const FLOOD: u8 = 22;
    /// Where an answer to a neighbour solicitation gets its last field, which can only be written
    /// once the packet is an advertisement. Neutron has no such table.
    pub const ND_ANSWER: u8 = 26;
}

/// br-int's and br-tun's ends of the patch between them.
pub const PATCH_TUN: &str = "patch-tun";
pub const PATCH_INT: &str = "patch-int";

/// Does this host take part in distributed routing? Then frames pass two tables more.
pub fn is_distributed(settings: &Settings) -> bool {
    settings.agent_mode != AgentMode::Legacy
}

/// Are there tunnels at all on this host?
pub fn has_tunnels(settings: &Settings) -> bool {
    settings.local_ip.is_some() && !settings.tunnel_types.is_empty()
}

pub fn emit(draft: &mut Draft<'_>) {
    let nets = networks::emit(draft);
    integration::emit(draft);
    provider::emit(draft, &nets);
    if has_tunnels(draft.settings) {
        tunnel::emit(draft, &nets);
        population::emit(draft, &nets);
    }
    distributed::emit(draft, &nets);
    draft.memo.l2.turn();
}

/// Where a flow stands.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    pub bridge: &'a str,
    pub table: u8,
    pub priority: u16,
}

impl<'a> At<'a> {
    pub fn new(bridge: &'a str, table: u8, priority: u16) -> Self {
        Self {
            bridge,
            table,
            priority,
        }
    }
}

impl Draft<'_> {
    /// A flow of ours. No actions is drop.
    pub fn flow(&mut self, at: At<'_>, matches: Match, actions: Vec<Action>, why: Why) {
        let key = FlowKey {
            table: at.table,
            priority: at.priority,
            matches,
        };
        self.put_flow(at.bridge, key, Flow::new(COOKIE, actions, why));
    }

    fn put_flow(&mut self, bridge: &str, key: FlowKey, flow: Flow) {
        let flows = &mut *self.want.bridge_mut(bridge).flows;
        // Keys are copied only when they have to be said: there are thousands of flows.
        match flows.contains_key(&key) {
            false => drop(flows.insert(key, flow)),
            true => {
                let about = format!("flow {bridge}, table {}, {}", key.table, key.matches);
                let refused = want(flows, key, flow);
                self.contradiction(refused, about);
            }
        }
    }

    fn put_flows(&mut self, bridge: &str, flows: &part::Flows) {
        for (key, flow) in &flows.0 {
            self.put_flow(bridge, key.clone(), flow.clone());
        }
    }

    /// A bridge as Neutron sets its own up.
    #[track_caller]
    pub(crate) fn own_bridge(&mut self, name: &str) -> &mut Bridge {
        let datapath_type = self.settings.datapath_type.clone();
        let bridge = self.want.bridge_mut(name);
        bridge.datapath_type = datapath_type;
        bridge.fail_mode = Some("secure".to_owned());
        bridge.protocols = ["OpenFlow10", "OpenFlow13", "OpenFlow14"]
            .map(str::to_owned)
            .into();
        bridge.other_config = texts(&[("disable-in-band", "true"), ("mac-table-size", "50000")]);
        bridge.why.merge(Why::base());
        bridge
    }

    /// One end of a patch between two bridges.
    #[track_caller]
    pub(crate) fn patch(&mut self, bridge: &str, name: &str, peer: &str) {
        let interface = Interface {
            kind: "patch".to_owned(),
            options: texts(&[("peer", peer)]),
            ..Interface::default()
        };
        // Reports of multicast listeners go to other hosts, their floods do not.
        let other_config = match bridge == self.settings.integration_bridge {
            true => texts(&[
                ("mcast-snooping-flood", "false"),
                ("mcast-snooping-flood-reports", "true"),
            ]),
            false => texts(&[]),
        };
        let port = Port {
            other_config,
            interfaces: [(name.to_owned(), interface)].into(),
            why: Why::base(),
            ..Port::default()
        };
        self.ovs_port(bridge, name, port);
    }
}

/// Columns of OVSDB from words.
pub(crate) fn texts(pairs: &[(&str, &str)]) -> std::collections::BTreeMap<String, String> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

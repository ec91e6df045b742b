//! A bridge as OVSDB has it, with its flows, groups and the MAC table of `NORMAL`.
use std::collections::{BTreeMap, BTreeSet};

use super::flow::{Flow, FlowKey, Group};
use super::matches::PortRef;
use crate::{Mac, Merge, Shared, Shown, Why};

/// The key of flows on a bridge, in order of table.
pub type Flows = BTreeMap<FlowKey, Flow>;

/// A bridge's ports by name.
pub type BridgePorts = BTreeMap<String, Shared<Port>>;

/// A bridge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    pub datapath_type: String,
    pub fail_mode: Option<String>,
    pub protocols: BTreeSet<String>,
    pub controllers: BTreeSet<String>,
    pub other_config: BTreeMap<String, String>,
    pub external_ids: BTreeMap<String, String>,
    pub ports: Shared<BridgePorts>,
    pub flows: Shared<Flows>,
    pub groups: BTreeMap<u32, Group>,
    /// Meters, their bands as they stood.
    pub meters: BTreeMap<u32, String>,
    /// What `NORMAL` has learned. Only observed, never wanted.
    pub fdb: BTreeMap<FdbKey, FdbEntry>,
    pub datapath_id: Shown<Option<String>>,
    pub why: Why,
}

impl Bridge {
    /// The name of the port with this OpenFlow number.
    pub fn port_name(&self, ofport: u32) -> Option<&str> {
        self.interfaces()
            .find(|(_, interface)| interface.ofport.0 == Some(ofport))
            .map(|(name, _)| name)
    }

    /// The OpenFlow number of the interface with this name.
    pub fn ofport(&self, name: &str) -> Option<u32> {
        self.interface(name)?.ofport.0
    }

    /// Every interface of every port.
    pub fn interfaces(&self) -> impl Iterator<Item = (&str, &Interface)> {
        let ports = self.ports.values();
        ports.flat_map(|port| port.interfaces.iter().map(|(n, i)| (n.as_str(), i)))
    }

    /// An interface by name, whichever port it belongs to.
    pub fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces().find(|(n, _)| *n == name).map(|(_, i)| i)
    }
}

/// How a port treats tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum VlanMode {
    Access,
    Trunk,
    NativeTagged,
    NativeUntagged,
    Dot1qTunnel,
}

/// A port of a bridge: one interface, or several bonded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Port {
    pub tag: Option<u16>,
    pub vlan_mode: Option<VlanMode>,
    pub trunks: BTreeSet<u16>,
    pub other_config: BTreeMap<String, String>,
    pub external_ids: BTreeMap<String, String>,
    pub interfaces: BTreeMap<String, Interface>,
    pub why: Why,
}

/// An interface of a port. Numbers and states that the switch chose are shown, never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Empty for a device of the kernel; `internal`, `patch`, `vxlan`, …
    pub kind: String,
    pub options: BTreeMap<String, String>,
    pub other_config: BTreeMap<String, String>,
    pub external_ids: BTreeMap<String, String>,
    /// The MAC that was asked for.
    pub mac: Option<Mac>,
    pub mtu_request: Option<u32>,
    pub ofport_request: Option<u32>,
    pub ofport: Shown<Option<u32>>,
    pub mac_in_use: Shown<Option<Mac>>,
    pub mtu: Shown<Option<u32>>,
    /// Why the switch could not make it, when it could not. An ofport of -1 goes with it.
    pub error: Shown<Option<String>>,
    pub admin_state: Shown<Option<String>>,
    pub link_state: Shown<Option<String>>,
    /// What OpenFlow's `mod-port` set: `NO_FWD`, `NO_RECV`, `NO_FLOOD`, …
    pub config: Shown<BTreeSet<String>>,
}

/// What an entry of the MAC table is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FdbKey {
    pub vlan: u16,
    pub mac: Mac,
}

/// Where a MAC was seen, and how many seconds ago.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FdbEntry {
    pub port: PortRef,
    /// `None` for a static entry.
    pub age: Shown<Option<u64>>,
}

impl Merge for Bridge {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

impl Merge for Port {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

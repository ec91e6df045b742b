//! What one host needs of intent: cut out of the state by [`view`], carried to the agent as
//! differences, compiled by `plan`.
//!
//! A view is a map of items, each with its key; following the differences between two views is
//! the same as computing the later one anew. Items are whole resources where the host serves them,
//! and small extracts (a neighbour, a group's member) where it only must know of them, so that a
//! change travels to those hosts alone that it concerns, and a member's change is one small item.
//!
//! In it are, for host H:
//! - the ports bound to H, inactive bindings included (the target of a migration is wired before
//!   it is activated), with their networks, segments, subnets, groups, rules, address groups;
//! - for each of those networks every other host's ports as neighbours (layer 2 population), and
//!   every host's tunnel endpoints;
//! - the members (addresses, allowed pairs included) of every group that a rule of such a group
//!   names as remote;
//! - for networks whose DHCP is scheduled here, and for routers here, all ports of the networks
//!   that they touch, the routers, their floating IPs, address scopes;
//! - for distributed routers their closure: a port here, its subnets, their routers, all subnets
//!   of those, all their ports; and every host's DVR MAC.

mod cut;
mod follow;
mod reach;
mod summary;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    sync::Arc,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::{id::*, noun::*, state::Pair};

pub use cut::view;
pub use follow::{Steps, steps};
pub use summary::{Holding, Summary};

/// A port elsewhere on a network that this host has: what layer 2 population tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    pub port_id: PortId,
    pub network_id: NetworkId,
    pub host: HostName,
    pub mac_address: Mac,
    pub addresses: Vec<IpAddr>,
    pub device_owner: String,
}

/// What a port contributes to a group that some rule names as its remote group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub group_id: SecurityGroupId,
    pub port_id: PortId,
    /// Fixed addresses and allowed pairs' prefixes.
    pub prefixes: BTreeSet<IpNet>,
}

/// A host that takes part in tunnels or distributed routing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    pub host: HostName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tunnel_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnel_types: Vec<NetworkType>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dvr_mac: Option<Mac>,
    /// What routers do there: the L3 agent's `agent_mode`, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_mode: Option<String>,
}

/// What this host is to a router.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterRole {
    pub router_id: RouterId,
    /// A centralized router that lives here.
    #[serde(default)]
    pub centralized: bool,
    /// A distributed router's part that serves the ports here.
    #[serde(default)]
    pub distributed: bool,
    /// A distributed router's SNAT part.
    #[serde(default)]
    pub snat: bool,
    /// Another host may still have what of it is in one place, with the same addresses and MACs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contested: bool,
}

/// A network whose DHCP server runs here, and the port that was made for it (if it is yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DhcpRole {
    pub network_id: NetworkId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port_id: Option<PortId>,
}

/// Declares the view's tables, its items and their keys in one place.
macro_rules! items {
    ($($table:ident: $type:ident by $key:ty, $word:literal, |$it:ident| $at:expr;)*) => {
        /// The part of intent that one host needs.
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct View {
            $(pub $table: BTreeMap<$key, Arc<$type>>,)*
        }

        /// One piece of a view, as it travels: `{"kind": …, "value": …}`.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", content = "value")]
        pub enum Item { $(#[serde(rename = $word)] $type(Arc<$type>)),* }

        /// An item's kind and key.
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct ItemKey { pub kind: ItemKind, pub key: String }

        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum ItemKind { $(#[serde(rename = $word)] $type),* }

        impl ItemKind {
            pub const ALL: &'static [ItemKind] = &[$(ItemKind::$type),*];
        }

        $(impl From<Arc<$type>> for Item {
            fn from(value: Arc<$type>) -> Self {
                Self::$type(value)
            }
        })*

        impl Item {
            pub fn key(&self) -> ItemKey {
                match self {
                    $(Self::$type($it) => ItemKey { kind: ItemKind::$type, key: ($at).to_string() }),*
                }
            }
        }

        impl View {
            pub fn put(&mut self, item: Item) {
                match item { $(Item::$type($it) => { self.$table.insert($at, $it); })* }
            }

            /// Takes an item away; a key that can't be read names nothing.
            pub fn remove(&mut self, key: &ItemKey) {
                match key.kind { $(ItemKind::$type => {
                    key.key.parse::<$key>().ok().and_then(|key| self.$table.remove(&key));
                })* }
            }

            pub fn items(&self) -> impl Iterator<Item = Item> + '_ {
                std::iter::empty()$(.chain(self.$table.values().cloned().map(Item::$type)))*
            }

            pub fn len(&self) -> usize {
                0 $(+ self.$table.len())*
            }

            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// What turns `self` into `later`: items to set, keys to take away.
            pub fn difference(&self, later: &View) -> Difference {
                let mut difference = Difference::default();
                $(
                    for (key, value) in &later.$table {
                        let same = self.$table.get(key).is_some_and(|old| Arc::ptr_eq(old, value) || old == value);
                        if !same {
                            difference.put.push(Item::$type(value.clone()));
                        }
                    }
                    for key in self.$table.keys().filter(|key| !later.$table.contains_key(*key)) {
                        difference.remove.push(ItemKey { kind: ItemKind::$type, key: key.to_string() });
                    }
                )*
                difference
            }
        }
    };
}

items! {
    networks: Network by NetworkId, "network", |it| it.id;
    segments: Segment by SegmentId, "segment", |it| it.id;
    subnets: Subnet by SubnetId, "subnet", |it| it.id;
    subnet_pools: SubnetPool by SubnetPoolId, "subnetpool", |it| it.id;
    ports: Port by PortId, "port", |it| it.id;
    security_groups: SecurityGroup by SecurityGroupId, "security_group", |it| it.id;
    security_group_rules: SecurityGroupRule by SecurityGroupRuleId, "security_group_rule", |it| it.id;
    address_groups: AddressGroup by AddressGroupId, "address_group", |it| it.id;
    routers: Router by RouterId, "router", |it| it.id;
    floating_ips: FloatingIp by FloatingIpId, "floatingip", |it| it.id;
    members: Member by Pair<SecurityGroupId, PortId>, "member", |it| Pair(it.group_id, it.port_id);
    neighbours: Neighbour by PortId, "neighbour", |it| it.port_id;
    peers: Peer by HostName, "peer", |it| it.host.clone();
    router_roles: RouterRole by RouterId, "router_role", |it| it.router_id;
    dhcp_roles: DhcpRole by NetworkId, "dhcp_role", |it| it.network_id;
}

/// A step from one view to a later one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Difference {
    pub put: Vec<Item>,
    pub remove: Vec<ItemKey>,
}

impl Difference {
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.remove.is_empty()
    }
}

impl View {
    /// Whether a host serves the floating IPs of its ports itself, where routers are distributed.
    pub fn has_own_way_out(&self, host: &HostName) -> bool {
        let mode = self
            .peers
            .get(host)
            .and_then(|peer| peer.agent_mode.as_deref());
        matches!(mode, Some("dvr" | "dvr_snat"))
    }

    pub fn follow(&mut self, difference: Difference) {
        for key in &difference.remove {
            self.remove(key);
        }
        for item in difference.put {
            self.put(item);
        }
    }
}

impl fmt::Display for ItemKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.kind, self.key)
    }
}

//! The settings that decisions depend on, under the names that Neutron's operators know where it
//! has them.

use std::collections::BTreeMap;

use intent::{Mac, NetworkType};
use serde::{Deserialize, Serialize};

/// `[ledger]` of the server's configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Types that a network may be given by provider attributes.
    pub type_drivers: Vec<NetworkType>,
    /// Types that an ordinary network is made of, the first that has a number left.
    pub tenant_network_types: Vec<NetworkType>,
    /// The type of an external network that names none; none: an ordinary network's.
    pub external_network_type: Option<NetworkType>,
    /// Physical networks that may carry one flat network each; `*` is any.
    pub flat_networks: Vec<String>,
    /// Physical networks that carry VLANs, with the numbers that ordinary networks may get:
    /// `NAME:FIRST:LAST`, or `NAME` alone.
    pub network_vlan_ranges: Vec<VlanRange>,
    /// GRE's tunnel ids that ordinary networks may get, both ends included.
    pub gre_tunnel_id_ranges: Vec<(u32, u32)>,
    /// The same for VXLAN's network identifiers.
    pub vxlan_vni_ranges: Vec<(u32, u32)>,
    /// The same for geneve's.
    pub geneve_vni_ranges: Vec<(u32, u32)>,
    /// What geneve's options may take of a packet.
    pub geneve_max_header_size: u32,
    /// The MTU of the physical networks.
    pub global_physnet_mtu: u32,
    /// The MTU of a physical network that differs.
    pub physical_network_mtus: BTreeMap<String, u32>,
    /// The MTU between tunnel endpoints; 0: `global_physnet_mtu`.
    pub path_mtu: u32,
    /// 4 or 6: in which IP tunnels travel.
    pub overlay_ip_version: u8,
    /// Whether `vlan_transparent` is understood.
    pub vlan_transparent: bool,
    /// New ports' MACs begin so.
    pub base_mac: Mac,
    /// Hosts' MACs for distributed routers begin so.
    pub dvr_base_mac: Mac,
    /// Guests' names end so.
    pub dns_domain: String,
    /// How many DNS servers a subnet may name.
    pub max_dns_nameservers: usize,
    /// How many host routes a subnet may have.
    pub max_subnet_host_routes: usize,
    /// How many extra routes a router may have.
    pub max_routes: usize,
    /// How many allowed address pairs a port may have.
    pub max_allowed_address_pair: usize,
    /// Seconds of silence after which an agent is held dead.
    pub agent_down_time: u32,
    /// How many DHCP agents serve a network.
    pub dhcp_agents_per_network: usize,
    /// Place a network's DHCP when it gets its first port or subnet.
    pub network_auto_schedule: bool,
    /// Move DHCP from agents that are dead. (Neutron's default is `true`.)
    pub allow_automatic_dhcp_failover: bool,
    /// Move routers from agents that are dead.
    pub allow_automatic_l3agent_failover: bool,
    /// Place routers by themselves.
    pub router_auto_schedule: bool,
    /// What `distributed` is when an administrator does not say.
    pub router_distributed: bool,
    /// What `enable_snat` of a router's gateway is when nobody says.
    pub enable_snat_by_default: bool,
    /// Zones that networks and routers go to when they hint at none.
    pub default_availability_zones: Vec<String>,
    /// How much of each a project may have when nothing is set for it; -1: any number.
    pub default_quotas: BTreeMap<String, i64>,
}

/// A physical network for VLANs; without numbers only administrators' networks may use it.
/// Written as Neutron's operators write it: `NAME:FIRST:LAST` or `NAME`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VlanRange {
    pub physical_network: String,
    pub range: Option<(u32, u32)>,
}

/// Why a text names no range of VLANs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is no range of VLANs: it is NAME or NAME:FIRST:LAST, with numbers from 1 to 4094")]
pub struct NoVlanRange(String);

impl TryFrom<String> for VlanRange {
    type Error = NoVlanRange;

    fn try_from(text: String) -> Result<Self, NoVlanRange> {
        let vlan = |number: &str| number.parse().ok().filter(|vlan| (1..=4094).contains(vlan));
        let (physical_network, range) = match text.split(':').collect::<Vec<_>>()[..] {
            [name] => (name, None),
            [name, first, last] => match (vlan(first), vlan(last)) {
                (Some(first), Some(last)) if first <= last => (name, Some((first, last))),
                _ => return Err(NoVlanRange(text)),
            },
            _ => return Err(NoVlanRange(text)),
        };
        if physical_network.is_empty() {
            return Err(NoVlanRange(text));
        }
        Ok(Self {
            physical_network: physical_network.to_owned(),
            range,
        })
    }
}

impl From<VlanRange> for String {
    fn from(range: VlanRange) -> Self {
        match range.range {
            Some((first, last)) => format!("{}:{first}:{last}", range.physical_network),
            None => range.physical_network,
        }
    }
}

const DEFAULT_QUOTAS: [(&str, i64); 10] = [
    ("floatingip", 50),
    ("network", 100),
    ("port", 500),
    ("rbac_policy", 10),
    ("router", 10),
    ("router_route", 30),
    ("security_group", 10),
    ("security_group_rule", 100),
    ("subnet", 100),
    ("subnetpool", -1),
];

impl Config {
    /// The limit of a resource where a project has none of its own: what the settings leave out
    /// is as it is without settings.
    pub fn default_quota(&self, resource: &str) -> i64 {
        let built_in = DEFAULT_QUOTAS.iter().find(|(name, _)| *name == resource);
        let set = self.default_quotas.get(resource).copied();
        set.or(built_in.map(|(_, limit)| *limit)).unwrap_or(-1)
    }
}

impl Default for Config {
    fn default() -> Self {
        use NetworkType::{Flat, Geneve, Gre, Local, Vlan, Vxlan};
        Self {
            type_drivers: vec![Local, Flat, Vlan, Gre, Vxlan, Geneve],
            tenant_network_types: vec![Vxlan],
            external_network_type: None,
            flat_networks: vec!["*".to_owned()],
            network_vlan_ranges: Vec::new(),
            gre_tunnel_id_ranges: vec![(1, 1000)],
            vxlan_vni_ranges: vec![(1, 1000)],
            geneve_vni_ranges: vec![(1, 1000)],
            geneve_max_header_size: 30,
            global_physnet_mtu: 1500,
            physical_network_mtus: BTreeMap::new(),
            path_mtu: 0,
            overlay_ip_version: 4,
            vlan_transparent: false,
            base_mac: Mac([0xfa, 0x16, 0x3e, 0, 0, 0]),
            dvr_base_mac: Mac([0xfa, 0x16, 0x3f, 0, 0, 0]),
            dns_domain: "openstacklocal.".to_owned(),
            max_dns_nameservers: 5,
            max_subnet_host_routes: 20,
            max_routes: 30,
            max_allowed_address_pair: 10,
            agent_down_time: 75,
            dhcp_agents_per_network: 1,
            network_auto_schedule: true,
            allow_automatic_dhcp_failover: false,
            allow_automatic_l3agent_failover: false,
            router_auto_schedule: true,
            router_distributed: false,
            enable_snat_by_default: true,
            default_availability_zones: Vec::new(),
            default_quotas: DEFAULT_QUOTAS
                .iter()
                .map(|(name, limit)| ((*name).to_owned(), *limit))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_vlans_are_written_as_neutron_writes_them() {
        for text in ["provider", "provider:100:199", "p:1:4094", "p:7:7"] {
            let range = VlanRange::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(range), text);
        }
        for text in [
            "", ":1:2", "p:1", "p:2:1", "p:0:5", "p:1:4095", "p:a:b", "p:1:2:3",
        ] {
            let refused = VlanRange::try_from(text.to_owned());
            assert_eq!(refused, Err(NoVlanRange(text.to_owned())));
        }
    }
}

//! Networks, segments, subnets and what subnets are made from.

use serde_json::Value;

use super::{Import, read::*};
use crate::{id::*, noun::*, state::*};

impl Import {
    pub(super) fn network(&mut self, item: &Value) -> Option<()> {
        let id = parsed(item, "id")?;
        self.state.put(Object::from(Network {
            id,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            admin_state_up: flag(item, "admin_state_up", true),
            mtu: number(item, "mtu").unwrap_or(1500),
            external: flag(item, "router:external", false),
            is_default: flag(item, "is_default", false),
            port_security_enabled: flag(item, "port_security_enabled", true),
            dns_domain: text(item, "dns_domain").unwrap_or_default(),
            availability_zone_hints: texts(item, "availability_zone_hints"),
            vlan_transparent: item.get("vlan_transparent").and_then(Value::as_bool),
            meta: meta(item),
        }));
        let multiple: Vec<&Value> = list(item, "segments").collect();
        let segments = if multiple.is_empty() {
            vec![item]
        } else {
            multiple
        };
        for (index, segment) in segments.into_iter().enumerate() {
            self.part(id, index, segment);
        }
        Some(())
    }

    /// A network shows its segments without ids: they get the network's, counted on.
    fn part(&mut self, network: NetworkId, index: usize, item: &Value) {
        let Some(network_type) = parsed(item, "provider:network_type") else {
            return;
        };
        let counted = network.uuid().as_u128().wrapping_add(index as u128);
        self.state.put(Object::from(Segment {
            id: SegmentId::new(uuid::Uuid::from_u128(counted)),
            network_id: network,
            network_type,
            physical_network: text(item, "provider:physical_network"),
            segmentation_id: number(item, "provider:segmentation_id"),
            name: None,
            index: u16::try_from(index).unwrap_or(u16::MAX),
            meta: Meta::default(),
        }));
    }

    /// Where segments are a collection of their own they have ids there; their order is the network's.
    pub(super) fn segment(&mut self, item: &Value) -> Option<()> {
        let network_id: NetworkId = parsed(item, "network_id")?;
        let segment = Segment {
            id: parsed(item, "id")?,
            network_id,
            network_type: parsed(item, "network_type")?,
            physical_network: text(item, "physical_network"),
            segmentation_id: number(item, "segmentation_id"),
            name: text(item, "name"),
            index: 0,
            meta: meta(item),
        };
        let way = |it: &Segment| {
            let physical_network = it.physical_network.clone();
            (it.network_type, physical_network, it.segmentation_id)
        };
        let ids = self.state.index.segments_of_network.of(&network_id);
        let shown: Vec<_> = ids
            .filter_map(|id| self.state.segments.get(id))
            .cloned()
            .collect();
        let same = shown.iter().find(|it| way(it) == way(&segment));
        if let Some(same) = same {
            self.state.remove(Kind::Segment, &same.id.to_string());
        }
        let index = same.map_or(0, |same| same.index);
        self.state.put(Object::from(Segment { index, ..segment }));
        Some(())
    }

    pub(super) fn address_scope(&mut self, item: &Value) -> Option<()> {
        self.state.put(Object::from(AddressScope {
            id: parsed(item, "id")?,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            ip_version: number(item, "ip_version")?,
        }));
        Some(())
    }

    pub(super) fn subnet_pool(&mut self, item: &Value) -> Option<()> {
        let length = |key: &str| parsed(item, key).or_else(|| number(item, key));
        let prefixes = list(item, "prefixes").filter_map(|prefix| prefix.as_str()?.parse().ok());
        let id: SubnetPoolId = parsed(item, "id")?;
        // A pool is shared by RBAC policies; an old one by a mark of its own.
        let by_policy = self.state.index.rbac_of_object.any(&id.uuid());
        self.state.put(Object::from(SubnetPool {
            id,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            prefixes: prefixes.collect(),
            default_prefixlen: length("default_prefixlen")?,
            min_prefixlen: length("min_prefixlen")?,
            max_prefixlen: length("max_prefixlen")?,
            ip_version: number(item, "ip_version")?,
            is_default: flag(item, "is_default", false),
            shared: flag(item, "shared", false) && !by_policy,
            default_quota: number(item, "default_quota"),
            address_scope_id: parsed(item, "address_scope_id"),
            meta: meta(item),
        }));
        Some(())
    }

    pub(super) fn subnet(&mut self, item: &Value) -> Option<()> {
        let pool = |pool: &Value| {
            Some(IpRange {
                start: parsed(pool, "start")?,
                end: parsed(pool, "end")?,
            })
        };
        let servers = list(item, "dns_nameservers");
        self.state.put(Object::from(Subnet {
            id: parsed(item, "id")?,
            project_id: project(item),
            network_id: parsed(item, "network_id")?,
            name: text(item, "name").unwrap_or_default(),
            cidr: parsed(item, "cidr")?,
            gateway_ip: parsed(item, "gateway_ip"),
            allocation_pools: list(item, "allocation_pools").filter_map(pool).collect(),
            enable_dhcp: flag(item, "enable_dhcp", true),
            ipv6_ra_mode: parsed(item, "ipv6_ra_mode"),
            ipv6_address_mode: parsed(item, "ipv6_address_mode"),
            dns_nameservers: servers.filter_map(|ip| ip.as_str()?.parse().ok()).collect(),
            host_routes: routes(item, "host_routes"),
            subnetpool_id: parsed(item, "subnetpool_id"),
            segment_id: parsed(item, "segment_id"),
            service_types: texts(item, "service_types"),
            dns_publish_fixed_ip: flag(item, "dns_publish_fixed_ip", false),
            meta: meta(item),
        }));
        Some(())
    }
}

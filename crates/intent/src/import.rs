//! Intent out of what Neutron's API shows: the collections as an administrator lists them, of our
//! server or of a stock one. What a dump of a foreign cloud needs to be explained in our words.
//!
//! Nothing here refuses: what can't be read is left out and said in a sentence.

use std::{net::IpAddr, str::FromStr};

use serde_json::Value;

use crate::{id::*, noun::*, state::*};

/// The state that API documents describe, and what could not be read of them.
///
/// `documents` are answers by a name of the caller's (a file's, say): `{"ports": […]}` and so on.
/// Which agents serve a network or a router is asked by `networks/ID/dhcp-agents` and
/// `routers/ID/l3-agents`: for those, `served` says the network or router of the answer.
pub fn import<'a>(
    documents: impl IntoIterator<Item = &'a Value>,
    served: impl IntoIterator<Item = (Served, &'a Value)>,
) -> (State, Vec<String>) {
    let mut import = Import::default();
    let documents: Vec<&Value> = documents.into_iter().collect();
    // Routers and floating IPs say of their ports less than the ports do: those come first.
    for collection in COLLECTIONS {
        for document in &documents {
            let items = document.get(collection.name).and_then(Value::as_array);
            for item in items.into_iter().flatten() {
                if (collection.read)(&mut import, item).is_none() {
                    let id = item.get("id").and_then(Value::as_str).unwrap_or("?");
                    import
                        .notes
                        .push(format!("{} {id} can't be read", collection.name));
                }
            }
        }
    }
    for (of, answer) in served {
        let agents = answer.get("agents").and_then(Value::as_array);
        for agent in agents.into_iter().flatten() {
            import.serves(of, agent);
        }
    }
    (import.state, import.notes)
}

/// Whose agents an answer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    Network(NetworkId),
    Router(RouterId),
}

struct Collection {
    name: &'static str,
    read: fn(&mut Import, &Value) -> Option<()>,
}

const COLLECTIONS: &[Collection] = &[
    Collection {
        name: "networks",
        read: Import::network,
    },
    Collection {
        name: "subnetpools",
        read: Import::subnet_pool,
    },
    Collection {
        name: "subnets",
        read: Import::subnet,
    },
    Collection {
        name: "agents",
        read: Import::agent,
    },
    Collection {
        name: "ports",
        read: Import::port,
    },
    Collection {
        name: "routers",
        read: Import::router,
    },
    Collection {
        name: "floatingips",
        read: Import::floating_ip,
    },
    Collection {
        name: "security_groups",
        read: Import::security_group,
    },
    Collection {
        name: "security_group_rules",
        read: Import::rule,
    },
    Collection {
        name: "address_groups",
        read: Import::address_group,
    },
];

#[derive(Default)]
struct Import {
    state: State,
    notes: Vec<String>,
}

fn text(item: &Value, key: &str) -> Option<String> {
    item.get(key)?.as_str().map(str::to_owned)
}

fn parsed<T: FromStr>(item: &Value, key: &str) -> Option<T> {
    item.get(key)?.as_str()?.parse().ok()
}

fn flag(item: &Value, key: &str, default: bool) -> bool {
    item.get(key).and_then(Value::as_bool).unwrap_or(default)
}

fn number<T: TryFrom<u64>>(item: &Value, key: &str) -> Option<T> {
    T::try_from(item.get(key)?.as_u64()?).ok()
}

fn list<'a>(item: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    item.get(key)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn map(item: &Value, key: &str) -> JsonMap {
    item.get(key)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default()
}

fn project(item: &Value) -> ProjectId {
    let owner = text(item, "project_id").or_else(|| text(item, "tenant_id"));
    owner.unwrap_or_default().into()
}

fn meta(item: &Value) -> Meta {
    let tags = list(item, "tags").filter_map(Value::as_str);
    Meta {
        description: text(item, "description"),
        revision_number: number(item, "revision_number").unwrap_or(0),
        tags: tags.map(str::to_owned).collect(),
        ..Meta::default()
    }
}

fn routes(item: &Value, key: &str) -> Vec<Route> {
    let read = |route: &Value| {
        Some(Route {
            destination: parsed(route, "destination")?,
            nexthop: parsed(route, "nexthop")?,
        })
    };
    list(item, key).filter_map(read).collect()
}

fn fixed_ips(item: &Value, key: &str) -> Vec<FixedIp> {
    let read = |fixed: &Value| {
        Some(FixedIp {
            subnet_id: parsed(fixed, "subnet_id")?,
            ip_address: parsed(fixed, "ip_address")?,
        })
    };
    list(item, key).filter_map(read).collect()
}

impl Import {
    fn network(&mut self, item: &Value) -> Option<()> {
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
            availability_zone_hints: Vec::new(),
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
            self.segment(id, index, segment);
        }
        Some(())
    }

    /// A network shows its segments without ids: they get the network's, counted on.
    fn segment(&mut self, network: NetworkId, index: usize, item: &Value) {
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

    fn subnet_pool(&mut self, item: &Value) -> Option<()> {
        let length = |key: &str| parsed(item, key).or_else(|| number(item, key));
        let prefixes = list(item, "prefixes").filter_map(|prefix| prefix.as_str()?.parse().ok());
        self.state.put(Object::from(SubnetPool {
            id: parsed(item, "id")?,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            prefixes: prefixes.collect(),
            default_prefixlen: length("default_prefixlen")?,
            min_prefixlen: length("min_prefixlen")?,
            max_prefixlen: length("max_prefixlen")?,
            ip_version: number(item, "ip_version")?,
            is_default: flag(item, "is_default", false),
            shared: flag(item, "shared", false),
            default_quota: number(item, "default_quota"),
            address_scope_id: parsed(item, "address_scope_id"),
            meta: meta(item),
        }));
        Some(())
    }

    fn subnet(&mut self, item: &Value) -> Option<()> {
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
            service_types: list(item, "service_types")
                .filter_map(|owner| owner.as_str().map(str::to_owned))
                .collect(),
            dns_publish_fixed_ip: flag(item, "dns_publish_fixed_ip", false),
            meta: meta(item),
        }));
        Some(())
    }

    fn agent(&mut self, item: &Value) -> Option<()> {
        // Agents of kinds that we are not (metering, say) serve nothing that we plan.
        let Some(agent_type) = parsed(item, "agent_type") else {
            return Some(());
        };
        self.state.put(Object::from(Agent {
            id: parsed(item, "id")?,
            agent_type,
            host: text(item, "host")?.into(),
            admin_state_up: flag(item, "admin_state_up", true),
            availability_zone: text(item, "availability_zone"),
            description: text(item, "description"),
            configurations: map(item, "configurations"),
            created_at: Timestamp::default(),
            started_at: Timestamp::default(),
        }));
        Some(())
    }

    fn port(&mut self, item: &Value) -> Option<()> {
        let groups = list(item, "security_groups");
        let vnic_type = parsed(item, "binding:vnic_type").unwrap_or_default();
        self.state.put(Object::from(Port {
            id: parsed(item, "id")?,
            project_id: project(item),
            network_id: parsed(item, "network_id")?,
            name: text(item, "name").unwrap_or_default(),
            admin_state_up: flag(item, "admin_state_up", true),
            status: parsed(item, "status").unwrap_or(PortStatus::Down),
            mac_address: parsed(item, "mac_address")?,
            fixed_ips: fixed_ips(item, "fixed_ips"),
            device_id: text(item, "device_id").unwrap_or_default().into(),
            device_owner: text(item, "device_owner").unwrap_or_default(),
            security_groups: groups.filter_map(|id| id.as_str()?.parse().ok()).collect(),
            allowed_address_pairs: address_pairs(item),
            extra_dhcp_opts: dhcp_options(item),
            port_security_enabled: flag(item, "port_security_enabled", true),
            dns_name: text(item, "dns_name").unwrap_or_default(),
            dns_domain: text(item, "dns_domain").unwrap_or_default(),
            bindings: binding(item, vnic_type).into_iter().collect(),
            vnic_type,
            profile: map(item, "binding:profile"),
            ip_allocation: IpAllocation::default(),
            awaits_dhcp: false,
            passive: None,
            meta: meta(item),
        }));
        Some(())
    }

    fn router(&mut self, item: &Value) -> Option<()> {
        let id: RouterId = parsed(item, "id")?;
        self.state.put(Object::from(Router {
            id,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            admin_state_up: flag(item, "admin_state_up", true),
            distributed: flag(item, "distributed", false),
            gateway: self.gateway(id, item.get("external_gateway_info")),
            routes: routes(item, "routes"),
            availability_zone_hints: Vec::new(),
            enable_ndp_proxy: flag(item, "enable_ndp_proxy", false),
            flavor_id: text(item, "flavor_id"),
            meta: meta(item),
        }));
        Some(())
    }

    fn gateway(&self, router: RouterId, info: Option<&Value>) -> Option<Gateway> {
        let info = info?;
        let port = self.device_port(&router.to_string(), owner::ROUTER_GATEWAY)?;
        Some(Gateway {
            network_id: parsed(info, "network_id")?,
            port_id: port,
            enable_snat: flag(info, "enable_snat", true),
        })
    }

    /// The port of a device with this owner.
    fn device_port(&self, device: &str, owner: &str) -> Option<PortId> {
        let device = DeviceId::from(device);
        let mut ports = self.state.index.ports_of_device.of(&device);
        let owned = |id: &&PortId| {
            let port = self.state.ports.get(*id);
            port.is_some_and(|port| port.device_owner == owner)
        };
        ports.find(owned).copied()
    }

    fn floating_ip(&mut self, item: &Value) -> Option<()> {
        let id = text(item, "id")?;
        let floating_port_id = self.device_port(&id, owner::FLOATING_IP)?;
        self.state.put(Object::from(FloatingIp {
            id: id.parse().ok()?,
            project_id: project(item),
            floating_network_id: parsed(item, "floating_network_id")?,
            floating_ip_address: parsed::<IpAddr>(item, "floating_ip_address")?,
            floating_port_id,
            port_id: parsed(item, "port_id"),
            fixed_ip_address: parsed(item, "fixed_ip_address"),
            router_id: parsed(item, "router_id"),
            status: parsed(item, "status").unwrap_or(FloatingIpStatus::Down),
            dns_name: String::new(),
            dns_domain: String::new(),
            meta: meta(item),
        }));
        Some(())
    }

    fn security_group(&mut self, item: &Value) -> Option<()> {
        let name = text(item, "name").unwrap_or_default();
        self.state.put(Object::from(SecurityGroup {
            id: parsed(item, "id")?,
            project_id: project(item),
            is_default: name == "default",
            name,
            stateful: flag(item, "stateful", true),
            meta: meta(item),
        }));
        for rule in list(item, "security_group_rules") {
            self.rule(rule)?;
        }
        Some(())
    }

    fn rule(&mut self, item: &Value) -> Option<()> {
        self.state.put(Object::from(SecurityGroupRule {
            id: parsed(item, "id")?,
            project_id: project(item),
            security_group_id: parsed(item, "security_group_id")?,
            matches: RuleMatch {
                direction: parsed(item, "direction")?,
                ethertype: parsed(item, "ethertype")?,
                protocol: text(item, "protocol"),
                port_range_min: number(item, "port_range_min"),
                port_range_max: number(item, "port_range_max"),
                remote_ip_prefix: parsed(item, "remote_ip_prefix"),
                remote_group_id: parsed(item, "remote_group_id"),
                remote_address_group_id: parsed(item, "remote_address_group_id"),
            },
            meta: meta(item),
        }));
        Some(())
    }

    fn address_group(&mut self, item: &Value) -> Option<()> {
        let addresses = list(item, "addresses");
        self.state.put(Object::from(AddressGroup {
            id: parsed(item, "id")?,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            addresses: addresses
                .filter_map(|prefix| prefix.as_str()?.parse().ok())
                .collect(),
            meta: meta(item),
        }));
        Some(())
    }

    fn serves(&mut self, of: Served, agent: &Value) {
        let Some(agent_id) = parsed(agent, "id") else {
            return;
        };
        self.state.put(match of {
            Served::Network(network_id) => Object::from(DhcpBinding {
                network_id,
                agent_id,
            }),
            Served::Router(router_id) if self.is_scheduled(router_id, agent) => {
                Object::from(RouterBinding {
                    router_id,
                    agent_id,
                })
            }
            Served::Router(_) => return,
        });
    }

    /// The API lists a distributed router with the agents of all hosts that have a part of it; it is
    /// scheduled to the one with its source NAT, where its gateway's port is.
    fn is_scheduled(&self, router: RouterId, agent: &Value) -> bool {
        let router = self.state.routers.get(&router);
        let Some(router) = router.filter(|router| router.distributed) else {
            return true;
        };
        let mode = agent["configurations"]["agent_mode"].as_str();
        let gateway = router.gateway.as_ref();
        let port = gateway.and_then(|gateway| self.state.ports.get(&gateway.port_id));
        let host = port.and_then(|port| port.host());
        mode.is_none_or(|mode| mode == "dvr_snat")
            && host.is_none_or(|host| agent["host"] == host.as_str())
    }
}

fn address_pairs(item: &Value) -> Vec<AddressPair> {
    let read = |pair: &Value| {
        let text = pair.get("ip_address")?.as_str()?;
        let address = text.parse().map(PairAddress::Address);
        Some(AddressPair {
            ip_address: address
                .or_else(|_| text.parse().map(PairAddress::Prefix))
                .ok()?,
            mac_address: parsed(pair, "mac_address").or_else(|| parsed(item, "mac_address"))?,
        })
    };
    list(item, "allowed_address_pairs")
        .filter_map(read)
        .collect()
}

fn dhcp_options(item: &Value) -> Vec<DhcpOption> {
    let read = |option: &Value| {
        Some(DhcpOption {
            opt_name: text(option, "opt_name")?,
            opt_value: text(option, "opt_value")?,
            ip_version: number(option, "ip_version").unwrap_or(4),
        })
    };
    list(item, "extra_dhcp_opts").filter_map(read).collect()
}

fn binding(item: &Value, vnic_type: VnicType) -> Option<Binding> {
    let host = text(item, "binding:host_id").filter(|host| !host.is_empty())?;
    Some(Binding {
        host: host.into(),
        status: BindingStatus::Active,
        vif_type: parsed(item, "binding:vif_type").unwrap_or(VifType::Other),
        vif_details: map(item, "binding:vif_details"),
        vnic_type,
        profile: map(item, "binding:profile"),
        up: text(item, "status").as_deref() == Some("ACTIVE"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_said_and_the_rest_is_there() {
        let documents = serde_json::json!({
            "networks": [
                {"id": "b795f5d9-0400-490f-b200-7e6beb38701f", "name": "red", "project_id": "p",
                 "provider:network_type": "vxlan", "provider:segmentation_id": 622},
                {"id": "not an id"}
            ],
            "ports": [{"id": "0f6432ed-0cb0-45ef-b2d8-71e4a1a4ff0f", "mac_address": "fa:16:3e:be:10:92",
                "network_id": "b795f5d9-0400-490f-b200-7e6beb38701f", "binding:host_id": "net",
                "allowed_address_pairs": [{"ip_address": "10.0.0.0/24"}]}]
        });
        let (state, notes) = import([&documents], []);
        assert_eq!(notes, ["networks not an id can't be read"]);
        assert_eq!(state.segments.len(), 1);
        let port = state.ports.values().next().expect("one port");
        assert_eq!(port.host().map(HostName::as_str), Some("net"));
        assert_eq!(port.allowed_address_pairs[0].mac_address, port.mac_address);
    }

    #[test]
    fn a_distributed_router_is_scheduled_where_its_source_nat_is() {
        let id = |n: u8| format!("b795f5d9-0400-490f-b200-7e6beb3870{n:02}");
        let agent = |n: u8, host: &str, mode: &str| {
            serde_json::json!({
                "id": id(n), "host": host, "binary": "neutron-l3-agent",
                "agent_type": "L3 agent", "configurations": {"agent_mode": mode},
            })
        };
        let agents = [
            agent(1, "net", "dvr_snat"),
            agent(2, "net2", "dvr_snat"),
            agent(3, "c1", "dvr"),
        ];
        let documents = serde_json::json!({
            "agents": agents,
            "networks": [{"id": id(10), "name": "public", "project_id": "p"}],
            "ports": [{"id": id(11), "mac_address": "fa:16:3e:be:10:92", "network_id": id(10),
                "device_id": id(12), "device_owner": "network:router_gateway",
                "binding:host_id": "net"}],
            "routers": [{"id": id(12), "name": "r", "project_id": "p", "distributed": true,
                "external_gateway_info": {"network_id": id(10), "external_fixed_ips": []}}],
        });
        let answer = serde_json::json!({"agents": agents});
        let of = Served::Router(id(12).parse().unwrap());
        let (state, notes) = import([&documents], [(of, &answer)]);
        assert_eq!(notes, Vec::<String>::new());
        let bound = state
            .router_bindings
            .values()
            .map(|it| it.agent_id.to_string());
        assert_eq!(bound.collect::<Vec<_>>(), [id(1)]);
    }
}

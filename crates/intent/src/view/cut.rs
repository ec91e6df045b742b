//! Cutting one host's view out of the state.

use std::{collections::BTreeSet, sync::Arc};

use super::{DhcpRole, Member, Neighbour, Peer, RouterRole, View};
use crate::{id::*, noun::*, state::State};

/// The part of intent that `host` needs, computed anew.
pub fn view(state: &State, host: &HostName) -> View {
    let mut cut = Cut {
        state,
        host,
        view: View::default(),
        networks: BTreeSet::new(),
        whole_networks: BTreeSet::new(),
    };
    cut.bound_ports();
    cut.dhcp();
    cut.routers();
    cut.networks();
    cut.groups();
    cut.peers();
    cut.view
}

struct Cut<'a> {
    state: &'a State,
    host: &'a HostName,
    view: View,
    /// Networks that have a port here, or that a service here touches.
    networks: BTreeSet<NetworkId>,
    /// Of those, the networks all of whose ports are needed whole.
    whole_networks: BTreeSet<NetworkId>,
}

impl Cut<'_> {
    fn bound_ports(&mut self) {
        let state = self.state;
        for id in state.index.ports_of_host.of(self.host) {
            self.port(*id);
        }
    }

    fn port(&mut self, id: PortId) {
        if let Some(port) = self.state.ports.get(&id) {
            self.networks.insert(port.network_id);
            self.view.ports.insert(id, port.clone());
        }
    }

    fn dhcp(&mut self) {
        let Some(agent) = self.agent(AgentType::Dhcp) else {
            return;
        };
        let state = self.state;
        for network in state.index.networks_of_dhcp_agent.of(&agent) {
            self.networks.insert(*network);
            self.whole_networks.insert(*network);
            let port_id = state
                .index
                .ports_of_network
                .of(network)
                .copied()
                .find(|id| {
                    state.ports.get(id).is_some_and(|port| {
                        port.device_owner == owner::DHCP && port.host() == Some(self.host)
                    })
                });
            let role = DhcpRole {
                network_id: *network,
                port_id,
            };
            self.view.dhcp_roles.insert(*network, Arc::new(role));
        }
    }

    fn agent(&self, kind: AgentType) -> Option<AgentId> {
        let key = (self.host.clone(), kind);
        self.state.index.agent_of_host.one(&key).copied()
    }

    fn routers(&mut self) {
        let mut roles = self.scheduled_routers();
        self.distributed_routers(&mut roles);
        for role in roles {
            self.router(role);
        }
    }

    /// Centralized routers that live here, and distributed ones whose SNAT part does.
    fn scheduled_routers(&self) -> Vec<RouterRole> {
        let Some(agent) = self.agent(AgentType::L3) else {
            return Vec::new();
        };
        let routers = self.state.index.routers_of_agent.of(&agent);
        routers
            .filter_map(|id| self.state.routers.get(id))
            .map(|router| RouterRole {
                router_id: router.id,
                centralized: !router.distributed,
                distributed: router.distributed,
                snat: router.distributed && router.gateway.is_some(),
            })
            .collect()
    }

    /// Distributed routers of the networks that have a port here.
    fn distributed_routers(&self, roles: &mut Vec<RouterRole>) {
        if self.agent(AgentType::L3).is_none() {
            return;
        }
        let mut here = BTreeSet::new();
        for port in self.view.ports.values() {
            for fixed in &port.fixed_ips {
                here.extend(self.distributed_routers_of(fixed.subnet_id));
            }
        }
        for router_id in here {
            if !roles.iter().any(|role| role.router_id == router_id) {
                roles.push(RouterRole {
                    router_id,
                    centralized: false,
                    distributed: true,
                    snat: false,
                });
            }
        }
    }

    fn distributed_routers_of(&self, subnet: SubnetId) -> impl Iterator<Item = RouterId> + '_ {
        let Some(subnet) = self.state.subnets.get(&subnet) else {
            return Vec::new().into_iter();
        };
        let ports = self.state.index.ports_of_network.of(&subnet.network_id);
        let interfaces = ports
            .filter_map(|id| self.state.ports.get(id))
            .filter(|port| port.device_owner == owner::ROUTER_INTERFACE_DVR)
            .filter(|port| {
                port.fixed_ips
                    .iter()
                    .any(|fixed| fixed.subnet_id == subnet.id)
            });
        interfaces
            .filter_map(|port| port.device_id.parse().ok())
            .collect::<Vec<_>>()
            .into_iter()
    }

    fn router(&mut self, role: RouterRole) {
        let state = self.state;
        let Some(router) = state.routers.get(&role.router_id) else {
            return;
        };
        self.view.routers.insert(router.id, router.clone());
        self.view.router_roles.insert(router.id, Arc::new(role));
        let device = DeviceId::from(router.id.to_string());
        for id in state.index.ports_of_device.of(&device) {
            self.port(*id);
            if let Some(port) = state.ports.get(id)
                && port.device_owner != owner::ROUTER_GATEWAY
            {
                self.whole_networks.insert(port.network_id);
            }
        }
        for id in state.index.floating_ips_of_router.of(&router.id) {
            if let Some(floating_ip) = state.floating_ips.get(id) {
                self.view.floating_ips.insert(*id, floating_ip.clone());
                floating_ip
                    .port_id
                    .into_iter()
                    .for_each(|port| self.port(port));
            }
        }
    }

    fn networks(&mut self) {
        let state = self.state;
        for network in self.networks.clone() {
            if let Some(found) = state.networks.get(&network) {
                self.view.networks.insert(network, found.clone());
            }
            for id in state.index.segments_of_network.of(&network) {
                if let Some(segment) = state.segments.get(id) {
                    self.view.segments.insert(*id, segment.clone());
                }
            }
            for id in state.index.subnets_of_network.of(&network) {
                self.subnet(*id);
            }
            let whole = self.whole_networks.contains(&network);
            for id in state.index.ports_of_network.of(&network) {
                if let Some(port) = state.ports.get(id) {
                    self.neighbour(port);
                    if whole {
                        self.view.ports.insert(*id, port.clone());
                    }
                }
            }
        }
    }

    fn subnet(&mut self, id: SubnetId) {
        let Some(subnet) = self.state.subnets.get(&id) else {
            return;
        };
        self.view.subnets.insert(id, subnet.clone());
        // A router asks a subnet's pool for its address scope.
        if let Some(pool) = subnet.subnetpool_id
            && let Some(found) = self.state.subnet_pools.get(&pool)
        {
            self.view.subnet_pools.insert(pool, found.clone());
        }
    }

    /// A port of another host that is up is announced here, as layer 2 population does.
    fn neighbour(&mut self, port: &Port) {
        let Some(binding) = port.active_binding() else {
            return;
        };
        if binding.host == *self.host || port.status != PortStatus::Active {
            return;
        }
        let neighbour = Neighbour {
            port_id: port.id,
            network_id: port.network_id,
            host: binding.host.clone(),
            mac_address: port.mac_address,
            addresses: port.addresses().collect(),
            device_owner: port.device_owner.clone(),
        };
        self.view.neighbours.insert(port.id, Arc::new(neighbour));
    }

    /// The groups of the ports bound here, their rules, and who is behind remote groups.
    fn groups(&mut self) {
        let state = self.state;
        let bound = state.index.ports_of_host.of(self.host);
        let groups: BTreeSet<SecurityGroupId> = bound
            .filter_map(|id| state.ports.get(id))
            .flat_map(|port| port.security_groups.iter().copied())
            .collect();
        let mut remote = BTreeSet::new();
        for group in groups {
            if let Some(found) = state.security_groups.get(&group) {
                self.view.security_groups.insert(group, found.clone());
            }
            for id in state.index.rules_of_group.of(&group) {
                if let Some(rule) = state.security_group_rules.get(id) {
                    self.view.security_group_rules.insert(*id, rule.clone());
                    remote.extend(rule.matches.remote_group_id);
                    self.address_group(rule.matches.remote_address_group_id);
                }
            }
        }
        for group in remote {
            self.members(group);
        }
    }

    fn address_group(&mut self, id: Option<AddressGroupId>) {
        if let Some(id) = id
            && let Some(group) = self.state.address_groups.get(&id)
        {
            self.view.address_groups.insert(id, group.clone());
        }
    }

    fn members(&mut self, group_id: SecurityGroupId) {
        let state = self.state;
        for id in state.index.ports_of_group.of(&group_id) {
            let Some(port) = state.ports.get(id) else {
                continue;
            };
            let pairs = port.allowed_address_pairs.iter();
            let prefixes = port
                .addresses()
                .map(Into::into)
                .chain(pairs.map(|pair| pair.ip_address.network()))
                .collect();
            let member = Member {
                group_id,
                port_id: *id,
                prefixes,
            };
            let key = crate::state::Pair(group_id, *id);
            self.view.members.insert(key, Arc::new(member));
        }
    }

    fn agent_mode(&self, host: &HostName) -> Option<String> {
        let key = (host.clone(), AgentType::L3);
        let agent = self.state.index.agent_of_host.one(&key)?;
        text(self.state.agents.get(agent)?, "agent_mode")
    }

    /// Every host with an Open vSwitch agent: where tunnels lead to.
    fn peers(&mut self) {
        let state = self.state;
        for agent in state.agents.values() {
            if agent.agent_type != AgentType::OpenVswitch {
                continue;
            }
            let peer = Peer {
                host: agent.host.clone(),
                tunnel_ip: text(agent, "tunneling_ip"),
                tunnel_types: tunnel_types(agent),
                dvr_mac: state.dvr_macs.get(&agent.host).map(|mac| mac.mac_address),
                agent_mode: self.agent_mode(&agent.host),
            };
            self.view.peers.insert(agent.host.clone(), Arc::new(peer));
        }
    }
}

fn text<T: std::str::FromStr>(agent: &Agent, key: &str) -> Option<T> {
    agent.configurations.get(key)?.as_str()?.parse().ok()
}

fn tunnel_types(agent: &Agent) -> Vec<NetworkType> {
    let types = agent.configurations.get("tunnel_types");
    let words = types
        .and_then(|types| types.as_array())
        .into_iter()
        .flatten();
    words
        .filter_map(|word| word.as_str()?.parse().ok())
        .collect()
}

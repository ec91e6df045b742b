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
            let role = dhcp_role(state, *network, self.host);
            self.view.dhcp_roles.insert(*network, Arc::new(role));
        }
    }

    fn agent(&self, kind: AgentType) -> Option<AgentId> {
        let key = (self.host.clone(), kind);
        self.state.index.agent_of_host.one(&key).copied()
    }

    fn routers(&mut self) {
        let mut routers = self.scheduled_routers();
        routers.extend(self.distributed_routers());
        for router in routers {
            self.router(router);
        }
    }

    /// Centralized routers that live here, and distributed ones whose SNAT part does.
    fn scheduled_routers(&self) -> BTreeSet<RouterId> {
        let agent = self.agent(AgentType::L3);
        let routers = agent.map(|agent| {
            self.state
                .index
                .routers_of_agent
                .of(&agent)
                .copied()
                .collect()
        });
        routers.unwrap_or_default()
    }

    /// Distributed routers of the subnets that have a port here.
    fn distributed_routers(&self) -> BTreeSet<RouterId> {
        if !distributes(self.state, self.host) {
            return BTreeSet::new();
        }
        let ports = self.view.ports.values();
        let subnets: BTreeSet<SubnetId> = ports
            .flat_map(|port| port.fixed_ips.iter().map(|fixed| fixed.subnet_id))
            .collect();
        let routers = subnets
            .into_iter()
            .map(|subnet| self.distributed_routers_of(subnet));
        routers.flatten().collect()
    }

    fn distributed_routers_of(&self, subnet: SubnetId) -> impl Iterator<Item = RouterId> + '_ {
        let Some(subnet) = self.state.subnets.get(&subnet) else {
            return Vec::new().into_iter();
        };
        let ports = &self.state.index.router_ports_of_network;
        let ports = ports.of(&subnet.network_id);
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

    fn router(&mut self, id: RouterId) {
        let state = self.state;
        let (Some(router), Some(role)) =
            (state.routers.get(&id), router_role(state, id, self.host))
        else {
            return;
        };
        self.view.routers.insert(router.id, router.clone());
        self.view.router_roles.insert(router.id, Arc::new(role));
        let device = DeviceId::from(router.id.to_string());
        for id in state.index.ports_of_device.of(&device) {
            let Some(port) = state.ports.get(id).filter(|port| port.is_router_port()) else {
                continue;
            };
            self.port(*id);
            if port.device_owner != owner::ROUTER_GATEWAY {
                self.whole_networks.insert(port.network_id);
            }
        }
        for id in state.index.floating_ips_of_router.of(&router.id) {
            if let Some(floating_ip) = state.floating_ips.get(id) {
                self.view.floating_ips.insert(*id, floating_ip.clone());
                // Its network is here: the router has an interface there.
                let port = floating_ip.port_id.and_then(|id| state.ports.get(&id));
                port.into_iter().for_each(|port| {
                    self.view.ports.insert(port.id, port.clone());
                });
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
                    if let Some(neighbour) = neighbour(port, self.host) {
                        self.view.neighbours.insert(*id, Arc::new(neighbour));
                    }
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
            let key = crate::state::Pair(group_id, *id);
            let member = member(group_id, port);
            self.view.members.insert(key, Arc::new(member));
        }
    }

    /// Every host with an Open vSwitch agent: where tunnels lead to.
    fn peers(&mut self) {
        let agents = self.state.agents.values();
        let switches = agents.filter(|agent| agent.agent_type == AgentType::OpenVswitch);
        for host in switches.map(|agent| &agent.host) {
            if let Some(peer) = peer(self.state, host) {
                self.view.peers.insert(host.clone(), Arc::new(peer));
            }
        }
    }
}

fn agent_of<'a>(state: &'a State, host: &HostName, kind: AgentType) -> Option<&'a Agent> {
    let id = state.index.agent_of_host.one(&(host.clone(), kind))?;
    state.agents.get(id).map(|agent| &**agent)
}

/// Whether distributed routers have parts on a host: in legacy mode its agent can't keep their
/// addresses, which every host has, to itself.
pub(super) fn distributes(state: &State, host: &HostName) -> bool {
    let agent = agent_of(state, host, AgentType::L3);
    let mode = agent.and_then(|agent| text::<String>(agent, "agent_mode"));
    mode.is_some_and(|mode| mode != "legacy")
}

/// What other hosts know of this one.
pub(super) fn peer(state: &State, host: &HostName) -> Option<Peer> {
    let switch = agent_of(state, host, AgentType::OpenVswitch)?;
    let router = agent_of(state, host, AgentType::L3);
    Some(Peer {
        host: host.clone(),
        tunnel_ip: text(switch, "tunneling_ip"),
        tunnel_types: tunnel_types(switch),
        dvr_mac: state.dvr_macs.get(host).map(|mac| mac.mac_address),
        agent_mode: router.and_then(|agent| text(agent, "agent_mode")),
    })
}

/// What the host is to a router that it has.
pub(super) fn router_role(state: &State, id: RouterId, host: &HostName) -> Option<RouterRole> {
    let router = state.routers.get(&id)?;
    let agent = agent_of(state, host, AgentType::L3)?.id;
    let scheduled = state.index.agents_of_router.contains(&id, &agent);
    Some(RouterRole {
        router_id: id,
        centralized: scheduled && !router.distributed,
        distributed: !scheduled || router.distributed,
        snat: scheduled && router.distributed && router.gateway.is_some(),
        contested: scheduled && state.index.remnants_of_router.any(&id),
    })
}

/// The host as a network's DHCP server.
pub(super) fn dhcp_role(state: &State, network_id: NetworkId, host: &HostName) -> DhcpRole {
    let key = (network_id, host.clone());
    let mut ports = state.index.ports_on_host.of(&key);
    let serves = |port: &Arc<Port>| port.device_owner == owner::DHCP && port.host() == Some(host);
    DhcpRole {
        network_id,
        port_id: ports
            .find(|id| state.ports.get(*id).is_some_and(serves))
            .copied(),
    }
}

/// A port of another host is announced here, as layer 2 population does, but as soon as it is bound:
/// when its host says that it is up, the others know the way already, and a host that says for a
/// moment that it is down makes nobody unlearn it.
pub(super) fn neighbour(port: &Port, host: &HostName) -> Option<Neighbour> {
    let binding = port.active_binding()?;
    let expected = binding.vif_type == VifType::Ovs && port.admin_state_up;
    let elsewhere = binding.host != *host && (expected || port.status == PortStatus::Active);
    elsewhere.then(|| Neighbour {
        port_id: port.id,
        network_id: port.network_id,
        host: binding.host.clone(),
        mac_address: port.mac_address,
        addresses: port.addresses().collect(),
        device_owner: port.device_owner.clone(),
    })
}

/// What a port adds to a group's addresses: its own and its allowed pairs'.
pub(super) fn member(group_id: SecurityGroupId, port: &Port) -> Member {
    let pairs = port.allowed_address_pairs.iter();
    let pairs = pairs.map(|pair| pair.ip_address.network());
    Member {
        group_id,
        port_id: port.id,
        prefixes: port.addresses().map(Into::into).chain(pairs).collect(),
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

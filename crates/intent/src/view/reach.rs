//! Which hosts need what: the view, asked from the other side.
//!
//! [`super::view`] starts at a host and gathers items; here a *scope* (a network, a router, a
//! group …) is asked for its hosts. Both say the same, which a property test holds them to.

use std::{cell::RefCell, collections::BTreeMap, collections::BTreeSet, rc::Rc};

use super::cut::distributes;
use crate::{id::*, noun::*, state::State};

/// What brings items to a host, all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    /// The port is bound there.
    Bound(PortId),
    /// The network with its segments, subnets and neighbours.
    Network(NetworkId),
    /// All ports of the network.
    Whole(NetworkId),
    /// A DHCP server of the network.
    Dhcp(NetworkId),
    /// The router with its ports and floating IPs.
    Router(RouterId),
    /// The group with its rules and their address groups.
    Group(SecurityGroupId),
    /// The members of a group that some rule there names as remote.
    Remote(SecurityGroupId),
}

pub(super) type Hosts = BTreeSet<HostName>;

/// A state that is asked for the hosts of scopes, each answered once.
pub(super) struct Reach<'a> {
    pub(super) state: &'a State,
    known: RefCell<BTreeMap<Scope, Rc<Hosts>>>,
}

impl<'a> Reach<'a> {
    pub(super) fn new(state: &'a State) -> Self {
        Self {
            state,
            known: RefCell::default(),
        }
    }

    pub(super) fn hosts(&self, scope: Scope) -> Rc<Hosts> {
        if let Some(known) = self.known.borrow().get(&scope) {
            return known.clone();
        }
        let hosts = Rc::new(self.find(scope));
        self.known.borrow_mut().insert(scope, hosts.clone());
        hosts
    }

    fn find(&self, scope: Scope) -> Hosts {
        let index = &self.state.index;
        match scope {
            Scope::Bound(port) => {
                let port = self.state.ports.get(&port);
                let bindings = port.into_iter().flat_map(|port| &port.bindings);
                bindings.map(|binding| binding.host.clone()).collect()
            }
            Scope::Network(network) => {
                let mut hosts: Hosts = index.ports_on_host.hosts_of(&network).into_iter().collect();
                self.add_served(network, &mut hosts);
                self.add_routed(network, true, &mut hosts);
                hosts
            }
            Scope::Whole(network) => {
                let mut hosts = Hosts::new();
                self.add_served(network, &mut hosts);
                self.add_routed(network, false, &mut hosts);
                hosts
            }
            Scope::Dhcp(network) => {
                let mut hosts = Hosts::new();
                self.add_served(network, &mut hosts);
                hosts
            }
            Scope::Router(router) => self.of_router(router),
            Scope::Group(group) => index.group_on_host.hosts_of(&group).into_iter().collect(),
            Scope::Remote(group) => {
                let rules = index.rules_of_remote_group.of(&group);
                let rules = rules.filter_map(|id| self.state.security_group_rules.get(id));
                let groups: BTreeSet<_> = rules.map(|rule| rule.security_group_id).collect();
                let hosts = groups
                    .into_iter()
                    .map(|group| self.hosts(Scope::Group(group)));
                hosts.flat_map(|hosts| Hosts::clone(&hosts)).collect()
            }
        }
    }

    /// Hosts whose DHCP agent serves the network.
    fn add_served(&self, network: NetworkId, hosts: &mut Hosts) {
        let agents = self.state.index.dhcp_agents_of_network.of(&network);
        let agents = agents.filter_map(|id| self.state.agents.get(id));
        hosts.extend(
            agents
                .filter(|it| self.is_the(it, AgentType::Dhcp))
                .map(|it| it.host.clone()),
        );
    }

    /// Whether an agent is its host's agent of the kind.
    fn is_the(&self, agent: &Agent, kind: AgentType) -> bool {
        let key = (agent.host.clone(), kind);
        agent.agent_type == kind && self.state.index.agent_of_host.one(&key) == Some(&agent.id)
    }

    /// Hosts of the routers that touch the network, with or without their gateways.
    fn add_routed(&self, network: NetworkId, gateways: bool, hosts: &mut Hosts) {
        let ports = self.state.index.router_ports_of_network.of(&network);
        let ports = ports.filter_map(|id| self.state.ports.get(id));
        let ports = ports.filter(|port| gateways || port.device_owner != owner::ROUTER_GATEWAY);
        let routers: BTreeSet<RouterId> =
            ports.filter_map(|it| it.device_id.parse().ok()).collect();
        for router in routers {
            hosts.extend(self.hosts(Scope::Router(router)).iter().cloned());
        }
    }

    fn of_router(&self, router: RouterId) -> Hosts {
        let mut hosts = Hosts::new();
        if !self.state.routers.contains_key(&router) {
            return hosts;
        }
        let agents = self.state.index.agents_of_router.of(&router);
        let agents = agents.filter_map(|id| self.state.agents.get(id));
        hosts.extend(
            agents
                .filter(|it| self.is_the(it, AgentType::L3))
                .map(|it| it.host.clone()),
        );
        for port in router_ports(self.state, router) {
            if port.device_owner == owner::ROUTER_INTERFACE_DVR {
                for fixed in &port.fixed_ips {
                    self.add_distributed(port.network_id, fixed.subnet_id, &mut hosts);
                }
            }
        }
        hosts
    }

    /// Hosts that distribute and have a port bound in the subnet.
    fn add_distributed(&self, network: NetworkId, subnet: SubnetId, hosts: &mut Hosts) {
        let index = &self.state.index;
        for host in index.ports_on_host.hosts_of(&network) {
            if hosts.contains(&host) || !distributes(self.state, &host) {
                continue;
            }
            let key = (network, host);
            let mut ports = index.ports_on_host.of(&key);
            let in_subnet = ports.any(|id| {
                let port = self.state.ports.get(id);
                port.is_some_and(|port| port.fixed_ips.iter().any(|it| it.subnet_id == subnet))
            });
            if in_subnet {
                hosts.insert(key.1.clone());
            }
        }
    }
}

/// The ports through which a router touches networks.
pub(super) fn router_ports(state: &State, router: RouterId) -> Vec<&Port> {
    let device = DeviceId::from(router.to_string());
    let ports = state.index.ports_of_device.of(&device);
    let ports = ports.filter_map(|id| state.ports.get(id));
    ports
        .map(|port| &**port)
        .filter(|port| port.is_router_port())
        .collect()
}

//! What a change does to the hosts' views, without computing any of them anew.
//!
//! Each changed resource names the items that are made of it, and the scopes whose hosts it may
//! have altered. An item goes to the hosts that had it or have it now; a scope that a host gained
//! or lost brings or takes all of its items there. So a change costs what it is about, travels to
//! the hosts that it concerns, and the rest hear nothing. Only an agent's own coming and going
//! computes a view whole: its host's.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    DhcpRole, Difference, Item, ItemKey, ItemKind, RouterRole, cut,
    reach::{Hosts, Reach, Scope, router_ports},
};
use crate::{id::*, noun::*, state::*};

/// How the hosts' views differ between two states.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Steps {
    /// Only hosts that a change concerns are here.
    pub hosts: BTreeMap<HostName, Difference>,
    /// What every host's view takes besides: who its peers are.
    pub everyone: Difference,
}

impl Steps {
    /// The step of one host.
    pub fn of(&self, host: &HostName) -> Difference {
        let mut step = self.hosts.get(host).cloned().unwrap_or_default();
        step.put.extend(self.everyone.put.iter().cloned());
        step.remove.extend(self.everyone.remove.iter().cloned());
        step
    }

    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty() && self.everyone.is_empty()
    }
}

/// The steps from one state to another, which `changes` lead to.
pub fn steps<'a>(
    before: &State,
    after: &State,
    changes: impl IntoIterator<Item = &'a Change>,
) -> Steps {
    let (old, new) = (Reach::new(before), Reach::new(after));
    let mut dirt = Dirt::default();
    for change in changes {
        let (kind, key) = (change.kind(), change.key());
        let (was, is) = (before.object(kind, &key), after.object(kind, &key));
        if was != is {
            dirt.note(&old, &new, was.as_ref(), is.as_ref());
        }
    }
    dirt.spread(&old, &new);
    dirt.steps(&old, &new)
}

/// One item of any view.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Network(NetworkId),
    Segment(SegmentId),
    Subnet(SubnetId),
    Pool(SubnetPoolId),
    Port(PortId),
    Group(SecurityGroupId),
    Rule(SecurityGroupRuleId),
    AddressGroup(AddressGroupId),
    Router(RouterId),
    FloatingIp(FloatingIpId),
    Member(SecurityGroupId, PortId),
    Neighbour(PortId),
    RouterRole(RouterId),
    DhcpRole(NetworkId),
}

impl Key {
    fn shown(self) -> ItemKey {
        let (kind, key) = match self {
            Self::Network(id) => (ItemKind::Network, id.to_string()),
            Self::Segment(id) => (ItemKind::Segment, id.to_string()),
            Self::Subnet(id) => (ItemKind::Subnet, id.to_string()),
            Self::Pool(id) => (ItemKind::SubnetPool, id.to_string()),
            Self::Port(id) => (ItemKind::Port, id.to_string()),
            Self::Group(id) => (ItemKind::SecurityGroup, id.to_string()),
            Self::Rule(id) => (ItemKind::SecurityGroupRule, id.to_string()),
            Self::AddressGroup(id) => (ItemKind::AddressGroup, id.to_string()),
            Self::Router(id) => (ItemKind::Router, id.to_string()),
            Self::FloatingIp(id) => (ItemKind::FloatingIp, id.to_string()),
            Self::Member(group, port) => (ItemKind::Member, Pair(group, port).to_string()),
            Self::Neighbour(id) => (ItemKind::Neighbour, id.to_string()),
            Self::RouterRole(id) => (ItemKind::RouterRole, id.to_string()),
            Self::DhcpRole(id) => (ItemKind::DhcpRole, id.to_string()),
        };
        ItemKey { kind, key }
    }

    /// The scopes that bring the item, each by itself.
    fn scopes(self, state: &State) -> Vec<Scope> {
        let network = |id: NetworkId| vec![Scope::Network(id)];
        match self {
            Self::Network(id) => network(id),
            Self::Segment(id) => state
                .segments
                .get(&id)
                .map_or_else(Vec::new, |it| network(it.network_id)),
            Self::Subnet(id) => state
                .subnets
                .get(&id)
                .map_or_else(Vec::new, |it| network(it.network_id)),
            Self::Pool(id) => {
                let subnets = state.index.subnets_of_pool.of(&id);
                let networks = subnets.filter_map(|id| Some(state.subnets.get(id)?.network_id));
                networks
                    .map(Scope::Network)
                    .collect::<BTreeSet<_>>()
                    .into_iter()
                    .collect()
            }
            Self::Port(id) => port_scopes(state, id),
            Self::Group(id) => vec![Scope::Group(id)],
            Self::Rule(id) => {
                let rule = state.security_group_rules.get(&id);
                rule.into_iter()
                    .map(|it| Scope::Group(it.security_group_id))
                    .collect()
            }
            Self::AddressGroup(id) => {
                let rules = state.index.rules_of_address_group.of(&id);
                let rules = rules.filter_map(|id| state.security_group_rules.get(id));
                rules
                    .map(|rule| Scope::Group(rule.security_group_id))
                    .collect()
            }
            Self::Router(id) | Self::RouterRole(id) => vec![Scope::Router(id)],
            Self::FloatingIp(id) => {
                let router = state.floating_ips.get(&id).and_then(|it| it.router_id);
                router.into_iter().map(Scope::Router).collect()
            }
            Self::Member(group, _) => vec![Scope::Remote(group)],
            Self::Neighbour(id) => state
                .ports
                .get(&id)
                .map_or_else(Vec::new, |it| network(it.network_id)),
            Self::DhcpRole(id) => vec![Scope::Dhcp(id)],
        }
    }

    /// The item as this host has it, given that one of its scopes is there.
    fn item(self, state: &State, host: &HostName) -> Option<Item> {
        match self {
            Self::Network(id) => state.networks.get(&id).cloned().map(Item::from),
            Self::Segment(id) => state.segments.get(&id).cloned().map(Item::from),
            Self::Subnet(id) => state.subnets.get(&id).cloned().map(Item::from),
            Self::Pool(id) => state.subnet_pools.get(&id).cloned().map(Item::from),
            Self::Port(id) => state.ports.get(&id).cloned().map(Item::from),
            Self::Group(id) => state.security_groups.get(&id).cloned().map(Item::from),
            Self::Rule(id) => state.security_group_rules.get(&id).cloned().map(Item::from),
            Self::AddressGroup(id) => state.address_groups.get(&id).cloned().map(Item::from),
            Self::Router(id) => state.routers.get(&id).cloned().map(Item::from),
            Self::FloatingIp(id) => state.floating_ips.get(&id).cloned().map(Item::from),
            Self::Member(group, id) => {
                let port = state.ports.get(&id)?;
                let is_member = port.security_groups.contains(&group);
                is_member.then(|| Arc::new(cut::member(group, port)).into())
            }
            Self::Neighbour(id) => {
                let neighbour = cut::neighbour(state.ports.get(&id)?, host)?;
                Some(Arc::new(neighbour).into())
            }
            Self::RouterRole(id) => {
                let role: RouterRole = cut::router_role(state, id, host)?;
                Some(Arc::new(role).into())
            }
            Self::DhcpRole(id) => {
                let role: DhcpRole = cut::dhcp_role(state, id, host);
                Some(Arc::new(role).into())
            }
        }
    }
}

fn port_scopes(state: &State, id: PortId) -> Vec<Scope> {
    let Some(port) = state.ports.get(&id) else {
        return Vec::new();
    };
    let mut scopes = vec![Scope::Bound(id), Scope::Whole(port.network_id)];
    if port.is_router_port() {
        scopes.extend(port.device_id.parse().ok().map(Scope::Router));
    }
    for floating_ip in state.index.floating_ips_of_port.of(&id) {
        let router = state
            .floating_ips
            .get(floating_ip)
            .and_then(|it| it.router_id);
        scopes.extend(router.map(Scope::Router));
    }
    scopes
}

/// Every item that a scope brings.
fn items(state: &State, scope: Scope) -> Vec<Key> {
    let index = &state.index;
    match scope {
        Scope::Bound(port) => vec![Key::Port(port)],
        Scope::Network(network) => {
            let mut keys = vec![Key::Network(network)];
            keys.extend(
                index
                    .segments_of_network
                    .of(&network)
                    .map(|id| Key::Segment(*id)),
            );
            for id in index.subnets_of_network.of(&network) {
                keys.push(Key::Subnet(*id));
                let pool = state
                    .subnets
                    .get(id)
                    .and_then(|subnet| subnet.subnetpool_id);
                keys.extend(pool.map(Key::Pool));
            }
            keys.extend(
                index
                    .ports_of_network
                    .of(&network)
                    .map(|id| Key::Neighbour(*id)),
            );
            keys
        }
        Scope::Whole(network) => index
            .ports_of_network
            .of(&network)
            .map(|id| Key::Port(*id))
            .collect(),
        Scope::Dhcp(network) => vec![Key::DhcpRole(network)],
        Scope::Router(router) => {
            let mut keys = vec![Key::Router(router), Key::RouterRole(router)];
            keys.extend(
                router_ports(state, router)
                    .iter()
                    .map(|port| Key::Port(port.id)),
            );
            for id in index.floating_ips_of_router.of(&router) {
                keys.push(Key::FloatingIp(*id));
                let port = state.floating_ips.get(id).and_then(|it| it.port_id);
                keys.extend(port.map(Key::Port));
            }
            keys
        }
        Scope::Group(group) => {
            let mut keys = vec![Key::Group(group)];
            for id in index.rules_of_group.of(&group) {
                keys.push(Key::Rule(*id));
                let rule = state.security_group_rules.get(id);
                let named = rule.and_then(|rule| rule.matches.remote_address_group_id);
                keys.extend(named.map(Key::AddressGroup));
            }
            keys
        }
        Scope::Remote(group) => index
            .ports_of_group
            .of(&group)
            .map(|id| Key::Member(group, *id))
            .collect(),
    }
}

/// What may differ between two states.
#[derive(Debug, Default)]
struct Dirt {
    keys: BTreeSet<Key>,
    scopes: BTreeSet<Scope>,
    /// Hosts with an agent that changed.
    hosts: BTreeSet<HostName>,
    /// Hosts that others see differently as a peer.
    peers: BTreeSet<HostName>,
}

impl Dirt {
    fn note(
        &mut self,
        old: &Reach<'_>,
        new: &Reach<'_>,
        was: Option<&Object>,
        is: Option<&Object>,
    ) {
        if let (Some(Object::Port(was)), Some(Object::Port(is))) = (was, is)
            && places(was) == places(is)
        {
            self.port_items(was);
            self.port_items(is);
            return;
        }
        if let Some(was) = was {
            self.object(old.state, was);
        }
        if let Some(is) = is {
            self.object(new.state, is);
        }
    }

    /// Notes one side of a change, in the state that it is of.
    fn object(&mut self, state: &State, object: &Object) {
        match object {
            Object::Network(it) => self.key(Key::Network(it.id)),
            Object::Segment(it) => self.key(Key::Segment(it.id)),
            Object::Subnet(it) => {
                self.key(Key::Subnet(it.id));
                self.keys.extend(it.subnetpool_id.map(Key::Pool));
            }
            Object::SubnetPool(it) => self.key(Key::Pool(it.id)),
            Object::Port(it) => self.port(state, it),
            Object::Router(it) => self.router(it.id),
            Object::FloatingIp(it) => {
                self.key(Key::FloatingIp(it.id));
                self.keys.extend(it.port_id.map(Key::Port));
            }
            Object::SecurityGroup(it) => self.key(Key::Group(it.id)),
            Object::SecurityGroupRule(it) => {
                self.key(Key::Rule(it.id));
                self.keys
                    .extend(it.matches.remote_address_group_id.map(Key::AddressGroup));
                self.scopes
                    .extend(it.matches.remote_group_id.map(Scope::Remote));
            }
            Object::AddressGroup(it) => self.key(Key::AddressGroup(it.id)),
            Object::DhcpBinding(it) => {
                let id = it.network_id;
                self.key(Key::DhcpRole(id));
                self.scopes
                    .extend([Scope::Dhcp(id), Scope::Network(id), Scope::Whole(id)]);
            }
            Object::RouterBinding(it) => self.router(it.router_id),
            Object::RouterRemnant(it) => self.key(Key::RouterRole(it.router_id)),
            Object::Agent(it) => {
                self.hosts.insert(it.host.clone());
                self.peers.insert(it.host.clone());
            }
            Object::DvrMac(it) => {
                self.peers.insert(it.host.clone());
            }
            Object::AddressScope(_)
            | Object::DefaultRule(_)
            | Object::RbacPolicy(_)
            | Object::Quota(_)
            | Object::AutoTopology(_) => {}
        }
    }

    fn key(&mut self, key: Key) {
        self.keys.insert(key);
    }

    fn router(&mut self, id: RouterId) {
        self.keys.extend([Key::Router(id), Key::RouterRole(id)]);
        self.scopes.insert(Scope::Router(id));
    }

    fn port_items(&mut self, port: &Port) {
        self.keys
            .extend([Key::Port(port.id), Key::Neighbour(port.id)]);
        let members = port.security_groups.iter();
        self.keys
            .extend(members.map(|group| Key::Member(*group, port.id)));
        if port.device_owner == owner::DHCP {
            self.key(Key::DhcpRole(port.network_id));
        }
    }

    fn port(&mut self, state: &State, port: &Port) {
        self.port_items(port);
        if port.is_router_port() {
            self.scopes.extend([
                Scope::Network(port.network_id),
                Scope::Whole(port.network_id),
            ]);
            if let Ok(router) = port.device_id.parse() {
                self.router(router);
            }
        }
        if port.bindings.is_empty() {
            return;
        }
        self.scopes
            .extend([Scope::Bound(port.id), Scope::Network(port.network_id)]);
        self.scopes.extend(
            port.security_groups
                .iter()
                .map(|group| Scope::Group(*group)),
        );
        // A distributed router follows the ports of its subnets.
        for id in state.index.router_ports_of_network.of(&port.network_id) {
            let interface = state.ports.get(id);
            let distributed = interface.filter(|it| it.device_owner == owner::ROUTER_INTERFACE_DVR);
            if let Some(Ok(router)) = distributed.map(|it| it.device_id.parse()) {
                self.router(router);
            }
        }
    }

    /// From scopes to those that follow them: a router's networks, the groups that rules name.
    fn spread(&mut self, old: &Reach<'_>, new: &Reach<'_>) {
        let moved = |scope: &Scope| old.hosts(*scope) != new.hosts(*scope);
        self.scopes.retain(moved);
        for scope in self.scopes.clone() {
            for state in [old.state, new.state] {
                match scope {
                    Scope::Router(router) => {
                        for port in router_ports(state, router) {
                            let network = port.network_id;
                            self.scopes
                                .extend([Scope::Network(network), Scope::Whole(network)]);
                        }
                    }
                    Scope::Group(group) => {
                        let rules = state.index.rules_of_group.of(&group);
                        let rules = rules.filter_map(|id| state.security_group_rules.get(id));
                        let named = rules.filter_map(|rule| rule.matches.remote_group_id);
                        self.scopes.extend(named.map(Scope::Remote));
                    }
                    _ => {}
                }
            }
        }
        self.scopes.retain(moved);
    }

    /// Which items may differ at which hosts.
    fn candidates(&self, old: &Reach<'_>, new: &Reach<'_>) -> BTreeSet<(HostName, Key)> {
        let mut candidates = BTreeSet::new();
        for key in &self.keys {
            for reach in [old, new] {
                for scope in key.scopes(reach.state) {
                    let hosts = reach.hosts(scope);
                    candidates.extend(hosts.iter().map(|host| (host.clone(), *key)));
                }
            }
        }
        for scope in &self.scopes {
            let (had, have) = (old.hosts(*scope), new.hosts(*scope));
            let moved: Hosts = had.symmetric_difference(&have).cloned().collect();
            for state in [old.state, new.state] {
                for key in items(state, *scope) {
                    candidates.extend(moved.iter().map(|host| (host.clone(), key)));
                }
            }
        }
        candidates.retain(|(host, _)| !self.hosts.contains(host));
        candidates
    }

    fn steps(&self, old: &Reach<'_>, new: &Reach<'_>) -> Steps {
        let mut steps = Steps::default();
        for (host, key) in self.candidates(old, new) {
            let (was, is) = (find(old, &host, key), find(new, &host, key));
            if was == is {
                continue;
            }
            let step = steps.hosts.entry(host).or_default();
            match is {
                Some(item) => step.put.push(item),
                None => step.remove.push(key.shown()),
            }
        }
        for host in &self.hosts {
            let mut was = cut::view(old.state, host);
            let mut is = cut::view(new.state, host);
            // Peers are everyone's.
            was.peers.clear();
            is.peers.clear();
            let step = was.difference(&is);
            if !step.is_empty() {
                steps.hosts.insert(host.clone(), step);
            }
        }
        for host in &self.peers {
            let (was, is) = (cut::peer(old.state, host), cut::peer(new.state, host));
            match is {
                is if is == was => {}
                Some(peer) => steps.everyone.put.push(Arc::new(peer).into()),
                None => steps.everyone.remove.push(ItemKey {
                    kind: ItemKind::Peer,
                    key: host.to_string(),
                }),
            }
        }
        steps
    }
}

/// What a port's place in the scopes hangs on: while it stays, only the port's own items differ.
fn places(port: &Port) -> impl PartialEq + '_ {
    let hosts: Vec<&HostName> = port.bindings.iter().map(|binding| &binding.host).collect();
    let subnets: Vec<SubnetId> = port.fixed_ips.iter().map(|fixed| fixed.subnet_id).collect();
    let device = (&port.device_owner, &port.device_id);
    (
        port.network_id,
        hosts,
        subnets,
        &port.security_groups,
        device,
    )
}

fn find(reach: &Reach<'_>, host: &HostName, key: Key) -> Option<Item> {
    let mut scopes = key.scopes(reach.state).into_iter();
    let here = scopes.any(|scope| reach.hosts(scope).contains(host));
    here.then(|| key.item(reach.state, host)).flatten()
}

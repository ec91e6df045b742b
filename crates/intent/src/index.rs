//! The questions that the state must answer without reading a whole table, one index each.
//!
//! An index is a set of pairs (what is asked, whose answer it is); a resource says in one place
//! which pairs it stands for, and the same words put them in and take them out.

use std::net::IpAddr;

use imbl::{OrdMap, OrdSet, Vector};
use uuid::Uuid;

use crate::{id::*, noun::*, state::*};

macro_rules! indexes {
    ($($(#[$doc:meta])* $name:ident: $from:ty => $to:ty;)*) => {
        #[derive(Debug, Clone, PartialEq, Default)]
        pub struct Indexes {
            $($(#[$doc])* pub $name: Relation<$from, $to>,)*
            /// How many resources of a kind a project has: what quotas count.
            counts: OrdMap<(ProjectId, Kind), u64>,
            /// How full a subnet is, by the addresses as numbers.
            pub address_density: Density<SubnetId>,
            /// How full a type's (and physical network's) segment numbers are.
            pub number_density: Density<(NetworkType, Option<String>)>,
            /// Each subnet's addresses that were released last, the latest last. Nothing rests on
            /// it but the wish not to give an address out again at once, so it is not kept.
            pub released: OrdMap<SubnetId, Vector<IpAddr>>,
        }
    };
}

indexes! {
    /// Of what an id names alone.
    by_project: (Kind, ProjectId) => Uuid;
    segments_of_network: NetworkId => SegmentId;
    segment_of_number: (NetworkType, Option<String>, Option<u32>) => SegmentId;
    subnets_of_network: NetworkId => SubnetId;
    subnets_of_pool: SubnetPoolId => SubnetId;
    pools_of_scope: AddressScopeId => SubnetPoolId;
    ports_of_network: NetworkId => PortId;
    ports_of_device: DeviceId => PortId;
    /// Any binding counts, active or not.
    ports_of_host: HostName => PortId;
    ports_of_group: SecurityGroupId => PortId;
    /// Which hosts have a network's ports, any binding counting, and which ports those are.
    ports_on_host: (NetworkId, HostName) => PortId;
    group_on_host: (SecurityGroupId, HostName) => PortId;
    /// Ports through which routers touch a network: interfaces, gateways, source NAT's.
    router_ports_of_network: NetworkId => PortId;
    /// An address is unique in its network.
    port_of_address: (NetworkId, IpAddr) => PortId;
    /// The same by subnet and in order: what address allocation walks.
    address_in_subnet: SubnetId => (IpAddr, PortId);
    port_of_mac: (NetworkId, Mac) => PortId;
    rules_of_group: SecurityGroupId => SecurityGroupRuleId;
    rules_of_remote_group: SecurityGroupId => SecurityGroupRuleId;
    rules_of_address_group: AddressGroupId => SecurityGroupRuleId;
    groups_of_name: (ProjectId, String) => SecurityGroupId;
    routers_of_gateway_network: NetworkId => RouterId;
    floating_ips_of_port: PortId => FloatingIpId;
    floating_ips_of_router: RouterId => FloatingIpId;
    floating_ip_of_floating_port: PortId => FloatingIpId;
    floating_ips_of_network: NetworkId => FloatingIpId;
    rbac_of_object: Uuid => RbacPolicyId;
    rbac_of_target: ProjectId => RbacPolicyId;
    agent_of_host: (HostName, AgentType) => AgentId;
    dhcp_agents_of_network: NetworkId => AgentId;
    networks_of_dhcp_agent: AgentId => NetworkId;
    agents_of_router: RouterId => AgentId;
    routers_of_agent: AgentId => RouterId;
    remnants_of_router: RouterId => AgentId;
}

impl Indexes {
    pub fn count(&self, project: &ProjectId, kind: Kind) -> u64 {
        self.counts
            .get(&(project.clone(), kind))
            .copied()
            .unwrap_or(0)
    }

    fn owned<R: Resource>(&mut self, resource: &R, present: bool) {
        let Some(project) = resource.project() else {
            return;
        };
        let mut counted = (project.clone(), R::KIND);
        if let Some((known, _)) = self.counts.get_key_value(&counted) {
            // One text for all of a project's keys: copying a tree's node counts references up,
            // and those of one text are in one place.
            counted.0 = known.0.clone();
        }
        if let Some(id) = resource.key().id() {
            self.by_project
                .set((R::KIND, counted.0.clone()), id, present);
        }
        let count = self.counts.entry(counted.clone()).or_insert(0);
        *count = if present { *count + 1 } else { *count - 1 };
        if *count == 0 {
            self.counts.remove(&counted);
        }
    }
}

/// Pairs in order, asked by their first half. One set for all pairs: a set for each question would
/// cost a tree node of a kilobyte for every answer that stands alone, as most do.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation<A: Ord + Clone, B: Ord + Clone>(OrdSet<(A, B)>);

impl<A: Ord + Clone, B: Ord + Clone> Default for Relation<A, B> {
    fn default() -> Self {
        Self(OrdSet::new())
    }
}

impl<A: Ord + Clone, B: Ord + Clone + Least> Relation<(A, HostName), B> {
    /// The hosts that have an answer: found by leaps, not by reading every answer.
    pub fn hosts_of(&self, key: &A) -> Vec<HostName> {
        let mut hosts = Vec::new();
        let mut from = HostName::default();
        loop {
            let next = self.0.get_next(&((key.clone(), from), B::least()));
            match next {
                Some(((at, host), _)) if at == key => {
                    hosts.push(host.clone());
                    // No name comes between a name and the name with a zero byte behind it.
                    from = format!("{host}\0").into();
                }
                _ => return hosts,
            }
        }
    }
}

impl<A: Ord + Clone, B: Ord + Clone + Least> Relation<A, B> {
    /// All answers to one question, in order.
    pub fn of<'a>(&'a self, key: &'a A) -> impl Iterator<Item = &'a B> + 'a {
        self.0
            .range((key.clone(), B::least())..)
            .take_while(move |(at, _)| at == key)
            .map(|(_, value)| value)
    }

    /// The answer, where there can be but one.
    pub fn one(&self, key: &A) -> Option<&B> {
        self.0
            .get_next(&(key.clone(), B::least()))
            .filter(|(at, _)| at == key)
            .map(|(_, value)| value)
    }

    pub fn any(&self, key: &A) -> bool {
        self.one(key).is_some()
    }

    pub fn contains(&self, key: &A, value: &B) -> bool {
        self.0.contains(&(key.clone(), value.clone()))
    }

    /// Every pair, in order.
    pub fn pairs(&self) -> impl Iterator<Item = &(A, B)> + '_ {
        self.0.iter()
    }

    fn set(&mut self, key: A, value: B, present: bool) {
        if present {
            self.0.insert((key, value));
        } else {
            self.0.remove(&(key, value));
        }
    }
}

/// How many numbers of each run of 256 are taken: what the search for a free one skips by, so that
/// it need not walk what is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Density<K: Ord + Clone>(OrdMap<(K, u128), u16>);

impl<K: Ord + Clone> Default for Density<K> {
    fn default() -> Self {
        Self(OrdMap::new())
    }
}

impl<K: Ord + Clone> Density<K> {
    /// Numbers in a run.
    pub const RUN: u128 = 256;

    /// Every number of the run that holds `number` is taken.
    pub fn is_full(&self, key: &K, number: u128) -> bool {
        let run = (key.clone(), number / Self::RUN);
        self.0.get(&run).is_some_and(|taken| *taken >= 256)
    }

    fn set(&mut self, key: K, number: u128, present: bool) {
        let run = (key, number / Self::RUN);
        if present {
            *self.0.entry(run).or_insert(0) += 1;
            return;
        }
        match self.0.get_mut(&run) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => {
                self.0.remove(&run);
            }
        }
    }
}

/// An address as a number.
pub fn number_of(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// How many released addresses a subnet remembers.
const RELEASED: usize = 64;

impl Indexes {
    fn remember_release(&mut self, subnet: SubnetId, address: IpAddr, present: bool) {
        if !present {
            let released = self.released.entry(subnet).or_default();
            released.push_back(address);
            if released.len() > RELEASED {
                released.pop_front();
            }
        } else if let Some(released) = self.released.get(&subnet)
            && let Some(at) = released.iter().rposition(|it| *it == address)
        {
            self.released.entry(subnet).or_default().remove(at);
        }
    }
}

/// A value that none of its type comes before: where a range of answers begins.
pub trait Least {
    fn least() -> Self;
}

impl<K> Least for Id<K> {
    fn least() -> Self {
        Self::new(uuid::Uuid::nil())
    }
}
impl Least for Uuid {
    fn least() -> Self {
        Self::nil()
    }
}
impl<A: Least, B: Least> Least for (A, B) {
    fn least() -> Self {
        (A::least(), B::least())
    }
}
impl Least for IpAddr {
    fn least() -> Self {
        IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
    }
}

/// What a resource stands for in the indexes: said once, for coming and for going.
pub(crate) trait Indexed: Resource {
    fn index(&self, ix: &mut Indexes, present: bool);

    /// Certain that the other stands for the same pairs, so that a change of one into the other
    /// leaves the indexes alone. Said where changes are frequent.
    fn is_indexed_like(&self, _other: &Self) -> bool {
        false
    }
}

impl Indexed for Network {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
    }
}

impl Indexed for Segment {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.segments_of_network
            .set(self.network_id, self.id, present);
        let number = (
            self.network_type,
            self.physical_network.clone(),
            self.segmentation_id,
        );
        ix.segment_of_number.set(number, self.id, present);
        if let Some(number) = self.segmentation_id {
            let key = (self.network_type, self.physical_network.clone());
            ix.number_density.set(key, number.into(), present);
        }
    }
}

impl Indexed for Subnet {
    fn index(&self, ix: &mut Indexes, present: bool) {
        if !present {
            ix.released.remove(&self.id);
        }
        ix.owned(self, present);
        ix.subnets_of_network.set(self.network_id, self.id, present);
        if let Some(pool) = self.subnetpool_id {
            ix.subnets_of_pool.set(pool, self.id, present);
        }
    }
}

impl Indexed for SubnetPool {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
        if let Some(scope) = self.address_scope_id {
            ix.pools_of_scope.set(scope, self.id, present);
        }
    }
}

impl Indexed for Port {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
        ix.ports_of_network.set(self.network_id, self.id, present);
        ix.port_of_mac
            .set((self.network_id, self.mac_address), self.id, present);
        if !self.device_id.is_empty() {
            ix.ports_of_device
                .set(self.device_id.clone(), self.id, present);
        }
        for binding in &self.bindings {
            ix.ports_of_host.set(binding.host.clone(), self.id, present);
            let on_host = (self.network_id, binding.host.clone());
            ix.ports_on_host.set(on_host, self.id, present);
            for group in &self.security_groups {
                let on_host = (*group, binding.host.clone());
                ix.group_on_host.set(on_host, self.id, present);
            }
        }
        if self.is_router_port() {
            ix.router_ports_of_network
                .set(self.network_id, self.id, present);
        }
        for group in &self.security_groups {
            ix.ports_of_group.set(*group, self.id, present);
        }
        for fixed in &self.fixed_ips {
            ix.address_in_subnet
                .set(fixed.subnet_id, (fixed.ip_address, self.id), present);
            ix.port_of_address
                .set((self.network_id, fixed.ip_address), self.id, present);
            ix.address_density
                .set(fixed.subnet_id, number_of(fixed.ip_address), present);
            ix.remember_release(fixed.subnet_id, fixed.ip_address, present);
        }
    }

    fn is_indexed_like(&self, other: &Self) -> bool {
        fn hosts(port: &Port) -> impl Iterator<Item = &HostName> {
            port.bindings.iter().map(|binding| &binding.host)
        }
        self.project_id == other.project_id
            && self.network_id == other.network_id
            && self.mac_address == other.mac_address
            && self.device_id == other.device_id
            && self.device_owner == other.device_owner
            && self.fixed_ips == other.fixed_ips
            && self.security_groups == other.security_groups
            && hosts(self).eq(hosts(other))
    }
}

impl Indexed for Router {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
        if let Some(gateway) = &self.gateway {
            ix.routers_of_gateway_network
                .set(gateway.network_id, self.id, present);
        }
    }
}

impl Indexed for FloatingIp {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
        ix.floating_ips_of_network
            .set(self.floating_network_id, self.id, present);
        ix.floating_ip_of_floating_port
            .set(self.floating_port_id, self.id, present);
        if let Some(port) = self.port_id {
            ix.floating_ips_of_port.set(port, self.id, present);
        }
        if let Some(router) = self.router_id {
            ix.floating_ips_of_router.set(router, self.id, present);
        }
    }
}

impl Indexed for SecurityGroup {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
        let name = (self.project_id.clone(), self.name.clone());
        ix.groups_of_name.set(name, self.id, present);
    }
}

impl Indexed for SecurityGroupRule {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
        ix.rules_of_group
            .set(self.security_group_id, self.id, present);
        if let Some(remote) = self.matches.remote_group_id {
            ix.rules_of_remote_group.set(remote, self.id, present);
        }
        if let Some(remote) = self.matches.remote_address_group_id {
            ix.rules_of_address_group.set(remote, self.id, present);
        }
    }
}

impl Indexed for RbacPolicy {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.owned(self, present);
        ix.rbac_of_object.set(self.object_id, self.id, present);
        ix.rbac_of_target
            .set(self.target_project.clone(), self.id, present);
    }
}

impl Indexed for Agent {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.agent_of_host
            .set((self.host.clone(), self.agent_type), self.id, present);
    }
}

impl Indexed for DhcpBinding {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.dhcp_agents_of_network
            .set(self.network_id, self.agent_id, present);
        ix.networks_of_dhcp_agent
            .set(self.agent_id, self.network_id, present);
    }
}

impl Indexed for RouterBinding {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.agents_of_router
            .set(self.router_id, self.agent_id, present);
        ix.routers_of_agent
            .set(self.agent_id, self.router_id, present);
    }
}

impl Indexed for RouterRemnant {
    fn index(&self, ix: &mut Indexes, present: bool) {
        ix.remnants_of_router
            .set(self.router_id, self.agent_id, present);
    }
}

macro_rules! owned_only {
    ($($type:ident),*) => {$(
        impl Indexed for $type {
            fn index(&self, ix: &mut Indexes, present: bool) {
                ix.owned(self, present);
            }
        }
    )*};
}

owned_only!(
    AddressScope,
    AddressGroup,
    DefaultRule,
    Quota,
    AutoTopology,
    DvrMac
);

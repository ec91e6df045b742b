//! What is true of every state that the ledger leaves: a property test holds it against random
//! histories, and a state that comes from elsewhere is held against it before it is believed.

use std::{collections::BTreeMap, fmt::Display};

use intent::{State, owner, *};
use ipnet::IpNet;

/// Sentences about what does not hold.
#[derive(Default)]
struct Broken(Vec<String>);

impl Broken {
    fn unless(&mut self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.0.push(what());
        }
    }

    /// `other` is what was found in the place of a thing that is its only holder.
    fn unless_alone(&mut self, other: Option<impl Display>, what: impl FnOnce() -> String) {
        if let Some(other) = other {
            self.0.push(format!("{}, as has {other}", what()));
        }
    }
}

/// Everything in a state that no history of commands can have led to, with the ids concerned.
pub fn broken(state: &State) -> Vec<String> {
    let mut broken = Broken::default();
    for check in [
        networks,
        subnets,
        pools,
        ports,
        bindings,
        routers,
        floating_ips,
        groups,
        schedules,
        policies,
        topologies,
    ] {
        check(state, &mut broken);
    }
    broken.0
}

fn networks(state: &State, broken: &mut Broken) {
    let mut numbers = BTreeMap::new();
    for segment in state.segments.values() {
        broken.unless(state.networks.contains_key(&segment.network_id), || {
            format!("segment {} has no network", segment.id)
        });
        if segment.network_type == NetworkType::Local {
            continue;
        }
        let number = (
            segment.network_type,
            segment.physical_network.clone(),
            segment.segmentation_id,
        );
        let other = numbers.insert(number, segment.id);
        broken.unless_alone(other, || {
            format!("segment {} has a number of its network type", segment.id)
        });
    }
    for network in state.networks.values() {
        broken.unless(state.index.segments_of_network.any(&network.id), || {
            format!("network {} has no segment", network.id)
        });
    }
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn subnets(state: &State, broken: &mut Broken) {
    for subnet in state.subnets.values() {
        broken.unless(state.networks.contains_key(&subnet.network_id), || {
            format!("subnet {} has no network", subnet.id)
        });
        for pool in &subnet.allocation_pools {
            let inside = subnet.cidr.contains(&pool.start) && subnet.cidr.contains(&pool.end);
            broken.unless(inside, || {
                format!("a pool of subnet {} leaves {}", subnet.id, subnet.cidr)
            });
            let gateway = subnet.gateway_ip;
            let holds = gateway.is_some_and(|it| pool.start <= it && it <= pool.end);
            broken.unless(!holds, || {
                format!("a pool of subnet {} holds its gateway", subnet.id)
            });
        }
        let others = state.index.subnets_of_network.of(&subnet.network_id);
        for other in others.filter(|id| **id != subnet.id) {
            let other = &state.subnets[other];
            broken.unless(!overlap(&subnet.cidr, &other.cidr), || {
                format!(
                    "subnets {} and {} overlap in a network",
                    subnet.id, other.id
                )
            });
        }
        let pool = subnet.subnetpool_id;
        broken.unless(
            pool.is_none_or(|it| state.subnet_pools.contains_key(&it)),
            || format!("subnet {} has a pool that is gone", subnet.id),
        );
        let segment = subnet.segment_id;
        let is_its = |id: SegmentId| {
            let segment = state.segments.get(&id);
            segment.is_some_and(|it| it.network_id == subnet.network_id)
        };
        broken.unless(segment.is_none_or(is_its), || {
            format!(
                "subnet {} has a segment that its network has not",
                subnet.id
            )
        });
    }
}

fn pools(state: &State, broken: &mut Broken) {
    for pool in state.subnet_pools.values() {
        let ids = state.index.subnets_of_pool.of(&pool.id);
        let subnets: Vec<&Subnet> = ids.map(|id| &*state.subnets[id]).collect();
        for (at, subnet) in subnets.iter().enumerate() {
            let cidr = &subnet.cidr;
            let inside = pool.prefixes.iter().any(|prefix| prefix.contains(cidr));
            broken.unless(inside, || {
                format!("subnet {} is not in its pool", subnet.id)
            });
            let mut later = subnets[at + 1..].iter();
            let other = later.find(|other| overlap(cidr, &other.cidr));
            broken.unless(other.is_none(), || {
                format!("subnet {} overlaps another of its pool", subnet.id)
            });
        }
        let scope = pool.address_scope_id;
        broken.unless(
            scope.is_none_or(|it| state.address_scopes.contains_key(&it)),
            || format!("pool {} has no scope", pool.id),
        );
    }
}

fn ports(state: &State, broken: &mut Broken) {
    let mut addresses = BTreeMap::new();
    let mut macs = BTreeMap::new();
    for port in state.ports.values() {
        let network = port.network_id;
        broken.unless(state.networks.contains_key(&network), || {
            format!("port {} has no network", port.id)
        });
        let twin = macs.insert((network, port.mac_address), port.id);
        broken.unless_alone(twin, || {
            format!("port {} has {} on its network", port.id, port.mac_address)
        });
        for fixed in &port.fixed_ips {
            let subnet = state.subnets.get(&fixed.subnet_id);
            let fits = subnet.is_some_and(|subnet| {
                subnet.network_id == network && subnet.cidr.contains(&fixed.ip_address)
            });
            broken.unless(fits, || {
                let (address, subnet) = (fixed.ip_address, fixed.subnet_id);
                format!(
                    "port {} has {address}, not of a subnet {subnet} of its network",
                    port.id
                )
            });
            let twin = addresses.insert((network, fixed.ip_address), port.id);
            broken.unless_alone(twin, || {
                format!("port {} has {} on its network", port.id, fixed.ip_address)
            });
        }
        for group in &port.security_groups {
            broken.unless(state.security_groups.contains_key(group), || {
                format!("port {} has a group that is gone", port.id)
            });
        }
        let guarded = port.port_security_enabled
            || port.security_groups.is_empty() && port.allowed_address_pairs.is_empty();
        broken.unless(guarded, || {
            format!("port {} has groups and no port security", port.id)
        });
    }
}

fn bindings(state: &State, broken: &mut Broken) {
    for port in state.ports.values() {
        let active = port
            .bindings
            .iter()
            .filter(|it| it.status == BindingStatus::Active);
        broken.unless(active.count() <= 1, || {
            format!("port {} is active twice", port.id)
        });
        let mut hosts: Vec<_> = port.bindings.iter().map(|it| &it.host).collect();
        hosts.sort();
        hosts.dedup();
        broken.unless(hosts.len() == port.bindings.len(), || {
            format!("port {} is bound to a host twice", port.id)
        });
        let wired = port.active_binding().is_some_and(|it| it.up);
        let many = port.device_owner == owner::ROUTER_INTERFACE_DVR;
        broken.unless(port.status != PortStatus::Active || wired || many, || {
            format!("port {} is ACTIVE and wired nowhere", port.id)
        });
    }
}

fn router_of(state: &State, port: &Port) -> Option<RouterId> {
    let router = port.device_id.parse().ok()?;
    state.routers.contains_key(&router).then_some(router)
}

fn routers(state: &State, broken: &mut Broken) {
    let mut inside: BTreeMap<RouterId, Vec<(NetworkId, IpNet)>> = BTreeMap::new();
    for port in state.ports.values() {
        if !owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str()) {
            continue;
        }
        // Users may call a port so that no router has.
        let Some(router) = router_of(state, port) else {
            continue;
        };
        for fixed in &port.fixed_ips {
            if let Some(subnet) = state.subnets.get(&fixed.subnet_id) {
                let place = (port.network_id, subnet.cidr);
                inside.entry(router).or_default().push(place);
            }
        }
    }
    for (router, cidrs) in inside {
        for (at, (network, cidr)) in cidrs.iter().enumerate() {
            let apart = |(other, it): &(NetworkId, IpNet)| other == network || !overlap(it, cidr);
            broken.unless(cidrs[at + 1..].iter().all(apart), || {
                format!("router {router} has overlapping subnets at {cidr}")
            });
        }
    }
    for router in state.routers.values() {
        let Some(gateway) = &router.gateway else {
            continue;
        };
        let port = state.ports.get(&gateway.port_id);
        let own = port.is_some_and(|port| {
            port.device_owner == owner::ROUTER_GATEWAY
                && port.network_id == gateway.network_id
                && *port.device_id == *router.id.to_string()
        });
        broken.unless(own, || format!("router {} has no gateway port", router.id));
    }
}

fn floating_ips(state: &State, broken: &mut Broken) {
    let mut led = BTreeMap::new();
    for it in state.floating_ips.values() {
        let port = state.ports.get(&it.floating_port_id);
        let holds = port.is_some_and(|port| {
            port.device_owner == owner::FLOATING_IP
                && port
                    .addresses()
                    .any(|address| address == it.floating_ip_address)
        });
        broken.unless(holds, || format!("floating IP {} has no port", it.id));
        let Some(id) = it.port_id else {
            broken.unless(
                it.router_id.is_none() && it.fixed_ip_address.is_none(),
                || format!("floating IP {} leads half-way", it.id),
            );
            continue;
        };
        let leads = state.ports.get(&id).is_some_and(|port| {
            port.addresses()
                .any(|address| Some(address) == it.fixed_ip_address)
        });
        broken.unless(leads, || {
            format!("floating IP {} leads to an address that is gone", it.id)
        });
        let router = it
            .router_id
            .is_some_and(|id| state.routers.contains_key(&id));
        broken.unless(router, || format!("floating IP {} has no router", it.id));
        let end = (it.floating_network_id, id, it.fixed_ip_address);
        let twin = led.insert(end, it.id);
        broken.unless_alone(twin, || {
            format!("floating IP {} leads to an address of port {id}", it.id)
        });
    }
}

fn groups(state: &State, broken: &mut Broken) {
    for rule in state.security_group_rules.values() {
        let remote = rule.matches.remote_group_id;
        let named = rule.matches.remote_address_group_id;
        let whole = state.security_groups.contains_key(&rule.security_group_id)
            && remote.is_none_or(|it| state.security_groups.contains_key(&it))
            && named.is_none_or(|it| state.address_groups.contains_key(&it));
        broken.unless(whole, || {
            format!("rule {} names a group that is gone", rule.id)
        });
    }
    let mut defaults = BTreeMap::new();
    for group in state
        .security_groups
        .values()
        .filter(|group| group.is_default)
    {
        let twin = defaults.insert(&group.project_id, group.id);
        broken.unless_alone(twin, || {
            format!("security group {} is its project's default", group.id)
        });
    }
}

fn schedules(state: &State, broken: &mut Broken) {
    let mut places = BTreeMap::new();
    for agent in state.agents.values() {
        let twin = places.insert((&agent.host, agent.agent_type), agent.id);
        broken.unless_alone(twin, || {
            format!(
                "agent {} is the {} of {}",
                agent.id, agent.agent_type, agent.host
            )
        });
    }
    for DhcpBinding {
        network_id,
        agent_id,
    } in state.dhcp_bindings.values().map(|it| &**it)
    {
        let whole = state.networks.contains_key(network_id) && state.agents.contains_key(agent_id);
        broken.unless(whole, || {
            format!("network {network_id} is served by agent {agent_id}: one of them is gone")
        });
    }
    let mut routers = BTreeMap::new();
    for RouterBinding {
        router_id,
        agent_id,
    } in state.router_bindings.values().map(|it| &**it)
    {
        let whole = state.routers.contains_key(router_id) && state.agents.contains_key(agent_id);
        broken.unless(whole, || {
            format!("router {router_id} is served by agent {agent_id}: one of them is gone")
        });
        let twin = routers.insert(router_id, agent_id);
        broken.unless_alone(twin, || {
            format!("agent {agent_id} is given router {router_id}")
        });
    }
    for RouterRemnant {
        router_id,
        agent_id,
        ..
    } in state.router_remnants.values().map(|it| &**it)
    {
        let whole = state.routers.contains_key(router_id) && state.agents.contains_key(agent_id);
        broken.unless(whole, || {
            format!("router {router_id} may still be with agent {agent_id}: one of them is gone")
        });
        let has_it = state.index.agents_of_router.contains(router_id, agent_id);
        broken.unless(!has_it, || {
            format!("router {router_id} may still be with agent {agent_id}, which has it")
        });
    }
}

fn policies(state: &State, broken: &mut Broken) {
    for policy in state.rbac_policies.values() {
        let id = policy.object_id;
        let there = match policy.object_type {
            RbacObject::Network => state.networks.contains_key(&Id::new(id)),
            RbacObject::SecurityGroup => state.security_groups.contains_key(&Id::new(id)),
            RbacObject::AddressScope => state.address_scopes.contains_key(&Id::new(id)),
            RbacObject::AddressGroup => state.address_groups.contains_key(&Id::new(id)),
            RbacObject::SubnetPool => state.subnet_pools.contains_key(&Id::new(id)),
        };
        broken.unless(there, || {
            format!("RBAC policy {} shares what is gone", policy.id)
        });
    }
}

fn topologies(state: &State, broken: &mut Broken) {
    for topology in state.auto_topologies.values() {
        let whole = state.networks.contains_key(&topology.network_id)
            && state.routers.contains_key(&topology.router_id);
        broken.unless(whole, || {
            format!(
                "what was allocated to project {} is gone",
                topology.project_id
            )
        });
    }
}

//! What is true of every state that the ledger leaves.

use std::collections::BTreeMap;

use intent::{State, owner, *};
use ipnet::IpNet;

type Check = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

pub(crate) fn check(before: &State, state: &State) -> Check {
    networks(state)?;
    subnets(state)?;
    pools(state)?;
    ports(state)?;
    bindings(state)?;
    routers(state)?;
    floating_ips(state)?;
    groups(state)?;
    schedules(state)?;
    policies(state)?;
    indexes(state)?;
    revisions(before, state)
}

fn networks(state: &State) -> Check {
    let mut numbers = BTreeMap::new();
    for segment in state.segments.values() {
        ensure(state.networks.contains_key(&segment.network_id), || {
            format!("segment {} has no network", segment.id)
        })?;
        if segment.network_type == NetworkType::Local {
            continue;
        }
        let number = (
            segment.network_type,
            segment.physical_network.clone(),
            segment.segmentation_id,
        );
        let other = numbers.insert(number, segment.id);
        ensure(other.is_none(), || {
            format!("{other:?} and {} are one segment", segment.id)
        })?;
    }
    for network in state.networks.values() {
        ensure(state.index.segments_of_network.any(&network.id), || {
            format!("network {} has no segment", network.id)
        })?;
    }
    Ok(())
}

fn overlap(a: &IpNet, b: &IpNet) -> bool {
    a.contains(b) || b.contains(a)
}

fn subnets(state: &State) -> Check {
    for subnet in state.subnets.values() {
        ensure(state.networks.contains_key(&subnet.network_id), || {
            format!("subnet {} has no network", subnet.id)
        })?;
        for pool in &subnet.allocation_pools {
            let inside = subnet.cidr.contains(&pool.start) && subnet.cidr.contains(&pool.end);
            ensure(inside, || format!("a pool of {} leaves it", subnet.cidr))?;
            let gateway = subnet.gateway_ip;
            let holds = gateway.is_some_and(|it| pool.start <= it && it <= pool.end);
            ensure(!holds, || {
                format!("a pool of {} holds the gateway", subnet.cidr)
            })?;
        }
        let others = state.index.subnets_of_network.of(&subnet.network_id);
        for other in others.filter(|id| **id != subnet.id) {
            let other = &state.subnets[other];
            ensure(!overlap(&subnet.cidr, &other.cidr), || {
                format!("{} and {} overlap in a network", subnet.cidr, other.cidr)
            })?;
        }
    }
    Ok(())
}

fn pools(state: &State) -> Check {
    for pool in state.subnet_pools.values() {
        let ids = state.index.subnets_of_pool.of(&pool.id);
        let subnets: Vec<_> = ids.map(|id| state.subnets[id].cidr).collect();
        for (at, cidr) in subnets.iter().enumerate() {
            let inside = pool.prefixes.iter().any(|prefix| prefix.contains(cidr));
            ensure(inside, || format!("{cidr} is not in its pool"))?;
            let apart = !subnets[at + 1..].iter().any(|other| overlap(cidr, other));
            ensure(apart, || format!("{cidr} overlaps in its pool"))?;
        }
        let scope = pool.address_scope_id;
        ensure(
            scope.is_none_or(|it| state.address_scopes.contains_key(&it)),
            || format!("pool {} has no scope", pool.id),
        )?;
    }
    Ok(())
}

fn ports(state: &State) -> Check {
    let mut addresses = BTreeMap::new();
    let mut macs = BTreeMap::new();
    for port in state.ports.values() {
        let network = port.network_id;
        ensure(state.networks.contains_key(&network), || {
            format!("port {} has no network", port.id)
        })?;
        let twin = macs.insert((network, port.mac_address), port.id);
        ensure(twin.is_none(), || {
            format!("{twin:?} and {} share a MAC", port.id)
        })?;
        for fixed in &port.fixed_ips {
            let subnet = state.subnets.get(&fixed.subnet_id);
            let fits = subnet.is_some_and(|subnet| {
                subnet.network_id == network && subnet.cidr.contains(&fixed.ip_address)
            });
            ensure(fits, || {
                format!("port {} has {fixed:?} of no subnet of its", port.id)
            })?;
            let twin = addresses.insert((network, fixed.ip_address), port.id);
            ensure(twin.is_none(), || {
                format!("{twin:?} and {} share an address", port.id)
            })?;
        }
        for group in &port.security_groups {
            ensure(state.security_groups.contains_key(group), || {
                format!("port {} has a group that is gone", port.id)
            })?;
        }
        let guarded = port.port_security_enabled
            || port.security_groups.is_empty() && port.allowed_address_pairs.is_empty();
        ensure(guarded, || {
            format!("port {} has groups and no port security", port.id)
        })?;
    }
    Ok(())
}

fn bindings(state: &State) -> Check {
    for port in state.ports.values() {
        let active = port
            .bindings
            .iter()
            .filter(|it| it.status == BindingStatus::Active);
        ensure(active.count() <= 1, || {
            format!("port {} is active twice", port.id)
        })?;
        let mut hosts: Vec<_> = port.bindings.iter().map(|it| &it.host).collect();
        hosts.sort();
        hosts.dedup();
        ensure(hosts.len() == port.bindings.len(), || {
            format!("port {} is bound to a host twice", port.id)
        })?;
        let wired = port.active_binding().is_some_and(|it| it.up);
        let many = port.device_owner == owner::ROUTER_INTERFACE_DVR;
        ensure(port.status != PortStatus::Active || wired || many, || {
            format!("port {} is ACTIVE and wired nowhere", port.id)
        })?;
    }
    Ok(())
}

fn router_of(state: &State, port: &Port) -> Option<RouterId> {
    let router = port.device_id.parse().ok()?;
    state.routers.contains_key(&router).then_some(router)
}

fn routers(state: &State) -> Check {
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
            let cidr = state.subnets[&fixed.subnet_id].cidr;
            inside
                .entry(router)
                .or_default()
                .push((port.network_id, cidr));
        }
    }
    for (router, cidrs) in inside {
        for (at, (network, cidr)) in cidrs.iter().enumerate() {
            let apart = |(other, it): &(NetworkId, IpNet)| other == network || !overlap(it, cidr);
            ensure(cidrs[at + 1..].iter().all(apart), || {
                format!("router {router} has overlapping subnets at {cidr}")
            })?;
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
        ensure(own, || format!("router {} has no gateway port", router.id))?;
    }
    Ok(())
}

fn floating_ips(state: &State) -> Check {
    let mut led = BTreeMap::new();
    for it in state.floating_ips.values() {
        let port = state.ports.get(&it.floating_port_id);
        let holds = port.is_some_and(|port| {
            port.device_owner == owner::FLOATING_IP
                && port
                    .addresses()
                    .any(|address| address == it.floating_ip_address)
        });
        ensure(holds, || format!("floating IP {} has no port", it.id))?;
        let Some(id) = it.port_id else {
            ensure(
                it.router_id.is_none() && it.fixed_ip_address.is_none(),
                || format!("floating IP {} leads half-way", it.id),
            )?;
            continue;
        };
        let leads = state.ports.get(&id).is_some_and(|port| {
            port.addresses()
                .any(|address| Some(address) == it.fixed_ip_address)
        });
        ensure(leads, || {
            format!("floating IP {} leads to an address that is gone", it.id)
        })?;
        let router = it
            .router_id
            .is_some_and(|id| state.routers.contains_key(&id));
        ensure(router, || format!("floating IP {} has no router", it.id))?;
        let end = (it.floating_network_id, id, it.fixed_ip_address);
        let twin = led.insert(end, it.id);
        ensure(twin.is_none(), || {
            format!("{twin:?} and {} lead to one address", it.id)
        })?;
    }
    Ok(())
}

fn groups(state: &State) -> Check {
    for rule in state.security_group_rules.values() {
        let remote = rule.matches.remote_group_id;
        let named = rule.matches.remote_address_group_id;
        let whole = state.security_groups.contains_key(&rule.security_group_id)
            && remote.is_none_or(|it| state.security_groups.contains_key(&it))
            && named.is_none_or(|it| state.address_groups.contains_key(&it));
        ensure(whole, || {
            format!("rule {} names a group that is gone", rule.id)
        })?;
    }
    let mut defaults = BTreeMap::new();
    for group in state
        .security_groups
        .values()
        .filter(|group| group.is_default)
    {
        let twin = defaults.insert(&group.project_id, group.id);
        ensure(twin.is_none(), || {
            format!("{} has two default groups", group.project_id)
        })?;
    }
    Ok(())
}

fn schedules(state: &State) -> Check {
    for binding in state.dhcp_bindings.values() {
        let whole = state.networks.contains_key(&binding.network_id)
            && state.agents.contains_key(&binding.agent_id);
        ensure(whole, || format!("{binding:?} dangles"))?;
    }
    for binding in state.router_bindings.values() {
        let whole = state.routers.contains_key(&binding.router_id)
            && state.agents.contains_key(&binding.agent_id);
        ensure(whole, || format!("{binding:?} dangles"))?;
    }
    for remnant in state.router_remnants.values() {
        let whole = state.routers.contains_key(&remnant.router_id)
            && state.agents.contains_key(&remnant.agent_id);
        ensure(whole, || format!("{remnant:?} dangles"))?;
        let agents = &state.index.agents_of_router;
        ensure(
            !agents.contains(&remnant.router_id, &remnant.agent_id),
            || format!("{remnant:?} is of an agent that has the router"),
        )?;
    }
    Ok(())
}

fn policies(state: &State) -> Check {
    for policy in state.rbac_policies.values() {
        let id = policy.object_id;
        let there = match policy.object_type {
            RbacObject::Network => state.networks.contains_key(&Id::new(id)),
            RbacObject::SecurityGroup => state.security_groups.contains_key(&Id::new(id)),
            RbacObject::AddressScope => state.address_scopes.contains_key(&Id::new(id)),
            RbacObject::AddressGroup => state.address_groups.contains_key(&Id::new(id)),
            RbacObject::SubnetPool => state.subnet_pools.contains_key(&Id::new(id)),
        };
        ensure(there, || format!("{policy:?} shares what is gone"))?;
    }
    Ok(())
}

/// The indexes, and with them what quotas count, say what the tables say.
fn indexes(state: &State) -> Check {
    let mut anew = State::default();
    state.objects().for_each(|object| anew.put(object));
    let mut kept = state.index.clone();
    kept.released = anew.index.released.clone();
    ensure(kept == anew.index, || {
        "an index is not what its table says".to_owned()
    })?;
    for kind in Kind::ALL {
        let mut counts: BTreeMap<ProjectId, u64> = BTreeMap::new();
        for object in state.objects().filter(|object| object.kind() == *kind) {
            if let Some(project) = object.project() {
                *counts.entry(project.clone()).or_default() += 1;
            }
        }
        for (project, count) in counts {
            ensure(state.index.count(&project, *kind) == count, || {
                format!("{project}'s {kind:?} are miscounted")
            })?;
        }
    }
    Ok(())
}

fn revisions(before: &State, state: &State) -> Check {
    for object in state.objects() {
        let Some(old) = before.object(object.kind(), &object.key()) else {
            continue;
        };
        let (Some(was), Some(is)) = (old.meta(), object.meta()) else {
            continue;
        };
        let grown = is.revision_number >= was.revision_number && is.created_at == was.created_at;
        ensure(grown, || {
            format!("{:?} {} went back", object.kind(), object.key())
        })?;
        let tagged = was.tags != is.tags || was.description != is.description;
        ensure(!tagged || is.revision_number > was.revision_number, || {
            format!("{:?} {} changed uncounted", object.kind(), object.key())
        })?;
    }
    Ok(())
}

//! Networks: made with their segments, shared by RBAC policies, gone with all that is theirs.

use intent::{
    AgentId, AgentType, Kind, Network, NetworkId, Object, Port, PortId, ProjectId, RbacAction,
    RbacObject, owner, state::Pair,
};

use crate::{
    Draft, Refusal, draft::Reading, floating_ip, port, rules::Rules, schedule, security_group,
    segment, share, subnet, txn::Txn, zone,
};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::Network,
    missing: |id| Refusal::network_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    refuse_qos(draft)?;
    let hints = draft.texts("availability_zone_hints");
    zone::check(txn, AgentType::Dhcp, &hints)?;
    let id = NetworkId::new(txn.uuid());
    let project_id = txn.owner_of(draft);
    security_group::ensure_default(txn, &project_id);
    segment::create(txn, id, draft)?;
    let network = Network {
        id,
        project_id,
        name: draft.owned("name").unwrap_or_default(),
        admin_state_up: draft.flag("admin_state_up").unwrap_or(true),
        mtu: mtu(txn, id, draft)?,
        external: draft.flag("router:external").unwrap_or(false),
        is_default: draft.flag("is_default").unwrap_or(false),
        port_security_enabled: draft.flag("port_security_enabled").unwrap_or(true),
        dns_domain: draft.owned("dns_domain").unwrap_or_default(),
        availability_zone_hints: hints,
        vlan_transparent: None,
        meta: txn.meta(draft.owned("description"), 1),
    };
    one_default(txn, &network)?;
    let network = txn.create(network);
    if network.external {
        share_with_all(txn, &network, RbacAction::External);
    }
    if draft.flag("shared") == Some(true) {
        share_with_all(txn, &network, RbacAction::Shared);
    }
    Ok(network.into())
}

/// Policies for quality of service are not built: none can be named.
pub(crate) fn refuse_qos(draft: &Draft) -> Result<(), Refusal> {
    match draft.text("qos_policy_id") {
        Some(id) => Err(Refusal::qos_policy_not_found(id)),
        None => Ok(()),
    }
}

/// The MTU asked for, or the biggest that the segments carry.
fn mtu(txn: &Txn<'_>, network: NetworkId, draft: &Draft) -> Result<u32, Refusal> {
    let highest = segment::max_mtu(txn, network);
    match draft.number("mtu").and_then(|mtu| u32::try_from(mtu).ok()) {
        None | Some(0) => Ok(highest),
        Some(mtu) if mtu > highest => Err(Refusal::invalid_input(format_args!(
            "Requested MTU is too big, maximum is {highest}"
        ))),
        Some(mtu) => Ok(mtu),
    }
}

/// Of the external networks at most one is the default.
fn one_default(txn: &Txn<'_>, network: &Network) -> Result<(), Refusal> {
    if !network.is_default {
        return Ok(());
    }
    let mut others = txn.state().networks.values();
    match others.find(|other| other.is_default && other.id != network.id) {
        Some(other) => Err(Refusal::default_external_network_exists(other.id)),
        None => Ok(()),
    }
}

fn share_with_all(txn: &mut Txn<'_>, network: &Network, action: RbacAction) {
    let object = (RbacObject::Network, network.id.uuid());
    share::with_all(txn, object, action, &network.project_id);
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    refuse_qos(draft)?;
    let Some(current) = txn.find::<Network>(key) else {
        return Err(Refusal::network_not_found(key));
    };
    segment::update(txn, &current, draft)?;
    let mut network = Network::clone(&current);
    if draft.given("mtu") {
        network.mtu = mtu(txn, network.id, draft)?;
    }
    draft.set_flag("admin_state_up", &mut network.admin_state_up);
    draft.set_flag("port_security_enabled", &mut network.port_security_enabled);
    draft.set_flag("router:external", &mut network.external);
    draft.set_flag("is_default", &mut network.is_default);
    draft.set_text("name", &mut network.name);
    draft.set_text("dns_domain", &mut network.dns_domain);
    draft.set_description(&mut network.meta);
    one_default(txn, &network)?;
    change_external(txn, &current, &network)?;
    change_shared(txn, &network, draft)?;
    let network = txn.save(network);
    schedule::network(txn, network.id);
    Ok(network.into())
}

fn change_external(txn: &mut Txn<'_>, current: &Network, wanted: &Network) -> Result<(), Refusal> {
    match (current.external, wanted.external) {
        (false, true) => share_with_all(txn, wanted, RbacAction::External),
        (true, false) => {
            let index = &txn.state().index;
            if index.routers_of_gateway_network.any(&wanted.id)
                || index.floating_ips_of_network.any(&wanted.id)
            {
                return Err(Refusal::external_network_in_use(wanted.id));
            }
            share::no_longer_with_all(txn, wanted.id.uuid(), RbacAction::External);
        }
        _ => {}
    }
    Ok(())
}

fn change_shared(txn: &mut Txn<'_>, network: &Network, draft: &Draft) -> Result<(), Refusal> {
    let Some(shared) = draft.flag("shared") else {
        return Ok(());
    };
    let all = ProjectId::from("*");
    let is_shared = txn.is_shared_with(&all, network.id.uuid(), RbacAction::Shared);
    match (is_shared, shared) {
        (false, true) => share_with_all(txn, network, RbacAction::Shared),
        (true, false) => {
            share::no_longer_with_all(txn, network.id.uuid(), RbacAction::Shared);
            if has_strangers(txn, network) {
                return Err(Refusal::invalid_shared_setting(&network.name));
            }
        }
        _ => {}
    }
    Ok(())
}

/// Ports or subnets of projects that no longer reach the network.
pub(crate) fn has_strangers(txn: &Txn<'_>, network: &Network) -> bool {
    let state = txn.state();
    let ports = state.index.ports_of_network.of(&network.id);
    let port_owners = ports
        .filter_map(|id| state.ports.get(id))
        .filter(|port| !port.is_network_owned())
        .map(|port| &port.project_id);
    let subnets = state.index.subnets_of_network.of(&network.id);
    let subnet_owners = subnets.filter_map(|id| Some(&state.subnets.get(id)?.project_id));
    port_owners.chain(subnet_owners).any(|project| {
        *project != network.project_id
            && !project.is_empty()
            && !txn.is_shared_with(project, network.id.uuid(), RbacAction::Shared)
    })
}

/// Ports that go with their network.
fn goes_along(port: &Port) -> bool {
    port.device_owner == owner::DHCP
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let Some(network) = txn.find::<Network>(key) else {
        return Err(Refusal::network_not_found(key));
    };
    let id = network.id;
    floating_ip::drop_unused(txn, id);
    let ports: Vec<PortId> = txn
        .state()
        .index
        .ports_of_network
        .of(&id)
        .copied()
        .collect();
    let stay = |port: &&PortId| txn.get::<Port>(port).is_some_and(|it| !goes_along(&it));
    let in_use: Vec<String> = ports.iter().filter(stay).map(PortId::to_string).collect();
    if !in_use.is_empty() {
        return Err(Refusal::network_in_use(id, in_use.join(",")));
    }
    for port in ports {
        port::remove(txn, port);
    }
    let subnets: Vec<_> = txn
        .state()
        .index
        .subnets_of_network
        .of(&id)
        .copied()
        .collect();
    for subnet in subnets {
        subnet::remove(txn, subnet);
    }
    for segment in segment::of_network(txn, id) {
        txn.delete::<intent::Segment>(&segment.id);
    }
    let agents: Vec<AgentId> = txn
        .state()
        .index
        .dhcp_agents_of_network
        .of(&id)
        .copied()
        .collect();
    for agent in agents {
        txn.delete::<intent::DhcpBinding>(&Pair(id, agent));
    }
    share::forget(txn, id.uuid());
    txn.delete::<Network>(&id);
    Ok(())
}

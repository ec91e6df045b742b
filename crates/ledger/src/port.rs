//! Ports: what a request says of one becomes the port, with its addresses, MAC, groups and binding.
//!
//! Other resources make and take away ports of theirs with [`make`] and [`remove`] (a router's
//! interface, a floating IP's address, a DHCP server's port); the guards here are for users.

use std::{collections::BTreeSet, sync::Arc};

use intent::{
    DeviceId, FixedIp, IpAllocation, JsonMap, Kind, Mac, Network, NetworkId, Object, Port, PortId,
    PortStatus, ProjectId, Router, VnicType, owner,
};

use crate::{
    Draft, Refusal, binding, dhcp_port,
    draft::Reading,
    fixed_ips::{self, Asker, Wanted},
    floating_ip, network, port_extra,
    rules::Rules,
    schedule, security_group,
    txn::Txn,
};

pub(crate) const RULES: Rules = Rules {
    kind: Kind::Port,
    missing: |id| Refusal::port_not_found(id),
    create: Some(create),
    update: Some(update),
    delete: Some(delete),
};

/// A port of the network's own: what its maker decides, the rest is as for any such port.
#[derive(Debug, Clone, Default)]
pub(crate) struct Blueprint<'a> {
    pub(crate) project_id: ProjectId,
    pub(crate) device_id: DeviceId,
    pub(crate) device_owner: &'a str,
    /// `None`: an address of each family.
    pub(crate) fixed_ips: Option<&'a [Wanted]>,
    pub(crate) mac: Option<Mac>,
}

/// Makes a port for a router, a floating IP, a DHCP server: without port security, unbound.
pub(crate) fn make(
    txn: &mut Txn<'_>,
    network_id: NetworkId,
    blueprint: &Blueprint<'_>,
) -> Result<Arc<Port>, Refusal> {
    let mac_address = free_mac(txn, network_id, blueprint.mac)?;
    let asker = Asker {
        network: network_id,
        mac: mac_address,
        device_owner: blueprint.device_owner,
    };
    let fixed_ips = fixed_ips::allocate(txn, asker, blueprint.fixed_ips)?;
    let mut port = blank(txn, network_id, mac_address);
    port.project_id = blueprint.project_id.clone();
    port.device_id = blueprint.device_id.clone();
    port.device_owner = blueprint.device_owner.to_owned();
    port.fixed_ips = fixed_ips;
    Ok(txn.create(port))
}

fn blank(txn: &mut Txn<'_>, network_id: NetworkId, mac_address: Mac) -> Port {
    Port {
        id: PortId::new(txn.uuid()),
        project_id: ProjectId::default(),
        network_id,
        name: String::new(),
        admin_state_up: true,
        status: PortStatus::Down,
        mac_address,
        fixed_ips: Vec::new(),
        device_id: DeviceId::default(),
        device_owner: String::new(),
        security_groups: BTreeSet::new(),
        allowed_address_pairs: Vec::new(),
        extra_dhcp_opts: Vec::new(),
        port_security_enabled: false,
        dns_name: String::new(),
        dns_domain: String::new(),
        bindings: Vec::new(),
        vnic_type: VnicType::Normal,
        profile: JsonMap::new(),
        ip_allocation: IpAllocation::Immediate,
        awaits_dhcp: false,
        passive: None,
        meta: txn.meta(Some(String::new()), 1),
    }
}

/// The MAC asked for, if the network has it not yet, or a fresh one.
fn free_mac(txn: &mut Txn<'_>, network: NetworkId, given: Option<Mac>) -> Result<Mac, Refusal> {
    let is_taken = |txn: &Txn<'_>, mac| txn.state().index.port_of_mac.any(&(network, mac));
    if let Some(mac) = given {
        return match is_taken(txn, mac) {
            true => Err(Refusal::mac_in_use(network, mac)),
            false => Ok(mac),
        };
    }
    // With 24 free bits even a network of a hundred thousand ports rarely needs a second try.
    for _ in 0..64 {
        let mac = txn.random.mac(txn.config().base_mac);
        if !is_taken(txn, mac) {
            return Ok(mac);
        }
    }
    Err(Refusal::no_mac(network))
}

fn create(txn: &mut Txn<'_>, draft: &Draft) -> Result<Object, Refusal> {
    let network = txn.visible_network(draft.text("network_id").unwrap_or_default())?;
    network::refuse_qos(draft)?;
    let project_id = txn.owner_of(draft);
    let device_owner = draft.owned("device_owner").unwrap_or_default();
    let device_id = DeviceId::from(draft.text("device_id").unwrap_or_default());
    check_device(txn, &project_id, &device_owner, &device_id)?;
    // A DHCP server that comes only now has its address before the port chooses one.
    schedule::network(txn, network.id);
    let mac = free_mac(txn, network.id, draft.parsed("mac_address"))?;
    let wanted = draft.value("fixed_ips").filter(|it| !it.is_null());
    let wanted = wanted.map(fixed_ips::read).transpose()?;
    let asker = Asker {
        network: network.id,
        mac,
        device_owner: &device_owner,
    };
    let fixed_ips = fixed_ips::allocate(txn, asker, wanted.as_deref())?;
    let mut port = blank(txn, network.id, mac);
    port.ip_allocation = match &wanted {
        Some(none) if none.is_empty() => IpAllocation::None,
        _ => IpAllocation::Immediate,
    };
    port.project_id = project_id;
    port.device_owner = device_owner;
    port.device_id = device_id;
    port.fixed_ips = fixed_ips;
    port.name = draft.owned("name").unwrap_or_default();
    port.admin_state_up = draft.flag("admin_state_up").unwrap_or(true);
    port.meta.description = draft.owned("description");
    port.meta.tags = draft.texts("tags").into_iter().collect();
    port.port_security_enabled = secured(&network, &port, draft);
    port_extra::set(txn, &mut port, draft)?;
    port.security_groups = first_groups(txn, &port, draft)?;
    binding::set(txn, &mut port, draft)?;
    // The reference counts the binding, and its outcome, apart from the port.
    port.meta.revision_number += if port.bindings.is_empty() { 0 } else { 2 };
    port.awaits_dhcp = dhcp_port::must_wait(txn, &port);
    let id = txn.create(port).id;
    Ok(shown(txn, id))
}

/// The port as the command leaves it.
fn shown(txn: &Txn<'_>, id: PortId) -> Object {
    txn.get::<Port>(&id).expect("just saved").into()
}

/// A port becomes a router's when the router takes it, which looks at its subnets and its project:
/// that it is the router's is said by its owner and device alone, so nobody else may say so.
fn check_device(
    txn: &Txn<'_>,
    project: &ProjectId,
    device_owner: &str,
    device_id: &str,
) -> Result<(), Refusal> {
    if !owner::ROUTER_PORTS.contains(&device_owner) {
        return Ok(());
    }
    match txn.find::<Router>(device_id) {
        None => Ok(()),
        Some(router)
            if !txn.actor.is_admin
                && owner::ROUTER_INTERFACES.contains(&device_owner)
                && router.project_id != *project =>
        {
            Err(Refusal::device_not_owned(device_id))
        }
        Some(router) => Err(Refusal::bad_request(
            "ports",
            format_args!(
                "A port becomes router {}'s by add_router_interface or as its gateway",
                router.id
            ),
        )),
    }
}

/// Port security is the network's unless the request says otherwise, and never the network's own
/// ports'.
fn secured(network: &Network, port: &Port, draft: &Draft) -> bool {
    let inherited = network.port_security_enabled && !port.is_network_owned();
    draft.flag("port_security_enabled").unwrap_or(inherited)
}

fn first_groups(
    txn: &mut Txn<'_>,
    port: &Port,
    draft: &Draft,
) -> Result<BTreeSet<intent::SecurityGroupId>, Refusal> {
    let given = draft
        .given("security_groups")
        .then(|| draft.texts("security_groups"));
    if !port.port_security_enabled && given.iter().any(|groups| !groups.is_empty()) {
        return Err(Refusal::port_security_required());
    }
    let takes_default = given.is_none() && port.port_security_enabled && !port.is_network_owned();
    // A project's default group is there once it has a port. What belongs to no project has one
    // too, once a port takes it.
    let default = (takes_default || !port.project_id.is_empty())
        .then(|| security_group::ensure_default(txn, &port.project_id));
    match given {
        Some(given) => groups(txn, &given),
        None if takes_default => Ok(default.into_iter().collect()),
        None => Ok(BTreeSet::new()),
    }
}

fn groups(txn: &Txn<'_>, given: &[String]) -> Result<BTreeSet<intent::SecurityGroupId>, Refusal> {
    given
        .iter()
        .map(|id| Ok(txn.visible_group(id)?.id))
        .collect()
}

fn update(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Object, Refusal> {
    let Some(current) = txn.find::<Port>(key) else {
        return Err(Refusal::port_not_found(key));
    };
    network::refuse_qos(draft)?;
    let mut port = Port::clone(&current);
    draft.set_text("name", &mut port.name);
    draft.set_description(&mut port.meta);
    draft.set_flag("admin_state_up", &mut port.admin_state_up);
    change_device(txn, &mut port, draft)?;
    draft.set_flag("port_security_enabled", &mut port.port_security_enabled);
    change_mac(txn, &mut port, draft)?;
    change_addresses(txn, &current, &mut port, draft)?;
    port_extra::set(txn, &mut port, draft)?;
    change_groups(txn, &mut port, draft)?;
    binding::set(txn, &mut port, draft)?;
    let further = further_counts(&current, &port);
    let id = save(txn, &current, port);
    txn.count_further::<Port>(&id, further);
    Ok(shown(txn, id))
}

/// A port of a router stays the router's until the router gives it up: that it is its interface is
/// said nowhere else. Likewise a floating IP's.
fn change_device(txn: &Txn<'_>, port: &mut Port, draft: &Draft) -> Result<(), Refusal> {
    let held = (port.device_owner.clone(), port.device_id.clone());
    draft.set_text("device_owner", &mut port.device_owner);
    if let Some(device) = draft.text("device_id") {
        port.device_id = device.into();
    }
    let is_changed = port.device_owner != held.0 || port.device_id != held.1;
    let is_routers = owner::ROUTER_PORTS.contains(&held.0.as_str());
    let is_routers = is_routers && txn.find::<Router>(&held.1).is_some();
    if is_changed && (is_routers || holds_floating_ip(txn, port)) {
        let why = format!("Port already has an attached device {}", held.1);
        return Err(Refusal::port_in_use(port.id, port.network_id, why));
    }
    if is_changed {
        check_device(txn, &port.project_id, &port.device_owner, &port.device_id)?;
    }
    Ok(())
}

/// The port is where a floating IP's address stands.
fn holds_floating_ip(txn: &Txn<'_>, port: &Port) -> bool {
    let index = &txn.state().index;
    index.floating_ip_of_floating_port.any(&port.id)
}

/// Neutron writes a binding, and port security with its groups, apart from the port: each counts.
fn further_counts(current: &Port, port: &Port) -> u64 {
    let rebound = port.bindings != current.bindings && !port.bindings.is_empty();
    let only_unbound = port.bindings.is_empty() && !current.bindings.is_empty();
    let unguarded = port.port_security_enabled != current.port_security_enabled
        && port.security_groups != current.security_groups;
    match (rebound, only_unbound) {
        (true, _) => 2 + u64::from(unguarded),
        _ => u64::from(unguarded),
    }
}

fn save(txn: &mut Txn<'_>, current: &Port, port: Port) -> PortId {
    let lost: Vec<FixedIp> = current
        .fixed_ips
        .iter()
        .filter(|held| !port.fixed_ips.contains(held))
        .copied()
        .collect();
    let id = port.id;
    if binding::only_unbinds(current, &port) {
        txn.save_uncounted(port);
    } else {
        txn.save(port);
    }
    if !lost.is_empty() {
        floating_ip::addresses_left(txn, id, &lost);
    }
    id
}

fn change_mac(txn: &mut Txn<'_>, port: &mut Port, draft: &Draft) -> Result<(), Refusal> {
    if !draft.given("mac_address") {
        return Ok(());
    }
    // Null asks for a fresh one.
    let mac = match draft.parsed::<Mac>("mac_address") {
        Some(mac) => mac,
        None => free_mac(txn, port.network_id, None)?,
    };
    if mac == port.mac_address {
        return Ok(());
    }
    let bound = port
        .active_binding()
        .is_some_and(|it| it.vif_type == intent::VifType::Ovs);
    if bound && port.device_owner.starts_with(owner::COMPUTE_PREFIX) {
        return Err(Refusal::port_bound(port.id, port.mac_address, mac));
    }
    port.mac_address = free_mac(txn, port.network_id, Some(mac))?;
    // Guests make their address of the new MAC now.
    let state = txn.state();
    for fixed in &mut port.fixed_ips {
        let subnet = state.subnets.get(&fixed.subnet_id);
        if let Some(subnet) = subnet.filter(|subnet| subnet.is_auto_address()) {
            fixed.ip_address = crate::ipam::eui64(subnet.cidr, mac);
        }
    }
    Ok(())
}

fn change_addresses(
    txn: &mut Txn<'_>,
    current: &Port,
    port: &mut Port,
    draft: &Draft,
) -> Result<(), Refusal> {
    let Some(wanted) = draft.value("fixed_ips").filter(|it| !it.is_null()) else {
        return Ok(());
    };
    let wanted = fixed_ips::read(wanted)?;
    let asker = Asker {
        network: port.network_id,
        mac: port.mac_address,
        device_owner: &port.device_owner,
    };
    let fixed = fixed_ips::reallocate(txn, asker, &port.fixed_ips, &wanted)?;
    let holds_routes = owner::ROUTER_INTERFACES.contains(&current.device_owner.as_str())
        || holds_floating_ip(txn, current);
    let same = fixed.len() == current.fixed_ips.len()
        && fixed.iter().all(|it| current.fixed_ips.contains(it));
    if holds_routes && !same {
        let why = format!("IP updates for port {} are not allowed", port.id);
        return Err(Refusal::bad_request("ports", why));
    }
    port.ip_allocation = match fixed.is_empty() {
        true => IpAllocation::None,
        false => IpAllocation::Immediate,
    };
    if !same {
        port.fixed_ips = fixed;
    }
    Ok(())
}

fn change_groups(txn: &mut Txn<'_>, port: &mut Port, draft: &Draft) -> Result<(), Refusal> {
    if draft.given("security_groups") {
        let given = draft.texts("security_groups");
        if !given.is_empty() && !port.port_security_enabled {
            return Err(Refusal::port_security_required());
        }
        port.security_groups = groups(txn, &given)?;
    }
    if !port.port_security_enabled && !port.security_groups.is_empty() {
        return Err(Refusal::port_has_groups());
    }
    Ok(())
}

fn delete(txn: &mut Txn<'_>, key: &str) -> Result<(), Refusal> {
    let Some(port) = txn.find::<Port>(key) else {
        return Err(Refusal::port_not_found(key));
    };
    let interface = match port.device_owner.as_str() {
        owner::ROUTER_INTERFACE
        | owner::ROUTER_INTERFACE_DVR
        | owner::ROUTER_SNAT
        | owner::FIP_AGENT_GATEWAY => {
            txn.find::<Router>(&port.device_id).is_some() && !port.fixed_ips.is_empty()
        }
        _ => false,
    };
    let guarded = interface || is_anothers_end(txn, &port);
    if guarded {
        let why = format!("has device owner {}", port.device_owner);
        return Err(Refusal::service_port_in_use(port.id, why));
    }
    remove(txn, port.id);
    Ok(())
}

/// A router's gateway or a floating IP's own port: what it belongs to says so, and ends with it.
fn is_anothers_end(txn: &Txn<'_>, port: &Port) -> bool {
    let router = txn.find::<Router>(&port.device_id);
    let gateway = router.as_ref().and_then(|router| router.gateway.as_ref());
    gateway.is_some_and(|gateway| gateway.port_id == port.id)
        || txn.state().index.floating_ip_of_floating_port.any(&port.id)
}

/// Takes a port away; floating IPs that led to it lead nowhere.
pub(crate) fn remove(txn: &mut Txn<'_>, id: PortId) {
    if let Some(port) = txn.get::<Port>(&id) {
        floating_ip::addresses_left(txn, id, &port.fixed_ips);
        txn.delete::<Port>(&id);
    }
}

//! Port binding: whether a host can carry a port, and what Nova is told of how.
//!
//! A host can when its Open vSwitch agent is alive and has one of the network's segments: a tunnel
//! type that it speaks, or a physical network that it maps to a bridge. A live migration adds a
//! second, inactive binding, which is activated when the guest has moved.

use intent::{
    Agent, AgentType, Binding, BindingStatus, HostName, JsonMap, NetworkType, Port, PortStatus,
    Segment, VifType, VnicType, owner,
};
use serde_json::{Value, json};

use crate::{Answer, Draft, Refusal, draft::Reading, segment, txn::Txn};

/// Sets what a port's draft says of its binding, and binds it anew where that asks for it.
pub(crate) fn set(txn: &Txn<'_>, port: &mut Port, draft: &Draft) -> Result<(), Refusal> {
    let held = port.active_binding().cloned();
    let vnic_type = draft.parsed("binding:vnic_type");
    let vnic_type: VnicType =
        vnic_type.unwrap_or(held.as_ref().map_or(port.vnic_type, |it| it.vnic_type));
    let profile = match draft.value("binding:profile") {
        Some(given) => given.as_object().cloned().unwrap_or_default(),
        None => held
            .as_ref()
            .map_or(&port.profile, |it| &it.profile)
            .clone(),
    };
    port.vnic_type = vnic_type;
    port.profile.clone_from(&profile);
    let host = match draft.value("binding:host_id") {
        Some(given) => given.as_str().unwrap_or_default().into(),
        None => held.as_ref().map(|it| it.host.clone()).unwrap_or_default(),
    };
    bind_to(txn, port, host, vnic_type, profile);
    Ok(())
}

fn bind_to(txn: &Txn<'_>, port: &mut Port, host: HostName, vnic_type: VnicType, profile: JsonMap) {
    if host.is_empty() || port.device_owner == owner::ROUTER_INTERFACE_DVR {
        if !port.bindings.is_empty() {
            port.bindings.clear();
            down(port);
        }
        return;
    }
    let unchanged = port.active_binding().is_some_and(|held| {
        let same = held.host == host && held.vnic_type == vnic_type && held.profile == profile;
        same && held.vif_type != VifType::BindingFailed
    });
    if unchanged {
        return;
    }
    let active = attempt(txn, port, host, vnic_type, profile, BindingStatus::Active);
    let others = port.bindings.drain(..);
    let mut bindings: Vec<Binding> = others
        .filter(|it| it.status == BindingStatus::Inactive && it.host != active.host)
        .collect();
    bindings.insert(0, active);
    port.bindings = bindings;
    down(port);
}

/// A port that is wired elsewhere from now on is not up until it is reported so.
fn down(port: &mut Port) {
    if port.status == PortStatus::Active {
        port.status = PortStatus::Down;
    }
}

/// Binds a port of a router or a DHCP server to the host that it is for.
pub(crate) fn bind(txn: &mut Txn<'_>, port: &Port, host: &HostName) {
    let mut bound = port.clone();
    let (vnic_type, profile) = (bound.vnic_type, bound.profile.clone());
    bind_to(txn, &mut bound, host.clone(), vnic_type, profile);
    txn.save(bound);
}

/// Takes a port's bindings away.
pub(crate) fn unbind(txn: &mut Txn<'_>, port: &Port) {
    let mut unbound = port.clone();
    unbound.bindings.clear();
    down(&mut unbound);
    txn.save(unbound);
}

/// Whether a change does nothing but unbind: the reference does not count that.
pub(crate) fn only_unbinds(current: &Port, wanted: &Port) -> bool {
    let mut same = current.clone();
    same.bindings.clear();
    down(&mut same);
    same.vnic_type = wanted.vnic_type;
    same.profile.clone_from(&wanted.profile);
    wanted.bindings.is_empty() && !current.bindings.is_empty() && same == *wanted
}

fn attempt(
    txn: &Txn<'_>,
    port: &Port,
    host: HostName,
    vnic_type: VnicType,
    profile: JsonMap,
    status: BindingStatus,
) -> Binding {
    let agent = carrier(txn, port, &host, vnic_type, &profile);
    let (vif_type, vif_details) = match &agent {
        Some(agent) => (VifType::Ovs, details(agent)),
        None => (VifType::BindingFailed, JsonMap::new()),
    };
    Binding {
        host,
        status,
        vif_type,
        vif_details,
        vnic_type,
        profile,
        up: false,
    }
}

/// The host's agent, if it can carry the port.
fn carrier(
    txn: &Txn<'_>,
    port: &Port,
    host: &HostName,
    vnic_type: VnicType,
    profile: &JsonMap,
) -> Option<Agent> {
    let offloaded = || {
        let capabilities = profile.get("capabilities").and_then(Value::as_array);
        capabilities.is_some_and(|it| it.iter().any(|word| word == "switchdev"))
    };
    match vnic_type {
        VnicType::Normal => {}
        VnicType::Direct if offloaded() => {}
        _ => return None,
    }
    let state = txn.state();
    let id = state
        .index
        .agent_of_host
        .one(&(host.clone(), AgentType::OpenVswitch))?;
    let agent = state.agents.get(id)?;
    let serves = agent.admin_state_up && txn.context.is_alive(agent);
    let mut segments = segment::of_network(txn, port.network_id).into_iter();
    let has_network = segments.any(|segment| reaches(agent, &segment));
    (serves && has_network).then(|| Agent::clone(agent))
}

/// Whether an agent's host takes part in a segment.
fn reaches(agent: &Agent, segment: &Segment) -> bool {
    let configured = |key: &str| agent.configurations.get(key);
    match segment.network_type {
        NetworkType::Local => true,
        NetworkType::Flat | NetworkType::Vlan => {
            let mapped = configured("bridge_mappings").and_then(Value::as_object);
            let physical = segment.physical_network.as_deref().unwrap_or_default();
            mapped.is_some_and(|mapped| mapped.contains_key(physical))
        }
        kind => {
            let types = configured("tunnel_types").and_then(Value::as_array);
            types.is_some_and(|types| types.iter().any(|word| word == kind.as_str()))
        }
    }
}

/// How the guest is plugged. What drivers bound the port is said by the API alone.
fn details(agent: &Agent) -> JsonMap {
    let text = |key: &str, default: &str| {
        let given = agent.configurations.get(key).and_then(Value::as_str);
        given.unwrap_or(default).to_owned()
    };
    let hybrid = agent.configurations.get("ovs_hybrid_plug") == Some(&Value::Bool(true));
    let datapath = text("datapath_type", "system");
    let mut details = JsonMap::new();
    let mut say = |key: &str, value: Value| details.insert(key.to_owned(), value);
    say("connectivity", json!("l2"));
    say("port_filter", json!(true));
    say("ovs_hybrid_plug", json!(hybrid));
    if !hybrid && datapath == "system" {
        say("ovs_create_tap", json!(true));
    }
    say("datapath_type", json!(datapath));
    say("bridge_name", json!(text("integration_bridge", "br-int")));
    details
}

fn found(txn: &Txn<'_>, key: &str) -> Result<Port, Refusal> {
    let port = txn.find::<Port>(key);
    port.map(|port| Port::clone(&port))
        .ok_or_else(|| Refusal::port_not_found(key))
}

fn place(port: &Port, host: &str) -> Result<usize, Refusal> {
    let at = port.bindings.iter().position(|it| it.host == *host);
    at.ok_or_else(|| Refusal::binding_not_found(port.id, host))
}

fn save(txn: &mut Txn<'_>, port: Port, further: u64) -> Result<Answer, Refusal> {
    let id = txn.save(port).id;
    txn.count_further::<Port>(&id, further);
    let port = txn.get::<Port>(&id);
    port.map(Answer::one)
        .ok_or_else(|| Refusal::port_not_found(id))
}

/// `POST ports/ID/bindings`
pub(crate) fn create(txn: &mut Txn<'_>, key: &str, draft: &Draft) -> Result<Answer, Refusal> {
    let mut port = found(txn, key)?;
    if !port.device_owner.starts_with(owner::COMPUTE_PREFIX) {
        let why = format!(
            "Invalid port {key}. Operation only valid on compute and shared filesystem ports"
        );
        return Err(Refusal::bad_request("port", why));
    }
    let host = HostName::from(draft.text("host").unwrap_or_default());
    if port.is_bound_to(&host) {
        return Err(Refusal::binding_exists(port.id, host));
    }
    let status = match port.active_binding() {
        Some(_) => BindingStatus::Inactive,
        None => BindingStatus::Active,
    };
    let vnic_type = draft.parsed("vnic_type").unwrap_or(VnicType::Normal);
    let profile = profile_of(draft).unwrap_or_default();
    let binding = attempt(txn, &port, host.clone(), vnic_type, profile, status);
    if binding.vif_type == VifType::BindingFailed {
        return Err(Refusal::binding_impossible(port.id, host));
    }
    port.bindings.push(binding);
    save(txn, port, 0)
}

fn profile_of(draft: &Draft) -> Option<JsonMap> {
    draft.given("profile").then(|| {
        let given = draft.value("profile").and_then(Value::as_object);
        given.cloned().unwrap_or_default()
    })
}

/// `PUT ports/ID/bindings/HOST`
pub(crate) fn update(
    txn: &mut Txn<'_>,
    key: &str,
    host: &str,
    draft: &Draft,
) -> Result<Answer, Refusal> {
    let mut port = found(txn, key)?;
    let at = place(&port, host)?;
    let held = port.bindings[at].clone();
    let moved = draft.text("host").map_or(held.host.clone(), HostName::from);
    if moved != held.host && port.is_bound_to(&moved) {
        return Err(Refusal::binding_exists(port.id, moved));
    }
    let vnic_type = draft.parsed("vnic_type").unwrap_or(held.vnic_type);
    let profile = profile_of(draft).unwrap_or(held.profile);
    let binding = attempt(txn, &port, moved.clone(), vnic_type, profile, held.status);
    if binding.vif_type == VifType::BindingFailed {
        return Err(Refusal::binding_impossible(port.id, moved));
    }
    port.bindings[at] = Binding {
        up: held.up && moved == held.host,
        ..binding
    };
    save(txn, port, 0)
}

/// `PUT ports/ID/bindings/HOST/activate`
pub(crate) fn activate(txn: &mut Txn<'_>, key: &str, host: &str) -> Result<Answer, Refusal> {
    let mut port = found(txn, key)?;
    let at = place(&port, host)?;
    if port.bindings[at].status == BindingStatus::Active {
        return Err(Refusal::binding_already_active(port.id, host));
    }
    for binding in &mut port.bindings {
        if binding.status == BindingStatus::Active {
            binding.status = BindingStatus::Inactive;
            binding.vif_type = VifType::Unbound;
            binding.vif_details = JsonMap::new();
            binding.up = false;
        }
    }
    let mut active = port.bindings.remove(at);
    active.status = BindingStatus::Active;
    down(&mut port);
    if active.up && !port.awaits_dhcp {
        // The destination was wired before the guest came.
        port.status = PortStatus::Active;
    }
    port.bindings.insert(0, active);
    save(txn, port, 1)
}

/// `DELETE ports/ID/bindings/HOST`
pub(crate) fn delete(txn: &mut Txn<'_>, key: &str, host: &str) -> Result<Answer, Refusal> {
    let mut port = found(txn, key)?;
    let at = place(&port, host)?;
    let gone = port.bindings.remove(at);
    let was_active = gone.status == BindingStatus::Active;
    if was_active {
        down(&mut port);
    }
    let id = txn.save(port).id;
    txn.count_further::<Port>(&id, u64::from(was_active));
    Ok(Answer::Done)
}

//! What of a machine is ours. Others use the same bridges, tables and namespaces: before the
//! observed is compared with the wanted it is cut to what belongs to us, and what can't be there
//! yet is taken out of the wanted. Everything here is a function of values.
use std::collections::{BTreeMap, BTreeSet};

use host::iptables::{Chain, Chains, Iptables, Table, Target};
use host::netns::{Family, Netns};
use host::ovs::{Action, Bridge, Flow, Interface, Match, Port, PortRef};
use host::{HostState, NsName, Shared, names};

/// Who else is on this machine, and what we may make.
#[derive(Clone, Debug, Default)]
pub struct Bounds {
    /// The bridges that we make when they are missing; others have to be there.
    pub own_bridges: BTreeSet<String>,
    /// What starts the names of namespaces that we make and remove.
    pub netns_prefixes: Vec<&'static str>,
    /// Devices in the host's own namespace; known while a bridge of ours is missing.
    pub devices: BTreeSet<String>,
}

/// Something wanted that can't be there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub what: String,
    pub why: host::Why,
}

/// What can be made now of what is wanted, and what waits for others to do their part: a guest's
/// device to be plugged, a port to get its number, a provider bridge to be made.
pub fn fit(want: &HostState, observed: &HostState, bounds: &Bounds) -> (HostState, Vec<Waiting>) {
    let mut fitting = want.clone();
    let mut waiting = Vec::new();
    fitting.bridges.retain(|name, bridge| {
        let there = observed.bridges.contains_key(name) || bounds.own_bridges.contains(name);
        if !there {
            waiting.push(Waiting {
                what: format!("bridge {name}"),
                why: bridge.why.clone(),
            });
        }
        there
    });
    for (name, bridge) in &mut fitting.bridges {
        fit_bridge(
            name,
            bridge,
            observed.bridges.get(name),
            bounds,
            &mut waiting,
        );
    }
    if let Some(root) = fitting.netns.get_mut(&NsName::root()) {
        // Guests' devices are made by those who plug them.
        root.links = Shared::default();
    }
    crate::ours_netns::fit(&mut fitting, observed, &mut waiting);
    without_bare_chains(&mut fitting);
    (fitting, waiting)
}

/// A built-in chain without a rule of ours is not ours to make. What other states share is copied
/// only when something is taken out.
pub(crate) fn without_bare_chains(want: &mut HostState) {
    let is_bare = |chain: &Chain| chain.policy.is_some() && chain.rules.is_empty();
    let has_bare =
        |table: &Table| table.chains.is_empty() || table.chains.values().any(|it| is_bare(it));
    for netns in want.netns.values_mut() {
        let mut tables = netns.iptables.values().flat_map(BTreeMap::values);
        if !tables.any(has_bare) {
            continue;
        }
        for tables in netns.iptables.values_mut() {
            for table in tables.values_mut() {
                table.chains.retain(|_, chain| !is_bare(chain));
            }
            tables.retain(|_, table| !table.chains.is_empty());
        }
    }
}

/// Namespaces that are wanted as they were wanted before are the same ones, so that nobody has to
/// look into them again.
pub(crate) fn hold_once(want: &mut HostState, before: Option<&HostState>) {
    without_bare_chains(want);
    for (name, netns) in &mut want.netns {
        let old = before.and_then(|before| before.netns.get(name));
        if let Some(old) = old.filter(|old| *old == netns) {
            netns.clone_from(old);
        }
    }
}

/// Nobody: a port of this machine that only root could listen on.
const NO_CONTROLLER: &str = "tcp:127.0.0.1:1";

fn fit_bridge(
    name: &str,
    bridge: &mut Bridge,
    observed: Option<&Bridge>,
    bounds: &Bounds,
    waiting: &mut Vec<Waiting>,
) {
    // A bridge that loses its last controller forgets all flows at that moment, and packets are
    // lost. So what another agent left gives way to one that nobody can be.
    if observed.is_some_and(|bridge| !bridge.controllers.is_empty()) {
        bridge.controllers = [NO_CONTROLLER.to_owned()].into();
    }
    // Who plugged a guest in does not hear that somebody deleted the bridge: a device that was left
    // over goes back into the one that is made.
    let there = |port: &str| match observed {
        Some(bridge) => bridge.ports.contains_key(port),
        None => bounds.devices.contains(port),
    };
    let makeable = |port: &String, content: &Port| there(port) || !is_plugged_by_others(content);
    for (port, content) in &bridge.ports {
        if !makeable(port, content) {
            waiting.push(Waiting {
                what: format!("port {port} of {name}"),
                why: content.why.clone(),
            });
        }
    }
    bridge.ports.keep(|port, content| makeable(port, content));
    for (port, content) in observed.into_iter().flat_map(|bridge| &bridge.ports) {
        if !bridge.ports.contains_key(port)
            && let Some(dead) = dead_port(port, content)
        {
            bridge.ports.insert(port.clone(), dead.into());
        }
    }
    for (port, why) in fit_flows(bridge, observed) {
        waiting.push(Waiting {
            what: format!("flows of {port} on {name}"),
            why,
        });
    }
}

/// Takes the flows out that name ports which have no number yet; those ports. Mostly there is none,
/// and the flows stay the plan's own.
fn fit_flows(bridge: &mut Bridge, observed: Option<&Bridge>) -> BTreeMap<String, host::Why> {
    let numbered: BTreeSet<&str> = observed
        .into_iter()
        .flat_map(Bridge::interfaces)
        .filter(|(_, interface)| interface.ofport.0.is_some())
        .map(|(name, _)| name)
        .collect();
    let mut missing: BTreeMap<String, host::Why> = BTreeMap::new();
    for (key, flow) in &bridge.flows {
        let absent = ports_of(&key.matches, flow).find(|port| !numbered.contains(port));
        if let Some(port) = absent {
            let why = missing.entry(port.to_owned()).or_default();
            why.merge(flow.why.clone());
        }
    }
    if !missing.is_empty() {
        let all = bridge.flows.iter();
        let makeable = all
            .filter(|(key, flow)| ports_of(&key.matches, flow).all(|port| numbered.contains(port)));
        bridge.flows = makeable
            .map(|(key, flow)| (key.clone(), flow.clone()))
            .collect();
    }
    missing
}

/// A guest's port that intent does not know, or no more: without filters it may not stay in its
/// network. Whoever plugged it takes it away.
fn dead_port(name: &str, port: &Port) -> Option<Port> {
    let interface = port.interfaces.get(name)?;
    let id = interface
        .external_ids
        .get("iface-id")
        .filter(|_| interface.kind.is_empty())?;
    Some(Port {
        tag: Some(plan::l2::DEAD_VLAN),
        interfaces: port.interfaces.clone(),
        why: host::Why::of("unknown port", id),
        ..Port::default()
    })
}

/// Bridges while filters could not be written: a guest that has no place yet gets none, as its
/// rules may be missing; the others keep theirs.
pub fn unwired(
    have: &BTreeMap<String, Bridge>,
    want: &BTreeMap<String, Bridge>,
) -> BTreeMap<String, Bridge> {
    let mut bridges = want.clone();
    for (name, bridge) in &mut bridges {
        let ports = bridge.ports.iter_mut();
        for (port, wanted) in ports.filter(|(_, port)| is_plugged_by_others(port)) {
            let old = have.get(name).and_then(|bridge| bridge.ports.get(port));
            if old.is_none_or(|old| old.tag != wanted.tag) {
                wanted.tag = Some(plan::l2::DEAD_VLAN);
            }
        }
    }
    bridges
}

/// Devices of the kernel are plugged by others (libvirt, os-vif): we only set how they are used.
fn is_plugged_by_others(port: &Port) -> bool {
    port.interfaces
        .values()
        .all(|interface| interface.kind.is_empty())
}

/// The ports that a flow names.
fn ports_of<'a>(matches: &'a Match, flow: &'a Flow) -> impl Iterator<Item = &'a str> {
    let mut found = Vec::new();
    named(matches.in_port.as_ref(), &mut found);
    flow.actions
        .iter()
        .for_each(|action| action_ports(action, &mut found));
    found.into_iter()
}

fn named<'a>(port: Option<&'a PortRef>, found: &mut Vec<&'a str>) {
    if let Some(PortRef::Name(name)) = port {
        found.push(name);
    }
}

fn action_ports<'a>(action: &'a Action, found: &mut Vec<&'a str>) {
    match action {
        Action::Output(port)
        | Action::OutputTruncated { port, .. }
        | Action::Enqueue { port, .. } => named(Some(port), found),
        Action::Resubmit { port, .. } => named(port.as_ref(), found),
        Action::Clone(actions) | Action::WriteActions(actions) => {
            actions
                .iter()
                .for_each(|action| action_ports(action, found));
        }
        _ => {}
    }
}

/// What of the observed is ours, seen beside what is wanted (as [`fit`] gave it).
pub fn cut(observed: &HostState, want: &HostState, bounds: &Bounds) -> HostState {
    let mut ours = HostState::new(observed.name.clone());
    for (name, wanted) in &want.bridges {
        if let Some(bridge) = observed.bridges.get(name) {
            ours.bridges
                .insert(name.clone(), cut_bridge(bridge, wanted));
        }
    }
    for (name, netns) in &observed.netns {
        let prefixed = bounds
            .netns_prefixes
            .iter()
            .any(|prefix| name.as_str().starts_with(prefix));
        let left = match want.netns.get(name) {
            // What was found to be as wanted before: there is nothing else in it.
            Some(wanted) if wanted.is(netns) => netns.clone(),
            Some(wanted) => cut_netns(name, netns, wanted).into(),
            None if name.is_root() => cut_netns(name, netns, &Netns::default()).into(),
            None if prefixed => Shared::default(),
            None => continue,
        };
        ours.netns.insert(name.clone(), left);
    }
    ours.files.clone_from(&observed.files);
    ours.processes.clone_from(&observed.processes);
    ours
}

/// What nobody here has an opinion of is as wanted.
fn unless_wanted<T: Clone + PartialEq + Default>(observed: &T, wanted: &T) -> T {
    if *wanted == T::default() {
        wanted.clone()
    } else {
        observed.clone()
    }
}

/// Is [`unless_wanted`] what is wanted?
fn is_unless_wanted<T: PartialEq + Default>(observed: &T, wanted: &T) -> bool {
    *wanted == T::default() || observed == wanted
}

/// Is [`keys_of`] what is wanted?
fn has_keys_of(observed: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>) -> bool {
    let mut wanted = wanted.iter();
    wanted.all(|(key, value)| observed.get(key) == Some(value))
}

/// Of a map that others write to as well, the keys that we want.
fn keys_of(
    observed: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let ours = observed.iter().filter(|(key, _)| wanted.contains_key(*key));
    ours.map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

fn cut_bridge(bridge: &Bridge, want: &Bridge) -> Bridge {
    // The kernel's datapath is what a bridge has that says nothing.
    let datapath_type = match bridge.datapath_type.as_str() {
        "" => "system".to_owned(),
        kind => kind.to_owned(),
    };
    Bridge {
        datapath_type: unless_wanted(&datapath_type, &want.datapath_type),
        fail_mode: unless_wanted(&bridge.fail_mode, &want.fail_mode),
        protocols: unless_wanted(&bridge.protocols, &want.protocols),
        controllers: bridge.controllers.clone(),
        other_config: keys_of(&bridge.other_config, &want.other_config),
        external_ids: keys_of(&bridge.external_ids, &want.external_ids),
        ports: cut_all(&bridge.ports, &want.ports, our_port),
        // Those of others were passed over where they were read.
        flows: bridge.flows.clone(),
        groups: want.groups.clone(),
        meters: want.meters.clone(),
        ..Bridge::default()
    }
}

/// Of things that others have here too, what `cut` leaves of each beside what is wanted of it. When
/// all of it is what is wanted it is the wanted itself, which costs no copy, and no look when it is
/// compared.
fn cut_all<T: Clone + PartialEq>(
    observed: &BTreeMap<String, Shared<T>>,
    want: &Shared<BTreeMap<String, Shared<T>>>,
    cut: impl Fn(&str, &Shared<T>, Option<&Shared<T>>) -> Option<Shared<T>>,
) -> Shared<BTreeMap<String, Shared<T>>> {
    let mut as_wanted = 0;
    let differs = observed.iter().any(|(name, thing)| {
        let wanted = want.get(name);
        let ours = cut(name, thing, wanted);
        as_wanted += usize::from(ours.is_some());
        ours.as_ref() != wanted
    });
    if !differs && as_wanted == want.len() {
        return want.clone();
    }
    let ours = observed.iter().filter_map(|(name, thing)| {
        let ours = cut(name, thing, want.get(name))?;
        Some((name.clone(), ours))
    });
    ours.collect()
}

fn our_port(name: &str, port: &Shared<Port>, want: Option<&Shared<Port>>) -> Option<Shared<Port>> {
    match want {
        Some(want) if is_as_wanted(port, want) => Some(want.clone()),
        Some(want) => Some(cut_port(port, want).into()),
        None => is_ours_by_name(name, port).then(|| port.clone()),
    }
}

/// Does [`cut_port`] leave just what is wanted? Asked of every port in every pass.
fn is_as_wanted(port: &Port, want: &Port) -> bool {
    let interfaces = || {
        port.interfaces.len() == want.interfaces.len()
            && port.interfaces.iter().all(|(name, interface)| {
                let wanted = want.interfaces.get(name);
                wanted.is_some_and(|wanted| cut_interface(interface, wanted) == *wanted)
            })
    };
    port.tag == want.tag
        && is_unless_wanted(&port.vlan_mode, &want.vlan_mode)
        && is_unless_wanted(&port.trunks, &want.trunks)
        && has_keys_of(&port.other_config, &want.other_config)
        && has_keys_of(&port.external_ids, &want.external_ids)
        && (is_plugged_by_others(want) || interfaces())
}

fn cut_port(port: &Port, want: &Port) -> Port {
    let interfaces = if is_plugged_by_others(want) {
        want.interfaces.clone()
    } else {
        let none = Interface::default();
        let cut = |(name, interface): (&String, &Interface)| {
            let wanted = want.interfaces.get(name).unwrap_or(&none);
            (name.clone(), cut_interface(interface, wanted))
        };
        port.interfaces.iter().map(cut).collect()
    };
    Port {
        tag: port.tag,
        vlan_mode: unless_wanted(&port.vlan_mode, &want.vlan_mode),
        trunks: unless_wanted(&port.trunks, &want.trunks),
        other_config: keys_of(&port.other_config, &want.other_config),
        external_ids: keys_of(&port.external_ids, &want.external_ids),
        interfaces,
        ..Port::default()
    }
}

fn cut_interface(interface: &Interface, want: &Interface) -> Interface {
    Interface {
        kind: interface.kind.clone(),
        options: interface.options.clone(),
        other_config: keys_of(&interface.other_config, &want.other_config),
        external_ids: keys_of(&interface.external_ids, &want.external_ids),
        mac: unless_wanted(&interface.mac, &want.mac),
        mtu_request: unless_wanted(&interface.mtu_request, &want.mtu_request),
        ofport_request: unless_wanted(&interface.ofport_request, &want.ofport_request),
        ..Interface::default()
    }
}

/// A port that is not wanted and was once ours to make: it goes.
fn is_ours_by_name(name: &str, port: &Port) -> bool {
    let Some(interface) = port.interfaces.get(name) else {
        return false;
    };
    let service = ["tap", "qr-", "qg-", "sg-", "fg-"];
    match interface.kind.as_str() {
        "patch" => {
            name == "patch-tun"
                || name == "patch-int"
                || name.starts_with("int-")
                || name.starts_with("phy-")
        }
        kind @ ("gre" | "vxlan" | "geneve") => names::is_tunnel(kind, name),
        "internal" => {
            interface.external_ids.contains_key("iface-id")
                && service.iter().any(|prefix| name.starts_with(prefix))
        }
        _ => false,
    }
}

fn cut_netns(name: &NsName, netns: &Netns, want: &Netns) -> Netns {
    let prefixes: &[&str] = if name.is_root() {
        &[names::L2_CHAINS]
    } else {
        &[names::L3_CHAINS, names::DHCP_CHAINS]
    };
    let mut ours = Netns::default();
    for (family, tables) in &netns.iptables {
        let none = Iptables::new();
        let wanted = want.iptables.get(family).unwrap_or(&none);
        let cut = cut_iptables(tables, wanted, prefixes);
        if !cut.is_empty() || want.iptables.contains_key(family) {
            ours.iptables.insert(*family, cut);
        }
    }
    let sets = netns.ipsets.iter().filter(|(name, _)| is_our_set(name));
    ours.ipsets = sets
        .map(|(name, set)| (name.clone(), set.clone()))
        .collect();
    let keys = netns
        .sysctls
        .iter()
        .filter(|(key, _)| want.sysctls.contains_key(*key));
    ours.sysctls = keys
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    // Listeners are this process's own sockets: no other way to see them is asked.
    ours.listeners.clone_from(&want.listeners);
    if !name.is_root() {
        crate::ours_netns::cut(netns, want, &mut ours);
    }
    ours
}

fn is_our_set(name: &str) -> bool {
    [Family::V4, Family::V6]
        .iter()
        .any(|family| name.starts_with(&names::ipset("", *family)))
}

/// Chains that every component of Neutron shares.
const SHARED: [&str; 2] = ["neutron-filter-top", "neutron-postrouting-bottom"];

fn cut_iptables(tables: &Iptables, want: &Iptables, prefixes: &[&str]) -> Iptables {
    let mut ours = Iptables::new();
    let none = Table::default();
    for (name, table) in tables {
        let wanted = want.get(name).unwrap_or(&none);
        let is_ours = |chain: &str| {
            let prefixed = prefixes.iter().any(|prefix| {
                chain
                    .strip_prefix(prefix)
                    .is_some_and(|rest| rest.starts_with('-'))
            });
            prefixed || SHARED.contains(&chain) || wanted.chains.contains_key(chain)
        };
        let chains = cut_chains(table, wanted, &is_ours);
        if !chains.is_empty() || want.contains_key(name) {
            ours.insert(name.clone(), Table { chains });
        }
    }
    ours
}

fn cut_chains(table: &Table, want: &Table, is_ours: &dyn Fn(&str) -> bool) -> Shared<Chains> {
    cut_all(&table.chains, &want.chains, |name, chain, want| {
        if chain.policy.is_none() {
            return is_ours(name).then(|| chain.clone());
        }
        let ours = our_rules(chain, want.map(|want| &**want), is_ours);
        (!ours.rules.is_empty() || want.is_some()).then(|| ours.into())
    })
}

/// Of a built-in chain, the rules that we want and those that lead to chains of ours.
fn our_rules(chain: &Chain, want: Option<&Chain>, is_ours: &dyn Fn(&str) -> bool) -> Chain {
    let wanted = want.map_or(&[][..], |chain| &chain.rules);
    let rules = chain.rules.iter().filter(|rule| {
        let leads_to_us =
            matches!(&rule.target, Target::Jump(to) | Target::Goto(to) if is_ours(to));
        leads_to_us || wanted.contains(rule)
    });
    let rules: Vec<_> = rules.cloned().collect();
    // The policy is the operator's; without one the chain would look like one of ours.
    let policy = want.map_or_else(|| chain.policy.clone(), |want| want.policy.clone());
    Chain {
        policy,
        rules,
        ..Chain::default()
    }
}

#[cfg(test)]
mod tests;

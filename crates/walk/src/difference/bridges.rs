//! Bridges of Open vSwitch: ports, tags, tunnels, patches, flows.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use host::HostState;
use host::netns::Netns;
use host::ovs::flow::{Flow, FlowKey};
use host::ovs::{Action, Bridge, Interface, Port};

use super::{Difference, Kind, restore};
use crate::openflow::is_set;
use crate::text;
use crate::world::is_tunnel;

/// What OpenFlow can set of a port that keeps frames from it.
const CLOSED: [&str; 3] = ["NO_FLOOD", "NO_FWD", "NO_RECV"];

/// What a host's own records contradict: Neutron keeps each port's tag beside it. And what nobody
/// ever asks for: ports that take nothing in, send nothing or are left out of floods.
pub(super) fn sound(have: &HostState, found: &mut Vec<Difference>) {
    for (bridge, row) in &have.bridges {
        let ports = row.interfaces();
        let closed = ports.filter(|(_, i)| CLOSED.iter().any(|what| is_set(i, what)));
        found.extend(closed.map(|(name, interface)| {
            let (at, key) = (bridge.clone(), name.to_owned());
            let undo = move |state: &mut HostState| {
                let ports = state.bridge_mut(&at).ports.values_mut();
                for interface in ports.filter_map(|port| port.interfaces.get_mut(&key)) {
                    interface
                        .config
                        .0
                        .retain(|what| !CLOSED.contains(&what.as_str()));
                }
            };
            let text = text::port_config(name, interface);
            Difference::new((&have.name, bridge, name), Kind::Changed, text, undo)
        }));
        for (name, port) in &row.ports {
            let kept = port
                .other_config
                .get("tag")
                .and_then(|t| t.parse::<u16>().ok());
            if let Some(kept) = kept
                && port.tag != Some(kept)
            {
                found.push(tag(&have.name, bridge, name, port, kept));
            }
        }
    }
}

fn tag(host: &str, bridge: &str, name: &str, port: &Port, wanted: u16) -> Difference {
    let now = match port.tag {
        Some(tag) => format!("tag: {tag}"),
        None => "has no tag".to_owned(),
    };
    let text = format!("Port {name} {now} (its other_config says tag=\"{wanted}\")");
    let (at, key) = (bridge.to_owned(), name.to_owned());
    Difference::new((host, bridge, name), Kind::Changed, text, move |state| {
        if let Some(port) = state.bridge_mut(&at).ports.get_mut(&key) {
            port.tag = Some(wanted);
        }
    })
    .wanted(format!("Port {name} tag: {wanted}"))
    .because(&port.why)
}

pub(super) fn compare(have: &HostState, want: &Arc<HostState>, found: &mut Vec<Difference>) {
    for (name, wanted) in &want.bridges {
        let empty = Bridge::default();
        let bridge = have.bridges.get(name).unwrap_or(&empty);
        ports(have, name, bridge, want, found);
        let seen = have.bridges.values().any(|b| !b.flows.is_empty());
        if bridge.flows.is_empty() && !wanted.flows.is_empty() && seen {
            found.push(no_flows(&have.name, name, wanted));
        }
        flows(&have.name, name, bridge, wanted, found);
    }
}

/// A bridge has lost all its flows; those of others were collected.
fn no_flows(host: &str, name: &str, want: &Bridge) -> Difference {
    let (at, flows) = (name.to_owned(), want.flows.clone());
    let undo = move |state: &mut HostState| state.bridge_mut(&at).flows = flows.clone();
    let text = format!("flows of {name}: it has none");
    Difference::new((host, name, ""), Kind::Missing, text, undo).because(&want.why)
}

fn ports(
    state: &HostState,
    name: &str,
    have: &Bridge,
    want: &Arc<HostState>,
    found: &mut Vec<Difference>,
) {
    let host = state.name.as_str();
    for (port_name, wanted) in &want.bridges[name].ports {
        let Some(port) = have.ports.get(port_name) else {
            found.push(missing_port((state, want), name, have, (port_name, wanted)));
            continue;
        };
        if let Some(tag_wanted) = wanted.tag
            && port.tag != Some(tag_wanted)
        {
            let said = port
                .other_config
                .get("tag")
                .is_some_and(|t| *t == tag_wanted.to_string());
            if !said {
                let text = text::port(port_name, port);
                let (at, key) = (name.to_owned(), port_name.clone());
                let undo = move |state: &mut HostState| {
                    if let Some(port) = state.bridge_mut(&at).ports.get_mut(&key) {
                        port.tag = Some(tag_wanted);
                    }
                };
                found.push(
                    Difference::new((host, name, port_name), Kind::Changed, text, undo)
                        .wanted(text::port(port_name, wanted))
                        .because(&wanted.why),
                );
            }
        }
        if (port.vlan_mode, &port.trunks) != (wanted.vlan_mode, &wanted.trunks) {
            found.push(other_mode((host, name), (port_name, port), wanted));
        }
        for (dev, interface) in &wanted.interfaces {
            let Some(now) = port.interfaces.get(dev) else {
                continue;
            };
            options(
                (host, name, have),
                (port_name, dev),
                now,
                (interface, wanted),
                found,
            );
        }
    }
}

/// A port that is not there. A device of the switch's own is gone with it from its namespace.
fn missing_port(
    (state, want): (&HostState, &Arc<HostState>),
    bridge: &str,
    have: &Bridge,
    (name, wanted): (&str, &Port),
) -> Difference {
    let (at, key, mut port) = (bridge.to_owned(), name.to_owned(), wanted.clone());
    // Flows name a port that is gone by its number: the one number that no port has is its.
    let number = restore::orphan(have);
    for interface in port.interfaces.values_mut() {
        interface.ofport.0 = interface.ofport.0.or(number);
    }
    let interface = wanted.interfaces.get(name);
    let text = match interface.filter(|i| is_tunnel(i) || i.kind == "patch") {
        Some(interface) => text::interface(name, interface).replacen("Interface", "Port", 1),
        None => text::port(name, wanted),
    };
    let spaces = want.netns.iter();
    let mut spaces = spaces.filter(|(ns, netns)| {
        let lost = |now: &Netns| !now.links.is_empty() && !now.links.contains_key(name);
        netns.links.contains_key(name) && state.netns.get(*ns).is_some_and(|now| lost(now))
    });
    let device = spaces.next().map(|(ns, _)| (ns.clone(), Arc::clone(want)));
    let spot = (state.name.as_str(), bridge, name);
    Difference::new(spot, Kind::Missing, text, move |state| {
        state
            .bridge_mut(&at)
            .ports
            .insert(key.clone(), port.clone().into());
        if let Some((ns, want)) = &device {
            restore::device(state, ns, &key, &want.netns[ns]);
        }
    })
    .because(&wanted.why)
}

/// Options that decide where a frame goes.
const WAYS: &[&str] = &[
    "peer",
    "remote_ip",
    "local_ip",
    "key",
    "in_key",
    "out_key",
    "dst_port",
];

/// A port that treats tags in another way.
fn other_mode(
    (host, bridge): (&str, &str),
    (name, port): (&str, &Port),
    wanted: &Port,
) -> Difference {
    let (at, key) = (bridge.to_owned(), name.to_owned());
    let (mode, trunks) = (wanted.vlan_mode, wanted.trunks.clone());
    let undo = move |state: &mut HostState| {
        if let Some(port) = state.bridge_mut(&at).ports.get_mut(&key) {
            port.vlan_mode = mode;
            port.trunks.clone_from(&trunks);
        }
    };
    let text = text::port(name, port);
    Difference::new((host, bridge, name), Kind::Changed, text, undo)
        .wanted(text::port(name, wanted))
        .because(&wanted.why)
}

/// The UDP port of the other tunnels of a bridge, where they agree: which one it is, is the
/// host's own affair.
fn usual_port<'a>(bridge: &'a Bridge, dev: &str) -> Option<Option<&'a String>> {
    let tunnels = bridge
        .interfaces()
        .filter(|(name, i)| *name != dev && is_tunnel(i));
    let ports: BTreeSet<_> = tunnels.map(|(_, i)| i.options.get("dst_port")).collect();
    ports.first().copied().filter(|_| ports.len() == 1)
}

fn options(
    (host, bridge, row_of): (&str, &str, &Bridge),
    (port, dev): (&str, &str),
    now: &Interface,
    (wanted, row): (&Interface, &Port),
    found: &mut Vec<Difference>,
) {
    let mut wanted = wanted.clone();
    if let Some(Some(port)) = usual_port(row_of, dev).filter(|_| is_tunnel(now)) {
        wanted.options.insert("dst_port".to_owned(), port.clone());
    }
    let wanted = &wanted;
    let alone = row_of.interfaces().filter(|(_, i)| is_tunnel(i)).count() < 2;
    let differs = |key: &str| {
        let want = wanted.options.get(key);
        let said = want.is_some() || key == "dst_port" && !alone;
        said && want != now.options.get(key)
    };
    if !WAYS.iter().any(|key| differs(key)) && now.kind == wanted.kind {
        return;
    }
    let (at, port_key, key, goal) = (
        bridge.to_owned(),
        port.to_owned(),
        dev.to_owned(),
        wanted.clone(),
    );
    let undo = move |state: &mut HostState| {
        let ports = &mut state.bridge_mut(&at).ports;
        let interface = ports
            .get_mut(&port_key)
            .and_then(|p| p.interfaces.get_mut(&key));
        if let Some(interface) = interface {
            interface.options.clone_from(&goal.options);
            interface.kind.clone_from(&goal.kind);
        }
    };
    found.push(
        Difference::new(
            (host, bridge, dev),
            Kind::Changed,
            text::interface(dev, now),
            undo,
        )
        .wanted(text::interface(dev, wanted))
        .because(&row.why),
    );
}

/// The cookie that a missing flow would carry: that of the flow of its table that has the most in
/// common with it, what few have in common counting more; else the one that most have.
fn cookie(bridge: &Bridge, missing: &FlowKey) -> u64 {
    let table = || {
        bridge
            .flows
            .iter()
            .filter(|(key, _)| key.table == missing.table)
    };
    let fields = &missing.matches.fields;
    let same = |key: &FlowKey, field| key.matches.fields.get(field) == fields.get(field);
    let weight = |field| {
        let count = table().filter(|(key, _)| same(key, field)).count();
        1_000_000 / (count as u64).max(1)
    };
    let weights: Vec<_> = fields.keys().map(|field| (field, weight(field))).collect();
    let alike = |key: &FlowKey| -> u64 {
        let shared = weights.iter().filter(|(field, _)| same(key, field));
        shared.map(|(_, weight)| weight).sum()
    };
    let mut count: BTreeMap<u64, usize> = BTreeMap::new();
    for flow in bridge.flows.values() {
        *count.entry(flow.cookie).or_default() += 1;
    }
    let best = table().map(|(key, flow)| (alike(key), count[&flow.cookie], flow.cookie));
    let most = || count.iter().map(|(cookie, n)| (0, *n, *cookie));
    let found = best.max().or_else(|| most().max());
    found.map_or(0, |(_, _, cookie)| cookie)
}

fn is_learned(flow: &Flow) -> bool {
    flow.hard_timeout != 0 || flow.idle_timeout != 0
}

fn flows(host: &str, name: &str, have: &Bridge, want: &Bridge, found: &mut Vec<Difference>) {
    if want.flows.is_empty() || have.flows.is_empty() {
        return;
    }
    let missing: Vec<_> = want
        .flows
        .iter()
        .filter(|(key, _)| !have.flows.contains_key(key))
        .collect();
    let mut extra: Vec<_> = have
        .flows
        .iter()
        .filter(|(key, flow)| !want.flows.contains_key(key) && !is_learned(flow))
        .collect();
    for (key, flow) in &want.flows {
        if let Some(now) = have.flows.get(key)
            && plain(&now.actions) != plain(&flow.actions)
        {
            let mut flow = with_cookie(flow, now.cookie);
            order_as_others(have, key.table, &mut flow.actions);
            found.push(changed(host, name, ((key, now), (key, &flow))));
        }
    }
    for (key, flow) in missing {
        let mut flow = with_cookie(flow, cookie(have, key));
        order_as_others(have, key.table, &mut flow.actions);
        let like = extra
            .iter()
            .position(|(other, now)| resembles((key, &flow), (other, now)));
        match like {
            Some(at) => {
                let now = extra.swap_remove(at);
                found.push(changed(host, name, (now, (key, &flow))));
            }
            None => {
                let (at, new) = (name.to_owned(), (key.clone(), flow.clone()));
                let undo = move |state: &mut HostState| {
                    state
                        .bridge_mut(&at)
                        .flows
                        .insert(new.0.clone(), new.1.clone());
                };
                let spot = (host, name, "");
                found.push(
                    Difference::new(spot, Kind::Missing, text::flow(key, &flow), undo)
                        .because(&flow.why),
                );
            }
        }
    }
    for (key, flow) in extra {
        let (at, old) = (name.to_owned(), key.clone());
        let undo = move |state: &mut HostState| {
            state.bridge_mut(&at).flows.remove(&old);
        };
        let text = text::flow(key, flow);
        found.push(Difference::new((host, name, ""), Kind::Extra, text, undo).filtering());
    }
}

fn with_cookie(flow: &Flow, cookie: u64) -> Flow {
    let mut flow = flow.clone();
    flow.cookie = cookie;
    for action in &mut flow.actions {
        if let Action::Learn(learn) = action {
            learn.cookie = cookie;
        }
    }
    flow
}

/// Actions without what does not matter: cookies of what is learned, the order of outputs that
/// follow each other.
fn plain(actions: &[Action]) -> Vec<Action> {
    let mut actions = actions.to_vec();
    for action in &mut actions {
        if let Action::Learn(learn) = action {
            learn.cookie = 0;
        }
    }
    let is_output = |a: &Action| matches!(a, Action::Output(_));
    for group in actions.chunk_by_mut(|a, b| is_output(a) && is_output(b)) {
        group.sort();
    }
    actions
}

/// Outputs that follow each other are in any order, which is the same in all flows of a table:
/// one that is missing would be as the others are.
fn order_as_others(bridge: &Bridge, table: u8, actions: &mut [Action]) {
    let is_output = |a: &Action| matches!(a, Action::Output(_));
    let flows = || bridge.flows.iter().filter(|(key, _)| key.table == table);
    for group in actions.chunk_by_mut(|a, b| is_output(a) && is_output(b)) {
        let order = flows().find_map(|(_, flow)| {
            let places = group
                .iter()
                .map(|out| flow.actions.iter().position(|a| a == out));
            places.collect::<Option<Vec<usize>>>()
        });
        if let Some(order) = order.filter(|_| group.len() > 1) {
            let mut ordered: Vec<_> = order.into_iter().zip(group.to_vec()).collect();
            ordered.sort_by_key(|(place, _)| *place);
            let ordered = ordered.into_iter().map(|(_, out)| out);
            group
                .iter_mut()
                .zip(ordered)
                .for_each(|(slot, out)| *slot = out);
        }
    }
}

fn changed(
    host: &str,
    bridge: &str,
    ((old, now), (key, flow)): ((&FlowKey, &Flow), (&FlowKey, &Flow)),
) -> Difference {
    let (at, gone, new) = (bridge.to_owned(), old.clone(), (key.clone(), flow.clone()));
    let undo = move |state: &mut HostState| {
        let flows = &mut state.bridge_mut(&at).flows;
        flows.remove(&gone);
        flows.insert(new.0.clone(), new.1.clone());
    };
    Difference::new(
        (host, bridge, ""),
        Kind::Changed,
        text::flow(old, now),
        undo,
    )
    .wanted(text::flow(key, flow))
    .because(&flow.why)
}

/// Is a flow another one with one thing wrong: the same table, and the same match but for one
/// field with the same actions?
fn resembles((key, flow): (&FlowKey, &Flow), (other, now): (&FlowKey, &Flow)) -> bool {
    let same_actions = plain(&flow.actions) == plain(&now.actions);
    if key.table != other.table || !same_actions {
        return false;
    }
    let (a, b) = (&key.matches, &other.matches);
    let fields: BTreeSet<_> = a.fields.keys().chain(b.fields.keys()).collect();
    let wrong = fields
        .iter()
        .filter(|f| a.fields.get(f) != b.fields.get(f))
        .count()
        + usize::from(a.in_port != b.in_port)
        + usize::from(key.priority != other.priority);
    wrong == 1
}

//! Devices and settings that no plan speaks of and that every hybrid port and every bridge needs:
//! links up and wide enough, taps and veths in their bridges, netfilter on bridged frames.
use host::netns::Link;
use host::{HostState, NsName, names};

use super::namespaces::{right, sysctl};
use super::{Difference, Kind, restore, underlay};
use crate::cloud::Port;
use crate::text;
use crate::world::World;

pub(super) fn find(world: &World, have: &HostState, found: &mut Vec<Difference>) {
    let Some(root) = have.root().filter(|r| !r.links.is_empty()) else {
        return;
    };
    let guests = world
        .cloud
        .ports
        .values()
        .filter(|p| p.is_guest() && p.host == have.name);
    for port in guests {
        let mtu = world
            .cloud
            .networks
            .get(&port.network_id)
            .and_then(|n| n.mtu)
            .unwrap_or(0);
        hybrid(have, port, mtu, found);
    }
    if root.links.keys().any(|name| name.starts_with("qbr")) {
        for key in [
            "net.bridge.bridge-nf-call-iptables",
            "net.bridge.bridge-nf-call-ip6tables",
        ] {
            if let Some(now) = root.sysctls.get(key).filter(|s| s.value.trim() == "0") {
                found.push(sysctl(&have.name, &NsName::root(), key, (&now.value, "1")));
            }
        }
    }
    underlay::find(world, have, found);
    devices(have, found);
}

/// A port's devices: up, wide enough, in its bridge.
fn hybrid(have: &HostState, port: &Port, mtu: u32, found: &mut Vec<Difference>) {
    let Some(root) = have.root() else {
        return;
    };
    let names = [names::tap, names::qvb, names::qvo, names::qbr].map(|name| name(&port.id));
    let [_, _, _, bridge] = &names;
    let is_hybrid = root.links.contains_key(bridge);
    for (n, name) in names.iter().enumerate() {
        let Some(link) = root.links.get(name) else {
            continue;
        };
        let master = (is_hybrid && n < 2).then(|| bridge.clone());
        let goal = Link {
            mtu: if link.mtu < mtu { mtu } else { 0 },
            up: true,
            master: master.filter(|m| link.master.as_ref() != Some(m)),
            ..Link::default()
        };
        check(have, &NsName::root(), (name, link), &goal, found);
    }
}

pub(super) fn check(
    have: &HostState,
    ns: &NsName,
    (name, link): (&str, &Link),
    goal: &Link,
    found: &mut Vec<Difference>,
) {
    let carrier = link.flags.0.contains("NO-CARRIER");
    if link.up && !carrier && goal.mtu == 0 && goal.master.is_none() {
        return;
    }
    let (at, key, fixed) = (ns.clone(), name.to_owned(), goal.clone());
    let undo = move |state: &mut HostState| {
        if let Some(link) = state.netns_mut(at.clone()).links.get_mut(&key) {
            right(link, &fixed);
            restore::routes(state.netns_mut(at.clone()), &key, None);
            restore::carrier(state, &at, &key);
        }
    };
    let good = match &goal.master {
        Some(master) => format!("{name} master {master}"),
        None if goal.mtu != 0 => format!("{name} mtu {}", goal.mtu),
        None => format!("{name} up"),
    };
    let text = text::link(name, link);
    found.push(
        Difference::new((&have.name, ns.as_str(), name), Kind::Changed, text, undo).wanted(good),
    );
}

/// Every device that is a port of Open vSwitch, wherever it was moved, should be up.
fn devices(have: &HostState, found: &mut Vec<Difference>) {
    for (bridge_name, bridge) in &have.bridges {
        for (name, interface) in bridge.interfaces() {
            if name == bridge_name || interface.kind == "patch" {
                continue;
            }
            for (ns, netns) in &have.netns {
                if let Some(link) = netns.links.get(name) {
                    let goal = Link {
                        up: true,
                        ..Link::default()
                    };
                    check(have, ns, (name, link), &goal, found);
                }
            }
        }
    }
}

//! Namespaces: devices, addresses, routes, rules, neighbours, settings.
use std::sync::Arc;

use host::netns::{
    Addr, AddrKey, Link, Netns, Route, RouteKey, RuleAction, RuleKey, print_ip_rule,
    print_neighbour,
};
use host::{HostState, NsName};

use super::filters::{self, Spot};
use super::{Difference, Kind, restore};
use crate::routing::by_kernel;
use crate::text;
use crate::wanted::is_stock;

const LOCAL: u32 = 255;

pub(super) fn compare(have: &HostState, want: &Arc<HostState>, found: &mut Vec<Difference>) {
    for (name, wanted) in &want.netns {
        let spot = (have.name.as_str(), name);
        let Some(netns) = have.netns.get(name) else {
            if !have.netns.is_empty() {
                found.push(missing(spot, want));
            }
            continue;
        };
        filters::compare(spot, netns, wanted, found);
        links(spot, netns, want, found);
        addresses(spot, netns, wanted, found);
        extra_addresses(spot, netns, wanted, found);
        routes(spot, netns, wanted, found);
        rules(spot, netns, wanted, is_stock(have), found);
        neighbours(spot, netns, wanted, found);
        sysctls(spot, netns, wanted, found);
    }
}

fn missing((host, ns): Spot<'_>, want: &Arc<HostState>) -> Difference {
    let (at, all) = (ns.clone(), Arc::clone(want));
    let undo = move |state: &mut HostState| restore::namespace(state, &at, &all);
    let text = format!("namespace {ns}");
    let difference = Difference::new((host, ns.as_str(), ""), Kind::Missing, text, undo);
    match want.netns.get(ns) {
        Some(wanted) => difference.because(&wanted.why),
        None => difference,
    }
}

fn links((host, ns): Spot<'_>, have: &Netns, want: &Arc<HostState>, found: &mut Vec<Difference>) {
    let Some(planned) = want.netns.get(ns).filter(|_| !have.links.is_empty()) else {
        return;
    };
    for (name, wanted) in &planned.links {
        let (at, key, goal, all) = (ns.clone(), name.clone(), wanted.clone(), Arc::clone(want));
        let spot = (host, ns.as_str(), name.as_str());
        let Some(link) = have.links.get(name) else {
            let undo = move |state: &mut HostState| {
                restore::device(state, &at, &key, &all.netns[&at]);
            };
            let text = format!("device {name}");
            found.push(Difference::new(spot, Kind::Missing, text, undo).because(&wanted.why));
            continue;
        };
        let mac = wanted.mac.is_some() && wanted.mac != link.mac;
        let master = wanted.master.is_some() && wanted.master != link.master;
        let mtu = wanted.mtu != 0 && wanted.mtu != link.mtu;
        if !(mac || master || mtu || wanted.up && !link.up) {
            continue;
        }
        let text = match (mac, link.mac) {
            (true, Some(mac)) => format!("{name} link/ether {mac}"),
            _ => text::link(name, link),
        };
        let undo = move |state: &mut HostState| {
            let netns = state.netns_mut(at.clone());
            if let Some(link) = netns.links.get_mut(&key) {
                let comes_up = !link.up;
                right(link, &goal);
                if comes_up {
                    restore::routes(netns, &key, all.netns.get(&at).map(|all| &**all));
                    restore::carrier(state, &at, &key);
                }
            }
        };
        found.push(
            Difference::new(spot, Kind::Changed, text, undo)
                .wanted(should(name, wanted))
                .because(&wanted.why),
        );
    }
}

fn should(name: &str, wanted: &Link) -> String {
    let state = if wanted.up { "up" } else { "down" };
    let mac = wanted
        .mac
        .map(|m| format!(" link/ether {m}"))
        .unwrap_or_default();
    format!("{name} {state} mtu {}{mac}", wanted.mtu)
}

/// Make a device as it should be, where something is said of it.
pub(super) fn right(link: &mut Link, goal: &Link) {
    link.mac = goal.mac.or(link.mac);
    if goal.mtu != 0 {
        link.mtu = goal.mtu;
    }
    if goal.master.is_some() {
        link.master.clone_from(&goal.master);
    }
    if goal.up {
        link.up = true;
        link.flags.0.insert("UP".to_owned());
        link.flags.0.remove("NO-CARRIER");
    }
}

fn addresses((host, ns): Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    if have.links.is_empty() {
        return;
    }
    for (key, wanted) in &want.addrs {
        if have.addrs.contains_key(key) {
            continue;
        }
        let text = address(key, wanted);
        found.push(missing_address((host, ns), (key, wanted), text).because(&wanted.why));
    }
}

/// Addresses that somebody gave to a router or a server and nobody wants. The host's own are its
/// own business, and the kernel's are those of a link alone and what a router announced.
fn extra_addresses((host, ns): Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    if ns.is_root() {
        return;
    }
    for (key, addr) in &have.addrs {
        let by_itself = key.dev == "lo" || addr.scope == "link" || addr.scope == "host";
        let by_itself = by_itself || addr.flags.0.contains("dynamic");
        if by_itself || want.addrs.contains_key(key) {
            continue;
        }
        let (at, gone) = (ns.clone(), key.clone());
        let undo = move |state: &mut HostState| {
            let netns = state.netns_mut(at.clone());
            netns.addrs.remove(&gone);
            for routes in netns.routes.values_mut() {
                routes.retain(|_, route| route.src != Some(gone.net.addr()));
            }
        };
        let spot = (host, ns.as_str(), key.dev.as_str());
        found.push(Difference::new(spot, Kind::Extra, address(key, addr), undo));
    }
}

/// An address that should be there: with it come the routes that the kernel makes for it.
pub(super) fn missing_address(
    (host, ns): Spot<'_>,
    (key, wanted): (&AddrKey, &Addr),
    text: String,
) -> Difference {
    let (at, new) = (ns.clone(), (key.clone(), wanted.clone()));
    let undo = move |state: &mut HostState| {
        let netns = state.netns_mut(at.clone());
        netns.addrs.insert(new.0.clone(), new.1.clone());
        for (table, key, route) in by_kernel(&new.0) {
            let table = netns.routes.entry(table).or_default();
            table.entry(key).or_insert(route);
        }
    };
    let spot = (host, ns.as_str(), key.dev.as_str());
    Difference::new(spot, Kind::Missing, text, undo)
}

/// An address as `ip addr` shows it.
pub(super) fn address(key: &AddrKey, addr: &Addr) -> String {
    let version = if key.net.addr().is_ipv4() {
        "inet"
    } else {
        "inet6"
    };
    let broadcast = addr
        .broadcast
        .map(|b| format!(" brd {b}"))
        .unwrap_or_default();
    format!(
        "{version} {}{broadcast} scope {} {}",
        key.net, addr.scope, key.dev
    )
}

fn routes((host, ns): Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    if have.routes.is_empty() {
        return;
    }
    let planned = want
        .routes
        .iter()
        .flat_map(|(table, routes)| routes.iter().map(|(k, r)| (*table, k.clone(), r.clone())));
    // How IPv6's own routes look depends on the kernel; they are not compared.
    let compared = |key: &&AddrKey| key.net.addr().is_ipv4() && have.addrs.contains_key(*key);
    let addrs = want.addrs.keys().filter(compared);
    let kernel = addrs.flat_map(by_kernel);
    let recorded = |v6: bool| {
        let mut all = have.routes.values().flat_map(|t| t.keys());
        all.any(|k| k.dst.addr().is_ipv6() == v6)
    };
    let (v4, v6) = (recorded(false), recorded(true));
    for (table, key, route) in planned.chain(kernel) {
        if !(if key.dst.addr().is_ipv6() { v6 } else { v4 }) {
            continue;
        }
        one_route((host, ns), have, (table, key, route), found);
    }
    extra_routes((host, ns), have, want, found);
}

fn one_route(
    (host, ns): Spot<'_>,
    have: &Netns,
    (table, key, route): (u32, RouteKey, Route),
    found: &mut Vec<Difference>,
) {
    let there = have.routes.get(&table);
    let same = there.and_then(|t| t.get(&key));
    if same.is_some_and(|now| now.via == route.via && now.nexthops == route.nexthops) {
        return;
    }
    let dev = key.dev.clone().unwrap_or_default();
    let spot = (host, ns.as_str(), dev.as_str());
    let good = text::route(table, &key, &route);
    let instead = there.and_then(|t| {
        t.iter()
            .find(|(k, _)| k.dst == key.dst && k.kind == key.kind)
    });
    let at = ns.clone();
    let why = route.why.clone();
    let gone = instead.map(|(k, _)| k.clone());
    let new = (key.clone(), route.clone());
    let undo = move |state: &mut HostState| {
        let routes = state.netns_mut(at.clone()).routes.entry(table).or_default();
        if let Some(gone) = &gone {
            routes.remove(gone);
        }
        routes.insert(new.0.clone(), new.1.clone());
    };
    found.push(match instead {
        Some((k, now)) => {
            let text = text::route(table, k, now);
            Difference::new(spot, Kind::Changed, text, undo)
                .wanted(good)
                .because(&why)
        }
        None => Difference::new(spot, Kind::Missing, good, undo).because(&why),
    });
}

/// Routes that somebody set and nobody wants.
fn extra_routes((host, ns): Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    for (table, routes) in have.routes.iter().filter(|(t, _)| **t != LOCAL) {
        for (key, route) in routes {
            let wanted = want.routes.get(table);
            let known = wanted.is_some_and(|t| t.keys().any(|k| k.dst == key.dst));
            let by_itself = route.proto == "kernel" || route.proto == "ra";
            if known || by_itself {
                continue;
            }
            let (at, gone, table) = (ns.clone(), key.clone(), *table);
            let undo = move |state: &mut HostState| {
                if let Some(routes) = state.netns_mut(at.clone()).routes.get_mut(&table) {
                    routes.remove(&gone);
                }
            };
            let text = text::route(table, key, route);
            let spot = (host, ns.as_str(), key.dev.as_deref().unwrap_or(""));
            found.push(Difference::new(spot, Kind::Extra, text, undo));
        }
    }
}

/// Neutron chooses the priority of a floating IP's rule as it likes: that of one which is gone is
/// not known.
fn without_choice(key: &RuleKey, text: String) -> String {
    let of_one = key
        .from
        .filter(|from| from.prefix_len() == from.max_prefix_len());
    match (of_one, text.split_once(":\t")) {
        (Some(_), Some((_, rest))) => rest.to_owned(),
        _ => text,
    }
}

fn rules(
    (host, ns): Spot<'_>,
    have: &Netns,
    want: &Netns,
    stock: bool,
    found: &mut Vec<Difference>,
) {
    if have.rules.is_empty() {
        return;
    }
    let spot = (host, ns.as_str(), "");
    let undo_with = |old: Option<RuleKey>, new: Option<(RuleKey, RuleAction)>| {
        let at = ns.clone();
        move |state: &mut HostState| {
            let rules = &mut state.netns_mut(at.clone()).rules;
            if let Some(old) = &old {
                rules.remove(old);
            }
            if let Some((key, action)) = &new {
                rules.insert(key.clone(), action.clone());
            }
        }
    };
    for (key, action) in &want.rules {
        let new = Some((key.clone(), action.clone()));
        let good = print_ip_rule(key, action);
        match have.rules.get(key) {
            Some(now) if now.verdict == action.verdict => {}
            Some(now) => {
                let undo = undo_with(None, new);
                let text = print_ip_rule(key, now);
                found.push(
                    Difference::new(spot, Kind::Changed, text, undo)
                        .wanted(good)
                        .because(&action.why),
                );
            }
            None => {
                let undo = undo_with(None, new);
                let good = match stock {
                    true => without_choice(key, good),
                    false => good,
                };
                found.push(Difference::new(spot, Kind::Missing, good, undo).because(&action.why));
            }
        }
    }
    for (key, action) in &have.rules {
        let usual = [0, 32766, 32767].contains(&key.priority);
        if !usual && !want.rules.contains_key(key) {
            let undo = undo_with(Some(key.clone()), None);
            found.push(Difference::new(
                spot,
                Kind::Extra,
                print_ip_rule(key, action),
                undo,
            ));
        }
    }
}

/// Neighbours that somebody set for good and nobody wants.
fn extra_neighbours((host, ns): Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    for (key, neighbour) in have.neighbours.iter().filter(|(_, n)| n.is_permanent()) {
        if want.neighbours.contains_key(key) {
            continue;
        }
        let (at, gone) = (ns.clone(), key.clone());
        let undo = move |state: &mut HostState| {
            state.netns_mut(at.clone()).neighbours.remove(&gone);
        };
        let spot = (host, ns.as_str(), key.dev.as_str());
        let text = print_neighbour(key, neighbour).trim_end().to_owned();
        found.push(Difference::new(spot, Kind::Extra, text, undo));
    }
}

fn neighbours((host, ns): Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    extra_neighbours((host, ns), have, want, found);
    for (key, wanted) in &want.neighbours {
        let now = have.neighbours.get(key).filter(|n| n.is_permanent());
        if now.is_some_and(|n| n.mac == wanted.mac) || have.links.is_empty() {
            continue;
        }
        let (at, new) = (ns.clone(), (key.clone(), wanted.clone()));
        let undo = move |state: &mut HostState| {
            let neighbours = &mut state.netns_mut(at.clone()).neighbours;
            neighbours.insert(new.0.clone(), new.1.clone());
        };
        let spot = (host, ns.as_str(), key.dev.as_str());
        let good = print_neighbour(key, wanted);
        found.push(match now {
            Some(now) => {
                let text = print_neighbour(key, now);
                Difference::new(spot, Kind::Changed, text, undo)
                    .wanted(good)
                    .because(&wanted.why)
            }
            None => Difference::new(spot, Kind::Missing, good, undo).because(&wanted.why),
        });
    }
}

fn sysctls((host, ns): Spot<'_>, have: &Netns, want: &Netns, found: &mut Vec<Difference>) {
    // What devices to come will have is on no packet's way.
    let on_the_way = |key: &str| !key.contains(".conf.default.");
    for (key, wanted) in want.sysctls.iter().filter(|(key, _)| on_the_way(key)) {
        if let Some(now) = have.sysctls.get(key)
            && now.value.trim() != wanted.value.trim()
        {
            found.push(sysctl(host, ns, key, (&now.value, &wanted.value)).because(&wanted.why));
        }
    }
}

/// A setting with the wrong value.
pub(super) fn sysctl(
    host: &str,
    ns: &NsName,
    key: &str,
    (now, wanted): (&str, &str),
) -> Difference {
    let (at, name, value) = (ns.clone(), key.to_owned(), wanted.to_owned());
    let undo = move |state: &mut HostState| {
        let sysctls = &mut state.netns_mut(at.clone()).sysctls;
        set(sysctls, &name, &value);
    };
    let text = format!("{key} = {}", now.trim());
    Difference::new((host, ns.as_str(), ""), Kind::Changed, text, undo)
        .wanted(format!("{key} = {wanted}"))
}

/// `ip_forward` sets every device's `forwarding`, as the kernel does.
fn set(
    sysctls: &mut std::collections::BTreeMap<String, host::netns::Sysctl>,
    key: &str,
    value: &str,
) {
    sysctls.entry(key.to_owned()).or_default().value = value.to_owned();
    if key != "net.ipv4.ip_forward" && key != "net.ipv4.conf.all.forwarding" {
        return;
    }
    for (name, row) in sysctls.iter_mut() {
        let one = name.starts_with("net.ipv4.conf.") && name.ends_with(".forwarding");
        if one || name == "net.ipv4.ip_forward" {
            row.value = value.to_owned();
        }
    }
}

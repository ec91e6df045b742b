//! Changing a namespace: devices, addresses, routes, rules, neighbours, in one batch of `ip`.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::net::IpAddr;

use host::diff::{Put, diff};
use host::netns::{
    AddrKey, Family, Link, LinkKind, Netns, RouteKey, RuleAction, RuleKey, print_ip_rule,
    print_neighbour, print_route,
};
use host::{HostState, NsName};
use ipnet::IpNet;

use crate::exec::{ExecError, Program};

/// Bring all namespaces' devices in. A device that the switch has not made yet is brought when it
/// has.
pub(super) async fn devices(have: &HostState, want: &HostState) -> Result<(), ExecError> {
    let none = Netns::default();
    let there = crate::netns::devices();
    let mut outside = String::new();
    for (name, wanted) in want.netns.iter().filter(|(name, _)| !name.is_root()) {
        let have = have.netns.get(name).unwrap_or(&none);
        outside.push_str(&bring(name, have, wanted, want, &there));
    }
    match outside.is_empty() {
        true => Ok(()),
        false => batch(&NsName::root(), None, outside).await,
    }
}

/// Everything inside of one namespace.
pub(super) async fn netns(name: &NsName, have: &Netns, want: &Netns) -> Result<(), ExecError> {
    let [inside, rules_6] = scripts(have, want);
    let mut done = Ok(());
    for (family, script) in [(None, inside), (Some("-6"), rules_6)] {
        if !script.is_empty() {
            done = done.and(batch(name, family, script).await);
        }
    }
    done
}

/// Lines that are of IPv4, or say themselves what they are of, or all of one family.
async fn batch(netns: &NsName, family: Option<&str>, script: String) -> Result<(), ExecError> {
    // One line that fails does not keep the others from being done.
    let options = ["-force", "-batch", "-"];
    Program::new(["ip"].into_iter().chain(family).chain(options))
        .within(netns)
        .reading(script)
        .run()
        .await
        .map(drop)
}

/// What is said in the host's own namespace: devices of the switch move, pairs are made.
fn bring(
    name: &NsName,
    have: &Netns,
    want: &Netns,
    all: &HostState,
    there: &BTreeSet<String>,
) -> String {
    let mut out = String::new();
    for put in diff(&have.links, &want.links)
        .put
        .iter()
        .filter(|put| put.old.is_none())
    {
        match (&put.new.kind, &put.new.peer) {
            (LinkKind::Veth, Some(peer)) => {
                // Both ends are wanted; the one whose name comes first is the one that is made.
                let elsewhere = all
                    .netns
                    .iter()
                    .find(|(_, netns)| netns.links.contains_key(peer));
                if let Some((elsewhere, _)) = elsewhere.filter(|_| put.key < peer) {
                    let _ = writeln!(
                        out,
                        "link add {} netns {name} type veth peer name {peer} netns {elsewhere}",
                        put.key
                    );
                }
            }
            _ if there.contains(put.key) => {
                let _ = writeln!(out, "link set {} netns {name}", put.key);
            }
            _ => {}
        }
    }
    out
}

/// What is said inside, and after it the rules of IPv6: `ip` takes a rule for one of IPv4 whatever
/// addresses it has.
fn scripts(have: &Netns, want: &Netns) -> [String; 2] {
    [script(have, want), rules(have, want, Family::V6)]
}

fn script(have: &Netns, want: &Netns) -> String {
    let mut out = String::from("link set lo up\n");
    let begin = out.len();
    for put in diff(&have.links, &want.links).put {
        link(&put, &mut out);
    }
    let addrs = diff(&have.addrs, &want.addrs);
    for (key, _) in &addrs.remove {
        let _ = writeln!(out, "addr del {} dev {}", key.net, key.dev);
    }
    for put in &addrs.put {
        let broadcast = put
            .new
            .broadcast
            .map(|ip| format!(" brd {ip}"))
            .unwrap_or_default();
        let scope = if put.new.scope.is_empty() {
            "global"
        } else {
            &put.new.scope
        };
        let _ = writeln!(
            out,
            "addr replace {}{broadcast} scope {scope} dev {}",
            put.key.net, put.key.dev
        );
        let is_up = have.links.get(&put.key.dev).is_some_and(|link| link.up);
        if put.old.is_none() && is_up {
            connected(put.key, &mut out);
        }
    }
    routes(have, want, &mut out);
    out.push_str(&rules(have, want, Family::V4));
    neighbours(have, want, &mut out);
    if out.len() == begin {
        String::new()
    } else {
        out
    }
}

/// The route that the kernel makes with an address; it does not make it again for an address that
/// is there and lost it.
fn connected(key: &AddrKey, out: &mut String) {
    let AddrKey { dev, net } = key;
    if net.prefix_len() < net.max_prefix_len() {
        let source = match net {
            IpNet::V4(net) => format!(" scope link src {}", net.addr()),
            IpNet::V6(_) => " metric 256".to_owned(),
        };
        let _ = writeln!(
            out,
            "route replace {} dev {dev} proto kernel{source}",
            net.trunc()
        );
    }
}

fn link(put: &Put<'_, String, Link>, out: &mut String) {
    let (name, new) = (put.key, put.new);
    let differs = |part: fn(&Link) -> Option<String>| {
        part(new).filter(|now| put.old.and_then(part).as_ref() != Some(now))
    };
    if let Some(mac) = differs(|link| link.mac.map(|mac| mac.to_string())) {
        let _ = writeln!(out, "link set dev {name} address {mac}");
    }
    if let Some(mtu) = differs(|link| (link.mtu != 0).then(|| link.mtu.to_string())) {
        let _ = writeln!(out, "link set dev {name} mtu {mtu}");
    }
    if put.old.is_none_or(|old| old.up != new.up) {
        let _ = writeln!(
            out,
            "link set dev {name} {}",
            if new.up { "up" } else { "down" }
        );
    }
}

/// A route's words for a command: the table has to be said also when it is main.
fn routes(have: &Netns, want: &Netns, out: &mut String) {
    let none = BTreeMap::new();
    let tables: BTreeSet<u32> = have
        .routes
        .keys()
        .chain(want.routes.keys())
        .copied()
        .collect();
    let (mut direct, mut via, mut gone) = (String::new(), String::new(), String::new());
    for table in tables {
        let of = |netns: &Netns| netns.routes.get(&table).unwrap_or(&none).clone();
        let (old, new) = (of(have), of(want));
        let difference = diff(&old, &new);
        for (key, _) in &difference.remove {
            let _ = writeln!(gone, "route del {} table {table}", place(key));
        }
        for put in &difference.put {
            // What a gateway is reached by comes before what it leads to.
            let to = if put.new.via.is_some() {
                &mut via
            } else {
                &mut direct
            };
            let _ = writeln!(
                to,
                "route replace {} table {table}",
                print_route(254, put.key, put.new).replace("\n\t", " ")
            );
        }
    }
    out.push_str(&gone);
    out.push_str(&direct);
    out.push_str(&via);
}

fn place(key: &RouteKey) -> String {
    let mut text = key.dst.to_string();
    if let Some(dev) = &key.dev {
        let _ = write!(text, " dev {dev}");
    }
    if key.metric != 0 {
        let _ = write!(text, " metric {}", key.metric);
    }
    text
}

fn rule_words(key: &RuleKey, action: &RuleAction) -> String {
    let text = print_ip_rule(key, action);
    let words = text
        .split_once(":\t")
        .map_or(text.as_str(), |(_, words)| words);
    format!("priority {} {words}", key.priority)
}

fn rules(have: &Netns, want: &Netns, family: Family) -> String {
    let mut out = String::new();
    let mut say = |verb: &str, key: &RuleKey, action: &RuleAction| {
        if key.family == family {
            let _ = writeln!(out, "rule {verb} {}", rule_words(key, action));
        }
    };
    let difference = diff(&have.rules, &want.rules);
    for (key, action) in &difference.remove {
        say("del", key, action);
    }
    for put in &difference.put {
        if let Some(old) = put.old {
            say("del", put.key, old);
        }
        say("add", put.key, put.new);
    }
    out
}

fn neighbours(have: &Netns, want: &Netns, out: &mut String) {
    let difference = diff(&have.neighbours, &want.neighbours);
    for (key, _) in &difference.remove {
        let _ = writeln!(out, "neigh del {} dev {}", key.ip, key.dev);
    }
    for put in &difference.put {
        let text = print_neighbour(put.key, put.new).replace("PERMANENT", "nud permanent");
        let _ = writeln!(out, "neigh replace {text}");
    }
}

/// Addresses that are new here, which others have to hear of.
pub(super) fn new_addresses(have: &Netns, want: &Netns) -> Vec<(String, IpAddr)> {
    let difference = diff(&have.addrs, &want.addrs).put;
    let new = difference.iter().filter(|put| put.old.is_none());
    let new = new.map(|put| (put.key.dev.clone(), put.key.net.addr()));
    new.filter(|(_, address)| match address {
        IpAddr::V4(address) => !address.is_loopback(),
        IpAddr::V6(address) => !address.is_loopback() && !address.is_unicast_link_local(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use host::netns::{Addr, Route};

    #[test]
    fn a_device_is_set_up_in_order() {
        let mut want = Netns::default();
        let link = Link {
            mac: "fa:16:3e:00:00:01".parse().ok(),
            mtu: 1450,
            up: true,
            ..Link::default()
        };
        want.links.insert("qr-1".to_owned(), link);
        let net = "10.0.0.1/24".parse().expect("a net");
        let addr = Addr {
            broadcast: "10.0.0.255".parse().ok(),
            scope: "global".to_owned(),
            ..Addr::default()
        };
        want.addrs.insert(
            AddrKey {
                dev: "qr-1".to_owned(),
                net,
            },
            addr,
        );
        let key = RouteKey {
            dst: "0.0.0.0/0".parse().expect("a net"),
            metric: 0,
            kind: host::netns::RouteKind::Unicast,
            dev: Some("qr-1".to_owned()),
            tos: 0,
        };
        let route = Route {
            via: "10.0.0.254".parse().ok(),
            proto: "static".to_owned(),
            ..Route::default()
        };
        want.routes.entry(254).or_default().insert(key, route);
        assert_eq!(
            script(&Netns::default(), &want),
            "link set lo up\nlink set dev qr-1 address fa:16:3e:00:00:01\nlink set dev qr-1 mtu 1450\n\
             link set dev qr-1 up\naddr replace 10.0.0.1/24 brd 10.0.0.255 scope global dev qr-1\n\
             route replace default via 10.0.0.254 dev qr-1 proto static table 254\n"
        );
        for (family, from) in [(Family::V4, "10.0.0.1/24"), (Family::V6, "fd00::1/64")] {
            let mut key = RuleKey::new(7, family);
            key.from = from.parse().ok();
            let verdict = host::netns::RuleVerdict::Lookup(16);
            let action = RuleAction {
                verdict,
                why: host::Why::default(),
            };
            want.rules.insert(key, action);
        }
        let [inside, rules_6] = scripts(&Netns::default(), &want);
        assert!(
            inside.ends_with("rule add priority 7 from 10.0.0.1/24 lookup 16\n"),
            "{inside}"
        );
        assert_eq!(rules_6, "rule add priority 7 from fd00::1/64 lookup 16\n");
        assert_eq!(scripts(&want, &want), ["", ""]);
        assert!(script(&want, &Netns::default()).contains("addr del 10.0.0.1/24 dev qr-1"));
    }
}

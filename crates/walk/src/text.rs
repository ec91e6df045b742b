//! Things of a host in the words in which the host prints them.
use std::net::IpAddr;

use host::iptables::{Rule, print_rule};
use host::netns::{Link, Route, RouteKey, print_link, print_route};

use host::ovs::field::CT_STATE_BITS;
use host::ovs::flow::{Flow, FlowKey};
use host::ovs::{FlowLine, Interface, Port};

/// A flow as `ovs-ofctl --names dump-flows` prints it.
pub fn flow(key: &FlowKey, flow: &Flow) -> String {
    FlowLine(key, flow).to_string()
}

/// A rule as `iptables-save` prints it.
pub fn rule(chain: &str, rule: &Rule) -> String {
    print_rule(chain, rule).trim_end().to_owned()
}

/// A route as `ip route show table all` prints it.
pub fn route(table: u32, key: &RouteKey, route: &Route) -> String {
    print_route(table, key, route).trim_end().to_owned()
}

/// A device's line as `ip link` prints it, flags in its order.
pub fn link(dev: &str, link: &Link) -> String {
    let line = print_link(dev, link);
    let sorted: Vec<&str> = link.flags.0.iter().map(String::as_str).collect();
    let mut shown = sorted.clone();
    shown.sort_by_key(|flag| FLAGS.iter().position(|f| f == flag).unwrap_or(FLAGS.len()));
    line.replacen(
        &format!("<{}>", sorted.join(",")),
        &format!("<{}>", shown.join(",")),
        1,
    )
}

/// Flags of a device, in the order in which `ip` prints them.
const FLAGS: [&str; 11] = [
    "NO-CARRIER",
    "LOOPBACK",
    "BROADCAST",
    "POINTOPOINT",
    "MULTICAST",
    "NOARP",
    "ALLMULTI",
    "PROMISC",
    "MASTER",
    "UP",
    "LOWER_UP",
];

/// A port as `ovs-vsctl show` has it, in a line.
pub fn port(name: &str, port: &Port) -> String {
    let tag = match port.tag {
        Some(tag) => format!(" tag: {tag}"),
        None => String::new(),
    };
    let mode = match port.vlan_mode {
        Some(mode) => format!(" vlan_mode: {}", mode.name()),
        None => String::new(),
    };
    let trunks: Vec<String> = port.trunks.iter().map(u16::to_string).collect();
    let trunks = match trunks.is_empty() {
        true => String::new(),
        false => format!(" trunks: [{}]", trunks.join(", ")),
    };
    format!("Port {name}{tag}{mode}{trunks}")
}

/// An interface as `ovs-vsctl show` has it, in a line.
pub fn interface(name: &str, interface: &Interface) -> String {
    let options: Vec<String> = interface
        .options
        .iter()
        .map(|(key, value)| format!("{key}={}", option(value)))
        .collect();
    format!(
        "Interface {name} type: {} options: {{{}}}",
        interface.kind,
        options.join(", ")
    )
}

/// What OpenFlow set of a port, as `ovs-ofctl show` has it, in a line.
pub fn port_config(name: &str, interface: &Interface) -> String {
    let words: Vec<&str> = interface.config.0.iter().map(String::as_str).collect();
    let number = interface
        .ofport
        .0
        .map_or_else(String::new, |n| n.to_string());
    format!("{number}({name}): config: {}", words.join(" "))
}

/// An option's value: quoted unless it is a plain word, as OVSDB prints strings.
fn option(value: &str) -> String {
    let plain = !value.is_empty()
        && value.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && value
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c))
        && value != "true"
        && value != "false"
        && value.parse::<IpAddr>().is_err();
    if plain {
        value.to_owned()
    } else {
        format!("\"{value}\"")
    }
}

/// Connection tracking's state, as flows match it: `+new+trk`.
pub fn ct_state(bits: u32) -> String {
    let names = CT_STATE_BITS.iter().enumerate();
    names
        .filter(|(n, _)| bits & (1 << n) != 0)
        .map(|(_, name)| format!("+{name}"))
        .collect()
}

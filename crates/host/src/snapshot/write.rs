//! Writing a host as the texts that [`load`](super::load) reads: how an agent hands over what it
//! observed, and how a plan is looked at with the tools' own eyes.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use serde_json::{Value as Json, json};

use super::Files;
use crate::netns::{
    self, AddrKey, Family, Link, LinkKind, Listener, Netns, print_connection, print_ip_rule,
    print_link, print_neighbour, print_route, print_sysctls,
};
use crate::ovs::{
    Bridge, Interface, Port, VlanMode, print_fdb, print_flows, print_group, print_show,
};
use crate::process::Process;
use crate::{HostState, ipset, iptables};

/// A host as files, by path below its folder. What was read of them again is equal to `state`.
pub fn write(state: &HostState) -> Files {
    let mut files = Files::new();
    bridges(&mut files, &state.bridges);
    let names = state.netns.keys().map(|name| format!("{name}\n"));
    put(&mut files, "netns.txt", names.collect());
    for (name, netns) in &state.netns {
        namespace(&mut files, &format!("ns-{name}"), netns);
    }
    for (path, file) in &state.files {
        files.insert(format!("state/{path}"), file.print());
    }
    put(&mut files, "ps.txt", processes(&state.processes));
    files
}

/// Nothing to say is no file.
fn put(files: &mut Files, path: impl Into<String>, text: String) {
    if !text.is_empty() {
        files.insert(path.into(), text);
    }
}

fn bridges(files: &mut Files, bridges: &BTreeMap<String, Bridge>) {
    put(files, "ovs-vsctl-show.txt", print_show(bridges));
    for (table, rows) in rows(bridges) {
        put(files, format!("ovsdb-{table}.json"), rows);
    }
    for (name, bridge) in bridges {
        let group = |(id, group): (&u32, _)| format!("{}\n", print_group(*id, group));
        let meter = |(id, meter): (&u32, &String)| format!("meter={id} {meter}\n");
        put(
            files,
            format!("flows-{name}.names.txt"),
            print_flows(&bridge.flows),
        );
        put(
            files,
            format!("groups-{name}.txt"),
            bridge.groups.iter().map(group).collect(),
        );
        put(
            files,
            format!("meters-{name}.txt"),
            bridge.meters.iter().map(meter).collect(),
        );
        put(files, format!("fdb-{name}.txt"), print_fdb(&bridge.fdb));
    }
}

/// OVSDB's tables in JSON. Rows refer to each other by names made up for it.
fn rows(bridges: &BTreeMap<String, Bridge>) -> [(&'static str, String); 4] {
    let (mut of_bridges, mut of_ports, mut of_interfaces, mut of_controllers) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (name, bridge) in bridges {
        of_bridges.push(bridge_row(name, bridge));
        for target in &bridge.controllers {
            let id = format!("controller {target}");
            of_controllers.push(json!([uuid(&id), target]));
        }
        for (name, port) in &bridge.ports {
            of_ports.push(port_row(name, port));
            let interfaces = port.interfaces.iter();
            of_interfaces.extend(interfaces.map(|(name, row)| interface_row(name, row)));
        }
    }
    [
        ("Bridge", table(BRIDGE, &of_bridges)),
        ("Port", table(PORT, &of_ports)),
        ("Interface", table(INTERFACE, &of_interfaces)),
        ("Controller", table(&["_uuid", "target"], &of_controllers)),
    ]
}

fn table(headings: &[&str], rows: &[Json]) -> String {
    json!({"headings": headings, "data": rows}).to_string()
}

fn uuid(name: &str) -> Json {
    json!(["uuid", name])
}

fn set(items: impl IntoIterator<Item = Json>) -> Json {
    json!(["set", items.into_iter().collect::<Vec<_>>()])
}

fn map(pairs: &BTreeMap<String, String>) -> Json {
    let pairs: Vec<Json> = pairs.iter().map(|(k, v)| json!([k, v])).collect();
    json!(["map", pairs])
}

const BRIDGE: &[&str] = &[
    "_uuid",
    "name",
    "datapath_type",
    "fail_mode",
    "protocols",
    "other_config",
    "external_ids",
    "datapath_id",
    "ports",
    "controller",
];

fn bridge_row(name: &str, bridge: &Bridge) -> Json {
    let ports = bridge
        .ports
        .keys()
        .map(|port| uuid(&format!("port {port}")));
    let targets = bridge.controllers.iter();
    json!([
        uuid(&format!("bridge {name}")),
        name,
        bridge.datapath_type,
        set(bridge.fail_mode.iter().map(|mode| json!(mode))),
        set(bridge.protocols.iter().map(|protocol| json!(protocol))),
        map(&bridge.other_config),
        map(&bridge.external_ids),
        set(bridge.datapath_id.0.iter().map(|id| json!(id))),
        set(ports),
        set(targets.map(|target| uuid(&format!("controller {target}")))),
    ])
}

const PORT: &[&str] = &[
    "_uuid",
    "name",
    "tag",
    "vlan_mode",
    "trunks",
    "other_config",
    "external_ids",
    "interfaces",
];

fn port_row(name: &str, port: &Port) -> Json {
    let interfaces = port.interfaces.keys();
    json!([
        uuid(&format!("port {name}")),
        name,
        set(port.tag.iter().map(|tag| json!(tag))),
        set(port
            .vlan_mode
            .iter()
            .map(|mode| json!(VlanMode::name(*mode)))),
        set(port.trunks.iter().map(|vlan| json!(vlan))),
        map(&port.other_config),
        map(&port.external_ids),
        set(interfaces.map(|name| uuid(&format!("interface {name}")))),
    ])
}

const INTERFACE: &[&str] = &[
    "_uuid",
    "name",
    "type",
    "options",
    "other_config",
    "external_ids",
    "mac",
    "mtu_request",
    "ofport_request",
    "ofport",
    "mac_in_use",
    "mtu",
    "error",
    "admin_state",
    "link_state",
];

fn interface_row(name: &str, row: &Interface) -> Json {
    let number = |number: Option<u32>| set(number.map(|n| json!(n)));
    let text = |text: &Option<String>| set(text.iter().map(|t| json!(t)));
    let mac = |mac: Option<crate::Mac>| set(mac.map(|m| json!(m.to_string())));
    json!([
        uuid(&format!("interface {name}")),
        name,
        row.kind,
        map(&row.options),
        map(&row.other_config),
        map(&row.external_ids),
        mac(row.mac),
        number(row.mtu_request),
        number(row.ofport_request),
        number(row.ofport.0),
        mac(row.mac_in_use.0),
        number(row.mtu.0),
        text(&row.error.0),
        text(&row.admin_state.0),
        text(&row.link_state.0),
    ])
}

fn namespace(files: &mut Files, folder: &str, netns: &Netns) {
    let mut say = |file: &str, text: String| put(files, format!("{folder}/{file}.txt"), text);
    say("ip-a", links_and_addrs(netns));
    for (family, ip, save) in [
        (Family::V4, "ip", "iptables-save"),
        (Family::V6, "ip6", "ip6tables-save"),
    ] {
        say(&format!("{ip}-route-all"), routes(netns, family));
        let rules = netns.rules.iter().filter(|(key, _)| key.family == family);
        let rule = |(key, action): (_, _)| format!("{}\n", print_ip_rule(key, action));
        say(&format!("{ip}-rule"), rules.map(rule).collect());
        if let Some(tables) = netns.iptables.get(&family) {
            say(save, iptables::print_iptables(tables));
        }
    }
    let neighbour = |(key, n): (_, _)| format!("{}\n", print_neighbour(key, n));
    say("ip-neigh", netns.neighbours.iter().map(neighbour).collect());
    say("ipset-save", ipset::print_ipsets(&netns.ipsets));
    say("sysctl", print_sysctls(&netns.sysctls));
    say("ss-listen", netns.listeners.iter().map(listener).collect());
    let connection = |c| format!("{}\n", print_connection(c));
    say(
        "conntrack",
        netns.conntrack.iter().map(connection).collect(),
    );
}

fn routes(netns: &Netns, family: Family) -> String {
    let mut out = String::new();
    for (table, routes) in &netns.routes {
        let routes = routes.iter();
        for (key, route) in routes.filter(|(key, _)| Family::of(key.dst.addr()) == family) {
            let _ = writeln!(out, "{}", print_route(*table, key, route));
        }
    }
    out
}

/// `ip -d address`, of links in the order of their names. Addresses of a device that is not
/// there are not said: there is no line for them.
fn links_and_addrs(netns: &Netns) -> String {
    let mut out = String::new();
    for (number, (name, link)) in netns.links.iter().enumerate() {
        let index = match link.index.0 {
            0 => number as u32 + 1,
            index => index,
        };
        let _ = writeln!(out, "{index}: {}", print_link(name, link));
        link_details(&mut out, link);
        let addrs = netns.addrs.iter().filter(|(key, _)| key.dev == *name);
        for (key, addr) in addrs {
            address(&mut out, key, addr);
        }
    }
    out
}

fn link_details(out: &mut String, link: &Link) {
    let layer = match link.kind {
        LinkKind::Loopback => "loopback",
        _ => "ether",
    };
    let mac = link.mac.map(|mac| format!(" {mac}")).unwrap_or_default();
    let netns = link.peer_netns.0.as_deref();
    let netns = netns
        .map(|name| format!(" link-netns {name}"))
        .unwrap_or_default();
    let _ = writeln!(out, "    link/{layer}{mac}{netns}");
    let kind = match &link.kind {
        LinkKind::Device | LinkKind::Loopback => return,
        LinkKind::Veth => "veth".to_owned(),
        LinkKind::Bridge => "bridge".to_owned(),
        LinkKind::Tun => "tun".to_owned(),
        LinkKind::Dummy => "dummy".to_owned(),
        LinkKind::Vlan(id) => format!("vlan protocol 802.1Q id {id}"),
        LinkKind::Other(kind) => kind.clone(),
    };
    let _ = writeln!(out, "    {kind}");
}

fn address(out: &mut String, key: &AddrKey, addr: &netns::Addr) {
    let version = match key.net.addr() {
        IpAddr::V4(_) => "inet",
        IpAddr::V6(_) => "inet6",
    };
    let _ = write!(out, "    {version} {}", key.net);
    if let Some(broadcast) = addr.broadcast {
        let _ = write!(out, " brd {broadcast}");
    }
    if !addr.scope.is_empty() {
        let _ = write!(out, " scope {}", addr.scope);
    }
    for flag in &addr.flags.0 {
        let _ = write!(out, " {flag}");
    }
    let _ = writeln!(out, " {}", key.dev);
}

/// A socket in the columns of `ss -l`.
fn listener(listener: &Listener) -> String {
    let dev = listener
        .dev
        .as_ref()
        .map(|dev| format!("%{dev}"))
        .unwrap_or_default();
    let addr = match listener.addr {
        None => format!("*{dev}"),
        Some(IpAddr::V4(addr)) => format!("{addr}{dev}"),
        Some(IpAddr::V6(addr)) => format!("[{addr}]{dev}"),
    };
    let process = listener.process.as_ref();
    let process = process.map(|(name, pid)| format!(" users:((\"{name}\",pid={pid},fd=0))"));
    let state = if listener.proto == "tcp" {
        "LISTEN"
    } else {
        "UNCONN"
    };
    let process = process.unwrap_or_default();
    format!(
        "{} {state} 0 0 {addr}:{} *:*{process}\n",
        listener.proto, listener.port
    )
}

fn processes(processes: &BTreeMap<String, Process>) -> String {
    let mut out = String::new();
    for process in processes.values() {
        let number = |number: Option<u32>| number.unwrap_or_default();
        let (pid, ppid) = (number(process.pid.0), number(process.ppid.0));
        let user = process.user.0.as_deref().unwrap_or("root");
        let _ = writeln!(out, "{pid} {ppid} {user} {}", process.argv.join(" "));
    }
    match out.is_empty() {
        true => out,
        false => format!("PID PPID USER COMMAND\n{out}"),
    }
}

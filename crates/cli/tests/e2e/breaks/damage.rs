//! One thing of a host broken, chosen at random from what stands there, and how it is mended.

use super::scene::{HOSTS, Scene};
use rand::prelude::*;
use std::fmt;

pub(crate) struct Damage {
    pub(crate) host: String,
    what: String,
    /// The line of shell that breaks it, and the one that mends it.
    pub(crate) breaks: String,
    pub(crate) mends: String,
    /// What the words of whoever finds it must have in them.
    pub(crate) shows: Vec<String>,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "on {}: {}", self.host, self.what)
    }
}

type Kind = fn(&mut StdRng, &Scene, &str) -> Option<Damage>;

/// Each as likely as the others.
const KINDS: &[Kind] = &[
    flow_gone,
    flow_drops,
    rule_gone,
    member_gone,
    tag_changed,
    route_gone,
    tunnel_astray,
    setting_changed,
    program_ended,
    device_down,
    address_gone,
    policy_gone,
    neighbour_astray,
    refused,
    key_changed,
];

impl Damage {
    /// Nothing when no host has anything of the kinds that were tried.
    pub(crate) fn choose(rng: &mut StdRng, scene: &Scene) -> Option<Self> {
        const TRIES: usize = 50;
        (0..TRIES).find_map(|_| {
            let host = HOSTS.choose(rng)?;
            KINDS.choose(rng)?(rng, scene, host)
        })
    }

    fn new(host: &str, what: String, breaks: String, mends: String, shows: &[&str]) -> Self {
        Self {
            host: host.to_owned(),
            what,
            breaks,
            mends,
            shows: shows.iter().map(|word| (*word).to_owned()).collect(),
        }
    }
}

/// A word as the shell takes it whole.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A flow that the agent wrote: its bridge, its match with table and priority, all of it.
fn flow(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<(String, String, String)> {
    let bridge = *["br-int", "br-tun", "br-ex"].choose(rng)?;
    let flows = scene.file(host, &format!("flows-{bridge}.names.txt"));
    let own = flows
        .lines()
        .filter(|line| line.contains("cookie=") && !line.contains("hard_timeout="));
    let line = own.map(str::trim).choose(rng)?;
    let (head, _) = line.split_once(" actions=")?;
    let (_, matched) = head.split_once(", ")?;
    let matched = matched.replace(", ", ",");
    // Without a table, all tables are meant.
    let matched = match matched.starts_with("table=") {
        true => matched,
        false => format!("table=0,{matched}"),
    };
    Some((bridge.to_owned(), matched, line.replace(", ", ",")))
}

fn table_of(matched: &str) -> &str {
    matched
        .split(',')
        .find(|part| part.starts_with("table="))
        .unwrap_or("table=0")
}

const OFCTL: &str = "ovs-ofctl -O OpenFlow13 --names";

fn flow_gone(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (bridge, matched, whole) = flow(rng, scene, host)?;
    Some(Damage::new(
        host,
        format!("{bridge} without {whole}"),
        format!("{OFCTL} --strict del-flows {bridge} {}", quoted(&matched)),
        format!("{OFCTL} add-flow {bridge} {}", quoted(&whole)),
        &[],
    ))
}

fn flow_drops(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (bridge, matched, whole) = flow(rng, scene, host)?;
    if whole.ends_with("actions=drop") {
        return None;
    }
    let cookie = whole.split(',').next()?;
    let dropping = format!("{cookie},{matched},actions=drop");
    Some(Damage::new(
        host,
        format!("{bridge} drops by {matched}"),
        format!("{OFCTL} add-flow {bridge} {}", quoted(&dropping)),
        format!("{OFCTL} add-flow {bridge} {}", quoted(&whole)),
        &["actions=drop"],
    ))
    .filter(|_| table_of(&matched) != "table=23")
}

/// The host's own namespace or one of its routers', of source NAT or of floating IPs: how a command is run there, and its folder of
/// collected texts.
fn namespace(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<(String, String)> {
    let names = scene.file(host, "netns.txt").lines();
    let routers = names.filter_map(|line| line.split(' ').next());
    let kinds = ["qrouter-", "snat-", "fip-"];
    let routers = routers.filter(|name| kinds.iter().any(|kind| name.starts_with(kind)));
    let inner = routers.map(|name| (format!("ip netns exec {name} "), format!("ns-{name}")));
    inner
        .chain([(String::new(), "ns-root".to_owned())])
        .choose(rng)
}

fn rule_gone(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (within, folder) = namespace(rng, scene, host)?;
    let version = *["", "6"].choose(rng)?;
    let saved = scene.file(host, &format!("{folder}/ip{version}tables-save.txt"));
    let rules = saved.lines().filter(|line| line.starts_with("-A neutron"));
    let rule = rules.choose(rng)?;
    // Only the first of lines that are the same.
    let less = saved.replacen(&format!("{rule}\n"), "", 1);
    Some(Damage::new(
        host,
        format!("{folder} without {rule} of ip{version}tables"),
        format!(
            "printf %s {} | {within}ip{version}tables-restore",
            quoted(&less)
        ),
        format!(
            "printf %s {} | {within}ip{version}tables-restore",
            quoted(saved)
        ),
        &[],
    ))
}

fn member_gone(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let saved = scene.file(host, "ns-root/ipset-save.txt");
    let line = saved
        .lines()
        .filter(|line| line.starts_with("add NIPv"))
        .choose(rng)?;
    let member = line.strip_prefix("add ")?;
    let shown = member.split_whitespace().last()?;
    Some(Damage::new(
        host,
        format!("no member {member}"),
        format!("ipset del {member}"),
        format!("ipset add {member}"),
        &[shown],
    ))
}

fn tag_changed(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let said = scene.sh(
        host,
        "ovs-vsctl --bare -f table -d bare --columns=name,tag list Port",
    );
    let tagged: Vec<(String, String)> = said
        .lines()
        .filter_map(|line| {
            let (name, tag) = line.trim().split_once(char::is_whitespace)?;
            Some((name.to_owned(), tag.trim().to_owned()))
        })
        .filter(|(_, tag)| tag.parse::<u16>().is_ok())
        .collect();
    let (name, tag) = tagged.choose(rng)?;
    let other = *["4000", "1", "2"]
        .iter()
        .filter(|other| *other != tag)
        .choose(rng)?;
    Some(Damage::new(
        host,
        format!("{name} with tag {other}, not {tag}"),
        format!("ovs-vsctl set Port {name} tag={other}"),
        format!("ovs-vsctl set Port {name} tag={tag}"),
        &[name],
    ))
}

fn route_gone(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (within, folder) = namespace(rng, scene, host)?;
    let inner = folder != "ns-root";
    let said = scene.file(host, &format!("{folder}/ip-route-all.txt"));
    let routes = said.lines().map(str::trim);
    let route = routes
        .filter(|line| {
            inner && !line.contains("table local") && !line.contains(" lo ") && !line.contains(':')
        })
        .filter(|line| {
            line.starts_with("default") || line.starts_with(|c: char| c.is_ascii_digit())
        })
        .choose(rng)?;
    let first = route.split(' ').next()?;
    Some(Damage::new(
        host,
        format!("{folder} without the route {route}"),
        format!("{within}ip route del {route}"),
        format!("{within}ip route add {route}"),
        &[first],
    ))
}

fn tunnel_astray(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let ports = scene.sh(host, "ovs-vsctl list-ports br-tun");
    let port = ports
        .lines()
        .filter(|name| *name != "patch-int")
        .choose(rng)?;
    let said = scene.sh(
        host,
        &format!("ovs-vsctl get Interface {port} options:remote_ip"),
    );
    let remote = said.trim().trim_matches('"');
    Some(Damage::new(
        host,
        format!("{port} leads to nobody"),
        format!("ovs-vsctl set Interface {port} options:remote_ip=10.30.0.99"),
        format!("ovs-vsctl set Interface {port} options:remote_ip={remote}"),
        &[port, "10.30.0.99"],
    ))
}

fn setting_changed(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (within, folder) = namespace(rng, scene, host)?;
    let said = scene.file(host, &format!("{folder}/sysctl.txt"));
    // What agents set; a router of IPv6 is no host's business but theirs.
    let proxies = said.lines().filter_map(|line| line.strip_suffix(" = 1"));
    let proxies = proxies.filter(|name| name.contains(".fg-") && name.ends_with(".proxy_arp"));
    let name = match folder.as_str() {
        "ns-root" => "net.bridge.bridge-nf-call-iptables",
        _ => ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"]
            .into_iter()
            .chain(proxies)
            .choose(rng)?,
    };
    said.contains(&format!("{name} = 1")).then(|| {
        Damage::new(
            host,
            format!("{name} = 0 in {folder}"),
            format!("{within}sysctl -qw {name}=0"),
            format!("{within}sysctl -qw {name}=1"),
            &[name],
        )
    })
}

/// A rule of policy routing: those of distributed routers lead to source NAT and floating IPs.
fn policy_gone(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (within, folder) = namespace(rng, scene, host)?;
    let said = scene.file(host, &format!("{folder}/ip-rule.txt"));
    let rules = said.lines().filter_map(|line| line.split_once(":\t"));
    let (priority, rule) = rules
        .filter(|(priority, _)| !["0", "32766", "32767"].contains(priority))
        .choose(rng)?;
    let rule = rule.trim();
    Some(Damage::new(
        host,
        format!("{folder} without the rule {priority}: {rule}"),
        format!("{within}ip rule del pref {priority} {rule}"),
        format!("{within}ip rule add pref {priority} {rule}"),
        &[priority],
    ))
}

/// A neighbour that the agent knows for good, with another's MAC.
fn neighbour_astray(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (within, folder) = namespace(rng, scene, host)?;
    let said = scene.file(host, &format!("{folder}/ip-neigh.txt"));
    let line = said
        .lines()
        .filter(|line| line.contains("lladdr") && line.trim_end().ends_with("PERMANENT"))
        .choose(rng)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [address, "dev", device, "lladdr", mac, ..] = words.as_slice() else {
        return None;
    };
    let other = "02:00:00:00:00:99";
    let to = |mac: &str| {
        format!("{within}ip neigh replace {address} dev {device} lladdr {mac} nud permanent")
    };
    Some(Damage::new(
        host,
        format!("{folder} takes {address} to be {other}, not {mac}"),
        to(other),
        to(mac),
        &[address, other],
    ))
}

/// A route that refuses what is for one guest.
fn refused(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (within, folder) = namespace(rng, scene, host)?;
    if !folder.starts_with("ns-qrouter-") {
        return None;
    }
    let names: Vec<&String> = scene.rig.lab.guests().keys().collect();
    let address = scene.rig.guest(names.choose(rng)?).ip();
    Some(Damage::new(
        host,
        format!("{folder} refuses {address}"),
        format!("{within}ip route add unreachable {address}"),
        format!("{within}ip route del unreachable {address}"),
        &["unreachable", &address.to_string()],
    ))
}

/// A tunnel whose packets carry a key of their own.
fn key_changed(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let ports = scene.sh(host, "ovs-vsctl list-ports br-tun");
    let port = ports
        .lines()
        .filter(|name| *name != "patch-int")
        .choose(rng)?;
    Some(Damage::new(
        host,
        format!("{port} sends with the key 9999"),
        format!("ovs-vsctl set Interface {port} options:out_key=9999"),
        format!("ovs-vsctl set Interface {port} options:out_key=flow"),
        &[port, "9999"],
    ))
}

fn program_ended(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let said = scene.sh(
        host,
        "ps -eo pid,args | grep '[d]nsmasq .*--dhcp-hostsfile' || :",
    );
    let line = said.lines().map(str::trim).choose(rng)?;
    let (pid, _) = line.split_once(' ')?;
    let arguments = scene.sh(host, &format!("tr '\\0' '\\n' </proc/{pid}/cmdline"));
    let arguments: Vec<String> = arguments.lines().map(quoted).collect();
    let namespace = scene.sh(host, &format!("ip netns identify {pid}"));
    let namespace = namespace.trim().to_owned();
    (!namespace.is_empty()).then(|| {
        Damage::new(
            host,
            format!("no dnsmasq in {namespace}"),
            format!("kill {pid}; while kill -0 {pid} 2>/dev/null; do sleep 0.1; done"),
            format!("ip netns exec {namespace} {}", arguments.join(" ")),
            &["dnsmasq"],
        )
    })
}

fn device_down(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let said = scene.file(host, "ns-root/ip-a.txt");
    let names = said.lines().filter_map(|line| line.split(": ").nth(1));
    let names = names.filter_map(|name| name.split('@').next());
    let plugged = ["tap", "qvb", "qvo", "qbr"];
    let device = names
        .filter(|name| plugged.iter().any(|prefix| name.starts_with(prefix)))
        .choose(rng)?;
    Some(Damage::new(
        host,
        format!("{device} is down"),
        format!("ip link set {device} down"),
        format!("ip link set {device} up"),
        &[device],
    ))
}

fn address_gone(rng: &mut StdRng, scene: &Scene, host: &str) -> Option<Damage> {
    let (within, folder) = namespace(rng, scene, host)?;
    // With the address of a distributed router go its neighbours and the tables of its subnets,
    // which do not come back with it.
    if folder == "ns-root" || scene.kind.distributed {
        return None;
    }
    let said = scene.sh(host, &format!("{within}ip -o -4 address"));
    let line = said
        .lines()
        .filter(|line| line.contains(" qr-"))
        .choose(rng)?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, device, _, address, ..] = words.as_slice() else {
        return None;
    };
    Some(Damage::new(
        host,
        format!("{device} without {address}"),
        format!("{within}ip address del {address} dev {device}"),
        format!("{within}ip address add {address} brd + dev {device}"),
        &[address],
    ))
}

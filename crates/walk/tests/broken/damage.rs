//! What can be broken on a host, one thing at a time: each damage is new contents for some of a
//! snapshot's files, and the words in which the broken thing may be named.
use std::collections::BTreeMap;

use crate::hand::Hand;

pub(crate) type Files = BTreeMap<String, String>;

/// One thing broken.
pub(crate) struct Damage {
    /// What was done, in words.
    pub what: String,
    /// The host that it was done to: its folder.
    pub host: String,
    /// New contents of files, by path.
    pub files: Vec<(String, String)>,
    /// The names that are right for it.
    pub named: Vec<String>,
}

/// All damages of a snapshot's hosts.
pub(crate) fn all(files: &Files) -> Vec<Damage> {
    let mut found = Vec::new();
    for (path, text) in files {
        let Some((host, below)) = path.split_once('/') else {
            continue;
        };
        let name = below.rsplit('/').next().unwrap();
        let ours = ["ns-root/", "ns-qrouter", "ns-snat", "ns-fip", "ns-qdhcp"];
        let in_namespace = ours.iter().any(|start| below.starts_with(start));
        let file = Lines { host, path, text };
        match name {
            _ if name.starts_with("flows-") => flows(&file, &mut found),
            "iptables-save.txt" if in_namespace => rules(&file, &mut found),
            "ipset-save.txt" if in_namespace => sets(&file, &mut found),
            "ip-route-all.txt" if in_namespace => routes(&file, &mut found),
            "ip-rule.txt" if in_namespace => policies(&file, &mut found),
            "ip-neigh.txt" if in_namespace => neighbours(&file, files, &mut found),
            "ip-a.txt" if in_namespace => {
                devices(&file, &mut found);
                addresses(&file, files, &mut found);
            }
            "sysctl.txt" if in_namespace => settings(&file, &mut found),
            "host" => leases(&file, &mut found),
            "ss-listen.txt" if in_namespace => listeners(&file, &mut found),
            "ps.txt" => programs(&file, &mut found),
            "ovs-vsctl-show.txt" => ports(&file, files, &mut found),
            "fdb-br-int.txt" => stale(&file, files, &mut found),
            _ => {}
        }
    }
    found
}

/// A file of a host.
struct Lines<'a> {
    host: &'a str,
    path: &'a str,
    text: &'a str,
}

impl Lines<'_> {
    /// The file with another line, or none, in the place of its line of that number.
    fn with(&self, at: usize, line: Option<&str>) -> String {
        let lines = self
            .text
            .lines()
            .enumerate()
            .filter_map(|(n, old)| if n == at { line } else { Some(old) });
        lines.flat_map(|line| [line, "\n"]).collect()
    }

    fn damage(&self, what: &str, text: String, named: Vec<String>) -> Damage {
        Damage {
            what: format!("{what} in {}", self.path),
            host: self.host.to_owned(),
            files: vec![(self.path.to_owned(), text)],
            named,
        }
    }

    fn gone(&self, at: usize, line: &str) -> Damage {
        let named = vec![format!("MISSING {line}")];
        self.damage(&format!("without {line}"), self.with(at, None), named)
    }

    fn changed(&self, at: usize, line: &str, new: &str) -> Damage {
        let what = format!("{line} became {new}");
        self.damage(&what, self.with(at, Some(new)), vec![new.to_owned()])
    }

    /// Another line before one.
    fn added(&self, at: usize, line: &str, new: &str) -> Damage {
        let both = format!("{new}\n{line}");
        let what = format!("{new} too much");
        self.damage(&what, self.with(at, Some(&both)), vec![new.to_owned()])
    }
}

/// The text after a key, up to a comma, a space or the end.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let start = line.find(key)? + key.len();
    line[start..].split([',', ' ', '-', ')']).next()
}

/// Something of the same kind that is not it: a number, a MAC, an address.
fn other(value: &str) -> Option<String> {
    others(value).next()
}

/// All that differ from it in one bit.
fn others(value: &str) -> impl Iterator<Item = String> {
    let plain = value.trim_matches('"').to_owned();
    [5, 7, 6, 4, 3].into_iter().filter_map(move |bit| {
        if let Some((start, end)) = plain.rsplit_once(':') {
            let byte = u8::from_str_radix(end, 16).ok()? ^ (1 << bit);
            return Some(format!("{start}:{byte:02x}"));
        }
        if let Some(hex) = plain.strip_prefix("0x") {
            let number = u64::from_str_radix(hex, 16).ok()?;
            return Some(format!("{:#x}", number ^ (1 << bit)));
        }
        if let Some((start, end)) = plain.rsplit_once('.') {
            let byte = end.parse::<u8>().ok()? ^ (1 << bit);
            return Some(format!("{start}.{byte}"));
        }
        let number: u32 = plain.parse().ok()?;
        Some((number ^ (1 << bit)).to_string())
    })
}

const MATCHES: &[&str] = &[
    "dl_vlan=",
    "tun_id=",
    "dl_dst=",
    "dl_src=",
    "nw_src=",
    "arp_tpa=",
    "arp_spa=",
    "tp_dst=",
    "reg5=",
    "reg6=",
    "ct_zone=",
    "nd_target=",
    "arp_tha=",
    "conj_id=",
];

fn flows(file: &Lines<'_>, found: &mut Vec<Damage>) {
    for (n, line) in file.text.lines().enumerate() {
        let Some((matches, actions)) = line.split_once(" actions=") else {
            continue;
        };
        let learned = matches.contains("hard_timeout") || matches.contains("idle_timeout");
        if learned {
            continue;
        }
        found.push(file.gone(n, line));
        if actions != "drop" && !actions.contains("learn(") {
            found.push(file.changed(n, line, &format!("{matches} actions=drop")));
        }
        for key in MATCHES {
            let Some(old) = value(matches, key) else {
                continue;
            };
            // A switch has no two flows with the same match: the first value that makes none.
            let new = others(old).find_map(|new| {
                let new = matches.replacen(&format!("{key}{old}"), &format!("{key}{new}"), 1);
                let taken = file.text.contains(&format!("{new} actions="));
                (!taken).then_some(new)
            });
            if let Some(new) = new {
                found.push(file.changed(n, line, &format!("{new} actions={actions}")));
            }
        }
        for part in actions.split("set_field:").skip(1) {
            let old = part.split("->").next().unwrap();
            let field = part
                .split("->")
                .nth(1)
                .unwrap_or("")
                .split(',')
                .next()
                .unwrap();
            if let Some(new) = other(old) {
                let whole = format!("set_field:{old}->{field}");
                let new = actions.replacen(&whole, &format!("set_field:{new}->{field}"), 1);
                found.push(file.changed(n, line, &format!("{matches} actions={new}")));
            }
        }
        if let Some(port) = value(actions, "output:\"").map(|_| port_in(actions)) {
            if let Some(new) = another_port(&port, file.text) {
                let new = actions.replacen(&port, &new, 1);
                found.push(file.changed(n, line, &format!("{matches} actions={new}")));
            }
            let without = actions.replacen(&format!(",output:\"{port}\""), "", 1);
            if without.contains("output:") && without != actions {
                found.push(file.changed(n, line, &format!("{matches} actions={without}")));
            }
        }
    }
}

fn port_in(actions: &str) -> String {
    let start = actions.split_once("output:\"").unwrap().1;
    start.split('"').next().unwrap().to_owned()
}

/// Another port that flows of the same bridge name.
fn another_port(port: &str, flows: &str) -> Option<String> {
    let mut ports = flows
        .split("output:\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap());
    ports.find(|other| *other != port).map(str::to_owned)
}

fn rules(file: &Lines<'_>, found: &mut Vec<Damage>) {
    let mut table = "";
    for (n, line) in file.text.lines().enumerate() {
        table = line.strip_prefix('*').unwrap_or(table);
        let policy = line
            .strip_prefix(':')
            .and_then(|l| l.split_once(" ACCEPT "));
        if let Some((chain, counters)) = policy.filter(|_| table == "filter") {
            let new = format!(":{chain} DROP {counters}");
            let mut damage = file.changed(n, line, &new);
            damage.named = vec![format!(":{chain} DROP")];
            found.push(damage);
        }
        if !line.starts_with("-A ") {
            continue;
        }
        found.push(file.gone(n, line));
        for verdict in ["RETURN", "ACCEPT"] {
            let start = line.strip_suffix(&format!("-j {verdict}"));
            if let Some(start) = start.filter(|_| table == "filter") {
                found.push(file.changed(n, line, &format!("{start}-j DROP")));
                found.push(file.added(n, line, &format!("{start}-j DROP")));
            }
        }
        for key in [
            " --mac-source ",
            " --dport ",
            " --to-destination ",
            " --to-source ",
            " --to-ports ",
        ] {
            if let Some(old) = value(line, key)
                && let Some(new) = other(old)
            {
                let old = format!("{key}{old}");
                found.push(file.changed(n, line, &line.replacen(&old, &format!("{key}{new}"), 1)));
            }
        }
        for key in ["-s ", "-d "] {
            let word = value(line, &format!(" {key}")).and_then(|net| net.strip_suffix("/32"));
            if let Some(old) = word
                && let Some(new) = other(old)
            {
                found.push(file.changed(n, line, &line.replacen(old, &new, 1)));
            }
        }
    }
}

fn sets(file: &Lines<'_>, found: &mut Vec<Damage>) {
    for (n, line) in file
        .text
        .lines()
        .enumerate()
        .filter(|(_, l)| l.starts_with("add "))
    {
        found.push(file.gone(n, line));
    }
}

fn routes(file: &Lines<'_>, found: &mut Vec<Damage>) {
    for (n, line) in file.text.lines().enumerate() {
        let line_trimmed = line.trim();
        // The kernel's own routes to itself go with their addresses.
        if line.contains("table local")
            || file.path.contains("ns-root") && line.starts_with("default")
        {
            continue;
        }
        found.push(file.gone(n, line_trimmed));
        if let Some(old) = value(line, " via ")
            && let Some(new) = other(old)
        {
            found.push(file.changed(n, line_trimmed, &line_trimmed.replacen(old, &new, 1)));
        }
        if file.path.contains("ns-root") {
            continue;
        }
        if let Some(net) = line.split(' ').next().and_then(|net| net.split_once('/')) {
            let other = other(net.0).unwrap();
            found.push(file.added(n, line_trimmed, &format!("blackhole {other}")));
        }
        if let Some(dev) = value_word(line, " dev ") {
            let mut elsewhere = file.text.lines().filter_map(|l| value_word(l, " dev "));
            if let Some(new) = elsewhere.rfind(|d| *d != dev && *d != "lo") {
                let new = line_trimmed.replacen(dev, new, 1);
                found.push(file.changed(n, line_trimmed, &new));
            }
        }
    }
}

fn value_word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let start = line.find(key)? + key.len();
    line[start..].split_whitespace().next()
}

fn policies(file: &Lines<'_>, found: &mut Vec<Damage>) {
    for (n, line) in file.text.lines().enumerate() {
        let usual = ["0:", "32766:", "32767:"]
            .iter()
            .any(|p| line.starts_with(p));
        if usual {
            continue;
        }
        let mut gone = file.gone(n, line);
        // Nothing else says the priority that Neutron chose for a floating IP's rule.
        let (_, rule) = line.split_once(":\t").unwrap();
        if !rule.contains('/') {
            gone.named = vec![format!("MISSING {rule}")];
        }
        found.push(gone);
        let (start, table) = line.rsplit_once(' ').unwrap();
        let new = format!("{start} {}", table.parse::<u64>().unwrap() + 1);
        found.push(file.changed(n, line, &new));
    }
}

fn neighbours(file: &Lines<'_>, files: &Files, found: &mut Vec<Damage>) {
    let routes = files.get(&file.path.replace("ip-neigh.txt", "ip-route-all.txt"));
    let inner = routes.into_iter().flat_map(|text| text.lines());
    let root = file.path.contains("ns-root");
    for route in inner.filter(|r| !root && r.starts_with("10.") && r.contains("proto kernel")) {
        let dev = value_word(route, " dev ").unwrap();
        let third = route.split('.').nth(1).unwrap();
        let fourth = route.split('.').nth(2).unwrap();
        let asked = format!("10.{third}.{fourth}.13 dev {dev} lladdr fa:16:3e:00:00:99 PERMANENT");
        if !file
            .text
            .contains(&format!("10.{third}.{fourth}.13 dev {dev}"))
        {
            found.push(file.damage(
                &format!("{asked} too much"),
                format!("{asked}\n{}", file.text),
                vec![asked],
            ));
        }
    }
    for (n, line) in file.text.lines().enumerate() {
        if !line.contains("PERMANENT") {
            continue;
        }
        found.push(file.gone(n, line.trim()));
        let mac = value_word(line, " lladdr ").unwrap();
        let new = line.replacen(mac, &other(mac).unwrap(), 1);
        found.push(file.changed(n, line.trim(), new.trim()));
    }
}

/// Devices: down, too narrow, with another MAC, out of their bridge.
fn devices(file: &Lines<'_>, found: &mut Vec<Damage>) {
    let lines: Vec<&str> = file.text.lines().collect();
    for (n, line) in lines.iter().enumerate() {
        let Some((_, rest)) = line.split_once(": ").filter(|_| !line.starts_with(' ')) else {
            continue;
        };
        let dev = rest.split([':', '@']).next().unwrap();
        let switch = ["br-int", "br-tun", "br-ex", "ovs-netdev", "ovs-system"].contains(&dev);
        if switch || dev == "lo" || dev == "eth0" || !line.contains(",UP") {
            continue;
        }
        let mut put = |what: &str, line_at: usize, new: String| {
            let named = vec![format!("device {dev}")];
            found.push(file.damage(
                &format!("{dev} {what}"),
                file.with(line_at, Some(&new)),
                named,
            ));
        };
        let down = line
            .replacen(",UP,LOWER_UP", "", 1)
            .replacen("state UP", "state DOWN", 1);
        put("is down", n, down);
        let mtu = value_word(line, " mtu ").unwrap();
        put(
            "is narrow",
            n,
            line.replacen(&format!("mtu {mtu}"), "mtu 1000", 1),
        );
        if let Some(master) = value_word(line, " master ") {
            put(
                "is out of its bridge",
                n,
                line.replacen(&format!("master {master} "), "", 1),
            );
        }
        let mac = value_word(lines[n + 1], "link/ether ");
        if let Some(mac) = mac.filter(|_| !file.path.contains("ns-root")) {
            let new = lines[n + 1].replacen(mac, &other(mac).unwrap(), 1);
            put("has another MAC", n + 1, new);
        }
    }
}

/// Addresses with the routes that the kernel made for them.
fn addresses(file: &Lines<'_>, files: &Files, found: &mut Vec<Damage>) {
    let path = file.path.replace("ip-a.txt", "ip-route-all.txt");
    let routes = files.get(&path).map_or("", String::as_str);
    for (n, line) in file.text.lines().enumerate() {
        let Some(rest) = line.trim().strip_prefix("inet ") else {
            continue;
        };
        let address = rest.split('/').next().unwrap();
        if address.starts_with("127.") || rest.ends_with("eth0") {
            continue;
        }
        let own = |route: &&str| route.trim().ends_with(&format!("src {address}"));
        let left: String = routes
            .lines()
            .filter(|r| !own(r))
            .flat_map(|r| [r, "\n"])
            .collect();
        let mut damage = file.gone(n, line.trim());
        damage.files.push((path.clone(), left));
        found.push(damage);
    }
}

fn settings(file: &Lines<'_>, found: &mut Vec<Damage>) {
    for (n, line) in file.text.lines().enumerate() {
        let Some((key, old)) = line.split_once(" = ") else {
            continue;
        };
        let root = file.path.contains("ns-root");
        let bridged = key.starts_with("net.bridge.bridge-nf-call-iptables");
        let routed = key == "net.ipv4.ip_forward"
            || key.ends_with(".proxy_arp")
            || key.ends_with(".forwarding") && key.contains("ipv4.conf.q");
        if old == "1" && (bridged || routed && !root) {
            found.push(file.changed(n, line, &format!("{key} = 0")));
        }
    }
}

fn leases(file: &Lines<'_>, found: &mut Vec<Damage>) {
    for (n, line) in file.text.lines().enumerate() {
        found.push(file.gone(n, line));
        for word in line.split(',').filter(|w| w.matches('.').count() == 3) {
            if let Some(new) = other(word) {
                found.push(file.changed(n, line, &line.replace(word, &new)));
            }
        }
        let mac = line.split(',').next().unwrap();
        found.push(file.changed(n, line, &line.replacen(mac, &other(mac).unwrap(), 1)));
    }
}

fn listeners(file: &Lines<'_>, found: &mut Vec<Damage>) {
    let namespace = file
        .path
        .split("ns-")
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap();
    for program in ["dnsmasq", "haproxy"] {
        if file.text.contains(program) {
            let left = file.text.lines().filter(|l| !l.contains(program));
            let left: String = left.flat_map(|l| [l, "\n"]).collect();
            let named = vec![format!("MISSING process {program} in {namespace}")];
            found.push(file.damage(&format!("{program} is dead"), left, named));
        }
    }
}

fn programs(file: &Lines<'_>, found: &mut Vec<Damage>) {
    let agent = "neutron-metadata-agent";
    if file.text.contains(agent) {
        let left = file.text.lines().filter(|l| !l.contains(agent));
        let left: String = left.flat_map(|l| [l, "\n"]).collect();
        let named = vec![format!("MISSING process {agent}")];
        found.push(file.damage("the metadata agent is dead", left, named));
    }
}

/// Ports of Open vSwitch: another tag, none, gone; tunnels and patches that lead elsewhere.
fn ports(file: &Lines<'_>, files: &Files, found: &mut Vec<Damage>) {
    let path = |name: &str| format!("{}/{name}", file.host);
    let table = |name: &str| files.get(&path(name)).map_or("", String::as_str);
    let (rows, interfaces) = (table("ovsdb-Port.txt"), table("ovsdb-Interface.txt"));
    let blocks = |text: &str| text.split("\n\n").map(str::to_owned).collect::<Vec<_>>();
    for row in blocks(rows) {
        let Some(name) = row
            .lines()
            .find_map(|l| l.strip_prefix("name                : "))
        else {
            continue;
        };
        let name = name.trim_matches('"');
        let bridge = name.starts_with("br-") || name == "eth0" || name == "eth1";
        if bridge {
            continue;
        }
        let mut put = |what: &str, changes: Vec<(String, String)>| {
            found.push(Damage {
                what: format!("port {name} {what} on {}", file.host),
                host: file.host.to_owned(),
                files: changes,
                named: vec![
                    format!("Port {name} "),
                    format!("Interface {name} "),
                    format!("MISSING Port {name} "),
                ],
            });
        };
        let tag = row
            .lines()
            .find_map(|l| l.strip_prefix("tag                 : "));
        if let Some(tag) = tag.filter(|t| *t != "[]") {
            for new in ["[]".to_owned(), other(tag).unwrap(), "4095".to_owned()] {
                let new = row.replacen(&format!(": {tag}"), &format!(": {new}"), 1);
                put(
                    "has another tag",
                    vec![(path("ovsdb-Port.txt"), rows.replacen(&row, &new, 1))],
                );
            }
        }
        let own = |block: &String| {
            block.contains(&format!(": {name}\n")) || block.contains(&format!(": \"{name}\"\n"))
        };
        let Some(interface) = blocks(interfaces).into_iter().find(own) else {
            continue;
        };
        let mut hand = Hand(files.clone());
        hand.del_port(file.host, name);
        let left = files.iter().filter(|(path, text)| hand.0[*path] != **text);
        let left = left.map(|(path, _)| (path.clone(), hand.0[path].clone()));
        put("is gone", left.collect());
        for key in ["peer=", "remote_ip=\"", "local_ip=\""] {
            let Some(start) = interface.find(key).map(|at| at + key.len()) else {
                continue;
            };
            let old = interface[start..].split([',', '}', '"']).next().unwrap();
            let new = other(old).unwrap_or_else(|| format!("not-{old}"));
            let new = interface.replacen(&format!("{key}{old}"), &format!("{key}{new}"), 1);
            put(
                "leads elsewhere",
                vec![(
                    path("ovsdb-Interface.txt"),
                    interfaces.replacen(&interface, &new, 1),
                )],
            );
        }
    }
}

/// The integration bridge remembers a guest's MAC on a port that it is not behind.
fn stale(file: &Lines<'_>, files: &Files, found: &mut Vec<Damage>) {
    let shown = files.get(&format!("{}/ofctl-show-br-int.txt", file.host));
    let Some(shown) = shown else {
        return;
    };
    for line in shown.lines() {
        let port = line
            .split_once('(')
            .filter(|(_, rest)| rest.starts_with("int-br-ex"));
        if let Some((number, _)) = port {
            let entry = format!("{:>5}     1  fa:16:3e:00:00:12    3", number.trim());
            let text = format!("{}\n{entry}\n", file.text.trim_end());
            let named = vec![entry.split_whitespace().collect::<Vec<_>>().join(" ")];
            found.push(file.damage(&format!("a MAC remembered wrongly: {entry}"), text, named));
        }
    }
}

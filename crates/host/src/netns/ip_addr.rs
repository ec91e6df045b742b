//! `ip address` and `ip link` in all their forms: plain, `-d` with details, `-o` on one line.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::{Addr, AddrKey, BridgePort, Link, LinkKind};
use crate::ParseError;
use crate::text::{Word, Words, lines};

/// Links and addresses, as one command shows both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LinksAndAddrs {
    pub links: BTreeMap<String, Link>,
    pub addrs: BTreeMap<AddrKey, Addr>,
}

/// Read `ip a`, `ip -d a`, `ip -o addr`, `ip link`, `ip -d link`.
pub fn read_ip_addr(text: &str) -> Result<LinksAndAddrs, ParseError> {
    let mut found = LinksAndAddrs::default();
    let mut dev = String::new();
    for (number, line) in lines(text) {
        let mut offset = 0;
        // The one-line form has a backslash where the others break the line.
        for part in line.split('\\') {
            found
                .read_part(part, &mut dev)
                .map_err(|e| e.on_line(number).shifted(offset))?;
            offset += part.len() + 1;
        }
    }
    resolve_peers(&mut found.links);
    Ok(found)
}

/// Names of kinds that `ip -d` prints at the start of a line of their own.
const KINDS: &[&str] = &[
    "bond",
    "bridge",
    "dummy",
    "geneve",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "ifb",
    "ipip",
    "ipvlan",
    "macvlan",
    "macvtap",
    "openvswitch",
    "sit",
    "team",
    "tun",
    "veth",
    "vlan",
    "vrf",
    "vti",
    "vxlan",
    "wireguard",
    "xfrm",
];

impl LinksAndAddrs {
    fn read_part(&mut self, part: &str, dev: &mut String) -> Result<(), ParseError> {
        let mut words = Words::new(part);
        let Some(first) = words.peek() else {
            return Ok(());
        };
        if !part.starts_with(char::is_whitespace) {
            self.read_head(&mut words, dev)?;
            return match words.peek() {
                Some(word) if matches!(word.text, "inet" | "inet6") => {
                    words.next();
                    self.read_addr(&mut words, dev)
                }
                _ => Ok(()),
            };
        }
        let Some(link) = self.links.get_mut(dev.as_str()) else {
            return Err(first.error("no device was named before this line"));
        };
        words.next();
        match first.text {
            "inet" | "inet6" => self.read_addr(&mut words, dev)?,
            text if text.starts_with("link/") => read_link_layer(text, link, &mut words),
            kind if KINDS.contains(&kind) => link.kind = read_kind(kind, &mut words),
            _ => {}
        }
        Ok(())
    }

    /// `2: eth0@if8: <UP> mtu 1500 … master br state UP …`
    fn read_head(&mut self, words: &mut Words<'_>, dev: &mut String) -> Result<(), ParseError> {
        let number = words.need("an index")?;
        let index = Word {
            text: number.text.trim_end_matches(':'),
            ..number
        }
        .parse("an index")?;
        let name = words.need("a device")?;
        let (name, peer) = match name.text.trim_end_matches(':').split_once('@') {
            Some((name, peer)) => (name, Some(peer)),
            None => (name.text.trim_end_matches(':'), None),
        };
        name.clone_into(dev);
        let link = self.links.entry(name.to_owned()).or_default();
        link.index.0 = index;
        match peer.and_then(|p| p.strip_prefix("if")).map(str::parse) {
            Some(Ok(index)) => link.peer_index.0 = Some(index),
            _ => link.peer = peer.filter(|p| *p != "NONE").map(str::to_owned),
        }
        let Some(flags) = words.peek().filter(|w| w.text.starts_with('<')) else {
            return Ok(());
        };
        words.next();
        let flags = flags.text.trim_matches(['<', '>']);
        link.flags.0 = flags.split(',').map(str::to_owned).collect();
        link.up = link.flags.0.contains("UP");
        read_settings(link, words)
    }

    fn read_addr(&mut self, words: &mut Words<'_>, dev: &str) -> Result<(), ParseError> {
        let net = words.need("an address")?;
        let net = match net.text.contains('/') {
            true => net.parse("an address")?,
            false => ipnet::IpNet::from(net.parse::<std::net::IpAddr>("an address")?),
        };
        let mut addr = Addr::default();
        let mut flags = BTreeSet::new();
        while let Some(word) = words.next() {
            match word.text {
                "brd" => addr.broadcast = Some(words.need("an address")?.parse("an address")?),
                "scope" => words.need("a scope")?.text.clone_into(&mut addr.scope),
                // `peer ADDRESS` and `metric N` of addresses do not matter to forwarding here.
                "peer" | "metric" => drop(words.next()),
                text if text == dev => {}
                text => drop(flags.insert(text.to_owned())),
            }
        }
        addr.flags.0 = flags;
        let key = AddrKey {
            dev: dev.to_owned(),
            net,
        };
        self.addrs.insert(key, addr);
        Ok(())
    }
}

/// `mtu 1500 qdisc … master br state UP …`, of a head.
fn read_settings(link: &mut Link, words: &mut Words<'_>) -> Result<(), ParseError> {
    while let Some(word) = words.next() {
        match word.text {
            "mtu" => link.mtu = words.need("an MTU")?.parse("an MTU")?,
            "master" => link.master = Some(words.need("a bridge")?.text.to_owned()),
            "state" => words.need("a state")?.text.clone_into(&mut link.state.0),
            _ => {}
        }
    }
    Ok(())
}

/// `link/ether fa:… brd ff:… link-netns NAME`
fn read_link_layer(first: &str, link: &mut Link, words: &mut Words<'_>) {
    if first == "link/loopback" {
        link.kind = LinkKind::Loopback;
    }
    link.mac = words.next().and_then(|w| w.text.parse().ok());
    while let Some(word) = words.next() {
        if let "link-netns" | "link-netnsid" = word.text {
            link.peer_netns.0 = words.next().map(|w| w.text.to_owned());
        }
    }
}

fn read_kind(kind: &str, words: &mut Words<'_>) -> LinkKind {
    match kind {
        "veth" => LinkKind::Veth,
        "bridge" => LinkKind::Bridge,
        "tun" => LinkKind::Tun,
        "dummy" => LinkKind::Dummy,
        "vlan" => {
            let id = words.skip_while(|w| w.text != "id").nth(1);
            match id.and_then(|w| w.text.parse().ok()) {
                Some(id) => LinkKind::Vlan(id),
                None => LinkKind::Other(kind.to_owned()),
            }
        }
        other => LinkKind::Other(other.to_owned()),
    }
}

/// A peer that was shown by number and lives in the same namespace gets its name. A number of
/// another namespace may by chance be one of this: then the other one does not point back.
fn resolve_peers(links: &mut BTreeMap<String, Link>) {
    let by_index: BTreeMap<u32, (String, Option<u32>)> = links
        .iter()
        .map(|(name, link)| (link.index.0, (name.clone(), link.peer_index.0)))
        .collect();
    for link in links.values_mut() {
        let Some(peer) = link.peer_index.0.filter(|_| link.peer_netns.0.is_none()) else {
            continue;
        };
        if let Some((name, back)) = by_index.get(&peer)
            && *back == Some(link.index.0)
        {
            link.peer = Some(name.clone());
        }
    }
}

/// An address as `ip -o addr` shows it, without number and lifetime.
pub fn print_addr(key: &AddrKey, addr: &Addr) -> String {
    let version = if key.net.addr().is_ipv4() {
        "inet"
    } else {
        "inet6"
    };
    let mut out = format!("{}    {version} {}", key.dev, key.net);
    if let Some(broadcast) = addr.broadcast {
        let _ = write!(out, " brd {broadcast}");
    }
    if !addr.scope.is_empty() {
        let _ = write!(out, " scope {}", addr.scope);
    }
    out
}

/// A link as the first line of `ip link` shows it, without its number.
pub fn print_link(name: &str, link: &Link) -> String {
    let peer = match (&link.peer, link.peer_index.0) {
        (Some(peer), _) => format!("@{peer}"),
        (None, Some(index)) => format!("@if{index}"),
        (None, None) => String::new(),
    };
    let flags: Vec<&str> = match link.flags.0.is_empty() {
        false => link.flags.0.iter().map(String::as_str).collect(),
        true => link.up.then_some("UP").into_iter().collect(),
    };
    let mut out = format!("{name}{peer}: <{}> mtu {}", flags.join(","), link.mtu);
    if let Some(master) = &link.master {
        let _ = write!(out, " master {master}");
    }
    if !link.state.0.is_empty() {
        let _ = write!(out, " state {}", link.state.0);
    }
    out
}

/// Read `bridge link` or `bridge -d link` into the links it speaks of.
pub fn read_bridge_link(text: &str, links: &mut BTreeMap<String, Link>) -> Result<(), ParseError> {
    let mut dev = String::new();
    for (number, line) in lines(text) {
        let mut words = Words::new(line);
        if line.starts_with(char::is_whitespace) {
            let port = links.get_mut(&dev).and_then(|l| l.bridge_port.0.as_mut());
            let Some(port) = port else {
                let e = ParseError::new(number, 0, "no device was named before this line");
                return Err(e);
            };
            while let (Some(name), Some(value)) = (words.next(), words.next()) {
                port.settings
                    .insert(name.text.to_owned(), value.text.to_owned());
            }
            continue;
        }
        let mut found = LinksAndAddrs::default();
        found
            .read_head(&mut words, &mut dev)
            .map_err(|e| e.on_line(number))?;
        let mut port = BridgePort::default();
        // The head's `state` is the port's here: forwarding, not UP.
        let seen = found.links.remove(&dev).unwrap_or_default();
        port.state.clone_from(&seen.state.0);
        let link = links.entry(dev.clone()).or_insert_with(|| Link {
            state: crate::Shown(String::new()),
            ..seen.clone()
        });
        link.master = seen.master;
        link.bridge_port.0 = Some(port);
    }
    Ok(())
}

/// Read `brctl show`: bridges with their ports.
pub fn read_brctl_show(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut bridges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut bridge = String::new();
    for (_, line) in lines(text) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words.starts_with(&["bridge", "name"]) {
            continue;
        }
        let port = match (line.starts_with(char::is_whitespace), words.as_slice()) {
            (true, [port]) => Some(*port),
            (false, [name, _, _, rest @ ..]) => {
                (*name).clone_into(&mut bridge);
                rest.first().copied()
            }
            _ => continue,
        };
        let ports = bridges.entry(bridge.clone()).or_default();
        ports.extend(port.map(str::to_owned));
    }
    bridges
}

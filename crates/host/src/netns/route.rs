//! `ip route show table all`, `ip rule`, `ip neigh`: reading them, and printing each entry as
//! the tool prints it.
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    Family, Neighbour, NeighbourKey, Nexthop, Route, RouteKey, RouteKind, RuleAction, RuleKey,
    RuleVerdict,
};
use crate::ParseError;
use crate::text::{Word, Words, lines, number};

pub const MAIN: u32 = 254;
pub const LOCAL: u32 = 255;
pub const DEFAULT: u32 = 253;

/// Routes by table.
pub type Routes = BTreeMap<u32, BTreeMap<RouteKey, Route>>;

const KINDS: &[(&str, RouteKind)] = &[
    ("unicast", RouteKind::Unicast),
    ("local", RouteKind::Local),
    ("broadcast", RouteKind::Broadcast),
    ("multicast", RouteKind::Multicast),
    ("anycast", RouteKind::Anycast),
    ("unreachable", RouteKind::Unreachable),
    ("blackhole", RouteKind::Blackhole),
    ("prohibit", RouteKind::Prohibit),
    ("throw", RouteKind::Throw),
];

/// The number of a table that is named or numbered.
fn table_number(word: &Word<'_>) -> Result<u32, ParseError> {
    match word.text {
        "main" => Ok(MAIN),
        "local" => Ok(LOCAL),
        "default" => Ok(DEFAULT),
        _ => word.parse("a table"),
    }
}

/// A table as the tools name it.
pub fn table_name(table: u32) -> String {
    match table {
        MAIN => "main".to_owned(),
        LOCAL => "local".to_owned(),
        DEFAULT => "default".to_owned(),
        table => table.to_string(),
    }
}

/// `default`, `all`, an address or a network.
fn destination(word: &Word<'_>, family: Family) -> Result<IpNet, ParseError> {
    let any = match family {
        Family::V4 => IpAddr::from([0u8; 4]),
        Family::V6 => IpAddr::from([0u16; 8]),
    };
    if word.text == "default" {
        return IpNet::new(any, 0).map_err(|e| word.error(e));
    }
    match word.text.contains('/') {
        true => word.parse("a network"),
        false => Ok(IpNet::from(word.parse::<IpAddr>("an address")?)),
    }
}

/// Read the routes of one version of IP, of all tables or of main.
pub fn read_routes(text: &str, family: Family) -> Result<Routes, ParseError> {
    let mut routes = Routes::new();
    let mut last: Option<(u32, RouteKey)> = None;
    for (number, line) in lines(text) {
        let here = |e: ParseError| e.on_line(number);
        if line.starts_with(char::is_whitespace) {
            let hop = read_nexthop(line).map_err(here)?;
            let route = last
                .as_ref()
                .and_then(|(table, key)| routes.get_mut(table)?.get_mut(key));
            match route {
                Some(route) => route.nexthops.push(hop),
                None => return Err(ParseError::new(number, 0, "a nexthop has no route")),
            }
            continue;
        }
        let (table, key, route) = read_route(line, family).map_err(here)?;
        last = Some((table, key.clone()));
        routes.entry(table).or_default().insert(key, route);
    }
    Ok(routes)
}

/// Read one line: its table, its key, the route.
pub fn read_route(line: &str, family: Family) -> Result<(u32, RouteKey, Route), ParseError> {
    let mut words = Words::new(line);
    let mut first = words.need("a destination")?;
    let kind = KINDS.iter().find(|(name, _)| *name == first.text);
    if kind.is_some() {
        first = words.need("a destination")?;
    }
    let mut key = RouteKey {
        dst: destination(&first, family)?,
        metric: 0,
        kind: kind.map_or(RouteKind::Unicast, |row| row.1),
        dev: None,
        tos: 0,
    };
    let mut route = Route::default();
    let mut table = MAIN;
    while let Some(word) = words.next() {
        match word.text {
            "via" => route.via = Some(read_via(&mut words)?),
            "dev" => key.dev = Some(words.need("a device")?.text.to_owned()),
            "table" => table = table_number(&words.need("a table")?)?,
            "proto" => words.need("a protocol")?.text.clone_into(&mut route.proto),
            "scope" => words.need("a scope")?.text.clone_into(&mut route.scope),
            "src" => route.src = Some(words.need("an address")?.parse("an address")?),
            "metric" => key.metric = words.need("a metric")?.parse("a metric")?,
            "mtu" => route.mtu = Some(words.need("an MTU")?.parse("an MTU")?),
            "onlink" => route.onlink = true,
            "tos" => {
                let tos = words.need("a tos")?;
                key.tos = number(tos.text)
                    .and_then(|n| u8::try_from(n).ok())
                    .ok_or_else(|| tos.error(format!("'{}' is not a tos", tos.text)))?;
            }
            text => route.rest.0.push(text.to_owned()),
        }
    }
    // `ip route show table all` shows both versions' routes; a preference is of IPv6's alone.
    let preferred = route.rest.0.iter().any(|word| word == "pref");
    if preferred && first.text == "default" {
        key.dst = destination(&first, Family::V6)?;
    }
    Ok((table, key, route))
}

/// `via 10.0.0.1`, `via inet6 fe80::1`.
fn read_via(words: &mut Words<'_>) -> Result<IpAddr, ParseError> {
    let _ = words.accept("inet6") || words.accept("inet");
    words.need("an address")?.parse("an address")
}

fn read_nexthop(line: &str) -> Result<Nexthop, ParseError> {
    let mut words = Words::new(line);
    let first = words.need("a nexthop")?;
    if first.text != "nexthop" {
        return Err(first.error(format!("'{}' is not a nexthop", first.text)));
    }
    let mut hop = Nexthop::default();
    while let Some(word) = words.next() {
        match word.text {
            "via" => hop.via = Some(read_via(&mut words)?),
            "dev" => hop.dev = Some(words.need("a device")?.text.to_owned()),
            "weight" => hop.weight = words.need("a weight")?.parse("a weight")?,
            _ => {}
        }
    }
    Ok(hop)
}

/// An address when the network holds one, else the network.
fn net_text(net: IpNet) -> String {
    match net.prefix_len() {
        0 if net.addr().is_unspecified() => "default".to_owned(),
        len if len == net.max_prefix_len() => net.addr().to_string(),
        _ => net.to_string(),
    }
}

/// A route as `ip route show table all` prints it.
pub fn print_route(table: u32, key: &RouteKey, route: &Route) -> String {
    let mut out = String::new();
    if key.kind != RouteKind::Unicast {
        let kind = KINDS.iter().find(|(_, kind)| *kind == key.kind);
        let _ = write!(out, "{} ", kind.map_or("", |row| row.0));
    }
    out.push_str(&net_text(key.dst));
    let mut say = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = write!(out, " {name} {value}");
        }
    };
    let text = |text: &str| Some(text.to_owned()).filter(|t| !t.is_empty());
    let is_v6 = key.dst.addr().is_ipv6();
    say("tos", (key.tos != 0).then(|| format!("{:#x}", key.tos)));
    say("via", route.via.map(|via| via.to_string()));
    say("dev", key.dev.clone());
    say("table", (table != MAIN).then(|| table_name(table)));
    say("proto", text(&route.proto));
    say("scope", text(&route.scope));
    say("src", route.src.map(|src| src.to_string()));
    say(
        "metric",
        (key.metric != 0 || is_v6).then(|| key.metric.to_string()),
    );
    say("mtu", route.mtu.map(|mtu| mtu.to_string()));
    if route.onlink {
        out.push_str(" onlink");
    }
    for word in &route.rest.0 {
        let _ = write!(out, " {word}");
    }
    for hop in &route.nexthops {
        out.push_str("\n\tnexthop");
        if let Some(via) = hop.via {
            let _ = write!(out, " via {via}");
        }
        if let Some(dev) = &hop.dev {
            let _ = write!(out, " dev {dev}");
        }
        let _ = write!(out, " weight {}", hop.weight);
    }
    out
}

/// Read `ip rule` of one version of IP.
pub fn read_rules(text: &str, family: Family) -> Result<BTreeMap<RuleKey, RuleAction>, ParseError> {
    let mut rules = BTreeMap::new();
    for (number, line) in lines(text) {
        let (key, action) = read_ip_rule(line, family).map_err(|e| e.on_line(number))?;
        rules.insert(key, action);
    }
    Ok(rules)
}

fn read_ip_rule(line: &str, family: Family) -> Result<(RuleKey, RuleAction), ParseError> {
    let mut words = Words::new(line);
    let first = words.need("a priority")?;
    let priority = Word {
        text: first.text.trim_end_matches(':'),
        ..first
    };
    let mut key = RuleKey::new(priority.parse("a priority")?, family);
    let mut action = RuleAction::default();
    while let Some(word) = words.next() {
        match word.text {
            "not" => key.not = true,
            "from" => key.from = selector(&words.need("a network")?, family)?,
            "to" => key.to = selector(&words.need("a network")?, family)?,
            "iif" => key.iif = Some(words.need("a device")?.text.to_owned()),
            "oif" => key.oif = Some(words.need("a device")?.text.to_owned()),
            "fwmark" => key.fwmark = Some(read_fwmark(&words.need("a mark")?)?),
            "lookup" | "table" => {
                action.verdict = RuleVerdict::Lookup(table_number(&words.need("a table")?)?);
            }
            "goto" => action.verdict = RuleVerdict::Goto(words.need("a rule")?.parse("a rule")?),
            "unreachable" => action.verdict = RuleVerdict::Unreachable,
            "blackhole" => action.verdict = RuleVerdict::Blackhole,
            "prohibit" => action.verdict = RuleVerdict::Prohibit,
            "nop" => action.verdict = RuleVerdict::Nop,
            text => key.rest.push(text.to_owned()),
        }
    }
    Ok((key, action))
}

fn selector(word: &Word<'_>, family: Family) -> Result<Option<IpNet>, ParseError> {
    match word.text {
        "all" => Ok(None),
        _ => destination(word, family).map(Some),
    }
}

fn read_fwmark(word: &Word<'_>) -> Result<(u32, u32), ParseError> {
    let bits = |text: &str| number(text).and_then(|n| u32::try_from(n).ok());
    let mark = match word.text.split_once('/') {
        Some((value, mask)) => bits(value).zip(bits(mask)),
        None => bits(word.text).map(|value| (value, u32::MAX)),
    };
    mark.ok_or_else(|| word.error(format!("'{}' is not a mark", word.text)))
}

/// A rule as `ip rule` prints it.
pub fn print_ip_rule(key: &RuleKey, action: &RuleAction) -> String {
    let mut out = format!("{}:\t", key.priority);
    if key.not {
        out.push_str("not ");
    }
    let from = key.from.map_or("all".to_owned(), net_text);
    let _ = write!(out, "from {from}");
    if let Some(to) = key.to {
        let _ = write!(out, " to {}", net_text(to));
    }
    match key.fwmark {
        Some((mark, u32::MAX)) => drop(write!(out, " fwmark {mark:#x}")),
        Some((mark, mask)) => drop(write!(out, " fwmark {mark:#x}/{mask:#x}")),
        None => {}
    }
    for (name, dev) in [("iif", &key.iif), ("oif", &key.oif)] {
        if let Some(dev) = dev {
            let _ = write!(out, " {name} {dev}");
        }
    }
    let verdict = match &action.verdict {
        RuleVerdict::Lookup(table) => format!("lookup {}", table_name(*table)),
        RuleVerdict::Goto(rule) => format!("goto {rule}"),
        RuleVerdict::Unreachable => "unreachable".to_owned(),
        RuleVerdict::Blackhole => "blackhole".to_owned(),
        RuleVerdict::Prohibit => "prohibit".to_owned(),
        RuleVerdict::Nop => "nop".to_owned(),
    };
    let _ = write!(out, " {verdict}");
    for word in &key.rest {
        let _ = write!(out, " {word}");
    }
    out
}

/// Read `ip neigh` of either version of IP.
pub fn read_neighbours(text: &str) -> Result<BTreeMap<NeighbourKey, Neighbour>, ParseError> {
    let mut neighbours = BTreeMap::new();
    for (number, line) in lines(text) {
        let (key, neighbour) = read_neighbour(line).map_err(|e| e.on_line(number))?;
        neighbours.insert(key, neighbour);
    }
    Ok(neighbours)
}

fn read_neighbour(line: &str) -> Result<(NeighbourKey, Neighbour), ParseError> {
    let mut words = Words::new(line);
    let ip = words.need("an address")?.parse("an address")?;
    let mut key = NeighbourKey {
        dev: String::new(),
        ip,
    };
    let mut neighbour = Neighbour::default();
    while let Some(word) = words.next() {
        match word.text {
            "dev" => words.need("a device")?.text.clone_into(&mut key.dev),
            "lladdr" => neighbour.mac = Some(words.need("a MAC")?.parse("a MAC")?),
            "router" => neighbour.router = true,
            "proxy" => neighbour.proxy = true,
            "extern_learn" | "offload" | "managed" => {}
            "proto" => drop(words.next()),
            state => state.clone_into(&mut neighbour.state),
        }
    }
    Ok((key, neighbour))
}

/// A neighbour as `ip neigh` prints it.
pub fn print_neighbour(key: &NeighbourKey, neighbour: &Neighbour) -> String {
    let mut out = format!("{} dev {}", key.ip, key.dev);
    if let Some(mac) = neighbour.mac {
        let _ = write!(out, " lladdr {mac}");
    }
    if neighbour.router {
        out.push_str(" router");
    }
    if neighbour.proxy {
        out.push_str(" proxy");
    }
    if !neighbour.state.is_empty() {
        let _ = write!(out, " {}", neighbour.state);
    }
    out
}

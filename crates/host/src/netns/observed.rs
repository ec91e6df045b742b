//! What is only observed of a namespace: settings of the kernel, listening sockets, tracked
//! connections.
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Connection, Listener, Sysctl, Tuple};
use crate::ParseError;
use crate::text::{Word, Words, lines};

/// Read `sysctl -a`: `name = value`.
pub fn read_sysctls(text: &str) -> Result<BTreeMap<String, Sysctl>, ParseError> {
    let mut sysctls = BTreeMap::new();
    for (number, line) in lines(text) {
        let (name, value) = line
            .split_once('=')
            .ok_or_else(|| ParseError::new(number, line.len(), "a setting has no '='"))?;
        let sysctl = Sysctl {
            value: value.trim().to_owned(),
            ..Sysctl::default()
        };
        sysctls.insert(name.trim().to_owned(), sysctl);
    }
    Ok(sysctls)
}

/// Settings as `sysctl -p` takes them.
pub fn print_sysctls(sysctls: &BTreeMap<String, Sysctl>) -> String {
    let line = |(name, sysctl): (&String, &Sysctl)| format!("{name} = {}\n", sysctl.value);
    sysctls.iter().map(line).collect()
}

/// Read `ss -l`. Sockets that are not of the internet are left out.
pub fn read_listeners(text: &str) -> Result<BTreeSet<Listener>, ParseError> {
    let mut listeners = BTreeSet::new();
    for (number, line) in lines(text) {
        let mut words = Words::new(line);
        let Some(proto) = words.next().map(|w| w.text) else {
            continue;
        };
        if !matches!(proto, "tcp" | "udp" | "raw" | "sctp" | "dccp" | "icmp6") {
            continue;
        }
        let listener = read_listener(proto, &mut words).map_err(|e| e.on_line(number))?;
        listeners.insert(listener);
    }
    Ok(listeners)
}

/// What follows the protocol: state, two queues, local and peer address, process.
fn read_listener(proto: &str, words: &mut Words<'_>) -> Result<Listener, ParseError> {
    for what in ["a state", "a queue", "a queue"] {
        words.need(what)?;
    }
    let local = words.need("an address")?;
    let (addr, port) = local
        .text
        .rsplit_once(':')
        .ok_or_else(|| local.error("a socket has no port"))?;
    let port = match port {
        "*" => 0,
        // Raw sockets show a protocol's name or number here.
        port => port.parse().unwrap_or_default(),
    };
    let (addr, dev) = match addr.split_once('%') {
        Some((addr, dev)) => (addr, Some(dev.trim_end_matches(']').to_owned())),
        None => (addr, None),
    };
    let addr = addr.trim_matches(['[', ']']);
    let addr = match addr {
        "*" | "0.0.0.0" | "::" => None,
        text => Some(Word { at: local.at, text }.parse::<IpAddr>("an address")?),
    };
    words.next();
    Ok(Listener {
        proto: proto.to_owned(),
        addr,
        port,
        dev,
        process: words.next().and_then(|w| read_process(w.text)),
    })
}

/// The first of `users:(("dnsmasq",pid=1,fd=2),…)`.
fn read_process(text: &str) -> Option<(String, u32)> {
    let inside = text.strip_prefix("users:((\"")?;
    let (name, rest) = inside.split_once('"')?;
    let pid = rest.strip_prefix(",pid=")?.split([',', ')']).next()?;
    Some((name.to_owned(), pid.parse().ok()?))
}

/// Read `conntrack -L`.
pub fn read_conntrack(text: &str) -> Result<Vec<Connection>, ParseError> {
    let mut connections = Vec::new();
    for (number, line) in lines(text) {
        if line.starts_with("conntrack v") {
            continue;
        }
        connections.push(read_connection(line).map_err(|e| e.on_line(number))?);
    }
    Ok(connections)
}

fn read_connection(line: &str) -> Result<Connection, ParseError> {
    let mut words = Words::new(line).peekable();
    // `-o extended` puts the network protocol first.
    if words
        .next_if(|w| matches!(w.text, "ipv4" | "ipv6"))
        .is_some()
    {
        words.next();
    }
    let mut connection = Connection {
        proto: words.next().map(|w| w.text.to_owned()).unwrap_or_default(),
        ..Connection::default()
    };
    words.next_if(|w| w.text.parse::<u8>().is_ok());
    let timeout = words.next_if(|w| w.text.parse::<u64>().is_ok());
    connection.timeout_s.0 = timeout.and_then(|w| w.text.parse().ok());
    for word in words {
        read_part(&mut connection, &word)?;
    }
    Ok(connection)
}

fn read_part(connection: &mut Connection, word: &Word<'_>) -> Result<(), ParseError> {
    let Some((name, text)) = word.text.split_once('=') else {
        match word.text {
            "[ASSURED]" => connection.assured = true,
            "[UNREPLIED]" => connection.unreplied = true,
            text if text.starts_with('[') => connection.rest.push(text.to_owned()),
            state => connection.state = Some(state.to_owned()),
        }
        return Ok(());
    };
    let value = Word {
        at: word.at + name.len() + 1,
        text,
    };
    match name {
        "mark" => connection.mark = value.parse("a mark")?,
        "zone" => connection.zone = value.parse("a zone")?,
        "src" if connection.original.src.is_none() => {
            connection.original.src = Some(value.parse("an address")?);
        }
        _ => {
            let tuple = match connection.reply.src.is_some() || name == "src" {
                true => &mut connection.reply,
                false => &mut connection.original,
            };
            if !read_tuple_part(tuple, name, &value)? {
                connection.rest.push(word.text.to_owned());
            }
        }
    }
    Ok(())
}

fn read_tuple_part(tuple: &mut Tuple, name: &str, value: &Word<'_>) -> Result<bool, ParseError> {
    match name {
        "src" => tuple.src = Some(value.parse("an address")?),
        "dst" => tuple.dst = Some(value.parse("an address")?),
        "sport" => tuple.sport = Some(value.parse("a port")?),
        "dport" => tuple.dport = Some(value.parse("a port")?),
        "type" => tuple.icmp_type = Some(value.parse("a type")?),
        "code" => tuple.icmp_code = Some(value.parse("a code")?),
        "id" => tuple.icmp_id = Some(value.parse("an id")?),
        _ => return Ok(false),
    }
    Ok(true)
}

/// A connection in the words of `conntrack -L`, without its timer.
pub fn print_connection(connection: &Connection) -> String {
    let mut parts = vec![connection.proto.clone()];
    parts.extend(connection.state.clone());
    parts.extend(tuple_parts(&connection.original));
    if connection.unreplied {
        parts.push("[UNREPLIED]".to_owned());
    }
    parts.extend(tuple_parts(&connection.reply));
    if connection.assured {
        parts.push("[ASSURED]".to_owned());
    }
    parts.push(format!("mark={}", connection.mark));
    if connection.zone != 0 {
        parts.push(format!("zone={}", connection.zone));
    }
    parts.extend(connection.rest.iter().cloned());
    parts.join(" ")
}

fn tuple_parts(tuple: &Tuple) -> impl Iterator<Item = String> {
    let text = |name: &str, value: Option<String>| value.map(|v| format!("{name}={v}"));
    [
        text("src", tuple.src.map(|a| a.to_string())),
        text("dst", tuple.dst.map(|a| a.to_string())),
        text("sport", tuple.sport.map(|p| p.to_string())),
        text("dport", tuple.dport.map(|p| p.to_string())),
        text("type", tuple.icmp_type.map(|t| t.to_string())),
        text("code", tuple.icmp_code.map(|c| c.to_string())),
        text("id", tuple.icmp_id.map(|i| i.to_string())),
    ]
    .into_iter()
    .flatten()
}

/// Read `ip netns`: names, without the numbers in brackets.
pub fn read_netns_list(text: &str) -> Vec<crate::NsName> {
    lines(text)
        .filter_map(|(_, line)| line.split_whitespace().next())
        .map(crate::NsName::new)
        .collect()
}

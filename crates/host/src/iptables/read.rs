//! Reading `iptables-save`, `ip6tables-save` and `iptables -S`, of the legacy and the nft kind.
//! Different spellings of one rule (`--dport 80:80`, upper-case MACs, states in another order)
//! give equal rules.
use std::collections::HashMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::condition::read_condition;
use super::target::read_target;
use super::words::Tokens;
use super::{Chain, Chains, Iptables, Maybe, Rule, Target};
use crate::text::{lines, number};
use crate::{ParseError, Shared};

/// Read a whole dump. Lines before the first `*table` (as `iptables -S` prints them, which
/// speaks of one table only) go to `filter`.
pub fn read_iptables(text: &str) -> Result<Iptables, ParseError> {
    read_iptables_of("filter", text)
}

/// Read a dump that speaks of this table where it does not say which.
pub fn read_iptables_of(table: &str, text: &str) -> Result<Iptables, ParseError> {
    let mut tables = Iptables::new();
    let mut known = Known::new();
    let mut table = table.to_owned();
    for (number, line) in lines(text) {
        let line = line.trim_start();
        if line.starts_with('#') || line == "COMMIT" {
            continue;
        }
        if let Some(name) = line.strip_prefix('*') {
            table = name.trim().to_owned();
            tables.entry(table.clone()).or_default();
            continue;
        }
        let chains = &mut tables.entry(table.clone()).or_default().chains;
        let done = read_shared(chains, line, &mut known);
        done.map_err(|e| e.on_line(number))?;
    }
    Ok(tables)
}

/// Rules that were read, by their text. Ports of one group have many rules in common: such a rule is
/// read once and held once.
type Known<'t> = HashMap<&'t str, Shared<Rule>>;

fn read_shared<'t>(
    chains: &mut Chains,
    line: &'t str,
    known: &mut Known<'t>,
) -> Result<(), ParseError> {
    let appended = line.strip_prefix("-A ");
    let appended = appended.and_then(|rest| rest.split_once(' '));
    let Some((chain, text)) = appended.filter(|(chain, _)| !chain.contains('"')) else {
        return read_line(chains, line);
    };
    match (known.get(text), chains.get_mut(chain)) {
        (Some(rule), Some(chain)) => chain.rules.push(rule.clone()),
        _ => {
            read_line(chains, line)?;
            let rule = chains.get(chain).and_then(|chain| chain.rules.last());
            known.extend(rule.map(|rule| (text, rule.clone())));
        }
    }
    Ok(())
}

fn read_line(chains: &mut Chains, line: &str) -> Result<(), ParseError> {
    if let Some(chain) = line.strip_prefix(':') {
        let (name, chain) = read_chain(chain)?;
        chains.insert(name, chain.into());
        return Ok(());
    }
    let mut words = Tokens::new(line)?;
    let mut counters = None;
    if let Some(text) = words.peek().filter(|w| w.starts_with('[')) {
        counters = read_counters(text);
        words.next();
    }
    let verb = words.need("a command")?;
    let name = words.need("a chain")?;
    let chain = chains.entry(name.text).or_default();
    match verb.text.as_str() {
        "-N" => {}
        "-P" => chain.policy = Some(words.need("a policy")?.text),
        "-A" => {
            let mut rule = read_rule_words(&mut words)?;
            if counters.is_some() {
                rule.counters.0 = counters;
            }
            chain.rules.push(rule.into());
        }
        other => return Err(verb.error(format!("'{other}' is not -A, -N or -P"))),
    }
    Ok(())
}

/// `NAME POLICY [packets:bytes]`, after the colon.
fn read_chain(text: &str) -> Result<(String, Chain), ParseError> {
    let mut words = crate::text::Words::new(text);
    let name = words.need("a chain")?.text.to_owned();
    let policy = words.need("a policy")?.text;
    let mut chain = Chain {
        policy: (policy != "-").then(|| policy.to_owned()),
        ..Chain::default()
    };
    chain.counters.0 = words.next().and_then(|w| read_counters(w.text));
    Ok((name, chain))
}

fn read_counters(text: &str) -> Option<(u64, u64)> {
    let (packets, bytes) = text.strip_prefix('[')?.strip_suffix(']')?.split_once(':')?;
    Some((packets.parse().ok()?, bytes.parse().ok()?))
}

/// Read one rule without its `-A CHAIN`.
pub fn read_rule(text: &str) -> Result<Rule, ParseError> {
    read_rule_words(&mut Tokens::new(text)?)
}

fn read_rule_words(words: &mut Tokens) -> Result<Rule, ParseError> {
    let mut rule = Rule::default();
    while let Some(word) = words.next() {
        let (not, option) = match word.text.as_str() {
            "!" => (true, words.need("an option")?),
            _ => (false, word),
        };
        match option.text.as_str() {
            "-s" | "--source" | "--src" => rule.src = address(words, not)?,
            "-d" | "--destination" | "--dst" => rule.dst = address(words, not)?,
            "-i" | "--in-interface" => rule.in_dev = Some(device(words, not)?),
            "-o" | "--out-interface" => rule.out_dev = Some(device(words, not)?),
            "-p" | "--protocol" => rule.proto = Some(protocol(words, not)?),
            "-f" | "--fragment" => rule.fragment = Some(Maybe { not, value: () }),
            "-c" | "--set-counters" => read_set_counters(&mut rule, words)?,
            "-j" | "--jump" => rule.target = read_target(words)?,
            "-g" | "--goto" => rule.target = Target::Goto(words.need("a chain")?.text),
            "-m" | "--match" => {
                let module = words.need("a module")?.text;
                let condition = read_condition(&module, words)?;
                rule.conditions.push(condition);
            }
            _ => loose_option(&mut rule, not, &option, words)?,
        }
    }
    // Rules are many, and read to be kept.
    rule.conditions.shrink_to_fit();
    Ok(rule)
}

/// An option before its `-m`: those of the rule's protocol may stand so.
fn loose_option(
    rule: &mut Rule,
    not: bool,
    option: &super::words::Token,
    words: &mut Tokens,
) -> Result<(), ParseError> {
    let proto = rule.proto.as_ref().filter(|p| !p.not);
    let module = match proto.map(|p| p.value.as_str()) {
        Some("ipv6-icmp") => "icmp6",
        Some(name @ ("tcp" | "udp" | "sctp" | "icmp" | "dccp" | "udplite")) => name,
        _ => return Err(option.error(format!("'{}' is of no module", option.text))),
    };
    let mut line = if not { "! ".to_owned() } else { String::new() };
    line.push_str(&option.text);
    let at = option.at;
    if option.text != "--syn" {
        line.push(' ');
        line.push_str(&super::words::word(&words.need("a value")?.text));
    }
    if option.text == "--tcp-flags" {
        line.push(' ');
        line.push_str(&super::words::word(&words.need("flags")?.text));
    }
    let condition = read_condition(module, &mut Tokens::new(&line)?).map_err(|e| e.shifted(at))?;
    let absorbed = rule
        .conditions
        .last_mut()
        .is_some_and(|last| last.absorb(&condition));
    if !absorbed {
        rule.conditions.push(condition);
    }
    Ok(())
}

fn read_set_counters(rule: &mut Rule, words: &mut Tokens) -> Result<(), ParseError> {
    let packets = words.value("a counter", |t| t.parse().ok())?;
    let bytes = words.value("a counter", |t| t.parse().ok())?;
    rule.counters.0 = Some((packets, bytes));
    Ok(())
}

/// An address or a network; `10.0.0.1` is `10.0.0.1/32`, and host bits say nothing. Every address
/// is no condition: iptables does not print it either.
fn address(words: &mut Tokens, not: bool) -> Result<Option<Maybe<IpNet>>, ParseError> {
    let value = words.value("an address", network)?;
    let says_something = not || value.prefix_len() > 0;
    Ok(says_something.then_some(Maybe { not, value }))
}

/// A network in any of its spellings: `10.0.0.1`, `10.0.0.0/8`, `10.0.0.0/255.0.0.0`.
fn network(text: &str) -> Option<IpNet> {
    let Some((address, mask)) = text.split_once('/') else {
        return Some(IpNet::from(text.parse::<IpAddr>().ok()?));
    };
    let address: IpAddr = address.parse().ok()?;
    let net = match mask.parse::<u8>() {
        Ok(prefix) => IpNet::new(address, prefix).ok()?,
        Err(_) => IpNet::with_netmask(address, mask.parse().ok()?).ok()?,
    };
    Some(net.trunc())
}

fn device(words: &mut Tokens, not: bool) -> Result<Maybe<String>, ParseError> {
    let value = words.need("a device")?.text;
    Ok(Maybe { not, value })
}

/// Protocols that have a name, as iptables prints them.
const PROTOCOLS: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipencap", 4),
    ("tcp", 6),
    ("egp", 8),
    ("udp", 17),
    ("dccp", 33),
    ("ipv6", 41),
    ("ipv6-route", 43),
    ("ipv6-frag", 44),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("ipv6-icmp", 58),
    ("ipv6-nonxt", 59),
    ("ipv6-opts", 60),
    ("ospf", 89),
    ("ipip", 94),
    ("pim", 103),
    ("vrrp", 112),
    ("sctp", 132),
    ("udplite", 136),
];

/// The number of a protocol that is named or numbered.
pub fn protocol_number(name: &str) -> Option<u8> {
    let row = PROTOCOLS.iter().find(|(known, _)| *known == name);
    match row {
        Some((_, number)) => Some(*number),
        None => number(name).and_then(|n| u8::try_from(n).ok()),
    }
}

/// The name by which iptables prints a protocol; some numbers have none.
pub fn protocol_name(name: &str) -> String {
    let name = name.to_ascii_lowercase();
    match name.as_str() {
        "icmpv6" | "icmp6" => return "ipv6-icmp".to_owned(),
        "ipv4" => return "ipencap".to_owned(),
        _ => {}
    }
    let by_number = protocol_number(&name)
        .and_then(|number| PROTOCOLS.iter().find(|(_, known)| *known == number));
    match by_number {
        Some((known, _)) => (*known).to_owned(),
        None => name,
    }
}

fn protocol(words: &mut Tokens, not: bool) -> Result<Maybe<String>, ParseError> {
    let value = protocol_name(&words.need("a protocol")?.text);
    Ok(Maybe { not, value })
}

//! The conditions of `-m`: reading and printing them, module by module. A module that is not
//! known, or an option of a known one that is not, is kept as it stood.
use std::collections::BTreeSet;
use std::fmt::Write;

use super::icmp::{ICMP_NAMES, ICMP6_NAMES};
use super::words::{Tokens, free_text, word};
use super::{Condition, ConnState, IcmpKind, Mark, Maybe, PortRange, PortSide};
use crate::ParseError;
use crate::text::number;

/// The names of conntrack's states in rules.
const STATES: [(&str, ConnState); 7] = [
    ("INVALID", ConnState::Invalid),
    ("NEW", ConnState::New),
    ("RELATED", ConnState::Related),
    ("ESTABLISHED", ConnState::Established),
    ("UNTRACKED", ConnState::Untracked),
    ("SNAT", ConnState::Snat),
    ("DNAT", ConnState::Dnat),
];

/// One option of a module with its values: everything up to the next option.
struct Opt {
    not: bool,
    name: String,
    values: Vec<String>,
}

/// Take the options of one module: up to the next `-x`, or `! -x`, of one letter.
fn options(words: &mut Tokens) -> Vec<Opt> {
    let mut options: Vec<Opt> = Vec::new();
    loop {
        let not = words.peek() == Some("!");
        let head = if not {
            words.peek_second()
        } else {
            words.peek()
        };
        let Some(head) = head else { break };
        let is_option = head.starts_with("--");
        if !is_option && (not || head.starts_with('-') && head.len() == 2) {
            break;
        }
        let name = head.to_owned();
        if not {
            words.next();
        }
        words.next();
        match options.last_mut() {
            Some(last) if !is_option => last.values.push(name),
            _ => options.push(Opt {
                not,
                name,
                values: Vec::new(),
            }),
        }
    }
    options
}

/// Read what follows `-m MODULE`.
pub(super) fn read_condition(module: &str, words: &mut Tokens) -> Result<Condition, ParseError> {
    let options = options(words);
    Ok(known(module, &options).unwrap_or_else(|| unknown(module, &options)))
}

fn unknown(module: &str, options: &[Opt]) -> Condition {
    let mut texts = Vec::new();
    for option in options {
        texts.extend(option.not.then(|| "!".to_owned()));
        texts.push(option.name.clone());
        texts.extend(option.values.iter().cloned());
    }
    Condition::Unknown {
        module: module.to_owned(),
        options: texts,
    }
}

impl Opt {
    /// The only value, through a reader, with the option's `!`.
    fn one<T>(&self, read: impl Fn(&str) -> Option<T>) -> Option<Maybe<T>> {
        let [value] = self.values.as_slice() else {
            return None;
        };
        Some(Maybe {
            not: self.not,
            value: read(value)?,
        })
    }

    fn text(&self) -> Option<Maybe<String>> {
        self.one(|text| Some(text.to_owned()))
    }
}

fn known(module: &str, options: &[Opt]) -> Option<Condition> {
    match (module, options) {
        ("tcp" | "udp" | "sctp" | "dccp" | "udplite", options) => ports(module, options),
        ("multiport", [option]) => multiport(option),
        ("icmp", []) => Some(Condition::Icmp {
            v6: false,
            kind: None,
        }),
        ("icmp6", []) => Some(Condition::Icmp {
            v6: true,
            kind: None,
        }),
        ("icmp", [o]) if o.name == "--icmp-type" => Some(Condition::Icmp {
            v6: false,
            kind: Some(o.one(|t| icmp_kind(t, &ICMP_NAMES))?),
        }),
        ("icmp6", [o]) if o.name == "--icmpv6-type" => Some(Condition::Icmp {
            v6: true,
            kind: Some(o.one(|t| icmp_kind(t, &ICMP6_NAMES))?),
        }),
        ("state", [o]) if o.name == "--state" => Some(Condition::State(o.one(states)?)),
        ("conntrack", options) => conntrack(options),
        ("physdev", options) => physdev(options),
        ("mac", [o]) if o.name == "--mac-source" => {
            Some(Condition::Mac(o.one(|t| t.parse().ok())?))
        }
        ("set", [first, rest @ ..]) if first.name == "--match-set" => set(first, rest),
        ("mark", [o]) if o.name == "--mark" => Some(Condition::Mark(o.one(mark)?)),
        ("connmark", [o]) if o.name == "--mark" => Some(Condition::Connmark(o.one(mark)?)),
        ("comment", [o]) if o.name == "--comment" => Some(Condition::Comment(o.text()?.value)),
        _ => None,
    }
}

fn ports(module: &str, options: &[Opt]) -> Option<Condition> {
    let (mut sport, mut dport, mut flags) = (None, None, None);
    for option in options {
        match option.name.as_str() {
            "--sport" | "--source-port" => sport = some_ports(option.one(port_range)?),
            "--dport" | "--destination-port" => dport = some_ports(option.one(port_range)?),
            "--tcp-flags" => {
                let [looked_at, set] = option.values.as_slice() else {
                    return None;
                };
                flags = Some(Maybe {
                    not: option.not,
                    value: (tcp_flags(looked_at), tcp_flags(set)),
                });
            }
            "--syn" => {
                flags = Some(Maybe {
                    not: option.not,
                    value: (tcp_flags("FIN,SYN,RST,ACK"), tcp_flags("SYN")),
                });
            }
            _ => return None,
        }
    }
    Some(Condition::Ports {
        module: module.to_owned(),
        sport,
        dport,
        flags,
    })
}

/// Every port is no condition: iptables does not print it either.
fn some_ports(ports: Maybe<PortRange>) -> Option<Maybe<PortRange>> {
    let every = PortRange {
        first: 0,
        last: u16::MAX,
    };
    Some(ports).filter(|ports| ports.not || ports.value != every)
}

fn tcp_flags(text: &str) -> BTreeSet<String> {
    match text {
        "NONE" => BTreeSet::new(),
        "ALL" => tcp_flags("FIN,SYN,RST,PSH,ACK,URG"),
        list => list.split(',').map(str::to_owned).collect(),
    }
}

/// `80`, `80:90`, `:90`, `80:`.
pub(super) fn port_range(text: &str) -> Option<PortRange> {
    let port = |text: &str, default: u16| match text {
        "" => Some(default),
        text => text.parse().ok(),
    };
    match text.split_once([':', '-']) {
        Some((first, last)) => Some(PortRange {
            first: port(first, 0)?,
            last: port(last, u16::MAX)?,
        }),
        None => Some(PortRange::one(text.parse().ok()?)),
    }
}

fn multiport(option: &Opt) -> Option<Condition> {
    let side = match option.name.as_str() {
        "--sports" | "--source-ports" => PortSide::Source,
        "--dports" | "--destination-ports" => PortSide::Destination,
        "--ports" => PortSide::Either,
        _ => return None,
    };
    let ports = option.one(|text| text.split(',').map(port_range).collect())?;
    Some(Condition::Multiport { side, ports })
}

fn icmp_kind(text: &str, names: &[(&str, IcmpKind)]) -> Option<IcmpKind> {
    if let Some((_, kind)) = names.iter().find(|(name, _)| *name == text) {
        return Some(*kind);
    }
    match text.split_once('/') {
        Some((icmp_type, code)) => Some(IcmpKind {
            icmp_type: icmp_type.parse().ok()?,
            code: Some(code.parse().ok()?),
        }),
        None => Some(IcmpKind {
            icmp_type: text.parse().ok()?,
            code: None,
        }),
    }
}

fn states(text: &str) -> Option<BTreeSet<ConnState>> {
    let state = |name: &str| STATES.iter().find(|(n, _)| *n == name).map(|s| s.1);
    text.split(',').map(state).collect()
}

fn conntrack(options: &[Opt]) -> Option<Condition> {
    let (mut found, mut rest) = (None, Vec::new());
    for option in options {
        if option.name == "--ctstate" {
            found = Some(option.one(states)?);
            continue;
        }
        rest.extend(option.not.then(|| "!".to_owned()));
        rest.push(option.name.clone());
        rest.extend(option.values.iter().cloned());
    }
    Some(Condition::Conntrack {
        states: found,
        rest,
    })
}

fn physdev(options: &[Opt]) -> Option<Condition> {
    let (mut in_dev, mut out_dev) = (None, None);
    let (mut is_in, mut is_out, mut is_bridged) = (None, None, None);
    for option in options {
        let yes = Some(!option.not).filter(|_| option.values.is_empty());
        match option.name.as_str() {
            "--physdev-in" => in_dev = Some(option.text()?),
            "--physdev-out" => out_dev = Some(option.text()?),
            "--physdev-is-in" => is_in = Some(yes?),
            "--physdev-is-out" => is_out = Some(yes?),
            "--physdev-is-bridged" => is_bridged = Some(yes?),
            _ => return None,
        }
    }
    Some(Condition::Physdev {
        in_dev,
        out_dev,
        is_in,
        is_out,
        is_bridged,
    })
}

fn set(first: &Opt, rest: &[Opt]) -> Option<Condition> {
    let [name, sides] = first.values.as_slice() else {
        return None;
    };
    let Condition::Unknown { options: rest, .. } = unknown("set", rest) else {
        return None;
    };
    Some(Condition::Set {
        name: Maybe {
            not: first.not,
            value: name.clone(),
        },
        sides: sides.split(',').map(str::to_owned).collect(),
        rest,
    })
}

/// `0x4000000/0xffff0000`; no mask is all bits.
pub(super) fn mark(text: &str) -> Option<Mark> {
    let bits = |text: &str| u32::try_from(number(text)?).ok();
    match text.split_once('/') {
        Some((value, mask)) => Some(Mark {
            value: bits(value)?,
            mask: bits(mask)?,
        }),
        None => Some(Mark {
            value: bits(text)?,
            mask: u32::MAX,
        }),
    }
}

/// Print a mark as a condition shows it.
fn mark_text(mark: Mark) -> String {
    match mark.mask {
        u32::MAX => format!("{:#x}", mark.value),
        mask => format!("{:#x}/{mask:#x}", mark.value),
    }
}

impl std::fmt::Display for PortRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}:{}", self.first, self.last),
        }
    }
}

impl std::fmt::Display for ConnState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = STATES.iter().find(|(_, state)| state == self);
        f.write_str(name.map_or("", |(name, _)| name))
    }
}

/// Append `[!] --name value`.
fn push<T>(out: &mut String, name: &str, part: Option<&Maybe<T>>, text: impl Fn(&T) -> String) {
    let Some(part) = part else { return };
    let not = if part.not { "! " } else { "" };
    // Writing to a String does not fail.
    let _ = write!(out, " {not}{name} {}", text(&part.value));
}

fn push_flag(out: &mut String, name: &str, flag: Option<bool>) {
    match flag {
        Some(true) => out.push_str(&format!(" {name}")),
        Some(false) => out.push_str(&format!(" ! {name}")),
        None => {}
    }
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    texts.join(",")
}

fn push_words(out: &mut String, words: &[String]) {
    for text in words {
        out.push(' ');
        out.push_str(&word(text));
    }
}

fn flags_text((looked_at, set): &(BTreeSet<String>, BTreeSet<String>)) -> String {
    const ORDER: [&str; 6] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG"];
    let text = |flags: &BTreeSet<String>| match flags.is_empty() {
        true => "NONE".to_owned(),
        false => {
            let known = ORDER.iter().filter(|f| flags.contains(**f)).copied();
            let other = flags
                .iter()
                .map(String::as_str)
                .filter(|f| !ORDER.contains(f));
            list(known.chain(other))
        }
    };
    format!("{} {}", text(looked_at), text(set))
}

impl Condition {
    /// Take in another condition of the same protocol's module: options may stand apart.
    pub(super) fn absorb(&mut self, other: &Condition) -> bool {
        let (
            Condition::Ports {
                module,
                sport,
                dport,
                flags,
            },
            Condition::Ports {
                module: other_module,
                sport: other_sport,
                dport: other_dport,
                flags: other_flags,
            },
        ) = (self, other)
        else {
            return false;
        };
        if module != other_module {
            return false;
        }
        *sport = sport.take().or_else(|| other_sport.clone());
        *dport = dport.take().or_else(|| other_dport.clone());
        *flags = flags.take().or_else(|| other_flags.clone());
        true
    }

    /// Append the condition as iptables-save prints it: ` -m module --option …`.
    pub(super) fn print(&self, out: &mut String) {
        out.push_str(" -m ");
        match self {
            Condition::Ports {
                module,
                sport,
                dport,
                flags,
            } => {
                out.push_str(module);
                push(out, "--sport", sport.as_ref(), PortRange::to_string);
                push(out, "--dport", dport.as_ref(), PortRange::to_string);
                push(out, "--tcp-flags", flags.as_ref(), flags_text);
            }
            Condition::Multiport { side, ports } => {
                out.push_str("multiport");
                let name = match side {
                    PortSide::Source => "--sports",
                    PortSide::Destination => "--dports",
                    PortSide::Either => "--ports",
                };
                push(out, name, Some(ports), |ports| list(ports.iter()));
            }
            Condition::Icmp { v6, kind } => {
                let (module, name) = match v6 {
                    true => ("icmp6", "--icmpv6-type"),
                    false => ("icmp", "--icmp-type"),
                };
                out.push_str(module);
                push(out, name, kind.as_ref(), |kind| {
                    match (kind.icmp_type, kind.code) {
                        (255, None) if !v6 => "any".to_owned(),
                        (icmp_type, None) => icmp_type.to_string(),
                        (icmp_type, Some(code)) => format!("{icmp_type}/{code}"),
                    }
                });
            }
            Condition::Physdev { .. } => self.print_physdev(out),
            other => other.print_rest(out),
        }
    }

    fn print_physdev(&self, out: &mut String) {
        let Condition::Physdev {
            in_dev,
            out_dev,
            is_in,
            is_out,
            is_bridged,
        } = self
        else {
            return;
        };
        out.push_str("physdev");
        push_flag(out, "--physdev-is-in", *is_in);
        push(out, "--physdev-in", in_dev.as_ref(), |d| word(d));
        push_flag(out, "--physdev-is-out", *is_out);
        push(out, "--physdev-out", out_dev.as_ref(), |d| word(d));
        push_flag(out, "--physdev-is-bridged", *is_bridged);
    }

    fn print_rest(&self, out: &mut String) {
        match self {
            Condition::State(states) => {
                out.push_str("state");
                push(out, "--state", Some(states), |states| list(states.iter()));
            }
            Condition::Conntrack { states, rest } => {
                out.push_str("conntrack");
                push(out, "--ctstate", states.as_ref(), |states| {
                    list(states.iter())
                });
                push_words(out, rest);
            }
            Condition::Mac(mac) => {
                out.push_str("mac");
                push(out, "--mac-source", Some(mac), crate::Mac::to_string);
            }
            Condition::Set { name, sides, rest } => {
                out.push_str("set");
                push(out, "--match-set", Some(name), |name| {
                    format!("{} {}", word(name), list(sides.iter()))
                });
                push_words(out, rest);
            }
            Condition::Mark(mark) => {
                out.push_str("mark");
                push(out, "--mark", Some(mark), |mark| mark_text(*mark));
            }
            Condition::Connmark(mark) => {
                out.push_str("connmark");
                push(out, "--mark", Some(mark), |mark| mark_text(*mark));
            }
            Condition::Comment(text) => {
                out.push_str("comment --comment ");
                out.push_str(&free_text(text));
            }
            Condition::Unknown { module, options } => {
                out.push_str(&word(module));
                push_words(out, options);
            }
            _ => {}
        }
    }
}

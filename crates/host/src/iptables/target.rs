//! What a rule does: reading and printing `-j`.
use super::condition::{mark, port_range};
use super::words::{Tokens, word};
use super::{ConnmarkAction, Mark, NatTo, PortRange, Target};
use crate::ParseError;
use crate::text::number;

/// A target's options, flat: everything up to the end of the rule.
fn rest(words: &mut Tokens) -> Vec<String> {
    let mut texts = Vec::new();
    while let Some(token) = words.next() {
        texts.push(token.text);
    }
    texts
}

/// Read what follows `-j`. A target of capitals with options is one of iptables' own; other
/// names are chains.
pub(super) fn read_target(words: &mut Tokens) -> Result<Target, ParseError> {
    let name = words.need("a target")?.text;
    // Conditions may follow a jump, as old scripts write it; then the target has no options.
    let has_options = words.peek().is_some_and(|w| w.starts_with("--"));
    if !has_options {
        return Ok(plain(name));
    }
    let options = rest(words);
    let known = with_options(&name, &options);
    Ok(known.unwrap_or(Target::Unknown { name, options }))
}

fn plain(name: String) -> Target {
    match name.as_str() {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "RETURN" => Target::Return,
        "REJECT" => Target::Reject(None),
        "MASQUERADE" => Target::Masquerade {
            to_ports: None,
            flags: Vec::new(),
        },
        "REDIRECT" => Target::Redirect {
            to_ports: None,
            flags: Vec::new(),
        },
        "LOG" | "NFLOG" => Target::Log {
            kind: name,
            options: Vec::new(),
        },
        "NOTRACK" => Target::Ct {
            zone: None,
            notrack: true,
            rest: Vec::new(),
        },
        _ => Target::Jump(name),
    }
}

fn with_options(name: &str, options: &[String]) -> Option<Target> {
    let texts: Vec<&str> = options.iter().map(String::as_str).collect();
    match (name, texts.as_slice()) {
        ("REJECT", ["--reject-with", with]) => Some(Target::Reject(Some((*with).to_owned()))),
        ("SNAT", ["--to-source", to, flags @ ..]) => Some(Target::Snat(nat_to(to, flags))),
        ("DNAT", ["--to-destination", to, flags @ ..]) => Some(Target::Dnat(nat_to(to, flags))),
        ("REDIRECT", texts) => {
            let (to_ports, flags) = ports_and_flags(texts)?;
            Some(Target::Redirect { to_ports, flags })
        }
        ("MASQUERADE", texts) => {
            let (to_ports, flags) = ports_and_flags(texts)?;
            Some(Target::Masquerade { to_ports, flags })
        }
        ("CT", texts) => ct(texts),
        ("MARK", ["--set-xmark", bits]) => Some(Target::Mark(mark(bits)?)),
        ("MARK", ["--set-mark", bits]) => {
            // Set-mark clears the bits of the value too: mask | value.
            let Mark { value, mask } = mark(bits)?;
            Some(Target::Mark(Mark {
                value,
                mask: mask | value,
            }))
        }
        ("CONNMARK", texts) => connmark(texts).map(Target::Connmark),
        ("CHECKSUM", ["--checksum-fill"]) => Some(Target::ChecksumFill),
        ("LOG" | "NFLOG", _) => Some(Target::Log {
            kind: name.to_owned(),
            options: options.to_vec(),
        }),
        _ => None,
    }
}

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn nat_to(to: &str, flags: &[&str]) -> NatTo {
    NatTo {
        to: to.to_owned(),
        flags: owned(flags),
    }
}

fn ports_and_flags(texts: &[&str]) -> Option<(Option<PortRange>, Vec<String>)> {
    match texts {
        ["--to-ports", ports, flags @ ..] => Some((Some(port_range(ports)?), owned(flags))),
        flags => Some((None, owned(flags))),
    }
}

fn ct(texts: &[&str]) -> Option<Target> {
    let (mut zone, mut notrack, mut rest) = (None, false, Vec::new());
    let mut texts = texts.iter();
    while let Some(text) = texts.next() {
        match *text {
            "--zone" => {
                let number = number(texts.next()?)?;
                zone = Some(u16::try_from(number).ok()?);
            }
            "--notrack" => notrack = true,
            other => rest.push(other.to_owned()),
        }
    }
    Some(Target::Ct {
        zone,
        notrack,
        rest,
    })
}

fn connmark(texts: &[&str]) -> Option<ConnmarkAction> {
    let bits = |text: &str| u32::try_from(number(text)?).ok();
    match texts {
        ["--set-xmark", bits] => Some(ConnmarkAction::Set(mark(bits)?)),
        ["--set-mark", bits] => {
            let Mark { value, mask } = mark(bits)?;
            Some(ConnmarkAction::Set(Mark {
                value,
                mask: mask | value,
            }))
        }
        [verb @ ("--save-mark" | "--restore-mark"), masks @ ..] => {
            let (nfmask, ctmask) = match masks {
                [] => (u32::MAX, u32::MAX),
                ["--mask", mask] => (bits(mask)?, bits(mask)?),
                ["--nfmask", nf, "--ctmask", ct] | ["--ctmask", ct, "--nfmask", nf] => {
                    (bits(nf)?, bits(ct)?)
                }
                _ => return None,
            };
            Some(match *verb {
                "--save-mark" => ConnmarkAction::Save { nfmask, ctmask },
                _ => ConnmarkAction::Restore { nfmask, ctmask },
            })
        }
        _ => None,
    }
}

fn words_text(texts: &[String]) -> String {
    texts
        .iter()
        .map(|text| format!(" {}", word(text)))
        .collect()
}

fn ports_text(to_ports: Option<PortRange>, flags: &[String]) -> String {
    let ports = to_ports.map(|range| match range.first == range.last {
        true => format!(" --to-ports {}", range.first),
        false => format!(" --to-ports {}-{}", range.first, range.last),
    });
    ports.unwrap_or_default() + &words_text(flags)
}

impl Target {
    /// Append the target as iptables-save prints it.
    pub(super) fn print(&self, out: &mut String) {
        let text = match self {
            Target::None => return,
            Target::Goto(chain) => {
                out.push_str(&format!(" -g {}", word(chain)));
                return;
            }
            Target::Accept => "ACCEPT".to_owned(),
            Target::Drop => "DROP".to_owned(),
            Target::Return => "RETURN".to_owned(),
            Target::Jump(chain) => word(chain),
            Target::Reject(None) => "REJECT".to_owned(),
            Target::Reject(Some(with)) => format!("REJECT --reject-with {}", word(with)),
            Target::Snat(to) => {
                format!("SNAT --to-source {}{}", word(&to.to), words_text(&to.flags))
            }
            Target::Dnat(to) => {
                format!(
                    "DNAT --to-destination {}{}",
                    word(&to.to),
                    words_text(&to.flags)
                )
            }
            Target::Redirect { to_ports, flags } => {
                format!("REDIRECT{}", ports_text(*to_ports, flags))
            }
            Target::Masquerade { to_ports, flags } => {
                format!("MASQUERADE{}", ports_text(*to_ports, flags))
            }
            Target::Ct {
                zone,
                notrack,
                rest,
            } => {
                let notrack = if *notrack { " --notrack" } else { "" };
                let zone = zone
                    .map(|zone| format!(" --zone {zone}"))
                    .unwrap_or_default();
                format!("CT{notrack}{}{zone}", words_text(rest))
            }
            Target::Mark(Mark { value, mask }) => {
                format!("MARK --set-xmark {value:#x}/{mask:#x}")
            }
            Target::Connmark(action) => connmark_text(*action),
            Target::ChecksumFill => "CHECKSUM --checksum-fill".to_owned(),
            Target::Log { kind, options } => format!("{kind}{}", words_text(options)),
            Target::Unknown { name, options } => format!("{}{}", word(name), words_text(options)),
        };
        out.push_str(" -j ");
        out.push_str(&text);
    }
}

fn connmark_text(action: ConnmarkAction) -> String {
    match action {
        ConnmarkAction::Set(Mark { value, mask }) => {
            format!("CONNMARK --set-xmark {value:#x}/{mask:#x}")
        }
        ConnmarkAction::Save { nfmask, ctmask } => {
            format!("CONNMARK --save-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
        }
        ConnmarkAction::Restore { nfmask, ctmask } => {
            format!("CONNMARK --restore-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
        }
    }
}

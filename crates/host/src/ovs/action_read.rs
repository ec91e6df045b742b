//! Reading actions. Any text gives actions: what is not known is kept as it stood.
use super::action::{
    Action, Ct, Learn, LearnSource, LearnSpec, Nat, NatSide, Spelling, Subfield, Zone,
};
use super::field::{Field, mask};
use super::match_text::port_ref;
use super::matches::PortRef;
use super::value;
use crate::Shown;
use crate::text::{number, split_outside};

/// Actions within actions go this deep and no deeper: real ones go two.
const DEPTH: usize = 8;

/// Read a comma-separated list of actions. `drop` is the empty list.
pub fn read_actions(text: &str) -> Vec<Action> {
    actions(text, DEPTH)
}

fn actions(text: &str, depth: usize) -> Vec<Action> {
    let text = text.trim();
    if text.is_empty() || text == "drop" {
        return Vec::new();
    }
    split_outside(text, ',')
        .iter()
        .map(|part| part.text.trim())
        .filter(|part| !part.is_empty())
        .map(|part| action(part, depth).unwrap_or_else(|| Action::Unknown(part.to_owned())))
        .collect()
}

fn action(text: &str, depth: usize) -> Option<Action> {
    if let Some((name, inside)) = bracketed(text) {
        return with_brackets(name, inside, depth);
    }
    match text.split_once(':') {
        Some((name, argument)) if !text.starts_with('"') => with_argument(name, argument),
        _ => bare(text),
    }
}

/// `name(inside)`.
fn bracketed(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once('(')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if !name.chars().all(plain) {
        return None;
    }
    Some((name, rest.strip_suffix(')')?))
}

fn bare(text: &str) -> Option<Action> {
    Some(match text {
        "strip_vlan" => Action::PopVlan(Shown(Spelling::Verb)),
        "pop_vlan" => Action::pop_vlan(),
        "ct" => Action::Ct(Box::default()),
        "ct_clear" => Action::CtClear,
        "nat" => Action::Nat(Nat::default()),
        "dec_ttl" => Action::DecTtl,
        "dec_mpls_ttl" => Action::DecMplsTtl,
        "pop_queue" => Action::PopQueue,
        "exit" => Action::Exit,
        "clear_actions" => Action::ClearActions,
        "controller" => Action::Controller(String::new()),
        _ => match port_ref(text) {
            PortRef::Name(_) if !text.starts_with('"') => return None,
            PortRef::None | PortRef::Any => return None,
            port => Action::Output(port),
        },
    })
}

fn small<T: TryFrom<u128>>(text: &str) -> Option<T> {
    T::try_from(number(text)?).ok()
}

fn with_argument(name: &str, argument: &str) -> Option<Action> {
    Some(match name {
        "output" => output(argument)?,
        "enqueue" => {
            let (port, queue) = argument.rsplit_once([':', ','])?;
            Action::Enqueue {
                port: port_ref(port),
                queue: small(queue)?,
            }
        }
        "CONTROLLER" | "controller" => Action::Controller(argument.to_owned()),
        "resubmit" => Action::Resubmit {
            port: Some(port_ref(argument)),
            table: None,
            ct: false,
        },
        "goto_table" => Action::GotoTable(small(argument)?),
        "set_field" => set_field(argument)?,
        "load" => load(argument)?,
        "move" => {
            let (src, dst) = argument.split_once("->")?;
            Action::Move {
                src: subfield(src)?,
                dst: subfield(dst)?,
            }
        }
        "mod_vlan_vid" | "set_vlan_vid" => Action::ModVlanVid(small(argument)?),
        "mod_vlan_pcp" | "set_vlan_pcp" => Action::ModVlanPcp(small(argument)?),
        "push_vlan" => Action::PushVlan(small(argument)?),
        "push_mpls" => Action::PushMpls(small(argument)?),
        "pop_mpls" => Action::PopMpls(small(argument)?),
        "set_queue" => Action::SetQueue(small(argument)?),
        "push" => Action::Push(subfield(argument)?),
        "pop" => Action::Pop(subfield(argument)?),
        "group" => Action::Group(small(argument)?),
        "meter" => Action::Meter(small(argument)?),
        "note" => Action::Note(argument.to_owned()),
        "write_metadata" => {
            let bits = value::parse(Field::Metadata, argument)?;
            Action::WriteMetadata {
                value: u64::try_from(bits.value).ok()?,
                mask: u64::try_from(bits.mask).ok()?,
            }
        }
        name => verb(name, argument)?,
    })
}

/// Verbs that write one field.
pub(super) const VERBS: &[(&str, Field)] = &[
    ("mod_dl_src", Field::EthSrc),
    ("mod_dl_dst", Field::EthDst),
    ("mod_nw_src", Field::IpSrc),
    ("mod_nw_dst", Field::IpDst),
    ("mod_nw_tos", Field::NwTos),
    ("mod_nw_ecn", Field::IpEcn),
    ("mod_nw_ttl", Field::IpTtl),
    ("mod_tp_src", Field::TpSrc),
    ("mod_tp_dst", Field::TpDst),
    ("set_tunnel", Field::TunId),
    ("set_mpls_label", Field::MplsLabel),
    ("set_mpls_tc", Field::MplsTc),
    ("set_mpls_ttl", Field::MplsTtl),
];

fn verb(name: &str, argument: &str) -> Option<Action> {
    let name = if name == "set_tunnel64" {
        "set_tunnel"
    } else {
        name
    };
    let (_, field) = VERBS.iter().find(|(verb, _)| *verb == name)?;
    let bits = value::parse(*field, argument)?;
    let mask = match field {
        Field::NwTos => 0xfc,
        _ => bits.mask,
    };
    Some(Action::Set {
        field: *field,
        value: bits.value & mask,
        mask,
        spelling: Shown(Spelling::Verb),
    })
}

fn output(argument: &str) -> Option<Action> {
    match subfield(argument) {
        Some(bits) => Some(Action::OutputField(bits)),
        None => Some(Action::Output(port_ref(argument))),
    }
}

fn set_field(argument: &str) -> Option<Action> {
    let (text, name) = argument.split_once("->")?;
    if let Some(field) = Field::by_name(name) {
        let bits = value::parse(field, text)?;
        return Some(Action::set_masked(field, bits.value, bits.mask));
    }
    let bits = subfield(name)?;
    set_bits(bits, number(text)?, Spelling::SetField)
}

fn load(argument: &str) -> Option<Action> {
    let (text, name) = argument.split_once("->")?;
    set_bits(subfield(name)?, number(text)?, Spelling::Load)
}

fn set_bits(dst: Subfield, value: u128, spelling: Spelling) -> Option<Action> {
    let bits = mask(dst.bits);
    (value <= bits).then_some(Action::Set {
        field: dst.field,
        value: value << dst.start,
        mask: bits << dst.start,
        spelling: Shown(spelling),
    })
}

/// `NXM_NX_REG0[]`, `NXM_NX_REG0[0..15]`, `NXM_NX_REG0[3]`.
pub(super) fn subfield(text: &str) -> Option<Subfield> {
    let (name, range) = text.trim().strip_suffix(']')?.split_once('[')?;
    let whole = Subfield::whole(Field::by_name(name)?);
    let (first, last) = match range.split_once("..") {
        _ if range.is_empty() => return Some(whole),
        Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
        None => (range.parse().ok()?, range.parse().ok()?),
    };
    let fits = first <= last && last < whole.bits;
    fits.then(|| Subfield::bits(whole.field, first, last))
}

fn with_brackets(name: &str, inside: &str, depth: usize) -> Option<Action> {
    let depth = depth.checked_sub(1)?;
    Some(match name {
        "resubmit" => resubmit(inside)?,
        "ct" => Action::Ct(Box::new(ct(inside, depth))),
        "nat" => Action::Nat(nat(inside)),
        "learn" => Action::Learn(Box::new(learn(inside))),
        "conjunction" => conjunction(inside)?,
        "output" => truncated(inside)?,
        "enqueue" => {
            let (port, queue) = inside.rsplit_once(',')?;
            Action::Enqueue {
                port: port_ref(port),
                queue: small(queue)?,
            }
        }
        "write_actions" => Action::WriteActions(actions(inside, depth)),
        "clone" => Action::Clone(actions(inside, depth)),
        "controller" => Action::Controller(format!("({inside})")),
        _ => return None,
    })
}

fn resubmit(inside: &str) -> Option<Action> {
    let mut parts = inside.split(',');
    let port = Some(parts.next()?).filter(|p| !p.is_empty()).map(port_ref);
    let table = match parts.next().unwrap_or("") {
        "" => None,
        table => Some(small(table)?),
    };
    let ct = match parts.next() {
        None => false,
        Some("ct") => true,
        Some(_) => return None,
    };
    parts
        .next()
        .is_none()
        .then_some(Action::Resubmit { port, table, ct })
}

fn conjunction(inside: &str) -> Option<Action> {
    let (id, clause) = inside.split_once(',')?;
    let (clause, of) = clause.trim().split_once('/')?;
    Some(Action::Conjunction {
        id: small(id)?,
        clause: small(clause)?,
        of: small(of)?,
    })
}

fn truncated(inside: &str) -> Option<Action> {
    let (mut port, mut max_len) = (None, None);
    for part in split_outside(inside, ',') {
        match part.text.split_once('=')? {
            ("port", text) => port = Some(port_ref(text)),
            ("max_len", text) => max_len = Some(small(text)?),
            _ => return None,
        }
    }
    Some(Action::OutputTruncated {
        port: port?,
        max_len: max_len?,
    })
}

fn ct(inside: &str, depth: usize) -> Ct {
    let mut ct = Ct::default();
    for part in split_outside(inside, ',') {
        if ct_part(&mut ct, part.text, depth).is_none() {
            ct.unknown.push(part.text.to_owned());
        }
    }
    ct
}

fn ct_part(ct: &mut Ct, part: &str, depth: usize) -> Option<()> {
    match bracketed(part) {
        Some(("nat", inside)) => ct.nat = Some(nat(inside)),
        Some(("exec", inside)) => ct.exec = actions(inside, depth.checked_sub(1)?),
        Some(_) => return None,
        None => match part.split_once('=') {
            None if part.is_empty() => {}
            None if part == "commit" => ct.commit = true,
            None if part == "force" => ct.force = true,
            None if part == "nat" => ct.nat = Some(Nat::default()),
            Some(("table", table)) => ct.table = Some(small(table)?),
            Some(("zone", zone)) => ct.zone = Some(self::zone(zone)?),
            Some(("alg", alg)) => ct.alg = Some(alg.to_owned()),
            _ => return None,
        },
    }
    Some(())
}

fn zone(text: &str) -> Option<Zone> {
    match subfield(text) {
        Some(bits) => Some(Zone::Field(bits)),
        None => Some(Zone::Number(small(text)?)),
    }
}

fn nat(inside: &str) -> Nat {
    let mut nat = Nat::default();
    for part in split_outside(inside, ',') {
        match part.text.split_once('=') {
            Some((side @ ("src" | "dst"), range)) => {
                nat.side = Some(if side == "src" {
                    NatSide::Src
                } else {
                    NatSide::Dst
                });
                nat.range = range.to_owned();
            }
            _ => match part.text {
                "" => {}
                "src" => nat.side = Some(NatSide::Src),
                "dst" => nat.side = Some(NatSide::Dst),
                flag => nat.flags.push(flag.to_owned()),
            },
        }
    }
    nat
}

fn learn(inside: &str) -> Learn {
    let mut learn = Learn::default();
    for part in split_outside(inside, ',') {
        let text = part.text.trim();
        if learn_option(&mut learn, text).is_some() {
            continue;
        }
        match learn_spec(text) {
            Some(spec) => learn.specs.push(spec),
            None if text.is_empty() => {}
            None => learn.unknown.push(text.to_owned()),
        }
    }
    learn
}

fn learn_option(learn: &mut Learn, text: &str) -> Option<()> {
    match text.split_once('=') {
        Some(("table", v)) => learn.table = small(v)?,
        Some(("priority", v)) => learn.priority = Some(small(v)?).filter(|p| *p != 0x8000),
        Some(("cookie", v)) => learn.cookie = small(v)?,
        Some(("idle_timeout", v)) => learn.idle_timeout = small(v)?,
        Some(("hard_timeout", v)) => learn.hard_timeout = small(v)?,
        Some(("fin_idle_timeout", v)) => learn.fin_idle_timeout = small(v)?,
        Some(("fin_hard_timeout", v)) => learn.fin_hard_timeout = small(v)?,
        Some(("limit", v)) => learn.limit = Some(small(v)?).filter(|l| *l != 0),
        Some(("result_dst", v)) => learn.result_dst = Some(subfield(v)?),
        None if text == "send_flow_rem" => learn.send_flow_rem = true,
        None if text == "delete_learned" => learn.delete_learned = true,
        _ => return None,
    }
    Some(())
}

fn learn_spec(text: &str) -> Option<LearnSpec> {
    if let Some(port) = text.strip_prefix("output:") {
        return Some(LearnSpec::Output(subfield(port)?));
    }
    if let Some(load) = text.strip_prefix("load:") {
        let (src, dst) = load.split_once("->")?;
        let dst = subfield(dst)?;
        return Some(LearnSpec::Load {
            src: learn_source(src, dst)?,
            dst,
        });
    }
    let Some((dst, src)) = text.split_once('=') else {
        let dst = subfield(text).or_else(|| Field::by_name(text).map(Subfield::whole))?;
        let src = LearnSource::Field(dst);
        return Some(LearnSpec::Match { dst, src });
    };
    let dst = match subfield(dst) {
        Some(dst) => dst,
        None => {
            let field = Field::by_name(dst)?;
            let bits = value::parse(field, src)?;
            let src = LearnSource::Value(bits.value);
            return (bits.mask == field.full_mask()).then_some(LearnSpec::Match {
                dst: Subfield::whole(field),
                src,
            });
        }
    };
    let src = learn_source(src, dst)?;
    Some(LearnSpec::Match { dst, src })
}

fn learn_source(text: &str, dst: Subfield) -> Option<LearnSource> {
    match subfield(text) {
        Some(bits) => (bits.bits == dst.bits).then_some(LearnSource::Field(bits)),
        None => {
            let value = number(text).filter(|v| *v <= mask(dst.bits))?;
            Some(LearnSource::Value(value))
        }
    }
}

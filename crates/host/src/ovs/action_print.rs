//! Printing actions as `ovs-ofctl` prints and takes them.
use std::fmt::{self, Write};

use super::action::{
    Action, Ct, Learn, LearnSource, LearnSpec, Nat, NatSide, Spelling, Subfield, Zone,
};
use super::action_read::VERBS;
use super::field::Field;
use super::matches::{Masked, PortRef};
use super::value::{self, hex};

/// Actions in a row; none is `drop`.
pub fn print_actions(actions: &[Action]) -> String {
    match actions {
        [] => "drop".to_owned(),
        actions => list(actions),
    }
}

fn list(actions: &[Action]) -> String {
    let texts: Vec<String> = actions.iter().map(Action::to_string).collect();
    texts.join(",")
}

impl fmt::Display for Subfield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let info = self.field.info();
        write!(f, "{}[", info.nxm)?;
        match (self.start, self.bits) {
            (0, bits) if bits == info.bits => {}
            (start, 1) => write!(f, "{start}")?,
            (start, bits) => write!(f, "{start}..{}", start + bits - 1)?,
        }
        f.write_char(']')
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Output(port @ (PortRef::Number(_) | PortRef::Name(_))) => {
                write!(f, "output:{port}")
            }
            Action::Output(port) => write!(f, "{port}"),
            Action::OutputField(bits) => write!(f, "output:{bits}"),
            Action::OutputTruncated { port, max_len } => {
                write!(f, "output(port={port},max_len={max_len})")
            }
            Action::Enqueue { port, queue } => write!(f, "enqueue:{port}:{queue}"),
            Action::Resubmit { port, table, ct } => resubmit(f, port.as_ref(), *table, *ct),
            Action::Set {
                field,
                value,
                mask,
                spelling,
            } => set(
                f,
                *field,
                Masked {
                    value: *value,
                    mask: *mask,
                },
                spelling.0,
            ),
            Action::Move { src, dst } => write!(f, "move:{src}->{dst}"),
            Action::PopVlan(spelling) if spelling.0 == Spelling::Verb => f.write_str("strip_vlan"),
            Action::Learn(learn) => learn.fmt(f),
            Action::Ct(ct) => ct.fmt(f),
            Action::Nat(nat) => nat.fmt(f),
            Action::Conjunction { id, clause, of } => write!(f, "conjunction({id},{clause}/{of})"),
            Action::WriteActions(actions) => write!(f, "write_actions({})", list(actions)),
            Action::Clone(actions) => write!(f, "clone({})", list(actions)),
            Action::WriteMetadata { value, mask } => {
                write!(f, "write_metadata:{value:#x}")?;
                match mask {
                    &u64::MAX => Ok(()),
                    mask => write!(f, "/{mask:#x}"),
                }
            }
            Action::Controller(text) if text.is_empty() => f.write_str("CONTROLLER"),
            Action::Controller(text) if text.starts_with('(') => write!(f, "controller{text}"),
            Action::Controller(text) => write!(f, "CONTROLLER:{text}"),
            other => simple(f, other),
        }
    }
}

/// Actions that are a word, or a word and one argument.
fn simple(f: &mut fmt::Formatter<'_>, action: &Action) -> fmt::Result {
    match action {
        Action::GotoTable(table) => write!(f, "goto_table:{table}"),
        Action::ModVlanVid(vid) => write!(f, "mod_vlan_vid:{vid}"),
        Action::ModVlanPcp(pcp) => write!(f, "mod_vlan_pcp:{pcp}"),
        Action::PushVlan(eth_type) => write!(f, "push_vlan:{eth_type:#06x}"),
        Action::PushMpls(eth_type) => write!(f, "push_mpls:{eth_type:#06x}"),
        Action::PopMpls(eth_type) => write!(f, "pop_mpls:{eth_type:#06x}"),
        Action::SetQueue(queue) => write!(f, "set_queue:{queue}"),
        Action::Push(bits) => write!(f, "push:{bits}"),
        Action::Pop(bits) => write!(f, "pop:{bits}"),
        Action::Group(group) => write!(f, "group:{group}"),
        Action::Meter(meter) => write!(f, "meter:{meter}"),
        Action::Note(note) => write!(f, "note:{note}"),
        Action::Unknown(text) => f.write_str(text),
        Action::PopVlan(_) => f.write_str("pop_vlan"),
        Action::DecTtl => f.write_str("dec_ttl"),
        Action::DecMplsTtl => f.write_str("dec_mpls_ttl"),
        Action::PopQueue => f.write_str("pop_queue"),
        Action::CtClear => f.write_str("ct_clear"),
        Action::ClearActions => f.write_str("clear_actions"),
        Action::Exit => f.write_str("exit"),
        _ => Ok(()),
    }
}

fn resubmit(
    f: &mut fmt::Formatter<'_>,
    port: Option<&PortRef>,
    table: Option<u8>,
    ct: bool,
) -> fmt::Result {
    if let (Some(port), None, false) = (port, table, ct) {
        return write!(f, "resubmit:{port}");
    }
    f.write_str("resubmit(")?;
    if let Some(port) = port {
        write!(f, "{port}")?;
    }
    f.write_char(',')?;
    if let Some(table) = table {
        write!(f, "{table}")?;
    }
    f.write_str(if ct { ",ct)" } else { ")" })
}

fn set(f: &mut fmt::Formatter<'_>, field: Field, bits: Masked, spelling: Spelling) -> fmt::Result {
    let start = bits.mask.trailing_zeros();
    let width = (bits.mask >> start.min(127)).trailing_ones();
    let contiguous = bits.mask.count_ones() == width && width > 0;
    let verb = VERBS.iter().find(|(_, written)| *written == field);
    let mut text = String::new();
    match (spelling, verb) {
        (Spelling::Load, _) if contiguous => {
            let dst = Subfield {
                field,
                start,
                bits: width,
            };
            write!(f, "load:{}->{dst}", hex(bits.value >> start))
        }
        (Spelling::Verb, Some((verb, _))) => {
            let full = field.full_mask();
            value::print_set(
                &mut text,
                field,
                Masked {
                    value: bits.value,
                    mask: full,
                },
            )?;
            write!(f, "{verb}:{text}")
        }
        _ => {
            value::print_set(&mut text, field, bits)?;
            write!(f, "set_field:{text}->{}", set_name(field))
        }
    }
}

/// `set_field` speaks of Ethernet and IP addresses in OpenFlow's words, not in those of matches.
fn set_name(field: Field) -> &'static str {
    match field {
        Field::EthSrc => "eth_src",
        Field::EthDst => "eth_dst",
        Field::EthType => "eth_type",
        Field::IpSrc => "ip_src",
        Field::IpDst => "ip_dst",
        field => field.info().name,
    }
}

impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some(side) = self.side {
            let side = match side {
                NatSide::Src => "src",
                NatSide::Dst => "dst",
            };
            parts.push(match self.range.as_str() {
                "" => side.to_owned(),
                range => format!("{side}={range}"),
            });
        }
        parts.extend(self.flags.iter().cloned());
        match parts.is_empty() {
            true => f.write_str("nat"),
            false => write!(f, "nat({})", parts.join(",")),
        }
    }
}

impl fmt::Display for Ct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if self.commit {
            parts.push("commit".to_owned());
        }
        if self.force {
            parts.push("force".to_owned());
        }
        if let Some(table) = self.table {
            parts.push(format!("table={table}"));
        }
        match &self.zone {
            Some(Zone::Number(zone)) => parts.push(format!("zone={zone}")),
            Some(Zone::Field(bits)) => parts.push(format!("zone={bits}")),
            None => {}
        }
        parts.extend(self.nat.as_ref().map(Nat::to_string));
        if !self.exec.is_empty() {
            parts.push(format!("exec({})", list(&self.exec)));
        }
        parts.extend(self.alg.iter().map(|alg| format!("alg={alg}")));
        parts.extend(self.unknown.iter().cloned());
        match parts.is_empty() {
            true => f.write_str("ct"),
            false => write!(f, "ct({})", parts.join(",")),
        }
    }
}

impl fmt::Display for Learn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "learn(table={}", self.table)?;
        for (name, seconds) in [
            ("idle_timeout", self.idle_timeout),
            ("hard_timeout", self.hard_timeout),
            ("fin_idle_timeout", self.fin_idle_timeout),
            ("fin_hard_timeout", self.fin_hard_timeout),
        ] {
            if seconds != 0 {
                write!(f, ",{name}={seconds}")?;
            }
        }
        if let Some(priority) = self.priority {
            write!(f, ",priority={priority}")?;
        }
        if self.send_flow_rem {
            f.write_str(",send_flow_rem")?;
        }
        if self.delete_learned {
            f.write_str(",delete_learned")?;
        }
        if self.cookie != 0 {
            write!(f, ",cookie={:#x}", self.cookie)?;
        }
        if let Some(limit) = self.limit {
            write!(f, ",limit={limit}")?;
        }
        if let Some(dst) = self.result_dst {
            write!(f, ",result_dst={dst}")?;
        }
        for spec in &self.specs {
            write!(f, ",{spec}")?;
        }
        for text in &self.unknown {
            write!(f, ",{text}")?;
        }
        f.write_char(')')
    }
}

impl fmt::Display for LearnSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LearnSpec::Match {
                dst,
                src: LearnSource::Field(src),
            } if src == dst => write!(f, "{dst}"),
            LearnSpec::Match { dst, src } => write!(f, "{dst}={src}"),
            LearnSpec::Load { dst, src } => write!(f, "load:{src}->{dst}"),
            LearnSpec::Output(bits) => write!(f, "output:{bits}"),
        }
    }
}

impl fmt::Display for LearnSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LearnSource::Field(bits) => bits.fmt(f),
            LearnSource::Value(value) => f.write_str(&hex(*value)),
        }
    }
}

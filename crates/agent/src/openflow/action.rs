//! Actions and instructions on the wire (OpenFlow 1.4 with Nicira's extensions). What this
//! version can't say is refused when written, and kept as bytes when read.
use host::Shown;
use host::ovs::{Action, Ct, Field, Nat, NatSide, PortRef, Spelling, Subfield, Zone};

use super::CodecError;
use super::field::Header;
use super::learn;
use super::matches::{Ports, header};
use super::wire::{Reader, Short, Writer};

/// Standard actions.
mod of {
    pub(super) const OUTPUT: u16 = 0;
    pub(super) const DEC_MPLS_TTL: u16 = 16;
    pub(super) const PUSH_VLAN: u16 = 17;
    pub(super) const POP_VLAN: u16 = 18;
    pub(super) const PUSH_MPLS: u16 = 19;
    pub(super) const POP_MPLS: u16 = 20;
    pub(super) const SET_QUEUE: u16 = 21;
    pub(super) const GROUP: u16 = 22;
    pub(super) const DEC_TTL: u16 = 24;
    pub(super) const SET_FIELD: u16 = 25;
    pub(super) const EXPERIMENTER: u16 = 0xffff;
}

/// Nicira's actions.
mod nx {
    pub(super) const VENDOR: u32 = 0x2320;
    pub(super) const RESUBMIT: u16 = 1;
    pub(super) const MOVE: u16 = 6;
    pub(super) const LOAD: u16 = 7;
    pub(super) const RESUBMIT_TABLE: u16 = 14;
    pub(super) const OUTPUT_REG: u16 = 15;
    pub(super) const LEARN: u16 = 16;
    pub(super) const EXIT: u16 = 17;
    pub(super) const DEC_TTL: u16 = 18;
    pub(super) const OUTPUT_REG2: u16 = 32;
    pub(super) const LOAD2: u16 = 33;
    pub(super) const CONJUNCTION: u16 = 34;
    pub(super) const CT: u16 = 35;
    pub(super) const NAT: u16 = 36;
    pub(super) const CLONE: u16 = 42;
    pub(super) const CT_CLEAR: u16 = 43;
    pub(super) const RESUBMIT_TABLE_CT: u16 = 44;
    pub(super) const LEARN2: u16 = 45;
}

/// Instructions.
mod instruction {
    pub(super) const GOTO_TABLE: u16 = 1;
    pub(super) const WRITE_METADATA: u16 = 2;
    pub(super) const WRITE_ACTIONS: u16 = 3;
    pub(super) const APPLY_ACTIONS: u16 = 4;
    pub(super) const CLEAR_ACTIONS: u16 = 5;
    pub(super) const METER: u16 = 6;
}

/// A flow's actions as instructions.
pub fn write_instructions(
    actions: &[Action],
    ports: &Ports,
    out: &mut Writer,
) -> Result<(), CodecError> {
    let applied = actions.iter().filter(|action| !is_instruction(action));
    for meter in actions.iter().filter_map(|a| {
        if let Action::Meter(id) = a {
            Some(*id)
        } else {
            None
        }
    }) {
        out.u16(instruction::METER);
        out.u16(8);
        out.u32(meter);
    }
    let applied: Vec<&Action> = applied.collect();
    if !applied.is_empty() {
        write_action_instruction(instruction::APPLY_ACTIONS, applied, ports, out)?;
    }
    for action in actions {
        match action {
            Action::ClearActions => {
                out.u16(instruction::CLEAR_ACTIONS);
                out.u16(8);
                out.zeros(4);
            }
            Action::WriteActions(actions) => {
                write_action_instruction(instruction::WRITE_ACTIONS, actions, ports, out)?;
            }
            Action::WriteMetadata { value, mask } => {
                out.u16(instruction::WRITE_METADATA);
                out.u16(24);
                out.zeros(4);
                out.u64(*value);
                out.u64(*mask);
            }
            Action::GotoTable(table) => {
                out.u16(instruction::GOTO_TABLE);
                out.u16(8);
                out.u8(*table);
                out.zeros(3);
            }
            _ => {}
        }
    }
    Ok(())
}

fn is_instruction(action: &Action) -> bool {
    matches!(
        action,
        Action::Meter(_)
            | Action::ClearActions
            | Action::WriteActions(_)
            | Action::WriteMetadata { .. }
            | Action::GotoTable(_)
    )
}

fn write_action_instruction<'a>(
    kind: u16,
    actions: impl IntoIterator<Item = &'a Action>,
    ports: &Ports,
    out: &mut Writer,
) -> Result<(), CodecError> {
    let start = out.len();
    out.u16(kind);
    out.u16(0);
    out.zeros(4);
    for action in actions {
        write(action, ports, out)?;
    }
    let length = out.len() - start;
    out.set_u16(start + 2, length);
    Ok(())
}

/// Read instructions to the end.
pub fn read_instructions(mut from: Reader<'_>, ports: &Ports) -> Result<Vec<Action>, CodecError> {
    let mut actions = Vec::new();
    while !from.is_empty() {
        let kind = from.u16()?;
        let length = usize::from(from.u16()?);
        let mut body = from.take(length.checked_sub(4).ok_or(Short)?)?;
        match kind {
            instruction::METER => actions.push(Action::Meter(body.u32()?)),
            instruction::CLEAR_ACTIONS => actions.push(Action::ClearActions),
            instruction::GOTO_TABLE => actions.push(Action::GotoTable(body.u8()?)),
            instruction::APPLY_ACTIONS => {
                body.skip(4)?;
                actions.extend(read_all(body, ports)?);
            }
            instruction::WRITE_ACTIONS => {
                body.skip(4)?;
                actions.push(Action::WriteActions(read_all(body, ports)?));
            }
            instruction::WRITE_METADATA => {
                body.skip(4)?;
                let (value, mask) = (body.u64()?, body.u64()?);
                actions.push(Action::WriteMetadata { value, mask });
            }
            kind => actions.push(Action::Unknown(format!(
                "instruction {kind}:{}",
                hex(body.0)
            ))),
        }
    }
    Ok(actions)
}

/// Write one action with its header.
pub(super) fn write(action: &Action, ports: &Ports, out: &mut Writer) -> Result<(), CodecError> {
    let start = out.len();
    write_body(action, ports, out)?;
    out.pad8(start);
    let length = out.len() - start;
    out.set_u16(start + 2, length);
    Ok(())
}

fn head(kind: u16, out: &mut Writer) {
    out.u16(kind);
    out.u16(0);
}

fn nx_head(subtype: u16, out: &mut Writer) {
    head(of::EXPERIMENTER, out);
    out.u32(nx::VENDOR);
    out.u16(subtype);
}

/// A subfield's header as a number, the way Nicira's actions carry it.
pub(super) fn nxm(field: Field, out: &mut Writer) -> Result<(), CodecError> {
    header(field)?.write(false, out);
    Ok(())
}

fn offset_and_bits(part: Subfield) -> u16 {
    ((part.start as u16) << 6) | (part.bits as u16).saturating_sub(1)
}

fn write_body(action: &Action, ports: &Ports, out: &mut Writer) -> Result<(), CodecError> {
    match action {
        Action::Output(port) => {
            head(of::OUTPUT, out);
            out.u32(ports.number(port)?);
            out.u16(0);
            out.zeros(6);
        }
        Action::OutputField(part) => {
            nx_head(nx::OUTPUT_REG, out);
            out.u16(offset_and_bits(*part));
            nxm(part.field, out)?;
            out.u16(0xffff);
            out.zeros(6);
        }
        Action::Set {
            field, value, mask, ..
        } => write_set(*field, *value, *mask, out)?,
        Action::Move { src, dst } => {
            nx_head(nx::MOVE, out);
            out.u16(src.bits as u16);
            out.u16(src.start as u16);
            out.u16(dst.start as u16);
            nxm(src.field, out)?;
            nxm(dst.field, out)?;
        }
        Action::Resubmit { port, table, ct } => {
            nx_head(
                if *ct {
                    nx::RESUBMIT_TABLE_CT
                } else {
                    nx::RESUBMIT_TABLE
                },
                out,
            );
            out.u16(ports.short(port.as_ref().unwrap_or(&PortRef::InPort))?);
            out.u8(table.unwrap_or(0xff));
            out.zeros(3);
        }
        Action::Learn(learned) => {
            nx_head(
                if learn::is_extended(learned) {
                    nx::LEARN2
                } else {
                    nx::LEARN
                },
                out,
            );
            learn::write(learned, out)?;
        }
        Action::Ct(ct) => write_ct(ct, ports, out)?,
        Action::Nat(nat) => write_nat(nat, out)?,
        Action::Clone(actions) => {
            nx_head(nx::CLONE, out);
            out.zeros(6);
            actions
                .iter()
                .try_for_each(|action| write(action, ports, out))?;
        }
        simple => write_simple(simple, out)?,
    }
    Ok(())
}

/// Actions of one or two numbers.
fn write_simple(action: &Action, out: &mut Writer) -> Result<(), CodecError> {
    match action {
        Action::PushVlan(ethertype) => {
            head(of::PUSH_VLAN, out);
            out.u16(*ethertype);
        }
        Action::PushMpls(ethertype) => {
            head(of::PUSH_MPLS, out);
            out.u16(*ethertype);
        }
        Action::PopMpls(ethertype) => {
            head(of::POP_MPLS, out);
            out.u16(*ethertype);
        }
        Action::PopVlan(_) => head(of::POP_VLAN, out),
        Action::DecTtl => head(of::DEC_TTL, out),
        Action::DecMplsTtl => head(of::DEC_MPLS_TTL, out),
        Action::SetQueue(queue) => {
            head(of::SET_QUEUE, out);
            out.u32(*queue);
        }
        Action::Group(group) => {
            head(of::GROUP, out);
            out.u32(*group);
        }
        Action::Exit => nx_head(nx::EXIT, out),
        Action::CtClear => nx_head(nx::CT_CLEAR, out),
        Action::Conjunction { id, clause, of } => {
            nx_head(nx::CONJUNCTION, out);
            // On the wire clauses count from 0, in text from 1.
            out.u8(clause.saturating_sub(1));
            out.u8(*of);
            out.u32(*id);
        }
        // OpenFlow 1.4 has no such action: it is what the switch itself translates it to.
        Action::ModVlanVid(vlan) => {
            write_set(Field::VlanVid, u128::from(vlan | 0x1000), 0x1fff, out)?
        }
        Action::ModVlanPcp(pcp) => write_set(Field::VlanPcp, u128::from(*pcp), 7, out)?,
        other => return Err(CodecError::Unsayable(format!("{other:?}"))),
    }
    Ok(())
}

fn write_set(field: Field, value: u128, mask: u128, out: &mut Writer) -> Result<(), CodecError> {
    let header = header(field)?;
    let exact = mask == field.full_mask();
    // The standard action can't write some bits only.
    if exact {
        head(of::SET_FIELD, out);
    } else {
        nx_head(nx::LOAD2, out);
        out.zeros(6);
    }
    header.write(!exact, out);
    out.number(value, header.bytes.into());
    if !exact {
        out.number(mask, header.bytes.into());
    }
    Ok(())
}

fn write_ct(ct: &Ct, ports: &Ports, out: &mut Writer) -> Result<(), CodecError> {
    if let Some(unknown) = ct.unknown.first() {
        return Err(CodecError::Unsayable(format!("ct {unknown}")));
    }
    nx_head(nx::CT, out);
    out.u16(u16::from(ct.commit) | (u16::from(ct.force) << 1));
    match &ct.zone {
        Some(Zone::Field(part)) => {
            nxm(part.field, out)?;
            out.u16(offset_and_bits(*part));
        }
        Some(Zone::Number(zone)) => {
            out.u32(0);
            out.u16(*zone);
        }
        None => out.zeros(6),
    }
    out.u8(ct.table.unwrap_or(0xff));
    out.zeros(3);
    out.u16(match ct.alg.as_deref() {
        None => 0,
        Some("ftp") => 21,
        Some("tftp") => 69,
        Some(other) => return Err(CodecError::Unsayable(format!("ct alg {other}"))),
    });
    if let Some(nat) = &ct.nat {
        write(&Action::Nat(nat.clone()), ports, out)?;
    }
    ct.exec
        .iter()
        .try_for_each(|action| write(action, ports, out))
}

fn write_nat(nat: &Nat, out: &mut Writer) -> Result<(), CodecError> {
    if !nat.range.is_empty() {
        return Err(CodecError::Unsayable(format!("nat to {}", nat.range)));
    }
    nx_head(nx::NAT, out);
    out.zeros(2);
    let side = match nat.side {
        None => 0,
        Some(NatSide::Src) => 1,
        Some(NatSide::Dst) => 2,
    };
    let flag = |name: &str, bit: u16| {
        if nat.flags.iter().any(|flag| flag == name) {
            bit
        } else {
            0
        }
    };
    out.u16(side | flag("persistent", 4) | flag("hash", 8) | flag("random", 16));
    out.u16(0);
    Ok(())
}

/// Read actions to the end.
pub(super) fn read_all(mut from: Reader<'_>, ports: &Ports) -> Result<Vec<Action>, CodecError> {
    let mut actions = Vec::new();
    while !from.is_empty() {
        let whole = from.0;
        let kind = from.u16()?;
        let length = usize::from(from.u16()?);
        let body = from.take(length.checked_sub(4).ok_or(Short)?)?;
        let action = read_body(kind, body, ports)?;
        actions.push(action.unwrap_or_else(|| Action::Unknown(hex(&whole[..length]))));
    }
    Ok(actions)
}

fn read_body(kind: u16, mut body: Reader<'_>, ports: &Ports) -> Result<Option<Action>, CodecError> {
    Ok(Some(match kind {
        of::OUTPUT => Action::Output(ports.name(body.u32()?)),
        of::PUSH_VLAN => Action::PushVlan(body.u16()?),
        of::POP_VLAN => Action::PopVlan(Shown(Spelling::SetField)),
        of::PUSH_MPLS => Action::PushMpls(body.u16()?),
        of::POP_MPLS => Action::PopMpls(body.u16()?),
        of::DEC_TTL => Action::DecTtl,
        of::DEC_MPLS_TTL => Action::DecMplsTtl,
        of::SET_QUEUE => Action::SetQueue(body.u32()?),
        of::GROUP => Action::Group(body.u32()?),
        of::SET_FIELD => return read_set(&mut body),
        of::EXPERIMENTER if body.u32()? == nx::VENDOR => {
            let subtype = body.u16()?;
            return read_nx(subtype, body, ports);
        }
        _ => return Ok(None),
    }))
}

fn read_set(body: &mut Reader<'_>) -> Result<Option<Action>, CodecError> {
    let (header, masked) = Header::read(body)?;
    let bytes = header.bytes.into();
    let value = body.number(bytes)?;
    let mask = if masked {
        body.number(bytes)?
    } else {
        u128::MAX
    };
    Ok(header.field().map(|field| {
        let mask = mask & field.full_mask();
        Action::Set {
            field,
            value: value & mask,
            mask,
            spelling: Shown(Spelling::SetField),
        }
    }))
}

/// A field's header where a subfield begins.
pub(super) fn read_nxm(body: &mut Reader<'_>) -> Result<Option<Field>, CodecError> {
    Ok(Header::read(body)?.0.field())
}

fn part(field: Option<Field>, offset_and_bits: u16) -> Option<Subfield> {
    let (start, bits) = (
        u32::from(offset_and_bits >> 6),
        u32::from(offset_and_bits & 0x3f) + 1,
    );
    field.map(|field| Subfield { field, start, bits })
}

fn read_nx(
    subtype: u16,
    mut body: Reader<'_>,
    ports: &Ports,
) -> Result<Option<Action>, CodecError> {
    Ok(match subtype {
        nx::RESUBMIT | nx::RESUBMIT_TABLE | nx::RESUBMIT_TABLE_CT => {
            let port = ports.name_of_short(body.u16()?);
            let table = body.u8()?;
            Some(Action::Resubmit {
                port: (port != PortRef::InPort).then_some(port),
                table: (subtype != nx::RESUBMIT && table != 0xff).then_some(table),
                ct: subtype == nx::RESUBMIT_TABLE_CT,
            })
        }
        nx::MOVE => {
            let (bits, from, to) = (body.u16()?.into(), body.u16()?.into(), body.u16()?.into());
            let (src, dst) = (read_nxm(&mut body)?, read_nxm(&mut body)?);
            src.zip(dst).map(|(src, dst)| Action::Move {
                src: Subfield {
                    field: src,
                    start: from,
                    bits,
                },
                dst: Subfield {
                    field: dst,
                    start: to,
                    bits,
                },
            })
        }
        nx::LOAD => {
            let place = body.u16()?;
            let field = read_nxm(&mut body)?;
            let value = u128::from(body.u64()?);
            part(field, place).map(|part| {
                let mask = host::ovs::field::mask(part.bits) << part.start;
                let spelling = Shown(Spelling::Load);
                Action::Set {
                    field: part.field,
                    value: (value << part.start) & mask,
                    mask,
                    spelling,
                }
            })
        }
        nx::LOAD2 => {
            body.skip(6)?;
            read_set(&mut body)?
        }
        nx::OUTPUT_REG => {
            let place = body.u16()?;
            part(read_nxm(&mut body)?, place).map(Action::OutputField)
        }
        nx::OUTPUT_REG2 => {
            let place = body.u16()?;
            body.skip(2)?;
            part(read_nxm(&mut body)?, place).map(Action::OutputField)
        }
        nx::LEARN | nx::LEARN2 => learn::read(body, subtype == nx::LEARN2)?
            .map(|learned| Action::Learn(Box::new(learned))),
        nx::EXIT => Some(Action::Exit),
        nx::DEC_TTL => Some(Action::DecTtl),
        nx::CT_CLEAR => Some(Action::CtClear),
        nx::CONJUNCTION => {
            let (clause, of, id) = (body.u8()?.saturating_add(1), body.u8()?, body.u32()?);
            Some(Action::Conjunction { id, clause, of })
        }
        nx::CT => read_ct(body, ports)?,
        nx::NAT => read_nat(body)?,
        nx::CLONE => {
            body.skip(6)?;
            Some(Action::Clone(read_all(body, ports)?))
        }
        _ => None,
    })
}

fn read_ct(mut body: Reader<'_>, ports: &Ports) -> Result<Option<Action>, CodecError> {
    let flags = body.u16()?;
    let source = body.take(4)?;
    let place = body.u16()?;
    let table = body.u8()?;
    body.skip(3)?;
    let alg = body.u16()?;
    let zone = match source.0 {
        [0, 0, 0, 0] if place == 0 => None,
        [0, 0, 0, 0] => Some(Zone::Number(place)),
        mut bytes => {
            let field = read_nxm(&mut Reader(std::mem::take(&mut bytes)))?;
            let Some(part) = part(field, place) else {
                return Ok(None);
            };
            Some(Zone::Field(part))
        }
    };
    let mut ct = Ct {
        commit: flags & 1 != 0,
        force: flags & 2 != 0,
        table: (table != 0xff).then_some(table),
        zone,
        alg: match alg {
            21 => Some("ftp".to_owned()),
            69 => Some("tftp".to_owned()),
            _ => None,
        },
        ..Ct::default()
    };
    for action in read_all(body, ports)? {
        match action {
            Action::Nat(nat) => ct.nat = Some(nat),
            action => ct.exec.push(action),
        }
    }
    Ok(Some(Action::Ct(Box::new(ct))))
}

fn read_nat(mut body: Reader<'_>) -> Result<Option<Action>, CodecError> {
    body.skip(2)?;
    let (flags, range) = (body.u16()?, body.u16()?);
    if range != 0 {
        return Ok(None);
    }
    let side = match flags & 3 {
        1 => Some(NatSide::Src),
        2 => Some(NatSide::Dst),
        _ => None,
    };
    let names = [(4, "persistent"), (8, "hash"), (16, "random")];
    let set = names.iter().filter(|(bit, _)| flags & bit != 0);
    let flags = set.map(|(_, name)| (*name).to_owned()).collect();
    Ok(Some(Action::Nat(Nat {
        side,
        range: String::new(),
        flags,
    })))
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;

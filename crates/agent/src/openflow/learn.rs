//! The `learn` action on the wire: what a learned flow matches, writes and outputs to.
use host::ovs::{Learn, LearnSource, LearnSpec, Subfield};

use super::CodecError;
use super::action::{nxm, read_nxm};
use super::wire::{Reader, Writer};

const SEND_FLOW_REM: u16 = 1;
const DELETE_LEARNED: u16 = 2;

/// Does it need the newer form of the action?
pub(super) fn is_extended(learn: &Learn) -> bool {
    learn.limit.is_some() || learn.result_dst.is_some()
}

/// Everything after the action's header.
pub(super) fn write(learn: &Learn, out: &mut Writer) -> Result<(), CodecError> {
    if let Some(unknown) = learn.unknown.first() {
        return Err(CodecError::Unsayable(format!("learn {unknown}")));
    }
    if is_extended(learn) {
        return Err(CodecError::Unsayable(
            "learn with a limit or a result".to_owned(),
        ));
    }
    out.u16(learn.idle_timeout);
    out.u16(learn.hard_timeout);
    out.u16(learn.priority.unwrap_or(0x8000));
    out.u64(learn.cookie);
    let flag = |on: bool, bit: u16| if on { bit } else { 0 };
    out.u16(flag(learn.send_flow_rem, SEND_FLOW_REM) | flag(learn.delete_learned, DELETE_LEARNED));
    out.u8(learn.table);
    out.zeros(1);
    out.u16(learn.fin_idle_timeout);
    out.u16(learn.fin_hard_timeout);
    learn
        .specs
        .iter()
        .try_for_each(|spec| write_spec(spec, out))
}

/// A value of the learned flow, a field's content, or the port to send to.
const MATCH: u16 = 0;
const LOAD: u16 = 1 << 11;
const OUTPUT: u16 = 2 << 11;
const IMMEDIATE: u16 = 1 << 13;

fn write_spec(spec: &LearnSpec, out: &mut Writer) -> Result<(), CodecError> {
    match spec {
        LearnSpec::Match { dst, src } => write_pair(MATCH, *dst, src, out),
        LearnSpec::Load { dst, src } => write_pair(LOAD, *dst, src, out),
        LearnSpec::Output(part) => {
            out.u16(OUTPUT | part.bits as u16);
            place(*part, out)
        }
    }
}

fn place(part: Subfield, out: &mut Writer) -> Result<(), CodecError> {
    nxm(part.field, out)?;
    out.u16(part.start as u16);
    Ok(())
}

fn write_pair(
    kind: u16,
    dst: Subfield,
    src: &LearnSource,
    out: &mut Writer,
) -> Result<(), CodecError> {
    match src {
        LearnSource::Field(part) => {
            out.u16(kind | dst.bits as u16);
            place(*part, out)?;
        }
        LearnSource::Value(value) => {
            out.u16(kind | IMMEDIATE | dst.bits as u16);
            out.number(*value, (dst.bits as usize).div_ceil(16) * 2);
        }
    }
    place(dst, out)
}

/// Read what [`write`] wrote; `None` when a field in it is not known.
pub(super) fn read(mut body: Reader<'_>, extended: bool) -> Result<Option<Learn>, CodecError> {
    let mut learn = Learn {
        idle_timeout: body.u16()?,
        hard_timeout: body.u16()?,
        priority: Some(body.u16()?),
        cookie: body.u64()?,
        ..Learn::default()
    };
    let flags = body.u16()?;
    learn.send_flow_rem = flags & SEND_FLOW_REM != 0;
    learn.delete_learned = flags & DELETE_LEARNED != 0;
    learn.table = body.u8()?;
    body.skip(1)?;
    learn.fin_idle_timeout = body.u16()?;
    learn.fin_hard_timeout = body.u16()?;
    if extended {
        return Ok(None);
    }
    while body.0.len() >= 2 {
        let header = body.u16()?;
        if header == 0 {
            break;
        }
        match read_spec(header, &mut body)? {
            Some(spec) => learn.specs.push(spec),
            None => return Ok(None),
        }
    }
    Ok(Some(learn))
}

fn read_spec(header: u16, body: &mut Reader<'_>) -> Result<Option<LearnSpec>, CodecError> {
    let bits = u32::from(header & 0x7ff);
    let value = if header & IMMEDIATE != 0 {
        Some(LearnSource::Value(
            body.number((bits as usize).div_ceil(16) * 2)?,
        ))
    } else {
        read_place(bits, body)?.map(LearnSource::Field)
    };
    if header & (3 << 11) == OUTPUT {
        return Ok(match value {
            Some(LearnSource::Field(part)) => Some(LearnSpec::Output(part)),
            _ => None,
        });
    }
    let dst = read_place(bits, body)?;
    Ok(dst.zip(value).map(|(dst, src)| match header & (3 << 11) {
        LOAD => LearnSpec::Load { dst, src },
        _ => LearnSpec::Match { dst, src },
    }))
}

fn read_place(bits: u32, body: &mut Reader<'_>) -> Result<Option<Subfield>, CodecError> {
    let field = read_nxm(body)?;
    let start = body.u16()?.into();
    Ok(field.map(|field| Subfield { field, start, bits }))
}

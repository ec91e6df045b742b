//! How the value of a field is read and written, in matches and in `set_field`.
use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use super::field::{CT_STATE_BITS, Field, Form, TCP_FLAG_BITS};
use super::matches::Masked;
use crate::Mac;
use crate::text::number;

/// Read `value` or `value/mask`; `None` when it is no value of this field.
pub(super) fn parse(field: Field, text: &str) -> Option<Masked> {
    let full = field.full_mask();
    match field.info().form {
        Form::CtState => flags(text, &CT_STATE_BITS, full),
        Form::TcpFlags => flags(text, &TCP_FLAG_BITS, full),
        Form::Frag => frag(text).or_else(|| numeric(text, full, number)),
        Form::Mac => numeric(text, full, |t| {
            Some(u128::from(t.parse::<Mac>().ok()?.to_bits()))
        }),
        Form::Ip4 => ip4(text, full),
        Form::Ip6 => ip6(text),
        Form::Dec | Form::Hex | Form::Port => numeric(text, full, number),
    }
}

/// `value` or `value/mask`, both in the same writing.
fn numeric(text: &str, full: u128, one: impl Fn(&str) -> Option<u128>) -> Option<Masked> {
    let (value, mask) = match text.split_once('/') {
        Some((value, mask)) => (one(value)?, one(mask)?),
        None => (one(text)?, full),
    };
    (value <= full && mask <= full).then_some(Masked {
        value: value & mask,
        mask,
    })
}

fn ip4(text: &str, full: u128) -> Option<Masked> {
    let one = |t: &str| Some(u128::from(u32::from(t.parse::<Ipv4Addr>().ok()?)));
    let Some((value, mask)) = text.split_once('/') else {
        return numeric(text, full, one);
    };
    let mask = match mask.parse::<u32>() {
        Ok(prefix @ 0..=32) => full ^ (full >> prefix),
        Ok(_) => return None,
        Err(_) => one(mask)?,
    };
    Some(Masked {
        value: one(value)? & mask,
        mask,
    })
}

fn ip6(text: &str) -> Option<Masked> {
    let one = |t: &str| Some(u128::from(t.parse::<Ipv6Addr>().ok()?));
    let Some((value, mask)) = text.split_once('/') else {
        return numeric(text, u128::MAX, one);
    };
    let mask = match mask.parse::<u32>() {
        Ok(0) => 0,
        Ok(prefix @ 1..=128) => u128::MAX << (128 - prefix),
        Ok(_) => return None,
        Err(_) => one(mask)?,
    };
    Some(Masked {
        value: one(value)? & mask,
        mask,
    })
}

/// `+new-est`, `syn|ack`, or numbers.
fn flags(text: &str, names: &[&str], full: u128) -> Option<Masked> {
    let bit = |name: &str| Some(1u128 << names.iter().position(|n| *n == name)?);
    if text.starts_with(['+', '-']) {
        let mut bits = Masked { value: 0, mask: 0 };
        for (sign, name) in signed(text) {
            let bit = bit(name)?;
            bits.mask |= bit;
            if sign == '+' {
                bits.value |= bit;
            }
        }
        return Some(bits);
    }
    if let Some(bits) = numeric(text, full, number) {
        return Some(bits);
    }
    let mut value = 0;
    for name in text.split('|') {
        value |= bit(name)?;
    }
    Some(Masked { value, mask: full })
}

/// The parts of `+a-b+c`, each with its sign.
fn signed(text: &str) -> impl Iterator<Item = (char, &str)> {
    text.split_inclusive(['+', '-'])
        .scan('+', |sign, part| {
            let name = part.trim_end_matches(['+', '-']);
            let mine = *sign;
            *sign = part.chars().last().unwrap_or('+');
            Some((mine, name))
        })
        .skip(1)
}

const FRAGS: [(&str, Masked); 5] = [
    ("no", Masked { value: 0, mask: 3 }),
    ("yes", Masked { value: 1, mask: 1 }),
    ("first", Masked { value: 1, mask: 3 }),
    ("later", Masked { value: 3, mask: 3 }),
    ("not_later", Masked { value: 0, mask: 2 }),
];

fn frag(text: &str) -> Option<Masked> {
    FRAGS.iter().find(|(name, _)| *name == text).map(|f| f.1)
}

/// Write a value as a match shows it.
pub(super) fn print_match(out: &mut String, field: Field, bits: Masked) -> fmt::Result {
    let full = field.full_mask();
    let Masked { value, mask } = bits;
    let whole = mask == full;
    match field.info().form {
        Form::CtState if mask <= 0xff => print_flags(out, &CT_STATE_BITS, bits),
        Form::TcpFlags if whole => print_flag_list(out, value),
        Form::TcpFlags => print_flags(out, &TCP_FLAG_BITS, bits),
        Form::Frag => match FRAGS.iter().find(|(_, frag)| *frag == bits) {
            Some((name, _)) => out.write_str(name),
            None => write!(out, "{value:#x}/{mask:#x}"),
        },
        Form::Mac | Form::Ip4 | Form::Ip6 => print_address(out, field, bits),
        _ if !whole => write!(out, "{}/{}", hex(value), hex(mask)),
        Form::Dec | Form::Port => write!(out, "{value}"),
        Form::Hex | Form::CtState => out.write_str(&hex(value)),
    }
}

/// C's `%#x`: nothing is plain `0`.
pub(super) fn hex(value: u128) -> String {
    match value {
        0 => "0".to_owned(),
        value => format!("{value:#x}"),
    }
}

/// Write a value as `set_field` shows it.
pub(super) fn print_set(out: &mut String, field: Field, bits: Masked) -> fmt::Result {
    match field.info().form {
        Form::Mac | Form::Ip4 | Form::Ip6 => return print_address(out, field, bits),
        Form::Hex | Form::CtState | Form::TcpFlags | Form::Frag => {
            write!(out, "{:#x}", bits.value)?;
        }
        Form::Dec | Form::Port => write!(out, "{}", bits.value)?,
    }
    match bits.mask == field.full_mask() {
        true => Ok(()),
        false => write!(out, "/{:#x}", bits.mask),
    }
}

fn print_address(out: &mut String, field: Field, bits: Masked) -> fmt::Result {
    let full = field.full_mask();
    let width = field.info().bits;
    let one = |bits: u128| match field.info().form {
        Form::Mac => Mac::from_bits(bits as u64).to_string(),
        Form::Ip4 => Ipv4Addr::from(bits as u32).to_string(),
        _ => Ipv6Addr::from(bits).to_string(),
    };
    out.write_str(&one(bits.value))?;
    if bits.mask == full {
        return Ok(());
    }
    let prefix = (bits.mask << (128 - width)).leading_ones();
    let contiguous = bits.mask.count_ones() == prefix;
    match contiguous && field.info().form != Form::Mac {
        true => write!(out, "/{prefix}"),
        false => write!(out, "/{}", one(bits.mask)),
    }
}

fn print_flags(out: &mut String, names: &[&str], bits: Masked) -> fmt::Result {
    for (n, name) in names.iter().enumerate() {
        let bit = 1 << n;
        if bits.mask & bit != 0 {
            out.push(if bits.value & bit != 0 { '+' } else { '-' });
            out.push_str(name);
        }
    }
    Ok(())
}

fn print_flag_list(out: &mut String, value: u128) -> fmt::Result {
    if value == 0 {
        return out.write_str("0");
    }
    let set: Vec<&str> = (0..TCP_FLAG_BITS.len())
        .filter(|n| value & (1 << n) != 0)
        .map(|n| TCP_FLAG_BITS[n])
        .collect();
    out.write_str(&set.join("|"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(field: Field, text: &str) -> String {
        let mut out = String::new();
        print_match(&mut out, field, parse(field, text).expect(text)).unwrap();
        out
    }

    #[test]
    fn values_read_as_they_are_written() {
        for (field, text) in [
            (Field::CtState, "+est-rel-rpl"),
            (Field::CtState, "-new-est+rel-inv"),
            (Field::TcpFlags, "+syn-ack"),
            (Field::TcpFlags, "syn|ack"),
            (Field::IpFrag, "later"),
            (Field::EthDst, "01:00:00:00:00:00/01:00:00:00:00:00"),
            (Field::IpSrc, "10.0.0.0/8"),
            (Field::IpSrc, "10.0.0.1/255.0.0.255"),
            (Field::Ipv6Dst, "fe80::/10"),
            (Field::TpDst, "0x1f40/0xffc0"),
            (Field::CtMark, "0"),
            (Field::Reg3, "0x1/0xf"),
        ] {
            assert_eq!(both(field, text), text);
        }
    }

    #[test]
    fn other_spellings_become_one() {
        assert_eq!(both(Field::IpSrc, "10.0.0.9/255.0.0.0"), "10.0.0.0/8");
        assert_eq!(both(Field::CtState, "0x21/0x21"), "+new+trk");
        assert_eq!(both(Field::Reg0, "16"), "0x10");
        assert_eq!(parse(Field::IpSrc, "10.0.0.1/33"), None);
        assert_eq!(parse(Field::TpDst, "70000"), None);
        assert_eq!(parse(Field::CtState, "+no_such"), None);
    }
}

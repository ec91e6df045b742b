//! Writing JSON straight into bytes: an answer of thousands of resources is never a tree first.

use std::{
    fmt::{Display, Write as _},
    net::IpAddr,
};

use serde::Serialize;

/// A buffer that knows whether a comma is due.
#[derive(Debug, Default)]
pub struct Json {
    pub bytes: Vec<u8>,
}

impl Json {
    pub fn new() -> Self {
        Self::default()
    }

    /// With room for one resource as answers show it, so that the buffer need not grow to it.
    pub fn with_room() -> Self {
        Self {
            bytes: Vec::with_capacity(2_048),
        }
    }

    fn comma(&mut self) {
        if !matches!(self.bytes.last(), None | Some(b'{' | b'[' | b':')) {
            self.bytes.push(b',');
        }
    }

    pub fn open(&mut self, bracket: u8) {
        self.comma();
        self.bytes.push(bracket);
    }

    pub fn close(&mut self, bracket: u8) {
        self.bytes.push(bracket);
    }

    /// A name that needs no escaping: attribute names are ours.
    pub fn key(&mut self, name: &str) {
        self.comma();
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b"\":");
    }

    pub fn raw(&mut self, text: &str) {
        self.comma();
        self.bytes.extend_from_slice(text.as_bytes());
    }

    pub fn null(&mut self) {
        self.raw("null");
    }

    pub fn bool(&mut self, value: bool) {
        self.raw(if value { "true" } else { "false" });
    }

    pub fn number(&mut self, value: impl Display) {
        self.comma();
        let _ = write!(Raw(&mut self.bytes), "{value}");
    }

    /// Any text.
    pub fn text(&mut self, value: &str) {
        self.comma();
        // Without an early end, so that many bytes are looked at in one step.
        let special = value.bytes().fold(false, |found, byte| {
            found | (byte < 0x20) | (byte == b'"') | (byte == b'\\')
        });
        if special {
            self.encode(&value);
        } else {
            self.quoted(value.as_bytes());
        }
    }

    fn quoted(&mut self, plain: &[u8]) {
        self.bytes.push(b'"');
        self.bytes.extend_from_slice(plain);
        self.bytes.push(b'"');
    }

    /// As [`Json::show`], in less time: lists of ports are full of them.
    pub fn address(&mut self, address: IpAddr) {
        let IpAddr::V4(address) = address else {
            return self.show(address);
        };
        self.comma();
        self.bytes.push(b'"');
        for (place, part) in address.octets().into_iter().enumerate() {
            if place > 0 {
                self.bytes.push(b'.');
            }
            if part > 99 {
                self.bytes.push(b'0' + part / 100);
            }
            if part > 9 {
                self.bytes.push(b'0' + part / 10 % 10);
            }
            self.bytes.push(b'0' + part % 10);
        }
        self.bytes.push(b'"');
    }

    /// Something whose printed form needs no escaping: ids, addresses, moments.
    pub fn show(&mut self, value: impl Display) {
        self.comma();
        self.bytes.push(b'"');
        let _ = write!(Raw(&mut self.bytes), "{value}");
        self.bytes.push(b'"');
    }

    pub fn show_or_null(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.show(value),
            None => self.null(),
        }
    }

    pub fn text_or_null(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.text(value),
            None => self.null(),
        }
    }

    pub fn number_or_null(&mut self, value: Option<impl Display>) {
        match value {
            Some(value) => self.number(value),
            None => self.null(),
        }
    }

    pub fn list<T>(
        &mut self,
        items: impl IntoIterator<Item = T>,
        mut each: impl FnMut(&mut Self, T),
    ) {
        self.open(b'[');
        let mut items = items.into_iter();
        let begun = self.bytes.len();
        if let Some(first) = items.next() {
            each(self, first);
        }
        // Those that follow are about as long: the buffer grows once.
        let length = self.bytes.len() - begun;
        self.bytes
            .reserve(items.size_hint().0 * (length + length / 8));
        for item in items {
            each(self, item);
        }
        self.close(b']');
    }

    pub fn shows<T: Display>(&mut self, items: impl IntoIterator<Item = T>) {
        self.list(items, |out, item| out.show(item));
    }

    pub fn texts<'a>(&mut self, items: impl IntoIterator<Item = &'a str>) {
        self.list(items, Self::text);
    }

    /// Anything that serde can write.
    pub fn value(&mut self, value: &impl Serialize) {
        self.comma();
        self.encode(value);
    }

    fn encode(&mut self, value: &impl Serialize) {
        // Writing into memory fails for no value that the nouns hold: their maps have text keys.
        let _ = serde_json::to_writer(&mut self.bytes, value);
    }
}

struct Raw<'a>(&'a mut Vec<u8>);

impl std::fmt::Write for Raw<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

/// The items of a JSON list of scalars that [`Json`] wrote: without spaces, and no item is nested.
#[derive(Debug)]
pub struct Scalars<'a>(&'a [u8]);

impl<'a> Scalars<'a> {
    pub fn of(list: &'a [u8]) -> Self {
        let inner = list.strip_prefix(b"[").and_then(|it| it.strip_suffix(b"]"));
        Self(inner.unwrap_or_default())
    }
}

impl<'a> Iterator for Scalars<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.0.is_empty() {
            return None;
        }
        let mut quoted = false;
        let mut escaped = false;
        let end = self.0.iter().position(|byte| {
            let ends = *byte == b',' && !quoted;
            quoted ^= *byte == b'"' && !escaped;
            escaped = *byte == b'\\' && !escaped;
            ends
        });
        let (item, rest) = self.0.split_at(end.unwrap_or(self.0.len()));
        self.0 = rest.get(1..).unwrap_or_default();
        Some(item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_json() {
        let mut out = Json::new();
        out.open(b'{');
        out.key("a");
        out.texts(["x", "quo\"te\n"]);
        out.key("b");
        out.open(b'{');
        out.close(b'}');
        out.key("c");
        out.number(7);
        out.key("d");
        out.value(&[1, 2]);
        out.close(b'}');
        let read: serde_json::Value = serde_json::from_slice(&out.bytes).expect("JSON");
        assert_eq!(
            read,
            serde_json::json!({"a": ["x", "quo\"te\n"], "b": {}, "c": 7, "d": [1, 2]})
        );
    }

    #[test]
    fn an_address_is_written_as_it_is_shown() {
        for text in ["0.0.0.0", "10.99.100.255", "192.168.7.19", "fd00:1::f816"] {
            let address: IpAddr = text.parse().expect("an address");
            let mut out = Json::new();
            out.address(address);
            assert_eq!(out.bytes, format!("\"{address}\"").into_bytes());
        }
    }

    #[test]
    fn a_list_of_scalars_comes_apart_again() {
        let mut out = Json::new();
        out.texts(["a", "b,c", "d\"e\\"]);
        let items: Vec<String> = Scalars::of(&out.bytes)
            .map(|item| serde_json::from_slice(item).expect("JSON"))
            .collect();
        assert_eq!(items, ["a", "b,c", "d\"e\\"]);
        assert_eq!(Scalars::of(b"[]").count(), 0);
    }
}

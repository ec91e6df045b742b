//! Cutting a stream of bytes into JSON values. OVSDB sends them one after the other without
//! length or separator: a value ends where its outermost bracket closes, wherever reads end.

/// Collects bytes and gives whole values.
#[derive(Debug, Default)]
pub struct Framer {
    buffer: Vec<u8>,
    /// Up to where the buffer was looked at.
    seen: usize,
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Framer {
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole value, if it has arrived.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        while let Some(byte) = self.buffer.get(self.seen).copied() {
            self.seen += 1;
            if self.ends(byte) {
                let rest = self.buffer.split_off(self.seen);
                self.seen = 0;
                return Some(std::mem::replace(&mut self.buffer, rest));
            }
        }
        None
    }

    /// Does this byte end the value?
    fn ends(&mut self, byte: u8) -> bool {
        match byte {
            _ if self.escaped => self.escaped = false,
            b'\\' if self.quoted => self.escaped = true,
            b'"' => self.quoted = !self.quoted,
            _ if self.quoted => {}
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                return self.depth == 0;
            }
            _ => {}
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(framer: &mut Framer) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| framer.take()).collect()
    }

    proptest! {
        #[test]
        fn values_are_the_same_however_reads_cut_them(
            texts in prop::collection::vec("[a-z\"\\\\{}\\[\\]]{0,12}", 0..5),
            cuts in prop::collection::vec(1usize..9, 1..40),
        ) {
            let values: Vec<Vec<u8>> = texts
                .iter()
                .map(|text| serde_json::json!({"k": [text, {"x": text}]}).to_string().into_bytes())
                .collect();
            let stream = values.concat();
            let mut framer = Framer::default();
            let (mut found, mut at) = (Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(stream.len());
                framer.push(&stream[at..end]);
                found.extend(all(&mut framer));
                at = end;
                if at == stream.len() { break; }
            }
            prop_assert_eq!(found, values);
        }
    }
}

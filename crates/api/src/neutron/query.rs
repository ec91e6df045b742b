//! Query strings: pairs in order, as links of pages give them back.

/// The pairs of a query string, in order, decoded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name, true), decode(value, true))
        });
        Self(decoded.collect())
    }

    pub fn first(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let found = self.0.iter().filter(move |(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }
}

impl std::fmt::Display for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let joint = if index == 0 { "" } else { "&" };
            write!(f, "{joint}{}={}", encode(name), encode(value))?;
        }
        Ok(())
    }
}

/// Percent-decoding; bytes that are no UTF-8 become the replacement character, which no name has.
pub fn decode(text: &str, plus_is_space: bool) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let escaped = (byte == b'%').then(|| hex(bytes, at)).flatten();
        at += if escaped.is_some() { 3 } else { 1 };
        out.push(match (byte, escaped) {
            (_, Some(value)) => value,
            (b'+', _) if plus_is_space => b' ',
            (byte, None) => byte,
        });
    }
    String::from_utf8(out)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn hex(bytes: &[u8], at: usize) -> Option<u8> {
    let digits = std::str::from_utf8(bytes.get(at + 1..at + 3)?).ok()?;
    let plain = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_keep_their_order_and_repeat() {
        let query = Query::parse("fields=id&fields=name&router%3Aexternal=true&x&y=a+b%zz");
        assert_eq!(query.all("fields").collect::<Vec<_>>(), ["id", "name"]);
        assert_eq!(query.first("router:external"), Some("true"));
        assert_eq!(query.first("x"), Some(""));
        assert_eq!(query.first("y"), Some("a b%zz"));
    }

    proptest! {
        #[test]
        fn printing_and_parsing_agree(
            pairs in proptest::collection::vec(("\\PC{1,8}", "\\PC{0,8}"), 0..5)
        ) {
            let query = Query(pairs);
            prop_assert_eq!(Query::parse(&query.to_string()), query);
        }
    }
}

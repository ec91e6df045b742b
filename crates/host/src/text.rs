//! What all parsers share: an error that says where, and a cursor over one line.
use std::fmt::Display;

/// Text that is not of the form it should be, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {message}")]
pub struct ParseError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl ParseError {
    /// An error at a byte offset of a line; line and column count from 1.
    pub fn new(line: usize, offset: usize, message: impl Display) -> ParseError {
        ParseError {
            line,
            column: offset + 1,
            message: message.to_string(),
        }
    }

    /// The same error, on another line: parsers of one line know only line 1.
    #[must_use]
    pub fn on_line(mut self, line: usize) -> ParseError {
        self.line = line;
        self
    }

    /// The same error, further right: a part was parsed on its own.
    #[must_use]
    pub fn shifted(mut self, by: usize) -> ParseError {
        self.column += by;
        self
    }
}

/// The lines of a text with their numbers from 1, without line ends, empty ones left out.
pub fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line.trim_end()))
        .filter(|(_, line)| !line.is_empty())
}

/// A word of a line and the byte where it starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word<'a> {
    pub at: usize,
    pub text: &'a str,
}

impl Word<'_> {
    /// The word as any type, or an error that points at it.
    pub fn parse<T: std::str::FromStr>(&self, what: &str) -> Result<T, ParseError> {
        self.text
            .parse()
            .map_err(|_| self.error(format!("'{}' is not {what}", self.text)))
    }

    pub fn error(&self, message: impl Display) -> ParseError {
        ParseError::new(1, self.at, message)
    }
}

/// The words of one line, taken from the left.
#[derive(Clone, Debug)]
pub struct Words<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Words<'a> {
    pub fn new(line: &'a str) -> Words<'a> {
        Words { line, at: 0 }
    }

    /// The next word, or an error that says what is missing.
    pub fn need(&mut self, what: &str) -> Result<Word<'a>, ParseError> {
        self.next()
            .ok_or_else(|| ParseError::new(1, self.line.len(), format!("{what} is missing")))
    }

    /// The next word without taking it.
    pub fn peek(&self) -> Option<Word<'a>> {
        self.clone().next()
    }

    /// Take the next word when it is this one.
    pub fn accept(&mut self, text: &str) -> bool {
        let is_next = self.peek().is_some_and(|word| word.text == text);
        if is_next {
            self.next();
        }
        is_next
    }

    /// Everything that was not yet taken.
    pub fn rest(&self) -> &'a str {
        self.line[self.at..].trim()
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = Word<'a>;

    fn next(&mut self) -> Option<Word<'a>> {
        let tail = &self.line[self.at..];
        let start = self.at + tail.find(|c: char| !c.is_whitespace())?;
        let tail = &self.line[start..];
        let end = start + tail.find(char::is_whitespace).unwrap_or(tail.len());
        self.at = end;
        Some(Word {
            at: start,
            text: &self.line[start..end],
        })
    }
}

/// A number in decimal, or in hexadecimal after `0x`.
pub fn number(text: &str) -> Option<u128> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) if !hex.starts_with('+') => u128::from_str_radix(hex, 16).ok(),
        Some(_) => None,
        None if text.starts_with('+') => None,
        None => text.parse().ok(),
    }
}

/// Split at a separator that is not inside brackets or double quotes; each part with its offset.
pub fn split_outside(text: &str, separator: char) -> Vec<Word<'_>> {
    let mut parts = Vec::new();
    let (mut depth, mut quoted, mut escaped, mut start) = (0usize, false, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ if c == separator && depth == 0 => {
                parts.push(Word {
                    at: start,
                    text: &text[start..at],
                });
                start = at + c.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(Word {
        at: start,
        text: &text[start..],
    });
    parts
}

/// Take double quotes off and undo their backslashes; other text is given back as it is.
pub fn unquote(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|t| t.strip_suffix('"'))
        .filter(|_| text.len() >= 2);
    let Some(inner) = inner else {
        return text.to_owned();
    };
    let mut out = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// Put double quotes round a text, with backslashes where they are needed.
pub fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_know_where_they_stand() {
        let mut words = Words::new("  ab  c ");
        assert_eq!(words.next(), Some(Word { at: 2, text: "ab" }));
        assert!(words.accept("c") && words.peek().is_none());
        assert_eq!(
            words.need("a dev").unwrap_err().to_string(),
            "line 1, column 9: a dev is missing"
        );
    }

    #[test]
    fn brackets_and_quotes_hide_separators() {
        let parts: Vec<_> = split_outside(r#"a(b,c),"d,\",e",f"#, ',')
            .iter()
            .map(|w| w.text)
            .collect();
        assert_eq!(parts, ["a(b,c)", r#""d,\",e""#, "f"]);
    }

    #[test]
    fn quoting_is_undone() {
        for text in ["", "a", "a\"b\\c", "\\"] {
            assert_eq!(unquote(&quote(text)), text);
        }
        assert_eq!(unquote("\""), "\"");
        assert_eq!(number("0x1f"), Some(31));
        assert_eq!(number("+1"), None);
    }
}

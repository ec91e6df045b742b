//! A rule's options as words: quotes undone, each word with its place.
use crate::ParseError;

/// One word of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) text: String,
}

impl Token {
    pub(super) fn error(&self, message: impl std::fmt::Display) -> ParseError {
        ParseError::new(1, self.at, message)
    }
}

/// Cut a line into words. Double quotes hold blanks; a backslash in them keeps the next character.
pub(super) fn tokens(line: &str) -> Result<Vec<Token>, ParseError> {
    let mut out: Vec<Token> = Vec::new();
    let mut current: Option<Token> = None;
    let (mut quoted, mut escaped) = (None, false);
    for (at, c) in line.char_indices() {
        if quoted.is_none() && c.is_whitespace() {
            out.extend(current.take());
            continue;
        }
        let token = current.get_or_insert(Token {
            at,
            text: String::new(),
        });
        match c {
            _ if escaped => {
                escaped = false;
                token.text.push(c);
            }
            '\\' if quoted.is_some() => escaped = true,
            '"' => quoted = quoted.xor(Some(at)),
            c => token.text.push(c),
        }
    }
    if let Some(at) = quoted {
        return Err(ParseError::new(1, at, "a quote is not closed"));
    }
    out.extend(current);
    Ok(out)
}

/// A word of names and numbers as iptables-save writes it: in quotes only when it has to be.
pub(super) fn word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_graphic() && !"\"'\\`".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => quote(text),
    }
}

/// Free text as iptables-save writes it: in quotes when it has more than letters, digits, `_`, `-`.
pub(super) fn free_text(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => quote(text),
    }
}

fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\'' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// Words taken one after the other.
#[derive(Debug)]
pub(super) struct Tokens {
    rest: std::vec::IntoIter<Token>,
    end: usize,
}

impl Tokens {
    pub(super) fn new(line: &str) -> Result<Tokens, ParseError> {
        Ok(Tokens {
            rest: tokens(line)?.into_iter(),
            end: line.len(),
        })
    }

    pub(super) fn peek(&self) -> Option<&str> {
        self.rest.as_slice().first().map(|t| t.text.as_str())
    }

    /// The word after the next one.
    pub(super) fn peek_second(&self) -> Option<&str> {
        self.rest.as_slice().get(1).map(|t| t.text.as_str())
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        self.rest.next()
    }

    pub(super) fn need(&mut self, what: &str) -> Result<Token, ParseError> {
        let end = self.end;
        self.rest
            .next()
            .ok_or_else(|| ParseError::new(1, end, format!("{what} is missing")))
    }

    /// The next word through a reader of values, or an error that points at it.
    pub(super) fn value<T>(
        &mut self,
        what: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ParseError> {
        let token = self.need(what)?;
        read(&token.text).ok_or_else(|| token.error(format!("'{}' is not {what}", token.text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        let texts: Vec<String> = tokens(r#"-m comment --comment "a \"b\" c" x"#)
            .unwrap()
            .into_iter()
            .map(|t| t.text)
            .collect();
        assert_eq!(texts, ["-m", "comment", "--comment", r#"a "b" c"#, "x"]);
        assert_eq!(
            tokens("a \"b").unwrap_err().to_string(),
            "line 1, column 3: a quote is not closed"
        );
        assert_eq!(word("a b"), "\"a b\"");
        assert_eq!(word(""), "\"\"");
    }
}

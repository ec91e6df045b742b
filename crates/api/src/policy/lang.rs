//! The language of oslo.policy: rules as text, as operators write them in `policy.yaml`.
//!
//! ```text
//! rule  = and ("or" and)*        @  always        role:NAME      the caller has the role
//! and   = not ("and" not)*       !  never         rule:NAME      another rule, by name
//! not   = "not"? check | "(" rule ")"             field:KIND:ATTR=VALUE, =~REGEX
//!                                                 WHAT:%(ATTR)s  caller and target agree
//! ```

use std::fmt;

use super::Regex;

/// A rule, parsed.
#[derive(Debug, Clone, PartialEq)]
pub enum Check {
    Always,
    Never,
    Not(Box<Check>),
    And(Vec<Check>),
    Or(Vec<Check>),
    Rule(String),
    Role(String),
    /// An attribute of the target has this value.
    Field {
        attr: String,
        value: Wanted,
    },
    /// What the left side says is what the target, or the text, says.
    Same {
        left: Left,
        target: Side,
    },
}

/// The left side of a comparison, as it was written.
#[derive(Debug, Clone, PartialEq)]
pub enum Left {
    /// What the caller has under this name; nobody has what has no name here.
    Caller(String),
    /// Python's own values stand for themselves: `'text'`, `7`, `True`, `False`, `None`.
    Literal(String),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    Text(String),
    Like(Regex),
}

/// The right side of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Side {
    Text(String),
    /// `%(name)s`
    Attr(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRule {
    #[error("'{0}' is no check: it is KIND:VALUE, @ or !")]
    NoCheck(String),
    #[error("'{0}' asks another server over HTTP, which is not done here")]
    Remote(String),
    #[error("a rule ends where a check should be")]
    Short,
    #[error("'{0}' should not be there")]
    Extra(String),
    #[error("'{0}' is no regular expression")]
    Regex(String),
}

/// Parses one rule. The empty rule lets everybody pass.
pub fn parse(text: &str) -> Result<Check, BadRule> {
    if text.trim().is_empty() {
        return Ok(Check::Always);
    }
    let words = words(text);
    let mut parser = Parser { words: &words };
    let check = parser.rule()?;
    match parser.words.first() {
        None => Ok(check),
        Some(extra) => Err(BadRule::Extra(extra.clone())),
    }
}

/// Words, with brackets as words of their own. A bracket inside `%(name)s` belongs to its word.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for chunk in text.split_whitespace() {
        let inner = chunk.trim_start_matches('(');
        words.extend((inner.len()..chunk.len()).map(|_| "(".to_owned()));
        let core = inner.trim_end_matches(')');
        if !core.is_empty() {
            words.push(core.to_owned());
        }
        words.extend((core.len()..inner.len()).map(|_| ")".to_owned()));
    }
    words
}

struct Parser<'a> {
    words: &'a [String],
}

impl Parser<'_> {
    fn next_is(&mut self, word: &str) -> bool {
        let found = self
            .words
            .first()
            .is_some_and(|first| first.eq_ignore_ascii_case(word));
        if found {
            self.words = &self.words[1..];
        }
        found
    }

    fn rule(&mut self) -> Result<Check, BadRule> {
        let mut any = vec![self.all()?];
        while self.next_is("or") {
            any.push(self.all()?);
        }
        Ok(one_or(any, Check::Or))
    }

    fn all(&mut self) -> Result<Check, BadRule> {
        let mut all = vec![self.term()?];
        while self.next_is("and") {
            all.push(self.term()?);
        }
        Ok(one_or(all, Check::And))
    }

    fn term(&mut self) -> Result<Check, BadRule> {
        if self.next_is("not") {
            return Ok(Check::Not(Box::new(self.term()?)));
        }
        if self.next_is("(") {
            let inner = self.rule()?;
            return if self.next_is(")") {
                Ok(inner)
            } else {
                Err(BadRule::Short)
            };
        }
        let (word, rest) = self.words.split_first().ok_or(BadRule::Short)?;
        self.words = rest;
        check(word)
    }
}

fn one_or(mut checks: Vec<Check>, many: fn(Vec<Check>) -> Check) -> Check {
    if checks.len() == 1 {
        return checks.remove(0);
    }
    many(checks)
}

fn check(word: &str) -> Result<Check, BadRule> {
    match word {
        "@" => return Ok(Check::Always),
        "!" => return Ok(Check::Never),
        _ => {}
    }
    let (kind, value) = word
        .split_once(':')
        .ok_or_else(|| BadRule::NoCheck(word.to_owned()))?;
    Ok(match kind {
        "rule" => Check::Rule(value.to_owned()),
        "role" => Check::Role(value.to_lowercase()),
        "http" | "https" => return Err(BadRule::Remote(word.to_owned())),
        "field" => field(word, value)?,
        kind => Check::Same {
            left: left(kind),
            target: side(value),
        },
    })
}

fn left(kind: &str) -> Left {
    let is_number = !kind.is_empty() && kind.bytes().all(|byte| byte.is_ascii_digit());
    match unquoted(kind) {
        Some(text) => Left::Literal(text.to_owned()),
        None if is_number || matches!(kind, "True" | "False" | "None") => {
            Left::Literal(kind.to_owned())
        }
        None => Left::Caller(kind.to_owned()),
    }
}

fn unquoted(text: &str) -> Option<&str> {
    let inside = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inside('\'').or_else(|| inside('"'))
}

/// The older form of rules: a list of lists, whose checks all must be met; one list is enough.
pub(super) fn parse_list(lists: &[Vec<String>]) -> Result<Check, BadRule> {
    if lists.is_empty() {
        return Ok(Check::Always);
    }
    let mut any = Vec::new();
    for list in lists.iter().filter(|list| !list.is_empty()) {
        let all: Result<Vec<Check>, BadRule> = list.iter().map(|word| check(word)).collect();
        any.push(one_or(all?, Check::And));
    }
    Ok(match any.is_empty() {
        true => Check::Never,
        false => one_or(any, Check::Or),
    })
}

fn side(value: &str) -> Side {
    match value
        .strip_prefix("%(")
        .and_then(|it| it.strip_suffix(")s"))
    {
        Some(name) => Side::Attr(name.to_owned()),
        None => Side::Text(unquoted(value).unwrap_or(value).to_owned()),
    }
}

/// `KIND:ATTR=VALUE`; the kind says nothing that the rule's place does not.
fn field(word: &str, text: &str) -> Result<Check, BadRule> {
    let (_, rest) = text
        .split_once(':')
        .ok_or_else(|| BadRule::NoCheck(word.to_owned()))?;
    let (attr, value) = rest
        .split_once('=')
        .ok_or_else(|| BadRule::NoCheck(word.to_owned()))?;
    let value = match value.strip_prefix('~') {
        Some(pattern) => {
            Wanted::Like(Regex::new(pattern).ok_or_else(|| BadRule::Regex(pattern.to_owned()))?)
        }
        None => Wanted::Text(value.to_owned()),
    };
    Ok(Check::Field {
        attr: attr.to_owned(),
        value,
    })
}

/// As oslo prints rules: Neutron's refusals quote the rule that was not met.
impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, checks: &[Check], word: &str| {
            let texts: Vec<String> = checks.iter().map(ToString::to_string).collect();
            write!(f, "({})", texts.join(word))
        };
        match self {
            Self::Always => f.write_str("@"),
            Self::Never => f.write_str("!"),
            Self::Not(inner) => write!(f, "not {inner}"),
            Self::And(checks) => list(f, checks, " and "),
            Self::Or(checks) => list(f, checks, " or "),
            Self::Rule(name) => write!(f, "rule:{name}"),
            Self::Role(name) => write!(f, "role:{name}"),
            Self::Field { attr, value } => match value {
                Wanted::Text(text) => write!(f, "field:{attr}={text}"),
                Wanted::Like(regex) => write!(f, "field:{attr}=~{regex}"),
            },
            Self::Same { left, target } => match target {
                Side::Text(text) => write!(f, "{left}:{text}"),
                Side::Attr(name) => write!(f, "{left}:%({name})s"),
            },
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Caller(text) | Self::Literal(text)) = self;
        f.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn and_binds_tighter_than_or() {
        let check = parse("rule:a or role:Member and not (rule:b or @)").expect("a rule");
        assert_eq!(
            check.to_string(),
            "(rule:a or (role:member and not (rule:b or @)))"
        );
    }

    #[test]
    fn brackets_of_a_template_belong_to_it() {
        let check = parse("(role:reader and project_id:%(network:project_id)s)").expect("a rule");
        assert_eq!(
            check.to_string(),
            "(role:reader and project_id:%(network:project_id)s)"
        );
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_word_that_is_wrong() {
        assert_eq!(parse("a and"), Err(BadRule::NoCheck("a".into())));
        assert_eq!(parse("rule:a and"), Err(BadRule::Short));
        assert_eq!(parse("rule:a rule:b"), Err(BadRule::Extra("rule:b".into())));
        assert_eq!(
            parse("http://x/y"),
            Err(BadRule::Remote("http://x/y".into()))
        );
        assert_eq!(parse(""), Ok(Check::Always));
    }

    proptest! {
        #[test]
        fn any_text_is_a_rule_or_an_error(text in "[a-z:%()!@=~ ]{0,40}") {
            let _ = parse(&text);
        }
    }
}

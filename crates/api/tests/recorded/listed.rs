//! The closed lists of `docs/compatibility.md`: what may differ from a real Neutron, and where.
//!
//! A list fails both ways: a difference that no row covers, and a row that covers none.

// Each test reads its own tables.
#![allow(dead_code)]

use std::{
    cell::Cell,
    fmt::{self, Display},
};

use serde_json::Value;

const COMPATIBILITY: &str = include_str!("../../../../docs/compatibility.md");

/// One table, below its heading; the last column is the reason, for people.
#[derive(Debug)]
pub(crate) struct Listed {
    heading: &'static str,
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    /// The columns in backticks.
    patterns: Vec<String>,
    met: Cell<bool>,
}

impl Listed {
    pub(crate) fn under(heading: &'static str) -> Self {
        let rows = rows(heading);
        let patterns = |line: &str| {
            let quoted = line.split(" | ").filter_map(|cell| {
                let cell = cell.trim_start_matches("| ").trim();
                Some(cell.strip_prefix('`')?.strip_suffix('`')?.to_owned())
            });
            quoted.collect()
        };
        let rows = rows.map(|line| Row {
            patterns: patterns(line),
            met: Cell::new(false),
        });
        let rows: Vec<Row> = rows.collect();
        assert!(!rows.is_empty(), "no rows under {heading}");
        Self { heading, rows }
    }

    /// Whether a row is about these words. Every row that is has been met with.
    pub(crate) fn covers(&self, words: &[&str]) -> bool {
        let mut covered = false;
        for row in &self.rows {
            let pairs = row.patterns.iter().zip(words);
            if row.patterns.len() == words.len()
                && pairs.into_iter().all(|(pattern, word)| like(pattern, word))
            {
                row.met.set(true);
                covered = true;
            }
        }
        covered
    }

    /// Rows about nothing that happened.
    pub(crate) fn idle(&self) -> Vec<String> {
        let idle = self.rows.iter().filter(|row| !row.met.get());
        idle.map(|row| format!("{}: {:?} is no longer so", self.heading, row.patterns))
            .collect()
    }
}

fn rows(heading: &str) -> impl Iterator<Item = &'static str> {
    let section = COMPATIBILITY.split(&format!("\n### {heading}\n")).nth(1);
    let section = section.unwrap_or_default();
    let section = section.split("\n#").next().unwrap_or_default();
    section.lines().filter(|line| line.starts_with("| `"))
}

/// All names in the first column of a table; a row may have many.
pub(crate) fn names(heading: &str) -> Vec<&'static str> {
    let first = rows(heading).filter_map(|row| row.split(" | ").next());
    let quoted = first.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    quoted.collect()
}

/// `*` stands for any text.
fn like(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            let mut ends = rest.char_indices().map(|(at, _)| at);
            ends.any(|at| like(tail, &rest[at..])) || like(tail, "")
        }),
    }
}

/// What kind of request it is: its method, its path with `ID` for every id, the names of its
/// query and of the attributes in its body.
pub(crate) struct RequestKind<'a>(pub(crate) &'a Value);

impl Display for RequestKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |name: &str| self.0[name].as_str().unwrap_or_default();
        let (path, query) = text("path").split_once('?').unwrap_or((text("path"), ""));
        let is_id = |part: &str| {
            let hex = part.bytes().filter(u8::is_ascii_hexdigit).count();
            hex == 32 && part.len() - hex == part.matches('-').count()
        };
        let parts = path.trim_start_matches("/v2.0/").split('/');
        let parts: Vec<&str> = parts.map(|it| if is_id(it) { "ID" } else { it }).collect();
        write!(f, "{} {}", text("method"), parts.join("/"))?;
        let names = query.split('&').filter_map(|pair| pair.split('=').next());
        let mut names: Vec<&str> = names
            .filter(|name| !matches!(*name, "" | "fields"))
            .collect();
        names.dedup();
        if !names.is_empty() {
            write!(f, "?{}", names.join("&"))?;
        }
        let root = self.0["body"]
            .as_object()
            .and_then(|body| body.values().next());
        match root {
            Some(Value::Object(attrs)) => {
                let mut names: Vec<&str> = attrs.keys().map(String::as_str).collect();
                names.sort_unstable();
                write!(f, " {{{}}}", names.join(","))
            }
            _ => Ok(()),
        }
    }
}

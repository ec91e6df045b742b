//! What an import says of itself.

use std::{collections::BTreeMap, fmt};

/// Something that is not taken, or is not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// By which the operator accepts it: a collection (`trunks`) or an attribute (`ports.hints`).
    pub word: String,
    /// The word of another finding, with which this one is accepted.
    pub with: Option<&'static str>,
    pub count: usize,
    /// Why, or the first of them.
    pub says: String,
    pub can_be_accepted: bool,
    pub is_accepted: bool,
}

impl Finding {
    pub(super) fn new(word: &str, count: usize, says: &str) -> Self {
        Self {
            word: word.to_owned(),
            with: None,
            count,
            says: says.to_owned(),
            can_be_accepted: true,
            is_accepted: false,
        }
    }

    pub(super) fn word_to_say(&self) -> &str {
        self.with.unwrap_or(&self.word)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// How many of each kind.
    pub taken: BTreeMap<&'static str, usize>,
    pub findings: Vec<Finding>,
    /// What no operator can accept: objects that can't be read, references to nothing, addresses
    /// that two have.
    pub cannot: Vec<String>,
    /// Extensions of which nothing is known here.
    pub unknown: Vec<String>,
}

impl Report {
    /// Nothing is in the way.
    pub fn is_clean(&self) -> bool {
        self.cannot.is_empty() && self.findings.iter().all(|finding| finding.is_accepted)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, count) in &self.taken {
            writeln!(f, "  {count:>7} {kind}")?;
        }
        for finding in &self.findings {
            let Finding {
                word, count, says, ..
            } = finding;
            let mark = if finding.is_accepted { '~' } else { '!' };
            write!(f, "{mark} {count:>7} {word}: {says}")?;
            match finding.can_be_accepted && !finding.is_accepted {
                true => writeln!(f, " [--leave-out {}]", finding.word_to_say())?,
                false => writeln!(f)?,
            }
        }
        for sentence in &self.cannot {
            writeln!(f, "! {sentence}")?;
        }
        if !self.unknown.is_empty() {
            writeln!(
                f,
                "? what these extensions keep beside networks, ports and routers was not looked at: {}",
                self.unknown.join(", ")
            )?;
        }
        Ok(())
    }
}

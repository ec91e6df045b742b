//! Who may do what: Neutron's default rules (`defaults.yaml`), an operator's `policy.yaml` over
//! them, and the checks that requests ask.
//!
//! A rule may depend on the resource (its owner, its network's owner) or on the caller alone. For
//! lists the second kind is answered once: [`Policy::ask`] knows three answers, and only "that
//! depends" is asked again for each resource.

mod credentials;
mod lang;
mod request;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
};

use intent::attrs::{Attr, TABLES, Table};
use serde::Deserialize;

pub use credentials::Credentials;
pub use lang::{BadRule, Check, parse};
use lang::{Left, Side, Wanted, parse_list};
pub use request::{action_rule, explicit_rule};

/// A regular expression that is equal to another when its text is.
#[derive(Clone)]
pub struct Regex(regex_lite::Regex);

impl Regex {
    /// Anchored at the start, as Python's `re.match` is.
    pub fn new(pattern: &str) -> Option<Self> {
        regex_lite::Regex::new(pattern).ok().map(Self)
    }

    fn is_match(&self, text: &str) -> bool {
        self.0.find(text).is_some_and(|found| found.start() == 0)
    }
}

impl PartialEq for Regex {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}
impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}
impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// What a rule is asked about: attributes by name, as texts. Names with a colon speak of what the
/// resource belongs to (`network:project_id`, `security_group:project_id`, `ext_parent:project_id`).
pub trait Target {
    fn text(&self, attr: &str) -> Option<String>;
}

/// No resource in particular.
#[derive(Debug, Clone, Copy)]
pub struct Nothing;

impl Target for Nothing {
    fn text(&self, _: &str) -> Option<String> {
        None
    }
}

/// An answer that may have to wait for the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Yes,
    No,
    Depends,
}

impl From<bool> for Answer {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

/// A table's attributes, each with the rule of its own that reading it must meet, where there is
/// one.
type Reading = Vec<(&'static Attr, Option<String>)>;

/// The rules in force.
#[derive(Debug)]
pub struct Policy {
    rules: HashMap<String, Check>,
    /// By the rule of reading the whole. Settled once: every answer asks for all of a table's.
    reading: HashMap<String, Reading>,
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("the policy file is not a map from names to rules")]
    File(#[source] yaml_serde::Error),
    #[error("the rule of '{name}' can't be read")]
    Rule { name: String, source: BadRule },
}

/// A rule as operators write it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<Words>),
}

/// A check, or checks that all must be met.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    One(String),
    Many(Vec<String>),
}

impl Written {
    fn parse(self) -> Result<Check, BadRule> {
        match self {
            Self::Text(text) => parse(&text),
            Self::List(lists) => {
                let lists = lists.into_iter().map(|words| match words {
                    Words::One(word) => vec![word],
                    Words::Many(words) => words,
                });
                parse_list(&lists.collect::<Vec<_>>())
            }
        }
    }
}

/// The rule that is asked where there is none of a name.
const DEFAULT: &str = "default";
const DEFAULTS: &str = include_str!("defaults.yaml");
/// Rules that name each other in a circle end here.
const DEPTH: usize = 40;

impl Policy {
    /// The defaults, with an operator's file over them.
    pub fn read(operator: Option<&str>) -> Result<Self, PolicyError> {
        let mut policy = Self {
            rules: HashMap::new(),
            reading: HashMap::new(),
        };
        policy.add(DEFAULTS)?;
        operator.map_or(Ok(()), |text| policy.add(text))?;
        policy.reading = TABLES
            .iter()
            .map(|table| policy.read_rules(table))
            .collect();
        Ok(policy)
    }

    fn read_rules(&self, table: &Table) -> (String, Reading) {
        let whole = action_rule("get", table);
        let reading = table.attrs.iter().map(|attr| {
            let rule = format!("{whole}:{}", attr.name);
            (attr, Some(rule).filter(|rule| self.has(rule)))
        });
        let reading = reading.collect();
        (whole, reading)
    }

    fn add(&mut self, yaml: &str) -> Result<(), PolicyError> {
        let written: BTreeMap<String, Option<Written>> =
            yaml_serde::from_str(yaml).map_err(PolicyError::File)?;
        for (name, rule) in written {
            let check = rule.map_or(Ok(Check::Always), Written::parse);
            let check = check.map_err(|source| PolicyError::Rule {
                name: name.clone(),
                source,
            })?;
            self.rules.insert(name, check);
        }
        Ok(())
    }

    pub fn has(&self, name: &str) -> bool {
        self.rules.contains_key(name)
    }

    /// A table's attributes, each with the rule of its own that reading it must meet.
    pub fn reading(&self, table: &Table) -> &[(&'static Attr, Option<String>)] {
        let reading = self.reading.get(&action_rule("get", table));
        reading.map_or(&[], Vec::as_slice)
    }

    /// Whether a named rule lets the caller do it to the target.
    pub fn allows(&self, name: &str, caller: &Credentials, target: &dyn Target) -> bool {
        self.named(name, caller, Some(target), DEPTH) == Answer::Yes
    }

    pub fn meets(&self, check: &Check, caller: &Credentials, target: &dyn Target) -> bool {
        self.answer(check, caller, Some(target), DEPTH) == Answer::Yes
    }

    /// The answer as far as it does not depend on the target.
    pub fn ask(&self, name: &str, caller: &Credentials) -> Answer {
        self.named(name, caller, None, DEPTH)
    }

    fn named(
        &self,
        name: &str,
        caller: &Credentials,
        target: Option<&dyn Target>,
        depth: usize,
    ) -> Answer {
        let rule = self.rules.get(name).or_else(|| self.rules.get(DEFAULT));
        match rule.filter(|_| depth > 0) {
            Some(rule) => self.answer(rule, caller, target, depth - 1),
            None => Answer::No,
        }
    }

    fn answer(
        &self,
        check: &Check,
        caller: &Credentials,
        target: Option<&dyn Target>,
        depth: usize,
    ) -> Answer {
        match check {
            Check::Always => Answer::Yes,
            Check::Never => Answer::No,
            Check::Not(inner) => match self.answer(inner, caller, target, depth) {
                Answer::Yes => Answer::No,
                Answer::No => Answer::Yes,
                Answer::Depends => Answer::Depends,
            },
            Check::And(checks) => {
                self.fold(checks, Answer::Yes, Answer::No, (caller, target, depth))
            }
            Check::Or(checks) => {
                self.fold(checks, Answer::No, Answer::Yes, (caller, target, depth))
            }
            Check::Rule(name) => self.named(name, caller, target, depth),
            Check::Role(role) => caller.has_role(role).into(),
            Check::Field { attr, value } => field(attr, value, target),
            Check::Same {
                left,
                target: right,
            } => same(left, right, caller, target),
        }
    }

    /// "And" ends at the first no, "or" at the first yes; otherwise one "depends" makes it so.
    fn fold(
        &self,
        checks: &[Check],
        neutral: Answer,
        ends: Answer,
        (caller, target, depth): (&Credentials, Option<&dyn Target>, usize),
    ) -> Answer {
        let mut result = neutral;
        for check in checks {
            match self.answer(check, caller, target, depth) {
                answer if answer == ends => return ends,
                Answer::Depends => result = Answer::Depends,
                _ => {}
            }
        }
        result
    }
}

fn field(attr: &str, value: &Wanted, target: Option<&dyn Target>) -> Answer {
    let Some(target) = target else {
        return Answer::Depends;
    };
    let Some(found) = target.text(attr) else {
        return Answer::No;
    };
    match value {
        Wanted::Text(text) => found.eq_ignore_ascii_case(text).into(),
        Wanted::Like(regex) => regex.is_match(&found).into(),
    }
}

fn same(left: &Left, right: &Side, caller: &Credentials, target: Option<&dyn Target>) -> Answer {
    let wanted = match right {
        Side::Text(text) => Some(text.clone()),
        Side::Attr(name) => match target {
            None => return Answer::Depends,
            Some(target) => target.text(name),
        },
    };
    let Some(wanted) = wanted else {
        return Answer::No;
    };
    match left {
        Left::Caller(property) => caller.says(property, &wanted).into(),
        Left::Literal(text) => (*text == wanted).into(),
    }
}

#[cfg(test)]
mod tests;

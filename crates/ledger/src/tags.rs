//! Tags: words that users hang on resources.

use intent::{Kind, Object};

use crate::{Answer, Refusal, rules, txn::Txn};

/// How long a tag may be.
const LONGEST: usize = 255;
/// How many a resource may have.
const MOST: usize = 50;

/// What becomes of a resource's tags.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change<'a> {
    Replace(&'a [String]),
    Add(&'a [String]),
    Remove(&'a str),
}

pub(crate) fn change(
    txn: &mut Txn<'_>,
    kind: Kind,
    key: &str,
    change: Change<'_>,
) -> Result<Answer, Refusal> {
    let object = txn.state().object(kind, key);
    let object = object.ok_or_else(|| rules::missing(kind, key))?;
    let mut tags = match object.meta() {
        Some(meta) => meta.tags.clone(),
        None => return Err(Refusal::nothing_here()),
    };
    match change {
        Change::Replace(given) => {
            check(given)?;
            tags = given.iter().cloned().collect();
        }
        Change::Add(given) => {
            check(given)?;
            tags.extend(given.iter().cloned());
        }
        Change::Remove(tag) => {
            if !tags.remove(tag) {
                return Err(Refusal::tag_not_found(tag));
            }
        }
    }
    if tags.len() > MOST {
        return Err(Refusal::invalid_input(format_args!(
            "Number of tags exceeds the limit of {MOST}"
        )));
    }
    let object = set(txn, object, tags)?;
    Ok(Answer::Objects(vec![object]))
}

fn check(tags: &[String]) -> Result<(), Refusal> {
    for (at, tag) in tags.iter().enumerate() {
        if tag.chars().count() > LONGEST {
            return Err(Refusal::invalid_input(format_args!(
                "'{tag}' exceeds maximum length of {LONGEST}"
            )));
        }
        if tags[..at].contains(tag) {
            return Err(Refusal::invalid_input(format_args!(
                "Duplicate items in the list: '{tag}'"
            )));
        }
    }
    Ok(())
}

macro_rules! tagged {
    ($($kind:ident),*) => {
        fn set(
            txn: &mut Txn<'_>,
            object: Object,
            tags: std::collections::BTreeSet<String>,
        ) -> Result<Object, Refusal> {
            match object {
                $(Object::$kind(value) => {
                    let mut value = intent::$kind::clone(&value);
                    value.meta.tags = tags;
                    Ok(txn.save(value).into())
                })*
                _ => Err(Refusal::nothing_here()),
            }
        }
    };
}

tagged!(
    Network,
    Subnet,
    SubnetPool,
    Port,
    Router,
    FloatingIp,
    SecurityGroup,
    SecurityGroupRule,
    Segment,
    AddressGroup
);

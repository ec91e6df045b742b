//! EC2's form: a tree of small texts.

use super::{Answer, Instance, list};

const VERSIONS: [&str; 2] = ["2009-04-04", "latest"];

pub(super) fn read(instance: &Instance, path: &[&str]) -> Answer {
    match path {
        [] => list(&VERSIONS),
        [version, rest @ ..] if VERSIONS.contains(version) => versioned(instance, rest),
        _ => Answer::NotFound,
    }
}

fn versioned(instance: &Instance, path: &[&str]) -> Answer {
    match path {
        [] if instance.user_data.is_none() => list(&["meta-data/"]),
        [] => list(&["meta-data/", "user-data"]),
        ["user-data"] => instance
            .user_data
            .clone()
            .map_or(Answer::NotFound, Answer::Bytes),
        ["meta-data"] => {
            let mut names: Vec<&str> = FACTS
                .iter()
                .filter(|(_, fact)| fact(instance).is_some())
                .map(|(name, _)| *name)
                .collect();
            names.extend((!instance.keys.is_empty()).then_some("public-keys/"));
            list(&names)
        }
        ["meta-data", "public-keys", rest @ ..] => keys(instance, rest),
        ["meta-data", name] => {
            let fact = FACTS.iter().find(|(known, _)| known == name);
            let text = fact.and_then(|(_, fact)| fact(instance));
            text.map_or(Answer::NotFound, Answer::Text)
        }
        _ => Answer::NotFound,
    }
}

type Fact = fn(&Instance) -> Option<String>;

/// What is said of an instance in one line each; what it has not is not listed.
const FACTS: &[(&str, Fact)] = &[
    ("hostname", |it| Some(it.name.clone())),
    ("instance-id", |it| Some(it.id.clone())),
    ("local-hostname", |it| Some(it.name.clone())),
    ("local-ipv4", |it| it.local_ipv4.map(|ip| ip.to_string())),
    ("mac", |it| Some(it.ports.first()?.mac.clone())),
    ("public-hostname", |it| Some(it.name.clone())),
    ("public-ipv4", |it| it.public_ipv4.map(|ip| ip.to_string())),
];

fn keys(instance: &Instance, path: &[&str]) -> Answer {
    let number = |text: &str| text.parse::<usize>().ok();
    match path {
        [] if instance.keys.is_empty() => Answer::NotFound,
        [] => {
            let keys = instance.keys.iter().enumerate();
            let lines: Vec<String> = keys.map(|(n, key)| format!("{n}={}", key.name)).collect();
            Answer::Text(lines.join("\n"))
        }
        [n] if number(n).is_some_and(|n| n < instance.keys.len()) => list(&["openssh-key"]),
        [n, "openssh-key"] => {
            let key = number(n).and_then(|n| instance.keys.get(n));
            key.map_or(Answer::NotFound, |key| Answer::Text(key.data.clone()))
        }
        _ => Answer::NotFound,
    }
}

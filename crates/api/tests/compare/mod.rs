//! Two answers as one: equal up to what each server chooses for itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use serde_json::{Map, Value};
use uuid::Uuid;

/// What the recorded server chose, and what this one chose in its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    ours: BTreeMap<String, String>,
    taken: BTreeSet<String>,
}

/// Key of a kind of difference, and where it was.
pub(crate) type Differences = BTreeSet<(String, String)>;

/// What a server may choose freely.
#[derive(Debug, PartialEq, Eq)]
enum Free {
    Id,
    Mac,
    Address,
    Time,
}

fn free(text: &str) -> Option<Free> {
    let bytes = text.as_bytes();
    let is_mac = bytes.len() == 17 && text.split(':').all(|part| part.len() == 2);
    let is_time =
        bytes.len() >= 19 && text.starts_with("20") && bytes[4] == b'-' && bytes[13] == b':';
    if bytes.len() == 36 && Uuid::parse_str(text).is_ok() {
        Some(Free::Id)
    } else if is_mac {
        Some(Free::Mac)
    } else if is_time {
        Some(Free::Time)
    } else {
        text.parse::<IpAddr>().ok().map(|_| Free::Address)
    }
}

impl Known {
    pub(crate) fn bind(&mut self, recorded: &str, ours: &str) {
        self.ours.insert(recorded.to_owned(), ours.to_owned());
        self.taken.insert(ours.to_owned());
    }

    /// A recorded text in this server's words: every 36 characters that are a known id.
    pub(crate) fn ours(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(at) = rest.find('-') {
            let start = at.saturating_sub(8);
            let id = rest.get(start..start + 36);
            match id.and_then(|id| self.ours.get(id)) {
                Some(ours) => {
                    out.push_str(&rest[..start]);
                    out.push_str(ours);
                    rest = &rest[start + 36..];
                }
                None => {
                    out.push_str(&rest[..=at]);
                    rest = &rest[at + 1..];
                }
            }
        }
        out.push_str(rest);
        out
    }

    pub(crate) fn compare(&mut self, recorded: &Value, ours: &Value, ordered: bool) -> Differences {
        let mut found = Differences::new();
        self.walk(recorded, ours, "", ordered, &mut found);
        found
    }

    fn walk(
        &mut self,
        theirs: &Value,
        ours: &Value,
        at: &str,
        ordered: bool,
        found: &mut Differences,
    ) {
        match (theirs, ours) {
            (Value::Object(theirs), Value::Object(ours)) => self.maps(theirs, ours, ordered, found),
            (Value::Array(theirs), Value::Array(ours)) => {
                self.lists(theirs, ours, at, ordered, found);
            }
            (Value::String(theirs), Value::String(ours)) => self.texts(theirs, ours, at, found),
            _ if theirs == ours => {}
            _ => {
                let what = format!("{at} is {theirs}, here {ours}");
                found.insert((format!("value-{at}"), what));
            }
        }
    }

    fn maps(
        &mut self,
        theirs: &Map<String, Value>,
        ours: &Map<String, Value>,
        ordered: bool,
        found: &mut Differences,
    ) {
        // The id first: it says which resource the rest is about.
        let mut keys: Vec<&String> = theirs.keys().collect();
        keys.sort_by_key(|key| *key != "id");
        for key in keys {
            match ours.get(key) {
                Some(value) => self.walk(&theirs[key], value, key, ordered, found),
                None => {
                    found.insert((format!("missing-{key}"), format!("{key} {}", theirs[key])));
                }
            }
        }
        for key in ours.keys().filter(|key| !theirs.contains_key(*key)) {
            found.insert((format!("extra-{key}"), format!("{key} {}", ours[key])));
        }
    }

    /// Lists without an order of their own: each item finds its like.
    fn lists(
        &mut self,
        theirs: &[Value],
        ours: &[Value],
        at: &str,
        ordered: bool,
        found: &mut Differences,
    ) {
        if theirs.len() != ours.len() {
            let what = format!("{at} has {} items, here {}", theirs.len(), ours.len());
            found.insert((format!("length-{at}"), what));
            return;
        }
        let mut left: Vec<&Value> = ours.iter().collect();
        for item in theirs {
            let place = match ordered || theirs.len() == 1 {
                true => 0,
                false => self.like(item, &left).unwrap_or_default(),
            };
            let like = left.remove(place);
            self.walk(item, like, at, ordered, found);
        }
    }

    /// Which of these is the recorded item: by a known id, or by being equal.
    fn like(&self, item: &Value, left: &[&Value]) -> Option<usize> {
        let id = |value: &Value| value.get("id").and_then(Value::as_str).map(str::to_owned);
        if let Some(ours) = id(item).and_then(|id| self.ours.get(&id).cloned()) {
            return left
                .iter()
                .position(|it| id(it).is_some_and(|id| id == ours));
        }
        let differences = |it: &Value| {
            let mut found = Differences::new();
            self.clone().walk(item, it, "", false, &mut found);
            found.len()
        };
        let counted = left.iter().enumerate();
        counted
            .min_by_key(|(_, it)| differences(it))
            .map(|(place, _)| place)
    }

    fn texts(&mut self, theirs: &str, ours: &str, at: &str, found: &mut Differences) {
        let same_kind = free(theirs) == free(ours);
        let chosen = at.ends_with("ip_address");
        match free(theirs).filter(|_| same_kind) {
            Some(Free::Time) => return,
            // Which address, out of which of a network's subnets, is each server's own choice.
            Some(Free::Address) if chosen && same_family(theirs, ours) => return,
            Some(Free::Id) if at == "subnet_id" => return,
            Some(_) => match self.ours.get(theirs) {
                Some(bound) if bound == ours => return,
                None if !self.taken.contains(ours) => {
                    self.bind(theirs, ours);
                    return;
                }
                Some(_) | None if theirs == ours => return,
                _ => {}
            },
            None => {}
        }
        if plain(&self.ours(theirs)) == plain(ours) {
            return;
        }
        let (theirs, ours) = (cut(theirs), cut(ours));
        found.insert((
            format!("value-{at}"),
            format!("{at} is {theirs:?}, here {ours:?}"),
        ));
    }
}

fn same_family(left: &str, right: &str) -> bool {
    left.contains(':') == right.contains(':')
}

fn cut(text: &str) -> String {
    text.chars().take(300).collect()
}

/// Without what differs between any two servers: where they listen, names made of addresses, and
/// the order of lists of ids in sentences.
fn plain(text: &str) -> String {
    let text = match text
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
    {
        Some((_, path)) => path.to_owned(),
        None => text.to_owned(),
    };
    if text.starts_with("host-") {
        return "host".to_owned();
    }
    let mut words: Vec<&str> = text
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .collect();
    if text.contains("ports is: ") || text.contains("attached: ") {
        words.sort_unstable();
    }
    words.join(" ")
}

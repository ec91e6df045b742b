//! Two answers as one: equal up to what each server chooses for itself.

use std::{
    cell::RefCell,
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

/// What differs, and how.
pub(crate) type Differences = BTreeSet<(String, String)>;

/// What a server may choose freely.
#[derive(Debug, PartialEq, Eq)]
enum Free {
    Id,
    Mac,
    Address,
    Time,
}

/// Where in an answer a value stands, and the name of the attribute that it is.
#[derive(Debug, Clone, Default)]
struct Place {
    path: String,
    name: String,
}

/// The text by which an item of a list is known: its id, or what stands for one.
fn identity(item: &Value) -> Option<&str> {
    let item = item.as_object()?;
    let names = ["id", "alias", "network_id"];
    let mut names: Vec<&str> = names.into();
    // Addresses are of a subnet too, and choose freely which.
    if !item.contains_key("ip_address") {
        names.push("subnet_id");
    }
    let value = names.into_iter().find_map(|name| item.get(name))?;
    value.as_str()
}

impl Place {
    fn below(&self, name: &str) -> Self {
        let joint = if self.path.is_empty() { "" } else { "." };
        Self {
            path: format!("{}{joint}{name}", self.path),
            name: name.to_owned(),
        }
    }

    fn is_use_of_subnet(&self) -> bool {
        self.path.contains("subnet_ip_availability[") && self.name.starts_with("used_ips")
    }

    fn item(&self, item: &Value, id: Option<&str>) -> Self {
        let called = match id.or_else(|| identity(item)) {
            Some(id) if free(id) == Some(Free::Id) => &id[..8],
            Some(name) => name,
            None => "*",
        };
        Self {
            path: format!("{}[{called}]", self.path),
            name: self.name.clone(),
        }
    }
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

/// Attributes that say which resource an item is, or whose it is.
const BELONGS: [&str; 5] = ["id", "alias", "network_id", "device_id", "object_id"];

/// Recorded ids of what is not here: left out of recorded answers, with what belongs to it.
#[derive(Debug)]
pub(crate) struct Absent {
    ids: BTreeSet<String>,
    met: RefCell<BTreeSet<String>>,
}

impl Absent {
    pub(crate) fn new(ids: &[&str]) -> Self {
        Self {
            ids: ids.iter().map(|id| (*id).to_owned()).collect(),
            met: RefCell::default(),
        }
    }

    fn names(&self, value: &Value) -> bool {
        let id = value.as_str().and_then(|text| self.ids.get(text));
        if let Some(id) = id {
            self.met.borrow_mut().insert(id.clone());
        }
        id.is_some()
    }

    /// A recorded answer without what is not here: in lists it and what belongs to it, elsewhere
    /// that it is referred to.
    pub(crate) fn without(&self, value: &Value) -> Value {
        match value {
            Value::Array(items) => {
                let belongs = |item: &Value| match item {
                    Value::Object(map) => BELONGS
                        .iter()
                        .any(|key| map.get(*key).is_some_and(|value| self.names(value))),
                    Value::String(id) => free(id) == Some(Free::Id) && self.names(item),
                    _ => false,
                };
                let kept = items.iter().filter(|item| !belongs(item));
                kept.map(|item| self.without(item)).collect()
            }
            Value::Object(map) => {
                let kept = map.iter().map(|(key, value)| {
                    let value = match self.names(value) && key != "id" {
                        true => Value::Null,
                        false => self.without(value),
                    };
                    (key.clone(), value)
                });
                Value::Object(kept.collect())
            }
            _ => value.clone(),
        }
    }

    /// Ids that no answer named.
    pub(crate) fn idle(&self) -> Vec<String> {
        let met = self.met.borrow();
        let idle = self.ids.difference(&met);
        idle.map(|id| format!("{id} is in no answer")).collect()
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

    /// What differs, as `WHAT PATH` and where it was seen. In a path, items of lists are called by
    /// the beginning of their recorded id, or `*`.
    pub(crate) fn compare(&mut self, recorded: &Value, ours: &Value, ordered: bool) -> Differences {
        let mut found = Differences::new();
        self.walk(recorded, ours, &Place::default(), ordered, &mut found);
        found
    }

    /// The id that a resource of this server had there.
    pub(crate) fn theirs(&self, ours: &str) -> Option<&str> {
        let mut pairs = self.ours.iter();
        pairs
            .find(|(_, known)| *known == ours)
            .map(|(theirs, _)| theirs.as_str())
    }

    fn walk(
        &mut self,
        theirs: &Value,
        ours: &Value,
        at: &Place,
        ordered: bool,
        found: &mut Differences,
    ) {
        match (theirs, ours) {
            (Value::Object(theirs), Value::Object(ours)) => {
                self.maps(theirs, ours, at, ordered, found);
            }
            (Value::Array(theirs), Value::Array(ours)) => {
                self.lists(theirs, ours, at, ordered, found);
            }
            (Value::String(theirs), Value::String(ours)) => self.texts(theirs, ours, at, found),
            _ if theirs == ours => {}
            // Which of a network's subnets gave how many is each server's own choice.
            _ if at.is_use_of_subnet() => {}
            _ => {
                found.insert((
                    format!("value {}", at.path),
                    format!("{theirs}, here {ours}"),
                ));
            }
        }
    }

    fn maps(
        &mut self,
        theirs: &Map<String, Value>,
        ours: &Map<String, Value>,
        at: &Place,
        ordered: bool,
        found: &mut Differences,
    ) {
        // The id first: it says which resource the rest is about.
        let mut keys: Vec<&String> = theirs.keys().collect();
        keys.sort_by_key(|key| *key != "id");
        for key in keys {
            let place = at.below(key);
            match ours.get(key) {
                Some(value) => self.walk(&theirs[key], value, &place, ordered, found),
                None => {
                    found.insert((format!("missing {}", place.path), theirs[key].to_string()));
                }
            }
        }
        for key in ours.keys().filter(|key| !theirs.contains_key(*key)) {
            let place = at.below(key);
            found.insert((format!("extra {}", place.path), ours[key].to_string()));
        }
    }

    /// Lists without an order of their own: each item finds its like.
    fn lists(
        &mut self,
        theirs: &[Value],
        ours: &[Value],
        at: &Place,
        ordered: bool,
        found: &mut Differences,
    ) {
        let same_length = theirs.len() == ours.len();
        let mut left: Vec<&Value> = ours.iter().collect();
        for item in theirs {
            let place = at.item(item, None);
            let like = match same_length && (ordered || theirs.len() == 1) {
                true => Some(0),
                false => self.like(item, &left, same_length),
            };
            match like {
                Some(like) => {
                    let like = left.remove(like);
                    self.walk(item, like, &place, ordered, found);
                }
                None => {
                    found.insert((format!("missing {}", place.path), cut(&item.to_string())));
                }
            }
        }
        for item in left {
            let theirs = identity(item).and_then(|id| self.theirs(id));
            let place = at.item(item, theirs);
            found.insert((format!("extra {}", place.path), cut(&item.to_string())));
        }
    }

    /// Which of these is the recorded item: by its name or a known id, or by being the most like it;
    /// where some have no like, only by being equal.
    fn like(&self, item: &Value, left: &[&Value], all_have: bool) -> Option<usize> {
        if let Some(theirs) = identity(item) {
            let ours = self.ours.get(theirs).map_or(theirs, String::as_str);
            let same = left.iter().position(|it| identity(it) == Some(ours));
            if same.is_some() || ours != theirs || free(theirs).is_none() {
                return same;
            }
        }
        let differences = |it: &Value| {
            let mut found = Differences::new();
            self.clone()
                .walk(item, it, &Place::default(), false, &mut found);
            found.len()
        };
        let counted = left.iter().map(|it| differences(it)).enumerate();
        counted
            .filter(|(_, differences)| all_have || *differences == 0)
            .min_by_key(|(_, differences)| *differences)
            .map(|(place, _)| place)
    }

    fn texts(&mut self, theirs: &str, ours: &str, at: &Place, found: &mut Differences) {
        let same_kind = free(theirs) == free(ours);
        let chosen = at.name.ends_with("ip_address");
        match free(theirs).filter(|_| same_kind) {
            Some(Free::Time) => return,
            // Which address, out of which of a network's subnets, is each server's own choice.
            Some(Free::Address) if chosen && same_family(theirs, ours) => return,
            Some(Free::Id) if at.name == "subnet_id" => return,
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
        let what = format!("{:?}, here {:?}", cut(theirs), cut(ours));
        found.insert((format!("value {}", at.path), what));
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
        for word in &mut words {
            *word = word.trim_end_matches('.');
        }
        words.sort_unstable();
    }
    words.join(" ")
}

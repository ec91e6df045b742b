//! Why a thing is on a host: the objects of intent that asked for it, and the place in `plan`
//! that wrote it. Shown, never compared: two states that differ only in their reasons are equal.
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::panic::Location;

/// A value that is carried and shown but takes no part in comparison: reasons, counters, spelling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Shown<T>(pub T);

impl<T> PartialEq for Shown<T> {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl<T> Eq for Shown<T> {}
impl<T> PartialOrd for Shown<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<T> Ord for Shown<T> {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
impl<T> Hash for Shown<T> {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}
impl<T> From<T> for Shown<T> {
    fn from(value: T) -> Self {
        Shown(value)
    }
}
impl<T> std::ops::Deref for Shown<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// One object of intent that asked for something, and the line of code that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// What kind of object: `port`, `security_group_rule`, `floatingip`; or `base` for what
    /// every host has.
    pub kind: &'static str,
    /// The object's id; empty for `base`.
    pub id: String,
    /// Where in `plan` it was written.
    pub at: &'static Location<'static>,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id.as_str() {
            "" => f.write_str(self.kind),
            id => write!(f, "{} {id}", self.kind),
        }
    }
}

/// All reasons for one thing. Observed things have none.
#[derive(Clone, Debug, Default)]
pub struct Why {
    pub causes: Vec<Cause>,
}

impl Why {
    /// No reason known: what was observed and not planned.
    pub fn none() -> Why {
        Why::default()
    }

    /// Because of one object; the place is the caller's.
    #[track_caller]
    pub fn of(kind: &'static str, id: impl fmt::Display) -> Why {
        Why {
            causes: vec![Cause {
                kind,
                id: id.to_string(),
                at: Location::caller(),
            }],
        }
    }

    /// Because every host of this kind has it.
    #[track_caller]
    pub fn base() -> Why {
        Why {
            causes: vec![Cause {
                kind: "base",
                id: String::new(),
                at: Location::caller(),
            }],
        }
    }

    /// This reason and another object's.
    #[track_caller]
    #[must_use]
    pub fn and(mut self, kind: &'static str, id: impl fmt::Display) -> Why {
        self.merge(Why::of(kind, id));
        self
    }

    /// Both reasons, each once.
    pub fn merge(&mut self, other: Why) {
        for cause in other.causes {
            if !self.causes.contains(&cause) {
                self.causes.push(cause);
            }
        }
    }
}

impl PartialEq for Why {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}
impl Eq for Why {}
impl PartialOrd for Why {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Why {
    fn cmp(&self, _: &Self) -> Ordering {
        Ordering::Equal
    }
}
impl Hash for Why {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, cause) in self.causes.iter().enumerate() {
            if n > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{cause}")?;
        }
        Ok(())
    }
}

/// A thing that carries its reasons.
pub trait Merge: PartialEq {
    fn why_mut(&mut self) -> &mut Why;
}

impl Merge for Why {
    fn why_mut(&mut self) -> &mut Why {
        self
    }
}

/// Put a wanted thing under its key. The same thing wanted twice keeps both reasons; a different
/// thing under the same key is not put: it is given back, for the caller to note. There is no
/// last writer who wins.
pub fn want<K: Ord, V: Merge>(
    map: &mut std::collections::BTreeMap<K, V>,
    key: K,
    mut value: V,
) -> Result<(), V> {
    use std::collections::btree_map::Entry;
    match map.entry(key) {
        Entry::Vacant(entry) => {
            entry.insert(value);
            Ok(())
        }
        Entry::Occupied(mut entry) if *entry.get() == value => {
            let why = std::mem::take(value.why_mut());
            entry.get_mut().why_mut().merge(why);
            Ok(())
        }
        Entry::Occupied(_) => Err(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq, Eq)]
    struct Thing(u8, Why);
    impl Merge for Thing {
        fn why_mut(&mut self) -> &mut Why {
            &mut self.1
        }
    }

    #[test]
    fn equal_wants_keep_both_reasons_and_different_ones_are_given_back() {
        let mut map = BTreeMap::new();
        assert_eq!(want(&mut map, 1, Thing(7, Why::of("port", "a"))), Ok(()));
        assert_eq!(want(&mut map, 1, Thing(7, Why::of("port", "b"))), Ok(()));
        assert_eq!(map[&1].1.to_string(), "port a, port b");
        let other = Thing(8, Why::base());
        assert_eq!(want(&mut map, 1, other.clone()), Err(other));
        assert_eq!(map[&1].0, 7);
    }

    #[test]
    fn reasons_are_never_compared() {
        assert_eq!(Why::of("port", "a"), Why::base());
        assert_eq!(Shown(1), Shown(2));
        assert!(Why::of("port", "a").causes[0].at.file().ends_with("why.rs"));
    }
}

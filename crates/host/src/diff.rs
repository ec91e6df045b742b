//! The only diff there is. Every plane of a host is an ordered map from key to value; ordered
//! things (an iptables chain) are values. Reasons are never compared, so a diff never shows them.
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// What turns `have` into `want`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff<'a, K, V> {
    /// What is there and not wanted.
    pub remove: Vec<(&'a K, &'a V)>,
    /// What is wanted and not there, or there and different.
    pub put: Vec<Put<'a, K, V>>,
}

/// One thing to write; `old` is what stands there now under the same key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put<'a, K, V> {
    pub key: &'a K,
    pub old: Option<&'a V>,
    pub new: &'a V,
}

impl<K, V> Diff<'_, K, V> {
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.put.is_empty()
    }

    pub fn len(&self) -> usize {
        self.remove.len() + self.put.len()
    }
}

/// What has to go and what has to come, in the order of keys.
pub fn diff<'a, K: Ord, V: PartialEq>(
    have: &'a BTreeMap<K, V>,
    want: &'a BTreeMap<K, V>,
) -> Diff<'a, K, V> {
    let (mut remove, mut put) = (Vec::new(), Vec::new());
    let (mut have, mut want) = (have.iter().peekable(), want.iter().peekable());
    // Both are in order, so one walk along both finds everything.
    loop {
        let order = match (have.peek(), want.peek()) {
            (None, None) => return Diff { remove, put },
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let old = have.next_if(|_| order.is_le());
        match (old, want.next_if(|_| order.is_ge())) {
            (Some(old), None) => remove.push(old),
            (old, Some((key, new))) => {
                let old = old.map(|(_, old)| old);
                if old != Some(new) {
                    put.push(Put { key, old, new });
                }
            }
            (None, None) => {}
        }
    }
}

/// Carry a difference out on a map: what an agent does to a machine, done to a value.
pub fn apply<K: Ord + Clone, V: Clone>(diff: &Diff<'_, K, V>, to: &mut BTreeMap<K, V>) {
    for (key, _) in &diff.remove {
        to.remove(key);
    }
    for put in &diff.put {
        to.insert(put.key.clone(), put.new.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn applying_the_difference_gives_what_was_wanted(
            have: BTreeMap<u8, u8>, want: BTreeMap<u8, u8>,
        ) {
            let mut done = have.clone();
            apply(&diff(&have, &want), &mut done);
            prop_assert_eq!(done, want);
        }

        #[test]
        fn nothing_differs_from_itself(have: BTreeMap<u8, u8>) {
            prop_assert!(diff(&have, &have).is_empty());
        }

        #[test]
        fn only_what_differs_is_touched(have: BTreeMap<u8, u8>, want: BTreeMap<u8, u8>) {
            let d = diff(&have, &want);
            prop_assert!(d.put.iter().all(|p| have.get(p.key) != want.get(p.key)));
            prop_assert!(d.remove.iter().all(|(k, _)| !want.contains_key(*k)));
            prop_assert_eq!(d.is_empty(), have == want);
        }
    }
}

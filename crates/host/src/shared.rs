//! A value that many states hold: copied when one of them changes it, and not before. What two
//! states share is equal without a look at it, which is what makes comparing large states cheap.
use std::collections::{BTreeMap, btree_map};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use crate::{Merge, Why};

/// Behaves as the value itself.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }

    /// Are these one value, and not only equal ones?
    pub fn is(&self, other: &Shared<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T: Clone> Shared<T> {
    /// The value itself, copied only where others hold it too.
    pub fn take(self) -> T {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<K: Clone + Ord, V: Clone> Shared<BTreeMap<K, V>> {
    /// Takes out what is not kept: copied only when something is taken.
    pub fn keep(&mut self, keep: impl Fn(&K, &V) -> bool) {
        if !self.iter().all(|(key, value)| keep(key, value)) {
            self.retain(|key, value| keep(key, value));
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(self.0.clone())
    }
}

impl<T: PartialEq> PartialEq for Shared<T> {
    fn eq(&self, other: &Shared<T>) -> bool {
        self.is(other) || *self.0 == *other.0
    }
}
impl<T: Eq> Eq for Shared<T> {}

impl<T> From<T> for Shared<T> {
    fn from(value: T) -> Shared<T> {
        Shared::new(value)
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

impl<T, Item> FromIterator<Item> for Shared<T>
where
    T: FromIterator<Item>,
{
    fn from_iter<I: IntoIterator<Item = Item>>(items: I) -> Shared<T> {
        Shared::new(items.into_iter().collect())
    }
}

impl<'a, K, V> IntoIterator for &'a Shared<BTreeMap<K, V>> {
    type Item = (&'a K, &'a V);
    type IntoIter = btree_map::Iter<'a, K, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<'a, K: Clone, V: Clone> IntoIterator for &'a mut Shared<BTreeMap<K, V>> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = btree_map::IterMut<'a, K, V>;
    fn into_iter(self) -> Self::IntoIter {
        Arc::make_mut(&mut self.0).iter_mut()
    }
}

impl<T: Merge + Clone> Merge for Shared<T> {
    fn why_mut(&mut self) -> &mut Why {
        (**self).why_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_of_one_holder_only() {
        let first: Shared<Vec<u8>> = [1, 2].into_iter().collect();
        let mut second = first.clone();
        assert!(second.is(&first));
        second.push(3);
        assert_eq!((&*first, &*second), (&vec![1, 2], &vec![1, 2, 3]));
        second.pop();
        assert!(second == first && !second.is(&first));
    }

    #[test]
    fn what_is_kept_whole_is_not_copied() {
        let first: Shared<BTreeMap<u8, u8>> = [(1, 1), (2, 2)].into_iter().collect();
        let mut second = first.clone();
        second.keep(|_, _| true);
        assert!(second.is(&first));
        second.keep(|key, _| *key == 1);
        assert_eq!((first.len(), second.len()), (2, 1));
    }
}

//! What a host holds, said shortly: with it an agent that connects anew gets the difference to its
//! view as it is now, whoever answers and however long it was away.
//!
//! Items are compared by fingerprints of what they hold, not by counters: extracts have none, and
//! so it does not matter of which store, or which half of a step, an item was told.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Difference, Item, ItemKey, ItemKind, View};

/// What an agent says of itself when it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holding {
    /// The store that its view was cut from, and up to where it followed it.
    pub store: String,
    pub revision: u64,
    pub items: Summary,
}

/// A fingerprint for each item, by kind and key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Summary(BTreeMap<ItemKind, BTreeMap<String, Fingerprint>>);

/// 16 bytes of SHA-256 over an item as it travels, in hexadecimal. Users write parts of items:
/// they must not be able to make two that look alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Fingerprint(String);

impl Fingerprint {
    fn of(item: &Item) -> Self {
        // Items are maps with text keys: they always print.
        let text = serde_json::to_vec(item).unwrap_or_default();
        let digest = Sha256::digest(&text);
        let bytes = digest.iter().take(16);
        Self(bytes.map(|byte| format!("{byte:02x}")).collect())
    }
}

impl View {
    pub fn summary(&self) -> Summary {
        let mut summary = Summary::default();
        for item in self.items() {
            let ItemKey { kind, key } = item.key();
            let kind = summary.0.entry(kind).or_default();
            kind.insert(key, Fingerprint::of(&item));
        }
        summary
    }

    /// What turns the view that `held` is the summary of into this one.
    pub fn since(&self, held: &Summary) -> Difference {
        let mut difference = Difference::default();
        let mut here = BTreeSet::new();
        for item in self.items() {
            let key = item.key();
            let known = held.0.get(&key.kind).and_then(|kind| kind.get(&key.key));
            if known != Some(&Fingerprint::of(&item)) {
                difference.put.push(item);
            }
            here.insert(key);
        }
        let keys = held.0.iter().flat_map(|(kind, items)| {
            let of_kind = |key: &String| ItemKey {
                kind: *kind,
                key: key.clone(),
            };
            items.keys().map(of_kind)
        });
        difference.remove = keys.filter(|key| !here.contains(key)).collect();
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::Peer;

    fn view(hosts: &[(&str, &str)]) -> View {
        let mut view = View::default();
        for (host, address) in hosts {
            let peer = Peer {
                host: (*host).into(),
                tunnel_ip: address.parse().ok(),
                tunnel_types: vec![],
                dvr_mac: None,
                agent_mode: None,
            };
            view.put(Item::Peer(peer.into()));
        }
        view
    }

    #[test]
    fn a_summary_is_enough_to_find_the_difference() {
        let held = view(&[("a", "10.0.0.1"), ("b", "10.0.0.2"), ("c", "10.0.0.3")]);
        let now = view(&[("a", "10.0.0.1"), ("b", "10.0.0.9"), ("d", "10.0.0.4")]);
        let text = serde_json::to_string(&held.summary()).expect("it prints");
        let summary: Summary = serde_json::from_str(&text).expect("it can be read");
        assert_eq!(now.since(&summary), held.difference(&now));
        assert!(held.since(&summary).is_empty());
        let all = now.since(&Summary::default());
        assert_eq!(all, View::default().difference(&now));
    }

    /// Agents and servers of different builds must agree on it.
    #[test]
    fn a_fingerprint_stays_what_it_is() {
        let text = serde_json::to_string(&view(&[("a", "10.0.0.1")]).summary());
        expect_test::expect![[r#"{"peer":{"a":"30ea6a2e536333c5bc834676624f5825"}}"#]]
            .assert_eq(&text.expect("it prints"));
    }
}

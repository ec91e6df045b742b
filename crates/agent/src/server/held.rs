//! What the agent holds of intent: the view as it was last told, kept on disk so that a host goes
//! on without a server, and the judgement whether what a server tells may be believed.
use std::path::{Path, PathBuf};

use host::Shared;
use intent::view::{Item, ItemKey, View};
use serde::{Deserialize, Serialize};

/// The view, and of which store and revision it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    pub view: Shared<View>,
    pub store: String,
    pub revision: u64,
    pub mark: Option<Mark>,
}

/// What tells a revision of the store from one of the same number in another history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    pub revision: u64,
    pub mark: String,
}

/// Why what the server tells is not acted upon until an operator confirms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HoldReason {
    OtherStore { held: String, told: String },
    Older { held: u64, told: u64 },
    TakesAway { items: usize, of: usize },
}

impl std::fmt::Display for HoldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            HoldReason::OtherStore { held, told } => {
                write!(
                    f,
                    "the server has store {told}, this host was served from {held}"
                )
            }
            HoldReason::Older { held, told } => {
                write!(
                    f,
                    "the server is at revision {told}, behind this host's {held}"
                )
            }
            HoldReason::TakesAway { items, of } => {
                write!(f, "the server takes away {items} of {of} items at once")
            }
        }
    }
}

#[derive(Serialize, Deserialize)]
struct File {
    store: String,
    revision: u64,
    #[serde(default)]
    mark: Option<Mark>,
    items: Vec<Item>,
}

/// Below this many items a host is so small that any share of it may go at once.
const FEW: usize = 50;

impl Held {
    /// What was kept; nothing when there is nothing that can be read.
    pub fn load(path: &Path) -> Option<Held> {
        let bytes = std::fs::read(path).ok()?;
        let file: File = match serde_json::from_slice(&bytes) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "the kept view can't be read");
                return None;
            }
        };
        let mut view = View::default();
        file.items.into_iter().for_each(|item| view.put(item));
        Some(Held {
            view: view.into(),
            store: file.store,
            revision: file.revision,
            mark: file.mark,
        })
    }

    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        let items = self.view.items().collect();
        let file = File {
            store: self.store.clone(),
            revision: self.revision,
            mark: self.mark.clone(),
            items,
        };
        write_whole(path, &serde_json::to_vec(&file)?)
    }

    /// May this view, told on connecting, take the held one's place? `share` is the part of the
    /// host's items that may go at once; more may where the server shows that its history is the
    /// one that this host was told of ([`Held::mark`]).
    pub fn judge(&self, told: &Held, share: f64) -> Option<HoldReason> {
        if self.store.is_empty() {
            return None;
        }
        if self.store != told.store {
            let (held, told) = (self.store.clone(), told.store.clone());
            return Some(HoldReason::OtherStore { held, told });
        }
        if told.revision < self.revision {
            return Some(HoldReason::Older {
                held: self.revision,
                told: told.revision,
            });
        }
        let items = self.view.difference(&told.view).remove.len();
        let of = self.view.len();
        let many = of >= FEW && items as f64 > of as f64 * share;
        many.then_some(HoldReason::TakesAway { items, of })
    }

    pub fn keys(&self) -> impl Iterator<Item = ItemKey> + '_ {
        self.view.items().map(|item| item.key())
    }
}

/// Write a file so that a reader, or a crash, sees the old one or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = PathBuf::from(format!("{}.new", path.display()));
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    std::fs::write(&new, bytes)?;
    std::fs::rename(&new, path)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use intent::view::Peer;

    /// A host that knows of so many peers.
    pub(crate) fn held(count: usize) -> Held {
        let mut view = View::default();
        for n in 0..count {
            let peer = Peer {
                host: format!("h{n}").as_str().into(),
                tunnel_ip: None,
                tunnel_types: vec![],
                dvr_mac: None,
                agent_mode: None,
            };
            view.put(Item::Peer(peer.into()));
        }
        Held {
            view: view.into(),
            store: "s".to_owned(),
            revision: 7,
            mark: Some(Mark {
                revision: 6,
                mark: "m".to_owned(),
            }),
        }
    }

    #[test]
    fn what_is_saved_is_loaded() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a/view.json");
        held(3).save(&path).expect("saved");
        assert_eq!(Held::load(&path), Some(held(3)));
        std::fs::write(&path, "{").expect("written");
        assert_eq!(Held::load(&path), None);
    }

    #[test]
    fn a_store_that_was_put_back_is_not_believed() {
        let now = held(100);
        assert_eq!(Held::default().judge(&now, 0.1), None);
        assert_eq!(now.judge(&held(91), 0.1), None);
        assert_eq!(
            now.judge(&held(80), 0.1),
            Some(HoldReason::TakesAway { items: 20, of: 100 })
        );
        assert_eq!(
            held(9).judge(&held(0), 0.1),
            None,
            "a small host may lose all"
        );
        let other = Held {
            store: "t".to_owned(),
            ..held(100)
        };
        assert!(matches!(
            now.judge(&other, 0.1),
            Some(HoldReason::OtherStore { .. })
        ));
        let older = Held {
            revision: 6,
            ..held(100)
        };
        assert_eq!(
            now.judge(&older, 0.1),
            Some(HoldReason::Older { held: 7, told: 6 })
        );
    }
}

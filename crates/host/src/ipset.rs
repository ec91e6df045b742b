//! Sets of addresses, as `ipset save` writes them.
use std::collections::{BTreeMap, BTreeSet};

use crate::{Merge, Why};

/// A set. Sizes and seeds that the kernel chose are shown, never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipset {
    /// `hash:net`, `hash:ip`, …
    pub kind: String,
    /// `inet` or `inet6`; empty for kinds without addresses.
    pub family: String,
    /// `hashsize`, `maxelem`, `bucketsize`, `initval`, …
    pub options: crate::Shown<BTreeMap<String, String>>,
    pub members: BTreeMap<String, Member>,
    pub why: Why,
}

/// A member's own options (`timeout 0`, `nomatch`) and its reasons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub options: BTreeSet<String>,
    pub why: Why,
}

impl Merge for Ipset {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

impl Merge for Member {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

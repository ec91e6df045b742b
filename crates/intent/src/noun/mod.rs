//! The nouns of users, a file each: what Neutron's API calls resources, as types.
//!
//! A struct here is the *fact*; what can be computed from other facts is not stored twice
//! (`shared` follows from RBAC policies, a network's `subnets` from the subnets). The form in
//! which the API shows a resource is `attrs`' and `api`'s business; the serde form here is the
//! stored document's.

mod address;
mod agent;
mod floating_ip;
mod network;
mod port;
mod project;
mod router;
mod schedule;
mod security;
mod subnet;

pub use address::*;
pub use agent::*;
pub use floating_ip::*;
pub use network::*;
pub use port::*;
pub use project::*;
pub use router::*;
pub use schedule::*;
pub use security::*;
pub use subnet::*;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::Timestamp;

/// What every resource with a revision has besides its own attributes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Meta {
    /// `None` is shown as null (rules of a default group), which is not the empty text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub revision_number: u64,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<String>,
}

/// Free JSON that Neutron passes through without reading it (`binding:profile`, an agent's
/// configurations).
pub type JsonMap = serde_json::Map<String, serde_json::Value>;

/// Declares an enum whose variants have one text form each, in JSON, in display and in parsing.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant),*
        }
        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),*];

            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text),* }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl std::str::FromStr for $name {
            type Err = crate::noun::UnknownWord;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $($text => Ok($name::$variant),)*
                    _ => Err(crate::noun::UnknownWord { word: text.to_owned(), of: stringify!($name) }),
                }
            }
        }
    };
}
pub(crate) use words;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{word}' is not one of the words of {of}")]
pub struct UnknownWord {
    pub word: String,
    pub of: &'static str,
}

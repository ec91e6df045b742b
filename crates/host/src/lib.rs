//! The nouns of one machine: Open vSwitch bridges and flows, namespaces, links, routes,
//! iptables, ipsets, the files and processes of DHCP; with a parser and a printer for each
//! text form they have.
//!
//! Wanted and observed state are **one type**, [`HostState`], so that [`diff`](diff::diff) is one
//! small function and `walk` reads either. Nothing here does I/O: a parser takes text, a printer
//! gives text. Any text gives a value or a [`ParseError`] with line and column.
pub mod diff;
pub mod ipset;
pub mod iptables;
pub mod names;
pub mod netns;
pub mod ovs;
pub mod process;
pub mod shared;
pub mod snapshot;
pub mod state;
pub mod text;
pub mod why;

pub use ether::Mac;
pub use shared::Shared;
pub use state::{HostState, NsName};
pub use text::ParseError;
pub use why::{Cause, Merge, Shown, Why};

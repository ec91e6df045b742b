//! What users ask for: the nouns of Neutron's data model, typed, and the whole of them as one
//! value with its indexes.
//!
//! Nothing here touches the outside: no clock, no disk, no network, no randomness. `ledger`
//! decides what becomes of a [`State`], `store` keeps it, `api` shows it, and [`view::view`] cuts
//! out of it the part that one host needs.

pub mod attrs;
pub mod id;
pub mod import;
mod index;
pub mod noun;
pub mod state;
pub mod view;

pub use id::*;
pub use index::{Density, Indexes, number_of};
pub use noun::*;
pub use state::{Change, Key, Kind, Object, Resource, State};
pub use view::{Steps, View, steps, view};

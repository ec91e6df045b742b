//! Brings over what a running Neutron holds, so that a server of ours can take its place.
//!
//! ```text
//! Neutron ── GET ──▶ read ── answers ──▶ intent::import ── state ──▶ judge ── report
//!                                                            └──▶ write ── one transaction ──▶ store
//! ```
//!
//! Effects are [`read`] (which asks, and never changes anything) and [`write`]. Between them
//! [`judge`] is a function of the answers.
//!
//! **Nothing is taken to be understood because it could be read.** What was made of each object is
//! shown again, by the tables that show it in our API, and held against what Neutron showed,
//! attribute by attribute. So what our model has no place for, or reads wrongly, is found without
//! a list of such things: a difference that no line of [`compare`] excuses is in the way until the
//! operator names it. References and addresses are held against the ledger's own invariants.
//!
//! **Into the store, and not by commands.** A command gives a new id, the present moment, revision 0
//! and a place on an agent that is alive; here all of these are what others already refer to. A
//! server that runs could be asked before it knows everything, so there is none: the store must be
//! empty, and the writer's lease is held while it is written. One transaction makes it all or nothing.
//!
//! **A picture of one moment.** The API has no snapshot, so everything is read twice; what differs
//! between the two says that Neutron is still being changed.

mod compare;
mod judge;
mod read;
mod report;
mod write;

pub use judge::{Terms, judge};
pub use read::{Answers, Neutron, ReadError, read};
pub use report::{Finding, Report};
pub use write::{Target, WriteError};

//! The switch's configuration as its database has it: watched, not polled, and changed by one
//! transaction a pass.
pub mod cache;
pub mod client;
pub mod frame;
pub mod observe;
pub mod value;
pub mod write;

pub use cache::Cache;
pub use client::{Ovsdb, TransactError};

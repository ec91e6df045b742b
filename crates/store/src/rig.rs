//! What the tests of this crate and of those above it stand on: a PostgreSQL of their own, and a
//! proxy in front of it that loses connections at a chosen moment.

mod postgres;
mod proxy;
mod sqlite;

pub use postgres::Server;
pub use proxy::{Cut, Proxy};
pub use sqlite::Held;

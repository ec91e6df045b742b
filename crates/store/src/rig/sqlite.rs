//! A SQLite file that somebody else holds.

use std::path::Path;

use rusqlite::Connection;

/// Nobody else writes to the file while this lives.
#[derive(Debug)]
pub struct Held {
    _connection: Connection,
}

impl Held {
    /// Takes the file's lock.
    ///
    /// # Panics
    /// When the file is no database, or is held already.
    pub fn new(file: &Path) -> Self {
        let connection = Connection::open(file).expect("a database");
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .expect("its lock");
        Self {
            _connection: connection,
        }
    }
}

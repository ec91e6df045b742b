//! The tables, and how older ones are brought forward. Each step is the statements that lead from
//! one version to the next; steps are only ever added. The words are those that SQLite and
//! PostgreSQL (and the distributed databases that speak its protocol) share.

use crate::types::StoreError;

/// What leads from version n to n + 1, for every n from 0.
pub(crate) const STEPS: &[&[&str]] = &[&[
    "CREATE TABLE head (
        one INTEGER PRIMARY KEY CHECK (one = 1),
        revision BIGINT NOT NULL,
        trimmed BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        holder TEXT NOT NULL,
        address TEXT NOT NULL,
        expires BIGINT NOT NULL
    )",
    "INSERT INTO head VALUES (1, 0, 0, 0, '', '', 0)",
    "CREATE TABLE resources (
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        project TEXT,
        revision BIGINT NOT NULL,
        document TEXT NOT NULL,
        PRIMARY KEY (kind, id)
    )",
    "CREATE TABLE log (
        revision BIGINT NOT NULL,
        position BIGINT NOT NULL,
        epoch BIGINT NOT NULL,
        kind TEXT NOT NULL,
        id TEXT NOT NULL,
        operation TEXT NOT NULL,
        project TEXT,
        document TEXT,
        PRIMARY KEY (revision, position)
    )",
]];

pub(crate) const KNOWN: u32 = STEPS.len() as u32;

pub(crate) const PUT: &str = "put";
pub(crate) const DELETE: &str = "delete";

/// The version that the `meta` table tells; nothing there means that the store is being born.
pub(crate) fn version(text: Option<&str>) -> Result<u32, StoreError> {
    let damaged = StoreError::Damaged {
        what: "schema version",
    };
    let Some(text) = text else { return Ok(0) };
    let found = text.parse().map_err(|_| damaged)?;
    if found > KNOWN {
        return Err(StoreError::TooNew {
            found,
            known: KNOWN,
        });
    }
    Ok(found)
}

/// The statements that lead from a version to the newest.
pub(crate) fn steps_from(version: u32) -> impl Iterator<Item = &'static str> {
    STEPS
        .iter()
        .skip(version as usize)
        .copied()
        .flatten()
        .copied()
}

/// The table that is there before any version.
pub(crate) const META: &str =
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)";

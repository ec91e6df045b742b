//! Writing a picture to a file.

use std::error::Error;
use std::fs;
use std::path::Path;

/// A picture that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}")]
struct Unwritable {
    path: String,
    source: std::io::Error,
}

pub(crate) fn write(path: &Path, svg: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    fs::write(path, svg).map_err(|source| {
        let path = path.display().to_string();
        Unwritable { path, source }.into()
    })
}

//! The files that services read, below the state folder.
use std::collections::BTreeSet;
use std::path::Path;

use host::diff::diff;
use host::process::File;
use host::{HostState, Why};

use crate::machine::Problem;

/// The folders that hold one service's files each.
const FOLDERS: [&str; 2] = ["dhcp", "ra"];

/// Read the files that are wanted, and find those of services that no longer are.
pub(super) fn observe(state: &Path, want: &HostState, seen: &mut HostState) {
    for path in want.files.keys() {
        if let Ok(text) = std::fs::read_to_string(state.join(path)) {
            seen.files.insert(path.clone(), File::read(&text));
        }
    }
    let wanted: BTreeSet<&str> = want
        .files
        .keys()
        .filter_map(|path| path.rsplit_once('/'))
        .map(|(dir, _)| dir)
        .collect();
    for name in entries(&state.join(FOLDERS[0])) {
        let dir = format!("{}/{name}", FOLDERS[0]);
        if !wanted.contains(dir.as_str()) {
            seen.files.insert(dir, File::default());
        }
    }
    for name in entries(&state.join(FOLDERS[1])) {
        let path = format!("{}/{name}", FOLDERS[1]);
        seen.files.entry(path).or_default();
    }
}

fn entries(dir: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
}

/// Write what differs, take away what is not wanted.
pub(super) fn apply(
    state: &Path,
    have: &HostState,
    want: &HostState,
    problems: &mut Vec<Problem>,
) -> usize {
    let difference = diff(&have.files, &want.files);
    let mut fail = |path: &str, what: &str, error: std::io::Error| {
        let text = format!("file {path} can't be {what}: {error}");
        problems.push(Problem {
            text,
            why: Why::none(),
        });
    };
    for (path, _) in &difference.remove {
        let full = state.join(path);
        let gone = if full.is_dir() {
            std::fs::remove_dir_all(&full)
        } else {
            std::fs::remove_file(&full)
        };
        if let Err(error) = gone {
            fail(path, "removed", error);
        }
    }
    for put in &difference.put {
        if let Err(error) =
            crate::server::write_whole(&state.join(put.key), put.new.print().as_bytes())
        {
            fail(put.key, "written", error);
        }
    }
    difference.len()
}

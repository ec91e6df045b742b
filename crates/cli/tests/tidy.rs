//! The house rules that a compiler does not keep: what pure crates may depend on and call, which
//! way imports run, that every file says what it is for, how long a file may get.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// Crates that never touch a machine, a clock, a disk or a network.
const PURE: [&str; 6] = ["ether", "intent", "ledger", "host", "plan", "walk"];

/// What a pure crate must not pull in, however far down.
const IMPURE_DEPENDENCIES: [&str; 10] = [
    "tokio",
    "nix",
    "hyper",
    "axum",
    "rusqlite",
    "tokio-postgres",
    "netlink-sys",
    "rand",
    "mio",
    "socket2",
];

/// What a pure crate must not say.
const IMPURE_WORDS: [&str; 10] = [
    "Instant::now",
    "SystemTime::now",
    "env::var",
    "env::args",
    "Command::new",
    "std::fs",
    "std::process",
    "TcpStream",
    "UnixStream",
    "Uuid::new_v4",
];

/// A crate and those of the house that it may import (the arrow runs downwards only).
const MAY_IMPORT: [(&str, &[&str]); 11] = [
    ("ether", &[]),
    ("intent", &["ether"]),
    ("host", &["ether"]),
    ("ledger", &["intent"]),
    ("tls", &[]),
    ("store", &["intent", "tls"]),
    ("plan", &["intent", "host"]),
    ("walk", &["intent", "host", "plan"]),
    ("agent", &["intent", "host", "plan", "tls"]),
    (
        "api",
        &["intent", "ledger", "store", "plan", "host", "walk", "tls"],
    ),
    ("lab", &["intent", "host", "tls"]),
];

const HOUSE: [&str; 12] = [
    "ether", "intent", "ledger", "store", "api", "host", "plan", "agent", "lab", "walk", "tls",
    "cli",
];

/// Lines a file may have; tables of facts and tests may have more.
const MOST_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The crates that a crate is built from, itself left out, down to some depth.
fn dependencies(name: &str, depth: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "-p", name, "-e", "normal"])
        .args(["--prefix", "none", "--format", "{p}", "--depth", depth])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(
        output.status.success(),
        "cargo tree -p {name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).expect("cargo tree speaks UTF-8");
    let names = text.lines().filter_map(|line| line.split(' ').next());
    let found: BTreeSet<String> = names.map(str::to_owned).collect();
    assert!(found.contains(name), "cargo tree -p {name} names {name}");
    found.into_iter().filter(|found| found != name).collect()
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a folder of the project") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn sources_of(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    rust_files(&root().join("crates").join(name).join("src"), &mut found);
    assert!(!found.is_empty(), "crate {name} has sources");
    found
}

/// The lines of a file before its unit tests.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a source file");
    match text.find("#[cfg(test)]\nmod tests {") {
        Some(at) => text[..at].to_owned(),
        None => text,
    }
}

fn is_test_file(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path
            .file_stem()
            .is_some_and(|stem| stem.to_string_lossy().ends_with("tests"))
}

#[test]
fn pure_crates_depend_on_nothing_that_touches_the_outside() {
    for name in PURE {
        let found = dependencies(name, "100");
        for impure in IMPURE_DEPENDENCIES {
            assert!(!found.contains(impure), "crate {name} pulls in {impure}");
        }
    }
}

#[test]
fn pure_crates_call_nothing_that_touches_the_outside() {
    for name in PURE {
        for path in sources_of(name).iter().filter(|path| !is_test_file(path)) {
            let code = code_of(path);
            for word in IMPURE_WORDS {
                assert!(!code.contains(word), "{} says {word}", path.display());
            }
        }
    }
}

#[test]
fn imports_run_downwards_only() {
    for (name, allowed) in MAY_IMPORT {
        for found in dependencies(name, "1") {
            let house = HOUSE.contains(&found.as_str());
            let may = allowed.contains(&found.as_str());
            assert!(!house || may, "crate {name} must not import {found}");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    let mut files = Vec::new();
    rust_files(&root().join("crates"), &mut files);
    for path in files {
        let text = fs::read_to_string(&path).expect("a source file");
        assert!(text.starts_with("//!"), "{} opens with //!", path.display());
    }
}

#[test]
fn files_stay_small_enough_to_hold_in_the_head() {
    let mut long = Vec::new();
    for name in HOUSE {
        for path in sources_of(name) {
            // One declaration a line, read like a table; and tests are not design.
            let table = path.components().any(|part| part.as_os_str() == "attrs");
            let lines = code_of(&path).lines().count();
            if lines > MOST_LINES && !table && !is_test_file(&path) {
                long.push(format!("{}: {lines} lines", path.display()));
            }
        }
    }
    assert!(long.is_empty(), "too long:\n{}", long.join("\n"));
}

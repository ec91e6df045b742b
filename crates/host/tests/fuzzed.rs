//! Whatever a snapshot's file says: it is read, or refused with a place in it. Every kind of file
//! of the recorded hosts is damaged at random, and every kind is given bytes that mean nothing.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use host::snapshot::{Files, load};
use proptest::prelude::*;

/// Enough lines to have every form, few enough to try often.
const LINES: usize = 60;

/// A text of each kind of file, under the path that it has below its host.
fn samples() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/dataplane");
    let mut kinds: BTreeMap<String, (String, String)> = BTreeMap::new();
    for folder in [
        "vxlan-dvr-hybrid/c1",
        "vxlan-dvr-hybrid/net",
        "vxlan-legacy-ovsfw/net",
    ] {
        collect(&root.join(folder), "", &mut kinds);
    }
    let mut found: Vec<_> = kinds.into_values().collect();
    // Kinds that are read where a host has them, and that the recorded hosts are without.
    found.push((
        "groups-br-int.txt".to_owned(),
        "OFPST_GROUP_DESC reply (OF1.3) (xid=0x2):\n \
         group_id=1,type=all,bucket=actions=output:1,bucket=actions=output:2\n"
            .to_owned(),
    ));
    found.push((
        "ns-root/bridges.txt".to_owned(),
        "bridge name\tbridge id\t\tSTP enabled\tinterfaces\nqbr1\t\t8000.000000000000\tno\t\ttap1\n"
            .to_owned(),
    ));
    assert!(found.len() > 20, "every kind is there: {}", found.len());
    found
}

fn collect(folder: &Path, start: &str, kinds: &mut BTreeMap<String, (String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of the reference") {
        let entry = entry.expect("an entry");
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{start}{name}");
        if entry.file_type().expect("its type").is_dir() {
            collect(&entry.path(), &format!("{path}/"), kinds);
            continue;
        }
        let text = fs::read_to_string(entry.path()).expect("a text");
        let lines = text
            .lines()
            .take(LINES)
            .flat_map(|l| [l, "\n"])
            .collect::<String>();
        // The longest of a kind has the most forms.
        let kind = kind_of(&name).to_owned();
        let known = kinds.get(&kind).map_or(0, |(_, text)| text.len());
        if lines.len() > known {
            kinds.insert(kind, (path, lines));
        }
    }
}

/// Files of several bridges are of one kind.
fn kind_of(name: &str) -> &str {
    match name.split_once("-br-") {
        Some((kind, _)) => kind,
        None => name,
    }
}

/// Reads a host that has this file and no other; what is said of it has a place in it. Was
/// anything said?
fn check(path: &str, text: &str) -> Result<bool, TestCaseError> {
    let files = Files::from([(path.to_owned(), text.to_owned())]);
    let problems = load("h", &files).problems;
    for problem in &problems {
        let error = &problem.error;
        prop_assert_eq!(problem.path.as_str(), path);
        let lines: Vec<&str> = text.split('\n').collect();
        prop_assert!(
            (1..=lines.len()).contains(&error.line),
            "{error} of {} lines",
            lines.len()
        );
        let width = lines[error.line - 1].len();
        prop_assert!(
            (1..=width + 1).contains(&error.column),
            "{error}: {width} wide"
        );
        prop_assert!(!error.message.is_empty());
        let said = problem.to_string();
        let start = format!("{path}: line {}, column {}: ", error.line, error.column);
        prop_assert!(said.starts_with(&start), "{said}");
    }
    Ok(!problems.is_empty())
}

/// One thing done to a text's bytes.
#[derive(Clone, Debug)]
enum Damage {
    Cut(prop::sample::Index, usize),
    Insert(prop::sample::Index, Vec<u8>),
    Overwrite(prop::sample::Index, u8),
    /// What stands in one place is put in another as well.
    Copy(prop::sample::Index, prop::sample::Index, usize),
    End(prop::sample::Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), 1..20usize).prop_map(|(at, n)| Damage::Cut(at, n)),
        (at(), prop::collection::vec(any::<u8>(), 1..6)).prop_map(|(at, b)| Damage::Insert(at, b)),
        (at(), "[0-9a-f:/.,=()\\[\\]{}\"' \\n\\t-]")
            .prop_map(|(at, s)| Damage::Overwrite(at, s.as_bytes()[0])),
        (at(), at(), 1..40usize).prop_map(|(from, to, n)| Damage::Copy(from, to, n)),
        at().prop_map(Damage::End),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match damage {
        Damage::Cut(at, n) => {
            let at = at.index(len);
            bytes.drain(at..(at + n).min(len));
        }
        Damage::Insert(at, new) => {
            let at = at.index(len);
            bytes.splice(at..at, new.iter().copied());
        }
        Damage::Overwrite(at, byte) => bytes[at.index(len)] = *byte,
        Damage::Copy(from, to, n) => {
            let (from, to) = (from.index(len), to.index(len));
            let piece = bytes[from..(from + n).min(len)].to_vec();
            bytes.splice(to..to, piece);
        }
        Damage::End(at) => bytes.truncate(at.index(len)),
    }
}

/// Often enough to be of use in a run of everything; `PROPTEST_CASES` says more.
fn cases() -> ProptestConfig {
    let asked = std::env::var_os("PROPTEST_CASES").is_some();
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: if asked { usual.cases } else { 1500 },
        failure_persistence: None,
        ..usual
    }
}

#[test]
fn damaged_files_are_read_or_refused_with_a_place() {
    let samples = samples();
    let case = (
        any::<prop::sample::Index>(),
        prop::collection::vec(damage(), 1..8),
    );
    proptest!(cases(), |((which, damages) in case)| {
        let (path, text) = which.get(&samples);
        let mut bytes = text.clone().into_bytes();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        check(path, &String::from_utf8_lossy(&bytes))?;
    });
}

#[test]
fn bytes_without_meaning_are_read_or_refused_with_a_place() {
    let samples = samples();
    let case = (
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 0..200),
    );
    proptest!(cases(), |((which, bytes) in case)| {
        let (path, _) = which.get(&samples);
        check(path, &String::from_utf8_lossy(&bytes))?;
    });
}

#[test]
fn a_file_of_one_kind_in_the_place_of_another_is_read_or_refused_with_a_place() {
    let samples = samples();
    let mut refused = 0;
    for (path, _) in &samples {
        for (_, text) in &samples {
            let said = check(path, text).unwrap_or_else(|error| panic!("{path}: {error}"));
            refused += usize::from(said);
        }
    }
    assert!(
        refused > samples.len(),
        "texts of other kinds are refused: {refused}"
    );
}

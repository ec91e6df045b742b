//! Whatever a snapshot's files say, a walk ends with a verdict: lines are taken out, doubled, cut
//! short and written over at random, and nothing panics or goes round for ever. What cannot be
//! read of the API's answers is said with its place.
mod common;

use std::cell::Cell;
use std::collections::BTreeMap;

use common::{read_folder, reference};
use proptest::prelude::*;
use walk::question::Question;
use walk::snapshot::{self, Parts};

fn ask(from: &str, to: &str, port: Option<u16>, size: Option<u32>) -> Question {
    Question {
        from: from.to_owned(),
        to: to.to_owned(),
        port,
        size,
        ..Question::default()
    }
}

/// One way of damaging a line.
fn damage(line: &str, how: u8, garbage: &str) -> String {
    let half = line
        .char_indices()
        .nth(line.chars().count() / 2)
        .map_or(0, |(at, _)| at);
    match how % 5 {
        0 => String::new(),
        1 => format!("{line}\n{line}"),
        2 => line[..half].to_owned(),
        3 => format!("{}{garbage}{}", &line[..half], &line[half..]),
        _ => line
            .chars()
            .map(|c| if c.is_ascii_digit() { '9' } else { c })
            .collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_files_give_a_verdict(
        case in prop::sample::select(vec![
            "00-healthy-legacy-hybrid", "30-healthy-dvr-hybrid", "40-healthy-legacy-ovsfw",
        ]),
        places in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 1..40),
        garbage in "\\PC{0,12}",
        size in prop::option::of(any::<u32>()),
    ) {
        let mut files = read_folder(&reference("faults").join(case));
        files.remove("truth.json");
        let names: Vec<String> = files.keys().filter(|f| !f.starts_with("api/")).cloned().collect();
        for (file, line, how) in places {
            let text = files.get_mut(file.get(&names)).unwrap();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if !lines.is_empty() {
                let at = line.index(lines.len());
                lines[at] = damage(&lines[at], how, &garbage);
                *text = lines.join("\n");
            }
        }
        let world = snapshot::load(&files).world;
        for question in [
            ask("red1", "green2", Some(22), None),
            ask("red2", "outside", None, size),
            ask("red3", "metadata", None, None),
            ask("red2", "dhcp", None, None),
        ] {
            let walk = walk::walk(&world, &question);
            prop_assert!(walk.is_ok() || world.hosts.len() < 3, "{:?}", walk.err());
        }
    }
}

/// The API's answers of a recorded cloud.
fn recorded() -> BTreeMap<String, String> {
    let mut files = read_folder(&reference("faults").join("30-healthy-dvr-hybrid"));
    files.retain(|path, _| path.starts_with("api/"));
    files
}

/// What is said of the API's answers names a place that is there: were any refused?
fn is_refused(
    files: &BTreeMap<String, String>,
    problems: &[String],
) -> Result<bool, TestCaseError> {
    let mut refused = false;
    for problem in problems.iter().filter(|p| p.starts_with("api/")) {
        refused = true;
        let parts: Vec<&str> = problem.splitn(4, [':', ',']).collect();
        let [path, line, column, message] = parts[..] else {
            return Err(TestCaseError::fail(problem.clone()));
        };
        let number = |text: &str, word| text.trim().strip_prefix(word)?.parse::<usize>().ok();
        let (line, column) = (number(line, "line "), number(column, "column "));
        let place = line.zip(column).filter(|(l, c)| *l > 0 && *c > 0);
        prop_assert!(place.is_some() && !message.trim().is_empty(), "{problem}");
        let (line, column) = place.unwrap_or_default();
        let lines: Vec<&str> = files[path].split('\n').collect();
        prop_assert!(line <= lines.len(), "{problem}");
        prop_assert!(column <= lines[line - 1].len() + 1, "{problem}");
    }
    Ok(refused)
}

fn often(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

#[test]
fn damaged_answers_of_the_api_are_read_or_refused_with_a_place() {
    let healthy = recorded();
    let names: Vec<&String> = healthy.keys().collect();
    let damages = prop::collection::vec(
        (
            any::<prop::sample::Index>(),
            any::<u8>(),
            "[\"{}\\[\\],:0-9a-z\\PC]{0,8}",
        ),
        1..6,
    );
    proptest!(often(30), |(file in any::<prop::sample::Index>(), damages in damages)| {
        let mut files = healthy.clone();
        let text = files.get_mut(*file.get(&names)).unwrap();
        for (place, how, garbage) in damages {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            if !lines.is_empty() {
                let at = place.index(lines.len());
                lines[at] = damage(&lines[at], how, &garbage);
                *text = lines.join("\n");
            }
        }
        let parts = Parts::read(&files);
        is_refused(&files, &parts.problems)?;
        let world = parts.imagine().world;
        // Whom a question is about may have gone with the damage; that is said then.
        for question in [ask("red1", "green2", Some(22), None), ask("red2", "outside", None, None)] {
            let said = walk::walk(&world, &question);
            prop_assert!(said.is_ok() || !said.unwrap_err().to_string().is_empty());
        }
    });
}

#[test]
fn bytes_in_the_place_of_the_apis_answers_are_refused_with_a_place() {
    let names: Vec<String> = recorded().into_keys().collect();
    let refused = Cell::new(0);
    let bytes = prop::collection::vec(any::<u8>(), 0..60);
    proptest!(often(2000), |(name in prop::sample::select(names), bytes in bytes)| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let files = BTreeMap::from([(name, text)]);
        let said = is_refused(&files, &snapshot::load(&files).problems)?;
        refused.set(refused.get() + u32::from(said));
    });
    assert!(refused.get() > 1000, "bytes are no JSON: {}", refused.get());
}

/// Every collection in the place of every other: an answer of another kind is refused, too.
#[test]
fn an_answer_of_one_kind_in_the_place_of_another_is_read_or_refused_with_a_place() {
    let healthy = recorded();
    for path in healthy.keys() {
        for (from, text) in &healthy {
            let files = BTreeMap::from([(path.clone(), text.clone())]);
            let refused = is_refused(&files, &snapshot::load(&files).problems).unwrap();
            let same = path == from || path.contains("agents") && from.contains("agents");
            assert!(refused || same, "{from} as {path}");
        }
    }
}

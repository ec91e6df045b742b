//! Whatever a snapshot's files say, a walk ends with a verdict: lines are taken out, doubled, cut
//! short and written over at random, and nothing panics or goes round for ever.
mod common;

use common::{read_folder, reference};
use proptest::prelude::*;
use walk::question::Question;
use walk::snapshot;

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

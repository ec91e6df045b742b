//! The stories that `docs/walk.md` tells are what walk prints.
mod common;

use std::path::Path;

use common::{read_folder, reference};
use walk::print::{Style, print};
use walk::question::Question;
use walk::snapshot;

/// What follows the command on the command line, as far as stories use it.
fn question(words: &[&str]) -> Question {
    let after = |flag: &str| {
        let at = words.iter().position(|word| *word == flag)?;
        words.get(at + 1).copied()
    };
    Question {
        from: words[0].to_owned(),
        to: words[1].to_owned(),
        proto: after("--proto").map(str::to_owned),
        port: after("--port").and_then(|port| port.parse().ok()),
        ..Question::default()
    }
}

/// Every line told is the line printed, or, where it was cut short, its beginning.
#[test]
fn the_stories_of_the_documents_are_walks_own_words() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/walk.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, stories) = page.split_once("## Stories").expect("stories");
    let mut told = 0;
    for story in stories.split("\n**").skip(1) {
        let command = story.split("`nucleon walk ").nth(1).expect("a command");
        let command = command.split('`').next().unwrap();
        let words: Vec<&str> = command.split_whitespace().collect();
        let folder = words.last().unwrap();
        let case = folder.strip_prefix("tests/reference/").expect(folder);
        let shown = story.split("```\n").nth(1).expect("what it prints");
        let world = snapshot::load(&read_folder(&reference(case))).world;
        let walk = walk::walk(&world, &question(&words)).unwrap();
        let printed = print(&walk, Style::default());
        let whole = !story.contains("` begins:");
        let mut lines = printed.lines();
        for line in shown.lines() {
            let real = lines.next().unwrap_or("");
            let same = match line.strip_suffix('…') {
                Some(start) => real.starts_with(start),
                None => real.trim_end() == line,
            };
            assert!(
                same,
                "nucleon walk {command}\n told: {line}\n real: {real}\n\n{printed}"
            );
        }
        assert!(
            !whole || lines.next().is_none(),
            "nucleon walk {command}\n{printed}"
        );
        told += 1;
    }
    assert!(told >= 3, "stories are told: {told}");
}

//! Pictures and texts of recorded walks: well-formed, and showing who takes part.
mod common;

use common::{read_folder, reference};
use walk::print::Style;
use walk::question::Question;
use walk::reach::{Reaches, Wish, compare, reach};
use walk::world::World;
use walk::{picture, print, snapshot};

fn world(case: &str) -> World {
    snapshot::load(&read_folder(&reference("faults").join(case))).world
}

/// Every element that is opened is closed, and nothing stands in text that has to be escaped.
fn assert_well_formed(svg: &str) {
    let mut open: Vec<&str> = Vec::new();
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("a tag ends");
        assert!(!text.contains('&') || text.contains(';'), "{text}");
        let name = tag.split_whitespace().next().unwrap();
        match name.strip_prefix('/') {
            Some(name) => assert_eq!(open.pop(), Some(name)),
            None if tag.ends_with('/') => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty(), "{open:?}");
}

#[test]
fn a_walk_is_drawn_with_its_places_and_its_loss() {
    let world = world("42-ct-new-accept-missing");
    let question = Question {
        from: "red1".to_owned(),
        to: "green2".to_owned(),
        port: Some(22),
        ..Question::default()
    };
    let walk = walk::walk(&world, &question).unwrap();
    let svg = picture::walk(&world, &walk);
    assert_well_formed(&svg);
    for word in [
        "red1",
        "green2",
        "br-int",
        "br-tun",
        "tunnels",
        "router vr",
        "MISSING",
    ] {
        assert!(svg.contains(word), "{word} is in the picture");
    }
    let text = print::print(&walk, Style::default());
    assert!(text.starts_with("dropped: red1 to green2"), "{text}");
    assert!(!text.contains('\x1b'), "plain text without a terminal");
    let coloured = print::print(
        &walk,
        Style {
            colour: true,
            all: true,
        },
    );
    assert!(coloured.contains('\x1b') && coloured.len() > text.len());
}

#[test]
fn a_world_is_drawn_without_a_packet() {
    let svg = picture::topology(&world("30-healthy-dvr-hybrid"));
    assert_well_formed(&svg);
    assert!(svg.contains("fip public") && svg.contains("physical network external"));
}

#[test]
fn reach_tells_what_a_change_closed() {
    let wish = Wish {
        port: Some(22),
        ..Wish::default()
    };
    let before = reach(&world("00-healthy-legacy-hybrid"), &wish);
    let after = reach(&world("01-sg-rule-deleted"), &wish);
    assert_eq!(before.len(), 30, "six guests, every pair");
    assert_well_formed(&picture::reach(&before));
    let changed = compare(&before, &after);
    assert!(!changed.is_empty());
    for row in changed {
        assert!(row.to.starts_with("green"), "{row:?}");
        assert_eq!(
            (row.before, row.after),
            (Some(Reaches::Yes), Some(Reaches::No))
        );
    }
}

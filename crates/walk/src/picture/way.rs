//! A packet's way on the picture: there in one colour, back in another, and a cross where it ends.
use std::collections::BTreeSet;

use super::layout::{Key, Layout, TUNNELS};
use super::{Svg, cut, escape};
use crate::report::{Step, Verdict, Walk};

/// Room above the hosts for the verdict, and below them for what the colours mean.
pub(super) const HEAD: f64 = 86.0;
pub(super) const FOOT: f64 = 30.0;

const THERE: &str = "#1b7f3b";
const BACK: &str = "#c2571a";
const LOST: &str = "#c0262d";
pub(super) const COLOURS: [&str; 3] = [THERE, BACK, LOST];

pub(super) fn draw(layout: &Layout, walk: &Walk, svg: &mut Svg) {
    head(walk, svg, layout.width);
    let there = places(layout, &walk.forward);
    let back = places(layout, &walk.reverse);
    let there = line(layout, &there, -5.0, (THERE, false), svg);
    let back = line(layout, &back, 5.0, (BACK, true), svg);
    if walk.verdict != Verdict::Delivered {
        cross(there, svg);
    } else if !walk.replied && !walk.reverse.is_empty() {
        cross(back, svg);
    }
    foot(walk, svg, layout);
}

fn head(walk: &Walk, svg: &mut Svg, width: f64) {
    let colour = match walk.verdict {
        Verdict::Delivered if walk.replied => THERE,
        Verdict::Delivered => BACK,
        _ => LOST,
    };
    let room = |size: f64| (width / size) as usize;
    svg.text(
        (16.0, 26.0),
        &cut(&walk.summary, room(8.8)),
        "15",
        colour,
        "start",
    );
    if let Some(at) = &walk.at {
        let mono = |y: f64, text: &str| {
            format!(
                "<text x=\"16\" y=\"{y}\" font-size=\"11\" fill=\"#1f2933\" \
                 font-family=\"DejaVu Sans Mono, monospace\">{}</text>",
                escape(&cut(text, room(6.9)))
            )
        };
        svg.raw(&mono(46.0, &at.rule));
        let why = format!("{}: {}", at.host, at.why);
        svg.text(
            (16.0, 64.0),
            &cut(&why, room(6.6)),
            "11",
            "#44546a",
            "start",
        );
    }
}

fn foot(walk: &Walk, svg: &mut Svg, layout: &Layout) {
    let y = layout.height + 14.0;
    svg.line((16.0, y - 4.0), (46.0, y - 4.0), THERE, 3.0);
    svg.text((52.0, y), "the way there", "11", "#44546a", "start");
    if !walk.reverse.is_empty() {
        svg.line((160.0, y - 4.0), (190.0, y - 4.0), BACK, 3.0);
        svg.text((196.0, y), "the way back", "11", "#44546a", "start");
    }
}

/// The boxes that a packet passes, with the networks between hosts put in.
fn places(layout: &Layout, steps: &[Step]) -> Vec<Key> {
    let mut way: Vec<Key> = Vec::new();
    for step in steps {
        let key = (step.host.clone(), step.place.clone());
        let Some(key) = layout.nodes.contains_key(&key).then_some(key) else {
            continue;
        };
        if way.last() == Some(&key) {
            continue;
        }
        if let Some(last) = way.last().cloned()
            && last.0 != key.0
            && let Some(band) = between(layout, &last, &key)
        {
            way.push(band);
        }
        way.push(key);
    }
    way
}

/// The network that joins two boxes of different hosts.
fn between(layout: &Layout, a: &Key, b: &Key) -> Option<Key> {
    let bands = layout.nodes.keys().filter(|k| k.0.is_empty());
    let joined = |key: &Key, band: &Key| {
        layout
            .links
            .iter()
            .any(|(x, y)| (x, y) == (key, band) || (x, y) == (band, key))
    };
    let both = |band: &&Key| joined(a, band) && joined(b, band);
    let mut bands: Vec<&Key> = bands.filter(both).collect();
    bands.sort_by_key(|k| k.1 != TUNNELS);
    bands.first().copied().cloned()
}

/// Draw a way, and say where it ends.
fn line(
    layout: &Layout,
    way: &[Key],
    aside: f64,
    (colour, dashed): (&str, bool),
    svg: &mut Svg,
) -> Option<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    if let Some(node) = way.first().and_then(|k| layout.nodes.get(k)) {
        points.push((node.x + node.w / 2.0 + aside, node.y + node.h - 6.0));
    }
    for pair in way.windows(2) {
        let [a, b] = pair else {
            continue;
        };
        if let Some(((x1, y1), (x2, y2))) = layout.link(a, b) {
            // Inside a wide box the way goes along its middle.
            let middle = |key: &Key, y: f64| {
                let node = layout.nodes.get(key);
                node.filter(|n| n.w > 110.0)
                    .map_or(y, |n| n.y + n.h / 2.0 + aside)
            };
            points.push((x1 + aside, middle(a, y1)));
            points.push((x2 + aside, middle(b, y2)));
        }
    }
    if let Some(node) = way.last().and_then(|k| layout.nodes.get(k))
        && let Some((x, y)) = points.last().copied()
    {
        let inside = if y <= node.y + 1.0 { node.y + 8.0 } else { y };
        let inside = if y >= node.y + node.h - 1.0 {
            node.y + node.h - 8.0
        } else {
            inside
        };
        points.push((x, inside));
    }
    if points.len() > 1 {
        svg.way(&points, colour, dashed);
    }
    points.last().copied()
}

fn cross(at: Option<(f64, f64)>, svg: &mut Svg) {
    let Some((x, y)) = at else {
        return;
    };
    let r = 7.0;
    svg.raw(&format!(
        "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"11\" fill=\"white\" stroke=\"{LOST}\" stroke-width=\"2\"/>"
    ));
    let r = r * 0.7;
    svg.line((x - r, y - r), (x + r, y + r), LOST, 3.0);
    svg.line((x - r, y + r), (x + r, y - r), LOST, 3.0);
}

/// The letters of the documents' map, at the boxes' edges that they name.
pub(super) fn letters(layout: &Layout, walk: &Walk, svg: &mut Svg) {
    let steps = walk.forward.iter().chain(&walk.reverse);
    let mut seen: BTreeSet<(String, String, char)> = BTreeSet::new();
    for step in steps {
        if let Some(letter) = step.letter {
            seen.insert((step.host.clone(), step.place.clone(), letter));
        }
    }
    let mut used: BTreeSet<(String, char)> = BTreeSet::new();
    for (host, place, letter) in seen {
        let Some(node) = layout.nodes.get(&(host.clone(), place)) else {
            continue;
        };
        if !used.insert((host, letter)) {
            continue;
        }
        let slot = (u32::from(letter) - u32::from('A')) % 4;
        let x = node.x + 9.0 + f64::from(slot) * 17.0;
        let y = node.y + node.h;
        svg.raw(&format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"7.5\" fill=\"#ffffff\" stroke=\"#44546a\"/>"
        ));
        svg.text((x, y + 3.5), &letter.to_string(), "10", "#1f2933", "middle");
    }
}

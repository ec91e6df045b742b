//! The table of who reaches whom, as squares.
use std::collections::BTreeMap;

use super::Svg;
use crate::reach::{Reaches, Row};

const CELL: f64 = 22.0;

/// Senders down, receivers across.
pub fn reach(rows: &[Row]) -> String {
    let mut down: BTreeMap<&str, usize> = BTreeMap::new();
    let mut across: BTreeMap<&str, usize> = BTreeMap::new();
    for row in rows {
        let n = down.len();
        down.entry(&row.from).or_insert(n);
        let n = across.len();
        across.entry(&row.to).or_insert(n);
    }
    let longest = down
        .keys()
        .chain(across.keys())
        .map(|n| n.chars().count())
        .max()
        .unwrap_or(4);
    let edge = 24.0 + longest as f64 * 7.5;
    let width = edge + across.len() as f64 * CELL + 24.0;
    let height = edge + down.len() as f64 * CELL + 60.0;
    let mut svg = Svg::new(width.max(360.0), height);
    for (name, n) in &down {
        let y = edge + *n as f64 * CELL + CELL * 0.7;
        svg.text((edge - 8.0, y), name, "12", "#1f2933", "end");
    }
    for (name, n) in &across {
        let x = edge + *n as f64 * CELL + CELL * 0.65;
        svg.raw(&format!(
            "<g transform=\"translate({x:.1} {:.1}) rotate(-90)\">",
            edge - 8.0
        ));
        svg.text((0.0, 0.0), name, "12", "#1f2933", "start");
        svg.raw("</g>");
    }
    for row in rows {
        let (Some(y), Some(x)) = (down.get(row.from.as_str()), across.get(row.to.as_str())) else {
            continue;
        };
        let at = (edge + *x as f64 * CELL, edge + *y as f64 * CELL);
        svg.rect(
            at.0,
            at.1,
            (CELL - 2.0, CELL - 2.0),
            (colour(row.reaches), "none"),
            3.0,
        );
    }
    legend(&mut svg, height - 22.0);
    svg.end()
}

fn colour(reaches: Reaches) -> &'static str {
    match reaches {
        Reaches::Yes => "#5fb878",
        Reaches::No => "#e6e9ed",
        Reaches::OneWay => "#f0b04c",
        Reaches::Unknown => "#b9a3d6",
    }
}

fn legend(svg: &mut Svg, y: f64) {
    let all = [Reaches::Yes, Reaches::No, Reaches::OneWay, Reaches::Unknown];
    for (n, reaches) in all.into_iter().enumerate() {
        let x = 16.0 + n as f64 * 84.0;
        svg.rect(x, y - 11.0, (14.0, 14.0), (colour(reaches), "#adb5bd"), 2.0);
        svg.text((x + 19.0, y), reaches.word(), "11", "#44546a", "start");
    }
}

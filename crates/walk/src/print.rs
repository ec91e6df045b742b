//! A walk as text: the verdict first, then a line a step. Steps that change nothing and only lead
//! to the next table are left out unless all are asked for.
use std::fmt::Write as _;

use crate::report::{At, Resolution, Step, Verdict, Walk};

/// How to print.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    pub colour: bool,
    /// Every step, also those that only lead to the next table.
    pub all: bool,
}

const BOLD: &str = "1";
const GREEN: &str = "32";
const RED: &str = "31";
const YELLOW: &str = "33";
const DIM: &str = "2";

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        match self.colour {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// The whole walk.
pub fn print(walk: &Walk, style: Style) -> String {
    let mut out = String::new();
    let colour = match (walk.verdict, walk.replied) {
        (Verdict::Delivered, true) => GREEN,
        (Verdict::Unknown, _) | (Verdict::Delivered, false) => YELLOW,
        (Verdict::Dropped, _) => RED,
    };
    let _ = writeln!(out, "{}", style.paint(colour, &walk.summary));
    if let Some(at) = &walk.at {
        place(&mut out, at, style);
    }
    if let Some(fix) = &walk.fix {
        let _ = writeln!(out, "  would let it pass: {}", style.paint(BOLD, fix));
    }
    for note in &walk.notes {
        let _ = writeln!(out, "  note: {note}");
    }
    for question in walk.arp.iter().filter(|q| style.all || q.mac.is_none()) {
        arp(&mut out, question, style);
    }
    steps(&mut out, "the way there", &walk.forward, style);
    steps(&mut out, "the way back", &walk.reverse, style);
    out
}

fn place(out: &mut String, at: &At, style: Style) {
    let device = if at.device.is_empty() {
        String::new()
    } else {
        format!(", {}", at.device)
    };
    let _ = writeln!(out, "  at {}, {}{device}: {}", at.host, at.place, at.why);
    if !at.rule.is_empty() {
        let _ = writeln!(out, "  {}", style.paint(BOLD, &at.rule));
    }
    let more = [
        ("should be", &at.wanted),
        ("dropped by", &at.dropped_by),
        ("not there, and would accept it", &at.would_pass),
        ("asked for by", &at.intent),
    ];
    for (word, text) in more {
        if let Some(text) = text {
            let _ = writeln!(out, "  {word}: {text}");
        }
    }
}

fn arp(out: &mut String, question: &Resolution, style: Style) {
    let answer = match &question.mac {
        Some(mac) => format!("is at {mac}"),
        None => "nobody answers".to_owned(),
    };
    let head = format!(
        "{} asks who has {}: {answer}",
        question.who, question.address
    );
    steps(out, &head, &question.steps, style);
}

/// Does a step say more than that the packet goes on to the next table?
fn says_something(step: &Step) -> bool {
    let leads_on = step.what.contains(", on to table ") || step.what.starts_with("into the bridge");
    !leads_on || !step.changes.is_empty()
}

fn steps(out: &mut String, head: &str, steps: &[Step], style: Style) {
    if steps.is_empty() {
        return;
    }
    let _ = writeln!(out, "{}:", style.paint(BOLD, head));
    let shown: Vec<&Step> = steps
        .iter()
        .filter(|s| style.all || says_something(s))
        .collect();
    let width = |get: fn(&Step) -> usize| shown.iter().map(|s| get(s)).max().unwrap_or(0);
    let host = width(|s| s.host.chars().count());
    let place = width(|s| at(s).chars().count()).min(34);
    for step in shown {
        let letter = step.letter.map_or(" ".to_owned(), |l| l.to_string());
        let _ = write!(
            out,
            "  {letter} {:host$}  {:place$}  {}",
            step.host,
            at(step),
            step.what
        );
        for change in &step.changes {
            let text = format!("{} {} → {}", change.field, change.before, change.after);
            let _ = write!(out, "  [{}]", style.paint(YELLOW, &text));
        }
        let _ = writeln!(out);
        let indent = 6 + host + 2;
        if let Some(rule) = &step.rule {
            let _ = writeln!(out, "{:indent$}{}", "", style.paint(DIM, rule));
        }
        if let Some(intent) = &step.intent {
            let _ = writeln!(out, "{:indent$}because of {intent}", "");
        }
    }
}

/// The namespace or bridge and the device in it, the ids of long names cut.
fn at(step: &Step) -> String {
    let place = match step.place.split_once('-') {
        Some((kind @ ("qrouter" | "qdhcp" | "snat" | "fip"), id)) => {
            let id: String = id.chars().take(8).collect();
            format!("{kind}-{id}")
        }
        _ => step.place.clone(),
    };
    if step.device.is_empty() || step.device == step.place {
        place
    } else {
        format!("{place}/{}", step.device)
    }
}

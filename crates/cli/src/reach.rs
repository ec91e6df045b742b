//! `nucleon reach`: who reaches whom.

use crate::Outcome;
use crate::picture;
use crate::source::{Source, read};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use walk::reach::{Reaches, Row, Wish, compare, reach};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Only these senders: names or ids of ports or networks
    #[arg(long, value_name = "NAME")]
    from: Vec<String>,
    /// Only these receivers
    #[arg(long, value_name = "NAME")]
    to: Vec<String>,
    #[arg(long)]
    proto: Option<String>,
    #[arg(long)]
    port: Option<u16>,
    /// Ask every pair by itself, also where there are many guests
    #[arg(long)]
    every_pair: bool,
    #[arg(long)]
    json: bool,
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Show only what is different from an earlier run's --json
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
    /// Draw the table
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

/// The process ends with 0; with --compare, with 1 when something is different.
pub(crate) fn run(args: &Args) -> Outcome {
    let world = read(&args.source)?;
    let wish = Wish {
        from: args.from.clone(),
        to: args.to.clone(),
        proto: args.proto.clone(),
        port: args.port,
        every_pair: args.every_pair,
    };
    let rows = reach(&world, &wish);
    if let Some(file) = &args.svg {
        picture::write(file, &walk::picture::reach(&rows))?;
    }
    if let Some(file) = &args.compare {
        return differences(args, file, &rows);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else if args.csv {
        println!("from,to,reaches");
        for row in &rows {
            println!(
                "{},{},{}",
                quoted(&row.from),
                quoted(&row.to),
                row.reaches.word()
            );
        }
    } else {
        print!("{}", table(&rows));
    }
    Ok(ExitCode::SUCCESS)
}

fn differences(args: &Args, file: &PathBuf, rows: &[Row]) -> Outcome {
    let before: Vec<Row> = serde_json::from_slice(&fs::read(file)?)?;
    let changed = compare(&before, rows);
    if args.json {
        println!("{}", serde_json::to_string_pretty(&changed)?);
    } else {
        let word = |reaches: Option<Reaches>| reaches.map_or("-", Reaches::word);
        for row in &changed {
            println!(
                "{} > {}: {} → {}",
                row.from,
                row.to,
                word(row.before),
                word(row.after)
            );
        }
    }
    Ok(ExitCode::from(u8::from(!changed.is_empty())))
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

/// Senders down, receivers across.
fn table(rows: &[Row]) -> String {
    let mut cells: BTreeMap<(&str, &str), Reaches> = BTreeMap::new();
    let (mut down, mut across): (Vec<&str>, Vec<&str>) = (Vec::new(), Vec::new());
    for row in rows {
        cells.insert((&row.from, &row.to), row.reaches);
        if !down.contains(&row.from.as_str()) {
            down.push(&row.from);
        }
        if !across.contains(&row.to.as_str()) {
            across.push(&row.to);
        }
    }
    let head = down
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut out = format!("{:head$}", "");
    for to in &across {
        out += &format!("  {to:>7}");
    }
    out.push('\n');
    for from in down {
        out += &format!("{from:head$}");
        for to in &across {
            let word = cells
                .get(&(from, *to))
                .map_or("·", |reaches| reaches.word());
            let width = to.chars().count().max(7);
            out += &format!("  {word:>width$}");
        }
        out.push('\n');
    }
    out
}

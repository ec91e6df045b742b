//! `nucleon topology`: hosts, bridges, namespaces and guests, and how they hang together.

use crate::Outcome;
use crate::picture;
use crate::source::{Source, read};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    source: Source,
    /// Draw it
    #[arg(long, value_name = "FILE")]
    svg: PathBuf,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let world = read(&args.source)?;
    picture::write(&args.svg, &walk::picture::topology(&world))?;
    Ok(ExitCode::SUCCESS)
}

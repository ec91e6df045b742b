//! `nucleon snapshot`: collects this host's state into a folder, by the same script that hosts
//! without Nucleon use.

use crate::Outcome;
use ::agent::questions::snapshot::SCRIPT;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The folder that gets a folder for this host
    dir: PathBuf,
    /// What Neutron calls this host, where that is not its hostname
    #[arg(long)]
    name: Option<String>,
    /// Read what the API says too: http://controller:9696; OS_TOKEN may hold a token
    #[arg(long, value_name = "URL")]
    api: Option<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut command = Command::new("sh");
    command.arg("-s").arg("--").arg(&args.dir);
    if let Some(name) = &args.name {
        command.arg("--name").arg(name);
    }
    if let Some(api) = &args.api {
        command.arg("--api").arg(api);
    }
    let mut child = command.stdin(Stdio::piped()).spawn()?;
    if let Some(stdin) = &mut child.stdin {
        stdin.write_all(SCRIPT.as_bytes())?;
    }
    drop(child.stdin.take());
    let status = child.wait()?;
    Ok(match status.success() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

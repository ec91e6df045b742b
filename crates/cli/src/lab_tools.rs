//! Hidden subcommands that the lab is built of: they run as processes of its hosts.

use crate::Outcome;
use clap::Subcommand;
use std::io::{IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Makes, and is, the first process of a lab's host
    #[command(hide = true, subcommand)]
    LabInit(Init),
    /// Sends frames on a device exactly as they are given
    #[command(hide = true)]
    LabSend {
        device: String,
        /// Each a whole frame, in hexadecimal
        #[arg(required = true)]
        frames: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Init {
    /// Makes the namespaces of the host NAME, whose folder is DIR
    Create { name: String, dir: PathBuf },
    /// Process 1 of the host
    First { name: String, dir: PathBuf },
    /// Starts a command that outlives this one
    Detach {
        #[arg(long)]
        log: PathBuf,
        #[arg(long)]
        pid_file: PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Runs a command in a virtual machine, by the socket of its second serial port
    Serial {
        socket: PathBuf,
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
    /// Carries connections from the listening socket on standard input to an address
    Forward { to: SocketAddr },
}

pub(crate) fn run(command: Command) -> Outcome {
    match command {
        Command::LabInit(init) => return run_init(init),
        Command::LabSend { device, frames } => {
            let frames = frames
                .iter()
                .map(|frame| lab::frame::from_hex(frame))
                .collect::<Result<Vec<_>, _>>()?;
            lab::frame::send(&device, &frames)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The command's output is ours, and so is its exit code. Input is handed on when it is no
/// terminal: a machine's serial port cannot wait for a person.
fn serial(socket: &Path, command: &[String]) -> Outcome {
    let mut input = Vec::new();
    if !std::io::stdin().is_terminal() {
        std::io::stdin().read_to_end(&mut input)?;
    }
    let ended = lab::vm::serial::run(socket, command, &input)?;
    std::io::stdout().write_all(&ended.said)?;
    Ok(ExitCode::from(ended.code))
}

fn run_init(init: Init) -> Outcome {
    match init {
        Init::Create { name, dir } => {
            lab::init::create(&name, &dir)?;
        }
        Init::First { name, dir } => lab::init::first(&name, &dir)?,
        Init::Detach {
            log,
            pid_file,
            command,
        } => lab::detach(&log, &pid_file, &command)?,
        Init::Serial { socket, command } => return serial(&socket, &command),
        Init::Forward { to } => {
            crate::start_logging();
            let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
            lab::forward(&listener, to)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

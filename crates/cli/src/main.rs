//! The `nucleon` binary: one subcommand a file, each an `Args` and a `run`.
//!
//! `main` stays free of threads until a subcommand starts its own runtime: `lab-init` makes
//! namespaces, which the kernel allows to processes with a single thread only.

/// The standard ones panic when whoever reads has gone (`nucleon lab status | head`). Defined
/// before the modules, so that they are theirs.
macro_rules! print {
    ($($text:tt)*) => {
        $crate::say(format_args!($($text)*))
    };
}
macro_rules! println {
    ($($line:tt)*) => {
        $crate::say(format_args!("{}\n", format_args!($($line)*)))
    };
}

mod agent;
mod ask;
mod doctor;
mod external;
mod import;
mod lab;
mod lab_tools;
mod live;
mod picture;
mod plug;
mod reach;
mod server;
mod snapshot;
mod source;
mod topology;
mod walk;

use clap::{Parser, Subcommand};
use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Versions of the server's state are made of many small nodes; see docs/speed.md for what this
/// allocator saves.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What a subcommand gives back: how the process ends, or why it could not do its duty.
pub(crate) type Outcome = Result<ExitCode, Box<dyn Error + Send + Sync>>;

/// OpenStack networking in one binary.
#[derive(Debug, Parser)]
#[command(name = "nucleon", version, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve OpenStack's networking API
    Server(Box<server::Args>),
    /// Bring over what a running Neutron holds, into an empty store
    Import(import::Args),
    /// Make this host hold what the server says it should hold
    Agent(agent::Args),
    /// Say what on this host is not as intent wants it, and why
    Doctor(doctor::Args),
    /// Make br-ex lead somewhere: to a card, or out by this host's own address
    External(external::Args),
    /// A whole small cloud on this machine: hosts, networks and guests made of namespaces
    Lab(lab::Args),
    /// Follow a packet: what happens to it, at which rule, and why
    Walk(Box<walk::Args>),
    /// Who reaches whom
    Reach(reach::Args),
    /// Draw hosts, bridges, namespaces and guests
    Topology(topology::Args),
    /// Collect this host's state into a folder
    Snapshot(snapshot::Args),
    /// Plug a port into this host's integration bridge, as Nova's os-vif does
    Plug(plug::PlugArgs),
    /// Take away what `plug` made
    Unplug(plug::UnplugArgs),
    #[command(flatten)]
    LabTools(lab_tools::Command),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Server(args) => server::run(*args),
        Command::Import(args) => import::run(args),
        Command::Agent(args) => agent::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::External(args) => external::run(&args),
        Command::Lab(args) => lab::run(args),
        Command::Walk(args) => walk::run(&args),
        Command::Reach(args) => reach::run(&args),
        Command::Topology(args) => topology::run(&args),
        Command::Snapshot(args) => snapshot::run(&args),
        Command::Plug(args) => plug::plug(&args),
        Command::Unplug(args) => plug::unplug(&args),
        Command::LabTools(command) => lab_tools::run(command),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("nucleon: {}", chain(&*error));
        ExitCode::FAILURE
    })
}

/// Text on standard output. When nobody reads any more there is nothing left to do.
pub(crate) fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    if std::io::stdout().write_fmt(text).is_err() {
        std::process::exit(1);
    }
}

/// An error and what caused it, on one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

/// Log lines on standard error; `NUCLEON_LOG` says how much (`info` unless set).
/// The long-running subcommands call it; the others speak by what they print.
pub(crate) fn start_logging() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("NUCLEON_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

//! Benchmarks: `bench store` measures the bare store's batched commits, `bench http` a built
//! server over HTTP, `bench agent` a built agent on a host of its own, `bench routers` the same
//! agent as a network node, `bench dvr` distributed routers in a lab, `bench walk` packets followed
//! through a large cloud in memory. Each prints a line for each figure.

mod agent;
mod dvr;
mod empty;
mod http;
mod machine;
mod report;
mod routers;
mod store;
mod walk;

use std::{io, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use tokio::runtime::{Builder, Runtime};

#[derive(Debug, Parser)]
#[command(about = "Measures Nucleon's server and store")]
enum Bench {
    /// Batched commits a second of the bare store, on SQLite and on PostgreSQL
    Store {
        /// Seconds for each figure
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Where SQLite's file goes: a disk, not memory
        #[arg(long, default_value = "target")]
        folder: PathBuf,
    },
    /// A built server over HTTP, and an empty handler of the same stack beside it
    Http {
        /// The server's binary
        #[arg(long, default_value = "target/release/nucleon")]
        binary: PathBuf,
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Ports in the store; repeat for several runs
        #[arg(long, default_values_t = [1_000, 100_000])]
        ports: Vec<usize>,
        #[arg(long, value_enum, default_values_t = [Kind::Sqlite, Kind::Postgres])]
        store: Vec<Kind>,
        #[arg(long, default_value_t = 16)]
        clients: usize,
        #[arg(long, default_value = "target")]
        folder: PathBuf,
    },
    /// A built agent with many guests' ports; needs root
    Agent {
        /// Holds the server and the agent
        #[arg(long, default_value = "target/release/nucleon")]
        binary: PathBuf,
        /// Ports on the host; repeat for several runs
        #[arg(long, default_values_t = [200, 500])]
        ports: Vec<usize>,
    },
    /// Walks and `reach` over a cloud that is made in memory out of intent alone
    Walk {
        #[arg(long, default_value_t = 1_000)]
        ports: usize,
        #[arg(long, default_value_t = 50)]
        hosts: usize,
    },
    /// A built agent with many routers and DHCP servers; needs root
    Routers {
        #[arg(long, default_value = "target/release/nucleon")]
        binary: PathBuf,
    },
    /// Distributed routers on three hosts of a lab; needs root
    Dvr {
        /// Holds the server and the agents
        #[arg(long, default_value = "target/release/nucleon")]
        binary: PathBuf,
    },
    /// Answers every request with nothing: what `http` compares with
    #[command(hide = true)]
    Empty { listen: std::net::SocketAddr },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Sqlite,
    Postgres,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        })
    }
}

fn main() -> ExitCode {
    // These move this thread into namespaces of its own: no other may run yet.
    let done = match Bench::parse() {
        Bench::Agent { binary, ports } => ports.iter().try_for_each(|n| agent::run(&binary, *n)),
        Bench::Dvr { binary } => dvr::run(&binary),
        Bench::Walk { ports, hosts } => {
            walk::run(&walk::Size { ports, hosts }).map_err(io::Error::other)
        }
        Bench::Routers { binary } => routers::run(&binary),
        other => other
            .runtime()
            .and_then(|runtime| runtime.block_on(other.run())),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Bench {
    /// The empty server has as many threads as the one it is compared with. The load has one: on a
    /// shared machine it must not be at every core at once.
    fn runtime(&self) -> io::Result<Runtime> {
        match self {
            Self::Empty { .. } => Runtime::new(),
            _ => Builder::new_current_thread().enable_all().build(),
        }
    }

    async fn run(self) -> io::Result<()> {
        match self {
            Bench::Store { seconds, folder } => {
                store::run(Duration::from_secs_f64(seconds), &folder).await
            }
            Bench::Http {
                binary,
                seconds,
                ports,
                store,
                clients,
                folder,
            } => {
                let run = http::Run {
                    binary,
                    time: Duration::from_secs_f64(seconds),
                    clients,
                    folder,
                    report: report::Report::default(),
                };
                run.all(&ports, &store).await
            }
            Bench::Empty { listen } => empty::serve(listen).await,
            Bench::Agent { .. }
            | Bench::Dvr { .. }
            | Bench::Routers { .. }
            | Bench::Walk { .. } => Ok(()),
        }
    }
}

//! `nucleon agent`: makes this host hold what the server says it should hold.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::agent::config::Config;
use ::agent::run::Agent;

use crate::Outcome;

/// How long a dry run waits for the server and the switch.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration file
    #[arg(long, default_value = "/etc/nucleon/agent.toml")]
    config: PathBuf,
    /// Print what would be changed, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = Config::read(&args.config)?;
    crate::start_logging();
    stay_small();
    // One thread is enough for what waits most of the time, and keeps the agent small.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if args.dry_run {
            return dry_run(config).await;
        }
        if let Some(address) = config.metrics {
            ::agent::metrics::serve(address).await?;
        }
        Agent::start(config)?.run(stopped()).await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Memory by the page and not by two megabytes: what is freed between two passes is given back whole,
/// where huge pages would stay for whatever small thing is left on them. With 200 ports the agent had
/// 71 MB with them, and has 52 without.
fn stay_small() {
    if let Err(error) = nix::sys::prctl::set_thp_disable(true) {
        tracing::debug!(%error, "huge pages can't be switched off");
    }
}

async fn dry_run(config: Config) -> Outcome {
    let mut agent = Agent::look(config, true)?;
    agent.ready(PATIENCE).await?;
    let Some(pass) = agent.pass(false).await else {
        return Err("this host could not be read".into());
    };
    for drift in &pass.left {
        println!("{drift}");
    }
    for waiting in &pass.waiting {
        println!("? {}  # {}", waiting.what, waiting.why);
    }
    Ok(ExitCode::SUCCESS)
}

/// Until the process is asked to end.
async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut term), Ok(mut int)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

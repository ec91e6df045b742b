//! `nucleon server`: the API, its store, and the agents' watch.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use api::config::{AgentsAt, Config, IdentityKind};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::Outcome;

/// Serve OpenStack's networking API
///
/// Needs nothing else to start: without `--config` all settings are the defaults of
/// docs/configuration.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Settings, TOML; the options below go over it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the API listens [default: 127.0.0.1:9696]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Where everything is kept: sqlite:FILE or postgres://… [default: sqlite:nucleon.db]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Where callers are known from: none, embedded or keystone [default: none]
    #[arg(long, value_name = "KIND")]
    identity: Option<IdentityKind>,
    /// Where agents connect: ADDRESS:PORT or unix:FILE [default: 127.0.0.1:9697]
    #[arg(long, value_name = "PLACE")]
    agents: Option<AgentsAt>,
}

fn config(args: Args) -> Result<Config, api::config::ConfigError> {
    let mut config = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    config.listen = args.listen.unwrap_or(config.listen);
    config.store = args.store.unwrap_or(config.store);
    config.identity = args.identity.unwrap_or(config.identity);
    config.agents.listen = args.agents.unwrap_or(config.agents.listen);
    Ok(config)
}

pub(crate) fn run(args: Args) -> Outcome {
    crate::start_logging();
    let config = config(args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let (told, stop) = watch::channel(false);
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            told.send_replace(true);
        });
        api::run::run(config, stop).await?;
        Ok(ExitCode::SUCCESS)
    })
}

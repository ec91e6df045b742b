//! `nucleon doctor`: what on this host is not as intent wants it, line by line, each with the
//! intent behind it. It exits with 1 when there is anything.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::agent::config::Config;
use ::agent::run::Agent;

use crate::Outcome;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's configuration file
    #[arg(long, default_value = "/etc/nucleon/agent.toml")]
    config: PathBuf,
    /// Ask the server what this host should hold, instead of believing what the agent here kept
    #[arg(long)]
    ask_server: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let config = Config::read(&args.config)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let host = config.host.clone();
        let mut agent = Agent::look(config, args.ask_server)?;
        agent.ready(PATIENCE).await?;
        let Some(pass) = agent.pass(false).await else {
            return Err("this host could not be read".into());
        };
        for drift in &pass.left {
            println!("{drift}");
        }
        for note in &pass.plan.notes {
            println!("! {note}");
        }
        for problem in &pass.problems {
            println!("! {}", problem.text);
        }
        let healthy = pass.left.is_empty() && pass.problems.is_empty();
        println!(
            "{host}: {} things differ, {} wait for others",
            pass.left.len(),
            pass.waiting.len()
        );
        Ok(if healthy {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(1)
        })
    })
}

//! `nucleon doctor`: what on this host, or on all hosts, is not as intent wants it, line by line,
//! each with the intent behind it. It exits with 1 when there is anything.
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use ::agent::config::Config;
use ::agent::findings::Findings;
use ::agent::run::Agent;

use crate::{Outcome, ask};

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The agent's configuration file
    #[arg(long, default_value = "/etc/nucleon/agent.toml")]
    config: PathBuf,
    /// Ask the server what this host should hold, instead of believing what the agent here kept
    #[arg(long)]
    ask_server: bool,
    /// Ask all hosts by way of the API: http://controller:9696; OS_TOKEN may hold a token
    #[arg(long, value_name = "URL", conflicts_with_all = ["config", "ask_server"])]
    api: Option<String>,
    /// With --api: ask this host; may be given several times
    #[arg(long, value_name = "NAME", requires = "api")]
    host: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let healthy = match &args.api {
        Some(api) => look_at_hosts(api, &args.host)?,
        None => look_here(args)?,
    };
    Ok(match healthy {
        true => ExitCode::SUCCESS,
        false => ExitCode::from(1),
    })
}

fn look_here(args: &Args) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
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
        let found = Findings::of(&pass);
        found
            .lines(&host)
            .iter()
            .for_each(|line| println!("{line}"));
        Ok(found.is_healthy())
    })
}

/// Hosts that have an agent and do not answer are not healthy either.
fn look_at_hosts(
    api: &str,
    wanted: &[String],
) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let client = ask::client(api)?;
    let hosts = match wanted {
        [] => ask::hosts(&client)?,
        some => some.to_vec(),
    };
    let answers: Vec<Result<Findings, String>> = ask::each(&hosts, |host| {
        let answer = ask::host(&client, host, "drift")?;
        serde_json::from_value(answer).map_err(|error| error.to_string())
    });
    let mut healthy = true;
    for (host, answer) in hosts.iter().zip(answers) {
        match answer {
            Ok(found) => {
                found.lines(host).iter().for_each(|line| println!("{line}"));
                healthy &= found.is_healthy();
            }
            Err(error) => {
                println!("! {host}: {error}");
                healthy = false;
            }
        }
    }
    Ok(healthy)
}

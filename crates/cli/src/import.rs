//! `nucleon import`: what a running Neutron holds, into the store of a server that is to take over.
//! It exits with 1 when something is in the way, and then nothing was written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use api::config::Config;
use api::import::{Neutron, Target, Terms, judge, read};
use intent::DvrMac;

use crate::Outcome;

/// Bring over what a running Neutron holds, into an empty store
///
/// Asks the API as an administrator, with the token in OS_TOKEN and the authorities in the file that
/// OS_CACERT names, and changes nothing there. See docs/migrating.md.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The Neutron: http://controller:9696
    #[arg(long, value_name = "URL")]
    from: String,
    /// Settings of the server that is to take over, TOML
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where it keeps everything: sqlite:FILE or postgres://… [default: as the settings say]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Say what would be taken and what not, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Go without what the report calls so; may be given several times
    #[arg(long, value_name = "WORD")]
    leave_out: Vec<String>,
    /// The MACs of hosts of distributed routers, `HOST MAC` a line
    #[arg(long, value_name = "FILE")]
    dvr_macs: Option<PathBuf>,
}

pub(crate) fn run(args: Args) -> Outcome {
    let settings = match &args.config {
        Some(path) => Config::read(path)?,
        None => Config::default(),
    };
    let token = std::env::var("OS_TOKEN").ok();
    let authority = std::env::var_os("OS_CACERT").map(PathBuf::from);
    let neutron = Neutron::new(&args.from, token, authority.as_deref())?;
    let dvr_macs = match &args.dvr_macs {
        Some(path) => macs(path)?,
        None => Vec::new(),
    };
    let terms = Terms {
        config: settings.ledger,
        dvr_macs,
        leave_out: args.leave_out.into_iter().collect(),
    };
    let store = args.store.unwrap_or(settings.store);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        if !args.dry_run {
            // Before much is read for nothing.
            Target::open(&store).await?.close().await;
        }
        let answers = read(&neutron).await?;
        let (state, report) = judge(&answers, &terms);
        print!("{report}");
        let is_clean = report.is_clean();
        if args.dry_run {
            println!("a dry run: nothing was written");
        } else if is_clean {
            Target::open(&store).await?.write(&state).await?;
            println!("everything was written");
        } else {
            println!("nothing was written");
        }
        Ok(match is_clean {
            true => ExitCode::SUCCESS,
            false => ExitCode::from(1),
        })
    })
}

/// What `SELECT host, mac_address FROM dvr_host_macs` says, a host a line.
fn macs(path: &Path) -> Result<Vec<DvrMac>, Box<dyn std::error::Error + Send + Sync>> {
    let text = std::fs::read_to_string(path);
    let text = text.map_err(|error| format!("{} can't be read: {error}", path.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let read = |line: &str| {
        let mut words = line.split_whitespace();
        let (host, mac) = (words.next()?, words.next()?.parse().ok()?);
        words.next().is_none().then(|| DvrMac {
            host: host.into(),
            mac_address: mac,
        })
    };
    lines
        .map(|line| read(line).ok_or_else(|| format!("'{line}' is not a host and its MAC").into()))
        .collect()
}

//! Where `walk`, `reach` and `topology` take the hosts' state from.

use crate::ask;
use ::agent::questions::snapshot::{SCRIPT, read_folder};
use lab::client::Client;
use lab::{Lab, Options, Place};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
use walk::snapshot::Parts;
use walk::world::World;

/// Where the API is, unless it is said.
const HERE: &str = "http://127.0.0.1:9696";

/// The state to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// A folder of collected texts, one folder a host (`nucleon snapshot`, tools/collect.sh)
    #[arg(long, value_name = "DIR", conflicts_with_all = ["lab", "api"])]
    pub(crate) snapshot: Option<PathBuf>,
    /// Collect from a lab's hosts now
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "lab", conflicts_with = "api")]
    pub(crate) lab: Option<String>,
    /// The folder that keeps labs
    #[arg(long, value_name = "DIR", requires = "lab")]
    pub(crate) lab_dir: Option<PathBuf>,
    /// The server's API, by way of which hosts are asked; $NUCLEON_API, else this machine's, when
    /// nothing else is named. OS_TOKEN may hold an administrator's token, OS_CACERT name
    /// the authorities of an https:// one
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<String>,
    /// Look at what the hosts hold: so it is unless `--wanted` or `--with` is given
    #[arg(long, conflicts_with_all = ["wanted", "with"])]
    pub(crate) observed: bool,
    /// Look at what is wanted of the hosts, not at what they hold; with an API alone, no host is
    /// asked
    #[arg(long)]
    pub(crate) wanted: bool,
    /// What if: changes to intent that nobody has made yet (YAML or JSON, see docs/walk.md)
    #[arg(long, value_name = "FILE")]
    pub(crate) with: Option<PathBuf>,
}

/// The world that a source describes. What of it cannot be read is said on standard error.
pub(crate) fn read(source: &Source) -> Result<World, Box<dyn Error + Send + Sync>> {
    let mut files = BTreeMap::new();
    match (&source.snapshot, &source.lab) {
        (Some(dir), _) => read_folder(dir, "", &mut files)?,
        (None, Some(lab)) => collect(lab, source.lab_dir.as_ref(), &mut files)?,
        (None, None) => server(source, &mut files)?,
    }
    if let Some(changes) = &source.with {
        let changes = yaml_serde::from_str(&fs::read_to_string(changes)?)?;
        walk::changes::apply(&mut files, &changes)?;
    }
    let parts = Parts::read(&files);
    // Changes were made on no host: there is only intent to look at, as without any host.
    let intended = source.with.is_some() || source.wanted && parts.hosts.is_empty();
    let snapshot = match intended {
        true => parts.imagine(),
        false => parts.assemble(),
    };
    for problem in &snapshot.problems {
        eprintln!("nucleon: {problem}");
    }
    if snapshot.world.hosts.is_empty() {
        return Err("there is no host in it".into());
    }
    let mut world = snapshot.world;
    if source.wanted {
        world.want();
    }
    Ok(world)
}

/// Speaks to the API that a source names, or to this machine's.
pub(crate) fn client(source: &Source) -> Result<Client, Box<dyn Error + Send + Sync>> {
    let named = source.api.clone().or(std::env::var("NUCLEON_API").ok());
    ask::client(named.as_deref().unwrap_or(HERE))
}

/// What the API says, and, unless only intent is asked for, what each connected host answers.
fn server(
    source: &Source,
    files: &mut BTreeMap<String, String>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let client = client(source)?;
    documents(&client, files)?;
    if source.wanted || source.with.is_some() {
        return Ok(());
    }
    let hosts = ask::hosts(&client)?;
    let answers = ask::each(&hosts, |host| {
        let answer = ask::host(&client, host, "snapshot")?;
        let own: BTreeMap<String, String> =
            serde_json::from_value(answer["files"].clone()).map_err(|error| error.to_string())?;
        Ok(own)
    });
    for (host, answer) in hosts.iter().zip(answers) {
        match answer {
            Ok(own) => files.extend(
                own.into_iter()
                    .map(|(p, text)| (format!("{host}/{p}"), text)),
            ),
            Err(error) => eprintln!("nucleon: {host}: {error}"),
        }
    }
    Ok(())
}

/// The API's collections, by the files that a snapshot has them in.
const COLLECTIONS: &[&str] = &[
    "networks",
    "subnets",
    "ports",
    "routers",
    "floatingips",
    "security-groups",
    "security-group-rules",
    "address-groups",
    "agents",
];

fn documents(
    client: &Client,
    files: &mut BTreeMap<String, String>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let get = |path: &str| {
        let answer = client.ask(&http::Method::GET, &format!("/v2.0/{path}"), None);
        let answer = answer.map_err(|error| crate::chain(&error))?;
        match answer.status {
            200 => Ok(answer.body),
            status => Err(format!("GET {path} was answered with {status}")),
        }
    };
    let mut served: Vec<String> = Vec::new();
    for collection in COLLECTIONS {
        let document = get(collection)?;
        let agents = match *collection {
            "networks" => "dhcp-agents",
            "routers" => "l3-agents",
            _ => "",
        };
        let rows = document[*collection].as_array().into_iter().flatten();
        let ids = rows.filter_map(|row| row["id"].as_str().filter(|_| !agents.is_empty()));
        served.extend(ids.map(|id| format!("{collection}/{id}/{agents}")));
        files.insert(format!("api/{collection}.json"), document.to_string());
    }
    for (path, answer) in served.iter().zip(ask::each(&served, get)) {
        let file = path.replacen("s/", "-", 1).replacen('/', "-", 1);
        files.insert(format!("api/{file}.json"), answer?.to_string());
    }
    Ok(())
}

/// A lab by its name, and where it is kept.
pub(crate) fn open_lab(
    name: &str,
    dir: Option<&PathBuf>,
) -> Result<Lab, Box<dyn Error + Send + Sync>> {
    let mut options = Options::standard()?;
    if let Some(dir) = dir {
        options.dir.clone_from(dir);
    }
    Ok(Lab::open(name, options)?)
}

/// Run the collecting script in every host of a lab, and read what it wrote.
fn collect(
    name: &str,
    dir: Option<&PathBuf>,
    files: &mut BTreeMap<String, String>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let lab = open_lab(name, dir)?;
    let scratch = lab.path().join("walk");
    let dir = scratch.to_string_lossy().into_owned();
    for host in &lab.topology().hosts {
        let machine = lab.machine(&host.name)?;
        let state = format!("NEUTRON_STATE={}", machine.dir.join("agent").display());
        let argv = ["env", &state, "sh", "-s", "--", &dir, "--name", &host.name];
        machine.place.feed(&argv, SCRIPT)?;
    }
    if let Some(api) = lab.api() {
        let argv = ["sh", "-s", "--", &dir, "--only-api", api];
        Place::here().feed(&argv, SCRIPT)?;
    }
    read_folder(&scratch, "", files)?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        source: Source,
    }

    fn parsed(words: &[&str]) -> Option<Source> {
        let words = std::iter::once(&"walk").chain(words);
        Line::try_parse_from(words).ok().map(|line| line.source)
    }

    #[test]
    fn one_place_is_named_and_how_to_look_at_it() {
        let source = parsed(&["--snapshot", "dir", "--wanted"]).unwrap();
        assert!(source.wanted && source.snapshot.is_some());
        assert!(parsed(&["--snapshot", "dir", "--with", "file"]).is_some());
        assert!(parsed(&["--api", "http://localhost:9696", "--wanted"]).is_some());
        assert!(parsed(&["--lab", "--lab-dir", "dir"]).is_some());
        assert!(parsed(&[]).is_some());
        assert!(parsed(&["--snapshot", "dir", "--lab"]).is_none());
        assert!(parsed(&["--snapshot", "dir", "--api", "url"]).is_none());
        assert!(parsed(&["--observed", "--wanted"]).is_none());
    }
}

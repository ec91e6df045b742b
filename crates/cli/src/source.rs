//! Where `walk`, `reach` and `topology` take the hosts' state from.

use crate::snapshot::SCRIPT;
use lab::{Lab, Options, Place};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use walk::snapshot;
use walk::world::World;

/// The state to look at.
#[derive(Debug, clap::Args)]
#[group(id = "state", required = true, multiple = false, args = ["snapshot", "lab"])]
pub(crate) struct Source {
    /// A folder of collected texts, one folder a host (`nucleon snapshot`, tools/collect.sh)
    #[arg(long, value_name = "DIR")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Collect from a lab's hosts now
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "lab")]
    pub(crate) lab: Option<String>,
    /// Look at what is wanted of the hosts, not at what they hold
    #[arg(long)]
    pub(crate) wanted: bool,
}

/// A file of a snapshot that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("snapshot {path}")]
struct Unreadable {
    path: PathBuf,
    source: std::io::Error,
}

/// The world that a source describes. What of it cannot be read is said on standard error.
pub(crate) fn read(source: &Source) -> Result<World, Box<dyn Error + Send + Sync>> {
    let mut files = BTreeMap::new();
    match (&source.snapshot, &source.lab) {
        (Some(dir), _) => folder(dir, "", &mut files)?,
        (None, Some(lab)) => collect(lab, &mut files)?,
        (None, None) => {}
    }
    let snapshot = snapshot::load(&files);
    for problem in &snapshot.problems {
        eprintln!("nucleon: {problem}");
    }
    if snapshot.world.hosts.is_empty() {
        return Err("there is no folder of a host in it".into());
    }
    let mut world = snapshot.world;
    if source.wanted {
        world.want();
    }
    Ok(world)
}

/// Run the collecting script in every host of a lab, and read what it wrote.
fn collect(
    name: &str,
    files: &mut BTreeMap<String, String>,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let lab = Lab::open(name, Options::standard()?)?;
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
    folder(&scratch, "", files)?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

/// A folder's files, by path below it.
fn folder(
    path: &Path,
    below: &str,
    files: &mut BTreeMap<String, String>,
) -> Result<(), Unreadable> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        move |source| Unreadable { path, source }
    };
    for entry in fs::read_dir(path).map_err(bad(path))? {
        let entry = entry.map_err(bad(path))?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let at = entry.path();
        if at.is_dir() {
            folder(&at, &format!("{name}/"), files)?;
        } else {
            let bytes = fs::read(&at).map_err(bad(&at))?;
            files.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(())
}

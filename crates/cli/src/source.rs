//! Where `walk`, `reach` and `topology` take the hosts' state from.

use ::agent::questions::snapshot::{SCRIPT, read_folder};
use lab::{Lab, Options, Place};
use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::PathBuf;
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

/// The world that a source describes. What of it cannot be read is said on standard error.
pub(crate) fn read(source: &Source) -> Result<World, Box<dyn Error + Send + Sync>> {
    let mut files = BTreeMap::new();
    match (&source.snapshot, &source.lab) {
        (Some(dir), _) => read_folder(dir, "", &mut files)?,
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
    read_folder(&scratch, "", files)?;
    fs::remove_dir_all(&scratch)?;
    Ok(())
}

//! Where `walk`, `reach` and `topology` take the hosts' state from.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use walk::snapshot;
use walk::world::World;

/// The state to look at.
#[derive(Debug, clap::Args)]
pub(crate) struct Source {
    /// A folder of collected texts, one folder a host (`nucleon snapshot`, tools/collect.sh)
    #[arg(long, value_name = "DIR")]
    pub(crate) snapshot: PathBuf,
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
    folder(&source.snapshot, "", &mut files)?;
    let snapshot = snapshot::load(&files);
    for problem in &snapshot.problems {
        eprintln!("nucleon: {problem}");
    }
    if snapshot.world.hosts.is_empty() {
        let path = source.snapshot.display();
        return Err(format!("{path} has no folder of a host in it").into());
    }
    let mut world = snapshot.world;
    if source.wanted {
        world.want();
    }
    Ok(world)
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

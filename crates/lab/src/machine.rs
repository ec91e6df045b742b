//! One namespace of the lab that has processes: a host, the fabric, or the outside world.

use crate::command::Place;
use crate::process::Process;
use crate::state::{self, Folder};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A host that runs.
#[derive(Debug, Clone)]
pub struct Machine {
    pub name: String,
    pub process: Process,
    pub place: Place,
    /// The host's folder: its Open vSwitch's files, its configuration, its logs.
    pub dir: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("host {host} could not be made: {said}")]
pub struct HostError {
    host: String,
    said: String,
    source: Option<io::Error>,
}

impl Machine {
    /// Makes the host by `BINARY lab-init create`, which see in `init`.
    ///
    /// The maker holds the lab's lock too, as its standard input: should this process be killed,
    /// whoever cleans up waits until the maker has written down what it made.
    pub(crate) fn create(
        binary: &Path,
        folder: &Folder,
        name: &str,
        lock: &File,
    ) -> Result<Self, HostError> {
        let failed = |said: &str, source: Option<io::Error>| HostError {
            host: name.to_owned(),
            said: said.trim().to_owned(),
            source,
        };
        let dir = folder.host(name);
        std::fs::create_dir_all(&dir).map_err(|error| failed("no folder", Some(error)))?;
        let lock = lock
            .try_clone()
            .map_err(|error| failed("no lock", Some(error)))?;
        let output = Command::new(binary)
            .args(["lab-init", "create", name])
            .arg(&dir)
            .stdin(lock)
            .output()
            .map_err(|error| failed("its maker could not be started", Some(error)))?;
        if !output.status.success() {
            return Err(failed(&String::from_utf8_lossy(&output.stderr), None));
        }
        Self::find(folder, name).map_err(|error| failed("it is not written down", Some(error)))
    }

    /// The host as it is written down.
    pub(crate) fn find(folder: &Folder, name: &str) -> io::Result<Self> {
        let dir = folder.host(name);
        let process: Process = state::read_json(&state::process_file(&dir))?;
        Ok(Self {
            name: name.to_owned(),
            process,
            place: Place::host(name, process.pid),
            dir,
        })
    }
}

//! What is written down about a lab, and where: enough to end it from another process, or after
//! a crash.
//!
//! ```text
//! DIR/NAME/lab.json                what the lab is: topology, datapath, API, guests
//! DIR/NAME.lock                    held while something changes the lab
//! DIR/NAME/hosts/HOST/process.json the host's first process
//! DIR/NAME/hosts/HOST/…            the host's own: Open vSwitch's folders, configuration, logs
//! ```

use crate::guest::Guest;
use crate::process::Process;
use crate::topology::Topology;
use nix::fcntl::{Flock, FlockArg};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where labs are kept unless said otherwise.
pub(crate) const DEFAULT_DIR: &str = "/var/lib/nucleon/lab";

/// A host's end takes its processes along; this is for the slowest of them.
const PATIENCE: Duration = Duration::from_secs(10);

/// What `lab.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) topology: Topology,
    /// Open vSwitch's datapath in every host: `netdev` (userspace) or `system` (the kernel's).
    pub(crate) datapath: String,
    /// Where the API answers on the machine itself; none without a controller.
    pub(crate) api: Option<String>,
    pub(crate) guests: BTreeMap<String, Guest>,
}

/// The folder of one lab.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    path: PathBuf,
    lock: PathBuf,
}

impl Folder {
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        Self {
            path: dir.join(name),
            lock: dir.join(format!("{name}.lock")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn host(&self, host: &str) -> PathBuf {
        self.path.join("hosts").join(host)
    }

    pub(crate) fn load(&self) -> io::Result<Record> {
        read_json(&self.path.join("lab.json"))
    }

    pub(crate) fn save(&self, record: &Record) -> io::Result<()> {
        write_json(&self.path.join("lab.json"), record)
    }

    /// Waits until nobody else changes this lab, and keeps others waiting while the lock is held.
    pub(crate) fn lock(&self) -> io::Result<Flock<File>> {
        loop {
            if let Some(folder) = self.lock.parent() {
                fs::create_dir_all(folder)?;
            }
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&self.lock)?;
            let lock = Flock::lock(file, FlockArg::LockExclusive)
                .map_err(|(_, errno)| io::Error::from(errno))?;
            // Whoever held it before may have taken the file away: then this is a lock on nothing.
            let (held, named) = (lock.metadata()?, fs::metadata(&self.lock));
            if named.is_ok_and(|named| named.ino() == held.ino()) {
                return Ok(lock);
            }
        }
    }

    /// Takes the lock's file away, and the folder of labs when this was the last.
    pub(crate) fn forget_lock(&self, lock: Flock<File>) -> io::Result<()> {
        fs::remove_file(&self.lock)?;
        drop(lock);
        // Another lab may live there, or be about to.
        let _ = self.lock.parent().map(fs::remove_dir);
        Ok(())
    }

    /// The first processes of the hosts that were written down, alive or not.
    pub(crate) fn processes(&self) -> io::Result<BTreeMap<String, Process>> {
        let mut found = BTreeMap::new();
        let entries = match fs::read_dir(self.path.join("hosts")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            // A host whose process was not yet written down never ran: see `init`.
            if let Ok(process) = read_json(&process_file(&entry.path())) {
                found.insert(entry.file_name().to_string_lossy().into_owned(), process);
            }
        }
        Ok(found)
    }

    /// Ends every host that still runs and forgets the lab. Gives how many ran.
    pub(crate) fn clear(&self) -> io::Result<usize> {
        let mut ended = 0;
        for process in self.processes()?.into_values() {
            ended += usize::from(process.is_alive());
            process.end(PATIENCE)?;
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(ended),
        }
    }
}

/// Where a host's first process is written down.
pub(crate) fn process_file(host_dir: &Path) -> PathBuf {
    host_dir.join("process.json")
}

/// Writes beside and renames, so that a reader sees the old or the new text and never a part.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec_pretty(value)?)?;
    fs::rename(beside, path)
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_ends_what_was_written_down_and_spares_recycled_pids() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path(), "x");
        let mut ours = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let mut other = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let process = Process::of(ours.id().cast_signed()).unwrap();
        let recycled = Process {
            start: 1,
            ..Process::of(other.id().cast_signed()).unwrap()
        };
        write_json(&process_file(&folder.host("c1")), &process).unwrap();
        write_json(&process_file(&folder.host("c2")), &recycled).unwrap();
        fs::create_dir_all(folder.host("half-made")).unwrap();

        assert_eq!(folder.clear().unwrap(), 1);
        assert!(!ours.wait().unwrap().success());
        assert_eq!(other.try_wait().unwrap(), None);
        assert!(!folder.path().exists());
        assert_eq!(folder.clear().unwrap(), 0);
        other.kill().unwrap();
        other.wait().unwrap();
    }
}

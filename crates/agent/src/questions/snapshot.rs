//! A host as the folder of texts that `tools/collect.sh` makes of it. The script is the one way in
//! which hosts are collected, whoever asks: it needs nothing of ours, and the binary carries it.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::config::Config;
use crate::exec::{ExecError, Program};

/// The script, so that the binary needs no file beside it.
pub const SCRIPT: &str = include_str!("../../../../tools/collect.sh");

/// A host could not be collected.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("this host could not be collected")]
    Script(#[from] ExecError),
    #[error("{path} could not be read")]
    Folder {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// Texts by path below the host's folder.
pub type Files = BTreeMap<String, String>;

/// Collect this host. Nothing stays on disk.
pub async fn collect(config: &Config) -> Result<Files, SnapshotError> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("snapshot-{}-{number}", std::process::id());
    let folder = config.state_dir.join(name);
    let collected = collect_into(config, &folder).await;
    // The script may have ended before it made the folder.
    let _ = fs::remove_dir_all(&folder);
    collected
}

async fn collect_into(config: &Config, folder: &Path) -> Result<Files, SnapshotError> {
    let state = format!("NEUTRON_STATE={}", config.state_dir.display());
    let switch = format!("OVS_RUNDIR={}", config.switch_dir().display());
    let dir = folder.display().to_string();
    let argv = ["env", &state, &switch, "sh", "-s", "--", &dir];
    let argv = argv.into_iter().chain(["--name", &config.host]);
    Program::new(argv).reading(SCRIPT).run().await?;
    let mut files = Files::new();
    read_folder(&folder.join(&config.host), "", &mut files)?;
    Ok(files)
}

/// A folder's files, by path below it, each with `below` before it.
pub fn read_folder(path: &Path, below: &str, files: &mut Files) -> Result<(), SnapshotError> {
    let bad = |path: &Path| {
        let path = path.to_owned();
        move |source| SnapshotError::Folder { path, source }
    };
    for entry in fs::read_dir(path).map_err(bad(path))? {
        let entry = entry.map_err(bad(path))?;
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        let at = entry.path();
        if at.is_dir() {
            read_folder(&at, &format!("{name}/"), files)?;
        } else {
            let bytes = fs::read(&at).map_err(bad(&at))?;
            files.insert(name, String::from_utf8_lossy(&bytes).into_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_is_collected_and_nothing_stays_behind() {
        let state = tempfile::tempdir().expect("a folder");
        let text = format!(
            "host = 'c1'\nserver = 'unix:/s'\nstate_dir = '{0}'\novsdb = '{0}/db.sock'",
            state.path().display()
        );
        let config: Config = toml::from_str(&text).expect("a configuration");
        fs::create_dir_all(state.path().join("dhcp/net1")).expect("a folder");
        fs::write(state.path().join("dhcp/net1/host"), "a line\n").expect("a file");
        let files = collect(&config).await.expect("it is collected");
        assert!(files["ns-root/ip-a.txt"].contains("lo"), "{files:?}");
        assert_eq!(files["state/dhcp/net1/host"], "a line\n");
        assert!(!files.contains_key("ovs-vsctl-show.txt"), "no switch there");
        let left = fs::read_dir(state.path()).expect("a folder").count();
        assert_eq!(left, 1, "only what was there before");
    }
}

//! Processes that serve a namespace and outlive the agent: they are found again by their pid file
//! and started anew only when their arguments change. A changed file is told by a signal.
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::StreamExt;
use host::diff::{Diff, diff};
use host::process::{File, Process};
use host::{HostState, NsName};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::exec::Program;
use crate::machine::Problem;

/// How long a process may take to end by itself.
const GRACE: Duration = Duration::from_secs(1);

/// Where a process keeps its number: its arguments say so.
fn pid_file(process: &Process) -> Option<PathBuf> {
    let mut argv = process.argv.iter();
    while let Some(word) = argv.next() {
        if let Some(path) = word.strip_prefix("--pid-file=") {
            return Some(path.into());
        }
        if word == "-p" {
            return argv.next().map(Into::into);
        }
    }
    None
}

/// The process of a pid file, if it is one that runs this program.
fn running(pid_file: &Path, program: &str) -> Option<Process> {
    let pid: i32 = std::fs::read_to_string(pid_file)
        .ok()?
        .trim()
        .parse()
        .ok()?;
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words = bytes
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty());
    let argv: Vec<String> = words
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect();
    let name = Path::new(argv.first()?)
        .file_name()?
        .to_string_lossy()
        .into_owned();
    // The number may have become another's since.
    (name == program).then(|| Process {
        argv,
        pid: Some(pid as u32).into(),
        ..Process::default()
    })
}

/// Whether a process is in the namespace of this name, and not in one that had the name before.
fn is_in(process: &Process, netns: &NsName) -> bool {
    let pid = process.pid.0.unwrap_or_default();
    let own = std::fs::metadata(format!("/proc/{pid}/ns/net"));
    let own = own.ok().map(|meta| meta.ino());
    own.is_some() && own == crate::netns::identity(netns)
}

/// Find the wanted processes, and the DHCP servers of networks that are not served any more.
pub(super) fn observe(state: &Path, want: &HostState, seen: &mut HostState) {
    for (key, process) in &want.processes {
        let found = pid_file(process).zip(process.argv.first());
        if let Some(found) = found.and_then(|(file, program)| running(&file, program)) {
            let key = match process
                .netns
                .0
                .as_ref()
                .is_none_or(|netns| is_in(&found, netns))
            {
                true => key.clone(),
                // It serves nobody any more, and another one is wanted.
                false => format!("{key} in a namespace that was deleted"),
            };
            seen.processes.insert(key, found);
        }
    }
    for entry in std::fs::read_dir(state.join("dhcp"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let key = format!("dnsmasq {}", entry.file_name().to_string_lossy());
        if !want.processes.contains_key(&key)
            && let Some(found) = running(&entry.path().join("pid"), "dnsmasq")
        {
            seen.processes.insert(key, found);
        }
    }
}

/// What is to be done about processes.
pub(super) struct Changes<'a> {
    differ: Diff<'a, String, Process>,
    /// As they should be, but a file of theirs was written: they are to be started anew.
    again: Vec<(&'a String, &'a Process)>,
    /// Likewise, but they read it when they are told.
    told: Vec<&'a String>,
    have: &'a HostState,
}

impl<'a> Changes<'a> {
    pub(super) fn of(state: &'a Path, have: &'a HostState, want: &'a HostState) -> Changes<'a> {
        let differ = diff(&have.processes, &want.processes);
        let (again, told): (Vec<_>, Vec<_>) = reading_changed_files(state, have, want)
            .filter(|(key, _)| !differ.put.iter().any(|put| put.key == *key))
            .partition(|(_, process)| reading_again_kills(files_of(state, process, have)));
        Changes {
            differ,
            again,
            told: told.into_iter().map(|(key, _)| key).collect(),
            have,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.differ.len()
    }

    /// End those that nobody wants.
    pub(super) async fn end_unwanted(&self) {
        for (_, process) in &self.differ.remove {
            end(process).await;
        }
    }

    /// Tell those that read again of their files.
    pub(super) fn tell(&self) {
        for key in &self.told {
            signal(self.have.processes.get(*key), Signal::SIGHUP);
        }
    }

    /// Start those of the namespaces that are meant, in the place of what runs there; what did not
    /// work.
    pub(super) async fn start(&self, is_meant: impl Fn(Option<&NsName>) -> bool) -> Vec<Problem> {
        let differing = self.differ.put.iter().map(|put| (put.old, put.new));
        let again = self.again.iter();
        let again = again.map(|(key, process)| (self.have.processes.get(*key), *process));
        let meant = differing
            .chain(again)
            .filter(|(_, process)| is_meant(process.netns.0.as_ref()));
        let starting = meant.map(|(old, new)| async move {
            if let Some(old) = old {
                end(old).await;
            }
            let failed = match super::leases::prepare(new) {
                Ok(()) => crate::chain(&start(new).await.err()?),
                Err(error) => format!("a file of leases can't be written: {error}"),
            };
            Some(Problem {
                text: failed,
                why: new.why.clone(),
            })
        });
        let starting = futures::stream::iter(starting).buffer_unordered(super::AT_ONCE);
        starting.filter_map(std::future::ready).collect().await
    }
}

/// The wanted processes of which a file was written.
fn reading_changed_files<'a>(
    state: &'a Path,
    have: &'a HostState,
    want: &'a HostState,
) -> impl Iterator<Item = (&'a String, &'a Process)> {
    let changed = diff(&have.files, &want.files);
    want.processes.iter().filter(move |(_, process)| {
        let mut written = changed.put.iter();
        written.any(|put| reads(state, process, put.key))
    })
}

/// Whether a process is told of the folder that a file is in.
fn reads(state: &Path, process: &Process, path: &str) -> bool {
    let full = state.join(path);
    let dir = full
        .parent()
        .map(|dir| dir.to_string_lossy().into_owned())
        .unwrap_or_default();
    process.argv.iter().any(|word| word.contains(&dir))
}

/// What the host holds of a process's files.
fn files_of<'a>(
    state: &'a Path,
    process: &'a Process,
    have: &'a HostState,
) -> impl Iterator<Item = &'a File> {
    let files = have.files.iter();
    let files = files.filter(move |(path, _)| reads(state, process, path));
    files.map(|(_, file)| file)
}

/// Up to its version 2.90 (Debian 12's) dnsmasq follows pointers that are none when it is told to
/// read again and a host with a tag was served: it dies. Such a one is ended and started instead.
fn reading_again_kills<'a>(held: impl IntoIterator<Item = &'a File>) -> bool {
    let mut lines = held.into_iter().flat_map(|file| &file.lines);
    lines.any(|line| line.text.contains(",set:"))
}

async fn start(process: &Process) -> Result<(), crate::exec::ExecError> {
    if let Some(dir) = pid_file(process).and_then(|path| path.parent().map(Path::to_owned)) {
        // Without it the program itself says what is wrong.
        let _ = std::fs::create_dir_all(dir);
    }
    let netns = process.netns.0.clone().unwrap_or_else(NsName::root);
    Program::new(process.argv.clone())
        .within(&netns)
        .run()
        .await
        .map(drop)
}

fn signal(process: Option<&Process>, signal: Signal) {
    if let Some(pid) = process.and_then(|process| process.pid.0) {
        // It may have ended by itself: the next pass sees that.
        let _ = kill(Pid::from_raw(pid as i32), signal);
    }
}

async fn end(process: &Process) {
    signal(Some(process), Signal::SIGTERM);
    let Some(pid) = process.pid.0 else {
        return;
    };
    let path = format!("/proc/{pid}");
    let end = tokio::time::Instant::now() + GRACE;
    while Path::new(&path).exists() {
        if tokio::time::Instant::now() > end {
            signal(Some(process), Signal::SIGKILL);
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_tags_are_not_read_again() {
        let file = |text: &str| File {
            lines: vec![host::process::Line {
                text: text.to_owned(),
                ..Default::default()
            }],
        };
        let plain = file("fa:16:3e:00:00:01,host-10-1-0-7.openstacklocal,10.1.0.7");
        let tagged = file("fa:16:3e:00:00:02,alpha.openstacklocal,10.1.0.8,set:port-1");
        assert!(!reading_again_kills([&plain]));
        assert!(reading_again_kills([&plain, &tagged]));
    }

    #[test]
    fn a_process_is_found_by_its_pid_file_and_its_program() {
        let argv = |words: &[&str]| Process {
            argv: words.iter().map(|w| (*w).to_owned()).collect(),
            ..Process::default()
        };
        assert_eq!(
            pid_file(&argv(&["dnsmasq", "--pid-file=/a/pid"])),
            Some("/a/pid".into())
        );
        assert_eq!(
            pid_file(&argv(&["radvd", "-C", "x", "-p", "/b"])),
            Some("/b".into())
        );
        assert_eq!(pid_file(&argv(&["sleep"])), None);
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("pid");
        std::fs::write(&path, format!("{}\n", std::process::id())).expect("written");
        assert_eq!(running(&path, "dnsmasq"), None, "the number is another's");
    }
}

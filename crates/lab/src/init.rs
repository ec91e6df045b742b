//! The first process of a lab's host.
//!
//! Two steps, since a process cannot move itself into a new pid namespace: [`create`] runs in the
//! old one, makes the namespaces, starts `nucleon lab-init first` as process 1 of the new host,
//! writes down which process that is, and only then lets it go on. So whatever crashes when, a
//! host that lives is a host that is written down; and a first process whose maker is gone reads
//! the end of its input and ends too.

use crate::process::Process;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::sethostname;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The word by which the maker lets the first process go on, and the one it answers.
const GO: &str = "go";
const READY: &str = "ready";

/// Where Open vSwitch keeps things, and the folder of the host's directory that stands there.
const OVS_FOLDERS: [(&str, &str); 4] = [
    ("/run/openvswitch", "run"),
    ("/etc/openvswitch", "etc"),
    ("/var/lib/openvswitch", "db"),
    ("/var/log/openvswitch", "log"),
];

#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("host {host}: namespaces could not be made (the lab needs root)")]
    Unshare { host: String, source: nix::Error },
    #[error("host {host}: the first process could not be started")]
    Start { host: String, source: io::Error },
    #[error("host {host}: process {pid} could not be written down in {path}")]
    WriteDown {
        host: String,
        pid: u32,
        path: PathBuf,
        source: io::Error,
    },
    #[error("host {host}: the first process did not get ready: {said}")]
    NotReady { host: String, said: String },
    #[error("{what} could not be set up")]
    Setup { what: String, source: io::Error },
}

/// Makes the host `name`, whose folder is `dir`, and gives its first process.
///
/// The caller must have one thread only, and is itself in the host's new network, mount and host
/// name namespaces afterwards: it is meant to end.
pub fn create(name: &str, dir: &Path) -> Result<Process, InitError> {
    let flags = CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWUTS
        | CloneFlags::CLONE_NEWPID;
    let host = || name.to_owned();
    unshare(flags).map_err(|source| InitError::Unshare {
        host: host(),
        source,
    })?;
    let start = |source| InitError::Start {
        host: host(),
        source,
    };
    let mut child = Command::new("/proc/self/exe")
        .args(["lab-init", "first", name])
        .arg(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(start)?;
    let pid = child.id();
    let process = Process::of(pid.cast_signed()).map_err(start)?;
    let path = crate::state::process_file(dir);
    crate::state::write_json(&path, &process).map_err(|source| InitError::WriteDown {
        host: host(),
        pid,
        path,
        source,
    })?;
    let mut said = String::new();
    if let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
        writeln!(stdin, "{GO}").map_err(start)?;
        io::BufReader::new(stdout)
            .read_line(&mut said)
            .map_err(start)?;
    }
    match said.trim() {
        READY => Ok(process),
        said => Err(InitError::NotReady {
            host: host(),
            said: said.to_owned(),
        }),
    }
}

/// Process 1 of a host: waits for the word, makes the host's own folders, then reaps for ever.
pub fn first(name: &str, dir: &Path) -> Result<(), InitError> {
    let mut word = String::new();
    let _ = io::stdin().read_line(&mut word);
    if word.trim() != GO {
        return Ok(()); // Whoever made this process is gone.
    }
    let made = set_up(name, dir);
    let mut stdout = io::stdout();
    // The maker may be gone by now too; the host is written down, so it may go on without it.
    let _ = match &made {
        Ok(()) => writeln!(stdout, "{READY}"),
        Err(error) => writeln!(
            stdout,
            "{error}: {}",
            std::error::Error::source(error)
                .map(ToString::to_string)
                .unwrap_or_default()
        ),
    };
    made?;
    reap_for_ever()
}

fn set_up(name: &str, dir: &Path) -> Result<(), InitError> {
    let setup = |what: &str| {
        let what = what.to_owned();
        move |source: io::Error| InitError::Setup { what, source }
    };
    sethostname(name)
        .map_err(io::Error::from)
        .map_err(setup("the host name"))?;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount_on(None, "/", None, private).map_err(setup("private mounts"))?;
    mount_on(Some("proc"), "/proc", Some("proc"), MsFlags::empty()).map_err(setup("/proc"))?;
    mount_on(Some("sysfs"), "/sys", Some("sysfs"), MsFlags::empty()).map_err(setup("/sys"))?;
    // The whole of /run: beside the namespaces' names and Open vSwitch's sockets it holds the
    // lock of iptables and the pid files of dnsmasq and keepalived, which are a host's own too.
    mount_on(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty()).map_err(setup("/run"))?;
    for folder in ["/run/netns", "/run/openvswitch", "/run/lock"] {
        fs::create_dir_all(folder).map_err(setup(folder))?;
    }
    for (target, folder) in OVS_FOLDERS {
        let source = dir.join(folder);
        fs::create_dir_all(&source).map_err(setup(target))?;
        if Path::new(target).is_dir() {
            mount_on(source.to_str(), target, None, MsFlags::MS_BIND).map_err(setup(target))?;
        }
    }
    std::env::set_current_dir("/").map_err(setup("the working directory"))?;
    crate::Place::here()
        .ip(&["link set lo up".to_owned()])
        .map_err(io::Error::other)
        .map_err(setup("lo"))
}

fn mount_on(
    source: Option<&str>,
    target: &str,
    kind: Option<&str>,
    flags: MsFlags,
) -> io::Result<()> {
    mount(source, target, kind, flags, None::<&str>).map_err(io::Error::from)
}

/// Waits for the ends of orphans, without which dead daemons look alive. SIGTERM ends the host.
fn reap_for_ever() -> Result<(), InitError> {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.add(Signal::SIGTERM);
    let setup = |source: nix::Error| InitError::Setup {
        what: "signals".to_owned(),
        source: source.into(),
    };
    signals.thread_block().map_err(setup)?;
    loop {
        // Children that ended before the signal was blocked are waited for first.
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
        }
        if signals.wait().map_err(setup)? == Signal::SIGTERM {
            return Ok(());
        }
    }
}

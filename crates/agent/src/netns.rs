//! Network namespaces: made, joined and removed the way `ip netns` does it, so that its users see
//! ours. A socket belongs for ever to the namespace it was opened in: it is opened once, by a
//! thread that joined the namespace and then ends.
use std::fs::{self, File};
use std::io;
use std::path::Path;

use host::NsName;
use nix::mount::MsFlags;
use nix::sched::{CloneFlags, setns, unshare};

use crate::exec::netns_path;

/// A namespace could not be made, joined or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    #[error("namespace {name}: cannot {what}")]
    Io {
        name: NsName,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("namespace {name}: the thread that joined it was lost")]
    Lost { name: NsName },
}

/// Join a namespace with the thread that calls. It must end afterwards.
pub(crate) fn join(name: &NsName) -> io::Result<()> {
    let file = File::open(netns_path(name))?;
    setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
}

/// Do something inside a namespace, on a thread that joins it and ends: open a socket, most often.
pub fn within<T: Send + 'static>(
    name: &NsName,
    act: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, NetnsError> {
    let joined = name.clone();
    let thread = std::thread::spawn(move || {
        if !joined.is_root() {
            join(&joined)?;
        }
        act()
    });
    let result = thread
        .join()
        .map_err(|_| NetnsError::Lost { name: name.clone() })?;
    result.map_err(|source| NetnsError::Io {
        name: name.clone(),
        what: "act in it",
        source,
    })
}

/// The names of all namespaces, as `ip netns` lists them.
pub fn list() -> io::Result<Vec<NsName>> {
    let entries = match fs::read_dir(FOLDER) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(NsName::new(entry?.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

/// What tells a namespace from another that had its name before; none when there is none.
pub fn identity(name: &NsName) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(netns_path(name)).ok().map(|meta| meta.ino())
}

/// The names of the devices where this thread is.
pub fn devices() -> std::collections::BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
    // Two lines of headings, then a name and a colon on each.
    let names = text.lines().skip(2).filter_map(|line| line.split_once(':'));
    names.map(|(name, _)| name.trim().to_owned()).collect()
}

/// Where namespaces are pinned.
pub(crate) const FOLDER: &str = "/run/netns";

/// Make a namespace and pin it under its name. One that is there already stays as it is; a file of
/// that name that is none, left over from a start or an end that was cut short, becomes one.
pub fn add(name: &NsName) -> Result<(), NetnsError> {
    add_with(name, || ()).map(drop)
}

/// The same, and before others find it do something in it; what came of that. Nothing is done where
/// it was there already.
fn add_with<T: Send>(
    name: &NsName,
    begin: impl FnOnce() -> T + Send,
) -> Result<Option<T>, NetnsError> {
    let fail = |what| {
        move |source| NetnsError::Io {
            name: name.clone(),
            what,
            source,
        }
    };
    share_folder().map_err(fail("make /run/netns"))?;
    let path = netns_path(name);
    let mut options = fs::OpenOptions::new();
    match options.write(true).create_new(true).open(&path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            if is_pinned(&path).map_err(fail("look at it"))? {
                return Ok(None);
            }
        }
        Err(error) => return Err(fail("make its file")(error)),
    }
    let make = || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        let begun = begin();
        let own = "/proc/thread-self/ns/net";
        let none = None::<&str>;
        nix::mount::mount(Some(own), &path, none, MsFlags::MS_BIND, none)?;
        Ok(begun)
    };
    // It ends with its thread, unless it is pinned.
    let made = std::thread::scope(|scope| scope.spawn(make).join());
    let made: Result<T, nix::errno::Errno> =
        made.map_err(|_| NetnsError::Lost { name: name.clone() })?;
    made.map(Some).map_err(|errno| {
        let _ = fs::remove_file(&path);
        fail("pin it")(errno.into())
    })
}

/// Make these, some at a time, and do something in each that was not there: the kernel takes
/// milliseconds for each, most of which it waits.
pub fn add_all<T: Send>(
    names: &[NsName],
    at_once: usize,
    begin: impl Fn(&NsName) -> T + Sync,
) -> Vec<Result<Option<T>, NetnsError>> {
    let add = |name: &NsName| add_with(name, || begin(name));
    // The first one makes the folder what it has to be, alone.
    let (first, rest) = names.split_at(names.len().min(1));
    let mut made: Vec<_> = first.iter().map(add).collect();
    for names in rest.chunks(at_once.max(1)) {
        let some: Vec<_> = std::thread::scope(|scope| {
            let threads = names.iter().map(|name| scope.spawn(|| add(name)));
            let threads: Vec<_> = threads.collect();
            let ended = threads.into_iter().zip(names).map(|(thread, name)| {
                let lost = |_| Err(NetnsError::Lost { name: name.clone() });
                thread.join().unwrap_or_else(lost)
            });
            ended.collect()
        });
        made.extend(some);
    }
    made
}

/// The folder of names as `ip netns` makes it: a mount of its own, shared. Were it made so only
/// later, by another, each name of ours would be mounted twice, and could not be removed.
fn share_folder() -> io::Result<()> {
    fs::create_dir_all(FOLDER)?;
    let none = None::<&str>;
    let share = || {
        let shared = MsFlags::MS_SHARED | MsFlags::MS_REC;
        nix::mount::mount(none, FOLDER, none, shared, none)
    };
    match share() {
        Err(nix::errno::Errno::EINVAL) => {
            let bind = MsFlags::MS_BIND | MsFlags::MS_REC;
            nix::mount::mount(Some(FOLDER), FOLDER, none, bind, none)?;
            Ok(share()?)
        }
        done => Ok(done?),
    }
}

/// Whether a name is that of a namespace: those are files of a device of their own.
fn is_pinned(path: &Path) -> io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(fs::metadata(path)?.dev() != fs::metadata(FOLDER)?.dev())
}

/// Unpin a namespace: it ends with its last process and socket. One that is not there is gone.
pub fn remove(name: &NsName) -> Result<(), NetnsError> {
    let path = netns_path(name);
    let fail = |what| {
        move |source| NetnsError::Io {
            name: name.clone(),
            what,
            source,
        }
    };
    if !path.exists() {
        return Ok(());
    }
    // A file that is no mount is left over from a start that was cut short.
    match nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL) => {}
        Err(errno) => return Err(fail("unpin it")(errno.into())),
    }
    fs::remove_file(&path).map_err(fail("remove its file"))
}

//! Namespaces of ours beside those of others who call `ip netns`.

use std::path::Path;
use std::process::Command;

use agent::netns;
use host::NsName;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// This thread's own mounts, with a /run/netns that nobody has used yet.
fn fresh() -> NsName {
    unshare(CloneFlags::CLONE_NEWNS).expect("mounts of its own (this test needs root)");
    let none = None::<&str>;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(none, "/", none, private, none).expect("private mounts");
    let empty = MsFlags::empty();
    mount(Some("tmpfs"), "/run", Some("tmpfs"), empty, none).expect("a tmpfs");
    std::fs::create_dir("/run/netns").expect("a folder");
    NsName::new("qrouter-1")
}

fn is_usable(name: &NsName) -> bool {
    netns::within(name, || Ok(())).is_ok()
}

#[test]
fn a_namespace_is_removed_and_made_again_after_others_made_theirs() {
    let name = fresh();
    netns::add(&name).expect("it is made");
    // This makes /run/netns a mount of its own the first time, with all that is below it.
    let others = Command::new("ip").args(["netns", "add", "guest"]).status();
    assert!(others.expect("ip runs").success());
    netns::remove(&name).expect("it is removed");
    assert!(!Path::new("/run/netns/qrouter-1").exists());
    netns::add(&name).expect("it is made again");
    assert!(is_usable(&name));
}

#[test]
fn a_file_that_is_no_namespace_is_made_one() {
    let name = fresh();
    std::fs::write("/run/netns/qrouter-1", "").expect("a file");
    netns::add(&name).expect("it is made");
    assert!(is_usable(&name));
    netns::add(&name).expect("it stays");
    netns::remove(&name).expect("it is removed");
}

//! A cloud goes over to a server with an empty store, by what the first one's API says: the hosts,
//! where agents are new to it, do not notice.

use crate::rig::{Background, NUCLEON, Rig, lost, soon, tail};
use crate::services::{cloud, renews};
use lab::Daemon;
use lab::topology::TunnelType;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const HOSTS: [&str; 3] = ["net", "c1", "c2"];
/// Echo requests, a hundred a second: for longer than everything here takes where nobody else works.
const PINGS: u32 = 800;

fn import(rig: &Rig, store: &Path, more: &[&str]) -> Output {
    let settings = rig.lab.machine("net").unwrap().dir.join("server.toml");
    let store = format!("sqlite:{}", store.display());
    let mut command = Command::new(NUCLEON);
    command.args(["import", "--from", rig.lab.api().unwrap()]);
    command.args(["--store", &store, "--config"]).arg(settings);
    command.args(more).output().unwrap()
}

/// What it said when it did what it should.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{error}");
    text
}

fn drift(rig: &Rig) -> Output {
    let mut command = Command::new(NUCLEON);
    command.args(["doctor", "--api", rig.lab.api().unwrap()]);
    command.output().unwrap()
}

/// The server goes on with another store, and every agent begins as one that knows no server.
fn exchange(rig: &Rig, moved: &Path) {
    for host in HOSTS {
        rig.lab.kill(Daemon::Agent, host).unwrap();
        let agent = rig.lab.machine(host).unwrap().dir.join("agent");
        // A host that was just made may not have kept it yet.
        let _ = fs::remove_file(agent.join("view.json"));
    }
    rig.lab.kill(Daemon::Server, "net").unwrap();
    let store = rig.lab.machine("net").unwrap().dir.join("nucleon.sqlite");
    for ending in ["-wal", "-shm"] {
        // They are there when the store was not closed.
        let _ = fs::remove_file(format!("{}{ending}", store.display()));
    }
    fs::rename(moved, &store).unwrap();
    rig.lab.start(Daemon::Server, "net").unwrap();
    for host in HOSTS {
        rig.lab.start(Daemon::Agent, host).unwrap();
    }
}

/// What a host's agent said of its passes.
fn passes(rig: &Rig, host: &str) -> Vec<String> {
    let log = rig.log(host);
    let passes = log.lines().filter(|line| line.contains("run: pass"));
    passes.map(str::to_owned).collect()
}

/// Moves the cloud to a server on an imported store, and sees that it is as it was and that no host
/// had anything to do. `more` goes to the import.
pub(crate) fn moves(rig: &Rig, more: &[&str]) {
    let moved = rig.lab.machine("net").unwrap().dir.join("moved.sqlite");
    let dry = said(&import(rig, &moved, &[&["--dry-run"], more].concat()));
    assert!(
        dry.contains("nothing was written") && !moved.exists(),
        "{dry}"
    );
    soon("nothing differs", || drift(rig).status.success());
    let ports = rig.client().get("ports").unwrap();
    let before = HOSTS.map(|host| passes(rig, host).len());

    said(&import(rig, &moved, more));
    let again = import(rig, &moved, more);
    let error = String::from_utf8_lossy(&again.stderr);
    assert!(error.contains("the store is not empty"), "{error}");
    exchange(rig, &moved);
    soon("nothing differs", || drift(rig).status.success());

    assert_eq!(rig.client().get("ports").unwrap(), ports);
    for (host, before) in HOSTS.iter().zip(before) {
        let since = &passes(rig, host)[before..];
        let is_quiet = |pass: &String| pass.contains("database=0 flows=0 filters=0");
        assert!(
            !since.is_empty() && since.iter().all(is_quiet),
            "{host}: {since:#?}"
        );
    }
}

/// Echo requests, a hundred a second.
pub(crate) fn ping(address: &str) -> String {
    format!("ping -n -i 0.01 -c {PINGS} {address}")
}

/// All of them were answered.
pub(crate) fn none_lost(pinging: Background) {
    let said = pinging.finish();
    assert_eq!(lost(&said, PINGS), Vec::<u32>::new(), "{}", tail(&said));
}

#[test]
fn hosts_do_not_notice_that_their_cloud_was_moved() {
    let cloud = cloud(TunnelType::Vxlan);
    let rig = &cloud.rig;
    let pinging = Background::begin(&rig.outside(), &ping(&cloud.floating.to_string()));
    moves(rig, &[]);
    renews(rig, "red1");
    none_lost(pinging);
}

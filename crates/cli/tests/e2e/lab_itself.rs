//! The lab as a tool: it comes up, tells about itself, and leaves nothing behind.

use crate::rig::{NUCLEON, labs_folder, unique_name};
use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// A topology without server and agents, quick to make.
fn topology_file(folder: &Path, name: &str) -> std::path::PathBuf {
    let file = folder.join(format!("{name}.toml"));
    fs::write(&file, format!("name = '{name}'\ncontrol = false\n")).unwrap();
    file
}

fn lab(name: &str, args: &[&str]) -> Output {
    let folder = labs_folder();
    Command::new(NUCLEON)
        .args(["lab", "--name", name, "--state-dir"])
        .arg(folder)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// Processes that work for this lab: each has the lab's folder in its command line.
fn processes_of(name: &str) -> Vec<String> {
    let needle = labs_folder().join(name).join("hosts").display().to_string();
    let lines = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| fs::read(entry.ok()?.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .filter(|line| line.contains(&needle))
        .collect()
}

fn nothing_is_left(name: &str) {
    assert_eq!(processes_of(name), Vec::<String>::new());
    assert!(!labs_folder().join(name).exists());
    assert!(!labs_folder().join(format!("{name}.lock")).exists());
}

#[test]
fn it_comes_up_tells_about_itself_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique_name();
    let file = topology_file(folder.path(), &name);
    let up = lab(&name, &["up", file.to_str().unwrap()]);
    assert!(up.status.success(), "{}", said(&up));
    let again = lab(&name, &["up", file.to_str().unwrap()]);
    assert!(said(&again).contains("is up already"), "{}", said(&again));

    let status = said(&lab(&name, &["status"]));
    assert!(
        status.contains("c2") && status.contains("l2,dhcp,l3,metadata"),
        "{status}"
    );
    // Whoever reads may go before all is said.
    let pipe = format!(
        "{NUCLEON} lab --name {name} --state-dir {} status | true",
        labs_folder().display()
    );
    let unread = Command::new("sh").args(["-c", &pipe]).output().unwrap();
    assert_eq!(said(&unread), "");
    let hostname = lab(&name, &["exec", "c1", "hostname"]);
    assert_eq!(said(&hostname), "c1\n");
    let code = lab(&name, &["exec", "outside", "sh", "-c", "exit 7"])
        .status
        .code();
    assert_eq!(code, Some(7), "the exit code is the command's");
    let nobody = lab(&name, &["exec", "c9", "true"]);
    assert!(
        said(&nobody).contains("no host or guest called c9"),
        "{}",
        said(&nobody)
    );
    // Every host has an Open vSwitch of its own and a foot in the management network.
    assert!(
        lab(&name, &["exec", "c2", "ovs-vsctl", "br-exists", "br-ex"])
            .status
            .success()
    );
    assert!(
        lab(&name, &["exec", "c2", "ping", "-c1", "-W2", "10.20.0.11"])
            .status
            .success()
    );

    assert!(lab(&name, &["down"]).status.success());
    nothing_is_left(&name);
}

#[test]
fn what_a_crash_half_way_left_is_cleaned_up_by_down_and_by_up() {
    let folder = tempfile::tempdir().unwrap();
    let name = unique_name();
    let file = topology_file(folder.path(), &name);
    for moment in [5, 20, 60, 120, 200, 300] {
        let mut up = Command::new(NUCLEON)
            .args(["lab", "--state-dir"])
            .arg(labs_folder())
            .arg("up")
            .arg(&file)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        up.kill().unwrap();
        up.wait().unwrap();
        assert!(lab(&name, &["down"]).status.success());
        nothing_is_left(&name);
    }
    let mut up = Command::new(NUCLEON)
        .args(["lab", "--state-dir"])
        .arg(labs_folder())
        .arg("up")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(150));
    up.kill().unwrap();
    up.wait().unwrap();
    let up = lab(&name, &["up", file.to_str().unwrap()]);
    assert!(
        up.status.success() || said(&up).contains("up already"),
        "{}",
        said(&up)
    );
    assert!(
        lab(&name, &["exec", "c1", "ovs-vsctl", "br-exists", "br-phy"])
            .status
            .success()
    );
    assert!(lab(&name, &["down"]).status.success());
    nothing_is_left(&name);
}

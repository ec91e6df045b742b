//! What the tests over recorded hosts share.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use walk::question::Question;
use walk::world::World;

/// A folder of the recorded references.
pub(crate) fn reference(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/reference")
        .join(name)
}

/// A folder's files, by path below it.
pub(crate) fn read_folder(folder: &Path) -> BTreeMap<String, String> {
    let mut files = BTreeMap::new();
    below(folder, "", &mut files);
    files
}

fn below(folder: &Path, start: &str, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = format!("{start}{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            below(&entry.path(), &format!("{name}/"), files);
        } else {
            files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
        }
    }
}

/// A check of the recorded clouds by its name, as a question: `ping red1->red2`,
/// `tcp green1->red1:8000 (remote group)`.
#[allow(
    dead_code,
    reason = "each test file is its own program and uses what it needs"
)]
pub(crate) fn check_question(world: &World, name: &str) -> Question {
    let (kind, rest) = name.split_once(' ').unwrap();
    let floating = || {
        let mut all = world.cloud.floating_ips.values();
        all.find_map(|f| f.floating_ip_address).unwrap().to_string()
    };
    let ask = |from: &str, to: &str, proto: Option<&str>| Question {
        from: from.to_owned(),
        to: to.to_owned(),
        proto: proto.map(str::to_owned),
        ..Question::default()
    };
    let pair = || rest.split_once("->").unwrap();
    match kind {
        "ping" => {
            let (from, to) = pair();
            let to = match to {
                "fip" => floating(),
                to if to.starts_with("ext") => "outside".to_owned(),
                to => to.to_owned(),
            };
            ask(from, &to, Some("icmp"))
        }
        "dhcp" => ask(rest, "dhcp", Some("dhcp")),
        "metadata" => ask(rest, "metadata", None),
        "tcp" => {
            let (from, to) = pair();
            let (to, port) = to.split_once(':').unwrap();
            let port = port.split(' ').next().unwrap().parse().unwrap();
            Question {
                port: Some(port),
                ..ask(from, to, Some("tcp"))
            }
        }
        "spoofed" => Question {
            src_ip: "10.1.0.77".parse().ok(),
            ..ask("red2", "red3", None)
        },
        other => panic!("a check of kind {other}"),
    }
}

/// The files with all that switches and hosts learn by themselves forgotten, as the cases with
/// faults were taken: what every packet of those began with.
#[allow(
    dead_code,
    reason = "each test file is its own program and uses what it needs"
)]
pub(crate) fn forget(files: &mut BTreeMap<String, String>) {
    for (path, text) in files {
        let name = path.rsplit('/').next().unwrap();
        let stays = |line: &&str| match name {
            "ip-neigh.txt" => line.contains("PERMANENT"),
            name if name.starts_with("fdb-") => line.contains("MAC"),
            name if name.starts_with("flows-") => {
                !line.contains("hard_timeout=300,") || line.contains("learn(")
            }
            _ => true,
        };
        *text = text.lines().filter(stays).flat_map(|l| [l, "\n"]).collect();
    }
}

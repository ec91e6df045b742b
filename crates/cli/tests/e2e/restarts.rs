//! Agents are killed and started again while what they made is in use: nobody notices.

use crate::clouds::shell;
use crate::rig::{Background, lost, soon, tail};
use crate::services::{Cloud, cloud, renews};
use lab::Daemon;
use lab::topology::TunnelType;
use std::time::Duration;

/// Echo requests, a hundred a second.
const PINGS: u32 = 900;

/// The download, in small pieces with a pause after each. At full speed it would fill the userspace
/// switch's queues, and every twentieth ping is lost there with or without a restart. A queue has
/// place for some 90 packets: at eleven a piece, a switch that a busy machine lets wait for a tenth
/// of a second still loses none.
const PIECES: u64 = 600;
const PIECE: u64 = 16_384;
const DOWNLOAD: u64 = PIECES * PIECE;
const FILE: &str = "/run/lab-download";

/// Starts a download from the guest through its floating IP.
fn download(cloud: &Cloud) {
    let piece = format!("head -c {PIECE} /dev/zero; sleep 0.01");
    let pieces = format!("for n in $(seq {PIECES}); do {piece}; done");
    let server = format!("({pieces} | nc -l -N 7071) >/dev/null 2>&1 </dev/null &");
    cloud.rig.guest("red1").sh(&server);
    soon("the download is offered", || {
        !cloud
            .rig
            .guest("red1")
            .run("ss -Hltn sport = :7071")
            .is_empty()
    });
    let client = format!(
        "nc {} 7071 </dev/null >{FILE} 2>/dev/null &",
        cloud.floating
    );
    shell(&cloud.rig.outside(), &client);
}

fn downloaded(cloud: &Cloud) -> u64 {
    let size = shell(&cloud.rig.outside(), &format!("stat -c %s {FILE}"));
    size.trim().parse().unwrap()
}

#[test]
fn an_agent_killed_under_pings_a_download_and_renewals_loses_nothing() {
    loses_nothing(TunnelType::Vxlan);
}

pub(crate) fn loses_nothing(tunnel_type: TunnelType) {
    let cloud = cloud(tunnel_type);
    let rig = &cloud.rig;
    download(&cloud);
    let ping = format!("ping -n -i 0.01 -c {PINGS} {}", cloud.floating);
    let pinging = Background::begin(&rig.outside(), &ping);
    for pause in [300, 700, 1100, 500] {
        std::thread::sleep(Duration::from_millis(pause));
        for host in ["net", "c1"] {
            rig.lab.kill(Daemon::Agent, host).unwrap();
            renews(rig, "red1");
            rig.lab.start(Daemon::Agent, host).unwrap();
        }
        renews(rig, "red1");
    }
    let said = pinging.finish();
    assert_eq!(lost(&said, PINGS), Vec::<u32>::new(), "{}", tail(&said));
    soon("the download is whole", || downloaded(&cloud) == DOWNLOAD);
    let log = rig.log("net");
    let last = log.lines().rfind(|line| line.contains("run: pass"));
    let is_quiet = |pass: &str| pass.contains("database=0 flows=0 filters=0");
    assert!(last.is_some_and(is_quiet), "all is there already: {last:?}");
}

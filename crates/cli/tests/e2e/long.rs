//! What takes a minute or more: `make test-long`.

mod breaks;
mod distributed;
mod failover;

use crate::rig::{Rig, chain, lost, tail};
use crate::underlay::{guest, join_by_hand};
use lab::topology::{GuestKind, TunnelType};
use lab::{Daemon, Topology};
use std::time::Duration;

fn pair() -> Rig {
    let mut rig = Rig::cloud();
    rig.network("red", "10.1.0.0/24");
    rig.add("a", "c1", "red");
    rig.add("b", "c2", "red");
    rig.guest("a").must_ping(rig.guest("b").ip());
    rig
}

#[test]
fn agents_killed_at_many_moments_of_their_start_lose_no_packet() {
    let rig = pair();
    let pinging = rig
        .guest("a")
        .begins(&format!("ping -n -i 0.01 -c 6000 {}", rig.guest("b").ip()));
    // Each round ends the new agents a little later in their start than the round before.
    for round in 0..40 {
        for host in ["c1", "c2"] {
            rig.lab.kill(Daemon::Agent, host).unwrap();
            rig.lab.start(Daemon::Agent, host).unwrap();
        }
        std::thread::sleep(Duration::from_millis(25 * round));
    }
    let said = pinging.finish();
    assert_eq!(lost(&said, 6000), Vec::<u32>::new(), "{}", tail(&said));
}

#[test]
fn a_server_that_is_away_for_a_minute_is_not_missed() {
    let mut rig = pair();
    let (a, b) = (rig.guest("a"), rig.guest("b"));
    let flows = |host: &str| rig.run(host, "ovs-ofctl dump-flows --no-stats br-int");
    let before = [flows("c1"), flows("c2")];
    rig.lab.kill(Daemon::Server, "net").unwrap();
    let said = a
        .begins(&format!("ping -n -i 0.05 -c 1200 {}", b.ip()))
        .finish();
    assert!(
        said.contains("1200 packets transmitted, 1200 received"),
        "{}",
        tail(&said)
    );
    assert_eq!([flows("c1"), flows("c2")], before);
    rig.lab.start(Daemon::Server, "net").unwrap();
    rig.add("late", "c1", "red");
    rig.guest("late").must_ping(rig.guest("b").ip());
}

#[test]
fn virtual_machines_reach_each_other_through_a_tunnel() {
    let mut rig = Rig::bare_with(Topology {
        guests_are: GuestKind::Qemu,
        ..Topology::default()
    });
    join_by_hand(&rig, TunnelType::Vxlan);
    for (name, host, address) in [("a", "c1", "10.1.0.1/24"), ("b", "c2", "10.1.0.2/24")] {
        let guest = guest(&rig, name, host, address, true);
        rig.lab
            .add_bare_guest(guest)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
    let b = rig.guest("b").ip();
    rig.guest("a").must_ping(b);
    assert_eq!(rig.run("a", "hostname"), "a\n", "a machine of its own");
    // Only what the other end adds up itself shows that checksums are right.
    rig.guest("b").sh("nc -l -p 7 -e cat &");
    let echoed = rig.guest("a").run(&format!(
        "sh -c echo${{IFS}}hello|nc${{IFS}}-w${{IFS}}2${{IFS}}{b}${{IFS}}7"
    ));
    assert_eq!(echoed, "hello\n");
    let version = rig.run("a", "cat /proc/version");
    assert!(version.contains("Debian"), "{version}");
}

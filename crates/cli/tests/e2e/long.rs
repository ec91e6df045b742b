//! What takes a minute or more: `make test-long`.

use crate::rig::{Rig, tail};
use lab::Daemon;
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
    assert!(
        said.contains("6000 packets transmitted, 6000 received"),
        "{}",
        tail(&said)
    );
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

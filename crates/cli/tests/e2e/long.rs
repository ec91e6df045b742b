//! What takes a minute or more: `make test-long`.

mod breaks;
mod distributed;
mod failover;
mod migrated;

use crate::clouds::pings;
use crate::faults::pair;
use crate::rig::{Rig, chain, lost, soon, tail, within};
use crate::services;
use crate::underlay::{guest, join_by_hand};
use lab::client::text;
use lab::topology::{GuestKind, TunnelType};
use lab::{Daemon, Topology};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

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
fn a_metadata_service_that_hangs_is_not_waited_for() {
    crate::metadata::a_service_that_hangs_is_not_waited_for();
}

/// In `net` iptables goes on doing what it does, but for what the agent writes by.
fn break_iptables(rig: &Rig) {
    let folder = &rig.lab.machine("net").unwrap().dir;
    let (real, broken) = (folder.join("iptables"), folder.join("broken"));
    std::fs::copy(IPTABLES, &real).unwrap();
    let script = format!(
        "#!/bin/bash\ncase $0 in *-restore) echo iptables is broken >&2; exit 1 ;; esac\n\
         exec -a \"$0\" {} \"$@\"\n",
        real.display()
    );
    std::fs::write(&broken, script).unwrap();
    let broken = broken.display();
    rig.run("net", &format!("chmod +x {broken}"));
    rig.run("net", &format!("mount --bind {broken} {IPTABLES}"));
}

/// What all of iptables' commands are.
const IPTABLES: &str = "/usr/sbin/xtables-nft-multi";

#[test]
fn a_floating_ip_that_can_not_be_made_is_in_error_until_it_can() {
    let cloud = services::cloud(TunnelType::Vxlan);
    let rig = &cloud.rig;
    let floating = &rig.list("floatingips")[0];
    let id = text(floating, "id").unwrap();
    let status = |wanted: &str| {
        let path = format!("floatingips/{id}");
        within(Duration::from_secs(60), wanted, || {
            rig.client().get(&path).unwrap()["status"] == wanted
        });
    };
    status("ACTIVE");
    rig.lead(id, None);
    status("DOWN");
    soon("its rules are gone", || {
        !pings(&rig.outside(), cloud.floating)
    });
    break_iptables(rig);
    rig.lead(id, Some("red1"));
    status("ERROR");
    assert!(rig.log("net").contains("iptables is broken"));
    rig.run("net", &format!("umount {IPTABLES}"));
    status("ACTIVE");
    soon("it leads in", || pings(&rig.outside(), cloud.floating));
}

#[test]
fn hosts_of_a_centralized_router_are_neutrons_with_gre() {
    crate::recorded::centralized("gre-legacy-hybrid", 6);
}

#[test]
fn clients_are_told_the_same_with_gre() {
    crate::leases::told_by(TunnelType::Gre);
}

#[test]
fn routers_do_the_same_with_gre() {
    crate::routers::do_what_they_should(&crate::routers::cloud(TunnelType::Gre));
}

#[test]
fn floating_ips_come_move_and_go_with_vxlan() {
    crate::routers::float_and_move(&crate::routers::cloud(TunnelType::Vxlan));
}

#[test]
fn services_are_healed_with_gre() {
    services::are_healed(TunnelType::Gre);
}

#[test]
fn restarts_lose_nothing_with_gre() {
    crate::restarts::loses_nothing(TunnelType::Gre);
}

#[test]
fn metadata_is_the_same_with_gre() {
    crate::metadata::whatever_and_wherever(TunnelType::Gre);
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
    assert!(console_says(&rig, "a", "echo console-$((6 * 7))").contains("console-42"));
}

/// What a guest's serial console shows for a while after a person typed a line.
fn console_says(rig: &Rig, guest: &str, line: &str) -> String {
    let mut console = UnixStream::connect(rig.lab.console(guest).unwrap()).unwrap();
    writeln!(console, "{line}").unwrap();
    let patience = lab::patience(Duration::from_secs(5));
    console.set_read_timeout(Some(patience)).unwrap();
    let mut shown = Vec::new();
    // It goes on for ever: the silence after the answer ends it.
    let _ = console.read_to_end(&mut shown);
    String::from_utf8_lossy(&shown).into_owned()
}

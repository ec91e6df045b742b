//! A host's own Open vSwitch: started by hand, as there is no service manager in a host.

use crate::command::{CommandError, Place};
use crate::machine::Machine;
use crate::topology::{Host, tunnel_address};
use std::time::{Duration, Instant};

const DATABASE: &str = "/etc/openvswitch/conf.db";
const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";
const RUN: &str = "/run/openvswitch";

/// Which datapath the kernel here allows: `system` when it has Open vSwitch, else `netdev`.
pub(crate) fn detect_datapath() -> &'static str {
    let here = Place::here();
    // The answer to "which datapaths are there" is an error without the kernel's module.
    let _ = here.output(&["modprobe", "-q", "openvswitch"], "");
    match here.run(&["ovs-dpctl", "dump-dps"]) {
        Ok(_) => "system",
        Err(_) => "netdev",
    }
}

/// Starts both daemons and makes the bridges that are the machine's and not the agent's.
pub(crate) fn start(
    machine: &Machine,
    position: usize,
    host: &Host,
    datapath: &str,
) -> Result<(), CommandError> {
    let place = &machine.place;
    place.run(&["ovsdb-tool", "create", DATABASE, SCHEMA])?;
    start_database(place)?;
    place.run(&["ovs-vsctl", "--no-wait", "init"])?;
    start_switch(place)?;
    let userspace = datapath == "netdev";
    let mut bridges = vec!["ovs-vsctl".to_owned()];
    if userspace {
        bridges.extend(bridge("br-phy", "eth1", datapath));
    }
    if host.external {
        bridges.extend(bridge("br-ex", "eth2", datapath));
    }
    place.run(&bridges)?;
    if userspace {
        address_underlay(place, position)
    } else {
        Ok(())
    }
}

/// Puts the tunnel address on br-phy's own port, where the userspace datapath looks for it.
pub(crate) fn address_underlay(place: &Place, position: usize) -> Result<(), CommandError> {
    place.ip(&[
        format!("addr replace {}/24 dev br-phy", tunnel_address(position)),
        "link set br-phy up".to_owned(),
    ])
}

fn bridge(name: &str, card: &str, datapath: &str) -> Vec<String> {
    format!(
        "-- add-br {name} -- set Bridge {name} datapath_type={datapath} fail_mode=standalone \
         -- add-port {name} {card}"
    )
    .split_whitespace()
    .map(str::to_owned)
    .collect()
}

pub(crate) fn start_database(place: &Place) -> Result<(), CommandError> {
    let remote = format!("--remote=punix:{RUN}/db.sock");
    let managers = "--remote=db:Open_vSwitch,Open_vSwitch,manager_options";
    daemon(place, "ovsdb-server", &[DATABASE, &remote, managers])
}

pub(crate) fn start_switch(place: &Place) -> Result<(), CommandError> {
    daemon(place, "ovs-vswitchd", &[&format!("unix:{RUN}/db.sock")])
}

/// Ends one of the daemons without a goodbye, as a crash does.
pub(crate) fn kill(place: &Place, daemon: &str) -> Result<(), CommandError> {
    let pid_file = format!("{RUN}/{daemon}.pid");
    let pid = place.run(&["cat", &pid_file])?;
    place.run(&["kill", "-9", pid.trim()])?;
    let deadline = Instant::now() + Duration::from_secs(5);
    // The next one refuses to start while this one still holds its pid file's lock.
    while place.run(&["kill", "-0", pid.trim()]).is_ok() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn daemon(place: &Place, program: &str, args: &[&str]) -> Result<(), CommandError> {
    let pid_file = format!("--pidfile={RUN}/{program}.pid");
    let log_file = format!("--log-file=/var/log/openvswitch/{program}.log");
    let rest = [
        &pid_file,
        &log_file,
        "--detach",
        "--no-chdir",
        "-vconsole:off",
    ];
    let argv: Vec<&str> = [program]
        .into_iter()
        .chain(args.iter().copied())
        .chain(rest)
        .collect();
    place.run(&argv).map(drop)
}

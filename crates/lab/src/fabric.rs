//! The cables between hosts: a namespace with three Linux bridges, and the outside world.
//!
//! | bridge | in a host | addresses |
//! |---|---|---|
//! | `mgmt` | `eth0` | 10.20.0.11, .12, … in the order of the topology |
//! | `tunnel` | `eth1` | 10.30.0.11, .12, …; on br-phy with the userspace datapath |
//! | `external` | `eth2`, in br-ex | the outside world: 172.24.4.225/28, 2001:db8:e::1/64 |
//!
//! Behind the outside world's router stand 203.0.113.1 and 2001:db8:f::1, which are nobody's
//! neighbours: what reaches them was routed.

use crate::command::{CommandError, Place};
use crate::machine::Machine;
use crate::topology::{Topology, management_address, tunnel_address};

/// The namespace of the bridges.
pub(crate) const FABRIC: &str = "fabric";

/// The namespace that is the outside world.
pub(crate) const OUTSIDE: &str = "outside";

const BRIDGES: [&str; 3] = ["mgmt", "tunnel", "external"];

/// Makes the bridges and the outside world, and joins every host to them.
pub(crate) fn build(
    topology: &Topology,
    machines: &Machines<'_>,
    userspace: bool,
) -> Result<(), CommandError> {
    let mut bridges = Vec::new();
    for bridge in BRIDGES {
        bridges.push(format!(
            "link add {bridge} type bridge forward_delay 0 mcast_snooping 0"
        ));
        bridges.push(format!("link set {bridge} up"));
    }
    machines
        .fabric
        .place
        .run(&["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1"])?;
    machines.fabric.place.ip(&bridges)?;
    join(machines, "external", machines.outside, "eth0", userspace)?;
    machines.outside.place.ip(&[
        "addr add 172.24.4.225/28 dev eth0".to_owned(),
        "addr add 2001:db8:e::1/64 dev eth0 nodad".to_owned(),
        "addr add 203.0.113.1/32 dev lo".to_owned(),
        "addr add 2001:db8:f::1/128 dev lo".to_owned(),
    ])?;
    for (position, machine) in machines.hosts.iter().enumerate() {
        join(machines, "mgmt", machine, "eth0", userspace)?;
        join(machines, "tunnel", machine, "eth1", userspace)?;
        if topology.hosts[position].external {
            join(machines, "external", machine, "eth2", userspace)?;
        }
        let mtu = topology.underlay_mtu;
        let plug = format!("{}-tun", machine.name);
        machines
            .fabric
            .place
            .ip(&[format!("link set {plug} mtu {mtu}")])?;
        let mut lines = vec![
            format!("link set eth1 mtu {mtu}"),
            format!("addr add {}/24 dev eth0", management_address(position)),
        ];
        if !userspace {
            lines.push(format!("addr add {}/24 dev eth1", tunnel_address(position)));
        }
        machine.place.ip(&lines)?;
    }
    Ok(())
}

/// The namespaces that the fabric joins.
#[derive(Debug)]
pub(crate) struct Machines<'a> {
    pub(crate) fabric: &'a Machine,
    pub(crate) outside: &'a Machine,
    pub(crate) hosts: &'a [Machine],
}

/// A cable from `bridge` to a card called `card` in `machine`.
fn join(
    machines: &Machines<'_>,
    bridge: &str,
    machine: &Machine,
    card: &str,
    userspace: bool,
) -> Result<(), CommandError> {
    let plug = format!("{}-{}", machine.name, &bridge[..3]);
    let (inside, fabric) = (machine.process.pid, machines.fabric.process.pid);
    Place::here().ip(&[format!(
        "link add {card} netns {inside} type veth peer name {plug} netns {fabric}"
    )])?;
    machines
        .fabric
        .place
        .ip(&[format!("link set {plug} master {bridge} up")])?;
    machine.place.ip(&[format!("link set {card} up")])?;
    if userspace {
        without_checksum_offload(&machines.fabric.place, &plug)?;
        without_checksum_offload(&machine.place, card)?;
    }
    Ok(())
}

/// A veth leaves checksums to the other end; the userspace datapath passes such packets on as
/// they are, and TCP stalls while ping works.
pub(crate) fn without_checksum_offload(place: &Place, device: &str) -> Result<(), CommandError> {
    place.run(&["ethtool", "-K", device, "tx", "off"]).map(drop)
}

//! Plugs a port into the integration bridge exactly as Nova's os-vif does.
//!
//! Hybrid, for a firewall made of iptables, which sees only what crosses a Linux bridge:
//!
//! ```text
//! guest ── tapX ── qbrX (Linux bridge) ── qvbX ══ qvoX ── br-int
//! ```
//!
//! Direct: `guest ── tapX ── br-int`. The OVS Interface that carries `iface-id`, by which the
//! agent knows the port, is qvoX there and tapX here. X is the first 11 characters of the port id.

use crate::command::{CommandError, Place};
use crate::fabric::without_checksum_offload;
use host::names;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A port as os-vif is told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    pub id: Uuid,
    pub mac: String,
    pub mtu: u32,
    /// The instance that the port belongs to.
    pub vm: Uuid,
    pub hybrid: bool,
    /// Whether the bridge's datapath is userspace's, which cannot finish checksums.
    pub userspace: bool,
}

/// What is on the other end of the tap.
#[derive(Debug, Clone, Copy)]
pub enum End<'a> {
    /// A virtual machine opens the tap.
    Tap,
    /// A network namespace of the same place has the other end as its `eth0`.
    Netns(&'a str),
}

/// The names of a port's devices, which are computed from its id.
pub struct Names {
    pub tap: String,
    pub qbr: String,
    pub qvb: String,
    pub qvo: String,
}

impl Names {
    pub fn of(port: &impl ToString) -> Self {
        let id = port.to_string();
        Self {
            tap: names::tap(&id),
            qbr: names::qbr(&id),
            qvb: names::qvb(&id),
            qvo: names::qvo(&id),
        }
    }
}

/// What `ip` does to make qbr, qvb and qvo with os-vif's settings: no forwarding delay, no ageing (the
/// bridge has two ends and floods), no spanning tree, no multicast snooping. qbr is not up yet.
pub fn hybrid_lines(names: &Names, mtu: u32) -> [String; 4] {
    let Names { qbr, qvb, qvo, .. } = names;
    [
        format!(
            "link add {qbr} type bridge forward_delay 0 ageing_time 0 stp_state 0 mcast_snooping 0"
        ),
        format!("link add {qvb} mtu {mtu} type veth peer name {qvo} mtu {mtu}"),
        format!("link set {qvb} promisc on master {qbr} up"),
        format!("link set {qvo} promisc on up"),
    ]
}

/// Makes devices and the bridge's port. What was made is taken away again when a step fails.
pub fn plug(place: &Place, bridge: &str, port: &Port, end: End<'_>) -> Result<(), CommandError> {
    let made = make(place, bridge, port, end);
    if made.is_err() {
        // The first error is the one worth telling.
        let _ = unplug(place, bridge, port.id);
    }
    made
}

fn make(place: &Place, bridge: &str, port: &Port, end: End<'_>) -> Result<(), CommandError> {
    let names = Names::of(&port.id);
    if port.hybrid {
        make_hybrid(place, port)?;
    }
    place.ip(&tap_lines(port, end))?;
    if port.userspace {
        offload_off(place, port, end)?;
    }
    let interface = if port.hybrid { names.qvo } else { names.tap };
    add_to_bridge(place, bridge, &interface, port)
}

/// The Linux bridge and what joins it with br-int's; without IPv6 of its own.
fn make_hybrid(place: &Place, port: &Port) -> Result<(), CommandError> {
    let names = Names::of(&port.id);
    place.ip(&hybrid_lines(&names, port.mtu))?;
    let qbr = &names.qbr;
    place.run(&[
        "sysctl",
        "-qw",
        &format!("net.ipv6.conf.{qbr}.disable_ipv6=1"),
    ])?;
    place.ip(&[format!("link set {qbr} up")])
}

fn tap_lines(port: &Port, end: End<'_>) -> Vec<String> {
    let Names { tap, qbr, .. } = Names::of(&port.id);
    let (mac, mtu) = (&port.mac, port.mtu);
    let mut lines = match end {
        End::Tap => vec![
            format!("tuntap add {tap} mode tap"),
            format!("link set {tap} mtu {mtu}"),
        ],
        End::Netns(netns) => vec![format!(
            "link add {tap} mtu {mtu} type veth peer name eth0 address {mac} mtu {mtu} netns {netns}"
        )],
    };
    if port.hybrid {
        lines.push(format!("link set {tap} master {qbr}"));
    }
    lines.push(format!("link set {tap} up"));
    lines
}

fn offload_off(place: &Place, port: &Port, end: End<'_>) -> Result<(), CommandError> {
    let names = Names::of(&port.id);
    if port.hybrid {
        without_checksum_offload(place, &names.qvb)?;
        without_checksum_offload(place, &names.qvo)?;
    }
    match end {
        End::Tap => Ok(()),
        End::Netns(netns) => {
            without_checksum_offload(place, &names.tap)?;
            without_checksum_offload(&place.netns(netns), "eth0")
        }
    }
}

/// The bridge's port and what its Interface row says, in one transaction.
fn add_to_bridge(
    place: &Place,
    bridge: &str,
    interface: &str,
    port: &Port,
) -> Result<(), CommandError> {
    place
        .run(&[
            "ovs-vsctl",
            "--timeout=30",
            "--",
            "--may-exist",
            "add-port",
            bridge,
            interface,
            "--",
            "set",
            "Interface",
            interface,
            &format!("external_ids:iface-id={}", port.id),
            "external_ids:iface-status=active",
            // Quoted: Open vSwitch's parser ends an unquoted value at a colon.
            &format!("external_ids:attached-mac=\"{}\"", port.mac),
            &format!("external_ids:vm-uuid={}", port.vm),
        ])
        .map(drop)
}

impl Port {
    /// Whether the agent of the place has given the port a VLAN in which frames pass.
    pub(crate) fn is_wired(&self, place: &Place) -> Result<bool, CommandError> {
        let names = Names::of(&self.id);
        let device = if self.hybrid { names.qvo } else { names.tap };
        let tag = place.run(&["ovs-vsctl", "--timeout=30", "get", "Port", &device, "tag"])?;
        // Nothing is `[]`; 4095 is where everything is dropped.
        Ok(tag.trim().parse::<u16>().is_ok_and(|tag| tag < 4095))
    }
}

/// Takes away whatever `plug` made, or a part of it.
pub fn unplug(place: &Place, bridge: &str, port: Uuid) -> Result<(), CommandError> {
    let Names { tap, qbr, qvo, .. } = Names::of(&port);
    let mut del_port = vec!["ovs-vsctl", "--timeout=30"];
    for interface in [&qvo, &tap] {
        del_port.extend(["--", "--if-exists", "del-port", bridge, interface]);
    }
    place.run(&del_port)?;
    for device in [&tap, &qvo, &qbr] {
        if place.run(&["ip", "link", "show", "dev", device]).is_ok() {
            place.run(&["ip", "link", "del", device])?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_direct_tap_has_no_bridge() {
        let port = Port {
            id: Uuid::nil(),
            mac: "fa:16:3e:00:00:01".to_owned(),
            mtu: 1450,
            vm: Uuid::nil(),
            hybrid: false,
            userspace: true,
        };
        assert_eq!(
            tap_lines(&port, End::Netns("red1")),
            [
                "link add tap00000000-00 mtu 1450 type veth peer name eth0 address fa:16:3e:00:00:01 mtu 1450 netns red1",
                "link set tap00000000-00 up",
            ]
        );
        let hybrid = Port {
            hybrid: true,
            ..port
        };
        assert_eq!(
            tap_lines(&hybrid, End::Tap)[2],
            "link set tap00000000-00 master qbr00000000-00"
        );
    }
}

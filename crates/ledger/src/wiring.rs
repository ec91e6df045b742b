//! What hosts report of their ports: a port is ACTIVE when the host that has it wired it and, where
//! its network has DHCP, a DHCP server knows it.

use intent::{BindingStatus, HostName, Port, PortId, PortStatus, owner};

use crate::{Answer, dhcp_port, txn::Txn};

/// A host's report. What it says of ports that are not its own is not heard.
pub(crate) fn report(
    txn: &mut Txn<'_>,
    host: &HostName,
    (up, down): (&[PortId], &[PortId]),
    dhcp: &[PortId],
) -> Answer {
    for (ids, is_up) in [(up, true), (down, false)] {
        for id in ids {
            change(txn, *id, |port| wired(port, host, is_up));
        }
    }
    for id in dhcp {
        change(txn, *id, |port| {
            let awaited = port.awaits_dhcp;
            port.awaits_dhcp = false;
            awaited
        });
    }
    Answer::Done
}

/// Applies a report to one port if it is heard, and judges its status anew.
fn change(txn: &mut Txn<'_>, id: PortId, heard: impl FnOnce(&mut Port) -> bool) {
    let Some(current) = txn.get::<Port>(&id) else {
        return;
    };
    let mut port = Port::clone(&current);
    if !heard(&mut port) {
        return;
    }
    judge(txn, &mut port);
    if port.status == current.status {
        // What a host knows of a port is not the user's change.
        txn.save_uncounted(port);
    } else {
        txn.save(port);
    }
}

fn wired(port: &mut Port, host: &HostName, up: bool) -> bool {
    if port.device_owner == owner::ROUTER_INTERFACE_DVR {
        // It is on many hosts: up once it is anywhere.
        if up {
            port.status = PortStatus::Active;
        }
        return up;
    }
    let mut bindings = port.bindings.iter_mut();
    let Some(binding) = bindings.find(|binding| binding.host == *host) else {
        return false;
    };
    binding.up = up;
    true
}

fn judge(txn: &Txn<'_>, port: &mut Port) {
    let Some(binding) = port.active_binding() else {
        return;
    };
    let wired = binding.up && binding.status == BindingStatus::Active;
    let served = !port.awaits_dhcp || !dhcp_port::is_served(txn, port.network_id);
    if matches!(port.status, PortStatus::NotApplicable) {
        return;
    }
    port.status = match wired {
        true if served => PortStatus::Active,
        // Wired, and still unknown to DHCP.
        true => port.status,
        false => PortStatus::Down,
    };
}

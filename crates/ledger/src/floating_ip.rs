//! Floating IPs: addresses of an external network that lead to a port behind a router.

use intent::{FixedIp, FloatingIp, FloatingIpId, FloatingIpStatus, PortId};

use crate::txn::Txn;

/// A port is about to lose these addresses: floating IPs that lead there lead nowhere.
pub(crate) fn addresses_left(txn: &mut Txn<'_>, port: PortId, lost: &[FixedIp]) {
    let ids = txn.state().index.floating_ips_of_port.of(&port);
    let ids: Vec<FloatingIpId> = ids.copied().collect();
    for id in ids {
        let Some(floating_ip) = txn.get::<FloatingIp>(&id) else {
            continue;
        };
        let leads_there = |fixed: &FixedIp| Some(fixed.ip_address) == floating_ip.fixed_ip_address;
        if lost.iter().any(leads_there) {
            let mut floating_ip = FloatingIp::clone(&floating_ip);
            floating_ip.port_id = None;
            floating_ip.fixed_ip_address = None;
            floating_ip.router_id = None;
            floating_ip.status = FloatingIpStatus::Down;
            txn.save(floating_ip);
        }
    }
}

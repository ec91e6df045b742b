//! A router's routes: the default ones by its gateway, the external network's other subnets, and
//! what users added.

use std::net::IpAddr;

use host::{NsName, Why};
use intent::Subnet;

use super::site::{Outside, Site};
use crate::{
    Draft,
    dhcp::any,
    draft::{MAIN, To},
};

pub(super) fn emit(draft: &mut Draft<'_>, site: &Site<'_>) {
    if let Some(outside) = site.gateway() {
        ways_out(draft, &site.ns, MAIN, outside);
        other_external_subnets(draft, site, outside);
    }
    extra(draft, site);
}

/// The gateway of each subnet that the gateway port has an address in; one a family.
pub(super) fn ways_out(draft: &mut Draft<'_>, ns: &NsName, table: u32, outside: &Outside<'_>) {
    let mut families = std::collections::BTreeSet::new();
    for (subnet, _) in draft.prefixes(outside.port) {
        let Some(gateway) = subnet.gateway_ip else {
            continue;
        };
        if !families.insert(subnet.ip_version()) {
            continue;
        }
        way_out(draft, (ns, table), &outside.device, (subnet, gateway));
    }
}

/// The default route of a gateway's family, in a namespace's table.
pub(crate) fn way_out(
    draft: &mut Draft<'_>,
    (ns, table): (&NsName, u32),
    device: &str,
    (subnet, gateway): (&Subnet, IpAddr),
) {
    let why = Why::of("subnet", subnet.id);
    if !subnet.cidr.contains(&gateway) {
        // The gateway is not on the subnet: it is on the wire all the same.
        let to = To {
            destination: gateway.into(),
            via: None,
            dev: device,
        };
        draft.route(ns, table, to, why.clone());
    }
    let to = To {
        destination: any(gateway),
        via: Some(gateway),
        dev: device,
    };
    draft.route(ns, table, to, why);
}

/// Subnets of the external network that the router has no address in are on the same wire.
fn other_external_subnets(draft: &mut Draft<'_>, site: &Site<'_>, outside: &Outside<'_>) {
    let own: Vec<_> = outside
        .port
        .fixed_ips
        .iter()
        .map(|fixed| fixed.subnet_id)
        .collect();
    let others: Vec<_> = draft
        .subnets_of(outside.port.network_id)
        .filter(|subnet| subnet.ip_version() == 4 && !own.contains(&subnet.id))
        .collect();
    for subnet in others {
        let to = To {
            destination: subnet.cidr,
            via: None,
            dev: &outside.device,
        };
        draft.route(&site.ns, MAIN, to, Why::of("subnet", subnet.id));
    }
}

fn extra(draft: &mut Draft<'_>, site: &Site<'_>) {
    for route in &site.router.routes {
        let Some(dev) = device_towards(draft, site, route.nexthop) else {
            let text = format!(
                "{} is behind {}, which no interface reaches",
                route.destination, route.nexthop
            );
            draft.note(format!("router {}", site.router.id), text);
            continue;
        };
        let to = To {
            destination: route.destination.trunc(),
            via: Some(route.nexthop),
            dev: &dev,
        };
        draft.route(&site.ns, MAIN, to, site.why());
    }
}

/// The device on whose subnet an address is.
fn device_towards(draft: &Draft<'_>, site: &Site<'_>, nexthop: IpAddr) -> Option<String> {
    let inside = site.inside.iter().map(|(device, port)| (device, *port));
    let outside = site
        .outside
        .iter()
        .map(|outside| (&outside.device, outside.port));
    let mut devices = inside.chain(outside);
    let (device, _) = devices.find(|(_, port)| {
        let on = draft.prefixes(port);
        on.iter().any(|(subnet, _)| subnet.cidr.contains(&nexthop))
    })?;
    Some(device.clone())
}

//! What a site's filters are made from: those of a site of which nothing changed are not written
//! again. A floating IP more concerns one router among many.

use std::net::IpAddr;

use intent::{AddressScopeId, FloatingIpId, Port, PortId, RouterId};
use ipnet::IpNet;

use super::{
    filters::scope_of,
    site::{By, Site},
};
use crate::Draft;

/// All of a site that its filters depend on.
#[derive(Debug, PartialEq)]
pub(crate) struct From {
    router: RouterId,
    inside: Vec<Device>,
    outside: Option<(By, Device, Vec<IpAddr>)>,
    floating: Vec<(FloatingIpId, IpAddr, Option<IpAddr>)>,
    /// The listener's port.
    metadata: Option<u16>,
}

#[derive(Debug, PartialEq)]
struct Device {
    name: String,
    port: PortId,
    /// Its addresses, each with its subnet and that one's address scope.
    addresses: Vec<(IpNet, IpNet, Option<AddressScopeId>)>,
}

impl From {
    pub(super) fn of(draft: &Draft<'_>, site: &Site<'_>) -> From {
        let device = |name: &str, port: &Port| Device {
            name: name.to_owned(),
            port: port.id,
            addresses: draft
                .prefixes(port)
                .into_iter()
                .map(|(subnet, net)| {
                    let pool = subnet.subnetpool_id;
                    (
                        net,
                        subnet.cidr,
                        pool.and_then(|pool| scope_of(draft, pool)),
                    )
                })
                .collect(),
        };
        let inside = site.inside.iter();
        From {
            router: site.router.id,
            inside: inside.map(|(name, port)| device(name, port)).collect(),
            outside: site.outside.as_ref().map(|outside| {
                let addresses = outside.port.addresses().collect();
                (outside.by, device(&outside.device, outside.port), addresses)
            }),
            floating: site
                .floating
                .iter()
                .map(|it| (it.id, it.floating_ip_address, it.fixed_ip_address))
                .collect(),
            metadata: site.metadata.then_some(draft.settings.metadata.port),
        }
    }
}

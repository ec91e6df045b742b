//! One namespace of a router: devices, addresses, settings, the metadata listener.
//!
//! Settings come before devices and addresses when they are applied: a guest that is sent a
//! redirect by a router that is half there believes it for minutes.

use host::{Merge, NsName, Why, netns::Listener};
use intent::{FloatingIp, Port, Router};
use ipnet::IpNet;

use crate::{Draft, dhcp::PROMOTE, dhcp::metadata_v6};

pub(super) struct Site<'a> {
    pub(super) router: &'a Router,
    pub(super) ns: NsName,
    /// Interfaces towards subnets, with their devices.
    pub(super) inside: Vec<(String, &'a Port)>,
    pub(super) outside: Option<Outside<'a>>,
    /// Floating IPs that this namespace translates.
    pub(super) floating: Vec<&'a FloatingIp>,
    /// Guests' requests for metadata are taken here.
    pub(super) metadata: bool,
}

/// The device that leads to the external network.
pub(super) struct Outside<'a> {
    pub(super) device: String,
    pub(super) port: &'a Port,
    pub(super) by: By,
}

/// How a namespace reaches the external network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// By the gateway port itself; with the router's source address, or not.
    Gateway { snat: bool },
    /// By a pair of devices to the host's namespace of floating IPs.
    Pair,
}

impl<'a> Site<'a> {
    /// The way out, where it is the gateway port itself.
    pub(super) fn gateway(&self) -> Option<&Outside<'a>> {
        let outside = self.outside.as_ref();
        outside.filter(|outside| outside.by != By::Pair)
    }

    pub(super) fn why(&self) -> Why {
        Why::of("router", self.router.id)
    }
}

pub(super) fn emit(draft: &mut Draft<'_>, site: &Site<'_>) {
    draft.netns(&site.ns).why_mut().merge(site.why());
    settings(draft, &site.ns, &site.why());
    for (device, port) in &site.inside {
        device_with_addresses(draft, &site.ns, device, port);
    }
    if site.metadata && !site.router.distributed {
        metadata_without_dhcp(draft, site);
    }
    if let Some(outside) = site.gateway() {
        device_with_addresses(draft, &site.ns, &outside.device, outside.port);
        accept_announcements(draft, site, outside);
        for floating_ip in &site.floating {
            let address = IpNet::from(floating_ip.floating_ip_address);
            let why = Why::of("floatingip", floating_ip.id);
            draft.address(&site.ns, &outside.device, address, why);
        }
    }
    if site.metadata {
        let port = draft.settings.metadata.port;
        draft.netns(&site.ns).listeners.insert(Listener {
            proto: "tcp".to_owned(),
            addr: None,
            port,
            dev: None,
            process: None,
        });
    }
}

/// In IPv6 the metadata address is a neighbour's. Where a network has a DHCP server that is the one;
/// where it has none, the router.
fn metadata_without_dhcp(draft: &mut Draft<'_>, site: &Site<'_>) {
    for (device, port) in &site.inside {
        let has_v6 = port.addresses().any(|address| address.is_ipv6());
        let mut subnets = draft.subnets_of(port.network_id);
        if has_v6 && !subnets.any(|subnet| subnet.enable_dhcp) {
            metadata_v6(draft, &site.ns, device, &Why::of("port", port.id));
        }
    }
}

pub(super) fn device_with_addresses(draft: &mut Draft<'_>, ns: &NsName, device: &str, port: &Port) {
    draft.service_port(ns, device, port);
    for (_, net) in draft.prefixes(port) {
        draft.address(ns, device, net, Why::of("port", port.id));
    }
}

/// What makes a namespace a router: it forwards, and answers ARP only for what stands on the
/// device that was asked. An address that goes takes no other of its subnet along.
pub(super) fn settings(draft: &mut Draft<'_>, ns: &NsName, why: &Why) {
    for (key, value) in [
        ("net.ipv4.conf.all.arp_announce", "2"),
        ("net.ipv4.conf.all.arp_ignore", "1"),
        PROMOTE,
        ("net.ipv4.ip_forward", "1"),
        ("net.ipv6.conf.all.forwarding", "1"),
    ] {
        draft.sysctl(ns, key, value, why.clone());
    }
}

/// A gateway that was given no IPv6 way out listens for one.
fn accept_announcements(draft: &mut Draft<'_>, site: &Site<'_>, outside: &Outside<'_>) {
    let told = draft.prefixes(outside.port);
    let told = told
        .iter()
        .any(|(subnet, _)| subnet.ip_version() == 6 && subnet.gateway_ip.is_some());
    if !told {
        let key = format!("net.ipv6.conf.{}.accept_ra", outside.device);
        draft.sysctl(&site.ns, &key, "2", Why::of("port", outside.port.id));
    }
}

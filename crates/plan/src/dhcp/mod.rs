//! DHCP of the networks that are scheduled here: a namespace `qdhcp-NETWORK`, the server's port in
//! it, dnsmasq with its files, and 169.254.169.254 for networks that no router serves.
//!
//! - `process`: dnsmasq's arguments. They change with the set of subnets and the network's MTU
//!   and domain, and only then is it restarted.
//! - `files`: `host`, `addn_hosts`, `opts`. They change with ports; dnsmasq is told by a signal.
//!
//! A network without a subnet that has DHCP gets nothing; one whose port is not made yet waits.

mod files;
mod process;

use std::{collections::BTreeSet, net::IpAddr};

use host::{
    Merge, NsName, Why, names,
    netns::{Family, Listener},
};
use intent::{Ipv6Mode, Network, NetworkId, Port, Subnet, SubnetId, owner, view::DhcpRole};
use ipnet::IpNet;

use crate::{Draft, draft::MAIN, rules::Writer};

/// Where guests ask who they are.
pub(crate) const METADATA_V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(169, 254, 169, 254));
pub(crate) const METADATA_V6: IpAddr = IpAddr::V6(std::net::Ipv6Addr::new(
    0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe,
));

/// Where the first address of a subnet goes, the next is in its place.
pub(crate) const PROMOTE: (&str, &str) = ("net.ipv4.conf.all.promote_secondaries", "1");

pub fn emit(draft: &mut Draft<'_>) {
    draft.memo.dhcp.begin();
    for role in draft.view.dhcp_roles.values() {
        serve(draft, role);
    }
}

/// What is known of one network whose DHCP is here.
struct Served<'a> {
    network: &'a Network,
    /// The server's own port.
    port: &'a Port,
    /// All subnets of the network, with DHCP or without.
    subnets: Vec<&'a Subnet>,
    /// The subnets whose gateway address a router's interface has.
    routed: BTreeSet<SubnetId>,
    ns: NsName,
    device: String,
}

impl<'a> Served<'a> {
    /// The subnets that the server serves: with DHCP on, and an address of its own in them.
    fn with_dhcp(&self) -> impl Iterator<Item = &'a Subnet> + '_ {
        let subnets = self.subnets.iter().copied();
        subnets.filter(|subnet| subnet.enable_dhcp)
    }

    fn is_isolated(&self, subnet: &Subnet) -> bool {
        !self.routed.contains(&subnet.id)
    }

    /// The server's own address in a subnet.
    fn address_in(&self, subnet: &Subnet) -> Option<IpAddr> {
        let mut fixed = self.port.fixed_ips.iter();
        let own = fixed.find(|fixed| fixed.subnet_id == subnet.id)?;
        Some(own.ip_address)
    }
}

fn serve(draft: &mut Draft<'_>, role: &DhcpRole) {
    let view = draft.view;
    let subnets: Vec<&Subnet> = draft.subnets_of(role.network_id).collect();
    if !subnets.iter().any(|subnet| subnet.enable_dhcp) {
        return;
    }
    let Some(network) = draft.network(role.network_id) else {
        draft.note(
            format!("network {}", role.network_id),
            "its DHCP is here, but it is not known",
        );
        return;
    };
    let Some(port) = role.port_id.and_then(|id| view.ports.get(&id)) else {
        draft.note(
            format!("network {}", network.id),
            "DHCP waits for the server's port",
        );
        return;
    };
    let served = Served {
        network,
        port,
        routed: routed_subnets(draft, network.id),
        subnets,
        ns: names::qdhcp(&network.id.to_string()),
        device: names::tap(&port.id.to_string()),
    };
    namespace(draft, &served);
    iptables(draft, &served);
    files::emit(draft, &served);
    process::emit(draft, &served);
}

/// Subnets whose gateway is a router's interface: those are not isolated.
fn routed_subnets(draft: &Draft<'_>, network: NetworkId) -> BTreeSet<SubnetId> {
    let interfaces = draft
        .ports_of(network)
        .filter(|port| owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str()));
    let fixed = interfaces.flat_map(|port| &port.fixed_ips);
    fixed
        .filter(|fixed| {
            let subnet = draft.subnet(fixed.subnet_id);
            subnet.is_some_and(|subnet| subnet.gateway_ip == Some(fixed.ip_address))
        })
        .map(|fixed| fixed.subnet_id)
        .collect()
}

/// The namespace with the server's device, its addresses, its way out, its settings.
fn namespace(draft: &mut Draft<'_>, served: &Served<'_>) {
    let Served {
        ns, device, port, ..
    } = served;
    let why = Why::of("network", served.network.id);
    draft.netns(ns).why_mut().merge(why.clone());
    draft.service_port(ns, device, port);
    for (_, net) in draft.prefixes(port) {
        draft.address(ns, device, net, Why::of("port", port.id));
    }
    if draft.settings.metadata.isolated || draft.settings.metadata.force {
        metadata(draft, served, &why);
    }
    // A server answers from where it stands: its ways out are the first gateways, as guests' are.
    for version in [4, 6] {
        let mut gateways = served
            .with_dhcp()
            .filter(|subnet| subnet.ip_version() == version)
            .filter_map(|subnet| Some((subnet, subnet.gateway_ip?)));
        if let Some((subnet, gateway)) = gateways.next()
            && served.address_in(subnet) != Some(gateway)
        {
            crate::l3::way_out(draft, (ns, MAIN), device, (subnet, gateway));
        }
    }
    for (key, value) in [
        (PROMOTE.0.to_owned(), PROMOTE.1),
        ("net.ipv4.ip_nonlocal_bind".to_owned(), "1"),
        ("net.ipv6.conf.default.accept_ra".to_owned(), "0"),
        (format!("net.ipv6.conf.{device}.accept_ra"), "0"),
    ] {
        draft.sysctl(ns, &key, value, why.clone());
    }
}

/// Every destination of a gateway's family.
pub(crate) fn any(address: IpAddr) -> IpNet {
    match address {
        IpAddr::V4(_) => IpNet::V4(ipnet::Ipv4Net::default()),
        IpAddr::V6(_) => IpNet::V6(ipnet::Ipv6Net::default()),
    }
}

/// The metadata address, and who answers there. Guests are told of the router instead where one
/// serves their subnet, but a lease from before the router, or from another subnet of the network,
/// still leads here.
fn metadata(draft: &mut Draft<'_>, served: &Served<'_>, why: &Why) {
    let Served { ns, device, .. } = served;
    let has_v6 = served.subnets.iter().any(|subnet| subnet.ip_version() == 6);
    draft.address(ns, device, METADATA_V4.into(), why.clone());
    if has_v6 {
        metadata_v6(draft, ns, device, why);
    }
    let settings = &draft.settings.metadata;
    let isolated = served.with_dhcp().any(|subnet| served.is_isolated(subnet));
    if settings.ends_with_router && !isolated && !settings.force {
        return;
    }
    let mut listen = |addr: IpAddr, dev: Option<&String>| {
        draft.netns(ns).listeners.insert(Listener {
            proto: "tcp".to_owned(),
            addr: Some(addr),
            port: 80,
            dev: dev.cloned(),
            process: None,
        });
    };
    listen(METADATA_V4, None);
    if has_v6 {
        listen(METADATA_V6, Some(device));
    }
}

/// The metadata address of IPv6, on one of maybe several servers of a network: they all have it, and
/// a guest asks whichever it found. So it is not given up because another has it too.
pub(crate) fn metadata_v6(draft: &mut Draft<'_>, ns: &NsName, device: &str, why: &Why) {
    if let Ok(net) = IpNet::new(METADATA_V6, 64) {
        draft.address(ns, device, net, why.clone());
    }
    let key = format!("net.ipv6.conf.{device}.accept_dad");
    draft.sysctl(ns, &key, "0", why.clone());
}

/// Replies to DHCP clients get their checksums filled in: some clients look at them.
fn iptables(draft: &mut Draft<'_>, served: &Served<'_>) {
    let (ns, from) = (&served.ns, served.network.id);
    if let Some(tables) = draft.memo.dhcp.written(ns, &from) {
        let tables = tables.clone();
        draft.netns(ns).iptables.extend(tables);
        return;
    }
    let why = Why::of("network", served.network.id);
    for (family, client_port) in [(Family::V4, 68), (Family::V6, 546)] {
        let mut writer = Writer::new(names::DHCP_CHAINS, why.clone());
        if family == Family::V4 {
            writer.own("mangle", "mark");
            writer.rule("mangle", "PREROUTING", "-j $-mark", why.clone());
        }
        let fill = format!("-p udp -m udp --dport {client_port} -j CHECKSUM --checksum-fill");
        writer.rule("mangle", "POSTROUTING", &fill, why.clone());
        writer.finish(draft, ns, family);
    }
    let tables = draft.netns(ns).iptables.clone();
    draft.memo.dhcp.keep(ns, from, tables);
}

/// Whether dnsmasq hands out addresses of this subnet, and not only options.
fn leases_addresses(subnet: &Subnet) -> bool {
    !matches!(
        subnet.ipv6_address_mode,
        Some(Ipv6Mode::Slaac | Ipv6Mode::DhcpStateless)
    )
}

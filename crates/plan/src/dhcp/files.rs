//! dnsmasq's files: who has which address (`host`), their names (`addn_hosts`), what subnets and
//! ports are told besides (`opts`).

use std::net::IpAddr;

use host::{Why, process::File};
use intent::{DhcpOption, FixedIp, Ipv6Mode, Port, Subnet, owner};

use super::{METADATA_V4, Served, leases_addresses, process::domain};
use crate::Draft;

pub(super) fn emit(draft: &mut Draft<'_>, served: &Served<'_>) {
    let mut hosts = File::default();
    let mut names = File::default();
    let mut options = File::default();
    for subnet in served.with_dhcp() {
        subnet_options(draft, served, subnet, &mut options);
    }
    let domain = domain(draft, served).to_owned();
    let ports = draft.ports_of(served.network.id);
    for port in ports.filter(|port| port.device_owner != owner::DHCP) {
        port_lines(served, port, &domain, &mut hosts, &mut names);
        port_options(port, &mut options);
    }
    let mut interface = File::default();
    interface.push(served.device.clone(), Why::of("port", served.port.id));
    let dir = format!("dhcp/{}", served.network.id);
    for (name, file) in [
        ("host", hosts),
        ("addn_hosts", names),
        ("opts", options),
        ("interface", interface),
    ] {
        draft.want.files.insert(format!("{dir}/{name}"), file);
    }
}

/// A port's line in `host` for each address that dnsmasq hands out, in `addn_hosts` for every one.
fn port_lines(served: &Served<'_>, port: &Port, domain: &str, hosts: &mut File, names: &mut File) {
    let known = |fixed: &FixedIp| {
        let mut subnets = served.subnets.iter();
        let subnet = subnets.find(|subnet| subnet.id == fixed.subnet_id)?;
        Some((*subnet, fixed.ip_address))
    };
    let mut addresses: Vec<_> = port.fixed_ips.iter().filter_map(known).collect();
    addresses.sort_by_key(|(subnet, _)| gives_only_options(subnet));
    for (subnet, address) in addresses {
        let why = || Why::of("port", port.id);
        let name = host_name(port, address);
        let full = match domain {
            "" => name.clone(),
            domain => format!("{name}.{domain}"),
        };
        names.push(format!("{address}\t{full} {name}"), why());
        if let Some(line) = host_line(port, subnet, address, &full) {
            hosts.push(line, why());
        }
    }
}

/// For a sort: of a MAC's lines dnsmasq takes the last one first, and for IPv4 it is content with one
/// that has no address, so that stands before the others.
fn gives_only_options(subnet: &Subnet) -> std::cmp::Reverse<bool> {
    std::cmp::Reverse(subnet.ipv6_address_mode == Some(Ipv6Mode::DhcpStateless))
}

/// A port's line for one of its addresses. dnsmasq marks who asks by DHCPv6 with the tag `dhcpv6`.
fn host_line(port: &Port, subnet: &Subnet, address: IpAddr, full: &str) -> Option<String> {
    if !subnet.enable_dhcp || subnet.ipv6_address_mode == Some(Ipv6Mode::Slaac) {
        return None;
    }
    let mut words = vec![port.mac_address.to_string()];
    words.extend(address.is_ipv6().then(|| "tag:dhcpv6".to_owned()));
    let tag = format!("set:port-{}", port.id);
    if !leases_addresses(subnet) {
        // The guest makes its address itself, and is told the rest.
        words.push(tag);
        return (!port.extra_dhcp_opts.is_empty()).then(|| words.join(","));
    }
    let client = client_id(port);
    words.extend(client.map(|id| format!("id:{id}")));
    words.extend([full.to_owned(), bracketed(address)]);
    let told = port.extra_dhcp_opts.len() - usize::from(client.is_some());
    words.extend((told > 0).then_some(tag));
    Some(words.join(","))
}

/// By what a client says it is to be known, instead of its MAC.
fn client_id(port: &Port) -> Option<&str> {
    let mut options = port.extra_dhcp_opts.iter();
    let option = options.find(|option| is_client_id(option))?;
    Some(first_line(&option.opt_value))
}

fn is_client_id(option: &DhcpOption) -> bool {
    matches!(option.opt_name.as_str(), "client-id" | "61")
}

/// What users write stays in the line that it is written into.
fn first_line(text: &str) -> &str {
    text.split(['\n', '\r']).next().unwrap_or_default()
}

/// The name that a port has, or the one that its address makes.
fn host_name(port: &Port, address: IpAddr) -> String {
    match port.dns_name.as_str() {
        "" => format!("host-{}", address.to_string().replace(['.', ':'], "-")),
        name => name.to_owned(),
    }
}

/// dnsmasq reads IPv6 addresses in brackets.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// An option in dnsmasq's words. A name may begin with tags of its own (`tag:!ipxe,67`), under which
/// the option is told; of DHCPv6 numbers too are taken only with their version.
fn option_line(tag: &str, version: u8, name: &str, value: Option<&str>) -> String {
    let name = first_line(name);
    let tagged = name
        .rsplit_once(',')
        .filter(|(tags, _)| tags.starts_with("tag:"));
    let (tags, name) = tagged.map_or((None, name), |(tags, name)| (Some(tags), name));
    let is_number = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    let option = match version {
        6 => format!("option6:{name}"),
        _ if is_number => name.to_owned(),
        _ => format!("option:{name}"),
    };
    let words = [Some(tag), tags, Some(&option), value.map(first_line)];
    words.into_iter().flatten().collect::<Vec<_>>().join(",")
}

fn subnet_options(draft: &Draft<'_>, served: &Served<'_>, subnet: &Subnet, file: &mut File) {
    if subnet.ipv6_address_mode == Some(Ipv6Mode::Slaac) {
        // Nobody asks.
        return;
    }
    let version = subnet.ip_version();
    let tag = format!("tag:subnet-{}", subnet.id);
    let mut option = |name: &str, value: &str| {
        let value = Some(value).filter(|value| !value.is_empty());
        let line = option_line(&tag, version, name, value);
        file.push(line, Why::of("subnet", subnet.id));
    };
    if let Some(servers) = name_servers(draft, served, subnet) {
        option("dns-server", &servers);
    }
    if version == 6 {
        let domain = domain(draft, served);
        if !domain.is_empty() {
            option("domain-search", domain);
        }
        return;
    }
    let (gateway, routes) = routes(draft, served, subnet);
    if !routes.is_empty() {
        option("classless-static-route", &routes);
        // What Windows asks for instead.
        option("249", &routes);
    }
    option(
        "router",
        &gateway.map_or_else(String::new, |gateway| gateway.to_string()),
    );
}

/// The subnet's name servers; where it names none and several servers serve it, all of those; where
/// one does, nothing: dnsmasq names itself. `0.0.0.0` (or `::`) is "none at all".
fn name_servers(draft: &Draft<'_>, served: &Served<'_>, subnet: &Subnet) -> Option<String> {
    let list = |addresses: &[IpAddr]| {
        let texts = addresses.iter().map(|address| bracketed(*address));
        texts.collect::<Vec<_>>().join(",")
    };
    match subnet.dns_nameservers.as_slice() {
        [only] if only.is_unspecified() => Some(String::new()),
        [] => {
            let servers = draft.ports_of(served.network.id);
            let servers = servers.filter(|port| port.device_owner == owner::DHCP);
            let mut addresses: Vec<IpAddr> = servers
                .flat_map(|port| &port.fixed_ips)
                .filter(|fixed| fixed.subnet_id == subnet.id)
                .map(|fixed| fixed.ip_address)
                .collect();
            addresses.sort();
            (addresses.len() > 1).then(|| list(&addresses))
        }
        some => Some(list(some)),
    }
}

/// The gateway that guests are told, and the routes, the way to the metadata address among them. A
/// client that takes the list of routes ignores the gateway, so the list ends with it.
fn routes(draft: &Draft<'_>, served: &Served<'_>, subnet: &Subnet) -> (Option<IpAddr>, String) {
    let mut gateway = subnet.gateway_ip;
    let mut routes = Vec::new();
    for route in &subnet.host_routes {
        if route.destination.prefix_len() == 0 {
            gateway = gateway.or(Some(route.nexthop));
        } else {
            routes.push(format!("{},{}", route.destination, route.nexthop));
        }
    }
    let metadata = &draft.settings.metadata;
    let isolated = served.is_isolated(subnet);
    let way = match (metadata.force || isolated && metadata.isolated, gateway) {
        (true, _) => served.address_in(subnet),
        (false, Some(gateway)) if !isolated => Some(gateway),
        _ => None,
    };
    routes.extend(way.map(|way| format!("{METADATA_V4}/32,{way}")));
    let others = served.subnets.iter().filter(|other| {
        other.ip_version() == 4
            && other.cidr != subnet.cidr
            && other.segment_id == subnet.segment_id
    });
    // Other subnets of the same wire are reached without a router.
    routes.extend(others.map(|other| format!("{},0.0.0.0", other.cidr)));
    if !routes.is_empty() {
        routes.extend(gateway.map(|gateway| format!("0.0.0.0/0,{gateway}")));
    }
    (gateway, routes.join(","))
}

/// What a user asked to tell one port, of the versions of IP that it has.
fn port_options(port: &Port, file: &mut File) {
    for option in &port.extra_dhcp_opts {
        let version = option.ip_version;
        let has_version = port
            .addresses()
            .any(|address| address.is_ipv6() == (version == 6));
        if !has_version || is_client_id(option) {
            continue;
        }
        let (tag, value) = (format!("tag:port-{}", port.id), Some(&*option.opt_value));
        let line = option_line(&tag, version, &option.opt_name, value);
        file.push(line, Why::of("port", port.id));
    }
}

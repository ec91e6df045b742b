//! dnsmasq's files: who has which address (`host`), their names (`addn_hosts`), what subnets and
//! ports are told besides (`opts`).

use std::net::IpAddr;

use host::{Why, process::File};
use intent::{DhcpOption, Port, Subnet, owner};

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
        port_options(served, port, &mut options);
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
    let tag = match port.extra_dhcp_opts.is_empty() {
        true => String::new(),
        false => format!(",set:port-{}", port.id),
    };
    for fixed in &port.fixed_ips {
        let Some(subnet) = served
            .with_dhcp()
            .find(|subnet| subnet.id == fixed.subnet_id)
        else {
            continue;
        };
        let why = || Why::of("port", port.id);
        let (address, mac) = (fixed.ip_address, port.mac_address);
        let name = host_name(port, address);
        let full = match domain {
            "" => name.clone(),
            domain => format!("{name}.{domain}"),
        };
        names.push(format!("{address}\t{full} {name}"), why());
        if leases_addresses(subnet) {
            hosts.push(format!("{mac},{full},{}{tag}", bracketed(address)), why());
        } else if !tag.is_empty() {
            // Only options: the guest makes its address itself.
            hosts.push(format!("{mac}{tag}"), why());
        }
    }
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

/// The word for options of one version of DHCP.
const fn option_word(version: u8) -> &'static str {
    if version == 6 { "option6" } else { "option" }
}

fn subnet_options(draft: &Draft<'_>, served: &Served<'_>, subnet: &Subnet, file: &mut File) {
    let version = subnet.ip_version();
    let tag = format!("tag:subnet-{}", subnet.id);
    let mut option = |name: &str, value: &str| {
        let option = match name.parse::<u8>() {
            Ok(number) => number.to_string(),
            Err(_) => format!("{}:{name}", option_word(version)),
        };
        let value = if value.is_empty() {
            String::new()
        } else {
            format!(",{value}")
        };
        file.push(
            format!("{tag},{option}{value}"),
            Why::of("subnet", subnet.id),
        );
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

/// What a user asked to tell one port.
fn port_options(served: &Served<'_>, port: &Port, file: &mut File) {
    for DhcpOption {
        opt_name,
        opt_value,
        ip_version,
    } in &port.extra_dhcp_opts
    {
        let serves = |subnet: &Subnet| subnet.ip_version() == *ip_version;
        let served_here = port.fixed_ips.iter().any(|fixed| {
            served
                .with_dhcp()
                .any(|subnet| subnet.id == fixed.subnet_id && serves(subnet))
        });
        if !served_here {
            continue;
        }
        let name = match opt_name.parse::<u8>() {
            Ok(number) => number.to_string(),
            Err(_) => format!("{}:{opt_name}", option_word(*ip_version)),
        };
        file.push(
            format!("tag:port-{},{name},{opt_value}", port.id),
            Why::of("port", port.id),
        );
    }
}

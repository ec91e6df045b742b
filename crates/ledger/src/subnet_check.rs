//! What a subnet must be: the checks of its prefix, gateway, IPv6 modes and lists, each with the
//! sentence that Neutron says.

use std::fmt::Display;

use intent::{Ipv6Mode, NetworkId, Route, Segment, SegmentId, Subnet};
use ipnet::IpNet;

use crate::{Draft, Refusal, draft::Reading, fixed_ips, txn::Txn};

fn invalid<T>(what: impl Display) -> Result<T, Refusal> {
    Err(Refusal::invalid_input(what))
}

/// The prefix by itself, and whether DHCP can serve it.
pub(crate) fn cidr(draft: &Draft, cidr: IpNet) -> Result<(), Refusal> {
    let version = draft.number("ip_version").unwrap_or(4);
    let own = if cidr.addr().is_ipv4() { 4 } else { 6 };
    if own != version {
        return invalid(format_args!(
            "cidr '{cidr}' does not match the ip_version '{version}'"
        ));
    }
    let mode: Option<Ipv6Mode> = draft.parsed("ipv6_address_mode");
    let announced: Option<Ipv6Mode> = draft.parsed("ipv6_ra_mode");
    let eui64 = mode
        .or(announced)
        .filter(|mode| *mode != Ipv6Mode::DhcpStateful);
    if eui64.is_some() && cidr.prefix_len() != 64 {
        return invalid(format_args!(
            "Invalid CIDR {cidr} for IPv6 address mode. OpenStack uses the EUI-64 address format, \
             which requires the prefix to be /64"
        ));
    }
    if draft.flag("enable_dhcp") == Some(false) {
        return Ok(());
    }
    let longest = if own == 4 { 30 } else { 126 };
    if cidr.prefix_len() > longest {
        return invalid(
            "Subnet has a prefix length that is incompatible with DHCP service enabled",
        );
    }
    if cidr.network().is_multicast() {
        return invalid("Multicast IP subnet is not supported if enable_dhcp is True");
    }
    if cidr.network().is_loopback() {
        return invalid("Loopback IP subnet is not supported if enable_dhcp is True");
    }
    if cidr.network().is_unspecified() {
        return invalid(format_args!(
            "First IP '{}' of network is not supported if enable_dhcp is True.",
            cidr.network()
        ));
    }
    Ok(())
}

/// The segment that a subnet is to be of: one of its own network's, and either all of a network's
/// subnets are of segments or none is. A subnet that is of one stays there.
pub(crate) fn segment(
    txn: &Txn<'_>,
    network: NetworkId,
    current: Option<&Subnet>,
    draft: &Draft,
) -> Result<Option<SegmentId>, Refusal> {
    let found = match draft.text("segment_id") {
        None => None,
        Some(id) => Some(
            txn.find::<Segment>(id)
                .ok_or_else(|| Refusal::segment_not_found(id))?,
        ),
    };
    let wanted = found.as_ref().map(|segment| segment.id);
    let held = current.and_then(|subnet| subnet.segment_id);
    if held.is_some() && held != wanted {
        return Err(Refusal::subnet_keeps_its_segment());
    }
    if let Some(segment) = found.filter(|segment| segment.network_id != network) {
        return Err(Refusal::segment_of_another_network(network, segment.id));
    }
    let subnets = fixed_ips::subnets_of(txn, network);
    let mut others = subnets
        .iter()
        .filter(|other| current.is_none_or(|current| current.id != other.id));
    match others.any(|other| other.segment_id.is_some() != wanted.is_some()) {
        true => Err(Refusal::some_subnets_without_segment(network)),
        false => Ok(wanted),
    }
}

/// The prefix beside the others of its network.
pub(crate) fn overlap(txn: &Txn<'_>, network: NetworkId, cidr: IpNet) -> Result<(), Refusal> {
    let state = txn.state();
    let mut others = state.index.subnets_of_network.of(&network);
    let overlaps = others.any(|id| {
        let other = state.subnets.get(id);
        other.is_some_and(|other| other.cidr.contains(&cidr) || cidr.contains(&other.cidr))
    });
    if overlaps {
        return invalid(format_args!(
            "Requested subnet with cidr: {cidr} for network: {network} overlaps with another subnet"
        ));
    }
    Ok(())
}

/// How guests learn their IPv6 address.
pub(crate) fn modes(draft: &Draft) -> Result<(), Refusal> {
    let announced: Option<Ipv6Mode> = draft.parsed("ipv6_ra_mode");
    let addressed: Option<Ipv6Mode> = draft.parsed("ipv6_address_mode");
    if draft.number("ip_version") == Some(4) {
        for (name, given) in [
            ("ipv6_ra_mode", announced),
            ("ipv6_address_mode", addressed),
        ] {
            if given.is_some() {
                return invalid(format_args!("{name} is not valid when ip_version is 4"));
            }
        }
        return Ok(());
    }
    if announced.or(addressed).is_none() {
        return Ok(());
    }
    if draft.flag("enable_dhcp") == Some(false) {
        return invalid(
            "ipv6_ra_mode or ipv6_address_mode cannot be set when enable_dhcp is set to False",
        );
    }
    match (announced, addressed) {
        (Some(ra), Some(address)) if ra != address => invalid(format_args!(
            "ipv6_ra_mode set to '{ra}' with ipv6_address_mode set to '{address}' is not valid. If \
             both attributes are set, they must be the same value"
        )),
        _ => Ok(()),
    }
}

/// The network's and the broadcast address are no gateway; one outside of the subnet may be.
pub(crate) fn gateway(subnet: &Subnet) -> Result<(), Refusal> {
    let Some(gateway) = subnet.gateway_ip else {
        return Ok(());
    };
    if gateway.is_ipv4() != subnet.cidr.addr().is_ipv4() {
        let version = subnet.ip_version();
        return invalid(format_args!(
            "gateway_ip '{gateway}' does not match the ip_version '{version}'"
        ));
    }
    let IpNet::V4(net) = subnet.cidr else {
        return Ok(());
    };
    let ends = [net.network(), net.broadcast()];
    if net.prefix_len() < 31 && ends.iter().any(|end| gateway == *end) {
        return invalid("Gateway is not valid on subnet");
    }
    Ok(())
}

/// How many name servers and routes a subnet may tell of, and that the routes are of its family.
pub(crate) fn limits(txn: &Txn<'_>, draft: &Draft, whose: impl Display) -> Result<(), Refusal> {
    let length = |name| {
        let list = draft.value(name).and_then(|value| value.as_array());
        list.map_or(0, Vec::len)
    };
    let (servers, routes) = (
        txn.config().max_dns_nameservers,
        txn.config().max_subnet_host_routes,
    );
    if length("dns_nameservers") > servers {
        return Err(Refusal::too_many_nameservers(whose, servers));
    }
    if length("host_routes") > routes {
        return Err(Refusal::too_many_host_routes(whose, routes));
    }
    let Some(version) = draft.number("ip_version") else {
        return Ok(());
    };
    for route in draft
        .typed::<Vec<Route>>("host_routes")?
        .unwrap_or_default()
    {
        let of_four = version == 4;
        if route.destination.addr().is_ipv4() != of_four {
            return invalid(format_args!(
                "destination '{}' does not match the ip_version '{version}'",
                route.destination
            ));
        }
        if route.nexthop.is_ipv4() != of_four {
            return invalid(format_args!(
                "nexthop '{}' does not match the ip_version '{version}'",
                route.nexthop
            ));
        }
    }
    Ok(())
}

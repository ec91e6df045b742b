//! dnsmasq's arguments, as Neutron gives them.

use host::{Shown, Why, process::Process};
use intent::{Ipv6Mode, Subnet};
use ipnet::IpNet;

use super::Served;
use crate::Draft;

pub(super) fn emit(draft: &mut Draft<'_>, served: &Served<'_>) {
    let key = format!("dnsmasq {}", served.network.id);
    let mut why = Why::of("network", served.network.id);
    for subnet in served.with_dhcp() {
        why = why.and("subnet", subnet.id);
    }
    let process = Process {
        argv: argv(draft, served),
        netns: Shown(Some(served.ns.clone())),
        why,
        ..Process::default()
    };
    draft.want.processes.insert(key, process);
}

fn argv(draft: &Draft<'_>, served: &Served<'_>) -> Vec<String> {
    let dhcp = &draft.settings.dhcp;
    let dir = format!("{}/dhcp/{}", draft.settings.state_path, served.network.id);
    // What the host asks for names is nothing to guests.
    let mut argv: Vec<String> = ["dnsmasq", "--no-hosts", "--no-resolv"]
        .map(str::to_owned)
        .into();
    argv.extend([
        format!("--pid-file={dir}/pid"),
        format!("--dhcp-hostsfile={dir}/host"),
        format!("--addn-hosts={dir}/addn_hosts"),
        format!("--dhcp-optsfile={dir}/opts"),
        format!("--dhcp-leasefile={dir}/leases"),
        "--dhcp-match=set:ipxe,175".to_owned(),
        "--dhcp-userclass=set:ipxe6,iPXE".to_owned(),
        "--local-service".to_owned(),
        "--bind-dynamic".to_owned(),
    ]);
    let lease = match dhcp.lease_seconds {
        u32::MAX => "infinite".to_owned(),
        seconds => format!("{seconds}s"),
    };
    let mut leases = 0_u128;
    for subnet in served.with_dhcp() {
        if let Some(range) = range(subnet, &lease) {
            argv.push(range);
            leases = leases.saturating_add(size(&subnet.cidr));
        }
    }
    argv.push(format!(
        "--dhcp-option-force=option:mtu,{}",
        served.network.mtu
    ));
    argv.push(format!(
        "--dhcp-lease-max={}",
        leases.min(dhcp.lease_max.into())
    ));
    argv.push("--conf-file=/dev/null".to_owned());
    argv.extend(
        dhcp.dns_servers
            .iter()
            .map(|server| format!("--server={server}")),
    );
    let domain = domain(draft, served);
    if !domain.is_empty() {
        argv.push(format!("--domain={domain}"));
    }
    argv
}

/// The domain that guests of the network are told.
pub(super) fn domain<'a>(draft: &'a Draft<'_>, served: &Served<'a>) -> &'a str {
    match served.network.dns_domain.trim_end_matches('.') {
        "" => &draft.settings.dhcp.domain,
        own => own,
    }
}

/// A range in which every address is given by the files. SLAAC networks have none: their guests
/// make their own addresses. dnsmasq serves no prefix longer than 64.
fn range(subnet: &Subnet, lease: &str) -> Option<String> {
    let id = subnet.id;
    match subnet.cidr {
        IpNet::V4(net) => {
            let (network, mask) = (net.network(), net.netmask());
            Some(format!(
                "--dhcp-range=set:subnet-{id},{network},static,{mask},{lease}"
            ))
        }
        IpNet::V6(net) => {
            let by_dhcp = match subnet.ipv6_address_mode {
                Some(mode) => mode != Ipv6Mode::Slaac,
                None => subnet.ipv6_ra_mode.is_none(),
            };
            let (network, length) = (net.network(), net.prefix_len());
            let range = format!("--dhcp-range=set:subnet-{id},{network},static,{length},{lease}");
            (by_dhcp && length >= 64).then_some(range)
        }
    }
}

/// How many addresses a subnet has.
fn size(net: &IpNet) -> u128 {
    let bits = net.max_prefix_len() - net.prefix_len();
    1_u128.checked_shl(bits.into()).unwrap_or(u128::MAX)
}

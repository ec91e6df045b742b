//! radvd, for routers with an interface on a subnet whose `ipv6_ra_mode` says that we announce it.

use std::fmt::Write;

use host::{Shown, Why, process::File, process::Process};
use intent::{Ipv6Mode, Port, Subnet};

use super::site::Site;
use crate::{Draft, dhcp::METADATA_V6};

/// What a link must carry for IPv6.
const LEAST_MTU: u32 = 1280;
/// What radvd announces of them at most.
const NAME_SERVERS: usize = 3;

pub(super) fn emit(draft: &mut Draft<'_>, site: &Site<'_>) {
    let mut file = File::default();
    for (device, port) in &site.inside {
        let announced: Vec<&Subnet> = draft
            .prefixes(port)
            .into_iter()
            .map(|(subnet, _)| subnet)
            .filter(|subnet| subnet.ipv6_ra_mode.is_some())
            .collect();
        if announced.is_empty() {
            continue;
        }
        let mtu = draft.network(port.network_id).map(|network| network.mtu);
        for line in interface(device, mtu, &announced).lines() {
            file.push(line, why(port, &announced));
        }
    }
    if file.lines.is_empty() {
        return;
    }
    let id = site.router.id;
    let (name, state) = (format!("ra/{id}.radvd.conf"), &draft.settings.state_path);
    let process = Process {
        argv: [
            "radvd".to_owned(),
            "-C".to_owned(),
            format!("{state}/{name}"),
            "-p".to_owned(),
            format!("{state}/external/pids/{id}.pid.radvd"),
            "-m".to_owned(),
            "syslog".to_owned(),
        ]
        .into(),
        netns: Shown(Some(site.ns.clone())),
        why: site.why(),
        ..Process::default()
    };
    draft.want.files.insert(name, file);
    draft.want.processes.insert(format!("radvd {id}"), process);
}

fn why(port: &Port, announced: &[&Subnet]) -> Why {
    let port = Why::of("port", port.id);
    announced
        .iter()
        .fold(port, |why, subnet| why.and("subnet", subnet.id))
}

/// What is announced on one device. Managed: addresses by DHCPv6; other: only the rest by it. Guests
/// that nobody else tells are told name servers, and all where metadata is.
fn interface(device: &str, mtu: Option<u32>, announced: &[&Subnet]) -> String {
    let of_mode = |wanted: Ipv6Mode| {
        let subnets = announced.iter();
        subnets.filter(move |subnet| subnet.ipv6_ra_mode == Some(wanted))
    };
    let mut text = format!(
        "interface {device}\n{{\n   AdvSendAdvert on;\n   MinRtrAdvInterval 30;\n   MaxRtrAdvInterval 100;\n"
    );
    if let Some(mtu) = mtu.filter(|mtu| *mtu >= LEAST_MTU) {
        let _ = writeln!(text, "   AdvLinkMTU {mtu};");
    }
    if of_mode(Ipv6Mode::DhcpStateless).next().is_some() {
        text.push_str("   AdvOtherConfigFlag on;\n");
    }
    if of_mode(Ipv6Mode::DhcpStateful).next().is_some() {
        text.push_str("   AdvManagedFlag on;\n");
    }
    let servers = of_mode(Ipv6Mode::Slaac).flat_map(|subnet| &subnet.dns_nameservers);
    let servers: Vec<String> = servers
        .take(NAME_SERVERS)
        .map(ToString::to_string)
        .collect();
    if !servers.is_empty() {
        let _ = writeln!(text, "   RDNSS {} {{}};", servers.join(" "));
    }
    let (by_dhcp, by_itself): (Vec<&Subnet>, Vec<&Subnet>) = announced
        .iter()
        .partition(|subnet| subnet.ipv6_ra_mode == Some(Ipv6Mode::DhcpStateful));
    for (autonomous, subnets) in [("on", by_itself), ("off", by_dhcp)] {
        for subnet in subnets {
            let _ = write!(
                text,
                "   prefix {}\n   {{\n        AdvOnLink on;\n        AdvAutonomous {autonomous};\n   }};\n",
                subnet.cidr
            );
        }
    }
    let _ = write!(text, "   route {METADATA_V6}/128 {{\n   }};\n}};\n");
    text
}

//! radvd, for routers with an interface on a subnet whose `ipv6_ra_mode` says that we announce it.

use std::fmt::Write;

use host::{Shown, Why, process::File, process::Process};
use intent::{Ipv6Mode, Port, Subnet};

use super::site::Site;
use crate::Draft;

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

/// What is announced on one device. Managed: addresses by DHCPv6; other: only the rest by it.
fn interface(device: &str, mtu: Option<u32>, announced: &[&Subnet]) -> String {
    let mode = |wanted: Ipv6Mode| {
        let modes = announced.iter().filter_map(|subnet| subnet.ipv6_ra_mode);
        modes.into_iter().any(|mode| mode == wanted)
    };
    let mut text = format!(
        "interface {device}\n{{\n   AdvSendAdvert on;\n   MinRtrAdvInterval 30;\n   MaxRtrAdvInterval 100;\n"
    );
    if let Some(mtu) = mtu {
        let _ = writeln!(text, "   AdvLinkMTU {mtu};");
    }
    if mode(Ipv6Mode::DhcpStateless) {
        text.push_str("   AdvOtherConfigFlag on;\n");
    }
    if mode(Ipv6Mode::DhcpStateful) {
        text.push_str("   AdvManagedFlag on;\n");
    }
    for subnet in announced {
        prefix(&mut text, subnet);
    }
    text.push_str("};\n");
    text
}

fn prefix(text: &mut String, subnet: &Subnet) {
    let by_itself = matches!(
        subnet.ipv6_ra_mode,
        Some(Ipv6Mode::Slaac | Ipv6Mode::DhcpStateless)
    );
    if by_itself && !subnet.dns_nameservers.is_empty() {
        let servers: Vec<String> = subnet
            .dns_nameservers
            .iter()
            .map(ToString::to_string)
            .collect();
        let _ = writeln!(text, "   RDNSS {} {{}};", servers.join(" "));
    }
    let autonomous = if by_itself { "on" } else { "off" };
    let _ = write!(
        text,
        "   prefix {}\n   {{\n        AdvOnLink on;\n        AdvAutonomous {autonomous};\n   }};\n",
        subnet.cidr
    );
}

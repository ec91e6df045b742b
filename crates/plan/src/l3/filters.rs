//! A router's iptables.
//!
//! - nat: floating IPs first (DNAT coming in, SNAT going out), then everyone else's source
//!   address becomes the router's; what passes between inner networks keeps its addresses. A
//!   request for metadata is turned to our listener.
//! - mangle: marks. Bit 0 of the low half: metadata, may reach the listener; bit 1: came from
//!   outside. The high half is the address scope.
//! - filter: the listener takes only what was marked; nothing crosses between address scopes
//!   without NAT.

use std::{collections::BTreeSet, fmt, net::IpAddr};

use host::{Why, names, netns::Family};
use intent::{AddressScopeId, Port};

use super::memo::From;
use super::site::{By, Outside, Site};
use crate::{Draft, dhcp::METADATA_V4, dhcp::METADATA_V6, rules::Writer};

/// The mark of a device whose subnets are in no address scope; scopes count on from it.
const NO_SCOPE: u32 = 0x400;

pub(super) fn emit(draft: &mut Draft<'_>, site: &Site<'_>) {
    let from = From::of(draft, site);
    if let Some(tables) = draft.memo.l3.written(&site.ns, &from) {
        let tables = tables.clone();
        draft.netns(&site.ns).iptables.extend(tables);
        return;
    }
    let notes = draft.notes.len();
    v4(draft, site);
    v6(draft, site);
    // What is to be said is said in every run.
    if draft.notes.len() == notes {
        let tables = draft.netns(&site.ns).iptables.clone();
        draft.memo.l3.keep(&site.ns, from, tables);
    }
}

fn v4(draft: &mut Draft<'_>, site: &Site<'_>) {
    let mut writer = Writer::new(names::L3_CHAINS, site.why());
    v4_chains(&mut writer);
    marks_v4(&mut writer, site);
    metadata(draft, &mut writer, site, METADATA_V4);
    translate(draft, &mut writer, site);
    scopes(draft, &mut writer, site, Family::V4);
    writer.finish(draft, &site.ns, Family::V4);
}

fn v6(draft: &mut Draft<'_>, site: &Site<'_>) {
    let mut writer = Writer::new(names::L3_CHAINS, site.why());
    writer.own("mangle", "scope");
    writer.own("filter", "scope");
    writer.rule("filter", "FORWARD", "-j $-scope", site.why());
    writer.rule("mangle", "PREROUTING", "-j $-scope", site.why());
    writer.rule("mangle", "PREROUTING", RESTORE_SCOPE, site.why());
    metadata(draft, &mut writer, site, METADATA_V6);
    scopes(draft, &mut writer, site, Family::V6);
    writer.finish(draft, &site.ns, Family::V6);
}

const RESTORE_SCOPE: &str = "-m connmark ! --mark 0x0/0xffff0000 \
     -j CONNMARK --restore-mark --nfmask 0xffff0000 --ctmask 0xffff0000";
const SAVE_SCOPE: &str = "-m connmark --mark 0x0/0xffff0000 \
     -j CONNMARK --save-mark --nfmask 0xffff0000 --ctmask 0xffff0000";

pub(super) fn v4_chains(writer: &mut Writer) {
    for chain in ["float-snat", "floatingip", "mark", "scope"] {
        writer.own("mangle", chain);
    }
    writer.own("filter", "scope");
    source_nat_chains(writer);
}

/// The chains of source NAT, last in nat's POSTROUTING.
pub(super) fn source_nat_chains(writer: &mut Writer) {
    for chain in ["OUTPUT", "POSTROUTING"] {
        writer.hang("nat", chain);
    }
    writer.base("nat", "POSTROUTING", "-j neutron-postrouting-bottom");
    for chain in ["float-snat", "snat"] {
        writer.own("nat", chain);
    }
    let comment = "-m comment --comment \"Perform source NAT on outgoing traffic.\" -j $-snat";
    writer.base("nat", "neutron-postrouting-bottom", comment);
}

fn marks_v4(writer: &mut Writer, site: &Site<'_>) {
    let rules = ["-j $-mark", "-j $-scope", RESTORE_SCOPE, "-j $-floatingip"];
    for rule in rules {
        writer.rule("mangle", "PREROUTING", rule, site.why());
    }
    writer.rule("mangle", "float-snat", SAVE_SCOPE, site.why());
    writer.rule("filter", "FORWARD", "-j $-scope", site.why());
}

/// A guest's request is marked before anything else sees it, turned to the listener's port, and
/// let in by its mark; the port itself is closed.
fn metadata(draft: &Draft<'_>, writer: &mut Writer, site: &Site<'_>, address: IpAddr) {
    if !site.metadata {
        return;
    }
    let port = draft.settings.metadata.port;
    let request = match address {
        IpAddr::V4(_) => format!("-d {address}/32 -i qr-+ -p tcp -m tcp --dport 80"),
        IpAddr::V6(_) => format!("-d {address}/128 -i qr-+ -p tcp -m tcp --dport 80"),
    };
    let mark = format!("{request} -j MARK --set-xmark 0x1/0xffff");
    writer.rule("mangle", "PREROUTING", &mark, site.why());
    let redirect = format!("{request} -j REDIRECT --to-ports {port}");
    writer.rule("nat", "PREROUTING", &redirect, site.why());
    writer.rule(
        "filter",
        "INPUT",
        "-m mark --mark 0x1/0xffff -j ACCEPT",
        site.why(),
    );
    let close = format!("-p tcp -m tcp --dport {port} -j DROP");
    writer.rule("filter", "INPUT", &close, site.why());
}

fn translate(draft: &Draft<'_>, writer: &mut Writer, site: &Site<'_>) {
    let Some(outside) = &site.outside else {
        return;
    };
    let (device, why) = (&outside.device, || Why::of("port", outside.port.id));
    floating(draft, writer, site, outside);
    writer.rule("nat", "snat", "-j $-float-snat", why());
    let keep = format!("! -o {device} -m conntrack ! --ctstate DNAT -j ACCEPT");
    let By::Gateway { snat } = outside.by else {
        writer.rule("nat", "POSTROUTING", &keep, why());
        return;
    };
    if snat {
        within_scope(draft, writer, site, outside);
    }
    let from_outside = format!("-i {device} -j MARK --set-xmark 0x2/0xffff");
    writer.rule("mangle", "mark", &from_outside, why());
    let mut addresses = outside.port.addresses();
    let Some(address) = addresses.find(IpAddr::is_ipv4) else {
        return;
    };
    writer.rule("nat", "POSTROUTING", &keep, why());
    if snat {
        let to = format!("-o {device} -j SNAT --to-source {address} --random-fully");
        writer.rule("nat", "snat", &to, why());
    }
    // A guest that asks for a floating IP of this router is answered through the router.
    let hairpin = format!(
        "-m mark ! --mark 0x2/0xffff -m conntrack --ctstate DNAT -j SNAT --to-source {address} --random-fully"
    );
    writer.rule("nat", "snat", &hairpin, why());
}

/// What leaves keeps the mark of the scope that it came from, for its answers; what is in the
/// external network's own scope leaves as it is.
fn within_scope(draft: &Draft<'_>, writer: &mut Writer, site: &Site<'_>, outside: &Outside<'_>) {
    let (device, why) = (&outside.device, || Why::of("port", outside.port.id));
    let save = format!("-o {device} {SAVE_SCOPE}");
    writer.rule("mangle", "POSTROUTING", &save, why());
    if let Some(scope) = scope_of_port(draft, outside.port, Family::V4) {
        let mark = Mark::of(draft, site, Some(scope));
        let as_it_is = format!("-o {device} -m connmark --mark {mark} -j ACCEPT");
        writer.rule("nat", "snat", &as_it_is, why());
    }
}

/// What comes for a floating IP goes to its port, what the port sends comes from it. Through a pair
/// of devices only what comes by it is meant.
fn floating(draft: &Draft<'_>, writer: &mut Writer, site: &Site<'_>, outside: &Outside<'_>) {
    let (chains, by): (&[&str], _) = match outside.by {
        By::Gateway { .. } => (&["OUTPUT", "PREROUTING"], String::new()),
        By::Pair => (&["PREROUTING"], format!(" -i {}", outside.device)),
    };
    for floating_ip in &site.floating {
        let why = || Why::of("floatingip", floating_ip.id);
        let (Some(IpAddr::V4(fixed)), IpAddr::V4(floating)) = (
            floating_ip.fixed_ip_address,
            floating_ip.floating_ip_address,
        ) else {
            continue;
        };
        for chain in chains {
            let rule = format!("-d {floating}/32{by} -j DNAT --to-destination {fixed}");
            writer.rule("nat", chain, &rule, why());
        }
        let rule = format!("-s {fixed}/32 -j SNAT --to-source {floating} --random-fully");
        writer.rule("nat", "float-snat", &rule, why());
    }
    floating_scopes(draft, writer, site, outside);
}

/// A floating IP leads from the external network's scope into its port's, and the answers back.
fn floating_scopes(draft: &Draft<'_>, writer: &mut Writer, site: &Site<'_>, outside: &Outside<'_>) {
    let external = scope_of_port(draft, outside.port, Family::V4);
    let mut crosses = false;
    for floating_ip in &site.floating {
        let (Some(fixed @ IpAddr::V4(_)), floating) = (
            floating_ip.fixed_ip_address,
            floating_ip.floating_ip_address,
        ) else {
            continue;
        };
        let internal = scope_of_address(draft, site, fixed);
        if internal == external {
            continue;
        }
        crosses = true;
        let why = || Why::of("floatingip", floating_ip.id);
        let mark = Mark::of(draft, site, internal);
        let rule = format!("-d {floating}/32 -j MARK --set-xmark {mark}");
        writer.rule("mangle", "floatingip", &rule, why());
        let rule = format!("-s {fixed}/32 -j $-float-snat");
        writer.rule("mangle", "FORWARD", &rule, why());
    }
    if !crosses {
        return;
    }
    let mark = Mark::of(draft, site, external);
    for (device, port) in devices(site) {
        let has_v4 = port.addresses().any(|address| address.is_ipv4());
        if has_v4 && scope_of_port(draft, port, Family::V4) == external {
            let rule = format!("-o {device} -j MARK --set-xmark {mark}");
            writer.rule("mangle", "float-snat", &rule, Why::of("port", port.id));
        }
    }
}

/// The scope of a fixed address: that of the interface on whose subnet it is.
fn scope_of_address(draft: &Draft<'_>, site: &Site<'_>, address: IpAddr) -> Option<AddressScopeId> {
    let mut inside = site
        .inside
        .iter()
        .flat_map(|(_, port)| draft.prefixes(port));
    let (subnet, _) = inside.find(|(subnet, _)| subnet.cidr.contains(&address))?;
    scope_of(draft, subnet.subnetpool_id?)
}

/// The scope of a port's first subnet of a family: all of a network's have the same.
fn scope_of_port(draft: &Draft<'_>, port: &Port, family: Family) -> Option<AddressScopeId> {
    let prefixes = draft.prefixes(port);
    let mut of_family = prefixes
        .iter()
        .filter(|(_, net)| Family::of(net.addr()) == family);
    let (subnet, _) = of_family.next()?;
    scope_of(draft, subnet.subnetpool_id?)
}

pub(super) fn scope_of(draft: &Draft<'_>, pool: intent::SubnetPoolId) -> Option<AddressScopeId> {
    draft.view.subnet_pools.get(&pool)?.address_scope_id
}

/// The address scopes that the router touches, in the order of their ids.
fn known_scopes(draft: &Draft<'_>, site: &Site<'_>) -> Vec<AddressScopeId> {
    let ports = devices(site).map(|(_, port)| port);
    let subnets = ports.flat_map(|port| draft.prefixes(port));
    let scopes: BTreeSet<_> = subnets
        .filter_map(|(subnet, _)| scope_of(draft, subnet.subnetpool_id?))
        .collect();
    scopes.into_iter().collect()
}

fn devices<'a>(site: &'a Site<'_>) -> impl Iterator<Item = (&'a str, &'a Port)> {
    let inside = site
        .inside
        .iter()
        .map(|(device, port)| (device.as_str(), *port));
    let outside = site.outside.as_ref();
    inside.chain(outside.map(|Outside { device, port, .. }| (device.as_str(), *port)))
}

/// The mark of what came from a scope, as rules write it; the low half has other marks.
struct Mark(u32);

impl Mark {
    fn of(draft: &Draft<'_>, site: &Site<'_>, scope: Option<AddressScopeId>) -> Mark {
        let known = known_scopes(draft, site);
        let rank = known.iter().position(|known| Some(*known) == scope);
        let rank = rank.and_then(|rank| u32::try_from(rank).ok());
        Mark((NO_SCOPE + rank.map_or(0, |rank| rank + 1)) << 16)
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}/0xffff0000", self.0)
    }
}

/// What comes in by a device has its scope's mark; what goes out by one must have it, but for what
/// leaves by the gateway and is translated.
fn scopes(draft: &Draft<'_>, writer: &mut Writer, site: &Site<'_>, family: Family) {
    for (device, port) in devices(site) {
        let mut addresses = port.addresses();
        if !addresses.any(|address| Family::of(address) == family) {
            continue;
        }
        let mark = Mark::of(draft, site, scope_of_port(draft, port, family));
        let why = || Why::of("port", port.id);
        let rule = format!("-i {device} -j MARK --set-xmark {mark}");
        writer.rule("mangle", "scope", &rule, why());
        let translated = family == Family::V4
            && site
                .outside
                .as_ref()
                .is_some_and(|out| out.by == By::Gateway { snat: true } && out.device == device);
        if !translated {
            let rule = format!("-o {device} -m mark ! --mark {mark} -j DROP");
            writer.rule("filter", "scope", &rule, why());
        }
    }
}

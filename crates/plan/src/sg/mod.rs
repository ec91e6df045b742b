//! Security groups, in the hybrid form: iptables on the Linux bridge between a guest and br-int.
//!
//! A frame that crosses a port's bridge goes through `FORWARD` to `sg-chain`, and from there to
//! the port's chain `i…` (towards the guest) or `o…` (from it). There `RETURN` lets it pass
//! (`sg-chain` ends in `ACCEPT`) and what no rule takes falls into `sg-fallback`, which drops.
//!
//! - `skeleton` below: the chains that all ports share, and the jumps of each port;
//! - `chains`: one port's three chains, `i…`, `o…` and `s…` (forged sources);
//! - `rules`: a group's rule as iptables says it;
//! - `sets`: the addresses of remote groups and address groups, as ipsets.
//!
//! Connections of a port are tracked in a zone of its own (table raw), so that two ports with
//! the same addresses in different networks do not meet. Ports without port security, and the
//! network's own services, are trusted: their frames pass.

mod chains;
mod memo;
mod rules;
mod sets;

use std::sync::Arc;

use host::{
    NsName, Why,
    names::{self, L2_CHAINS, PortChain},
    netns::Family,
};
use intent::{Ethertype, Port};

pub(crate) use self::memo::Memo;
use crate::{
    Draft,
    l2::networks::plugged,
    rules::{Part, Writer},
};

/// Settings of the kernel that make frames on Linux bridges pass iptables.
const BRIDGES_PASS_IPTABLES: [&str; 3] = [
    "net.bridge.bridge-nf-call-arptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-iptables",
];

const TRUSTED: &str = "Accept all packets when port is trusted.";
const TO_GROUPS: &str = "Direct traffic from the VM interface to the security group chain.";
const TO_GROUPS_FROM_GUEST: &str = "Direct incoming traffic from VM to the security group chain.";
const TO_PORT: &str = "Jump to the VM specific chain.";
const DEFAULT_DROP: &str = "Default drop rule for unmatched traffic.";

/// A port as the filter sees it.
pub(crate) struct Filtered<'a> {
    port: &'a Arc<Port>,
    id: String,
    tap: String,
    /// Where its connections are tracked; ports that are not filtered have none.
    zone: Option<u16>,
    /// Nothing of it is filtered.
    trusted: bool,
    /// Connections are remembered: replies pass without a rule of their own.
    stateful: bool,
}

impl Filtered<'_> {
    fn why(&self) -> Why {
        Why::of("port", self.port.id)
    }
}

pub fn emit(draft: &mut Draft<'_>) {
    let root = NsName::root();
    let ports = filtered(draft);
    let mut memo = std::mem::take(&mut draft.memo.sg);
    memo.groups.update(draft);
    memo.keep(&ports);
    for key in BRIDGES_PASS_IPTABLES {
        draft.sysctl(&root, key, "1", Why::base());
    }
    let mut writers = [(); 2].map(|()| skeleton());
    for port in &ports {
        let parts = memo.parts(port, |family| part(port, family));
        for (writer, part) in writers.iter_mut().zip(parts) {
            writer.add(&part);
        }
    }
    for (mut writer, family) in writers.into_iter().zip([Family::V4, Family::V6]) {
        writer.rule("filter", "sg-chain", "-j ACCEPT", Why::base());
        writer.finish(draft, &root, family);
    }
    sets::emit(draft, &mut memo.sets, &ports);
    draft.memo.sg = memo;
}

/// What one port adds, without what its groups say.
fn part(port: &Filtered<'_>, family: Family) -> Part {
    let mut writer = Writer::part(L2_CHAINS, Why::base());
    jumps(&mut writer, port);
    if !port.trusted {
        chains::emit(&mut writer, port, family);
    }
    writer.finish_part()
}

/// The ports that stand in br-int here, in the order of their ids.
fn filtered<'a>(draft: &mut Draft<'a>) -> Vec<Filtered<'a>> {
    let mut ports = Vec::new();
    for plugged in plugged(draft) {
        let id = plugged.port.id.to_string();
        let trusted = !plugged.is_guest() || !plugged.port.port_security_enabled;
        if plugged.is_unguarded() {
            let text = "is closed: it has port security, and is plugged where no filter can stand";
            draft.note(format!("port {id}"), text);
            continue;
        }
        let zone = match trusted {
            true => None,
            false => zone_of(draft, &id),
        };
        ports.push(Filtered {
            port: plugged.port,
            tap: names::tap(&id),
            zone,
            trusted,
            stateful: is_stateful(draft, plugged.port),
            id,
        });
    }
    ports
}

fn zone_of(draft: &mut Draft<'_>, port: &str) -> Option<u16> {
    let zone = draft.numbers.zones.take(port);
    let zone = zone.and_then(|zone| u16::try_from(zone).ok());
    if zone.is_none() {
        draft.note(format!("port {port}"), "no conntrack zone is left");
    }
    zone
}

/// A port's groups are stateful or not together; the API does not let them be mixed.
fn is_stateful(draft: &Draft<'_>, port: &Port) -> bool {
    let mut groups = port.security_groups.iter();
    groups.all(|id| {
        let group = draft.view.security_groups.get(id);
        group.is_none_or(|group| group.stateful)
    })
}

/// The words of a rule that name one direction over a bridge's port.
fn physdev(direction: &str, tap: &str) -> String {
    format!("-m physdev --physdev-{direction} {tap} --physdev-is-bridged")
}

/// The words of a comment.
pub(crate) fn comment(text: &str) -> String {
    format!("-m comment --comment \"{text}\"")
}

/// The chains that all ports share, but for what the ports put into them.
fn skeleton() -> Writer {
    let mut writer = Writer::without_mangle(L2_CHAINS, Why::base());
    for chain in ["sg-chain", "sg-fallback"] {
        writer.own("filter", chain);
    }
    let drop = format!("{} -j DROP", comment(DEFAULT_DROP));
    writer.rule("filter", "sg-fallback", &drop, Why::base());
    writer
}

/// What leads a port's frames to its chains, and tracks them.
fn jumps(writer: &mut Writer, port: &Filtered<'_>) {
    match port.trusted {
        true => trusted(writer, port),
        false => filtered_jumps(writer, port),
    }
    for direction in ["out", "in"] {
        let rule = format!(
            "-m physdev --physdev-{direction} {} {} -j ACCEPT",
            port.tap,
            comment(TRUSTED)
        );
        writer.rule("nat", "PREROUTING", &rule, port.why());
    }
    tracking(writer, port);
}

fn trusted(writer: &mut Writer, port: &Filtered<'_>) {
    for direction in ["out", "in"] {
        let frames = physdev(direction, &port.tap);
        let rule = format!("{frames} {} -j ACCEPT", comment(TRUSTED));
        writer.rule("filter", "FORWARD", &rule, port.why());
    }
}

/// The jumps that lead a port's frames to its chains.
fn filtered_jumps(writer: &mut Writer, port: &Filtered<'_>) {
    let chain = |which| names::port_chain(which, &port.id);
    for (direction, which) in [("out", PortChain::Ingress), ("in", PortChain::Egress)] {
        let frames = physdev(direction, &port.tap);
        let rule = format!("{frames} {} -j $-sg-chain", comment(TO_GROUPS));
        writer.rule("filter", "FORWARD", &rule, port.why());
        let rule = format!("{frames} {} -j {}", comment(TO_PORT), chain(which));
        writer.rule("filter", "sg-chain", &rule, port.why());
    }
    // What a guest sends to the host itself is its egress too.
    let frames = physdev("in", &port.tap);
    let jump = format!("-j {}", chain(PortChain::Egress));
    let rule = format!("{frames} {} {jump}", comment(TO_GROUPS_FROM_GUEST));
    writer.rule("filter", "INPUT", &rule, port.why());
}

/// Table raw: a port's connections in its zone, or, without state, nowhere.
fn tracking(writer: &mut Writer, port: &Filtered<'_>) {
    let (what, target) = match (port.zone, port.stateful) {
        (None, _) => return,
        (Some(zone), true) => ("Set zone", format!("CT --zone {zone}")),
        (Some(_), false) => ("Make stateless", "CT --notrack".to_owned()),
    };
    let about = comment(&format!("{what} for {}", port.id));
    let qvb = names::qvb(&port.id);
    for frames in [
        format!("-m physdev --physdev-in {qvb}"),
        format!("-i {qvb}"),
        format!("-m physdev --physdev-in {}", port.tap),
    ] {
        let rule = format!("{frames} {about} -j {target}");
        writer.rule("raw", "PREROUTING", &rule, port.why());
    }
}

/// The version of IP that a rule speaks of.
fn family_of(ethertype: Ethertype) -> Family {
    match ethertype {
        Ethertype::Ipv4 => Family::V4,
        Ethertype::Ipv6 => Family::V6,
    }
}

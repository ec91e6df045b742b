//! The flows of Neutron's own firewall on Open vSwitch (`firewall_driver = openvswitch`). Our plan
//! filters in Linux bridges; a stock host that filters in br-int is compared with what its agent
//! would have put there: tables 60 and 71 to 94, port by port, rule by rule. The numbers in it
//! (ports, tags, conjunctions) are the host's own.
use std::collections::BTreeSet;

use host::HostState;
use host::ovs::{Action, Bridge, Field, FlowKey, read_flow};

use crate::cloud::{Cloud, GroupRule, Port};

const BRIDGE: &str = "br-int";

/// Does a host filter in br-int?
pub(super) fn is_used(have: &HostState) -> bool {
    let bridge = have.bridges.get(BRIDGE);
    bridge.is_some_and(|b| b.flows.keys().any(|key| (71..=94).contains(&key.table)))
}

/// One guest's port, in the numbers of its host.
struct Seat<'a> {
    port: &'a Port,
    dev: String,
    ofport: u32,
    tag: u16,
}

/// Put the firewall's flows in the place of what other plugging would have.
pub(super) fn expect(cloud: &Cloud, have: &HostState, want: &mut HostState) {
    let Some(bridge) = have.bridges.get(BRIDGE) else {
        return;
    };
    if let Some(root) = want.netns.get_mut(&host::NsName::root()) {
        root.iptables.clear();
        root.ipsets.clear();
    }
    let mut guests: Vec<Seat<'_>> = seats(cloud, have, bridge, true);
    guests.extend(empty_seats(cloud, have, bridge, &guests));
    let guests = guests;
    let devices: BTreeSet<&str> = guests.iter().map(|s| s.dev.as_str()).collect();
    let mut lines: Vec<String> = DEFAULTS.iter().map(|line| (*line).to_owned()).collect();
    for seat in &guests {
        let open = seat.port.port_security_enabled == Some(false);
        if !open {
            one_port(seat, &mut lines);
            rules(cloud, bridge, seat, &guests, &mut lines);
        }
    }
    for seat in seats(cloud, have, bridge, false) {
        trusted(&seat, &mut lines);
    }
    // Our plan closes a port that it cannot filter; this host can.
    let ports = &mut want.bridge_mut(BRIDGE).ports;
    for seat in &guests {
        if let Some(port) = ports.get_mut(&seat.dev) {
            port.tag = Some(seat.tag);
        }
    }
    let flows = &mut want.bridge_mut(BRIDGE).flows;
    flows.retain(|key, _| !is_spoof_rule(key, &devices));
    for line in lines {
        if let Ok((key, flow)) = read_flow(&line) {
            flows.insert(key, flow);
        }
    }
}

/// The flows that stop forged sources where a Linux bridge filters.
fn is_spoof_rule(key: &FlowKey, devices: &BTreeSet<&str>) -> bool {
    let port = key.matches.in_port.as_ref().map(ToString::to_string);
    let on_guest = port.is_some_and(|p| devices.contains(p.trim_matches('"')));
    on_guest && [0, 24, 25].contains(&key.table)
}

fn seats<'a>(cloud: &'a Cloud, have: &HostState, bridge: &Bridge, guests: bool) -> Vec<Seat<'a>> {
    let mut seats = Vec::new();
    for (name, port) in &bridge.ports {
        let Some(interface) = port.interfaces.get(name) else {
            continue;
        };
        let id = interface.external_ids.get("iface-id");
        let row = id
            .and_then(|id| cloud.ports.get(id))
            .filter(|p| p.is_guest() == guests);
        let tag = port
            .other_config
            .get("tag")
            .and_then(|t| t.parse().ok())
            .or(port.tag);
        let (Some(row), Some(ofport), Some(tag)) = (row, interface.ofport.0, tag) else {
            continue;
        };
        if guests && row.host != have.name {
            continue;
        }
        seats.push(Seat {
            port: row,
            dev: name.clone(),
            ofport,
            tag,
        });
    }
    seats
}

/// Guests whose port is gone from the bridge, and whose flows still say its number and its tag.
fn empty_seats<'a>(
    cloud: &'a Cloud,
    have: &HostState,
    bridge: &Bridge,
    seats: &[Seat<'a>],
) -> Vec<Seat<'a>> {
    let guests = cloud
        .ports
        .values()
        .filter(|p| p.is_guest() && p.host == have.name);
    let gone = guests.filter(|p| !seats.iter().any(|seat| seat.port.id == p.id));
    let seat = |port: &'a Port| {
        let mac = u128::from(port.mac()?.to_bits());
        let towards =
            |key: &&FlowKey| key.table == 60 && key.matches.exact(Field::EthDst) == Some(mac);
        let key = bridge.flows.keys().find(towards)?;
        let number = bridge.flows[key]
            .actions
            .iter()
            .find_map(|action| match action {
                Action::Set { field, value, .. } if *field == Field::Reg5 => Some(*value as u32),
                _ => None,
            });
        Some(Seat {
            port,
            dev: host::names::tap(&port.id),
            ofport: number?,
            tag: key.matches.vlan_id()?,
        })
    };
    gone.filter_map(seat).collect()
}

/// What every host has.
const DEFAULTS: &[&str] = &[
    "table=71, reset_counts priority=110,ct_state=+trk actions=ct_clear,resubmit(,71)",
    "table=71, reset_counts priority=0 actions=drop",
    "table=72, reset_counts priority=0 actions=drop",
    "table=73, reset_counts priority=0 actions=drop",
    "table=81, reset_counts priority=0 actions=drop",
    "table=82, reset_counts priority=0 actions=drop",
    "table=91, reset_counts priority=1 actions=resubmit(,94)",
    "table=92, reset_counts priority=0 actions=drop",
    "table=93, reset_counts priority=0 actions=drop",
    "table=94, reset_counts priority=1 actions=NORMAL",
];

const ZONE: &str = "zone=NXM_NX_REG6[0..15]";

/// A port of the network itself, which nothing filters.
fn trusted(seat: &Seat<'_>, lines: &mut Vec<String>) {
    let (dev, n, z) = (&seat.dev, seat.ofport, seat.tag);
    lines.push(format!(
        "table=60, priority=100,in_port=\"{dev}\" \
         actions=set_field:{n:#x}->reg5,set_field:{z:#x}->reg6,resubmit(,73)"
    ));
    lines.push(format!(
        "table=73, priority=80,reg5={n:#x} actions=resubmit(,94)"
    ));
}

/// What a filtered port has whatever its groups say.
fn one_port(seat: &Seat<'_>, lines: &mut Vec<String>) {
    let (dev, n, z, mac) = (&seat.dev, seat.ofport, seat.tag, &seat.port.mac_address);
    let r = format!("reg5={n:#x}");
    let mut put = |table: u8, rest: String| lines.push(format!("table={table}, {rest}"));
    let numbers = format!("set_field:{n:#x}->reg5,set_field:{z:#x}->reg6");
    put(
        60,
        format!("priority=100,in_port=\"{dev}\" actions={numbers},resubmit(,71)"),
    );
    put(
        60,
        format!("priority=90,dl_vlan={z},dl_dst={mac} actions={numbers},pop_vlan,resubmit(,81)"),
    );
    put(
        73,
        format!(
            "priority=100,reg6={z:#x},dl_dst={mac} actions=set_field:{n:#x}->reg5,resubmit(,81)"
        ),
    );
    put(73, format!("priority=80,{r} actions=resubmit(,94)"));
    put(81, format!("priority=100,arp,{r} actions=output:\"{dev}\""));
    for kind in [130, 134, 135, 136] {
        put(
            81,
            format!("priority=100,icmp6,{r},icmp_type={kind} actions=output:\"{dev}\""),
        );
    }
    put(
        81,
        format!("priority=95,udp,{r},tp_src=67,tp_dst=68 actions=output:\"{dev}\""),
    );
    put(
        81,
        format!("priority=95,udp6,{r},tp_src=547,tp_dst=546 actions=output:\"{dev}\""),
    );
    put(
        81,
        format!("priority=80,ct_state=+trk,{r} actions=resubmit(,82)"),
    );
    for ip in ["ip", "ipv6"] {
        put(
            73,
            format!(
                "priority=90,ct_state=+new-est,{ip},{r} actions=ct(commit,{ZONE}),resubmit(,91)"
            ),
        );
        put(
            81,
            format!("priority=90,ct_state=-trk,{ip},{r} actions=ct(table=82,{ZONE})"),
        );
    }
    known(seat, lines);
    sources(seat, lines);
}

/// Connections that are known already, each way: tables 72 and 82.
fn known(seat: &Seat<'_>, lines: &mut Vec<String>) {
    let (dev, z) = (&seat.dev, seat.tag);
    let r = format!("reg5={:#x}", seat.ofport);
    let mut put = |table: u8, rest: String| lines.push(format!("table={table}, {rest}"));
    for (table, pass) in [
        (72, "resubmit(,94)".to_owned()),
        (82, format!("output:\"{dev}\"")),
    ] {
        put(
            table,
            "priority=50,ct_state=+inv+trk actions=resubmit(,93)".to_owned(),
        );
        put(
            table,
            format!("priority=50,ct_mark=0x1,{r} actions=resubmit(,93)"),
        );
        for state in ["+est-rel+rpl", "-new-est+rel-inv"] {
            put(
                table,
                format!("priority=50,ct_state={state},ct_zone={z},ct_mark=0,{r} actions={pass}"),
            );
        }
        put(
            table,
            format!("priority=40,ct_state=-est,{r} actions=resubmit(,93)"),
        );
        for ip in ["ip", "ipv6"] {
            put(
                table,
                format!(
                    "priority=40,ct_state=+est,{ip},{r} actions=ct(commit,{ZONE},exec(set_field:0x1->ct_mark))"
                ),
            );
        }
    }
}

/// Against forged sources: table 71.
fn sources(seat: &Seat<'_>, lines: &mut Vec<String>) {
    let (dev, n, mac) = (&seat.dev, seat.ofport, &seat.port.mac_address);
    let on = format!("reg5={n:#x},in_port=\"{dev}\"");
    let mut put = |rest: String| lines.push(format!("table=71, {rest}"));
    for (mac, ip) in allowed(seat.port) {
        let from = format!("{on},dl_src={mac}");
        if ip.contains(':') {
            put(format!(
                "priority=65,ipv6,{from},ipv6_src={ip} actions=ct(table=72,{ZONE})"
            ));
            put(format!(
                "priority=95,icmp6,{on},icmp_type=136,nd_target={ip} actions=resubmit(,94)"
            ));
            continue;
        }
        put(format!(
            "priority=95,arp,{from},arp_spa={ip} actions=resubmit(,94)"
        ));
        put(format!(
            "priority=65,ip,{from},nw_src={ip} actions=ct(table=72,{ZONE})"
        ));
        put(format!(
            "priority=80,udp,{from},nw_src={ip},tp_src=68,tp_dst=67 actions=resubmit(,73)"
        ));
    }
    let from = format!("{on},dl_src={mac}");
    put(format!("priority=95,rarp,{from} actions=resubmit(,94)"));
    put(format!(
        "priority=80,udp,{from},nw_src=0.0.0.0,tp_src=68,tp_dst=67 actions=resubmit(,73)"
    ));
    if let Some(own) = seat.port.mac().map(host::Mac::link_local) {
        for kind in [130, 133, 135] {
            put(format!(
                "priority=95,icmp6,{from},ipv6_src={own},icmp_type={kind} actions=resubmit(,94)"
            ));
        }
        put(format!(
            "priority=95,icmp6,{on},icmp_type=136,nd_target={own} actions=resubmit(,94)"
        ));
        put(format!(
            "priority=80,udp6,{from},ipv6_src={own},tp_src=546,tp_dst=547 actions=resubmit(,73)"
        ));
        put(format!(
            "priority=65,ipv6,{from},ipv6_src={own} actions=ct(table=72,{ZONE})"
        ));
    }
    put(format!(
        "priority=70,udp,{on},tp_src=67,tp_dst=68 actions=resubmit(,93)"
    ));
    put(format!(
        "priority=70,udp6,{on},tp_src=547,tp_dst=546 actions=resubmit(,93)"
    ));
    put(format!(
        "priority=70,icmp6,{on},icmp_type=134 actions=resubmit(,93)"
    ));
    put(format!("priority=10,{on} actions=ct_clear,resubmit(,93)"));
}

/// The pairs of MAC and address that a port may send from.
fn allowed(port: &Port) -> Vec<(String, String)> {
    let own = port
        .fixed_ips
        .iter()
        .map(|f| (port.mac_address.clone(), f.ip_address.to_string()));
    let pairs = port.allowed_address_pairs.iter().map(|pair| {
        let mac = pair
            .mac_address
            .clone()
            .unwrap_or_else(|| port.mac_address.clone());
        (mac, pair.ip_address.clone())
    });
    own.chain(pairs).collect()
}

/// A port's rules: what each of its groups lets in and out.
fn rules(
    cloud: &Cloud,
    bridge: &Bridge,
    seat: &Seat<'_>,
    all: &[Seat<'_>],
    lines: &mut Vec<String>,
) {
    for rule in cloud.rules_of(seat.port) {
        let (table, pass, pass_new) = match rule.direction.as_str() {
            "ingress" => (
                82,
                format!("output:\"{}\"", seat.dev),
                format!("ct(commit,{ZONE}),output:\"{}\",resubmit(,92)", seat.dev),
            ),
            _ => (72, "resubmit(,73)".to_owned(), "resubmit(,73)".to_owned()),
        };
        let Some((head, tails, offset)) = words(rule) else {
            continue;
        };
        let reg = format!("reg5={:#x}", seat.ofport);
        if rule.remote_group_id.is_none() {
            for (state, actions) in [("+est-rel-rpl", &pass), ("+new-est", &pass_new)] {
                for tail in &tails {
                    let priority = 74 + offset;
                    lines.push(format!(
                        "table={table}, priority={priority},ct_state={state},{head},{reg}{tail} \
                         actions={actions}"
                    ));
                }
            }
            continue;
        }
        let group = Group {
            table,
            priority: 70 + offset,
            head: &head,
            tails: &tails,
            pass: [&pass, &pass_new],
        };
        conjunction(cloud, bridge, seat, all, (rule, &group), lines);
    }
}

/// A rule whose other side is a group, in the words of its flows.
struct Group<'a> {
    table: u8,
    priority: u16,
    head: &'a str,
    tails: &'a [String],
    pass: [&'a str; 2],
}

/// Members on one side, ports on the other, joined by a number that the agent chose: it is read
/// from what is left of the rule, here or at a port with the same groups.
fn conjunction(
    cloud: &Cloud,
    bridge: &Bridge,
    seat: &Seat<'_>,
    all: &[Seat<'_>],
    (rule, group): (&GroupRule, &Group<'_>),
    lines: &mut Vec<String>,
) {
    let same = |other: &&Seat<'_>| {
        other.tag == seat.tag && other.port.security_groups.contains(&rule.security_group_id)
    };
    let near = std::iter::once(seat).chain(all.iter().filter(same));
    let number = near.filter_map(|s| chosen(bridge, s.ofport, group)).next();
    let Some(number) = number else {
        return;
    };
    let family = if rule.ethertype == "IPv6" {
        "ipv6"
    } else {
        "ip"
    };
    let side = match (group.table, family) {
        (82, "ip") => "nw_src",
        (82, _) => "ipv6_src",
        (_, "ip") => "nw_dst",
        _ => "ipv6_dst",
    };
    let (table, priority, reg) = (group.table, group.priority, seat.ofport);
    for (n, state) in ["+est-rel-rpl", "+new-est"].into_iter().enumerate() {
        let id = number.saturating_add(n as u32);
        let start = format!("table={table}, priority={priority},ct_state={state}");
        for tail in group.tails {
            lines.push(format!(
                "{start},{},reg5={reg:#x}{tail} actions=conjunction({id},2/2)",
                group.head
            ));
        }
        lines.push(format!(
            "table={table}, priority={priority},conj_id={id},ct_state={state},{family},\
             reg5={reg:#x} actions=set_field:{id:#x}->reg7,{}",
            group.pass[n]
        ));
        for member in members(cloud, rule) {
            lines.push(format!(
                "{start},{family},reg6={:#x},{side}={member} actions=conjunction({id},1/2)",
                seat.tag
            ));
        }
    }
}

/// The number of a conjunction for established connections; the next one is for new ones.
fn chosen(bridge: &Bridge, ofport: u32, group: &Group<'_>) -> Option<u32> {
    let tail = group.tails.first().map_or("", String::as_str);
    let number = |state: &str| {
        let line = format!(
            "table={}, priority={},ct_state={state},{},reg5={ofport:#x}{tail} actions=drop",
            group.table, group.priority, group.head
        );
        let (key, _) = read_flow(&line).ok()?;
        bridge
            .flows
            .get(&key)?
            .actions
            .iter()
            .find_map(|action| match action {
                Action::Conjunction { id, .. } => Some(*id),
                _ => None,
            })
    };
    let by_new = || number("+new-est").and_then(|id| id.checked_sub(1));
    number("+est-rel-rpl").or_else(by_new)
}

/// The addresses of a remote group's members.
fn members(cloud: &Cloud, rule: &GroupRule) -> BTreeSet<String> {
    let group = rule.remote_group_id.clone().unwrap_or_default();
    let v6 = rule.ethertype == "IPv6";
    let mut found = BTreeSet::new();
    for port in cloud
        .ports
        .values()
        .filter(|p| p.security_groups.contains(&group))
    {
        let own = port.fixed_ips.iter().map(|f| f.ip_address.to_string());
        let pairs = port
            .allowed_address_pairs
            .iter()
            .map(|p| p.ip_address.clone());
        found.extend(own.chain(pairs).filter(|ip| ip.contains(':') == v6));
        // Members by their own link-local addresses come with IPv6; they are not compared.
    }
    found
}

/// A rule's protocol and ports as matches: the head, the tails of its flows, and how much the
/// protocol adds to the priority.
fn words(rule: &GroupRule) -> Option<(String, Vec<String>, u16)> {
    let v6 = rule.ethertype == "IPv6";
    let prefix = rule.remote_ip_prefix.clone().map(|net| {
        let net: String = net
            .trim_end_matches("/32")
            .trim_end_matches("/128")
            .to_owned();
        let side = match (rule.direction.as_str(), v6) {
            ("ingress", false) => "nw_src",
            ("ingress", true) => "ipv6_src",
            (_, false) => "nw_dst",
            (_, true) => "ipv6_dst",
        };
        format!(",{side}={net}")
    });
    let prefix = prefix.filter(|p| !p.ends_with("/0")).unwrap_or_default();
    let ports = match (rule.port_range_min, rule.port_range_max) {
        (Some(min), Some(max)) => Some((min as u16, max as u16)),
        _ => None,
    };
    let (head, offset, tails) = match rule.protocol.as_deref() {
        None | Some("any" | "0") => (
            if v6 { "ipv6" } else { "ip" }.to_owned(),
            0,
            vec![String::new()],
        ),
        Some("icmp" | "1" | "icmpv6" | "ipv6-icmp" | "icmp6" | "58") => {
            let kind = rule.port_range_min.map(|t| format!(",icmp_type={t}"));
            let code = rule.port_range_max.map(|c| format!(",icmp_code={c}"));
            let offset = 1 + u16::from(kind.is_some()) + u16::from(code.is_some());
            let tail = kind.unwrap_or_default() + &code.unwrap_or_default();
            (
                if v6 { "icmp6" } else { "icmp" }.to_owned(),
                offset,
                vec![tail],
            )
        }
        Some(proto @ ("tcp" | "udp" | "sctp" | "6" | "17" | "132")) => {
            let name = match proto {
                "6" => "tcp",
                "17" => "udp",
                "132" => "sctp",
                name => name,
            };
            let head = if v6 {
                format!("{name}6")
            } else {
                name.to_owned()
            };
            let tails = match ports {
                None => vec![String::new()],
                Some(range) => masks(range)
                    .into_iter()
                    .map(|m| format!(",tp_dst={m}"))
                    .collect(),
            };
            (head, 3, tails)
        }
        Some(other) => {
            let number = host::iptables::protocol_number(other)?;
            let family = if v6 { "ipv6" } else { "ip" };
            (
                format!("{family},nw_proto={number}"),
                3,
                vec![String::new()],
            )
        }
    };
    let tails = tails
        .into_iter()
        .map(|tail| format!("{prefix}{tail}"))
        .collect();
    Some((head, tails, offset))
}

/// A range of ports as values with masks, the fewest that cover it.
fn masks((min, max): (u16, u16)) -> Vec<String> {
    let (mut at, end) = (u32::from(min), u32::from(max));
    let mut found = Vec::new();
    while at <= end {
        let mut size = 1;
        while at % (size * 2) == 0 && at + size * 2 - 1 <= end && size < 0x8000 {
            size *= 2;
        }
        found.push(match size {
            1 => at.to_string(),
            _ => format!("{at:#x}/{:#x}", 0x10000 - size),
        });
        at += size;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_of_ports_is_few_masks() {
        assert_eq!(masks((22, 22)), ["22"]);
        assert_eq!(
            masks((8000, 8099)),
            ["0x1f40/0xffc0", "0x1f80/0xffe0", "0x1fa0/0xfffc"]
        );
        assert_eq!(masks((0, 65535)), ["0x0/0x8000", "0x8000/0x8000"]);
    }
}

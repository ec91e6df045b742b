//! Flows as `ovs-ofctl dump-flows` prints and `ovs-ofctl add-flows` takes them, of OpenFlow 1.0
//! to 1.4, with counters and without, with port names and numbers.
use std::collections::BTreeMap;
use std::fmt;

use super::action_print::print_actions;
use super::action_read::read_actions;
use super::bridge::Flows;
use super::flow::{Flow, FlowKey, FlowStats};
use crate::ParseError;
use crate::text::{Word, lines, number, split_outside};

/// The priority of a flow that names none; OVS does not print it.
const DEFAULT_PRIORITY: u16 = 0x8000;

/// Words without a value that are the flow's and not its match's.
const FLAGS: &[&str] = &[
    "send_flow_rem",
    "check_overlap",
    "reset_counts",
    "no_packet_counts",
    "no_byte_counts",
];

/// Read a whole dump. Lines that are no flows but replies' heads are left out.
pub fn read_flows(text: &str) -> Result<Flows, ParseError> {
    let mut flows = BTreeMap::new();
    for (number, line) in lines(text) {
        let head = line.trim_start();
        if head.contains("reply") && !head.contains("actions=") || head.starts_with('#') {
            continue;
        }
        let (key, flow) = read_flow(line).map_err(|e| e.on_line(number))?;
        flows.insert(key, flow);
    }
    Ok(flows)
}

/// Read one flow.
pub fn read_flow(line: &str) -> Result<(FlowKey, Flow), ParseError> {
    let at = actions_at(line)
        .ok_or_else(|| ParseError::new(1, line.len(), "a flow has no 'actions='"))?;
    let mut key = FlowKey {
        priority: DEFAULT_PRIORITY,
        ..FlowKey::default()
    };
    let mut flow = Flow::default();
    for part in split_outside(&line[..at], ',') {
        for word in split_outside(part.text, ' ') {
            if !word.text.is_empty() {
                read_part(&mut key, &mut flow, word).map_err(|e| e.shifted(part.at))?;
            }
        }
    }
    key.matches.settle();
    flow.actions = read_actions(&line[at + "actions=".len()..]);
    Ok((key, flow))
}

/// Where the actions begin; a quoted port's name is no beginning.
fn actions_at(line: &str) -> Option<usize> {
    let mut quoted = false;
    line.char_indices().find_map(|(at, c)| {
        quoted ^= c == '"';
        let starts = at == 0 || line[..at].ends_with([' ', ',']);
        (!quoted && starts && line[at..].starts_with("actions=")).then_some(at)
    })
}

fn read_part(key: &mut FlowKey, flow: &mut Flow, word: Word<'_>) -> Result<(), ParseError> {
    let text = word.text.trim();
    let Some((name, value)) = text.split_once('=') else {
        match FLAGS.contains(&text) {
            true => drop(flow.flags.insert(text.to_owned())),
            false => key.matches.read_part(text),
        }
        return Ok(());
    };
    let what = |what: &str| word.error(format!("'{value}' is not {what}"));
    match name {
        "cookie" => flow.cookie = small(value).ok_or_else(|| what("a cookie"))?,
        "table" => key.table = small(value).ok_or_else(|| what("a table"))?,
        "priority" => key.priority = small(value).ok_or_else(|| what("a priority"))?,
        "idle_timeout" => flow.idle_timeout = small(value).ok_or_else(|| what("a timeout"))?,
        "hard_timeout" => flow.hard_timeout = small(value).ok_or_else(|| what("a timeout"))?,
        "importance" => flow.importance = small(value).ok_or_else(|| what("an importance"))?,
        _ => match read_stat(flow, name, value) {
            Some(true) => {}
            Some(false) => return Err(what("a counter")),
            None => key.matches.read_part(text),
        },
    }
    Ok(())
}

fn small<T: TryFrom<u128>>(text: &str) -> Option<T> {
    T::try_from(number(text)?).ok()
}

/// Counters: `None` when the name is none of theirs, `false` when the value is no number.
fn read_stat(flow: &mut Flow, name: &str, value: &str) -> Option<bool> {
    const NAMES: &[&str] = &["duration", "n_packets", "n_bytes", "idle_age", "hard_age"];
    if !NAMES.contains(&name) {
        return None;
    }
    let stats = flow.stats.0.get_or_insert_with(FlowStats::default);
    if name == "duration" {
        let seconds = value.strip_suffix('s').and_then(|v| v.parse().ok());
        stats.duration_s = seconds.unwrap_or_default();
        return Some(seconds.is_some());
    }
    let Ok(count) = value.parse::<u64>() else {
        return Some(false);
    };
    match name {
        "n_packets" => stats.packets = count,
        "n_bytes" => stats.bytes = count,
        "idle_age" => stats.idle_age = Some(count),
        _ => stats.hard_age = Some(count),
    }
    Some(true)
}

/// A flow with its key, printed as `dump-flows --no-stats` prints it.
#[derive(Clone, Copy, Debug)]
pub struct FlowLine<'a>(pub &'a FlowKey, pub &'a Flow);

impl fmt::Display for FlowLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FlowLine(key, flow) = self;
        if flow.cookie != 0 {
            write!(f, "cookie={:#x}, ", flow.cookie)?;
        }
        if key.table != 0 {
            write!(f, "table={}, ", key.table)?;
        }
        for (name, value) in [
            ("idle_timeout", flow.idle_timeout),
            ("hard_timeout", flow.hard_timeout),
            ("importance", flow.importance),
        ] {
            if value != 0 {
                write!(f, "{name}={value}, ")?;
            }
        }
        for flag in &flow.flags {
            write!(f, "{flag} ")?;
        }
        let mut parts = key.matches.parts();
        if key.priority != DEFAULT_PRIORITY {
            parts.insert(0, format!("priority={}", key.priority));
        }
        parts.extend(flow.unknown.iter().cloned());
        let space = if parts.is_empty() { "" } else { " " };
        let actions = print_actions(&flow.actions);
        write!(f, "{}{space}actions={actions}", parts.join(","))
    }
}

/// Every flow on a line of its own, for `ovs-ofctl --bundle add-flows`.
pub fn print_flows(flows: &Flows) -> String {
    let line = |(key, flow)| format!("{}\n", FlowLine(key, flow));
    flows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovs::{Action, Field, Match, PortRef, Subfield};
    use proptest::prelude::*;

    /// One line of each kind that real hosts print.
    const REAL: &[&str] = &[
        "cookie=0xa2, priority=65535,dl_vlan=4095 actions=drop",
        "cookie=0xa2, table=71, reset_counts priority=110,ct_state=+trk actions=ct_clear,resubmit(,71)",
        r#"cookie=0x53, table=20, hard_timeout=300, priority=1,vlan_tci=0x0001/0x0fff,dl_dst=fa:16:3e:be:10:92 actions=load:0->NXM_OF_VLAN_TCI[],load:0x26e->NXM_NX_TUN_ID[],output:"vxlan-0a1e000b""#,
        "cookie=0x53, table=10, priority=1 actions=learn(table=20,hard_timeout=300,priority=1,cookie=0x53,NXM_OF_VLAN_TCI[0..11],NXM_OF_ETH_DST[]=NXM_OF_ETH_SRC[],load:0->NXM_OF_VLAN_TCI[],load:NXM_NX_TUN_ID[]->NXM_NX_TUN_ID[],output:OXM_OF_IN_PORT[]),output:1",
        "cookie=0x53, table=21, priority=1,arp,dl_vlan=1,arp_tpa=10.1.0.2 actions=set_field:2->arp_op,move:NXM_NX_ARP_SHA[]->NXM_NX_ARP_THA[],set_field:fa:16:3e:be:10:92->arp_sha,set_field:10.1.0.2->arp_spa,move:NXM_OF_ETH_SRC[]->NXM_OF_ETH_DST[],IN_PORT",
        "cookie=0x74, table=72, priority=40,ct_state=+est,ip,reg5=0x4 actions=ct(commit,zone=NXM_NX_REG6[0..15],exec(set_field:0x1->ct_mark))",
        "cookie=0x74, table=82, priority=73,ct_state=+new-est,tcp,reg5=0x3,tp_dst=0x1f40/0xffc0 actions=conjunction(23,2/2)",
        "table=4, priority=1,tun_id=0x26e actions=push_vlan:0x8100,set_field:4097->vlan_vid,goto_table:10",
        "priority=3,in_port=1 actions=mod_vlan_vid:1,set_tunnel:0x2,mod_dl_src:fa:16:3e:00:00:01,strip_vlan,resubmit:3,enqueue:1:2,NORMAL",
        "actions=ct(commit,zone=4,nat(src=10.0.0.1-10.0.0.9:1-99,random)),group:3,note:00.01,output(port=1,max_len=100),CONTROLLER:65535",
        "actions=clone(write_actions(group:1)),write_metadata:0x1/0xff,push:NXM_NX_REG0[3],output:NXM_NX_REG0[0..15],set_field:0x1/0x3->reg2",
    ];

    fn again(line: &str) -> String {
        let (key, flow) = read_flow(line).expect(line);
        FlowLine(&key, &flow).to_string()
    }

    #[test]
    fn what_a_switch_prints_is_printed_again() {
        for line in REAL {
            assert_eq!(again(line), *line);
            let (key, flow) = read_flow(line).unwrap();
            assert!(key.matches.unknown.is_empty(), "{line}");
            assert!(
                !format!("{:?}", flow.actions).contains("Unknown("),
                "{line}"
            );
        }
    }

    #[test]
    fn counters_are_read_and_not_compared() {
        let old = "NXST_FLOW reply (xid=0x4):\n cookie=0x0, duration=422.158s, table=0, n_packets=2, n_bytes=120, idle_age=55, priority=3,tun_id=0x2,dl_dst=01:00:00:00:00:00/01:00:00:00:00:00 actions=mod_vlan_vid:1,output:1\n";
        let flows = read_flows(old).unwrap();
        let (key, flow) = flows.iter().next().unwrap();
        let stats = flow.stats.0.as_ref().unwrap();
        assert_eq!(
            (stats.packets, stats.bytes, stats.idle_age),
            (2, 120, Some(55))
        );
        assert_eq!(key.priority, 3);
        assert_eq!(read_flows(&print_flows(&flows)).unwrap(), flows);
    }

    #[test]
    fn spellings_of_one_flow_are_equal() {
        for (one, other) in [
            (
                "actions=mod_dl_src:fa:16:3e:00:00:01",
                "actions=set_field:fa:16:3e:00:00:01->eth_src",
            ),
            ("actions=load:0x2->NXM_NX_TUN_ID[]", "actions=set_tunnel:2"),
            ("actions=strip_vlan", "actions=pop_vlan"),
            (
                "actions=load:0x1->NXM_NX_REG0[0..3]",
                "actions=set_field:1/0xf->reg0",
            ),
            ("actions=3", "actions=output:3"),
            ("priority=32768 actions=output:LOCAL", "actions=local"),
        ] {
            assert_eq!(read_flow(one), read_flow(other));
        }
    }

    #[test]
    fn an_error_says_where() {
        let error = read_flows("actions=drop\ntable=0, priority=no actions=drop").unwrap_err();
        assert_eq!(
            error.to_string(),
            "line 2, column 10: 'no' is not a priority"
        );
        assert!(read_flow("priority=1").is_err());
    }

    #[test]
    fn unknown_actions_are_kept() {
        for text in ["frobnicate(1,2)", "multipath(eth_src,50)", "goto_table:999"] {
            let line = format!("actions={text},output:1");
            assert_eq!(
                read_flow(&line).unwrap().1.actions[0],
                Action::Unknown(text.into())
            );
            assert_eq!(again(&line), line);
        }
        let deep = format!("actions={}{}", "clone(".repeat(5000), ")".repeat(5000));
        assert!(read_flow(&deep).is_ok());
    }

    fn field() -> impl Strategy<Value = Field> {
        let fields: Vec<Field> = Field::ALL
            .iter()
            .copied()
            .filter(|f| f.in_match() == *f)
            .filter(|f| {
                use Field::*;
                !matches!(f, InPort | VlanVid | VlanPcp | IpDscp | NwTos)
            })
            .collect();
        prop::sample::select(fields)
    }

    fn any_match() -> impl Strategy<Value = Match> {
        let part = (
            field(),
            any::<u128>(),
            prop_oneof![Just(u128::MAX), any::<u128>()],
        );
        let parts = prop::collection::vec(part, 0..6);
        (parts, prop::option::of("[a-z][a-z0-9-]{0,9}")).prop_map(|(parts, port)| {
            let mut m = parts
                .into_iter()
                .fold(Match::any(), |m, (f, v, mask)| m.masked(f, v, mask));
            m.in_port = port.map(PortRef::Name);
            m.settle();
            m
        })
    }

    fn any_action() -> impl Strategy<Value = Action> {
        let whole = || field().prop_map(Subfield::whole);
        prop_oneof![
            Just(Action::normal()),
            Just(Action::pop_vlan()),
            any::<u8>().prop_map(Action::resubmit),
            any::<u8>().prop_map(Action::GotoTable),
            any::<u16>().prop_map(Action::PushVlan),
            "[a-z]{1,9}".prop_map(Action::output),
            (field(), any::<u128>()).prop_map(|(f, v)| Action::set(f, v)),
            (whole(), whole()).prop_map(|(src, dst)| Action::Move { src, dst }),
            prop::sample::select(REAL.to_vec()).prop_map(|line| {
                let actions = read_flow(line).unwrap().1.actions;
                actions.into_iter().next().unwrap_or(Action::CtClear)
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(
            matches in any_match(),
            actions in prop::collection::vec(any_action(), 0..5),
            (table, priority, cookie) in any::<(u8, u16, u64)>(),
        ) {
            let key = FlowKey { table, priority, matches };
            let flow = Flow { cookie, actions, ..Flow::default() };
            let line = FlowLine(&key, &flow).to_string();
            prop_assert_eq!(read_flow(&line).unwrap(), (key, flow), "{}", line);
        }

        #[test]
        fn no_text_makes_it_panic(text in any::<String>()) {
            let _ = read_flows(&text);
            let _ = read_actions(&text);
        }

        #[test]
        fn damaged_flows_are_read_or_refused(
            line in prop::sample::select(REAL.to_vec()), at: prop::sample::Index, with in ".{0,3}",
        ) {
            let mut chars: Vec<char> = line.chars().collect();
            let at = at.index(chars.len());
            chars.splice(at..(at + 2).min(chars.len()), with.chars());
            let damaged: String = chars.into_iter().collect();
            if let Ok((key, flow)) = read_flow(&damaged) {
                let printed = FlowLine(&key, &flow).to_string();
                if !printed.contains(char::is_whitespace) || key.matches.unknown.is_empty() {
                    let _ = read_flow(&printed);
                }
            }
        }
    }
}

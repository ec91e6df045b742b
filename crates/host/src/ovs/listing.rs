//! The smaller listings of a bridge: `ovs-ofctl show`, `fdb/show`, `dump-groups`, `dump-meters`.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::action_print::print_actions;
use super::action_read::read_actions;
use super::bridge::{Bridge, FdbEntry, FdbKey};
use super::flow::{Bucket, Group};
use super::match_text::port_ref;
use super::matches::PortRef;
use crate::text::{Word, Words, lines, split_outside};
use crate::{Mac, ParseError, Shown};

/// OpenFlow's number of a bridge's own port.
const LOCAL: u32 = 65534;

/// A port as `ovs-ofctl show` lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownPort {
    pub number: u32,
    pub name: String,
    pub mac: Option<Mac>,
    /// What OpenFlow set of it: `NO_FWD`, `NO_RECV`, `NO_FLOOD`, …
    pub config: BTreeSet<String>,
}

/// Read `ovs-ofctl show`: ` 3(qvo933ea4df-57): addr:86:d3:b7:0b:46:b2`, and what is set below it.
pub fn read_ofctl_show(text: &str) -> Vec<ShownPort> {
    let mut ports: Vec<ShownPort> = Vec::new();
    for (_, line) in lines(text) {
        let config = line.trim_start().strip_prefix("config:");
        if let (Some(words), Some(port)) = (config, ports.last_mut()) {
            let set = words.split_whitespace().filter(|word| *word != "0");
            port.config = set.map(str::to_owned).collect();
        }
        ports.extend(shown_port(line));
    }
    ports
}

fn shown_port(line: &str) -> Option<ShownPort> {
    let (number, rest) = line.trim_start().split_once('(')?;
    let number = match number {
        "LOCAL" => LOCAL,
        number => number.parse().ok()?,
    };
    let (name, rest) = rest.split_once("): addr:")?;
    let mac = rest.split_whitespace().next().and_then(|m| m.parse().ok());
    Some(ShownPort {
        number,
        name: name.to_owned(),
        mac,
        config: BTreeSet::new(),
    })
}

/// Give interfaces the numbers that `ovs-ofctl show` lists, where the database said none, and what
/// is set of them.
pub fn fill_ofports(bridge: &mut Bridge, shown: &[ShownPort]) {
    for interfaces in bridge.ports.values_mut().map(|p| &mut p.interfaces) {
        for (name, interface) in interfaces {
            let Some(port) = shown.iter().find(|port| port.name == *name) else {
                continue;
            };
            interface.ofport.0.get_or_insert(port.number);
            interface.config.0.clone_from(&port.config);
            if let Some(mac) = port.mac.filter(|mac| *mac != Mac::ZERO) {
                interface.mac_in_use.0.get_or_insert(mac);
            }
        }
    }
}

/// Read `ovs-appctl fdb/show`.
pub fn read_fdb(text: &str) -> Result<BTreeMap<FdbKey, FdbEntry>, ParseError> {
    let mut fdb = BTreeMap::new();
    for (number, line) in lines(text) {
        if line.split_whitespace().next() == Some("port") {
            continue;
        }
        let (key, entry) = read_fdb_entry(line).map_err(|e| e.on_line(number))?;
        fdb.insert(key, entry);
    }
    Ok(fdb)
}

fn read_fdb_entry(line: &str) -> Result<(FdbKey, FdbEntry), ParseError> {
    let mut words = Words::new(line);
    let port = port_ref(words.need("a port")?.text);
    let key = FdbKey {
        vlan: words.need("a VLAN")?.parse("a VLAN")?,
        mac: words.need("a MAC")?.parse("a MAC")?,
    };
    let age = words.next().filter(|w| w.text != "static");
    let age = age.map(|w| w.parse("an age")).transpose()?;
    Ok((
        key,
        FdbEntry {
            port,
            age: Shown(age),
        },
    ))
}

/// A MAC table as `fdb/show` prints it.
pub fn print_fdb(fdb: &BTreeMap<FdbKey, FdbEntry>) -> String {
    let mut out = " port  VLAN  MAC                Age\n".to_owned();
    for (key, entry) in fdb {
        let age = entry
            .age
            .0
            .map_or("static".to_owned(), |age| age.to_string());
        let port = match &entry.port {
            PortRef::Name(name) => name.clone(),
            port => port.to_string(),
        };
        let _ = writeln!(out, "{port:>5}  {:>4}  {}  {age:>3}", key.vlan, key.mac);
    }
    out
}

/// Read `ovs-ofctl dump-groups`.
pub fn read_groups(text: &str) -> Result<BTreeMap<u32, Group>, ParseError> {
    let mut groups = BTreeMap::new();
    for (number, line) in lines(text) {
        let Some(at) = line.find("group_id=") else {
            continue;
        };
        let read = read_group(&line[at..]);
        let (id, group) = read.map_err(|e| e.on_line(number).shifted(at))?;
        groups.insert(id, group);
    }
    Ok(groups)
}

fn read_group(line: &str) -> Result<(u32, Group), ParseError> {
    // A bucket's actions run to the next bucket, commas and all.
    let mut parts = line.split(",bucket=");
    let head = parts.next().unwrap_or_default();
    let mut id = None;
    let mut group = Group::default();
    for part in split_outside(head, ',') {
        match part.text.split_once('=') {
            Some(("group_id", text)) => {
                let word = Word { at: part.at, text };
                id = Some(word.parse("a group")?);
            }
            Some(("type", kind)) => kind.clone_into(&mut group.kind),
            _ => group.properties.push(part.text.to_owned()),
        }
    }
    group.buckets = parts.map(read_bucket).collect();
    let id = id.ok_or_else(|| ParseError::new(1, 0, "a group has no id"))?;
    Ok((id, group))
}

fn read_bucket(text: &str) -> Bucket {
    let mut bucket = Bucket::default();
    let (head, actions) = match text.split_once("actions=") {
        Some((head, actions)) => (head, actions),
        None => ("", text),
    };
    bucket.actions = read_actions(actions);
    for part in head.split(',') {
        match part.split_once([':', '=']) {
            Some(("bucket_id", id)) => bucket.id = id.parse().ok(),
            Some(("weight", weight)) => bucket.weight = weight.parse().ok(),
            Some(("watch_port", port)) => bucket.watch_port = Some(port_ref(port)),
            Some(("watch_group", group)) => bucket.watch_group = group.parse().ok(),
            _ => {}
        }
    }
    bucket
}

/// A group as `ovs-ofctl add-group` takes it.
pub fn print_group(id: u32, group: &Group) -> String {
    let mut out = format!("group_id={id},type={}", group.kind);
    for property in &group.properties {
        let _ = write!(out, ",{property}");
    }
    for bucket in &group.buckets {
        out.push_str(",bucket=");
        for (name, value) in [
            ("bucket_id", bucket.id.map(|id| id.to_string())),
            ("weight", bucket.weight.map(|weight| weight.to_string())),
            (
                "watch_port",
                bucket.watch_port.as_ref().map(PortRef::to_string),
            ),
            (
                "watch_group",
                bucket.watch_group.map(|group| group.to_string()),
            ),
        ] {
            if let Some(value) = value {
                let _ = write!(out, "{name}:{value},");
            }
        }
        let _ = write!(out, "actions={}", print_actions(&bucket.actions));
    }
    out
}

/// Read `ovs-ofctl dump-meters`: each meter's line, and those of its bands, as they stood.
pub fn read_meters(text: &str) -> BTreeMap<u32, String> {
    let mut meters: BTreeMap<u32, String> = BTreeMap::new();
    let mut last = None;
    for (_, line) in lines(text) {
        let line = line.trim();
        if let Some(rest) = line.strip_prefix("meter=") {
            let (id, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            last = id.parse().ok();
            meters.extend(last.map(|id| (id, rest.to_owned())));
        } else if let Some(meter) = last.and_then(|id| meters.get_mut(&id)) {
            meter.push(' ');
            meter.push_str(line);
        }
    }
    meters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ovs::{Interface, Port};
    use proptest::prelude::*;

    #[test]
    fn ports_get_the_numbers_that_were_shown() {
        let text = "OFPT_FEATURES_REPLY (OF1.3) (xid=0x2): dpid:00008a13e56de745\n 3(qvo1): addr:86:d3:b7:0b:46:b2\n     config:     NO_RECV NO_FWD\n     state:      LIVE\n LOCAL(br-int): addr:8a:13:e5:6d:e7:45\n     config:     0\n";
        let mut bridge = Bridge::default();
        let interfaces = [("qvo1".to_owned(), Interface::default())].into();
        let port = Port {
            interfaces,
            ..Port::default()
        };
        bridge.ports.insert("qvo1".into(), port.into());
        fill_ofports(&mut bridge, &read_ofctl_show(text));
        assert_eq!(bridge.ofport("qvo1"), Some(3));
        assert_eq!(bridge.port_name(3), Some("qvo1"));
        let shown = read_ofctl_show(text);
        assert_eq!((shown[1].number, shown[1].config.len()), (65534, 0));
        let set = &bridge.interface("qvo1").expect("it").config.0;
        assert_eq!(set.iter().collect::<Vec<_>>(), ["NO_FWD", "NO_RECV"]);
    }

    #[test]
    fn a_mac_table_is_printed_as_it_was_read() {
        let text = " port  VLAN  MAC                Age\n    3     1  46:58:b9:e7:a8:f4  140\nLOCAL     2  fa:16:3e:00:00:15   11\n";
        assert_eq!(print_fdb(&read_fdb(text).unwrap()), text);
        assert!(read_fdb("    3     x  46:58:b9:e7:a8:f4  140").is_err());
    }

    #[test]
    fn groups_are_printed_as_they_were_read() {
        let line = "group_id=7,type=select,selection_method=dp_hash,bucket=bucket_id:0,weight:100,actions=ct(commit,zone=1),output:1,bucket=bucket_id:1,actions=drop";
        let text = format!("OFPST_GROUP_DESC reply (OF1.3) (xid=0x2):\n {line}\n");
        let groups = read_groups(&text).unwrap();
        assert_eq!(print_group(7, &groups[&7]), line);
        assert!(read_groups("group_id=x").is_err());
        let meters = read_meters("meter=3 kbps burst bands=\ntype=drop rate=1\n");
        assert_eq!(meters[&3], "kbps burst bands= type=drop rate=1");
    }

    proptest! {
        #[test]
        fn no_text_makes_them_panic(text in any::<String>()) {
            let _ = (read_ofctl_show(&text), read_fdb(&text), read_groups(&text));
            let _ = (read_meters(&text), read_groups(&format!("group_id=1,{text}")));
        }
    }
}

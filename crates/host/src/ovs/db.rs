//! OVSDB's rows, in JSON (`ovs-vsctl --format=json list`) and as `ovs-vsctl list` prints them,
//! and the bridges that they describe.
use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::bridge::{Bridge, Interface, Port, VlanMode};
use crate::text::{lines, quote, split_outside, unquote};
use crate::{Mac, ParseError};

/// A column's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Atom(String),
    Set(Vec<String>),
    Map(BTreeMap<String, String>),
}

/// One row by column.
pub type Row = BTreeMap<String, Value>;

impl Value {
    /// The only element; an empty set has none.
    pub fn atom(&self) -> Option<&str> {
        match self {
            Value::Atom(text) => Some(text),
            Value::Set(items) => items.first().map(String::as_str),
            Value::Map(_) => None,
        }
    }

    /// All elements: an atom is a set of one.
    pub fn set(&self) -> &[String] {
        match self {
            Value::Atom(text) => std::slice::from_ref(text),
            Value::Set(items) => items,
            Value::Map(_) => &[],
        }
    }

    pub fn map(&self) -> BTreeMap<String, String> {
        match self {
            Value::Map(map) => map.clone(),
            _ => BTreeMap::new(),
        }
    }

    /// A value as the OVSDB protocol writes it: an atom, `["set",[…]]`, `["map",[…]]`.
    pub fn from_json(json: &Json) -> Option<Value> {
        let tagged = json.as_array().filter(|a| a.len() == 2);
        let Some([tag, inside]) = tagged.map(Vec::as_slice) else {
            return json_atom(json).map(Value::Atom);
        };
        match tag.as_str()? {
            "set" => {
                let items = inside.as_array()?.iter().map(json_atom);
                items.collect::<Option<_>>().map(Value::Set)
            }
            "map" => {
                let pairs = inside.as_array()?.iter().map(|pair| {
                    let [key, value] = pair.as_array()?.as_slice() else {
                        return None;
                    };
                    Some((json_atom(key)?, json_atom(value)?))
                });
                pairs.collect::<Option<_>>().map(Value::Map)
            }
            _ => json_atom(json).map(Value::Atom),
        }
    }
}

fn json_atom(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(bool) => Some(bool.to_string()),
        Json::Array(pair) => match pair.as_slice() {
            [Json::String(tag), Json::String(uuid)] if tag == "uuid" || tag == "named-uuid" => {
                Some(uuid.clone())
            }
            _ => None,
        },
        _ => None,
    }
}

/// Read a table in JSON: `{"headings":[…],"data":[[…]]}`.
pub fn read_table_json(text: &str) -> Result<Vec<Row>, ParseError> {
    let json: Json = serde_json::from_str(text)
        .map_err(|e| ParseError::new(e.line().max(1), e.column().max(1) - 1, e))?;
    let wrong = |what: &str| ParseError::new(1, 0, format!("the table has no {what}"));
    let headings = json["headings"]
        .as_array()
        .ok_or_else(|| wrong("headings"))?;
    let data = json["data"].as_array().ok_or_else(|| wrong("data"))?;
    let row = |cells: &Json| {
        let cells = cells.as_array()?;
        let named = headings
            .iter()
            .zip(cells)
            .map(|(name, cell)| Some((name.as_str()?.to_owned(), Value::from_json(cell)?)));
        named.collect::<Option<Row>>()
    };
    let rows = data.iter().map(row);
    rows.collect::<Option<_>>()
        .ok_or_else(|| wrong("proper cells"))
}

/// Read `ovs-vsctl list TABLE`: `column : value`, rows apart by an empty line.
pub fn read_table_text(text: &str) -> Result<Vec<Row>, ParseError> {
    let mut rows = vec![Row::new()];
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            rows.push(Row::new());
            continue;
        }
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| ParseError::new(number + 1, line.len(), "a column has no ':'"))?;
        let row = rows.last_mut().into_iter();
        row.for_each(|row| {
            row.insert(name.trim().to_owned(), read_value(value.trim()));
        });
    }
    rows.retain(|row| !row.is_empty());
    Ok(rows)
}

/// `atom`, `[a, b]`, `{key=value, …}`.
pub(super) fn read_value(text: &str) -> Value {
    let inside = |open, close| text.strip_prefix(open)?.strip_suffix(close);
    let parts = |inside: &str| -> Vec<String> {
        let parts = split_outside(inside, ',').into_iter();
        let parts = parts.map(|part| part.text.trim().to_owned());
        parts.filter(|part| !part.is_empty()).collect()
    };
    if let Some(inside) = inside('[', ']') {
        return Value::Set(parts(inside).iter().map(|part| unquote(part)).collect());
    }
    if let Some(inside) = inside('{', '}') {
        let pair = |part: &String| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (unquote(key), unquote(value))
        };
        return Value::Map(parts(inside).iter().map(pair).collect());
    }
    Value::Atom(unquote(text))
}

/// A map as `ovs-vsctl` prints and takes it: bare words bare, others in quotes.
pub fn print_map(map: &BTreeMap<String, String>) -> String {
    let pairs = map
        .iter()
        .map(|(k, v)| format!("{}={}", print_atom(k), print_atom(v)));
    format!("{{{}}}", pairs.collect::<Vec<_>>().join(", "))
}

/// An atom as `ovs-vsctl` prints it: quoted unless it is a word that cannot be taken for another type.
pub fn print_atom(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let is_uuid = text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    let bare = first && !is_uuid && text.chars().all(plain) && !matches!(text, "true" | "false");
    match bare {
        true => text.to_owned(),
        false => quote(text),
    }
}

/// The rows that describe a host's bridges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    pub bridges: Vec<Row>,
    pub ports: Vec<Row>,
    pub interfaces: Vec<Row>,
    pub controllers: Vec<Row>,
}

fn text(row: &Row, column: &str) -> Option<String> {
    let text = row.get(column)?.atom()?;
    Some(text.to_owned()).filter(|t| !t.is_empty())
}

fn number<T: std::str::FromStr>(row: &Row, column: &str) -> Option<T> {
    text(row, column)?.parse().ok()
}

fn mac(row: &Row, column: &str) -> Option<Mac> {
    text(row, column)?.parse().ok()
}

fn map(row: &Row, column: &str) -> BTreeMap<String, String> {
    row.get(column).map(Value::map).unwrap_or_default()
}

fn set(row: &Row, column: &str) -> BTreeSet<String> {
    let value = row.get(column);
    value
        .map(|v| v.set().iter().cloned().collect())
        .unwrap_or_default()
}

impl Tables {
    /// The bridges that the rows describe, put together by the rows' own references.
    pub fn bridges(&self) -> BTreeMap<String, Bridge> {
        let mut bridges = BTreeMap::new();
        for row in &self.bridges {
            let Some(name) = text(row, "name") else {
                continue;
            };
            let mut bridge = Bridge::default();
            let ports = set(row, "ports");
            for port_row in self.ports.iter().filter(|r| is_in(r, &ports)) {
                let Some(name) = text(port_row, "name") else {
                    continue;
                };
                let mut port = Port::default();
                let interfaces = set(port_row, "interfaces");
                for row in self.interfaces.iter().filter(|r| is_in(r, &interfaces)) {
                    let name = text(row, "name").unwrap_or_default();
                    port.interfaces.insert(name, Interface::default());
                }
                bridge.ports.insert(name, port.into());
            }
            let controllers = set(row, "controller");
            let controllers = self.controllers.iter().filter(|r| is_in(r, &controllers));
            bridge.controllers = controllers.filter_map(|r| text(r, "target")).collect();
            bridges.insert(name, bridge);
        }
        self.enrich(&mut bridges);
        bridges
    }

    /// Fill in, by name, what the rows know of bridges, ports and interfaces.
    pub fn enrich(&self, bridges: &mut BTreeMap<String, Bridge>) {
        for row in &self.bridges {
            let name = text(row, "name").unwrap_or_default();
            if let Some(bridge) = bridges.get_mut(&name) {
                fill_bridge(bridge, row);
            }
        }
        let ports: BTreeMap<_, _> = by_name(&self.ports).collect();
        let interfaces: BTreeMap<_, _> = by_name(&self.interfaces).collect();
        for bridge in bridges.values_mut() {
            for (name, port) in &mut bridge.ports {
                if let Some(row) = ports.get(name) {
                    fill_port(port, row);
                }
                for (name, interface) in &mut port.interfaces {
                    if let Some(row) = interfaces.get(name) {
                        fill_interface(interface, row);
                    }
                }
            }
        }
    }
}

fn is_in(row: &Row, uuids: &BTreeSet<String>) -> bool {
    text(row, "_uuid").is_some_and(|uuid| uuids.contains(&uuid))
}

fn by_name(rows: &[Row]) -> impl Iterator<Item = (String, &Row)> {
    rows.iter()
        .filter_map(|row| Some((text(row, "name")?, row)))
}

fn fill_bridge(bridge: &mut Bridge, row: &Row) {
    bridge.datapath_type = text(row, "datapath_type").unwrap_or_default();
    bridge.fail_mode = text(row, "fail_mode");
    bridge.protocols = set(row, "protocols");
    bridge.other_config = map(row, "other_config");
    bridge.external_ids = map(row, "external_ids");
    bridge.datapath_id.0 = text(row, "datapath_id");
}

fn fill_port(port: &mut Port, row: &Row) {
    port.tag = number(row, "tag");
    port.vlan_mode = text(row, "vlan_mode").and_then(|mode| VlanMode::by_name(&mode));
    let trunks = set(row, "trunks");
    port.trunks = trunks.iter().filter_map(|vlan| vlan.parse().ok()).collect();
    port.other_config = map(row, "other_config");
    port.external_ids = map(row, "external_ids");
}

fn fill_interface(interface: &mut Interface, row: &Row) {
    interface.kind = text(row, "type").unwrap_or_default();
    interface.options = map(row, "options");
    interface.other_config = map(row, "other_config");
    interface.external_ids = map(row, "external_ids");
    interface.mac = mac(row, "mac");
    interface.mtu_request = number(row, "mtu_request");
    interface.ofport_request = number(row, "ofport_request");
    interface.ofport.0 = number(row, "ofport");
    interface.mac_in_use.0 = mac(row, "mac_in_use");
    interface.mtu.0 = number(row, "mtu");
    interface.error.0 = text(row, "error");
    interface.admin_state.0 = text(row, "admin_state");
    interface.link_state.0 = text(row, "link_state");
}

const VLAN_MODES: [(&str, VlanMode); 5] = [
    ("access", VlanMode::Access),
    ("trunk", VlanMode::Trunk),
    ("native-tagged", VlanMode::NativeTagged),
    ("native-untagged", VlanMode::NativeUntagged),
    ("dot1q-tunnel", VlanMode::Dot1qTunnel),
];

impl VlanMode {
    pub fn by_name(name: &str) -> Option<VlanMode> {
        let row = VLAN_MODES.iter().find(|(known, _)| *known == name);
        row.map(|(_, mode)| *mode)
    }

    pub fn name(self) -> &'static str {
        let row = VLAN_MODES.iter().find(|(_, mode)| *mode == self);
        row.map_or("", |(name, _)| name)
    }
}

/// Read `ovs-vsctl show`.
pub fn read_show(text: &str) -> Result<BTreeMap<String, Bridge>, ParseError> {
    let mut bridges: BTreeMap<String, Bridge> = BTreeMap::new();
    let (mut bridge, mut port, mut interface) = (None::<String>, None::<String>, None::<String>);
    for (number, line) in lines(text) {
        let (word, rest) = line.trim().split_once(' ').unwrap_or((line.trim(), ""));
        let rest = unquote(rest.trim());
        match word {
            "Bridge" => {
                bridges.entry(rest.clone()).or_default();
                (bridge, port, interface) = (Some(rest), None, None);
                continue;
            }
            "Port" => (port, interface) = (Some(rest), None),
            "Interface" => interface = Some(rest),
            "Controller" | "fail_mode:" | "datapath_type:" => {
                let found = bridge.as_ref().and_then(|name| bridges.get_mut(name));
                if let Some(found) = found {
                    show_bridge(found, word, rest);
                }
                continue;
            }
            _ => {}
        }
        let Some(found) = bridge.as_ref().and_then(|name| bridges.get_mut(name)) else {
            continue;
        };
        let Some(port_name) = &port else { continue };
        let port = found.ports.entry(port_name.clone()).or_default();
        match (&interface, word) {
            (Some(name), "Interface") => {
                drop(port.interfaces.insert(name.clone(), Interface::default()))
            }
            (_, "Port" | "is_connected:") => {}
            (Some(name), _) => {
                let interface = port.interfaces.entry(name.clone()).or_default();
                show_interface(interface, line.trim());
            }
            (None, _) => show_port(port, line.trim()).map_err(|e| e.on_line(number))?,
        }
    }
    Ok(bridges)
}

fn show_bridge(bridge: &mut Bridge, word: &str, value: String) {
    match word {
        "Controller" => drop(bridge.controllers.insert(value)),
        "fail_mode:" => bridge.fail_mode = Some(value),
        _ => bridge.datapath_type = value,
    }
}

fn show_port(port: &mut Port, line: &str) -> Result<(), ParseError> {
    let Some((name, value)) = line.split_once(": ") else {
        return Ok(());
    };
    match name {
        "tag" => {
            let tag = value.trim().parse();
            let tag = tag.map_err(|_| ParseError::new(1, 0, format!("'{value}' is not a tag")))?;
            port.tag = Some(tag);
        }
        "vlan_mode" => port.vlan_mode = VlanMode::by_name(value.trim()),
        "trunks" => {
            let value = read_value(value.trim());
            port.trunks = value.set().iter().filter_map(|v| v.parse().ok()).collect();
        }
        _ => {}
    }
    Ok(())
}

fn show_interface(interface: &mut Interface, line: &str) {
    let Some((name, value)) = line.split_once(": ") else {
        return;
    };
    match name {
        "type" => interface.kind = unquote(value.trim()),
        "options" => interface.options = read_value(value.trim()).map(),
        "error" => interface.error.0 = Some(unquote(value.trim())),
        _ => {}
    }
}

/// Bridges as `ovs-vsctl show` prints them.
pub fn print_show(bridges: &BTreeMap<String, Bridge>) -> String {
    let mut out: Vec<String> = Vec::new();
    for (name, bridge) in bridges {
        out.push(format!("    Bridge {name}"));
        for target in &bridge.controllers {
            out.push(format!("        Controller {}", quote(target)));
        }
        let fail_mode = bridge.fail_mode.iter();
        out.extend(fail_mode.map(|mode| format!("        fail_mode: {mode}")));
        if !bridge.datapath_type.is_empty() {
            out.push(format!("        datapath_type: {}", bridge.datapath_type));
        }
        for (name, port) in &bridge.ports {
            print_port(&mut out, name, port);
        }
    }
    out.iter().map(|line| format!("{line}\n")).collect()
}

fn print_port(out: &mut Vec<String>, name: &str, port: &Port) {
    out.push(format!("        Port {name}"));
    out.extend(port.tag.map(|tag| format!("            tag: {tag}")));
    if !port.trunks.is_empty() {
        let trunks: Vec<String> = port.trunks.iter().map(u16::to_string).collect();
        out.push(format!("            trunks: [{}]", trunks.join(", ")));
    }
    let mode = port.vlan_mode.map(VlanMode::name);
    out.extend(mode.map(|mode| format!("            vlan_mode: {mode}")));
    for (name, interface) in &port.interfaces {
        out.push(format!("            Interface {name}"));
        if !interface.kind.is_empty() {
            out.push(format!("                type: {}", interface.kind));
        }
        if !interface.options.is_empty() {
            let options = print_map(&interface.options);
            out.push(format!("                options: {options}"));
        }
        let error = interface.error.0.iter();
        out.extend(error.map(|e| format!("                error: {}", quote(e))));
    }
}

//! Bodies out of the attribute tables: each attribute with a value that may do, by its name or by
//! what it is checked for; then as much of it spoilt as chance will have.

use intent::attrs::{Attr, Is, Table};
use serde_json::{Map, Value, json};

use crate::{chance::Chance, request::Ids};

pub(crate) const PROJECTS: [&str; 4] = [
    "e6f84c3a75674fecbe2663df4abbc4ac",
    "f3a6abf355aa45438bc16c10fc559688",
    "bc51b510aec8479d9a995ef37797f66a",
    "p",
];

const TEXTS: [&str; 26] = [
    "",
    "a",
    "default",
    "None",
    "null",
    "0",
    "-1",
    "true",
    "[]",
    "10.0.0.1",
    "10.0.0.0/8",
    "::",
    "fd00::/64",
    "00:00:00:00:00:00",
    "fa:16:3e:00:00:01",
    "00000000-0000-0000-0000-00000000dead",
    "*",
    "%s",
    "'; DROP TABLE ports; --",
    "\u{0}",
    "\u{feff}\u{202e}x",
    "ß\u{301}𝔘",
    "../../etc/passwd",
    "a.b.c.example.",
    "network:router_interface",
    "compute:nova",
];

/// Anything at all.
pub(crate) fn junk(chance: &mut Chance, depth: usize) -> Value {
    match chance.below(if depth == 0 { 9 } else { 12 }) {
        0 => Value::Null,
        1 => chance.one_in(2).into(),
        2 => json!(chance.below(70_000)),
        3 => json!(-1 - i64::try_from(chance.below(9)).unwrap_or_default()),
        4 => json!(chance.bits()),
        5 => json!(f64::from_bits(chance.bits())),
        6 | 7 => (*chance.of(&TEXTS)).into(),
        8 => "x".repeat(chance.below(300)).into(),
        9 => (0..chance.below(4))
            .map(|_| junk(chance, depth - 1))
            .collect(),
        10 => {
            let pairs = (0..chance.below(4)).map(|_| {
                let name = (*chance.of(&KEYS)).to_owned();
                (name, junk(chance, depth - 1))
            });
            Value::Object(pairs.collect())
        }
        _ => many(chance),
    }
}

/// Keys that dictionaries within values have.
const KEYS: [&str; 16] = [
    "id",
    "network_id",
    "subnet_id",
    "port_id",
    "ip_address",
    "mac_address",
    "start",
    "end",
    "destination",
    "nexthop",
    "opt_name",
    "opt_value",
    "external_fixed_ips",
    "enable_snat",
    "provider:network_type",
    "x",
];

/// A long list, or a deep one.
fn many(chance: &mut Chance) -> Value {
    if chance.one_in(2) {
        let item = junk(chance, 0);
        return vec![item; chance.below(600)].into();
    }
    (0..chance.below(100)).fold(json!([]), |inner, _| json!([inner]))
}

fn ipv4(chance: &mut Chance) -> String {
    format!(
        "10.{}.{}.{}",
        chance.below(4),
        chance.below(3),
        chance.below(256)
    )
}

fn cidr(chance: &mut Chance) -> String {
    match chance.below(5) {
        0 => format!("fd00:{:x}::/64", chance.below(30)),
        1 => format!("{}/{}", ipv4(chance), chance.below(34)),
        _ => format!("10.{}.{}.0/24", chance.below(40), chance.below(40)),
    }
}

fn mac(chance: &mut Chance) -> String {
    format!("fa:16:3e:00:00:{:02x}", chance.below(256))
}

/// The resource that an attribute of this name is the id of.
fn referred(name: &str) -> Option<&'static str> {
    Some(match name {
        "network_id" | "floating_network_id" | "object_id" => "network",
        "subnet_id" => "subnet",
        "port_id" => "port",
        "router_id" | "device_id" => "router",
        "security_group_id" | "remote_group_id" => "security_group",
        "remote_address_group_id" => "address_group",
        "address_scope_id" => "address_scope",
        "subnetpool_id" => "subnetpool",
        "segment_id" => "segment",
        _ => return None,
    })
}

/// A value that may do.
pub(crate) fn fitting(chance: &mut Chance, ids: &Ids, attr: &Attr) -> Value {
    if let Some(kind) = referred(attr.name) {
        return ids.any(chance, kind).into();
    }
    match attr.name {
        "tenant_id" | "project_id" => return (*chance.of(&PROJECTS)).into(),
        "ip_version" => return (*chance.of(&[4, 4, 4, 6])).into(),
        "cidr" => return cidr(chance).into(),
        "prefixes" => return json!([format!("10.{}.0.0/16", chance.below(250))]),
        "device_owner" => return (*chance.of(&["", "compute:nova", "network:dhcp"])).into(),
        "binding:host_id" | "host" => return (*chance.of(&["host-1", "host-2", ""])).into(),
        "protocol" => return (*chance.of(&["tcp", "udp", "icmp", "6"])).into(),
        "port_range_min" => return json!(1 + chance.below(100)),
        "port_range_max" => return json!(100 + chance.below(100)),
        "provider:network_type" => return (*chance.of(&["vxlan", "vlan", "gre"])).into(),
        "provider:physical_network" => return "physnet1".into(),
        "provider:segmentation_id" => return json!(100 + chance.below(200)),
        "prefixlen" | "default_prefixlen" => return json!(24 + chance.below(4)),
        "object_type" => return "network".into(),
        "action" => return (*chance.of(&["access_as_shared", "access_as_external"])).into(),
        "mtu" => return json!(1280 + chance.below(100)),
        _ => {}
    }
    match attr.validate {
        Some(is) => of_kind(chance, ids, is),
        None => {
            (*chance.of(&[json!(true), json!(false), json!(4), json!("x"), Value::Null])).clone()
        }
    }
}

fn of_kind(chance: &mut Chance, ids: &Ids, is: Is) -> Value {
    match is {
        Is::Boolean => chance.one_in(2).into(),
        Is::Words(words) => chance.of(words).value(),
        Is::Range(low, high) => (*chance.of(&[low, high])).into(),
        Is::NonNegative => json!(chance.below(2_000)),
        Is::Uuid | Is::UuidOrNone | Is::SubnetPoolIdOrNone => ids.any(chance, "network").into(),
        Is::UuidList => json!([ids.any(chance, "security_group")]),
        Is::UniqueTexts(_) | Is::ServiceTypes => json!(["compute:nova"]),
        Is::Mac => mac(chance).into(),
        Is::IpOrNone => ipv4(chance).into(),
        Is::SubnetOrNone => cidr(chance).into(),
        Is::SubnetList => json!([cidr(chance), cidr(chance)]),
        Is::IpPools => json!([{"start": ipv4(chance), "end": ipv4(chance)}]),
        Is::Nameservers => json!([ipv4(chance)]),
        Is::HostRoutes => json!([{"destination": cidr(chance), "nexthop": ipv4(chance)}]),
        Is::FixedIps => match chance.below(3) {
            0 => json!([{"ip_address": ipv4(chance)}]),
            1 => json!([{"subnet_id": ids.any(chance, "subnet"), "ip_address": ipv4(chance)}]),
            _ => json!([{"subnet_id": ids.any(chance, "subnet")}]),
        },
        Is::AddressPairs => json!([{"ip_address": cidr(chance), "mac_address": mac(chance)}]),
        Is::ZoneHints => json!([]),
        Is::DnsDomain(_) => "fuzz.example.".into(),
        Is::DnsHost(_) => "name".into(),
        Is::DictOrNone | Is::Hints => json!({"k": "v"}),
        Is::DhcpOptions => json!([{"opt_name": "mtu", "opt_value": "1400"}]),
        Is::GatewayInfo => json!({"network_id": ids.any(chance, "network"),
            "enable_snat": chance.one_in(2)}),
        Is::Segments => json!([{"provider:network_type": "vxlan"}]),
        Is::TargetProject => (*chance.of(&["*", PROJECTS[0]])).into(),
        Is::Text(_)
        | Is::TextOrNone(_)
        | Is::Name(_)
        | Is::NameOrNone(_)
        | Is::NameNotDefault(_)
        | Is::NotEmptyName => format!("n{}", chance.below(9)).into(),
    }
}

/// Attributes of a resource, as a request would give them. What is required is mostly there.
pub(crate) fn attributes(
    chance: &mut Chance,
    ids: &Ids,
    table: &Table,
    creates: bool,
) -> Map<String, Value> {
    let may = |attr: &&Attr| {
        if creates {
            attr.allow_post
        } else {
            attr.allow_put
        }
    };
    let given = table.attrs.iter().filter(may);
    let mut body = Map::new();
    for attr in given {
        let required = creates && matches!(attr.default, intent::attrs::Default::Required);
        if (required && !chance.one_in(40)) || chance.one_in(7) {
            body.insert(attr.name.to_owned(), fitting(chance, ids, attr));
        }
    }
    // A wrong type for one of them, whichever the attribute.
    if chance.one_in(6) {
        let attr = chance.of(table.attrs);
        body.insert(attr.name.to_owned(), junk(chance, 3));
    }
    body
}

/// Puts something else somewhere in it.
pub(crate) fn spoil(chance: &mut Chance, value: &mut Value) {
    let deeper = !chance.one_in(3);
    match value {
        Value::Object(map) if deeper && !map.is_empty() => {
            let at = chance.below(map.len());
            let inner = map.values_mut().nth(at);
            spoil(chance, inner.expect("within the map"));
        }
        Value::Array(items) if deeper && !items.is_empty() => {
            let at = chance.below(items.len());
            spoil(chance, &mut items[at]);
        }
        Value::Object(map) if chance.one_in(2) => {
            map.insert((*chance.of(&KEYS)).to_owned(), junk(chance, 2));
        }
        Value::Array(items) if chance.one_in(2) => {
            items.push(junk(chance, 2));
            let twice = items[0].clone();
            items.push(twice);
        }
        _ => *value = junk(chance, 3),
    }
}

//! Checks of lists of objects, and of the objects in them: what stands under which key.

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::{Map, Value};

use super::{Checked, Is, Reason, ip, items, list, mac, of, own, uuid};
use crate::attrs::{
    To,
    convert::{int, read_cidr},
    draft::{BadInput, bad_request, quoted},
    python,
};

pub(super) fn each(
    value: &mut Value,
    what: &str,
    check: fn(&Map<String, Value>) -> Checked,
) -> Checked {
    let format = |value: &Value| {
        Reason::Of(format!(
            "Invalid data format for {what}: '{}'.",
            python::str(value)
        ))
    };
    let Some(items) = value.as_array() else {
        return Err(format(value));
    };
    for item in items {
        check(item.as_object().ok_or_else(|| format(item))?)?;
    }
    Ok(())
}

/// Exactly these keys; the sentence shows them as Python shows sets.
fn keys(map: &Map<String, Value>, expected: [&str; 2]) -> Checked {
    if map.len() == 2 && expected.iter().all(|key| map.contains_key(*key)) {
        return Ok(());
    }
    let set = |names: Vec<&str>| {
        let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        format!("{{{}}}", names.join(", "))
    };
    Err(Reason::Of(format!(
        "Validation of dictionary's keys failed. Expected keys: {} Provided keys: {}.",
        set(expected.to_vec()),
        set(map.keys().map(String::as_str).collect()),
    )))
}

pub(super) fn pool(map: &Map<String, Value>) -> Checked {
    keys(map, ["start", "end"])?;
    ip(&map["start"])?;
    ip(&map["end"])
}

pub(super) fn nameservers(value: &mut Value) -> Checked {
    let servers = items(value, "is not a valid nameserver list.")
        .map_err(|_| Reason::Of("Invalid data format for nameserver.".to_owned()))?;
    let mut seen = BTreeSet::new();
    for server in servers.iter() {
        if let Err(Reason::Of(why)) = ip(server) {
            return of(server, &format!("is not a valid nameserver. {why}"));
        }
        if !seen.insert(server.to_string()) {
            return Err(Reason::Of(format!(
                "Duplicate nameserver '{}'.",
                python::str(server)
            )));
        }
    }
    Ok(())
}

pub(super) fn host_routes(value: &mut Value) -> Checked {
    each(value, "hostroute", |route| {
        keys(route, ["nexthop", "destination"])?;
        let destination = &route["destination"];
        if destination.as_str().and_then(read_cidr).is_none() {
            return of(destination, "is not a valid CIDR.");
        }
        ip(&route["nexthop"])
    })?;
    let mut seen = BTreeSet::new();
    for route in value.as_array().into_iter().flatten() {
        if !seen.insert(route.to_string()) {
            return Err(Reason::Of(format!(
                "Duplicate hostroute '{}'.",
                python::repr(route)
            )));
        }
    }
    Ok(())
}

pub(super) fn fixed_ips(value: &mut Value) -> Checked {
    each(value, "fixed IP", |fixed| {
        if let Some(id) = fixed.get("subnet_id") {
            uuid(id)?;
        }
        fixed.get("ip_address").map_or(Ok(()), ip)
    })?;
    let mut seen = BTreeSet::new();
    for fixed in value.as_array_mut().into_iter().flatten() {
        let Some(address) = fixed.get_mut("ip_address") else {
            continue;
        };
        if let Some(parsed) = address.as_str().and_then(|it| it.parse::<IpAddr>().ok()) {
            *address = parsed.to_string().into();
        }
        if !seen.insert(address.to_string()) {
            return Err(Reason::Of(format!(
                "Duplicate IP address '{}'.",
                python::str(address)
            )));
        }
    }
    Ok(())
}

/// How many pairs a port may have, Neutron's `max_allowed_address_pair`.
const MAX_PAIRS: usize = 10;

pub(super) fn address_pairs(value: &mut Value) -> Checked {
    let pairs = items(value, "is not a list.")
        .map_err(|_| Reason::Own(bad_request("Allowed address pairs must be a list.")))?;
    if pairs.len() > MAX_PAIRS {
        return Err(own(
            "AllowedAddressPairExhausted",
            format!("The number of allowed address pair exceeds the maximum {MAX_PAIRS}."),
        ));
    }
    let mut seen = BTreeSet::new();
    for pair in pairs.iter_mut() {
        let (mac, address) = address_pair(pair)?;
        if !seen.insert((mac.clone(), address.clone())) {
            return Err(own(
                "DuplicateAddressPairInRequest",
                format!(
                    "Request contains duplicate address pair: mac_address {} ip_address {address}.",
                    mac.as_deref().unwrap_or("None")
                ),
            ));
        }
    }
    Ok(())
}

fn address_pair(pair: &mut Value) -> Result<(Option<String>, String), Reason> {
    let plain = |reason: Reason| match reason {
        Reason::Of(text) => Reason::Own(bad_request(text.trim_end_matches('.'))),
        own => own,
    };
    let Some(map) = pair.as_object_mut() else {
        let format = format!(
            "Invalid data format for allowed address pair: '{}'",
            python::str(pair)
        );
        return Err(Reason::Own(bad_request(format)));
    };
    let unknown: Vec<&str> = map
        .keys()
        .map(String::as_str)
        .filter(|key| !matches!(*key, "mac_address" | "ip_address"))
        .collect();
    if !unknown.is_empty() {
        let unknown = unknown.join(", ");
        return Err(Reason::Own(bad_request(format!(
            "Unrecognized attribute(s) '{unknown}'"
        ))));
    }
    let given = match map.get_mut("mac_address") {
        None => None,
        Some(given) => {
            mac(given).map_err(plain)?;
            given.as_str().map(str::to_owned)
        }
    };
    let Some(address) = map.get("ip_address") else {
        return Err(own(
            "AllowedAddressPairsMissingIP",
            "AllowedAddressPair must contain ip_address".to_owned(),
        ));
    };
    if address.as_str().and_then(read_cidr).is_none() {
        return Err(plain(Reason::Of(quoted(
            address,
            "is not a valid IP address",
        ))));
    }
    Ok((given, python::str(address)))
}

pub(super) fn dict(value: &Value) -> Result<&Map<String, Value>, Reason> {
    match value.as_object() {
        Some(map) => Ok(map),
        None => of(value, "is not a dictionary."),
    }
}

/// Options whose value may be empty; for all others an empty value would say nothing.
const FREE_OPTIONS: [&str; 2] = ["router", "classless-static-route"];

pub(super) fn dhcp_options(value: &mut Value) -> Checked {
    for option in list(value)? {
        if !is_dhcp_option(option) {
            return Err(Reason::Own(BadInput::operation(format!(
                "No valid key specs matched for: {}",
                python::repr(option)
            ))));
        }
        if let Some(version) = option.get_mut("ip_version") {
            *version = int(version)?.into();
        }
    }
    Ok(())
}

fn is_dhcp_option(option: &Value) -> bool {
    let Some(map) = option.as_object() else {
        return false;
    };
    let known = map
        .keys()
        .all(|key| matches!(key.as_str(), "opt_name" | "opt_value" | "ip_version"));
    let name = map.get("opt_name").and_then(Value::as_str).unwrap_or("");
    let named = !name.trim().is_empty() && name.chars().count() <= 64;
    let valued = match map.get("opt_value") {
        Some(Value::Null) => true,
        Some(Value::String(text)) => {
            text.chars().count() <= 255 && (FREE_OPTIONS.contains(&name) || !text.trim().is_empty())
        }
        _ => false,
    };
    let version = map
        .get("ip_version")
        .is_none_or(|it| int(it).is_ok_and(|version| matches!(version, 4 | 6)));
    known && named && valued && version
}

pub(super) fn gateway_info(value: &mut Value) -> Checked {
    const KEYS: [&str; 4] = [
        "network_id",
        "enable_snat",
        "external_fixed_ips",
        "qos_policy_id",
    ];
    let map = dict(value)?;
    if map.is_empty() {
        return Ok(());
    }
    if !map.contains_key("network_id") {
        let given: Vec<String> = map.keys().map(|key| format!("'{key}'")).collect();
        return Err(Reason::Of(format!(
            "Validation of dictionary's keys failed. Expected keys: {{'network_id'}} \
             Provided keys: {{{}}}.",
            given.join(", ")
        )));
    }
    let unknown: Vec<&str> = map
        .keys()
        .map(String::as_str)
        .filter(|key| !KEYS.contains(key))
        .collect();
    if !unknown.is_empty() {
        return Err(Reason::Of(format!(
            "Unexpected keys supplied: {}.",
            unknown.join(", ")
        )));
    }
    let map = value.as_object_mut().expect("it is a dictionary");
    uuid(&map["network_id"])?;
    if let Some(snat) = map.get_mut("enable_snat") {
        *snat = To::Boolean.apply(snat.take())?;
    }
    map.get_mut("external_fixed_ips")
        .map_or(Ok(()), |fixed| Is::FixedIps.check(fixed))?;
    map.get_mut("qos_policy_id")
        .map_or(Ok(()), |policy| Is::UuidOrNone.check(policy))
}

pub(super) fn segments(value: &mut Value) -> Checked {
    const KEYS: [&str; 3] = [
        "provider:network_type",
        "provider:physical_network",
        "provider:segmentation_id",
    ];
    let segments = list(value)?;
    if segments.is_empty() {
        return of(value, "is not a non-empty list.");
    }
    for segment in segments {
        let map = dict(segment)?;
        if let Some(unknown) = map.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(Reason::Own(bad_request(format!(
                "Unrecognized attribute(s) '{unknown}'"
            ))));
        }
        if let Some(number) = segment.get_mut("provider:segmentation_id") {
            *number = int(number)?.into();
        }
    }
    Ok(())
}

//! A port's lesser attributes: address pairs, DHCP options, names, and what is merely kept.

use std::collections::BTreeMap;

use intent::{AddressPair, DhcpOption, Mac, PairAddress, Passive, Port};
use serde_json::Value;

use crate::{Draft, Refusal, draft::Reading, txn::Txn};

/// Sets what the draft names.
pub(crate) fn set(txn: &Txn<'_>, port: &mut Port, draft: &Draft) -> Result<(), Refusal> {
    set_pairs(txn, port, draft)?;
    set_options(port, draft);
    draft.set_text("dns_name", &mut port.dns_name);
    draft.set_text("dns_domain", &mut port.dns_domain);
    set_passive(port, draft);
    Ok(())
}

fn set_pairs(txn: &Txn<'_>, port: &mut Port, draft: &Draft) -> Result<(), Refusal> {
    if let Some(list) = draft
        .value("allowed_address_pairs")
        .and_then(Value::as_array)
    {
        let most = txn.config().max_allowed_address_pair;
        if list.len() > most {
            return Err(Refusal::too_many_pairs(most));
        }
        let maps = list.iter().filter_map(Value::as_object);
        let mut pairs: Vec<AddressPair> = maps
            .filter_map(|map| {
                Some(AddressPair {
                    ip_address: pair_address(map.text("ip_address")?)?,
                    mac_address: map.parsed::<Mac>("mac_address").unwrap_or(port.mac_address),
                })
            })
            .collect();
        pairs.sort_by_key(|pair| (pair.mac_address, pair.ip_address.to_string()));
        port.allowed_address_pairs = pairs;
    }
    if !port.allowed_address_pairs.is_empty() && !port.port_security_enabled {
        return Err(Refusal::pairs_need_port_security());
    }
    Ok(())
}

fn pair_address(text: &str) -> Option<PairAddress> {
    match text.parse() {
        Ok(address) => Some(PairAddress::Address(address)),
        Err(_) => text.parse().ok().map(PairAddress::Prefix),
    }
}

/// Options are changed one by one: a null value takes one away, what is not named stays.
fn set_options(port: &mut Port, draft: &Draft) {
    let Some(list) = draft.value("extra_dhcp_opts").and_then(Value::as_array) else {
        return;
    };
    let key = |option: &DhcpOption| (option.opt_name.clone(), option.ip_version);
    let held = port.extra_dhcp_opts.drain(..);
    let mut options: BTreeMap<_, _> = held.map(|option| (key(&option), option)).collect();
    for map in list.iter().filter_map(Value::as_object) {
        let option = DhcpOption {
            opt_name: map.owned("opt_name").unwrap_or_default(),
            opt_value: map.owned("opt_value").unwrap_or_default(),
            ip_version: if map.number("ip_version") == Some(6) {
                6
            } else {
                4
            },
        };
        if map.is_null("opt_value") {
            options.remove(&key(&option));
        } else {
            options.insert(key(&option), option);
        }
    }
    port.extra_dhcp_opts = options.into_values().collect();
}

/// Attributes that others read: kept as they were given.
fn set_passive(port: &mut Port, draft: &Draft) {
    let mut passive = port.passive.take().map_or_else(Passive::default, |it| *it);
    let set = |field: &mut Option<String>, name| {
        if draft.given(name) {
            *field = draft.owned(name);
        }
    };
    set(&mut passive.data_plane_status, "data_plane_status");
    set(&mut passive.device_profile, "device_profile");
    set(&mut passive.hardware_offload_type, "hardware_offload_type");
    set(&mut passive.numa_affinity_policy, "numa_affinity_policy");
    if draft.given("hints") {
        passive.hints = draft.value("hints").and_then(Value::as_object).cloned();
    }
    if draft.given("trusted") {
        passive.trusted = draft.flag("trusted");
    }
    if let Some(flag) = draft.flag("propagate_uplink_status") {
        // True is what every port has that says nothing.
        passive.propagate_uplink_status = (!flag).then_some(false);
    }
    port.passive = (passive != Passive::default()).then(|| Box::new(passive));
}

//! Conversions: the one form that a value has behind the API, whichever form it was sent in.

use std::net::IpAddr;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{
    draft::{BadInput, quoted},
    python,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    Boolean,
    BooleanOrNone,
    Int,
    Text,
    /// Names that DNS does not tell apart by case.
    Lower,
    NoneToList,
    /// Null stays: a MAC address that the server chooses anew.
    MacIfNone,
    Ip,
    Cidr,
    Pools,
    Ethertype,
    /// A security group rule's remote prefix, host bits kept.
    Prefix,
    Protocol,
    PortValue,
    RbacType,
}

impl To {
    pub(super) fn apply(self, value: Value) -> Result<Value, BadInput> {
        match self {
            Self::Boolean => boolean(&value),
            Self::BooleanOrNone | Self::Cidr | Self::Prefix | Self::Protocol | Self::PortValue
                if value.is_null() =>
            {
                Ok(value)
            }
            Self::BooleanOrNone => boolean(&value),
            Self::Int => int(&value).map(Into::into),
            Self::Text => Ok(python::str(&value).into()),
            Self::Lower => lower(value),
            Self::NoneToList if value.is_null() => Ok(json!([])),
            Self::NoneToList | Self::MacIfNone => Ok(value),
            Self::Ip => Ok(ip(value)),
            Self::Cidr => cidr(&value),
            Self::Pools => pools(value),
            Self::Ethertype => ethertype(&value),
            Self::Prefix => prefix(&value),
            Self::Protocol => protocol(&value),
            Self::PortValue => port(&value),
            Self::RbacType => rbac_type(value),
        }
    }
}

fn boolean(value: &Value) -> Result<Value, BadInput> {
    let word = python::str(value).to_lowercase();
    match (value, word.as_str()) {
        (Value::Bool(_), _) => Ok(value.clone()),
        (Value::Number(_) | Value::String(_), "1" | "true" | "t" | "on" | "y" | "yes") => {
            Ok(true.into())
        }
        (Value::Number(_) | Value::String(_), "0" | "false" | "f" | "off" | "n" | "no") => {
            Ok(false.into())
        }
        _ => Err(BadInput::operation(quoted(
            value,
            "cannot be converted to boolean",
        ))),
    }
}

pub(super) fn int(value: &Value) -> Result<i64, BadInput> {
    let number = match value {
        Value::Bool(it) => Some(i64::from(*it)),
        Value::Number(it) => it.as_i64().or_else(|| truncated(it.as_f64()?)),
        Value::String(it) => it.trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| BadInput::operation(quoted(value, "is not an integer")))
}

#[allow(clippy::cast_possible_truncation)]
fn truncated(number: f64) -> Option<i64> {
    (number.abs() < 9.0e15).then_some(number as i64)
}

fn lower(value: Value) -> Result<Value, BadInput> {
    match value {
        Value::String(text) => Ok(text.to_lowercase().into()),
        other => Err(BadInput::operation(quoted(
            &other,
            "cannot be converted to lower case string",
        ))),
    }
}

fn ip(value: Value) -> Value {
    match value.as_str().and_then(|text| text.parse::<IpAddr>().ok()) {
        Some(address) => address.to_string().into(),
        None => value,
    }
}

/// An address without a length is a network of one address.
pub(super) fn read_cidr(text: &str) -> Option<IpNet> {
    text.parse::<IpNet>()
        .ok()
        .or_else(|| Some(text.parse::<IpAddr>().ok()?.into()))
        .or_else(|| with_netmask(text))
}

/// `10.0.0.0/255.255.255.0`
fn with_netmask(text: &str) -> Option<IpNet> {
    let (address, mask) = text.split_once('/')?;
    IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()
}

fn cidr(value: &Value) -> Result<Value, BadInput> {
    match value.as_str().and_then(read_cidr) {
        Some(net) => Ok(net.trunc().to_string().into()),
        None => Err(BadInput::operation(format!(
            "{} is not in a CIDR format",
            python::str(value)
        ))),
    }
}

/// Addresses in their canonical form; what is no address is left for the check to name.
fn pools(value: Value) -> Result<Value, BadInput> {
    let Value::Array(pools) = value else {
        return Err(BadInput::operation(
            "Invalid data format for allocation pools",
        ));
    };
    let canonical = |pool: Value| match pool {
        Value::Object(map) => Ok(map
            .into_iter()
            .map(|(key, value)| (key, ip(value)))
            .collect::<Value>()),
        _ => Err(BadInput::operation(
            "Invalid data format for allocation pools",
        )),
    };
    pools.into_iter().map(canonical).collect()
}

fn ethertype(value: &Value) -> Result<Value, BadInput> {
    let given = python::str(value);
    ["IPv4", "IPv6"]
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(&given))
        .map(Into::into)
        .ok_or_else(|| {
            BadInput::new(
                "SecurityGroupRuleInvalidEtherType",
                format!(
                    "Security group rule for ethertype '{given}' not supported. \
                     Allowed values are ['IPv4', 'IPv6']."
                ),
            )
        })
}

fn prefix(value: &Value) -> Result<Value, BadInput> {
    match value.as_str().and_then(read_cidr) {
        Some(net) => Ok(net.to_string().into()),
        None => Err(BadInput::new(
            "InvalidCIDR",
            format!("Invalid CIDR {} given as IP prefix.", python::str(value)),
        )),
    }
}

const PROTOCOLS: [&str; 26] = [
    "any",
    "ah",
    "dccp",
    "egp",
    "esp",
    "gre",
    "hopopt",
    "icmp",
    "igmp",
    "ip",
    "ipip",
    "ipv6-encap",
    "ipv6-frag",
    "ipv6-icmp",
    "icmpv6",
    "ipv6-nonxt",
    "ipv6-opts",
    "ipv6-route",
    "ospf",
    "pgm",
    "rsvp",
    "sctp",
    "tcp",
    "udp",
    "udplite",
    "vrrp",
];

fn protocol(value: &Value) -> Result<Value, BadInput> {
    let given = python::str(value);
    if given.parse::<u8>().is_ok() {
        return Ok(given.into());
    }
    let lower = given.to_lowercase();
    if PROTOCOLS.contains(&lower.as_str()) {
        return Ok(lower.into());
    }
    let names: Vec<String> = PROTOCOLS.iter().map(|name| format!("'{name}'")).collect();
    Err(BadInput::new(
        "SecurityGroupRuleInvalidProtocol",
        format!(
            "Security group rule protocol {given} not supported. Only protocol values (None, {}) \
             and integer representations [0 to 255] are supported.",
            names.join(", ")
        ),
    ))
}

fn port(value: &Value) -> Result<Value, BadInput> {
    match int(value) {
        Ok(port) if (0..=65535).contains(&port) => Ok(port.into()),
        _ => Err(BadInput::new(
            "SecurityGroupInvalidPortValue",
            format!("Invalid value for port {}", python::str(value)),
        )),
    }
}

/// What an RBAC policy may be about; see `intent::RbacObject`.
fn rbac_type(value: Value) -> Result<Value, BadInput> {
    let known = value
        .as_str()
        .is_some_and(|text| text.parse::<crate::RbacObject>().is_ok());
    if known {
        return Ok(value);
    }
    Err(BadInput::operation(quoted(
        &value,
        "is not a valid RBAC object type",
    )))
}

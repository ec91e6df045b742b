//! Checks: what a value must be, with the sentences that Neutron says when it is not.

mod objects;

use std::{collections::BTreeSet, net::IpAddr};

use serde_json::Value;
use uuid::Uuid;

use super::{
    Word,
    convert::{int, read_cidr},
    draft::{BadInput, bad_request, quoted},
    python,
};
use crate::Mac;
use objects::{
    address_pairs, dhcp_options, dict, each, fixed_ips, gateway_info, host_routes, nameservers,
    pool, segments,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Is {
    Boolean,
    Text(usize),
    TextOrNone(usize),
    Name(usize),
    NameOrNone(usize),
    /// A security group's; that `default` is taken is the ledger's to say.
    NameNotDefault(usize),
    NotEmptyName,
    Words(&'static [Word]),
    Range(i64, i64),
    NonNegative,
    Uuid,
    UuidOrNone,
    UuidList,
    UniqueTexts(usize),
    Mac,
    IpOrNone,
    SubnetOrNone,
    SubnetList,
    SubnetPoolIdOrNone,
    ServiceTypes,
    IpPools,
    Nameservers,
    HostRoutes,
    FixedIps,
    AddressPairs,
    ZoneHints,
    DnsDomain(usize),
    DnsHost(usize),
    DictOrNone,
    Hints,
    DhcpOptions,
    GatewayInfo,
    Segments,
    TargetProject,
}

/// Why a value is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Said as "Invalid input for ATTRIBUTE. Reason: …".
    Of(String),
    /// Said with a name and a sentence of its own.
    Own(BadInput),
}

impl Reason {
    pub(super) fn of_attribute(self, name: &str) -> BadInput {
        match self {
            Self::Of(reason) => bad_request(format!("Invalid input for {name}. Reason: {reason}")),
            Self::Own(bad) => bad,
        }
    }
}

impl From<BadInput> for Reason {
    fn from(bad: BadInput) -> Self {
        Self::Own(bad)
    }
}

type Checked = Result<(), Reason>;

fn of<T>(value: &Value, what: &str) -> Result<T, Reason> {
    Err(Reason::Of(quoted(value, what)))
}

impl Is {
    /// Checks; some checks also put parts of the value into their canonical form.
    pub(super) fn check(self, value: &mut Value) -> Checked {
        let may_be_null = matches!(
            self,
            Self::TextOrNone(_)
                | Self::NameOrNone(_)
                | Self::UuidOrNone
                | Self::IpOrNone
                | Self::SubnetOrNone
                | Self::SubnetPoolIdOrNone
                | Self::DictOrNone
                | Self::Hints
                | Self::DhcpOptions
                | Self::GatewayInfo
                | Self::FixedIps
        );
        if may_be_null && value.is_null() {
            return Ok(());
        }
        match self {
            Self::Boolean if value.is_boolean() => Ok(()),
            Self::Boolean => of(value, "is not a valid boolean value."),
            Self::Text(max) | Self::TextOrNone(max) => text(value, max),
            Self::Name(max) | Self::NameOrNone(max) | Self::NameNotDefault(max) => text(value, max),
            Self::NotEmptyName => not_empty(value),
            Self::Words(words) => words_check(value, words),
            Self::Range(low, high) => range(value, low, high),
            Self::NonNegative => non_negative(value),
            Self::Uuid | Self::UuidOrNone => uuid(value),
            Self::UuidList => uuid_list(value),
            Self::UniqueTexts(max) => unique_texts(value, max),
            Self::Mac => mac(value),
            Self::IpOrNone => ip(value),
            Self::SubnetOrNone => subnet(value),
            Self::SubnetList => subnet_list(value),
            Self::SubnetPoolIdOrNone => pool_id(value),
            Self::ServiceTypes => service_types(value),
            Self::IpPools => each(value, "IP pool", pool),
            Self::Nameservers => nameservers(value),
            Self::HostRoutes => host_routes(value),
            Self::FixedIps => fixed_ips(value),
            Self::AddressPairs => address_pairs(value),
            Self::ZoneHints => zone_hints(value),
            Self::DnsDomain(max) => dns_domain(value, max),
            Self::DnsHost(max) => dns_host(value, max),
            Self::DictOrNone | Self::Hints => dict(value).map(|_| ()),
            Self::DhcpOptions => dhcp_options(value),
            Self::GatewayInfo => gateway_info(value),
            Self::Segments => segments(value),
            Self::TargetProject => target_project(value),
        }
    }
}

fn text(value: &Value, max: usize) -> Checked {
    let Some(given) = value.as_str() else {
        return of(value, "is not a valid string.");
    };
    if given.chars().count() > max {
        return of(value, &format!("exceeds maximum length of {max}."));
    }
    Ok(())
}

fn not_empty(value: &Value) -> Checked {
    text(value, 255)?;
    if value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return of(value, "Blank strings are not permitted.");
    }
    Ok(())
}

fn words_check(value: &Value, words: &[Word]) -> Checked {
    if words.iter().any(|word| word.value() == *value) {
        return Ok(());
    }
    Err(Reason::Of(format!(
        "{} is not in valid_values.",
        python::str(value)
    )))
}

fn range(value: &Value, low: i64, high: i64) -> Checked {
    let Ok(number) = int(value) else {
        return of(value, "is not an integer.");
    };
    if number < low {
        return of(value, &format!("is too small - must be at least '{low}'."));
    }
    if number > high {
        return of(
            value,
            &format!("is too large - must be no larger than '{high}'."),
        );
    }
    Ok(())
}

fn non_negative(value: &Value) -> Checked {
    match int(value) {
        Err(_) => of(value, "is not an integer."),
        Ok(number) if number < 0 => of(value, "should be non-negative."),
        Ok(_) => Ok(()),
    }
}

fn uuid(value: &Value) -> Checked {
    match value.as_str().map(Uuid::parse_str) {
        Some(Ok(_)) => Ok(()),
        _ => of(value, "is not a valid UUID."),
    }
}

fn items<'a>(value: &'a mut Value, what: &str) -> Result<&'a mut Vec<Value>, Reason> {
    if value.is_array() {
        return Ok(value.as_array_mut().expect("it is one"));
    }
    of(value, what)
}

fn list(value: &mut Value) -> Result<&mut Vec<Value>, Reason> {
    items(value, "is not a list.")
}

fn no_duplicates(items: &[Value]) -> Checked {
    let mut seen = BTreeSet::new();
    let twice: Vec<String> = items
        .iter()
        .filter(|item| !seen.insert(item.to_string()))
        .map(python::str)
        .collect();
    if twice.is_empty() {
        return Ok(());
    }
    Err(Reason::Of(format!(
        "Duplicate items in the list: '{}'.",
        twice.join(", ")
    )))
}

fn uuid_list(value: &mut Value) -> Checked {
    let ids = list(value)?;
    for id in ids.iter() {
        uuid(id)?;
    }
    no_duplicates(ids)
}

fn unique_texts(value: &mut Value, max: usize) -> Checked {
    let texts = list(value)?;
    for item in texts.iter() {
        text(item, max)?;
    }
    no_duplicates(texts)
}

fn mac(value: &mut Value) -> Checked {
    let parsed = value.as_str().and_then(|text| text.parse::<Mac>().ok());
    match parsed {
        Some(mac) if mac.0 != [0; 6] => {
            *value = mac.to_string().into();
            Ok(())
        }
        _ => of(value, "is not a valid MAC address."),
    }
}

/// `10.0.0.010` is refused with the form that is meant: octal to some, decimal to others.
fn ip(value: &Value) -> Checked {
    let text = value.as_str().unwrap_or_default();
    if text.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let plain: Option<Vec<String>> = text
        .split('.')
        .map(|part| Some(part.parse::<u8>().ok()?.to_string()))
        .collect();
    match plain {
        Some(parts) if parts.len() == 4 => of(
            value,
            &format!(
                "is not an accepted IP address, '{}' is recommended.",
                parts.join(".")
            ),
        ),
        _ => of(value, "is not a valid IP address."),
    }
}

fn subnet(value: &Value) -> Checked {
    match value.as_str().and_then(read_cidr) {
        Some(_) => Ok(()),
        None => of(value, "is not a valid IP subnet."),
    }
}

fn subnet_list(value: &mut Value) -> Checked {
    let prefixes = list(value)?;
    no_duplicates(prefixes)?;
    prefixes.iter().try_for_each(subnet)
}

fn pool_id(value: &Value) -> Checked {
    if value == "prefix_delegation" {
        return Ok(());
    }
    uuid(value)
}

fn service_types(value: &mut Value) -> Checked {
    const PREFIXES: [&str; 4] = ["network:", "compute:", "baremetal:", "manila:"];
    let types = list(value)?;
    for item in types.iter() {
        let Some(text) = item.as_str() else {
            return Err(own(
                "InvalidInputSubnetServiceType",
                format!("Subnet service type {} is not a string.", python::str(item)),
            ));
        };
        if !PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
            return Err(own(
                "InvalidSubnetServiceType",
                format!("Subnet service type {text} does not correspond to a valid device owner."),
            ));
        }
    }
    no_duplicates(types)
}

fn own(kind: &'static str, message: String) -> Reason {
    Reason::Own(BadInput::new(kind, message))
}

fn zone_hints(value: &mut Value) -> Checked {
    let zones = list(value)?;
    for zone in zones.iter() {
        text(zone, 255)?;
    }
    Ok(())
}

fn dns_domain(value: &Value, max: usize) -> Checked {
    text(value, max)?;
    let given = value.as_str().unwrap_or_default();
    let good = given
        .strip_suffix('.')
        .is_some_and(|name| name.split('.').all(|label| dns_label(label).is_ok()));
    if given.is_empty() || good {
        return Ok(());
    }
    of(value, "is not a FQDN.")
}

fn dns_label(label: &str) -> Result<(), String> {
    let shape = !label.is_empty()
        && label.len() <= 63
        && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
    if !shape {
        return Err(format!(
            "Name '{label}' must be 1-63 characters long, each of which can only be \
             alphanumeric or a hyphen."
        ));
    }
    if label.starts_with('-') || label.ends_with('-') {
        return Err(format!(
            "Name '{label}' must not start or end with a hyphen."
        ));
    }
    Ok(())
}

fn dns_host(value: &Value, max: usize) -> Checked {
    text(value, max)?;
    let given = value.as_str().unwrap_or_default();
    if given.is_empty() {
        return Ok(());
    }
    let name = given.strip_suffix('.').unwrap_or(given);
    for label in name.split('.') {
        if let Err(why) = dns_label(label) {
            return of(value, &format!("not a valid PQDN or FQDN. Reason: {why}"));
        }
    }
    Ok(())
}

fn target_project(value: &Value) -> Checked {
    let given = value.as_str().unwrap_or_default();
    if given == "*" || Uuid::parse_str(given).is_ok() {
        return Ok(());
    }
    Err(Reason::Own(BadInput::operation(quoted(
        value,
        "is not a valid target project ID; expected a UUID or '*'",
    ))))
}

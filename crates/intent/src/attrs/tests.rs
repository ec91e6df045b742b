//! Every row of every table against the rows that a running Neutron merged out of its extensions.

use serde_json::{Map, Value, json};

use super::*;

const REFERENCE: &str = include_str!("../../../../tests/reference/api/attributes.json");

/// Rows that the reference's dump lacks: these collections keep their attributes apart from it.
const OWN: [&str; 2] = ["default_security_group_rules", "bindings"];

fn row(attr: &Attr) -> Value {
    let mut row = Map::new();
    for (name, flag) in [
        ("is_filter", attr.is_filter),
        ("is_sort_key", attr.is_sort_key),
        ("is_visible", attr.is_visible),
        ("required_by_policy", attr.required_by_policy),
        ("enforce_policy", attr.enforce_policy),
        ("primary_key", attr.primary_key),
        ("convert_list_to", attr.filter_pairs),
        ("allow_post", attr.allow_post),
        ("allow_put", attr.allow_put),
    ] {
        row.insert(name.to_owned(), flag.into());
    }
    let default = match attr.default {
        Default::Required => json!({}),
        Default::Unset => json!({"default": "<ATTR_NOT_SPECIFIED>"}),
        Default::Given(word) => json!({"default": word.value()}),
    };
    row.extend(default.as_object().cloned().unwrap_or_default());
    if let Some(to) = attr.convert {
        row.insert("convert_to".to_owned(), converter(to).into());
    }
    if let Some(is) = attr.validate {
        row.insert("validate".to_owned(), validator(is));
    }
    Value::Object(row)
}

fn converter(to: To) -> &'static str {
    match to {
        To::Boolean => "convert_to_boolean",
        To::BooleanOrNone => "convert_to_boolean_if_not_none",
        To::Int => "convert_to_int",
        To::Text => "convert_to_string",
        To::Lower => "convert_string_to_case_insensitive",
        To::NoneToList => "convert_none_to_empty_list",
        To::MacIfNone => "convert_to_mac_if_none",
        To::Ip => "convert_ip_to_canonical_format",
        To::Cidr => "convert_cidr_to_canonical_format",
        To::Pools => "convert_allocation_pools_to_canonical_format",
        To::Ethertype => "convert_ethertype_to_case_insensitive",
        To::Prefix => "convert_ip_prefix_to_cidr",
        To::Protocol => "convert_protocol",
        To::PortValue => "convert_validate_port_value",
        To::RbacType => "convert_valid_object_type",
    }
}

/// The validator's name and, where it has a plain one, its argument.
fn validator(is: Is) -> Value {
    let limit = |max: usize| {
        if max == usize::MAX {
            Value::Null
        } else {
            max.into()
        }
    };
    let (name, argument) = match is {
        Is::Boolean => ("boolean", Value::Null),
        Is::Text(max) => ("string", limit(max)),
        Is::TextOrNone(max) => ("string_or_none", limit(max)),
        Is::Name(max) => ("name_string", limit(max)),
        Is::NameOrNone(max) => ("name_string_or_none", limit(max)),
        Is::NameNotDefault(max) => ("name_not_default", limit(max)),
        Is::NotEmptyName => ("not_empty_name_string", Value::Null),
        Is::Words(words) => ("values", words.iter().map(|word| word.value()).collect()),
        Is::Range(low, high) => ("range", json!([low, high])),
        Is::NonNegative => ("non_negative", Value::Null),
        Is::Uuid => ("uuid", Value::Null),
        Is::UuidOrNone => ("uuid_or_none", Value::Null),
        Is::UuidList => ("uuid_list", Value::Null),
        Is::UniqueTexts(max) => ("list_of_unique_strings", limit(max)),
        Is::Mac => ("mac_address", Value::Null),
        Is::IpOrNone => ("ip_address_or_none", Value::Null),
        Is::SubnetOrNone => ("subnet_or_none", Value::Null),
        Is::SubnetList => ("subnet_list", Value::Null),
        Is::SubnetPoolIdOrNone => ("subnetpool_id_or_none", Value::Null),
        Is::ServiceTypes => ("list_of_subnet_service_types", Value::Null),
        Is::IpPools => ("ip_pools", Value::Null),
        Is::Nameservers => ("nameservers", Value::Null),
        Is::HostRoutes => ("hostroutes", Value::Null),
        Is::FixedIps => ("fixed_ips", Value::Null),
        Is::AddressPairs => ("allowed_address_pairs", Value::Null),
        Is::ZoneHints => ("availability_zone_hint_list", Value::Null),
        Is::DnsDomain(max) => ("dns_domain_name", limit(max)),
        Is::DnsHost(max) => ("dns_host_name", limit(max)),
        Is::DictOrNone | Is::Hints => ("dict_or_none", Value::Null),
        Is::DhcpOptions => ("list_of_any_key_specs_or_none", Value::Null),
        Is::GatewayInfo => ("dict_or_nodata", Value::Null),
        Is::Segments => ("network_segments", Value::Null),
        Is::TargetProject => ("valid_target_project", Value::Null),
    };
    json!([name, argument])
}

/// The reference's row in the same terms.
fn reference_row(mut row: Map<String, Value>) -> Value {
    for flag in [
        "is_filter",
        "is_sort_key",
        "is_visible",
        "required_by_policy",
        "enforce_policy",
        "primary_key",
        "allow_post",
        "allow_put",
    ] {
        row.entry(flag).or_insert(false.into());
    }
    let pairs = row.get("convert_list_to").is_some();
    row.insert("convert_list_to".to_owned(), pairs.into());
    if let Some(Value::String(path)) = row.get("convert_to") {
        let name = path.rsplit('.').next().unwrap_or_default().to_owned();
        row.insert("convert_to".to_owned(), name.into());
    }
    let validate = row.get("validate").and_then(Value::as_object).cloned();
    if let Some((name, argument)) = validate.and_then(|map| map.into_iter().next()) {
        let name = name.trim_start_matches("type:").replace("fip_dns", "dns");
        let nested = argument.is_object() || name == "list_of_any_key_specs_or_none";
        let argument = if nested { Value::Null } else { argument };
        row.insert("validate".to_owned(), json!([name, argument]));
    }
    Value::Object(row)
}

#[test]
fn every_row_is_the_references() {
    let reference: Map<String, Value> = serde_json::from_str(REFERENCE).expect("JSON");
    let mut compared = 0;
    for table in TABLES.iter().filter(|table| !OWN.contains(&table.plural)) {
        let rows = reference[table.plural].as_object().expect("rows");
        let ours: Vec<&str> = table.attrs.iter().map(|attr| attr.name).collect();
        for (name, theirs) in rows {
            let attr = table.attr(name);
            let attr = attr.unwrap_or_else(|| panic!("{} lacks {name}", table.plural));
            let theirs = reference_row(theirs.as_object().expect("a row").clone());
            assert_eq!(row(attr), theirs, "{} {name}", table.plural);
            compared += 1;
        }
        assert_eq!(ours.len(), rows.len(), "{}: {ours:?}", table.plural);
    }
    assert!(compared > 200, "{compared} rows compared");
}

fn create(table: &Table, body: &Value) -> Result<Draft, BadInput> {
    table.read_create(body.as_object().expect("a dictionary").clone(), "owner")
}

#[test]
fn a_creation_is_filled_with_defaults_and_converted() {
    let draft = create(&NETWORK, &json!({"admin_state_up": "yes", "mtu": "1400"})).expect("good");
    assert_eq!(draft["admin_state_up"], json!(true));
    assert_eq!(draft["mtu"], json!(1400));
    assert_eq!(draft["name"], json!(""));
    assert_eq!(draft["project_id"], json!("owner"));
    assert!(
        !draft.contains_key("provider:network_type"),
        "not given is not null"
    );
}

#[test]
fn null_asks_for_a_mac_of_the_servers_choice_and_is_not_the_same_as_nothing() {
    let network = "705f0c3b-dfc1-43ec-8b18-4ba2978ef624";
    let draft = create(&PORT, &json!({"network_id": network, "mac_address": null})).expect("good");
    assert_eq!(draft["mac_address"], Value::Null);
    let draft = create(&PORT, &json!({ "network_id": network })).expect("good");
    assert!(!draft.contains_key("mac_address"));
}

#[test]
fn refusals_are_said_as_neutron_says_them() {
    let network = "705f0c3b-dfc1-43ec-8b18-4ba2978ef624";
    for (table, body, kind, message) in [
        (
            &NETWORK,
            json!({"mtu": "abc"}),
            "InvalidInput",
            "Invalid input for operation: 'abc' is not an integer.",
        ),
        (
            &NETWORK,
            json!({"status": "ACTIVE"}),
            "HTTPBadRequest",
            "Attribute 'status' not allowed in POST",
        ),
        (
            &SUBNET,
            json!({"network_id": network, "cidr": "10.8.0.0/24"}),
            "HTTPBadRequest",
            "Failed to parse request. Required attribute 'ip_version' not specified",
        ),
        (
            &PORT,
            json!({"network_id": network, "fixed_ips": [{"ip_address": "10.0.0.010"}]}),
            "HTTPBadRequest",
            "Invalid input for fixed_ips. Reason: '10.0.0.010' is not an accepted IP address, \
             '10.0.0.10' is recommended.",
        ),
    ] {
        let bad = create(table, &body).expect_err("refused");
        assert_eq!((bad.kind, bad.message.as_str()), (kind, message));
    }
}

//! Which rules one request must meet: its action's, and those of each attribute that it sets.

use intent::attrs::{Attr, Default, Draft, Is, Table};
use serde_json::Value;

use super::Check;

/// `create_port`, `get_network`: the rule of an action on a resource.
pub fn action_rule(verb: &str, table: &Table) -> String {
    match table.parent {
        Some(parent) => format!("{verb}_{parent}_{}", table.name),
        None => format!("{verb}_{}", table.name),
    }
}

/// The rule of setting these attributes, in the shape in which refusals quote it. At creation a
/// value that is the default is not asked about: it may not even have been sent.
pub fn explicit_rule(action: &str, table: &Table, draft: &Draft, creating: bool) -> Check {
    let mut rule = Check::Rule(action.to_owned());
    for attr in table.attrs.iter().filter(|attr| attr.enforce_policy) {
        let Some(value) = draft.get(attr.name) else {
            continue;
        };
        if creating && is_default(attr, value) {
            continue;
        }
        let name = format!("{action}:{}", attr.name);
        let mut of_attr = Check::Rule(name.clone());
        let parts = parts(&name, attr, value);
        if !parts.is_empty() {
            of_attr = Check::And(vec![of_attr, Check::And(parts)]);
        }
        rule = Check::And(vec![rule, of_attr]);
    }
    rule
}

fn is_default(attr: &Attr, value: &Value) -> bool {
    matches!(attr.default, Default::Given(word) if word.value() == *value)
}

/// Rules of the keys of a dictionary, or of the dictionaries in a list.
fn parts(name: &str, attr: &Attr, value: &Value) -> Vec<Check> {
    const GATEWAY: [&str; 4] = [
        "network_id",
        "enable_snat",
        "external_fixed_ips",
        "qos_policy_id",
    ];
    let rule = |key: &str| Check::Rule(format!("{name}:{key}"));
    match value {
        Value::Object(map) if attr.validate == Some(Is::GatewayInfo) => GATEWAY
            .iter()
            .filter(|key| map.contains_key(**key))
            .map(|key| rule(key))
            .collect(),
        Value::Array(items) => items
            .iter()
            .filter_map(Value::as_object)
            .flat_map(|map| map.keys().map(|key| rule(key)))
            .collect(),
        _ => Vec::new(),
    }
}

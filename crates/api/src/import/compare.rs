//! What Neutron showed and what is shown here of the same resource, held against each other.

use serde_json::Value;

/// A place where the two differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Difference {
    /// The collection and the attributes on the way: `routers.external_gateway_info.qos_policy_id`.
    pub(super) place: String,
    pub(super) theirs: Value,
    pub(super) ours: Value,
}

/// Why a difference need not be in the way, or what makes it go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excuse {
    /// Nothing is lost.
    Harmless(&'static str),
    /// It goes with something that isn't served here: who leaves that out leaves this out.
    With(&'static str),
    /// None: it has to be changed in Neutron first.
    First(&'static str),
}

use Excuse::{First, Harmless, With};

/// Places and their excuses; `*.NAME` is an attribute of any resource, however deep.
const EXCUSES: &[(&str, Excuse)] = &[
    (
        "*.standard_attr_id",
        Harmless("a number of Neutron's own database"),
    ),
    (
        "*.shared",
        Harmless("follows from RBAC policies, and differs with who asks"),
    ),
    (
        "networks.status",
        Harmless("not kept: a network is ACTIVE here"),
    ),
    (
        "routers.status",
        Harmless("not kept: a router is ACTIVE here"),
    ),
    (
        "agents.alive",
        Harmless("until the host's agent is replaced nothing is heard of it"),
    ),
    ("agents.heartbeat_timestamp", Harmless("as above")),
    ("agents.resources_synced", Harmless("not kept")),
    (
        "agents.agent_type",
        Harmless("agents of kinds that do nothing here are not taken"),
    ),
    ("networks.qos_policy_id", With("qos_policies")),
    ("ports.qos_policy_id", With("qos_policies")),
    ("ports.qos_network_policy_id", With("qos_policies")),
    ("ports.resource_request", With("qos_policies")),
    ("routers.qos_policy_id", With("qos_policies")),
    (
        "routers.external_gateway_info.qos_policy_id",
        With("qos_policies"),
    ),
    ("floatingips.qos_policy_id", With("qos_policies")),
    ("floatingips.qos_network_policy_id", With("qos_policies")),
    ("rbac_policies.object_type", With("qos_policies")),
    ("ports.trunk_details", With("trunks")),
    (
        "ports.binding:vif_details.bound_drivers",
        Harmless("not said of a distributed router's interface, which is on many hosts"),
    ),
    (
        "floatingips.router_id",
        With("floatingips.port_forwardings"),
    ),
    (
        "routers.ha",
        First("no router is highly available here: make it one that isn't, in Neutron"),
    ),
];

pub(super) fn excuse(place: &str) -> Option<Excuse> {
    let fits = |pattern: &str| match pattern.strip_prefix('*') {
        Some(ending) => place.ends_with(ending),
        None => place == pattern,
    };
    let found = EXCUSES.iter().find(|(pattern, _)| fits(pattern));
    found.map(|(_, excuse)| *excuse)
}

/// Every difference between two values. What only ours says is no loss, and neither is an attribute
/// that is not known here and says nothing. Lists without an order are equal in any.
pub(super) fn differences(theirs: &Value, ours: &Value, place: &str) -> Vec<Difference> {
    let differ = || {
        vec![Difference {
            place: place.to_owned(),
            theirs: theirs.clone(),
            ours: ours.clone(),
        }]
    };
    match (theirs, ours) {
        _ if theirs == ours => Vec::new(),
        (Value::Object(theirs), Value::Object(ours)) => {
            let below = theirs.iter().flat_map(|(name, theirs)| {
                let place = format!("{place}.{name}");
                match ours.get(name) {
                    Some(ours) => differences(theirs, ours, &place),
                    None if is_nothing(theirs) => Vec::new(),
                    None => differences(theirs, &Value::Null, &place),
                }
            });
            below.collect()
        }
        (Value::Array(theirs), Value::Array(ours)) => match lists(theirs, ours, place) {
            Some(below) => below,
            None => differ(),
        },
        _ => differ(),
    }
}

/// Differences within members that are the same one's; none of the kind when a member has no
/// counterpart.
fn lists(theirs: &[Value], ours: &[Value], place: &str) -> Option<Vec<Difference>> {
    if theirs.len() != ours.len() {
        return None;
    }
    let mut left: Vec<&Value> = ours.iter().collect();
    let mut below = Vec::new();
    for item in theirs {
        let named = item.get("id").filter(|id| !id.is_null());
        let like = |other: &&Value| match named {
            Some(id) => other.get("id") == Some(id),
            None => differences(item, other, place).is_empty(),
        };
        let at = left.iter().position(like)?;
        below.extend(differences(item, left.swap_remove(at), place));
    }
    Some(below)
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(theirs: &Value, ours: &Value) -> Vec<String> {
        let found = differences(theirs, ours, "ports");
        let mut places: Vec<String> = found.into_iter().map(|it| it.place).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn what_is_lost_is_found_however_deep() {
        let theirs = json!({"id": 1, "name": "a", "new": null, "more": "x", "empty": [],
            "gateway": {"qos_policy_id": "q", "network_id": "n"},
            "rules": [{"id": "r", "tags": ["a", "b"]}, {"id": "s", "tags": []}]});
        let ours = json!({"id": 1, "name": "b", "extra": 7, "gateway": {"network_id": "n"},
            "rules": [{"id": "s", "tags": []}, {"id": "r", "tags": ["b", "c"]}]});
        let wanted = [
            "ports.gateway.qos_policy_id",
            "ports.more",
            "ports.name",
            "ports.rules.tags",
        ];
        assert_eq!(places(&theirs, &ours), wanted);
    }

    #[test]
    fn lists_are_equal_in_any_order_and_no_longer() {
        let none = Vec::<String>::new();
        assert_eq!(places(&json!(["a", "b"]), &json!(["b", "a"])), none);
        assert_eq!(
            places(&json!([{"a": 1}, {"a": 2}]), &json!([{"a": 2}, {"a": 1}])),
            none
        );
        assert_eq!(places(&json!(["a"]), &json!(["a", "b"])), ["ports"]);
        assert_eq!(places(&json!(["a", "a"]), &json!(["a", "b"])), ["ports"]);
    }

    #[test]
    fn an_excuse_is_for_its_place_only() {
        assert!(matches!(excuse("networks.status"), Some(Harmless(_))));
        assert_eq!(excuse("ports.status"), None);
        let deep = excuse("security_groups.security_group_rules.standard_attr_id");
        assert!(matches!(deep, Some(Harmless(_))));
        assert_eq!(excuse("ports.trunk_details"), Some(With("trunks")));
    }
}

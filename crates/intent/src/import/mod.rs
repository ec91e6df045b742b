//! Intent out of what Neutron's API shows: the collections as an administrator lists them, of our
//! server or of a stock one. What a dump of a foreign cloud needs to be explained in our words.
//!
//! Nothing here refuses: what can't be read is left out and said in a sentence.

mod agent;
mod network;
mod port;
mod project;
mod read;
mod router;
mod security;

use serde_json::Value;

use crate::{id::*, state::*};

/// The state that API documents describe, and what could not be read of them.
///
/// `documents` are answers by a name of the caller's (a file's, say): `{"ports": […]}` and so on.
/// What is asked of one resource comes in `served`, with whose answer it is.
pub fn import<'a>(
    documents: impl IntoIterator<Item = &'a Value>,
    served: impl IntoIterator<Item = (Served, &'a Value)>,
) -> (State, Vec<String>) {
    let mut import = Import::default();
    let documents: Vec<&Value> = documents.into_iter().collect();
    for collection in COLLECTIONS {
        for document in &documents {
            let items = document.get(collection.name).and_then(Value::as_array);
            for item in items.into_iter().flatten() {
                if (collection.read)(&mut import, item).is_none() {
                    let id = item.get("id").and_then(Value::as_str).unwrap_or("?");
                    import
                        .notes
                        .push(format!("{} {id} can't be read", collection.name));
                }
            }
        }
    }
    for (of, answer) in served {
        import.told(of, answer);
    }
    (import.state, import.notes)
}

/// Of what an answer speaks that is no collection's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// `networks/ID/dhcp-agents`
    Network(NetworkId),
    /// `routers/ID/l3-agents`
    Router(RouterId),
    /// `agents/ID/dhcp-networks` and `agents/ID/l3-routers`
    By(AgentId),
    /// `ports/ID/bindings`
    Port(PortId),
}

struct Collection {
    name: &'static str,
    read: fn(&mut Import, &Value) -> Option<()>,
}

const fn collection(name: &'static str, read: fn(&mut Import, &Value) -> Option<()>) -> Collection {
    Collection { name, read }
}

/// In an order in which what is looked at comes first.
const COLLECTIONS: &[Collection] = &[
    collection("networks", Import::network),
    collection("segments", Import::segment),
    collection("rbac_policies", Import::rbac_policy),
    collection("address_scopes", Import::address_scope),
    collection("subnetpools", Import::subnet_pool),
    collection("subnets", Import::subnet),
    collection("agents", Import::agent),
    collection("ports", Import::port),
    collection("routers", Import::router),
    collection("floatingips", Import::floating_ip),
    collection("security_groups", Import::security_group),
    collection("security_group_rules", Import::rule),
    collection("default_security_group_rules", Import::default_rule),
    collection("address_groups", Import::address_group),
    collection("quotas", Import::quota),
];

#[derive(Default)]
struct Import {
    state: State,
    notes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_said_and_the_rest_is_there() {
        let documents = serde_json::json!({
            "networks": [
                {"id": "b795f5d9-0400-490f-b200-7e6beb38701f", "name": "red", "project_id": "p",
                 "provider:network_type": "vxlan", "provider:segmentation_id": 622},
                {"id": "not an id"}
            ],
            "ports": [{"id": "0f6432ed-0cb0-45ef-b2d8-71e4a1a4ff0f", "mac_address": "fa:16:3e:be:10:92",
                "network_id": "b795f5d9-0400-490f-b200-7e6beb38701f", "binding:host_id": "net",
                "allowed_address_pairs": [{"ip_address": "10.0.0.0/24"}]}]
        });
        let (state, notes) = import([&documents], []);
        assert_eq!(notes, ["networks not an id can't be read"]);
        assert_eq!(state.segments.len(), 1);
        let port = state.ports.values().next().expect("one port");
        assert_eq!(port.host().map(HostName::as_str), Some("net"));
        assert_eq!(port.allowed_address_pairs[0].mac_address, port.mac_address);
    }

    #[test]
    fn a_distributed_router_is_scheduled_where_its_source_nat_is() {
        let id = |n: u8| format!("b795f5d9-0400-490f-b200-7e6beb3870{n:02}");
        let agent = |n: u8, host: &str, mode: &str| {
            serde_json::json!({
                "id": id(n), "host": host, "binary": "neutron-l3-agent",
                "agent_type": "L3 agent", "configurations": {"agent_mode": mode},
            })
        };
        let agents = [
            agent(1, "net", "dvr_snat"),
            agent(2, "net2", "dvr_snat"),
            agent(3, "c1", "dvr"),
        ];
        let documents = serde_json::json!({
            "agents": agents,
            "networks": [{"id": id(10), "name": "public", "project_id": "p"}],
            "ports": [{"id": id(11), "mac_address": "fa:16:3e:be:10:92", "network_id": id(10),
                "device_id": id(12), "device_owner": "network:router_gateway",
                "binding:host_id": "net"}],
            "routers": [{"id": id(12), "name": "r", "project_id": "p", "distributed": true,
                "external_gateway_info": {"network_id": id(10), "external_fixed_ips": []}}],
        });
        let answer = serde_json::json!({"agents": agents});
        let of = Served::Router(id(12).parse().unwrap());
        let (state, notes) = import([&documents], [(of, &answer)]);
        assert_eq!(notes, Vec::<String>::new());
        let bound = state
            .router_bindings
            .values()
            .map(|it| it.agent_id.to_string());
        assert_eq!(bound.collect::<Vec<_>>(), [id(1)]);
    }

    fn id(n: u8) -> String {
        format!("b795f5d9-0400-490f-b200-7e6beb3870{n:02}")
    }

    #[test]
    fn segments_that_are_listed_apart_take_the_place_of_those_that_networks_show() {
        let way = |kind: &str, number: u32| {
            serde_json::json!({"provider:network_type": kind, "provider:physical_network": null,
                "provider:segmentation_id": number})
        };
        let listed = |n: u8, kind: &str, number: u32| {
            serde_json::json!({"id": id(n), "network_id": id(1), "network_type": kind,
                "physical_network": null, "segmentation_id": number, "name": null,
                "created_at": "2026-11-20T21:35:26Z", "revision_number": 3})
        };
        let documents = serde_json::json!({
            "segments": [listed(3, "geneve", 8), listed(2, "vxlan", 7)],
            "networks": [{"id": id(1), "segments": [way("vxlan", 7), way("geneve", 8)]}],
        });
        let (state, notes) = import([&documents], []);
        assert_eq!(notes, Vec::<String>::new());
        let segments = state.segments.values();
        let shown: Vec<_> = segments
            .map(|it| (it.id.to_string(), it.index, it.meta.revision_number))
            .collect();
        assert_eq!(shown, [(id(2), 0, 3), (id(3), 1, 3)]);
    }

    #[test]
    fn an_agents_own_answer_and_a_ports_bindings_are_added() {
        let documents = serde_json::json!({
            "networks": [{"id": id(1)}],
            "routers": [{"id": id(2)}],
            "agents": [{"id": id(3), "host": "net", "agent_type": "L3 agent",
                "created_at": "2026-11-20 21:35:26", "configurations": {}}],
            "ports": [{"id": id(4), "network_id": id(1), "mac_address": "fa:16:3e:be:10:92",
                "binding:host_id": "c1", "binding:vif_type": "ovs",
                "binding:vif_details": {"port_filter": true, "bound_drivers": {"0": "openvswitch"}}}],
        });
        let hosted = serde_json::json!({"networks": [{"id": id(1)}], "routers": [{"id": id(2)}]});
        let bindings = serde_json::json!({"bindings": [
            {"host": "c1", "status": "ACTIVE", "vif_type": "ovs"},
            {"host": "c2", "status": "INACTIVE", "vif_type": "ovs"},
        ]});
        let (agent, port) = (id(3).parse().unwrap(), id(4).parse().unwrap());
        let told = [
            (Served::By(agent), &hosted),
            (Served::Port(port), &bindings),
        ];
        let (state, notes) = import([&documents], told);
        assert_eq!(notes, Vec::<String>::new());
        assert_eq!(
            (state.dhcp_bindings.len(), state.router_bindings.len()),
            (1, 1)
        );
        assert_eq!(
            state.agents[&agent].created_at.spaced(),
            "2026-11-20 21:35:26"
        );
        let bindings = state.ports[&port].bindings.iter();
        let hosts: Vec<_> = bindings.map(|it| (it.host.as_str(), it.status)).collect();
        use crate::BindingStatus::{Active, Inactive};
        assert_eq!(hosts, [("c1", Active), ("c2", Inactive)]);
        assert_eq!(state.ports[&port].bindings[0].vif_details.len(), 1);
    }

    #[test]
    fn a_rule_keeps_the_tags_that_only_its_group_shows() {
        let rule = |tags: Option<&str>| {
            let mut rule = serde_json::json!({"id": id(2), "security_group_id": id(1),
                "direction": "ingress", "ethertype": "IPv4", "description": null});
            if let Some(tag) = tags {
                rule["tags"] = serde_json::json!([tag]);
            }
            rule
        };
        let documents = serde_json::json!({
            "security_groups": [{"id": id(1), "name": "default", "security_group_rules": [rule(Some("a"))]}],
            "security_group_rules": [rule(None)],
            "default_security_group_rules": [{"id": id(3), "direction": "ingress",
                "ethertype": "IPv6", "remote_group_id": "PARENT", "used_in_default_sg": true}],
        });
        let (state, notes) = import([&documents], []);
        assert_eq!(notes, Vec::<String>::new());
        let rule = state.security_group_rules.values().next().expect("one");
        assert!(rule.meta.tags.contains("a"));
        let template = state.default_rules.values().next().expect("one");
        let parent = crate::RemoteGroup::Parent(crate::Parent::Parent);
        assert_eq!(template.matches.remote_group_id, Some(parent));
    }

    #[test]
    fn a_pool_is_shared_by_its_policy_or_by_its_own_mark() {
        let pool = |n: u8| {
            serde_json::json!({"id": id(n), "prefixes": ["10.0.0.0/8"], "default_prefixlen": "24",
                "min_prefixlen": "8", "max_prefixlen": "32", "ip_version": 4, "shared": true})
        };
        let documents = serde_json::json!({
            "subnetpools": [pool(1), pool(2)],
            "rbac_policies": [{"id": id(3), "object_type": "subnetpool", "object_id": id(1),
                "action": "access_as_shared", "target_tenant": "*"}],
            "quotas": [{"project_id": "p", "tenant_id": "p", "network": 7, "port": -1}],
        });
        let (state, notes) = import([&documents], []);
        assert_eq!(notes, Vec::<String>::new());
        let marks: Vec<bool> = state.subnet_pools.values().map(|it| it.shared).collect();
        assert_eq!(marks, [false, true]);
        assert_eq!(state.quotas.values().next().expect("one").limits.len(), 2);
    }
}

//! RBAC policies, quotas, tags, agents and a project's own topology.

use intent::{AgentType, Kind, Object};
use ledger::{AgentReport, Command, Draft};
use serde_json::{Map, json};

use crate::rig::{Rig, admin, deletion, member};

#[test]
fn a_policy_that_others_rest_on_stays() {
    let mut rig = Rig::new();
    rig.actor = member("demo");
    let (network, _) = rig.network("10.0.0.0/24");
    let policy = json!({"object_type": "network", "object_id": network,
        "action": "access_as_shared", "target_tenant": "f3a6abf355aa45438bc16c10fc559688"});
    let twin = rig.creation(Kind::RbacPolicy, &policy);
    let id = rig.create(Kind::RbacPolicy, policy);
    assert_eq!(
        rig.refuses(twin),
        "409 DuplicateRbacPolicy: An RBAC policy already exists with those values."
    );
    rig.actor = member("f3a6abf355aa45438bc16c10fc559688");
    let port = rig.create(Kind::Port, json!({"network_id": network}));
    rig.actor = member("demo");
    let refused = rig.refuses(deletion(Kind::RbacPolicy, &id));
    assert!(refused.starts_with("409 RbacPolicyInUse"), "{refused}");
    let target = json!({"target_tenant": "bc51b510aec8479d9a995ef37797f66a"});
    let moved = rig.change(Kind::RbacPolicy, &id, &target);
    let refused = rig.refuses(moved);
    assert!(refused.starts_with("409 RbacPolicyInUse"), "{refused}");
    rig.actor = admin();
    rig.delete(Kind::Port, &port);
    rig.delete(Kind::RbacPolicy, &id);
}

#[test]
fn a_network_is_external_while_a_policy_says_so() {
    let mut rig = Rig::new();
    let (network, _) = rig.network("10.0.0.0/24");
    let is_external = |rig: &Rig| match rig.object(Kind::Network, &network) {
        Object::Network(network) => network.external,
        other => panic!("no network but {other:?}"),
    };
    let policy = json!({"object_type": "network", "object_id": network,
        "action": "access_as_external", "target_tenant": "*"});
    let id = rig.create(Kind::RbacPolicy, policy);
    assert!(is_external(&rig));
    rig.delete(Kind::RbacPolicy, &id);
    assert!(!is_external(&rig));
}

#[test]
fn only_the_owner_shares_and_only_as_the_object_can_be() {
    let mut rig = Rig::new();
    let group = rig.create(Kind::SecurityGroup, json!({"name": "g"}));
    let policy = |action: &str| {
        json!({"object_type": "security_group", "object_id": group, "action": action,
            "target_tenant": "*"})
    };
    let external = rig.creation(Kind::RbacPolicy, &policy("access_as_external"));
    assert_eq!(
        rig.refuses(external),
        "400 InvalidActionForType: Invalid action 'access_as_external' for object type \
         'security_group'. Valid actions: ('access_as_shared',)"
    );
    rig.actor = member("demo");
    let shared = rig.creation(Kind::RbacPolicy, &policy("access_as_shared"));
    assert_eq!(
        rig.refuses(shared),
        "400 InvalidInput: Invalid input for operation: Only admins can manipulate policies on \
         objects they do not own."
    );
}

fn limits(project: &str, limits: &[(&'static str, i64)], force: bool) -> Command {
    let limits = limits.iter().map(|(name, limit)| (*name, json!(limit)));
    let draft: Draft = limits.chain([("force", json!(force))]).collect();
    Command::SetQuota {
        project: project.into(),
        draft,
    }
}

#[test]
fn a_quota_bounds_what_is_made_and_is_not_set_below_it_unforced() {
    let mut rig = Rig::new();
    rig.actor = member("demo");
    rig.network("10.0.0.0/24");
    rig.act(limits("demo", &[("network", 2)], false));
    let Command::Create { drafts, .. } = rig.creation(Kind::Network, &json!({})) else {
        panic!("no creation");
    };
    let both = Command::Create {
        kind: Kind::Network,
        drafts: [drafts.clone(), drafts].concat(),
    };
    assert_eq!(
        rig.refuses(both),
        "409 OverQuota: Quota exceeded for resources: ['network']."
    );
    assert_eq!(rig.state.networks.len(), 1, "none of the two");
    assert_eq!(
        rig.refuses(limits("demo", &[("network", 0)], false)),
        "400 HTTPBadRequest: Quota limit 0 for network must be greater than or equal to already \
         used 1"
    );
    rig.act(limits("demo", &[("network", 0)], true));
    rig.act(limits("demo", &[("network", -1)], false));
    for _ in 0..3 {
        rig.create(Kind::Network, json!({}));
    }
    let reset = Command::ResetQuota {
        project: "demo".into(),
    };
    rig.act(reset.clone());
    assert_eq!(
        rig.refuses(reset),
        "404 TenantQuotaNotFound: Quota for project demo could not be found."
    );
}

#[test]
fn tags_come_go_and_count() {
    let mut rig = Rig::new();
    let id = rig.create(Kind::Router, json!({}));
    let tags = |rig: &Rig| match rig.object(Kind::Router, &id) {
        Object::Router(router) => {
            let tags: Vec<String> = router.meta.tags.iter().cloned().collect();
            (tags.join(","), router.meta.revision_number)
        }
        other => panic!("no router but {other:?}"),
    };
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|word| (*word).to_owned())
            .collect::<Vec<_>>()
    };
    let (kind, key) = (Kind::Router, id.clone());
    rig.act(Command::ReplaceTags {
        kind,
        key: key.clone(),
        tags: words(&["red", "blue"]),
    });
    assert_eq!(tags(&rig), ("blue,red".to_owned(), 2));
    let none = Command::RemoveTag {
        kind,
        key: key.clone(),
        tag: "green".to_owned(),
    };
    assert_eq!(
        rig.refuses(none),
        "404 TagNotFound: Tag green could not be found."
    );
    rig.act(Command::RemoveTag {
        kind,
        key: key.clone(),
        tag: "red".to_owned(),
    });
    assert_eq!(tags(&rig).0, "blue");
    let twice = Command::AddTags {
        kind,
        key,
        tags: words(&["a", "a"]),
    };
    assert_eq!(
        rig.refuses(twice),
        "400 InvalidInput: Invalid input for operation: Duplicate items in the list: 'a'."
    );
}

#[test]
fn an_agent_is_one_entry_however_often_it_reports_and_its_host_one_mac() {
    let mut rig = Rig::new();
    let id = rig.agent(AgentType::L3, "c1", &json!({"agent_mode": "dvr"}));
    let mac = rig.state.dvr_macs.values().next().expect("one").mac_address;
    assert_eq!(mac.0[..3], [0xfa, 0x16, 0x3f]);
    rig.act(Command::ReportAgent(AgentReport {
        id: None,
        agent_type: AgentType::L3,
        host: "c1".into(),
        availability_zone: None,
        configurations: Map::new(),
        started: false,
    }));
    assert_eq!(rig.state.agents.len(), 1);
    assert_eq!(rig.state.dvr_macs.len(), 1);
    rig.delete(Kind::Agent, &id.to_string());
    assert!(rig.state.agents.is_empty());
}

#[test]
fn a_topology_is_made_once_and_taken_away_whole() {
    let mut rig = Rig::new();
    let get = Command::AutoTopology {
        project: "demo".into(),
    };
    rig.actor = member("demo");
    assert_eq!(
        rig.refuses(get.clone()),
        "409 AutoAllocationFailure: Deployment error: No default router:external network."
    );
    rig.actor = admin();
    let public = rig.public();
    rig.update(Kind::Network, &public, json!({"is_default": true}));
    let pool = json!({"name": "p", "prefixes": ["10.20.0.0/16"], "default_prefixlen": 24,
        "is_default": true, "shared": true});
    rig.create(Kind::SubnetPool, pool);
    rig.actor = member("demo");
    let first = rig.act(get.clone());
    assert_eq!(rig.act(get), first);
    assert_eq!(rig.state.routers.len(), 1);
    rig.act(Command::DeleteAutoTopology {
        project: "demo".into(),
    });
    assert!(rig.state.routers.is_empty());
    assert_eq!(rig.state.networks.len(), 1, "the external one");
}

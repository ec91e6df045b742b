//! Security groups, their rules, templates and address groups.

use intent::{Kind, Object, SecurityGroup};
use ledger::Command;
use serde_json::{Value, json};

use crate::rig::{Rig, deletion, member};

fn group(rig: &Rig, id: &str) -> SecurityGroup {
    match rig.object(Kind::SecurityGroup, id) {
        Object::SecurityGroup(group) => SecurityGroup::clone(&group),
        other => panic!("no group but {other:?}"),
    }
}

fn rules(rig: &Rig, id: &str) -> usize {
    let id = id.parse().expect("an id");
    rig.state.index.rules_of_group.of(&id).count()
}

#[test]
fn a_projects_default_group_comes_once_with_the_templates_rules() {
    let mut rig = Rig::new();
    rig.actor = member("demo");
    for _ in 0..2 {
        rig.act(Command::EnsureDefaultGroup {
            project: "demo".into(),
        });
    }
    let groups: Vec<_> = rig.state.security_groups.values().collect();
    assert_eq!(groups.len(), 1);
    assert!(groups[0].is_default);
    let id = groups[0].id.to_string();
    assert_eq!(rules(&rig, &id), 4);
    let rename = rig.change(Kind::SecurityGroup, &id, &json!({"name": "x"}));
    assert_eq!(
        rig.refuses(rename),
        "409 SecurityGroupCannotUpdateDefault: Updating default security group not allowed."
    );
    assert_eq!(
        rig.refuses(deletion(Kind::SecurityGroup, &id)),
        "409 SecurityGroupCannotRemoveDefault: Insufficient rights for removing default security \
         group."
    );
}

#[test]
fn guests_ports_of_no_project_have_a_default_group_too() {
    let mut rig = Rig::new();
    let network = rig.create(Kind::Network, json!({"name": "n"}));
    let none = |more: Value| {
        let mut port = json!({"network_id": network, "project_id": ""});
        let more = more.as_object().cloned().unwrap_or_default();
        port.as_object_mut().expect("an object").extend(more);
        port
    };
    let groups_of = |rig: &Rig, id: &str| match rig.object(Kind::Port, id) {
        Object::Port(port) => port.security_groups.clone(),
        other => panic!("no port but {other:?}"),
    };
    let served = rig.create(Kind::Port, none(json!({"device_owner": "network:dhcp"})));
    assert!(groups_of(&rig, &served).is_empty());
    let of_none = |rig: &Rig| {
        let groups = rig.state.security_groups.values();
        let of_none = groups.filter(|group| group.project_id.is_empty());
        of_none.map(|group| group.id).collect::<Vec<_>>()
    };
    assert_eq!(of_none(&rig), []);
    let first = rig.create(Kind::Port, none(json!({})));
    let second = rig.create(Kind::Port, none(json!({})));
    let group = of_none(&rig);
    assert_eq!(group.len(), 1);
    for port in [first, second] {
        assert!(groups_of(&rig, &port).iter().eq(&group));
    }
}

#[test]
fn a_new_group_begins_with_the_templates_for_its_sort() {
    let mut rig = Rig::new();
    let template = json!({"direction": "ingress", "protocol": "tcp", "port_range_min": 22,
        "port_range_max": 22});
    let template = rig.create(Kind::DefaultRule, template);
    let first = rig.create(Kind::SecurityGroup, json!({"name": "a"}));
    assert_eq!(rules(&rig, &first), 3);
    rig.delete(Kind::DefaultRule, &template);
    let second = rig.create(Kind::SecurityGroup, json!({"name": "b"}));
    assert_eq!(rules(&rig, &second), 2);
    assert_eq!(rules(&rig, &first), 3, "a copy outlives its template");
}

#[test]
fn a_group_counts_a_request_for_rules_once() {
    let mut rig = Rig::new();
    let id = rig.create(Kind::SecurityGroup, json!({"name": "g"}));
    let rule = |port: u16| {
        json!({"security_group_id": id, "direction": "ingress", "protocol": "tcp",
            "port_range_min": port, "port_range_max": port})
    };
    let revision = |rig: &Rig| group(rig, &id).meta.revision_number;
    assert_eq!(revision(&rig), 1);
    let drafts = [1, 2, 3].map(
        |port| match rig.creation(Kind::SecurityGroupRule, &rule(port)) {
            Command::Create { drafts, .. } => drafts,
            other => panic!("no creation but {other:?}"),
        },
    );
    rig.act(Command::Create {
        kind: Kind::SecurityGroupRule,
        drafts: drafts.concat(),
    });
    assert_eq!(revision(&rig), 2);
    let fourth = rig.create(Kind::SecurityGroupRule, rule(4));
    rig.delete(Kind::SecurityGroupRule, &fourth);
    assert_eq!(revision(&rig), 4);
}

#[test]
fn a_rule_like_one_that_is_there_names_it() {
    let mut rig = Rig::new();
    let id = rig.create(Kind::SecurityGroup, json!({"name": "g"}));
    let rule = |protocol: Value| {
        json!({"security_group_id": id, "direction": "ingress", "ethertype": "IPv6",
            "protocol": protocol})
    };
    let first = rig.create(Kind::SecurityGroupRule, rule(json!("icmpv6")));
    for same in [json!("icmp"), json!("ipv6-icmp"), json!(58)] {
        let twin = rig.creation(Kind::SecurityGroupRule, &rule(same));
        assert_eq!(
            rig.refuses(twin),
            format!(
                "409 SecurityGroupRuleExists: Security group rule already exists. Rule id is \
                 {first}."
            )
        );
    }
}

#[test]
fn a_group_goes_with_the_rules_that_let_its_members_in() {
    let mut rig = Rig::new();
    let web = rig.create(Kind::SecurityGroup, json!({"name": "web"}));
    let db = rig.create(Kind::SecurityGroup, json!({"name": "db"}));
    let body = json!({"security_group_id": db, "direction": "ingress", "remote_group_id": web});
    rig.create(Kind::SecurityGroupRule, body);
    let (network, _) = rig.network("10.0.0.0/24");
    let port = json!({"network_id": network, "security_groups": [web]});
    let port = rig.create(Kind::Port, port);
    assert_eq!(
        rig.refuses(deletion(Kind::SecurityGroup, &web)),
        format!("409 SecurityGroupInUse: Security Group {web} in use.")
    );
    rig.delete(Kind::Port, &port);
    assert_eq!(rules(&rig, &db), 3);
    rig.delete(Kind::SecurityGroup, &web);
    assert_eq!(rules(&rig, &db), 2);
}

#[test]
fn an_address_group_counts_its_addresses_and_stays_while_a_rule_names_it() {
    let mut rig = Rig::new();
    let body = json!({"name": "a", "addresses": ["10.1.0.0/16", "192.0.2.1/32", "fd00::/32"]});
    let id = rig.create(Kind::AddressGroup, body);
    let revision = |rig: &Rig| match rig.object(Kind::AddressGroup, &id) {
        Object::AddressGroup(group) => group.meta.revision_number,
        other => panic!("no address group but {other:?}"),
    };
    assert_eq!(revision(&rig), 3);
    let more = json!({"addresses": ["203.0.113.0/24", "203.0.114.0/24"]});
    rig.act(Command::AddAddresses {
        group: id.clone(),
        body: more.clone(),
    });
    assert_eq!(revision(&rig), 5);
    assert_eq!(
        rig.refuses(Command::AddAddresses {
            group: id.clone(),
            body: more.clone(),
        }),
        format!(
            "400 AddressesAlreadyExist: Addresses ['203.0.113.0/24', '203.0.114.0/24'] already \
             exist in the address group {id}."
        )
    );
    rig.act(Command::RemoveAddresses {
        group: id.clone(),
        body: more,
    });
    let group = rig.create(Kind::SecurityGroup, json!({"name": "g"}));
    let rule = json!({"security_group_id": group, "direction": "ingress",
        "remote_address_group_id": id});
    let rule = rig.create(Kind::SecurityGroupRule, rule);
    let refused = rig.refuses(deletion(Kind::AddressGroup, &id));
    assert!(refused.starts_with("409 AddressGroupInUse"), "{refused}");
    rig.delete(Kind::SecurityGroupRule, &rule);
    rig.delete(Kind::AddressGroup, &id);
}

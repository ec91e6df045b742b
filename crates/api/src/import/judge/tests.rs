//! Each thing that is said of a cloud, on the smallest cloud that has it.

use intent::RouterId;
use serde_json::json;

use super::*;

fn id(n: u8) -> String {
    format!("b795f5d9-0400-490f-b200-7e6beb3870{n:02}")
}

/// A network with a subnet, a guest's port in a security group.
fn cloud() -> Answers {
    let network = json!({"id": id(1), "name": "red", "project_id": "p",
        "provider:network_type": "vxlan", "provider:segmentation_id": 7, "status": "DOWN"});
    let subnet = json!({"id": id(2), "project_id": "p", "network_id": id(1), "cidr": "10.0.0.0/24",
        "gateway_ip": "10.0.0.1", "allocation_pools": [{"start": "10.0.0.2", "end": "10.0.0.254"}]});
    let group = json!({"id": id(4), "project_id": "p", "name": "default"});
    Answers {
        lists: BTreeMap::from([
            ("networks", vec![network]),
            ("subnets", vec![subnet]),
            ("ports", vec![port(3, "10.0.0.5")]),
            ("security_groups", vec![group]),
        ]),
        default_quota: LIMITED
            .iter()
            .map(|(name, _)| {
                (
                    (*name).to_owned(),
                    json!(Config::default().default_quota(name)),
                )
            })
            .collect(),
        ..Answers::default()
    }
}

fn port(n: u8, address: &str) -> Value {
    json!({"id": id(n), "project_id": "p", "network_id": id(1),
        "mac_address": format!("fa:16:3e:00:00:{n:02}"), "status": "ACTIVE",
        "binding:host_id": "c1", "binding:vif_type": "ovs", "security_groups": [id(4)],
        "fixed_ips": [{"subnet_id": id(2), "ip_address": address}]})
}

fn with(plural: &'static str, member: Value) -> Answers {
    let mut cloud = cloud();
    cloud.lists.entry(plural).or_default().push(member);
    cloud
}

fn said(answers: &Answers, leave_out: &[&str]) -> Report {
    let terms = Terms {
        leave_out: leave_out.iter().map(|it| (*it).to_owned()).collect(),
        ..Terms::default()
    };
    judge(answers, &terms).1
}

/// The words of what is in the way.
fn in_the_way(report: &Report) -> Vec<&str> {
    let findings = report.findings.iter().filter(|it| !it.is_accepted);
    findings.map(|it| it.word.as_str()).collect()
}

/// In the way until it is left out by a word.
fn is_left_out_by(answers: &Answers, word: &str, by: &str) {
    let report = said(answers, &[]);
    assert_eq!(in_the_way(&report), [word], "{report}");
    assert!(
        report.to_string().contains(&format!("[--leave-out {by}]")),
        "{report}"
    );
    let report = said(answers, &[by]);
    assert!(report.is_clean(), "{report}");
}

#[test]
fn a_cloud_that_is_understood_is_taken() {
    let (state, report) = judge(&cloud(), &Terms::default());
    assert!(report.is_clean(), "{report}");
    // That it was down is no loss, and said.
    let words: Vec<&str> = report.findings.iter().map(|it| it.word.as_str()).collect();
    assert_eq!(words, ["networks.status"]);
    assert_eq!(report.taken["port"], 1);
    assert_eq!(state.segments.len(), 1);
}

#[test]
fn what_no_history_leads_to_is_refused() {
    let twin = said(&with("ports", port(5, "10.0.0.5")), &[]);
    let wanted = format!(
        "port {} has 10.0.0.5 on its network, as has {}",
        id(5),
        id(3)
    );
    assert_eq!(twin.cannot, [wanted]);
    assert!(!twin.is_clean());

    let outside = said(&with("ports", port(5, "10.9.0.5")), &[]);
    let wanted = format!(
        "port {} has 10.9.0.5, not of a subnet {} of its network",
        id(5),
        id(2)
    );
    assert_eq!(outside.cannot, [wanted]);

    let mut groupless = cloud();
    groupless.lists.remove("security_groups");
    let wanted = format!("port {} has a group that is gone", id(3));
    assert_eq!(said(&groupless, &[]).cannot, [wanted]);

    let mut homeless = cloud();
    homeless.lists.remove("networks");
    let wanted = [
        format!("subnet {} has no network", id(2)),
        format!("port {} has no network", id(3)),
    ];
    assert_eq!(said(&homeless, &[]).cannot, wanted);
}

#[test]
fn what_cannot_be_read_is_refused_by_its_id() {
    let rule = json!({"id": id(5), "security_group_id": id(4), "direction": "sideways",
        "ethertype": "IPv4"});
    let report = said(&with("security_group_rules", rule), &[]);
    assert_eq!(in_the_way(&report), Vec::<&str>::new());
    assert_eq!(
        report.cannot,
        [format!("security_group_rules {} can't be read", id(5))]
    );
    assert!(!report.is_clean());
}

#[test]
fn an_attribute_that_would_be_lost_is_in_the_way_until_it_is_left_out() {
    let mut odd = port(5, "10.0.0.6");
    odd["binding:vif_type"] = "hw_veb".into();
    is_left_out_by(
        &with("ports", odd),
        "ports.binding:vif_type",
        "ports.binding:vif_type",
    );

    let mut new = port(5, "10.0.0.6");
    new["of_the_future"] = json!({"a": 1});
    is_left_out_by(
        &with("ports", new),
        "ports.of_the_future",
        "ports.of_the_future",
    );

    let mut named = port(5, "10.0.0.6");
    let fqdn = json!({"ip_address": "10.0.0.6", "hostname": "host-10-0-0-6",
        "fqdn": "host-10-0-0-6.example.org."});
    named["dns_assignment"] = json!([fqdn]);
    is_left_out_by(
        &with("ports", named),
        "ports.dns_assignment",
        "ports.dns_assignment",
    );
}

#[test]
fn what_is_not_served_is_left_out_with_what_belongs_to_it() {
    let mut trunk = port(5, "10.0.0.6");
    trunk["trunk_details"] = json!({"trunk_id": id(6)});
    let mut cloud = with("ports", trunk);
    cloud.foreign = BTreeMap::from([("trunks", 1), ("qos_policies", 0)]);
    let report = said(&cloud, &[]);
    assert_eq!(in_the_way(&report), ["trunks", "ports.trunk_details"]);
    assert!(said(&cloud, &["trunks"]).is_clean());
}

#[test]
fn a_highly_available_router_has_to_be_changed_first() {
    let router = json!({"id": id(5), "project_id": "p", "name": "r", "ha": true});
    let report = said(&with("routers", router), &["routers.ha"]);
    assert_eq!(in_the_way(&report), ["routers.ha"]);
    assert!(!report.to_string().contains("--leave-out"), "{report}");
}

#[test]
fn an_agent_of_another_kind_is_not_taken_and_harms_nothing() {
    let agent = json!({"id": id(5), "agent_type": "Metering agent", "host": "net"});
    let report = said(&with("agents", agent), &[]);
    assert!(report.is_clean(), "{report}");
    assert!(report.to_string().contains("agents.agent_type"), "{report}");
    assert_eq!(report.taken.get("agent"), None);
}

#[test]
fn quotas_keep_what_was_set_and_defaults_have_to_be_the_same() {
    let mut quota: Value = Value::Object(cloud().default_quota);
    quota["project_id"] = "p".into();
    quota["port"] = 7.into();
    quota["trunk"] = (-1).into();
    let mut cloud = with("quotas", quota);
    let (state, report) = judge(&cloud, &Terms::default());
    assert!(report.is_clean(), "{report}");
    let limits = &state.quotas[&intent::ProjectId::from("p")].limits;
    assert_eq!(limits, &BTreeMap::from([("port".to_owned(), 7)]));

    cloud.default_quota["network"] = 1000.into();
    is_left_out_by(&cloud, "default_quotas", "default_quotas");
    // Then nothing is known to be a default.
    let (state, _) = judge(&cloud, &Terms::default());
    let limits = &state.quotas[&intent::ProjectId::from("p")].limits;
    let kept: Vec<&str> = limits.keys().map(String::as_str).collect();
    assert_eq!(kept, ["network", "port"]);
}

#[test]
fn hosts_of_distributed_routers_keep_their_macs_when_somebody_says_them() {
    let agent = json!({"id": id(6), "agent_type": "L3 agent", "host": "c1",
        "configurations": {"agent_mode": "dvr"}});
    let mut cloud = with("agents", agent);
    cloud.lists.get_mut("agents").unwrap()[0]["binary"] = "neutron-l3-agent".into();
    assert!(said(&cloud, &[]).is_clean(), "no router is distributed");
    let router = json!({"id": id(5), "project_id": "p", "name": "r", "distributed": true});
    cloud.lists.insert("routers", vec![router]);
    is_left_out_by(&cloud, "dvr_macs", "dvr_macs");
    let terms = Terms {
        dvr_macs: vec![DvrMac {
            host: "c1".into(),
            mac_address: "fa:16:3f:00:00:01".parse().expect("a MAC"),
        }],
        ..Terms::default()
    };
    let (state, report) = judge(&cloud, &terms);
    assert!(report.is_clean(), "{report}");
    assert_eq!(state.dvr_macs.len(), 1);
}

#[test]
fn an_allocated_topology_is_known_by_the_names_of_its_parts() {
    let named = |n: u8, name: &str, number: u32| {
        json!({"id": id(n), "project_id": "q", "name": name,
            "provider:network_type": "vxlan", "provider:segmentation_id": number})
    };
    let mut cloud = with("networks", named(5, "auto_allocated_network", 8));
    assert_eq!(
        understood(&cloud, &Terms::default())
            .0
            .auto_topologies
            .len(),
        0
    );
    cloud
        .lists
        .insert("routers", vec![named(6, "auto_allocated_router", 0)]);
    let topology = |cloud: &Answers| {
        let (state, _) = understood(cloud, &Terms::default());
        state.auto_topologies.values().next().map(|it| it.router_id)
    };
    let router: RouterId = id(6).parse().expect("an id");
    assert_eq!(topology(&cloud), Some(router));
    let another = named(7, "auto_allocated_router", 0);
    cloud.lists.get_mut("routers").unwrap().push(another);
    assert_eq!(topology(&cloud), None, "which of them is not known");
    cloud.lists.get_mut("routers").unwrap().pop();
    let another = named(8, "auto_allocated_network", 9);
    cloud.lists.get_mut("networks").unwrap().push(another);
    assert_eq!(topology(&cloud), None, "nor of networks");
}

#[test]
fn an_extension_of_which_nothing_is_known_is_named() {
    let mut cloud = cloud();
    let aliases = [
        "router",
        "qos-pps",
        "trunk",
        "of-somebody",
        "l3-conntrack-helper",
    ];
    cloud.extensions = aliases.map(str::to_owned).into();
    let unknown = ["trunk", "of-somebody", "l3-conntrack-helper"];
    assert_eq!(
        said(&cloud, &[]).unknown,
        unknown,
        "no collection of trunks was there"
    );
    cloud.foreign.insert("trunks", 0);
    cloud
        .extensions
        .push("expose-l3-conntrack-helper".to_owned());
    assert_eq!(said(&cloud, &[]).unknown, ["of-somebody"]);
}

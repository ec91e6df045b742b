//! The defaults, and an operator's rules over them.

use super::*;

struct Of(&'static [(&'static str, &'static str)]);

impl Target for Of {
    fn text(&self, attr: &str) -> Option<String> {
        let found = self.0.iter().find(|(name, _)| *name == attr);
        found.map(|(_, value)| (*value).to_owned())
    }
}

fn caller(project: &str, roles: &[&str]) -> Credentials {
    Credentials {
        project: project.to_owned(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        ..Credentials::default()
    }
}

fn defaults() -> Policy {
    Policy::read(None).expect("the defaults are rules")
}

#[test]
fn a_member_acts_in_the_own_project_and_a_reader_only_reads() {
    let policy = defaults();
    let own = Of(&[("project_id", "p")]);
    let member = caller("p", &["member", "reader"]);
    let reader = caller("p", &["reader"]);
    assert!(policy.allows("create_network", &member, &own));
    assert!(policy.allows("get_network", &reader, &own));
    assert!(!policy.allows("create_network", &reader, &own));
    assert!(!policy.allows("create_network", &caller("q", &["member"]), &own));
    assert!(policy.allows("create_network", &caller("q", &["admin"]), &own));
}

#[test]
fn the_networks_owner_may_do_more_to_its_ports() {
    let policy = defaults();
    let port = Of(&[("project_id", "p"), ("network:project_id", "n")]);
    assert!(policy.allows("create_port:mac_address", &caller("n", &["member"]), &port));
    assert!(!policy.allows("create_port:mac_address", &caller("p", &["member"]), &port));
}

#[test]
fn a_missing_rule_is_the_default_rule() {
    let policy = defaults();
    let own = Of(&[("project_id", "p")]);
    assert!(policy.allows("create_port:nothing_like_it", &caller("p", &[]), &own));
    assert!(!policy.allows("create_port:nothing_like_it", &caller("q", &[]), &own));
}

#[test]
fn what_does_not_depend_on_the_resource_is_known_without_it() {
    let policy = defaults();
    let member = caller("p", &["member", "reader"]);
    assert_eq!(policy.ask("get_agent", &member), Answer::No);
    assert_eq!(policy.ask("get_port", &member), Answer::Depends);
    assert_eq!(
        policy.ask("get_port", &caller("p", &["admin"])),
        Answer::Yes
    );
    assert_eq!(policy.ask("get_port:binding:host_id", &member), Answer::No);
}

#[test]
fn device_owners_are_matched_from_their_start() {
    let policy = defaults();
    let member = caller("p", &["member"]);
    let dhcp = Of(&[("device_owner", "network:dhcp"), ("project_id", "p")]);
    let guest = Of(&[("device_owner", "compute:nova"), ("project_id", "p")]);
    assert!(!policy.allows("create_port:device_owner", &member, &dhcp));
    assert!(policy.allows("create_port:device_owner", &member, &guest));
}

#[test]
fn an_operators_rules_go_over_the_defaults() {
    let yaml = "\"create_network\": \"role:builder\"\nget_agent: '@'\nget_port: \"!\"\n";
    let policy = Policy::read(Some(yaml)).expect("rules");
    assert!(policy.allows("create_network", &caller("p", &["builder"]), &Nothing));
    assert!(policy.allows("get_agent", &caller("p", &[]), &Nothing));
    assert!(!policy.allows("get_port", &caller("p", &["admin"]), &Nothing));
    assert!(policy.allows("delete_network", &caller("p", &["admin"]), &Nothing));
}

#[test]
fn an_operators_mistake_is_named() {
    let refused =
        Policy::read(Some("create_network: http://decide.example/")).expect_err("refused");
    assert!(refused.to_string().contains("create_network"), "{refused}");
    Policy::read(Some("- a list")).expect_err("refused");
}

#[test]
fn rules_in_a_circle_let_nobody_pass() {
    let policy = Policy::read(Some("a: rule:b\nb: rule:a")).expect("rules");
    assert!(!policy.allows("a", &caller("p", &["admin"]), &Nothing));
}

#[test]
fn a_property_that_callers_have_not_is_nobodys() {
    let rules =
        "a: group_id:%(name)s\nb: \"'group_id':%(name)s\"\nc: tenant:%(owner)s\nd: None:%(owner)s";
    let policy = Policy::read(Some(rules)).expect("rules");
    let any = caller("p", &["admin"]);
    // A user may call a thing as a rule calls what is compared.
    let named = Of(&[("name", "group_id"), ("owner", "p")]);
    assert!(!policy.allows("a", &any, &named));
    assert!(policy.allows("b", &any, &named));
    assert!(policy.allows("c", &any, &named));
    assert!(!policy.allows("d", &any, &named));
}

#[test]
fn rules_may_be_lists_of_lists() {
    let rules = "a: [[\"role:x\", \"role:y\"], \"role:z\"]\nb: []\nc: [[]]\nd: [[\"role\"]]";
    Policy::read(Some(rules)).expect_err("d is no rule");
    let policy = Policy::read(Some(&rules[..rules.len() - 13])).expect("rules");
    assert!(policy.allows("a", &caller("p", &["x", "y"]), &Nothing));
    assert!(policy.allows("a", &caller("p", &["z"]), &Nothing));
    assert!(!policy.allows("a", &caller("p", &["x"]), &Nothing));
    assert!(policy.allows("b", &caller("p", &[]), &Nothing));
    assert!(!policy.allows("c", &caller("p", &[]), &Nothing));
}

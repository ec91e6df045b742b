//! Asking by classes says what asking every pair says: in clouds made at random, and on recorded
//! hosts with faults.
#[path = "../../tests/made_up/mod.rs"]
mod made_up;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::snapshot::{self, Parts};

fn compare(world: &World, port: Option<u16>) -> Result<(), TestCaseError> {
    let proto = if port.is_some() { "tcp" } else { "icmp" };
    let wish = Wish {
        proto: Some(proto.to_owned()),
        port,
        ..Wish::default()
    };
    let guests = chosen(world, &[]);
    let ask = |apart: bool| table(world, &wish, (&guests, &guests), apart);
    let (by_classes, by_pairs) = (ask(false), ask(true));
    for (one, other) in by_classes.iter().zip(&by_pairs) {
        prop_assert_eq!(one, other);
    }
    prop_assert_eq!(by_classes.len(), guests.len() * (guests.len() - 1));
    Ok(())
}

/// A rule of a group: whether it is for what comes in, for which TCP port, and from where.
type RuleOf = (bool, Option<u16>, From);

#[derive(Clone, Copy, Debug)]
enum From {
    Anywhere,
    Range(u8),
    Group(usize),
}

/// A guest: its network, its groups, whether it is filtered, its host.
type GuestOf = (usize, BTreeSet<usize>, bool, usize);

const GROUPS: usize = 3;
const NETWORKS: usize = 3;
const HOSTS: usize = 2;

fn rule_of() -> impl Strategy<Value = RuleOf> {
    let from = prop_oneof![
        Just(From::Anywhere),
        (0u8..3).prop_map(From::Range),
        (0..GROUPS).prop_map(From::Group),
    ];
    (any::<bool>(), prop::option::of(Just(22)), from)
}

fn guest_of() -> impl Strategy<Value = GuestOf> {
    let groups = prop::collection::btree_set(0..GROUPS, 0..3);
    (0..NETWORKS, groups, prop::bool::weighted(0.8), 0..HOSTS)
}

fn rule(n: usize, group: usize, (ingress, port, from): &RuleOf) -> Value {
    let direction = if *ingress { "ingress" } else { "egress" };
    let what = (port.map(|_| "tcp"), *port);
    let mut rule = made_up::rule(n, group, (direction, "IPv4"), what);
    match from {
        From::Anywhere => {}
        From::Range(n) => rule["remote_ip_prefix"] = format!("10.{n}.0.0/25").into(),
        From::Group(n) => rule["remote_group_id"] = made_up::id(4, *n).into(),
    }
    rule
}

/// A cloud out of intent; the router joins the first networks only.
fn cloud(rules: &[Vec<RuleOf>], guests: &[GuestOf], joined: usize) -> World {
    let guest = |(n, (at, groups, filtered, host)): (usize, &GuestOf)| {
        // Some of a network's guests are within its lower half, some above.
        let last = (n + 1) + if n % 2 == 0 { 0 } else { 128 };
        let port = port(n, *at, "compute:nova", last, *host);
        match filtered {
            true => made_up::in_groups(port, groups.iter().copied()),
            false => port,
        }
    };
    let gateway = |n: usize| port(100 + n, n, "network:router_interface", 254, 0);
    let flat = rules
        .iter()
        .enumerate()
        .flat_map(|(g, all)| all.iter().map(move |r| (g, r)));
    let ports = guests.iter().enumerate().map(guest);
    let cloud = made_up::MadeUp {
        hosts: HOSTS,
        groups: GROUPS,
        networks: (0..NETWORKS).map(made_up::network).collect(),
        subnets: (0..NETWORKS).map(made_up::subnet).collect(),
        ports: ports.chain((0..joined).map(gateway)).collect(),
        rules: flat.enumerate().map(|(n, (g, r))| rule(n, g, r)).collect(),
    };
    Parts::read(&cloud.files()).imagine().world
}

fn port(n: usize, network: usize, owner: &str, last: usize, host: usize) -> Value {
    let address = format!("10.{network}.0.{last}");
    made_up::port(n, network, owner, &[&address], host)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn classes_speak_for_every_pair(
        rules in prop::collection::vec(prop::collection::vec(rule_of(), 1..5), GROUPS),
        guests in prop::collection::vec(guest_of(), 6..10),
        joined in 0..=NETWORKS,
    ) {
        compare(&cloud(&rules, &guests, joined), Some(22))?;
    }
}

fn recorded(case: &str) -> World {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/reference/faults");
    let mut files = BTreeMap::new();
    let mut folders: Vec<(PathBuf, String)> = vec![(folder.join(case), String::new())];
    while let Some((folder, start)) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let name = format!("{start}{}", entry.file_name().to_string_lossy());
            match entry.file_type().unwrap().is_dir() {
                true => folders.push((entry.path(), format!("{name}/"))),
                false => {
                    files.insert(name, std::fs::read_to_string(entry.path()).unwrap());
                }
            }
        }
    }
    snapshot::load(&files).world
}

#[test]
fn on_hosts_with_faults_classes_speak_for_every_pair_too() {
    for case in [
        "04-wrong-tag-on-qvo",
        "19-table4-wrong-tun-id",
        "42-ct-new-accept-missing",
    ] {
        let world = recorded(case);
        compare(&world, Some(22)).unwrap();
    }
}

#[test]
fn what_is_known_of_ways_and_filters_need_not_be_asked() {
    let mut facts = Facts::default();
    let (way, other_way, filter, closed) = ((0, 0), (0, 1), (0, 0), (0, 1));
    assert_eq!(facts.follows(way, filter), None);
    facts.learn(way, closed, Reaches::No);
    assert_eq!(
        facts.follows(other_way, closed),
        None,
        "either may be to blame"
    );
    facts.learn(way, filter, Reaches::Yes);
    assert_eq!(facts.follows(other_way, closed), Some(Reaches::No));
    assert_eq!(facts.follows(other_way, filter), None);
    facts.learn(other_way, filter, Reaches::OneWay);
    assert_eq!(facts.follows(other_way, filter), Some(Reaches::OneWay));
}

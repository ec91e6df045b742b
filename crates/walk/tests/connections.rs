//! Connections that hosts track from before, over recorded hosts: a packet of one is let through,
//! or not, as one of it, and an entry that should be gone is named.
mod common;

use common::{read_folder, reference};
use host::names;
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot::Parts;
use walk::world::World;

const HYBRID: &str = "00-healthy-legacy-hybrid";
const NATIVE: &str = "40-healthy-legacy-ovsfw";

/// The recorded hosts, one of which tracks these connections besides.
fn tracking(case: &str, host: &str, ns: &str, lines: &str) -> World {
    let mut files = read_folder(&reference("faults").join(case));
    let path = format!("{host}/ns-{ns}/conntrack.txt");
    files.insert(path, lines.to_owned());
    let snapshot = Parts::read(&files).assemble();
    assert_eq!(snapshot.problems, Vec::<String>::new());
    snapshot.world
}

/// An entry of `conntrack -L` between a guest of red and one of green.
fn entry((from, sport): (&str, u16), (to, dport): (&str, u16), more: &str) -> String {
    format!(
        "tcp      6 431990 ESTABLISHED src={from} dst={to} sport={sport} dport={dport} \
         src={to} dst={from} sport={dport} dport={sport} [ASSURED] {more} use=1\n"
    )
}

fn ask(world: &World, from: &str, to: &str, ports: (u16, u16)) -> Walk {
    let question = Question {
        from: from.to_owned(),
        to: to.to_owned(),
        src_port: Some(ports.0),
        port: Some(ports.1),
        ..Question::default()
    };
    walk::walk(world, &question).unwrap()
}

fn fares(walk: &Walk) -> (Verdict, bool) {
    (walk.verdict, walk.replied)
}

#[test]
fn a_stale_entry_lets_through_what_no_rule_allows_and_is_named() {
    let (red1, green2) = ("10.1.0.11", "10.2.2.12");
    let line = entry((red1, 40001), (green2, 443), "mark=0 zone=4098");
    let world = tracking(HYBRID, "c2", "root", &line);
    let walk = ask(&world, "red1", "green2", (40001, 443));
    assert_eq!(fares(&walk), (Verdict::Delivered, true), "{}", walk.summary);
    let at = walk.at.expect("a place");
    assert!(at.fault && at.rule.contains("dport=443") && at.rule.contains("zone=4098"));
    let step = walk.forward.iter().find(|s| s.what.contains("from before"));
    assert_eq!(step.and_then(|s| s.rule.as_ref()), Some(&at.rule));

    // Of another port, in another zone, or as it should be, the connection is a new one.
    let walk = ask(&world, "red1", "green2", (40002, 443));
    assert_eq!(fares(&walk), (Verdict::Dropped, false));
    let elsewhere = tracking(HYBRID, "c2", "root", &line.replace("4098", "4097"));
    let walk = ask(&elsewhere, "red1", "green2", (40001, 443));
    assert_eq!(fares(&walk), (Verdict::Dropped, false));
    let mut wanted = world;
    wanted.want();
    let walk = ask(&wanted, "red1", "green2", (40001, 443));
    assert_eq!(fares(&walk), (Verdict::Dropped, false));
}

#[test]
fn an_entry_that_was_never_answered_or_is_over_makes_nothing_of_a_packet() {
    let (red1, green2) = ("10.1.0.11", "10.2.2.12");
    let line = entry((red1, 40001), (green2, 443), "mark=0 zone=4098");
    for other in [
        line.replace("ESTABLISHED", "TIME_WAIT"),
        line.replace("ESTABLISHED", "SYN_SENT")
            .replace("[ASSURED]", "")
            .replace(" src=10.2.2.12", " [UNREPLIED] src=10.2.2.12"),
    ] {
        let world = tracking(HYBRID, "c2", "root", &other);
        let walk = ask(&world, "red1", "green2", (40001, 443));
        assert_eq!(fares(&walk), (Verdict::Dropped, false), "{other}");
        assert!(walk.at.is_some_and(|at| !at.fault), "{other}");
    }
}

#[test]
fn an_entry_of_a_connection_that_is_allowed_is_not_blamed_nor_its_answer() {
    let (green1, red1) = ("10.2.2.11", "10.1.0.11");
    let line = entry((green1, 40001), (red1, 8000), "mark=0 zone=4097")
        + &entry((green1, 40001), (red1, 8000), "mark=0 zone=4099");
    let world = tracking(HYBRID, "c1", "root", &line);
    let walk = ask(&world, "green1", "red1", (40001, 8000));
    assert_eq!(fares(&walk), (Verdict::Delivered, true), "{}", walk.summary);
    assert_eq!(walk.at, None);
    // The other way round it is an answer, which may come in without a rule for it.
    let walk = ask(&world, "red1", "green1", (8000, 40001));
    assert_eq!(fares(&walk), (Verdict::Delivered, true), "{}", walk.summary);
    assert_eq!(walk.at, None);
}

#[test]
fn a_connection_that_was_translated_is_still() {
    let healthy = tracking(HYBRID, "net", "root", "");
    let mut routers = healthy.cloud.routers.values();
    let (id, gateway) = routers
        .find_map(|r| Some((&r.id, r.external_gateway_info.as_ref()?)))
        .unwrap();
    let own = gateway.external_fixed_ips[0].ip_address;
    let line = format!(
        "tcp 6 431990 ESTABLISHED src=10.1.0.12 dst=172.24.4.225 sport=40001 dport=80 \
         src=172.24.4.225 dst={own} sport=80 dport=5555 [ASSURED] mark=0 use=1\n"
    );
    let ns = names::qrouter(id);
    let world = tracking(HYBRID, "net", ns.as_str(), &line);
    let walk = ask(&world, "red2", "outside", (40001, 80));
    assert_eq!(fares(&walk), (Verdict::Delivered, true), "{}", walk.summary);
    let mut changes = walk.forward.iter().flat_map(|s| &s.changes);
    assert!(changes.any(|c| c.field == "src port" && c.after == "5555"));
}

#[test]
fn in_a_switch_an_entry_is_looked_up_in_its_zone_and_rules_are_asked_all_the_same() {
    let (red1, green2) = ("10.1.0.11", "10.2.2.12");
    for zone in 1..4 {
        let line = entry((red1, 40001), (green2, 443), &format!("mark=0 zone={zone}"));
        let world = tracking(NATIVE, "c2", "root", &line);
        let walk = ask(&world, "red1", "green2", (40001, 443));
        assert_eq!(fares(&walk), (Verdict::Dropped, false), "zone {zone}");
    }
    // Marked as one that no rule allowed any more: its answers are stopped, though a rule is back.
    let (green1, red1) = ("10.2.2.11", "10.1.0.11");
    let marked = |mark: u8| {
        let lines = (1..4).map(|zone| {
            let more = format!("mark={mark} zone={zone}");
            entry((green1, 40001), (red1, 8000), &more)
        });
        tracking(NATIVE, "c1", "root", &lines.collect::<String>())
    };
    let walk = ask(&marked(0), "green1", "red1", (40001, 8000));
    assert_eq!(fares(&walk), (Verdict::Delivered, true), "{}", walk.summary);
    assert_eq!(walk.at, None);
    let state = |s: &walk::report::Step| {
        let mut changes = s.changes.iter();
        changes.any(|c| c.field == "ct_state" && c.after.contains("est"))
    };
    assert!(walk.forward.iter().any(state));
    let walk = ask(&marked(1), "green1", "red1", (40001, 8000));
    assert_eq!(
        fares(&walk),
        (Verdict::Delivered, false),
        "{}",
        walk.summary
    );
    let at = walk.at.expect("a place");
    assert!(at.fault && at.rule.contains("mark=1"), "{at:#?}");
}

//! What is foretold of a packet that is really sent, and what follows from where it is seen: on the
//! recorded hosts, where nobody sends any more.
mod common;

use common::{read_folder, reference};
use walk::bytes::Mark;
use walk::live::{Experiment, LiveError, Way, prepare};
use walk::question::Question;
use walk::world::World;

const MARK: Mark = Mark(0x0123_4567_89ab_cdef);

fn world() -> World {
    let files = read_folder(&reference("faults").join("00-healthy-legacy-hybrid"));
    walk::snapshot::load(&files).world
}

fn asked(from: &str, to: &str, port: Option<u16>) -> Question {
    Question {
        from: from.to_owned(),
        to: to.to_owned(),
        port,
        ..Question::default()
    }
}

/// Let everybody see what is foretold, but for one device.
fn seen_but(experiment: &mut Experiment, blind: &str) {
    for watch in experiment.watches() {
        let mut answer = experiment.frame.clone();
        // An echo reply differs from its request in the type.
        answer[34] = 0;
        let foretold = |way: Way| {
            let mut points = experiment.points.iter();
            points.any(|p| p.watch.as_ref() == Some(&watch) && p.way == way && p.predicted)
        };
        let mut frames = Vec::new();
        if watch.device != blind && foretold(Way::There) {
            frames.push(experiment.frame.clone());
        }
        if watch.device != blind && foretold(Way::Back) {
            frames.push(answer);
        }
        experiment.saw(&watch, Ok(&frames));
    }
}

#[test]
fn a_packet_that_is_seen_everywhere_agrees_and_the_first_blind_place_is_named() {
    let world = world();
    let question = asked("red1", "red3", None);
    let mut experiment = prepare(&world, &question, MARK, true).unwrap();
    seen_but(&mut experiment, "");
    assert_eq!(experiment.disagreement(), None, "{}", experiment.print());
    assert!(experiment.watched());
    let taps: Vec<&str> = experiment
        .points
        .iter()
        .filter(|point| point.letter == Some('B') && point.seen == Some(true))
        .map(|point| point.host.as_str())
        .collect();
    assert_eq!(taps, ["c1", "c2", "c2", "c1"], "{}", experiment.print());

    let device = experiment
        .points
        .iter()
        .rfind(|p| p.way == Way::There && p.watch.is_some());
    let device = device.unwrap().device.clone();
    let mut experiment = prepare(&world, &question, MARK, true).unwrap();
    seen_but(&mut experiment, &device);
    let first = experiment.disagreement().unwrap();
    assert_eq!(
        (first.way, first.device.as_str()),
        (Way::There, device.as_str())
    );
}

#[test]
fn a_packet_that_a_group_stops_is_looked_for_behind_it() {
    let question = asked("red1", "green2", Some(443));
    let mut experiment = prepare(&world(), &question, MARK, true).unwrap();
    let behind: Vec<_> = experiment
        .points
        .iter()
        .filter(|p| p.way == Way::Beyond)
        .collect();
    assert_eq!(
        behind.len(),
        0,
        "its tap is where the way ends: {}",
        experiment.print()
    );
    let tap = experiment
        .points
        .iter()
        .find(|p| p.device.starts_with("tap954df716"))
        .unwrap();
    assert!(!tap.predicted);
    let watch = tap.watch.clone().unwrap();
    let frame = experiment.frame.clone();
    experiment.saw(&watch, Ok(&[frame]));
    assert!(
        experiment
            .print()
            .contains("foretold to be not seen, and seen")
    );
}

#[test]
fn what_is_before_the_place_of_sending_is_not_looked_at() {
    let experiment = prepare(&world(), &asked("red1", "red3", None), MARK, false).unwrap();
    let before = experiment.points.iter().take_while(|p| p.watch.is_none());
    let devices: Vec<&str> = before.map(|p| &p.device[..3]).collect();
    assert_eq!(devices[..4], ["eth", "tap", "qvb", "qvo"]);
}

#[test]
fn only_guests_send_and_only_what_leaves() {
    let world = world();
    let refused = |from: &str, to: &str| prepare(&world, &asked(from, to, None), MARK, true);
    assert!(matches!(
        refused("outside", "172.24.4.226"),
        Err(LiveError::NotAGuest(_))
    ));
    assert!(matches!(
        refused("red1", "10.1.0.99"),
        Err(LiveError::Stays(..))
    ));
}

#[test]
fn a_lease_is_looked_for_on_its_way_there_and_back() {
    let world = world();
    let mut experiment = prepare(&world, &asked("red1", "dhcp", None), MARK, true).unwrap();
    let server = |p: &walk::live::Point| p.place.starts_with("qdhcp-") && p.watch.is_some();
    assert!(
        experiment.points.iter().any(server),
        "{}",
        experiment.print()
    );
    let mut offer = experiment.frame.clone();
    // Behind the headers of Ethernet, IPv4 and UDP.
    offer[42] = 2;
    for watch in experiment.watches() {
        let frames = [experiment.frame.clone(), offer.clone()];
        experiment.saw(&watch, Ok(&frames));
    }
    assert_eq!(experiment.disagreement(), None, "{}", experiment.print());
    assert!(experiment.watched());
}

#[test]
fn an_answer_of_udp_is_looked_for_where_its_ports_are_its_own() {
    let question = |from: &str, to: &str| Question {
        proto: Some("udp".to_owned()),
        ..asked(from, to, Some(53))
    };
    let world = world();
    let back = |from: &str, to: &str| -> Vec<bool> {
        let experiment = prepare(&world, &question(from, to), MARK, true).unwrap();
        let points = experiment.points.iter();
        let points = points.filter(|p| p.way == Way::Back && p.device.starts_with("q"));
        points.map(|p| p.watch.is_some()).collect()
    };
    let near = back("red1", "red3");
    assert!(
        !near.is_empty() && near.iter().all(|watched| *watched),
        "{near:?}"
    );
    // red2 goes outside by the router's own address: before it is translated back, nobody knows it.
    let far = back("red2", "outside");
    assert!(far.contains(&true), "{far:?}");
}

//! Faults as people make them by hand on a Neutron's hosts, each with what a real packet then
//! does: whether it arrives, whether it is answered, and what is to blame. What a single change
//! to one line does is tried in `broken`; here are the faults that show in several places.
#[path = "../common/mod.rs"]
mod common;
mod hand;

use std::fmt::Write as _;

use common::{read_folder, reference};
use hand::Hand;
use walk::question::Question;
use walk::report::{Verdict, Walk};
use walk::snapshot;
use walk::world::World;

/// Is it delivered, and is it answered?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Fine,
    Unanswered,
    /// Not delivered, but somebody answers.
    ByAnother,
    Lost,
}
use Ends::{ByAnother, Fine, Lost, Unanswered};

const LEGACY: &str = "00-healthy-legacy-hybrid";
/// Its router, on its host.
const ROUTER: &str = "net/ns-qrouter-a19a342b-9c1a-4f39-84e2-0692986146cd";
const DISTRIBUTED: &str = "30-healthy-dvr-hybrid";
const NATIVE: &str = "40-healthy-legacy-ovsfw";

fn healthy(case: &str) -> Hand {
    let mut files = read_folder(&reference("faults").join(case));
    files.remove("truth.json");
    Hand(files)
}

fn question(words: &str, floating: &str) -> Question {
    let words: Vec<&str> = words.split_whitespace().collect();
    let number = |n: usize| words.get(n).and_then(|w| w.parse::<u32>().ok());
    let proto = match words.get(3).copied() {
        Some("size") => Some("icmp"),
        None if words[2] == "dhcp" => Some("dhcp"),
        proto => proto,
    };
    let to = match (words[0], words[2]) {
        (_, "fip") => floating,
        (_, to) => to,
    };
    Question {
        from: words[0].to_owned(),
        to: to.to_owned(),
        proto: proto.map(str::to_owned),
        port: number(4).filter(|_| words[3] != "size").map(|p| p as u16),
        size: number(4).filter(|_| words[3] == "size"),
        ..Question::default()
    }
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn ends(walk: &Walk) -> Option<Ends> {
    Some(match (walk.verdict, walk.replied) {
        (Verdict::Delivered, true) => Fine,
        (Verdict::Delivered, false) => Unanswered,
        (Verdict::Dropped, true) => ByAnother,
        (Verdict::Dropped, false) => Lost,
        (Verdict::Unknown, _) => return None,
    })
}

/// Walks over broken hosts, each compared with what a real packet does there.
struct Walks {
    world: World,
    floating: String,
}

fn walks(hand: &Hand) -> Walks {
    let snapshot = snapshot::load(&hand.0);
    assert_eq!(snapshot.problems, Vec::<String>::new());
    let mut floating = snapshot.world.cloud.floating_ips.values();
    let floating = floating.find_map(|f| f.floating_ip_address).expect("one");
    Walks {
        floating: floating.to_string(),
        world: snapshot.world,
    }
}

impl Walks {
    fn fine(&self, probes: &[&str]) -> &Walks {
        self.end(Fine, "", probes)
    }

    /// On another way than it should be, or let in by what should not be there.
    fn fine_but(&self, culprit: &str, probes: &[&str]) -> &Walks {
        self.end(Fine, culprit, probes)
    }

    fn lost(&self, culprit: &str, probes: &[&str]) -> &Walks {
        self.end(Lost, culprit, probes)
    }

    fn unanswered(&self, culprit: &str, probes: &[&str]) -> &Walks {
        self.end(Unanswered, culprit, probes)
    }

    fn answered_by_another(&self, culprit: &str, probes: &[&str]) -> &Walks {
        self.end(ByAnother, culprit, probes)
    }

    /// Every probe (`red1 > green2 tcp 22`, `red2 > dhcp`, `outside > fip icmp`) ends so, and what
    /// is said to be to blame begins as given; nothing is given where nothing is.
    fn end(&self, want: Ends, culprit: &str, probes: &[&str]) -> &Walks {
        let mut wrong = String::new();
        for words in probes {
            let walk = walk::walk(&self.world, &question(words, &self.floating)).unwrap();
            let got = walk.at.as_ref().map_or("", |at| at.rule.as_str());
            let named = match culprit.is_empty() {
                true => got.is_empty(),
                false => squeeze(got).starts_with(&squeeze(culprit)),
            };
            if ends(&walk) != Some(want) || !named {
                let _ = writeln!(
                    wrong,
                    "{words}\n  want {want:?} {culprit}\n  got  {:?} {} {got}\n  {}\n  {:?}",
                    walk.verdict,
                    walk.replied,
                    walk.summary,
                    walk.at.as_ref().map(|at| &at.why),
                );
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        self
    }
}

mod devices;
mod extra;
mod namespaces;
mod several;
mod sizes;
mod switch;
mod underlay;

//! Intents made at random, hosts broken at random: what `walk` foretells for the hosts as they are
//! is what a real packet then meets, what it blames is what was broken, and its switches send
//! frames on as `ofproto/trace` says that the real ones do.
//!
//! `NUCLEON_SEED` repeats a run, which says its seed, and an even one gives the short run
//! distributed routers; `NUCLEON_BREAKS` is how many things the long one breaks.

mod damage;
mod scene;
mod switches;

use self::damage::Damage;
pub(crate) use self::scene::Kind;
use self::scene::{Ask, Scene};
use self::switches::Compared;
use lab::topology::TunnelType;
use rand::prelude::*;
use std::collections::BTreeSet;
use std::env;
use walk::report::{Verdict, Walk};
use walk::world::World;

/// How many questions are asked with real packets of each broken host.
const ASKED: usize = 4;

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

#[test]
fn what_is_foretold_of_broken_hosts_is_what_packets_meet() {
    // The same breaks each time; those nobody has seen yet are the long ones' to find.
    let seed = number("NUCLEON_SEED").unwrap_or(1);
    let kind = Kind {
        tunnels: TunnelType::Vxlan,
        distributed: seed.is_multiple_of(2),
    };
    broken(seed, kind, 4);
}

/// Breaks so many things, one after the other.
pub(crate) fn broken(seed: u64, kind: Kind, breaks: usize) {
    println!("NUCLEON_SEED={seed}, {kind:?}");
    let mut rng = StdRng::seed_from_u64(seed);
    let scene = Scene::make(&mut rng, kind);
    let mut run = Run::begin(scene, &mut rng);
    for number in 0..breaks {
        run.break_one(&mut rng, number);
    }
    run.close(seed);
}

/// How a question fared, as far as it can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fate {
    /// It got where it should; nothing where nobody counts.
    pub(crate) delivered: Option<bool>,
    pub(crate) replied: bool,
}

impl Fate {
    fn foretold(walk: &Walk) -> Self {
        Self {
            delivered: Some(walk.verdict == Verdict::Delivered),
            replied: walk.replied,
        }
    }

    fn agrees(self, real: Self) -> bool {
        self.replied == real.replied
            && real
                .delivered
                .is_none_or(|_| self.delivered == real.delivered)
    }
}

/// The hosts as they should be, what is known of that, and what turned out wrong.
struct Run {
    scene: Scene,
    asks: Vec<Ask>,
    /// What is foretold of whole hosts, question by question.
    whole: Vec<Fate>,
    /// What differs from intent before anything is broken.
    known: BTreeSet<(String, String)>,
    compared: Compared,
    asked: usize,
    changed: usize,
    wrong: Vec<String>,
}

fn culprits(world: &World) -> BTreeSet<(String, String)> {
    let differences = world.differences();
    let named = differences.iter().map(|d| (d.host.clone(), d.culprit()));
    named.collect()
}

impl Run {
    fn begin(mut scene: Scene, rng: &mut StdRng) -> Self {
        let asks = scene.asks();
        scene.collect_all();
        let world = scene.world();
        let whole = asks
            .iter()
            .map(|ask| Fate::foretold(&scene.walk(&world, ask)));
        let whole = whole.collect();
        let mut run = Self {
            known: culprits(&world),
            scene,
            asks,
            whole,
            compared: Compared::default(),
            asked: 0,
            changed: 0,
            wrong: Vec::new(),
        };
        // The agents that ended served metadata.
        let (programs, others): (Vec<_>, Vec<_>) = run
            .known
            .iter()
            .partition(|(_, culprit)| culprit.starts_with("MISSING process n"));
        let wanted = |(host, culprit): &(String, String)| {
            let all = world.differences();
            let mut all = all.iter();
            let found = all.find(|d| d.host == *host && d.culprit() == *culprit);
            found.map(|d| (d.kind, d.wanted.clone()))
        };
        let wanted: Vec<_> = others.iter().map(|other| wanted(other)).collect();
        assert!(
            !programs.is_empty() && others.is_empty(),
            "{others:#?} {wanted:#?}"
        );
        let sample = (0..run.asks.len()).sample(rng, 2 * ASKED);
        run.compare(&world, &sample, None);
        run
    }

    /// Breaks one thing, asks, and puts it right.
    fn break_one(&mut self, rng: &mut StdRng, number: usize) {
        let Some(damage) = Damage::choose(rng, &self.scene) else {
            return;
        };
        println!("{number}: {damage}");
        self.scene.sh(&damage.host, &damage.breaks);
        self.scene.collect(&damage.host);
        let world = self.scene.world();
        let fates: Vec<Fate> = self
            .asks
            .iter()
            .map(|ask| Fate::foretold(&self.scene.walk(&world, ask)))
            .collect();
        // First those that are said to fare otherwise, then others.
        let mut order: Vec<usize> = (0..self.asks.len()).collect();
        order.shuffle(rng);
        order.sort_by_key(|at| fates[*at] == self.whole[*at]);
        let half = ASKED / 2;
        let (first, rest) = order.split_at(half);
        let others = rest.iter().rev().take(ASKED - half);
        let chosen: Vec<usize> = first.iter().chain(others).copied().collect();
        self.compare(&world, &chosen, Some(&damage));
        self.scene.sh(&damage.host, &damage.mends);
        self.scene.collect(&damage.host);
        let left: Vec<_> = culprits(&self.scene.world())
            .difference(&self.known)
            .cloned()
            .collect();
        if !left.is_empty() {
            self.wrong(format!("{damage} was not put right: {left:#?}"));
            self.known.extend(left);
        }
    }

    fn wrong(&mut self, what: String) {
        println!("WRONG: {what}");
        self.wrong.push(what);
    }

    fn compare(&mut self, world: &World, chosen: &[usize], damage: Option<&Damage>) {
        let new: BTreeSet<_> = culprits(world).difference(&self.known).cloned().collect();
        // Before real packets teach the switches where MACs are.
        let traces = chosen
            .iter()
            .map(|at| self.scene.trace(world, &self.asks[*at]));
        let entered: Vec<_> = traces.flat_map(|trace| trace.entered).collect();
        self.compared.compare(&self.scene, world, &entered);
        for &at in chosen {
            let ask = self.asks[at].clone();
            let walk = self.scene.walk(world, &ask);
            let foretold = Fate::foretold(&walk);
            let mut real = self.scene.really(&ask);
            if !foretold.agrees(real) {
                // A packet may be late on a busy machine; what is so is so twice.
                real = self.scene.really(&ask);
            }
            self.asked += 1;
            let what = damage.map_or("nothing broken".to_owned(), Damage::to_string);
            if walk.verdict == Verdict::Unknown || !foretold.agrees(real) {
                let said = walk::print::print(&walk, walk::print::Style::default());
                self.wrong(format!(
                    "{what}: {ask:?}: foretold {foretold:?}, really {real:?}\n{said}"
                ));
                continue;
            }
            let Some(damage) = damage.filter(|_| foretold != self.whole[at]) else {
                continue;
            };
            self.changed += 1;
            let named = walk.at.as_ref().is_some_and(|found| {
                found.fault && new.contains(&(found.host.clone(), found.rule.clone()))
            });
            let known = new.iter().any(|(host, text)| {
                *host == damage.host && damage.shows.iter().all(|word| text.contains(word))
            });
            if !named || !known {
                let said = walk::print::print(&walk, walk::print::Style::default());
                self.wrong(format!(
                    "{what}: {ask:?}: blamed is {:#?}, the new differences are {new:#?}\n{said}",
                    walk.at
                ));
            }
        }
    }

    fn close(self, seed: u64) {
        println!(
            "{} questions with real packets, {} of them fared otherwise by what was broken; {}",
            self.asked, self.changed, self.compared
        );
        let wrong = [self.wrong, self.compared.wrong].concat();
        assert!(
            wrong.is_empty(),
            "NUCLEON_SEED={seed}: {} wrong:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
    }
}

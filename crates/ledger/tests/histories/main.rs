//! Random histories of commands: after each, every invariant of the ledger holds, and following
//! each host's steps gives the same view as computing it anew, and so does connecting again after
//! a while with what the host still holds.

mod invariants;
mod world;

use std::collections::BTreeSet;

use intent::{
    Kind, State, View, steps, view,
    view::{ItemKind, Steps, Summary},
};
use ledger::Decision;
use proptest::{prelude::*, strategy::ValueTree};

use world::{HOSTS, Step, World};

/// The same state, made by applying the changes as a follower does.
fn followed(before: &State, decision: &Decision) -> State {
    let mut state = before.clone();
    for change in &decision.changes {
        state.apply(change.clone());
    }
    state
}

fn same_views(before: &State, after: &State, steps: &Steps) -> Result<(), TestCaseError> {
    for host in HOSTS {
        let host = host.into();
        let (mut kept, anew) = (view(before, &host), view(after, &host));
        let step = steps.of(&host);
        let wanted = kept.difference(&anew);
        let keys = |items: &[intent::view::Item]| -> BTreeSet<String> {
            items.iter().map(|item| item.key().to_string()).collect()
        };
        prop_assert_eq!(keys(&step.put), keys(&wanted.put), "what {} is sent", host);
        let gone = |keys: &[intent::view::ItemKey]| -> BTreeSet<String> {
            keys.iter().map(ToString::to_string).collect()
        };
        prop_assert_eq!(
            gone(&step.remove),
            gone(&wanted.remove),
            "what leaves {}",
            host
        );
        kept.follow(step);
        prop_assert_eq!(kept, anew, "the view of {}", host);
    }
    Ok(())
}

/// A host's end of its watch.
struct Follower {
    is_connected: bool,
    held: View,
}

impl Follower {
    /// Loses the stream, or says what it still holds and follows the difference to what is now.
    fn live_through(&mut self, at: usize, step: &Step, state: &State) -> Result<(), TestCaseError> {
        let stands = step.is_connected(at, self.is_connected);
        if stands && !self.is_connected {
            let anew = view(state, &HOSTS[at].into());
            let said = serde_json::to_string(&self.held.summary()).expect("it prints");
            let said: Summary = serde_json::from_str(&said).expect("it can be read");
            let difference = anew.since(&said);
            // No more than it needs, as it arrives.
            prop_assert_eq!(&difference, &self.held.difference(&anew));
            let line = serde_json::to_string(&difference).expect("it prints");
            self.held
                .follow(serde_json::from_str(&line).expect("it can be read"));
            prop_assert_eq!(&self.held, &anew, "{} connects again", HOSTS[at]);
        }
        self.is_connected = stands;
        Ok(())
    }
}

/// What a history came to.
#[derive(Default)]
struct Reached {
    granted: usize,
    refused: usize,
    /// Which kinds of resources were put and deleted, and which kinds of items came and went.
    kinds: BTreeSet<(Kind, &'static str)>,
    items: BTreeSet<(ItemKind, &'static str)>,
}

impl Reached {
    fn note(&mut self, before: &State, after: &State, decision: &Decision, steps: &Steps) {
        self.granted += 1;
        for change in &decision.changes {
            let (kind, key) = (change.kind(), change.key());
            let there = (before.object(kind, &key), after.object(kind, &key));
            let what = match there {
                (None, _) => "made",
                (_, None) => "deleted",
                _ => "changed",
            };
            self.kinds.insert((kind, what));
        }
        for step in steps.hosts.values().chain([&steps.everyone]) {
            let put = step.put.iter().map(|item| (item.key().kind, "put"));
            let gone = step.remove.iter().map(|key| (key.kind, "removed"));
            self.items.extend(put.chain(gone));
        }
    }
}

fn run(history: &[Step], reached: &mut Reached) -> Result<(), TestCaseError> {
    let mut world = World::new();
    let mut followers = HOSTS.map(|host| Follower {
        is_connected: true,
        held: view(&world.state, &host.into()),
    });
    for step in history {
        for (at, follower) in followers.iter_mut().enumerate() {
            follower.live_through(at, step, &world.state)?;
        }
        let Some((actor, command)) = world.command(step) else {
            continue;
        };
        let before = world.state.clone();
        match world.decide(&actor, &command) {
            Err(refusal) => {
                prop_assert!((400..=503).contains(&refusal.status), "{refusal:?}");
                prop_assert!(refusal.status != 500, "{refusal:?}");
                reached.refused += 1;
            }
            Ok(decision) => {
                let after = followed(&before, &decision);
                let objects = |state: &State| -> Vec<_> { state.objects().collect() };
                prop_assert_eq!(objects(&after), objects(&decision.state), "{:?}", command);
                if let Err(broken) = invariants::check(&before, &decision.state) {
                    prop_assert!(false, "{}\nafter {:?}", broken, command);
                }
                let steps = steps(&before, &decision.state, &decision.changes);
                reached.note(&before, &decision.state, &decision, &steps);
                same_views(&before, &decision.state, &steps)?;
                for (host, follower) in HOSTS.iter().zip(&mut followers) {
                    if follower.is_connected {
                        follower.held.follow(steps.of(&(*host).into()));
                    }
                }
                world.state = decision.state;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_invariant_holds_and_views_can_be_followed(
        history in prop::collection::vec(any::<Step>(), 1..120),
    ) {
        run(&history, &mut Reached::default())?;
    }
}

/// Histories that are random but the same each time must be granted much, and touch everything, or
/// the test above says little.
#[test]
fn histories_are_mostly_granted_and_reach_every_kind() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop::collection::vec(any::<Step>(), 150..151);
    let mut reached = Reached::default();
    for _ in 0..10 {
        let tree = strategy.new_tree(&mut runner).expect("a history");
        run(&tree.current(), &mut reached).expect("invariants hold");
    }
    let (granted, refused) = (reached.granted, reached.refused);
    assert!(
        granted > 700 && refused > 100,
        "{granted} granted, {refused} refused"
    );
    // The world begins with its hosts' MACs, and they stay.
    let kinds = Kind::ALL.iter().filter(|kind| **kind != Kind::DvrMac);
    let kinds = kinds.flat_map(|kind| [(*kind, "made"), (*kind, "deleted")]);
    let missing: Vec<_> = kinds.filter(|it| !reached.kinds.contains(it)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
    let items = ItemKind::ALL
        .iter()
        .flat_map(|kind| [(*kind, "put"), (*kind, "removed")]);
    let missing: Vec<_> = items.filter(|it| !reached.items.contains(it)).collect();
    assert!(missing.is_empty(), "no host was sent: {missing:?}");
}

/// What the histories leave out: a host that nothing concerns has but its peers.
#[test]
fn a_host_without_anything_has_an_empty_view() {
    let state = State::default();
    assert_eq!(view(&state, &"nowhere".into()), View::default());
}

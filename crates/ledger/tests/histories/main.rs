//! Random histories of commands: after each, every invariant of the ledger holds, and following
//! each host's steps gives the same view as computing it anew.

mod invariants;
mod world;

use std::collections::BTreeSet;

use intent::{State, View, steps, view};
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

fn same_views(before: &State, after: &State, decision: &Decision) -> Result<(), TestCaseError> {
    let steps = steps(before, after, &decision.changes);
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

fn run(history: &[Step]) -> Result<(usize, usize), TestCaseError> {
    let mut world = World::new();
    let (mut granted, mut refused) = (0, 0);
    for step in history {
        let Some((actor, command)) = world.command(step) else {
            continue;
        };
        let before = world.state.clone();
        match world.decide(&actor, &command) {
            Err(refusal) => {
                prop_assert!((400..=503).contains(&refusal.status), "{refusal:?}");
                prop_assert!(refusal.status != 500, "{refusal:?}");
                refused += 1;
            }
            Ok(decision) => {
                granted += 1;
                let after = followed(&before, &decision);
                let objects = |state: &State| -> Vec<_> { state.objects().collect() };
                prop_assert_eq!(objects(&after), objects(&decision.state), "{:?}", command);
                if let Err(broken) = invariants::check(&before, &decision.state) {
                    prop_assert!(false, "{}\nafter {:?}", broken, command);
                }
                same_views(&before, &decision.state, &decision)?;
                world.state = decision.state;
            }
        }
    }
    Ok((granted, refused))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_invariant_holds_and_views_can_be_followed(
        history in prop::collection::vec(any::<Step>(), 1..120),
    ) {
        run(&history)?;
    }
}

/// A history that is random but the same each time must be granted much, or the test above says
/// little.
#[test]
fn histories_are_mostly_granted_and_reach_every_kind() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let strategy = prop::collection::vec(any::<Step>(), 600..601);
    let tree = strategy.new_tree(&mut runner).expect("a history");
    let history = tree.current();
    let (granted, refused) = run(&history).expect("invariants hold");
    assert!(
        granted > 300 && refused > 50,
        "{granted} granted, {refused} refused"
    );
}

/// What the histories leave out: a host that nothing concerns has but its peers.
#[test]
fn a_host_without_anything_has_an_empty_view() {
    let state = State::default();
    assert_eq!(view(&state, &"nowhere".into()), View::default());
}

//! What is true of every step that the ledger takes.

use std::collections::BTreeMap;

use intent::{State, *};

type Check = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Check {
    if holds { Ok(()) } else { Err(what()) }
}

pub(crate) fn check(before: &State, state: &State) -> Check {
    let broken = ledger::broken(state);
    ensure(broken.is_empty(), || broken.join("; "))?;
    indexes(state)?;
    revisions(before, state)
}

/// The indexes, and with them what quotas count, say what the tables say.
fn indexes(state: &State) -> Check {
    let mut anew = State::default();
    state.objects().for_each(|object| anew.put(object));
    let mut kept = state.index.clone();
    kept.released = anew.index.released.clone();
    ensure(kept == anew.index, || {
        "an index is not what its table says".to_owned()
    })?;
    for kind in Kind::ALL {
        let mut counts: BTreeMap<ProjectId, u64> = BTreeMap::new();
        for object in state.objects().filter(|object| object.kind() == *kind) {
            if let Some(project) = object.project() {
                *counts.entry(project.clone()).or_default() += 1;
            }
        }
        for (project, count) in counts {
            ensure(state.index.count(&project, *kind) == count, || {
                format!("{project}'s {kind:?} are miscounted")
            })?;
        }
    }
    Ok(())
}

fn revisions(before: &State, state: &State) -> Check {
    for object in state.objects() {
        let Some(old) = before.object(object.kind(), &object.key()) else {
            continue;
        };
        let (Some(was), Some(is)) = (old.meta(), object.meta()) else {
            continue;
        };
        let grown = is.revision_number >= was.revision_number && is.created_at == was.created_at;
        ensure(grown, || {
            format!("{:?} {} went back", object.kind(), object.key())
        })?;
        let tagged = was.tags != is.tags || was.description != is.description;
        ensure(!tagged || is.revision_number > was.revision_number, || {
            format!("{:?} {} changed uncounted", object.kind(), object.key())
        })?;
    }
    Ok(())
}

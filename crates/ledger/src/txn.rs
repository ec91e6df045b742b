//! The state that a command works on: the given one and, ahead of it, what the command did so far.

use std::{collections::BTreeMap, sync::Arc};

use intent::{Change, Kind, Meta, Object, ProjectId, Resource, State, Timestamp};
use uuid::Uuid;

use crate::{Actor, Answer, Context, Decision, Draft, Random, config::Config, draft::Reading};

/// A command under way. Its parts read through [`Txn::get`] and [`Txn::state`] and see what the
/// earlier parts did; they write through [`Txn::create`], [`Txn::save`] and [`Txn::delete`], which
/// keep `revision_number` and the times as Neutron does:
/// - a save that changes nothing but `meta`'s own counters is no change;
/// - a save counts one up, however often a command saves the same resource
///   ([`Txn::count_further`] is for what Neutron counts several times);
/// - a change of a dependent thing counts its owner up: that is [`Txn::touch`] in the rules.
pub(crate) struct Txn<'a> {
    pub(crate) actor: &'a Actor,
    pub(crate) context: &'a Context<'a>,
    pub(crate) random: Random,
    /// The state as it was when the command came.
    pub(crate) before: &'a State,
    state: State,
    changes: Vec<Change>,
    /// Where in `changes` a resource stands.
    places: BTreeMap<(Kind, String), usize>,
}

impl<'a> Txn<'a> {
    pub(crate) fn new(before: &'a State, actor: &'a Actor, context: &'a Context<'a>) -> Self {
        Self {
            actor,
            context,
            random: Random::new(context.seed),
            before,
            state: before.clone(),
            changes: Vec::new(),
            places: BTreeMap::new(),
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn config(&self) -> &'a Config {
        self.context.config
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.context.now
    }

    /// Whose a new resource is: the draft says, or it is the actor's.
    pub(crate) fn owner_of(&self, draft: &Draft) -> ProjectId {
        let given = draft.text("project_id").map(ProjectId::from);
        given.unwrap_or_else(|| self.actor.project.clone())
    }

    /// An id that nothing has yet.
    pub(crate) fn uuid(&mut self) -> Uuid {
        self.random.uuid()
    }

    pub(crate) fn get<R: Resource>(&self, key: &R::Key) -> Option<Arc<R>> {
        self.state.get::<R>(key).cloned()
    }

    /// The same by a key's text.
    pub(crate) fn find<R: Resource>(&self, key: &str) -> Option<Arc<R>> {
        self.get(&key.parse().ok()?)
    }

    /// A new resource's `meta`. Revisions begin where Neutron's do: the parts of a creation that
    /// it counts differ by resource.
    pub(crate) fn meta(&self, description: Option<String>, revision_number: u64) -> Meta {
        Meta {
            description,
            created_at: self.now(),
            updated_at: self.now(),
            revision_number,
            ..Meta::default()
        }
    }

    pub(crate) fn create<R: Resource + Into<Object>>(&mut self, value: R) -> Arc<R> {
        let key = value.key();
        self.put(value);
        self.get(&key).expect("just put")
    }

    /// Writes a changed resource and counts it up, or nothing when nothing changed.
    pub(crate) fn save<R: Resource + Into<Object>>(&mut self, mut value: R) -> Arc<R> {
        let key = value.key();
        let current = self.state.get::<R>(&key).cloned();
        if let Some(current) = current {
            if let (Some(meta), Some(old)) = (value.meta_mut(), current.meta()) {
                meta.revision_number = old.revision_number;
                meta.updated_at = old.updated_at;
            }
            if *current == value {
                return current;
            }
            self.count_up(&mut value);
        }
        self.create(value)
    }

    /// Writes what the system notes on a resource and no user counts as a change.
    pub(crate) fn save_uncounted<R: Resource + Into<Object>>(&mut self, mut value: R) -> Arc<R> {
        let current = self.state.get::<R>(&value.key()).cloned();
        let Some(current) = current else {
            return self.create(value);
        };
        if let (Some(meta), Some(old)) = (value.meta_mut(), current.meta()) {
            meta.revision_number = old.revision_number;
            meta.updated_at = old.updated_at;
        }
        if *current == value {
            return current;
        }
        self.create(value)
    }

    /// Counts a resource up because something changed that depends on it: once a command, however
    /// much of it did.
    pub(crate) fn touch<R: Resource + Into<Object>>(&mut self, key: &R::Key) {
        if let Some(current) = self.state.get::<R>(key) {
            let mut value = R::clone(current);
            self.count_up(&mut value);
            self.put(value);
        }
    }

    /// Counts a resource up further, where Neutron counts one request several times.
    pub(crate) fn count_further<R: Resource + Into<Object>>(&mut self, key: &R::Key, more: u64) {
        if more == 0 {
            return;
        }
        if let Some(current) = self.state.get::<R>(key) {
            let mut value = R::clone(current);
            if let Some(meta) = value.meta_mut() {
                meta.revision_number += more;
            }
            self.put(value);
        }
    }

    /// One up from where the command found it, not from where an earlier part left it.
    fn count_up<R: Resource>(&self, value: &mut R) {
        let now = self.now();
        let found = self.before.get::<R>(&value.key()).cloned();
        let found = found.and_then(|found| Some(found.meta()?.revision_number));
        let Some(meta) = value.meta_mut() else {
            return;
        };
        meta.updated_at = now;
        if found == Some(meta.revision_number) {
            meta.revision_number += 1;
        }
    }

    pub(crate) fn delete<R: Resource>(&mut self, key: &R::Key) {
        if let Some(value) = self.state.get::<R>(key).cloned() {
            self.record(Change::delete(&*value));
        }
    }

    /// What the command has changed so far.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (Kind, String)> + '_ {
        self.places.keys().cloned()
    }

    fn put<R: Resource + Into<Object>>(&mut self, value: R) {
        self.record(Change::put(value));
    }

    fn record(&mut self, change: Change) {
        self.state.apply(change.clone());
        let place = (change.kind(), change.key());
        match self.places.get(&place) {
            Some(at) => self.changes[*at] = change,
            None => {
                self.places.insert(place, self.changes.len());
                self.changes.push(change);
            }
        }
    }

    pub(crate) fn decision(self, answer: Answer) -> Decision {
        let before = self.before;
        let made_and_gone = |change: &Change| matches!(change, Change::Delete { kind, key } if before.object(*kind, key).is_none());
        let changes = self.changes.into_iter();
        Decision {
            changes: changes.filter(|change| !made_and_gone(change)).collect(),
            answer,
            state: self.state,
        }
    }
}

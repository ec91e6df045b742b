//! What becomes of what a server tells: the view that this host acts upon, the one that waits for an
//! operator's word, and what is said of them on connecting.

use host::Shared;
use intent::view::{Difference, Holding, View};

use super::held::{Held, HoldReason, Mark};

/// How much of a host's items may go at once on connecting, by a server that shows no history.
const SHARE: f64 = 0.1;

/// A whole step of the stream: all up to a mark.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub base: Base,
    pub difference: Difference,
    pub store: String,
    pub revision: u64,
}

/// What a step leads on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// An empty view: the first step tells everything.
    Nothing,
    /// What this host said on connecting.
    Said,
    /// The step before.
    Last,
}

#[derive(Debug, Default)]
pub struct Intake {
    held: Option<Held>,
    /// Why the host holds still, and what it would go on with.
    waiting: Option<(HoldReason, Held)>,
    /// The view that the server was told of on connecting.
    said: Shared<View>,
}

impl Intake {
    pub fn new(held: Option<Held>) -> Intake {
        Intake {
            held,
            ..Intake::default()
        }
    }

    /// What the host acts upon.
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    pub fn hold_reason(&self) -> Option<&HoldReason> {
        self.waiting.as_ref().map(|(reason, _)| reason)
    }

    /// What the server is told on connecting; nothing when nothing is held.
    pub fn say(&mut self) -> Option<Holding> {
        let held = self.held.as_ref()?;
        self.said = held.view.clone();
        Some(Holding {
            store: held.store.clone(),
            revision: held.revision,
            items: held.view.summary(),
        })
    }

    /// Takes a step; whether it was the first of its stream.
    pub fn take(&mut self, step: Step) -> bool {
        let view = match step.base {
            Base::Nothing => Shared::default(),
            Base::Said => std::mem::take(&mut self.said),
            Base::Last => {
                self.go_on(step);
                return false;
            }
        };
        let mut told = Held {
            view,
            store: step.store,
            revision: step.revision,
            mark: None,
        };
        told.view.follow(step.difference);
        let reason = self.held.as_ref().and_then(|held| held.judge(&told, SHARE));
        match reason {
            None => {
                self.waiting = None;
                self.held = Some(told);
            }
            Some(reason) => self.waiting = Some((reason, told)),
        }
        true
    }

    fn go_on(&mut self, step: Step) {
        let target = match &mut self.waiting {
            Some((_, waiting)) => waiting,
            None => self.held.get_or_insert_default(),
        };
        target.view.follow(step.difference);
        (target.store, target.revision) = (step.store, step.revision);
    }

    /// Notes which history the server tells of; whether that is to be kept.
    pub fn mark(&mut self, mark: Mark) -> bool {
        let target = match &mut self.waiting {
            Some((_, waiting)) => Some(waiting),
            None => self.held.as_mut(),
        };
        let Some(target) = target else { return false };
        // An older mark says as much about a view that is the same.
        let told_since = |old: &Mark| old.revision < target.revision;
        let is_news = target.mark.as_ref().is_none_or(told_since);
        target.mark = Some(mark);
        is_news
    }

    /// The server is to be believed: what waited is acted upon.
    pub fn confirm(&mut self) -> bool {
        let waiting = self.waiting.take();
        let confirmed = waiting.is_some();
        self.held = waiting.map(|(_, told)| told).or(self.held.take());
        confirmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use intent::view::{Item, Peer};
    use proptest::prelude::*;

    const STORE: &str = "s";

    fn peer(name: u8, address: u8) -> Item {
        let peer = Peer {
            host: format!("h{name}").as_str().into(),
            tunnel_ip: Some([10, 0, 0, address].into()),
            tunnel_types: vec![],
            dvr_mac: None,
            agent_mode: None,
        };
        Item::Peer(peer.into())
    }

    /// What happens: to the server's view of this host, or to the stream.
    #[derive(Debug, Clone)]
    enum Happens {
        Put(u8, u8),
        Remove(u8),
        /// What changed is sent; only whole steps count, so one that breaks off is none.
        Sent,
        Breaks,
        Connects {
            understood: bool,
        },
        Restarts,
    }

    fn happens() -> impl Strategy<Value = Happens> {
        prop_oneof![
            4 => (0..20u8, any::<u8>()).prop_map(|(name, address)| Happens::Put(name, address)),
            2 => (0..20u8).prop_map(Happens::Remove),
            4 => Just(Happens::Sent),
            1 => Just(Happens::Breaks),
            2 => any::<bool>().prop_map(|understood| Happens::Connects { understood }),
            1 => Just(Happens::Restarts),
        ]
    }

    /// The server's end: the view as it is, and the one that the stream has come to.
    #[derive(Default)]
    struct Server {
        view: View,
        revision: u64,
        stream: Option<View>,
    }

    impl Server {
        fn step(&self, base: Base, difference: Difference) -> Step {
            Step {
                base,
                difference,
                store: STORE.to_owned(),
                revision: self.revision,
            }
        }

        fn connect(&mut self, intake: &mut Intake, understood: bool) {
            let said = intake.say().filter(|_| understood);
            let step = match &said {
                Some(said) => self.step(Base::Said, self.view.since(&said.items)),
                None => self.step(Base::Nothing, View::default().difference(&self.view)),
            };
            assert!(intake.take(step));
            self.stream = Some(self.view.clone());
        }

        fn send(&mut self, intake: &mut Intake) {
            if let Some(sent) = self.stream.take() {
                let step = self.step(Base::Last, sent.difference(&self.view));
                assert!(!intake.take(step));
                self.stream = Some(self.view.clone());
            }
        }
    }

    proptest! {
        #[test]
        fn after_any_disconnects_the_view_is_the_servers(
            history in prop::collection::vec(happens(), 1..60),
        ) {
            let (mut server, mut intake) = (Server::default(), Intake::default());
            for what in history {
                match what {
                    Happens::Put(name, address) => {
                        server.view.put(peer(name, address));
                        server.revision += 1;
                    }
                    Happens::Remove(name) => {
                        server.view.remove(&peer(name, 0).key());
                        server.revision += 1;
                    }
                    Happens::Sent => server.send(&mut intake),
                    Happens::Breaks => server.stream = None,
                    Happens::Connects { understood } => server.connect(&mut intake, understood),
                    Happens::Restarts => {
                        server.stream = None;
                        intake = Intake::new(intake.held.take());
                    }
                }
                if server.stream.as_ref() == Some(&server.view) {
                    prop_assert_eq!(&*intake.held().expect("told").view, &server.view);
                }
            }
            server.connect(&mut intake, true);
            prop_assert_eq!(&*intake.held().expect("told").view, &server.view);
            prop_assert_eq!(intake.held().expect("told").revision, server.revision);
        }
    }

    fn full(count: u8) -> (Server, Intake) {
        let (mut server, mut intake) = (Server::default(), Intake::default());
        (0..count).for_each(|name| server.view.put(peer(name, 1)));
        server.revision = 7;
        server.connect(&mut intake, true);
        (server, intake)
    }

    #[test]
    fn a_difference_that_takes_much_away_waits_for_an_operator() {
        let (mut server, mut intake) = full(100);
        let before = server.view.clone();
        (0..20).for_each(|name| server.view.remove(&peer(name, 0).key()));
        server.connect(&mut intake, true);
        assert_eq!(
            intake.hold_reason(),
            Some(&HoldReason::TakesAway { items: 20, of: 100 })
        );
        assert_eq!(*intake.held().expect("held").view, before);
        // What comes meanwhile is kept, and what is said stays what the host acts upon.
        server.view.put(peer(150, 1));
        server.send(&mut intake);
        assert_eq!(*intake.held().expect("held").view, before);
        server.connect(&mut intake, true);
        assert!(intake.hold_reason().is_some());
        assert!(intake.confirm() && !intake.confirm());
        assert_eq!(*intake.held().expect("held").view, server.view);
    }

    #[test]
    fn confirming_between_connecting_and_the_first_step_mixes_nothing_up() {
        let (mut server, mut intake) = full(100);
        (0..20).for_each(|name| server.view.remove(&peer(name, 0).key()));
        server.connect(&mut intake, true);
        let said = intake.say().expect("something is held");
        assert!(intake.confirm());
        assert!(intake.take(server.step(Base::Said, server.view.since(&said.items))));
        assert_eq!(*intake.held().expect("held").view, server.view);
        assert_eq!(intake.hold_reason(), None);
    }

    #[test]
    fn another_store_or_an_older_one_waits_too() {
        let (mut server, mut intake) = full(3);
        server.revision = 6;
        server.connect(&mut intake, true);
        assert_eq!(
            intake.hold_reason(),
            Some(&HoldReason::Older { held: 7, told: 6 })
        );
        let said = intake.say().expect("something is held");
        let step = Step {
            store: "t".to_owned(),
            ..server.step(Base::Said, server.view.since(&said.items))
        };
        assert!(intake.take(step));
        assert!(matches!(
            intake.hold_reason(),
            Some(HoldReason::OtherStore { .. })
        ));
        // The right one came back.
        server.revision = 8;
        server.connect(&mut intake, true);
        assert_eq!(intake.hold_reason(), None);
    }
}

//! The one loop: take what happened, observe, compile, diff, apply, read back, report. What
//! happened only says what is in doubt; what to do follows from the difference alone.
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use host::{HostState, Shared};
use intent::view::View;
use plan::{Compiler, GivenBack, Numbers, Plan, Settings};
use tokio::sync::mpsc;

use crate::announce::Contested;
use crate::config::Config;
use crate::drift::{Drift, drift};
use crate::findings::Findings;
use crate::machine::{Applied, Change, Machine, Problem};
use crate::openflow::Heard;
use crate::ours::{self, Bounds, Waiting};
use crate::ports::Ports;
use crate::server::{Dial, DialError, Held, Intake, Question, Server, Told};

mod said;
mod told;

/// Between two readings of what raises no event.
const READ_SILENT: Duration = Duration::from_secs(8);
/// Between two readings of everything, should an event ever be lost.
const READ_ALL: Duration = Duration::from_secs(300);
/// A pass that left something undone is tried again after this long.
const RETRY: Duration = Duration::from_secs(1);
/// One that did a part of it goes on after this long: a device that went with its namespace has to
/// go from the switch before it can come again.
const SOON: Duration = Duration::from_millis(50);
/// How long an agent that begins waits for the server before it acts on what was kept, and for the
/// word of a server that has answered.
const FIRST_ANSWER: Duration = Duration::from_secs(2);
const FIRST_WORD: Duration = Duration::from_secs(20);

/// Something that the loop must look at.
#[derive(Debug)]
pub enum Event {
    Database,
    Flows {
        bridge: String,
        heard: Heard,
    },
    Filters,
    /// One lost its name. They are listed in every pass: there is nothing to doubt.
    Namespaces,
    Told(Told),
    Stop,
}

/// What one pass came to.
#[derive(Debug)]
pub struct Pass {
    pub applied: Applied,
    pub left: Vec<Drift>,
    pub waiting: Vec<Waiting>,
    pub problems: Vec<Problem>,
    pub plan: Arc<Plan>,
    pub seen: HostState,
    pub took: Duration,
}

/// The agent could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the server's address or this host's proof of its name is wrong")]
    Dial(#[from] DialError),
    #[error("the switch's database did not answer within {0:?}")]
    NoDatabase(Duration),
    #[error("nothing is known of this host: the server did not answer, and nothing was kept")]
    NoView,
}

/// The plan that was compiled last, and of what.
struct Planned {
    view: Shared<View>,
    settings: Settings,
    plan: Arc<Plan>,
    /// Numbers that it gave back have been cleaned up after.
    is_settled: bool,
}

pub struct Agent {
    config: Config,
    settings: Settings,
    machine: Machine,
    compiler: Compiler,
    planned: Option<Planned>,
    numbers: Option<Numbers>,
    intake: Intake,
    server: Option<Server>,
    reports: bool,
    events: mpsc::UnboundedReceiver<Event>,
    ports: Ports,
    connected: bool,
    reported_at: Option<Instant>,
    read_silent_at: Instant,
    read_all_at: Instant,
    /// Whether the view on disk is behind the one held, and since when.
    unsaved: Option<Instant>,
    passes: u64,
    /// The next pass comes sooner than it would.
    hurried: bool,
    /// The server did not say whether its history goes on: it is asked again.
    is_unanswered: bool,
    /// The revision at which the host was as it should be.
    brought_to: u64,
    contested: Contested,
}

impl Agent {
    /// The agent of this host.
    pub fn start(config: Config) -> Result<Agent, StartError> {
        Agent::new(config, true, true)
    }

    /// Somebody who only looks: nothing is reported. Intent is what the server says, or what the
    /// host's agent kept.
    pub fn look(config: Config, ask_server: bool) -> Result<Agent, StartError> {
        Agent::new(config, ask_server, false)
    }

    fn new(config: Config, watch_server: bool, reports: bool) -> Result<Agent, StartError> {
        let (send, events) = mpsc::unbounded_channel();
        let (database, flows) = (send.clone(), send.clone());
        let machine = Machine::new(
            &config,
            move || database.send(Event::Database).unwrap_or(()),
            move |bridge, heard| {
                let bridge = bridge.to_owned();
                flows.send(Event::Flows { bridge, heard }).unwrap_or(());
            },
        );
        crate::watchers::filters(send.clone());
        if !crate::services::prefixes(&config).is_empty() {
            crate::watchers::namespaces(send.clone());
        }
        let server = if watch_server {
            Some(watch(&config, send)?)
        } else {
            None
        };
        let held = Held::load(&config.state_dir.join("view.json"));
        Ok(Agent {
            settings: config.settings(config.datapath_type.as_deref().unwrap_or("system")),
            ports: Ports::new(&config.host),
            config,
            machine,
            compiler: Compiler::default(),
            planned: None,
            numbers: None,
            intake: Intake::new(held),
            server,
            reports,
            events,
            connected: false,
            reported_at: None,
            read_silent_at: Instant::now(),
            read_all_at: Instant::now(),
            unsaved: None,
            passes: 0,
            hurried: false,
            is_unanswered: false,
            brought_to: 0,
            contested: Contested::default(),
        })
    }

    /// Until told to stop.
    pub async fn run(mut self, stop: impl Future<Output = ()>) {
        tokio::pin!(stop);
        // What was kept may be a moment old: acted upon at once, it would undo what came since.
        tokio::select! {
            () = &mut stop => return,
            () = self.hear() => {}
        }
        let mut due = tokio::time::Instant::now();
        loop {
            tokio::select! {
                () = &mut stop => break,
                event = self.events.recv() => match event {
                    Some(Event::Stop) | None => break,
                    Some(event) => self.take(event).await,
                },
                () = tokio::time::sleep_until(due) => {}
            }
            self.take_events().await;
            if self.is_unanswered {
                self.believe_history().await;
            }
            self.doubt_in_time();
            due = self.pass_and_report().await;
        }
        self.save();
        tracing::info!("stopped; the host stays as it is");
    }

    fn doubt_in_time(&mut self) {
        let now = Instant::now();
        if now - self.read_all_at >= READ_ALL {
            (self.read_all_at, self.read_silent_at) = (now, now);
            self.machine.doubt_everything();
        } else if now - self.read_silent_at >= READ_SILENT {
            self.read_silent_at = now;
            self.machine.doubt_what_is_silent();
        }
    }

    /// Everything that happened until now.
    pub async fn take_events(&mut self) {
        while let Ok(event) = self.events.try_recv() {
            self.take(event).await;
        }
    }

    /// One event: what is in doubt, what is known.
    async fn take(&mut self, event: Event) {
        match event {
            Event::Database | Event::Namespaces | Event::Stop => {}
            Event::Filters => self.machine.doubt_rules(),
            Event::Flows { bridge, heard } => match heard {
                // What the switch learns is its own.
                Heard::Changed { cookie } if cookie == plan::l2::LEARNED_COOKIE => {}
                _ => self.machine.doubt_flows(&bridge),
            },
            Event::Told(told) => self.told(told).await,
        }
    }

    /// Only what the loop alone knows is found out here; sending it must not hold up the loop.
    async fn asked(&mut self, asked: Question) {
        let known = match asked.question.as_str() {
            "drift" => Some(self.say_drift().await),
            "confirm" => Some(serde_json::json!({ "confirmed": self.confirm() })),
            _ => None,
        };
        let Some(server) = self.server.clone().filter(|_| self.reports) else {
            return;
        };
        let config = self.config.clone();
        tokio::spawn(async move {
            let answer = match known {
                Some(answer) => answer,
                None => crate::questions::answer(&config, &asked).await,
            };
            if let Err(error) = server.answer(&asked, &answer).await {
                let (error, question) = (crate::chain(&*error), asked.question);
                tracing::warn!(error, question, "an answer did not arrive");
            }
        });
    }

    async fn say_drift(&mut self) -> serde_json::Value {
        self.machine.doubt_everything();
        match self.pass(false).await {
            Some(pass) => serde_json::json!(Findings::of(&pass)),
            None => serde_json::json!({ "error": "the host is not known yet" }),
        }
    }

    /// Observe, compile, diff, and unless it is only to be looked at, apply and read back. Nothing
    /// when the machine or the intent is not known.
    pub async fn pass(&mut self, apply: bool) -> Option<Pass> {
        let started = Instant::now();
        let view = self.intake.held()?.view.clone();
        if !self.machine.ovsdb.cache().live {
            return None;
        }
        let mut problems = Vec::new();
        self.detect_datapath();
        let (plan, given_back) = self.plan(&view).await;
        let seen = self.machine.observe(&plan.want, &mut problems).await;
        let bounds = self.bounds(&seen);
        let (want, waiting) = ours::fit(&plan.want, &seen, &bounds);
        let have = ours::cut(&seen, &want, &bounds);
        let mut applied = Applied::default();
        if apply {
            let (numbers, machine) = (&plan.numbers, &mut self.machine);
            let change = Change {
                have: &have,
                want: &want,
                numbers,
                given_back: &given_back,
            };
            applied = machine.apply(&change, &mut problems).await;
            self.keep_numbers(&plan.numbers);
            if let Some(planned) = &mut self.planned {
                planned.is_settled = true;
            }
        }
        let (seen, have, want, waiting) = if applied == Applied::default() {
            (seen, have, want, waiting)
        } else {
            let seen = self.machine.observe(&plan.want, &mut problems).await;
            let (want, waiting) = ours::fit(&plan.want, &seen, &bounds);
            let have = ours::cut(&seen, &want, &bounds);
            (seen, have, want, waiting)
        };
        self.machine.settle_on(&have, &want);
        let left = drift(&have, &want);
        let took = started.elapsed();
        Some(Pass {
            applied,
            left,
            waiting,
            problems,
            plan,
            seen,
            took,
        })
    }

    /// What is wanted, compiled when the view is another than before; and the numbers given back
    /// that nothing has been cleaned up after yet.
    async fn plan(&mut self, view: &Shared<View>) -> (Arc<Plan>, GivenBack) {
        let is_same =
            |planned: &&Planned| planned.view.is(view) && planned.settings == self.settings;
        if let Some(planned) = self.planned.as_ref().filter(is_same) {
            let given_back = match planned.is_settled {
                true => GivenBack::default(),
                false => planned.plan.given_back.clone(),
            };
            return (planned.plan.clone(), given_back);
        }
        let numbers = self.numbers().await;
        self.machine.services.show(view);
        let mut plan = self.compiler.compile(view, &self.settings, &numbers);
        let before = self.planned.as_ref().map(|planned| &planned.plan.want);
        ours::hold_once(&mut plan.want, before);
        let plan = Arc::new(plan);
        self.planned = Some(Planned {
            view: view.clone(),
            settings: self.settings.clone(),
            plan: plan.clone(),
            is_settled: false,
        });
        let given_back = plan.given_back.clone();
        (plan, given_back)
    }

    /// A pass, what it says to the log and to the server. When the next one is due.
    async fn pass_and_report(&mut self) -> tokio::time::Instant {
        if self.passes == 0 {
            // A switch that is not asked yet would look empty, and its ports down.
            self.machine.settle(&self.settings).await;
        }
        let Some(pass) = self.pass(true).await else {
            return tokio::time::Instant::now() + READ_SILENT;
        };
        self.passes += 1;
        self.log(&pass);
        crate::metrics::METRICS.pass(&pass);
        let held = self.intake.held();
        let view = held.map(|held| held.view.clone()).unwrap_or_default();
        if pass.left.is_empty() && pass.problems.is_empty() {
            self.brought_to = held.map_or(0, |held| held.revision);
        }
        let changes = self.ports.changes(&view, &pass);
        if self.connected && (!changes.is_empty() || self.report_is_due()) {
            self.report(changes).await;
        }
        self.speak_for(&pass.plan);
        if self.unsaved.is_some_and(|since| since.elapsed() > RETRY) {
            self.save();
        }
        let pause = self.pause_after(&pass);
        let contested = self.contested.pause(Instant::now()).unwrap_or(pause);
        tokio::time::Instant::now() + pause.min(contested)
    }

    /// Nobody hurries twice: what is left then may be somebody else's doing, again and again.
    fn pause_after(&mut self, pass: &Pass) -> Duration {
        let did_a_part = pass.problems.is_empty() && pass.applied != Applied::default();
        let is_left = !pass.left.is_empty();
        let hurried = std::mem::take(&mut self.hurried);
        if is_left && did_a_part && !hurried {
            self.hurried = true;
            SOON
        } else if is_left
            || !pass.problems.is_empty()
            || self.unsaved.is_some()
            || self.is_unanswered
        {
            RETRY
        } else {
            READ_SILENT
        }
    }

    fn log(&self, pass: &Pass) {
        for problem in &pass.problems {
            tracing::warn!(why = %problem.why, "{}", problem.text);
        }
        let Applied {
            database,
            flows,
            filters,
            services,
        } = pass.applied;
        let quiet =
            pass.applied == Applied::default() && pass.left.is_empty() && pass.problems.is_empty();
        let ms = pass.took.as_micros() as f64 / 1e3;
        let (left, waiting, notes) = (pass.left.len(), pass.waiting.len(), pass.plan.notes.len());
        if quiet && self.passes > 1 {
            tracing::debug!(ms, waiting, notes, "pass");
        } else {
            tracing::info!(
                ms, database, flows, filters, services, left, waiting, notes, "pass"
            );
        }
        for drift in pass.left.iter().take(3) {
            tracing::debug!("left: {drift}");
        }
    }

    fn bounds(&self, seen: &HostState) -> Bounds {
        let own_bridges = [
            &self.settings.integration_bridge,
            &self.settings.tunnel_bridge,
        ];
        let is_missing = own_bridges
            .iter()
            .any(|name| !seen.bridges.contains_key(*name));
        Bounds {
            own_bridges: own_bridges.map(Clone::clone).into(),
            netns_prefixes: crate::services::prefixes(&self.config),
            devices: match is_missing {
                true => crate::netns::devices(),
                false => BTreeSet::new(),
            },
        }
    }

    /// Where nothing is said, the kind that the bridges here already have.
    fn detect_datapath(&mut self) {
        if self.config.datapath_type.is_none() {
            let cache = self.machine.ovsdb.cache();
            let netdev = cache
                .rows("Bridge")
                .any(|(_, row)| row.text("datapath_type") == Some("netdev"));
            self.settings.datapath_type = if netdev { "netdev" } else { "system" }.to_owned();
        }
    }

    async fn numbers(&mut self) -> Numbers {
        if self.numbers.is_none() {
            let mut problems = Vec::new();
            let mut everything = HostState::default();
            everything.netns_mut(host::NsName::root());
            let seen = self.machine.observe(&everything, &mut problems).await;
            let bridge = &self.settings.integration_bridge;
            self.numbers = Some(crate::numbers::recover(&self.numbers_path(), &seen, bridge));
        }
        self.numbers.clone().unwrap_or_default()
    }

    fn numbers_path(&self) -> PathBuf {
        self.config.state_dir.join("numbers.json")
    }

    fn keep_numbers(&mut self, numbers: &Numbers) {
        if self.numbers.as_ref() != Some(numbers) {
            if let Err(error) = crate::numbers::save(&self.numbers_path(), numbers) {
                tracing::warn!(%error, "the host's numbers could not be kept");
            }
            self.numbers = Some(numbers.clone());
        }
    }

    fn save(&mut self) {
        if self.unsaved.take().is_none() {
            return;
        }
        if let Some(held) = self.intake.held()
            && let Err(error) = held.save(&self.config.state_dir.join("view.json"))
        {
            tracing::warn!(%error, "the view could not be kept");
        }
    }

    /// Wait until the server said what it wants of this host, if it answers in time.
    async fn hear(&mut self) {
        let mut end = tokio::time::Instant::now() + FIRST_ANSWER;
        while self.server.is_some() {
            tokio::select! {
                () = tokio::time::sleep_until(end) => return,
                event = self.events.recv() => {
                    let Some(event) = event else { return };
                    let now = tokio::time::Instant::now();
                    match &event {
                        Event::Told(Told::Connected) => end = now + FIRST_WORD,
                        Event::Told(Told::Lost) => end = end.min(now + FIRST_ANSWER),
                        _ => {}
                    }
                    let has_said = matches!(event, Event::Told(Told::Step(_)));
                    self.take(event).await;
                    if has_said {
                        return;
                    }
                }
            }
        }
    }

    /// Wait until the machine and, if the server answers in time, the intent are known: for those
    /// who look once.
    pub async fn ready(&mut self, patience: Duration) -> Result<(), StartError> {
        let end = tokio::time::Instant::now() + patience;
        let mut synced = self.server.is_none();
        while !synced || !self.machine.ovsdb.cache().live {
            tokio::select! {
                () = tokio::time::sleep_until(end) => break,
                event = self.events.recv() => {
                    synced |= matches!(event, Some(Event::Told(Told::Step(_))));
                    if let Some(event) = event {
                        self.take(event).await;
                    }
                }
            }
        }
        if !self.machine.ovsdb.cache().live {
            return Err(StartError::NoDatabase(patience));
        }
        if self.intake.held().is_none() {
            return Err(StartError::NoView);
        }
        self.machine.settle(&self.settings).await;
        Ok(())
    }

    pub fn view(&self) -> Option<&View> {
        self.intake.held().map(|held| &*held.view)
    }
}

fn watch(config: &Config, send: mpsc::UnboundedSender<Event>) -> Result<Server, DialError> {
    let (told, mut hear) = mpsc::unbounded_channel();
    let server = Server::start(Dial::new(config)?, &config.host, told);
    tokio::spawn(async move {
        while let Some(told) = hear.recv().await {
            if send.send(Event::Told(told)).is_err() {
                return;
            }
        }
    });
    Ok(server)
}

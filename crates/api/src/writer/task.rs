//! The writer's loop, from the moment the lease is held until it is lost.

use std::{mem, sync::Arc, time::Duration};

use store::{AppendError, Lease, Outcome, StoreError, Transaction};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    Ask, Decide, Decided, Fresh, LEASE, Logged, Published, Reply, Role, Shared, WriteError, chain,
};

/// Changes in one batch. More than this waits for the next: a batch must not take long.
const BATCH: usize = 2_000;
/// How often a store that is away is asked whether it is back.
const PROBE: Duration = Duration::from_millis(250);
/// How long the store may take for a batch before commands are refused rather than queued behind it.
const LATE: Duration = Duration::from_secs(5);
/// How long those whose outcome is unknown wait to be told.
const PATIENCE: Duration = Duration::from_secs(20);
/// The share of an append's time for which the next one waits for those just answered, so that
/// one sync serves all clients and not every second sync each half of them.
const GATHER: u32 = 4;
const GATHER_MOST: Duration = Duration::from_millis(2);
/// Revisions that the log keeps for those that were away for a moment, and how often more is cut.
const KEEP: u64 = 20_000;
const TRIM_EVERY: u64 = 5_000;

/// Why the writer's loop ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Another took over.
    Lost,
    /// Nobody holds the handle any more; everything under way is durable.
    Stopped,
}

/// Answers that are given when the batch they depend on is durable.
type Answers<D> = Vec<(
    Reply<D>,
    Result<<D as Decide>::Answer, WriteError<<D as Decide>::Refusal>>,
)>;

struct Batch<D: Decide> {
    transactions: Vec<Logged<D>>,
    changes: usize,
    answers: Answers<D>,
}

impl<D: Decide> Default for Batch<D> {
    fn default() -> Self {
        Self {
            transactions: Vec::new(),
            changes: 0,
            answers: Vec::new(),
        }
    }
}

/// A batch on its way to the store.
struct Flight<D: Decide> {
    published: Arc<Published<D>>,
    answers: Answers<D>,
    begun: Instant,
    append: JoinHandle<Result<(), AppendError>>,
}

pub(crate) struct Writer<'a, D: Decide> {
    shared: Arc<Shared<D>>,
    asks: &'a mut mpsc::Receiver<Ask<D>>,
    epoch: u64,
    /// Runs ahead of what is published by the flight and the pending batch.
    working: D::State,
    /// The last revision given out.
    revision: u64,
    pending: Batch<D>,
    flight: Option<Flight<D>>,
    /// The flight takes so long that nothing more is decided until it lands.
    is_late: bool,
    /// Until when, and for how many commands, the next batch is held back.
    gather: Option<(Instant, usize)>,
    trimmed: u64,
}

/// What happened while the store was being used or waited for.
enum Event<D: Decide> {
    Ask(Option<Ask<D>>),
    Landed(Result<(), AppendError>),
    Gathered,
    Late,
    Lost,
    Stop,
}

impl<'a, D: Decide> Writer<'a, D> {
    pub(crate) fn new(
        shared: Arc<Shared<D>>,
        asks: &'a mut mpsc::Receiver<Ask<D>>,
        lease: Lease,
    ) -> Self {
        let published = shared.published.load_full();
        debug_assert_eq!(published.revision, lease.revision);
        shared.followers.begin(shared.store.is_shared());
        Self {
            working: published.state.clone(),
            revision: published.revision,
            shared,
            asks,
            epoch: lease.epoch,
            pending: Batch::default(),
            flight: None,
            is_late: false,
            gather: None,
            trimmed: 0,
        }
    }

    /// Writes until the lease is lost or nobody asks any more.
    pub(crate) async fn run(mut self) -> Exit {
        let mut holding = Holding::begin(&self.shared, self.epoch);
        let shared = self.shared.clone();
        let mut stopping = shared.stopping.subscribe();
        loop {
            if self.epoch != holding.epoch {
                holding = Holding::begin(&self.shared, self.epoch);
            }
            self.dispatch();
            let due = self.flight.as_ref().map(|flight| flight.begun + LATE);
            let event = tokio::select! {
                biased;
                landed = land(&mut self.flight) => Event::Landed(landed),
                _ = &mut holding.task => Event::Lost,
                _ = stopping.wait_for(|stop| *stop), if !self.asks.is_closed() => Event::Stop,
                ask = self.asks.recv(), if self.pending.changes < BATCH => Event::Ask(ask),
                () = pause(self.gather) => Event::Gathered,
                () = overdue(due), if !self.is_late => Event::Late,
            };
            let exit = match event {
                Event::Ask(Some(ask)) if self.is_late => {
                    // Whoever asked may have gone.
                    let _ = ask.reply.send(Err(WriteError::Unavailable));
                    None
                }
                Event::Ask(Some(ask)) => {
                    self.decide(ask);
                    None
                }
                Event::Ask(None) => return self.finish().await,
                Event::Gathered => {
                    self.gather = None;
                    None
                }
                Event::Late => {
                    self.turn_away();
                    None
                }
                Event::Landed(landed) => self.landed(landed).await,
                Event::Lost => Some(self.lost().await),
                Event::Stop => {
                    self.asks.close();
                    None
                }
            };
            if let Some(exit) = exit {
                self.refuse_all(|| WriteError::NotWriter);
                return exit;
            }
        }
    }

    fn decide(&mut self, Ask { command, reply }: Ask<D>) {
        let next = self.revision + 1;
        let (changes, result) = match self.shared.rules.decide(&self.working, command, next) {
            Ok(Decided {
                answer,
                changes,
                state,
            }) => {
                self.working = state;
                (changes, Ok(answer))
            }
            Err(refusal) => (Vec::new(), Err(WriteError::Refused(refusal))),
        };
        if changes.is_empty() {
            // Judged on the working state: answered when that is durable.
            if !self.pending.transactions.is_empty() {
                self.pending.answers.push((reply, result));
            } else if let Some(flight) = &mut self.flight {
                flight.answers.push((reply, result));
            } else {
                self.acknowledge(vec![(reply, result)]);
            }
            return;
        }
        self.revision = next;
        self.pending.changes += changes.len();
        self.pending.transactions.push(Logged {
            revision: self.revision,
            changes,
        });
        self.pending.answers.push((reply, result));
    }

    /// Sends the pending batch on its way if nothing else is, and enough has gathered.
    fn dispatch(&mut self) {
        if self.flight.is_some() || self.pending.transactions.is_empty() {
            return;
        }
        if let Some((_, expected)) = self.gather
            && self.pending.answers.len() < expected
        {
            return;
        }
        self.gather = None;
        let batch = mem::take(&mut self.pending);
        let base = self.revision - batch.transactions.len() as u64;
        let published = Arc::new(Published {
            state: self.working.clone(),
            revision: self.revision,
            transactions: batch.transactions.into(),
            whole: false,
        });
        let (shared, written, epoch) = (self.shared.clone(), published.clone(), self.epoch);
        // A task of its own: documents are written there while the next commands are decided here.
        let append = tokio::spawn(async move {
            let batch = written.transactions.iter().map(|logged| Transaction {
                revision: logged.revision,
                changes: logged
                    .changes
                    .iter()
                    .map(|c| shared.rules.encode(c))
                    .collect(),
            });
            shared.store.append(epoch, base, batch.collect()).await
        });
        self.flight = Some(Flight {
            published,
            answers: batch.answers,
            begun: Instant::now(),
            append,
        });
    }

    /// What the flight holds is the store's by now; what waits behind it is refused, and was not
    /// done. Reads go on, and so does all once the flight lands.
    fn turn_away(&mut self) {
        let Some(flight) = &self.flight else {
            return;
        };
        tracing::error!("the store takes long: changes are refused until it has taken the last");
        self.working = flight.published.state.clone();
        self.revision = flight.published.revision;
        self.is_late = true;
        for (reply, _) in mem::take(&mut self.pending).answers {
            let _ = reply.send(Err(WriteError::Unavailable));
        }
    }

    async fn landed(&mut self, landed: Result<(), AppendError>) -> Option<Exit> {
        self.is_late = false;
        match landed {
            Ok(()) => {
                self.durable();
                None
            }
            Err(AppendError::LostLease { epoch }) => {
                tracing::warn!(epoch, "another server writes to the store now");
                Some(Exit::Lost)
            }
            Err(AppendError::Aborted(error)) => {
                tracing::error!(error = %chain(&error), "the store refuses changes");
                self.undo();
                self.wait_for_store().await
            }
            Err(AppendError::Unknown(error)) => {
                tracing::error!(error = %chain(&error), "the store broke off in a commit");
                self.settle().await
            }
        }
    }

    /// The flight's batch is durable: everybody may see it.
    fn durable(&mut self) {
        let Some(flight) = self.flight.take() else {
            return;
        };
        self.shared.publish(flight.published);
        let took = flight.begun.elapsed();
        let expected = flight.answers.len() + self.pending.answers.len();
        let until = Instant::now() + GATHER_MOST.min(took / GATHER);
        self.gather = Some((until, expected));
        self.acknowledge(flight.answers);
        self.trim();
    }

    /// Gives answers, now or when every follower that counts has applied what is published.
    fn acknowledge(&self, answers: Answers<D>) {
        let revision = self.shared.published.load().revision;
        if self.shared.followers.have_applied(revision) {
            answer::<D>(answers);
            return;
        }
        let shared = self.shared.clone();
        tokio::spawn(async move {
            shared.followers.wait(revision).await;
            answer::<D>(answers);
        });
    }

    /// Back to what is published. Everything under way is refused: none of it was written.
    fn undo(&mut self) {
        self.refuse_all(|| WriteError::Unavailable);
        let published = self.shared.published.load();
        self.working = published.state.clone();
        self.revision = published.revision;
        self.gather = None;
    }

    fn refuse_all(&mut self, why: impl Fn() -> WriteError<D::Refusal>) {
        let flight = self.flight.take().map(|flight| flight.answers);
        let pending = mem::take(&mut self.pending).answers;
        for (reply, _) in flight.into_iter().flatten().chain(pending) {
            // Whoever asked may have gone.
            let _ = reply.send(Err(why()));
        }
    }

    /// Refuses what is asked while something else is waited for. Nothing when the server is to
    /// stop: then it does not wait for a store that may never come back.
    async fn refuse_meanwhile<T>(&mut self, other: impl Future<Output = T>) -> Option<T> {
        let (shared, why) = (self.shared.clone(), || WriteError::Unavailable);
        shared.refuse_meanwhile(self.asks, why, other).await
    }

    /// Until the store answers again, nothing is tried on it but a question.
    async fn wait_for_store(&mut self) -> Option<Exit> {
        let shared = self.shared.clone();
        let probe = async move {
            loop {
                sleep(PROBE).await;
                match shared.store.position().await {
                    Ok(position) => return position,
                    Err(error) => tracing::debug!(error = %chain(&error), "the store is away"),
                }
            }
        };
        let Some(position) = self.refuse_meanwhile(probe).await else {
            return Some(Exit::Stopped);
        };
        let ours = position.epoch == self.epoch && position.revision == self.revision;
        if ours {
            tracing::info!(revision = position.revision, "the store is back");
        }
        (!ours).then_some(Exit::Lost)
    }

    /// Asks the store what became of the flight, until it tells.
    async fn settle(&mut self) -> Option<Exit> {
        for (reply, _) in mem::take(&mut self.pending).answers {
            let _ = reply.send(Err(WriteError::Unavailable));
        }
        let last = self
            .flight
            .as_ref()
            .map_or(self.revision, |f| f.published.revision);
        let (shared, epoch) = (self.shared.clone(), self.epoch);
        let mut settle = Box::pin(async move {
            loop {
                match shared.store.settle(epoch, last).await {
                    Ok(outcome) => return outcome,
                    Err(error) => tracing::debug!(error = %chain(&error), "not settled yet"),
                }
                sleep(PROBE).await;
            }
        });
        let outcome = match self.refuse_meanwhile(timeout(PATIENCE, &mut settle)).await {
            Some(Ok(outcome)) => Some(outcome),
            late => {
                let answers = self.flight.as_mut().map(|f| mem::take(&mut f.answers));
                for (reply, _) in answers.into_iter().flatten() {
                    let _ = reply.send(Err(WriteError::Unknown));
                }
                match late {
                    Some(_) => self.refuse_meanwhile(settle).await,
                    None => None,
                }
            }
        };
        let Some(outcome) = outcome else {
            return Some(Exit::Stopped);
        };
        tracing::info!(?outcome, "the store told what became of the changes");
        self.settled(outcome)
    }

    /// The lease is somebody else's. The flight may have been in time all the same.
    async fn lost(&mut self) -> Exit {
        if self.flight.is_some() {
            match land(&mut self.flight).await {
                Ok(()) => self.durable(),
                Err(AppendError::Unknown(_)) => {
                    self.settle().await;
                }
                Err(AppendError::Aborted(_) | AppendError::LostLease { .. }) => {}
            }
        }
        Exit::Lost
    }

    fn settled(&mut self, outcome: Outcome) -> Option<Exit> {
        match outcome {
            Outcome::Committed(lease) => {
                self.epoch = lease.epoch;
                self.durable();
                // What was pending was refused, and its decisions with it.
                self.undo();
                self.announce();
                None
            }
            Outcome::Aborted(lease) => {
                self.epoch = lease.epoch;
                self.undo();
                self.announce();
                None
            }
            Outcome::Deposed { committed } => {
                let answers = self.flight.take().map(|flight| flight.answers);
                for (reply, result) in answers.into_iter().flatten() {
                    let _ = reply.send(match committed {
                        Some(true) => result,
                        Some(false) => Err(WriteError::NotWriter),
                        None => Err(WriteError::Unknown),
                    });
                }
                Some(Exit::Lost)
            }
        }
    }

    fn announce(&self) {
        self.shared
            .role
            .send_replace(Role::Writer { epoch: self.epoch });
    }

    /// Forgets the log behind what followers still need, now and then.
    fn trim(&mut self) {
        let slowest = self.shared.followers.all().into_values().min();
        let published = self.shared.published.load().revision;
        let through = slowest
            .unwrap_or(published)
            .min(published.saturating_sub(KEEP));
        if through < self.trimmed + TRIM_EVERY {
            return;
        }
        self.trimmed = through;
        let (shared, epoch) = (self.shared.clone(), self.epoch);
        tokio::spawn(async move {
            if let Err(error) = shared.store.trim(epoch, through).await {
                tracing::warn!(error = %chain(&error), through, "the log can't be trimmed");
            }
        });
    }

    /// Nobody asks any more: what was decided is made durable, then the lease is given up.
    async fn finish(mut self) -> Exit {
        while !self.pending.transactions.is_empty() || self.flight.is_some() {
            self.gather = None;
            self.dispatch();
            let landed = land(&mut self.flight).await;
            if let Some(exit) = self.landed(landed).await {
                return exit;
            }
        }
        if let Err(error) = self.shared.store.release_lease(self.epoch).await {
            tracing::warn!(error = %chain(&error), "the lease can't be given up");
        }
        Exit::Stopped
    }
}

fn answer<D: Decide>(answers: Answers<D>) {
    for (reply, result) in answers {
        // Whoever asked may have gone.
        let _ = reply.send(result);
    }
}

/// Waits for the flight, if there is one.
async fn land<D: Decide>(flight: &mut Option<Flight<D>>) -> Result<(), AppendError> {
    match flight {
        // A panic in there leaves open how far it came.
        Some(flight) => (&mut flight.append)
            .await
            .unwrap_or(Err(AppendError::Unknown(StoreError::Ended))),
        None => std::future::pending().await,
    }
}

/// Waits until the flight, if there is one, takes too long.
async fn overdue(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

async fn pause(gather: Option<(Instant, usize)>) {
    match gather {
        Some((until, _)) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// The lease's renewal: a task of its own, since it must go on whatever the writer waits for.
struct Holding {
    epoch: u64,
    task: JoinHandle<()>,
}

impl Holding {
    fn begin<D: Decide>(shared: &Arc<Shared<D>>, epoch: u64) -> Self {
        let task = tokio::spawn(hold(shared.clone(), epoch));
        Self { epoch, task }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Renews the lease for as long as the store lets it; ends when it is lost. While it is renewed,
/// nobody else can have written, so this server's state is the newest there is.
async fn hold<D: Decide>(shared: Arc<Shared<D>>, epoch: u64) {
    if !shared.store.is_shared() {
        shared.fresh.send_replace(Fresh::Always);
        return std::future::pending().await;
    }
    loop {
        let asked = Instant::now();
        match shared.store.renew_lease(epoch, LEASE).await {
            Ok(true) => {
                shared.fresh.send_replace(Fresh::Until(asked + LEASE));
            }
            Ok(false) => {
                shared.fresh.send_replace(Fresh::Never);
                return;
            }
            Err(error) => {
                tracing::warn!(error = %chain(&error), epoch, "the lease can't be renewed");
            }
        }
        sleep_until(asked + LEASE / 6).await;
    }
}

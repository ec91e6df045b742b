//! One host's watch: the difference between what it holds and its view as it is, and then every
//! step to what the view becomes.
//!
//! Between the server and a host's connection is a short queue. A host that does not empty it is
//! *slow*: from then on nothing is kept for it but the view that it was told last, and when it
//! reads again it gets the difference to what its view is by then. One that reads nothing for
//! [`MISSED`] heartbeats is cut off, and begins anew by saying what it holds. So no host makes the
//! server hold more than its own view, and nobody waits for it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use intent::{
    HostName, NetworkId, State,
    view::{Difference, Holding, Item, Summary, View, view},
};
use ledger::{Actor, Command};
use serde_json::{Value, json};
use tokio::{
    sync::{
        Notify,
        broadcast::{Receiver, error::RecvError},
        mpsc,
    },
    time::{Instant, timeout},
};

use super::moves::Moved;
use crate::Api;

/// Pieces of text that wait for a host's connection to take them, and how long one may be before
/// the next begins.
pub(super) const PIECES: usize = 4;
const PIECE: usize = 64 << 10;
/// How long a host may take for a piece before nothing more is kept for it.
const SLOW: Duration = Duration::from_millis(500);
/// A host that takes nothing for this many heartbeats is cut off.
const MISSED: u32 = 3;
/// How long the store may take to tell a mark.
const MARK: Duration = Duration::from_secs(1);
/// How long a follower is waited for that has not seen yet what the host has.
const CATCH_UP: Duration = Duration::from_secs(5);

/// The way to a host's connection.
pub(super) struct Way {
    pub(super) pieces: mpsc::Sender<Bytes>,
    /// Ends the connection, whatever still waits in it.
    pub(super) cut: Arc<Notify>,
}

/// Sends until the host is gone.
pub(super) async fn watch(api: Arc<Api>, host: String, holding: Option<Holding>, way: Way) {
    let mut asked = api.agents.connect(&host);
    let holds = holding.as_ref().map(|holding| holding.revision);
    tracing::info!(%host, holds, "a host watches");
    if let Some(holding) = &holding {
        catch_up(&api, holding).await;
    }
    let mut stream = Stream {
        api: api.clone(),
        host: host.as_str().into(),
        had: holding.map_or(Had::Nothing, |holding| Had::Said(holding.items)),
        revision: 0,
        way,
        beat: Instant::now() + api.heartbeat,
        marked: 0,
        news: None,
    };
    let Gone = stream.run(&mut asked).await;
    api.agents.disconnect(&host, &mut asked);
    tracing::info!(%host, "a host's watch ended");
}

/// A follower may be a moment behind what another server told the host: told by it, the host would
/// take it for a store that was put back.
async fn catch_up(api: &Api, holding: &Holding) {
    let handle = &api.hub.handle;
    if holding.store != handle.store().id().to_string() {
        return;
    }
    let mut news = handle.subscribe();
    let caught_up = async {
        while handle.published().revision < holding.revision {
            if let Err(RecvError::Closed) = news.recv().await {
                return;
            }
        }
    };
    let _ = timeout(CATCH_UP, caught_up).await;
}

/// The host, or this server, does not want the watch any more.
struct Gone;

/// What the host has, once it has read all that was sent.
enum Had {
    Nothing,
    /// What it said that it holds.
    Said(Summary),
    /// Its view of that state.
    State(Arc<State>),
    /// For a slow one: its view alone, since a state is large and soon an old one.
    View(Box<View>),
}

impl Had {
    fn difference(&self, host: &HostName, wanted: &View) -> Difference {
        match self {
            Self::Nothing => View::default().difference(wanted),
            Self::Said(summary) => wanted.since(summary),
            Self::State(state) => view(state, host).difference(wanted),
            Self::View(view) => view.difference(wanted),
        }
    }
}

/// What a watch has to do next.
enum Event {
    Moved(Result<Arc<Moved>, RecvError>),
    Asked(Option<Value>),
    Beat,
    Closed,
}

struct Stream {
    api: Arc<Api>,
    host: HostName,
    had: Had,
    /// The revision that it has all of.
    revision: u64,
    way: Way,
    /// When the next heartbeat is due.
    beat: Instant,
    /// The revision whose mark the host has.
    marked: u64,
    /// Nothing while the view has to be looked at anew.
    news: Option<Receiver<Arc<Moved>>>,
}

impl Stream {
    async fn run(&mut self, asked: &mut mpsc::Receiver<Value>) -> Gone {
        let whole = matches!(self.had, Had::Nothing);
        let begins = json!({"event": "begins", "whole": whole});
        if let Err(gone) = self.send(format!("{begins}\n")).await {
            return gone;
        }
        loop {
            let outcome = match &mut self.news {
                None => self.look_anew().await,
                Some(news) => {
                    let event = tokio::select! {
                        moved = news.recv() => Event::Moved(moved),
                        question = asked.recv() => Event::Asked(question),
                        () = tokio::time::sleep_until(self.beat) => Event::Beat,
                        () = self.way.pieces.closed() => Event::Closed,
                    };
                    self.take(event).await
                }
            };
            if let Err(gone) = outcome {
                return gone;
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), Gone> {
        match event {
            Event::Moved(Ok(moved)) => self.follow(&moved).await,
            Event::Moved(Err(RecvError::Lagged(_))) => {
                self.overflowed();
                Ok(())
            }
            // A newer watch of this host has taken over.
            Event::Asked(None) | Event::Closed | Event::Moved(Err(RecvError::Closed)) => Err(Gone),
            Event::Asked(Some(question)) => self.send(format!("{question}\n")).await,
            Event::Beat => {
                self.beat = Instant::now() + self.api.heartbeat;
                self.send("{\"event\":\"heartbeat\"}\n".to_owned()).await?;
                self.mark().await
            }
        }
    }

    /// Tells which history the host was told of, so that it can ask, after it was away, whether this
    /// is still the one. Heartbeats carry it, as reading it is too dear for every change.
    async fn mark(&mut self) -> Result<(), Gone> {
        let revision = self.revision;
        if self.marked == revision {
            return Ok(());
        }
        let mark = self.api.hub.handle.store().mark(revision);
        // A store that hangs must not silence the watch: the next heartbeat tries again.
        let Ok(mark) = timeout(MARK, mark).await else {
            return Ok(());
        };
        match mark {
            Ok(Some(mark)) => {
                self.marked = revision;
                let line = json!({"event": "mark", "revision": revision, "mark": mark});
                self.send(format!("{line}\n")).await
            }
            Ok(None) => Ok(()),
            Err(error) => {
                let error = crate::writer::chain(&error);
                tracing::debug!(error, revision, "no mark of a revision");
                Ok(())
            }
        }
    }

    /// Too much waits for this host: from now on it is only known what it had.
    fn overflowed(&mut self) {
        if self.news.take().is_some() {
            self.api.metrics.watch_overflowed();
        }
        if let Had::State(state) = &self.had {
            self.had = Had::View(Box::new(view(state, &self.host)));
        }
    }

    /// Goes along with a move of the state, where it concerns this host.
    async fn follow(&mut self, moved: &Moved) -> Result<(), Gone> {
        let Had::State(seen) = &self.had else {
            self.news = None;
            return Ok(());
        };
        let known = moved.steps.is_some();
        if known && moved.after.revision <= seen.revision {
            return Ok(());
        }
        let steps = moved.steps.as_ref();
        let Some(steps) = steps.filter(|_| moved.before == seen.revision) else {
            self.news = None;
            return Ok(());
        };
        let step = steps.of(&self.host);
        self.had = Had::State(moved.after.clone());
        self.revision = moved.after.revision;
        if step.is_empty() {
            return Ok(());
        }
        let concerns_dhcp = |item: &Item| matches!(item, Item::DhcpRole(_) | Item::Subnet(_));
        let portless = match step.put.iter().any(concerns_dhcp) {
            true => without_port(&view(&moved.after, &self.host)),
            false => Vec::new(),
        };
        self.tell(&step).await?;
        self.make_dhcp_ports(portless);
        Ok(())
    }

    /// Computes the view: for a watch that begins, or that can't tell what happened in between.
    async fn look_anew(&mut self) -> Result<(), Gone> {
        // First subscribe, then look: nothing falls in between.
        self.news = Some(self.api.agents.moves.subscribe());
        let state = self.api.hub.state();
        let wanted = view(&state, &self.host);
        let begins = matches!(self.had, Had::Nothing | Had::Said(_));
        let step = self.had.difference(&self.host, &wanted);
        let portless = without_port(&wanted);
        self.revision = state.revision;
        self.had = Had::State(state);
        if begins || !step.is_empty() {
            self.tell(&step).await?;
        }
        self.make_dhcp_ports(portless);
        match begins {
            true => self.mark().await,
            false => Ok(()),
        }
    }

    /// Sends a step, and a mark behind it.
    async fn tell(&mut self, step: &Difference) -> Result<(), Gone> {
        let revision = self.revision;
        let removed = step
            .remove
            .iter()
            .map(|key| json!({"event": "remove", "revision": revision, "key": key}).to_string());
        let put = step.put.iter().map(|item| {
            // Items are maps with text keys: they always print.
            let item = serde_json::to_string(item).unwrap_or_default();
            format!("{{\"event\":\"put\",\"revision\":{revision},\"item\":{item}}}")
        });
        let mut piece = String::new();
        for line in removed.chain(put) {
            piece.push_str(&line);
            piece.push('\n');
            if piece.len() >= PIECE {
                self.send(std::mem::take(&mut piece)).await?;
            }
        }
        let store = self.api.hub.handle.store().id().to_string();
        let synced = json!({"event": "synced", "store": store, "revision": revision});
        self.send(format!("{piece}{synced}\n")).await
    }

    /// A network whose DHCP is served here needs a port for its server, which the ledger makes;
    /// the next change of the view brings it.
    fn make_dhcp_ports(&self, networks: Vec<NetworkId>) {
        for network in networks {
            let (api, host) = (self.api.clone(), self.host.clone());
            tokio::spawn(async move {
                let command = Command::EnsureDhcpPort { host, network };
                if let Err(fault) = api.hub.submit(Actor::system(), command).await {
                    tracing::warn!(%network, ?fault, "the DHCP server gets no port");
                }
            });
        }
    }

    /// Hands text to the connection. One that takes it late has missed steps meanwhile.
    async fn send(&mut self, text: String) -> Result<(), Gone> {
        let pieces = self.way.pieces.clone();
        let room = match timeout(SLOW, pieces.reserve()).await {
            Ok(room) => room,
            Err(_) => {
                self.overflowed();
                match timeout(self.api.heartbeat * MISSED, pieces.reserve()).await {
                    Ok(room) => room,
                    Err(_) => {
                        self.api.metrics.watch_cut_off();
                        tracing::warn!(host = %self.host, "a host that reads nothing is cut off");
                        self.way.cut.notify_one();
                        return Err(Gone);
                    }
                }
            }
        };
        room.map_err(|_| Gone)?.send(text.into());
        Ok(())
    }
}

/// Networks with a DHCP server here whose subnets want one and whose port is not there.
fn without_port(view: &View) -> Vec<NetworkId> {
    let roles = view.dhcp_roles.values();
    let portless = roles.filter(|role| role.port_id.is_none());
    let has_dhcp = |network: &NetworkId| {
        let mut subnets = view.subnets.values();
        subnets.any(|subnet| subnet.network_id == *network && subnet.enable_dhcp)
    };
    portless
        .map(|role| role.network_id)
        .filter(has_dhcp)
        .collect()
}

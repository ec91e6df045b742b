//! One host's watch: its view as it is, and then every step to what it becomes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use intent::{
    HostName, NetworkId, State,
    view::{Difference, Item, View, view},
};
use ledger::{Actor, Command};
use serde_json::{Value, json};
use tokio::{
    sync::{broadcast::error::RecvError, mpsc},
    time::Instant,
};

use super::moves::Moved;
use crate::Api;

/// Sends until the host is gone.
pub(super) async fn watch(api: Arc<Api>, host: String, lines: mpsc::Sender<Bytes>) {
    let mut asked = api.agents.connect(&host);
    tracing::info!(%host, "a host watches");
    let heartbeat = api.heartbeat;
    let mut stream = Stream {
        api: api.clone(),
        host: host.as_str().into(),
        seen: Arc::default(),
        lines,
        beat: Instant::now() + heartbeat,
        marked: 0,
    };
    stream.run(&mut asked, heartbeat).await;
    api.agents.disconnect(&host, &mut asked);
    tracing::info!(%host, "a host's watch ended");
}

struct Stream {
    api: Arc<Api>,
    host: HostName,
    /// The state whose view the host has.
    seen: Arc<State>,
    lines: mpsc::Sender<Bytes>,
    /// When the next heartbeat is due.
    beat: Instant,
    /// The revision whose mark the host has.
    marked: u64,
}

/// The host does not take what is sent.
struct Gone;

impl Stream {
    async fn run(
        &mut self,
        asked: &mut mpsc::Receiver<Value>,
        heartbeat: Duration,
    ) -> Option<Gone> {
        // First subscribe, then look: nothing falls in between.
        let mut news = self.api.agents.moves.subscribe();
        if let Err(gone) = self.begin().await {
            return Some(gone);
        }
        loop {
            let outcome = tokio::select! {
                moved = news.recv() => match moved {
                    Err(RecvError::Closed) => return None,
                    Ok(moved) => self.follow(&moved).await,
                    Err(RecvError::Lagged(_)) => self.look_anew(self.api.hub.state()).await,
                },
                question = asked.recv() => match question {
                    // A newer watch of this host has taken over.
                    None => return None,
                    Some(question) => self.send(format!("{question}\n")).await,
                },
                () = tokio::time::sleep_until(self.beat) => {
                    self.beat = Instant::now() + heartbeat;
                    self.beat().await
                }
                () = self.lines.closed() => return Some(Gone),
            };
            if let Err(gone) = outcome {
                return Some(gone);
            }
        }
    }

    /// Sends the whole view, and a mark behind it.
    async fn begin(&mut self) -> Result<(), Gone> {
        let state = self.api.hub.state();
        let wanted = view(&state, &self.host);
        self.seen = state;
        let difference = View::default().difference(&wanted);
        self.tell(&difference).await?;
        self.make_dhcp_ports(without_port(&wanted));
        self.mark().await
    }

    async fn beat(&mut self) -> Result<(), Gone> {
        self.send("{\"event\":\"heartbeat\"}\n".to_owned()).await?;
        self.mark().await
    }

    /// Tells which history the host was told of, so that it can ask, after it was away, whether this
    /// is still the one. Heartbeats carry it, as reading it is too dear for every change.
    async fn mark(&mut self) -> Result<(), Gone> {
        let revision = self.seen.revision;
        if self.marked == revision {
            return Ok(());
        }
        match self.api.hub.handle.store().mark(revision).await {
            Ok(Some(mark)) => {
                self.marked = revision;
                let line = json!({"event": "mark", "revision": revision, "mark": mark});
                self.send(format!("{line}\n")).await
            }
            Ok(None) => Ok(()),
            // The next heartbeat tries again.
            Err(error) => {
                tracing::debug!(
                    error = crate::writer::chain(&error),
                    revision,
                    "no mark of a revision"
                );
                Ok(())
            }
        }
    }

    /// Goes along with a move of the state, where it concerns this host.
    async fn follow(&mut self, moved: &Moved) -> Result<(), Gone> {
        let known = moved.steps.is_some();
        if known && moved.after.revision <= self.seen.revision {
            return Ok(());
        }
        let steps = moved.steps.as_ref();
        let Some(steps) = steps.filter(|_| moved.before == self.seen.revision) else {
            return self.look_anew(moved.after.clone()).await;
        };
        let step = steps.of(&self.host);
        self.seen = moved.after.clone();
        self.take(&step).await
    }

    /// Computes both views: for a watch that can't tell what happened in between.
    async fn look_anew(&mut self, state: Arc<State>) -> Result<(), Gone> {
        let (had, wanted) = (view(&self.seen, &self.host), view(&state, &self.host));
        self.seen = state;
        self.take(&had.difference(&wanted)).await
    }

    async fn take(&mut self, step: &Difference) -> Result<(), Gone> {
        if step.is_empty() {
            return Ok(());
        }
        self.tell(step).await?;
        let concerns_dhcp = |item: &Item| matches!(item, Item::DhcpRole(_) | Item::Subnet(_));
        if step.put.iter().any(concerns_dhcp) {
            let portless = without_port(&view(&self.seen, &self.host));
            self.make_dhcp_ports(portless);
        }
        Ok(())
    }

    async fn tell(&mut self, difference: &Difference) -> Result<(), Gone> {
        let store = self.api.hub.handle.store().id().to_string();
        self.send(lines(difference, self.seen.revision, &store))
            .await
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

    async fn send(&mut self, text: String) -> Result<(), Gone> {
        self.lines.send(text.into()).await.map_err(|_| Gone)
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

fn lines(difference: &Difference, revision: u64, store: &str) -> String {
    let removed = difference
        .remove
        .iter()
        .map(|key| json!({"event": "remove", "revision": revision, "key": key}).to_string());
    let put = difference.put.iter().map(|item| {
        // Items are maps with text keys: they always print.
        let item = serde_json::to_string(item).unwrap_or_default();
        format!("{{\"event\":\"put\",\"revision\":{revision},\"item\":{item}}}")
    });
    let synced = json!({"event": "synced", "store": store, "revision": revision}).to_string();
    let mut text = String::new();
    for line in removed.chain(put).chain([synced]) {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

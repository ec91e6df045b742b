//! One host's watch: its view as it is, and then every step to what it becomes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use intent::{
    HostName, NetworkId,
    view::{Difference, View, view},
};
use ledger::{Actor, Command};
use serde_json::{Value, json};
use tokio::sync::{broadcast::error::RecvError, mpsc};

use crate::Api;

/// Changes that come within this time of each other travel together.
const GATHER: Duration = Duration::from_millis(5);

/// Sends until the host is gone.
pub(super) async fn watch(api: Arc<Api>, host: String, lines: mpsc::Sender<Bytes>) {
    let mut asked = api.agents.connect(&host);
    tracing::info!(%host, "a host watches");
    let heartbeat = api.heartbeat;
    let mut stream = Stream {
        api: api.clone(),
        host: host.as_str().into(),
        sent: View::default(),
        lines,
    };
    stream.run(&mut asked, heartbeat).await;
    api.agents.disconnect(&host, &mut asked);
    tracing::info!(%host, "a host's watch ended");
}

struct Stream {
    api: Arc<Api>,
    host: HostName,
    sent: View,
    lines: mpsc::Sender<Bytes>,
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
        let mut news = self.api.hub.handle.subscribe();
        if let Err(gone) = self.bring_up_to_date(true).await {
            return Some(gone);
        }
        loop {
            let outcome = tokio::select! {
                published = news.recv() => match published {
                    Err(RecvError::Closed) => return None,
                    Ok(_) | Err(RecvError::Lagged(_)) => {
                        tokio::time::sleep(GATHER).await;
                        while news.try_recv().is_ok() {}
                        self.bring_up_to_date(false).await
                    }
                },
                question = asked.recv() => match question {
                    // A newer watch of this host has taken over.
                    None => return None,
                    Some(question) => self.send(format!("{question}\n")).await,
                },
                () = tokio::time::sleep(heartbeat) => {
                    self.send("{\"event\":\"heartbeat\"}\n".to_owned()).await
                }
                () = self.lines.closed() => return Some(Gone),
            };
            if let Err(gone) = outcome {
                return Some(gone);
            }
        }
    }

    /// Sends what the newest state makes different, and a mark behind it.
    async fn bring_up_to_date(&mut self, first: bool) -> Result<(), Gone> {
        let state = self.api.hub.state();
        let wanted = view(&state, &self.host);
        let difference = self.sent.difference(&wanted);
        let portless = without_port(&wanted);
        self.sent = wanted;
        if first || !difference.is_empty() {
            let store = self.api.hub.handle.store().id().to_string();
            self.send(lines(&difference, state.revision, &store))
                .await?;
        }
        self.make_dhcp_ports(portless);
        Ok(())
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

    async fn send(&self, text: String) -> Result<(), Gone> {
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

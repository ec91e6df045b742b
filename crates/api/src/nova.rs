//! Tells Nova what became of its ports: `network-vif-plugged`, `-unplugged`, `-deleted`, and
//! `network-changed`, in batches, to `/os-server-external-events`. Nova waits for the first of them
//! before it starts a machine.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use intent::{Change, Kind, Object, Port, PortId, PortStatus, State};
use serde_json::{Value, json};
use tls::{TlsError, http as https};
use tokio::sync::{broadcast::error::RecvError, watch};

use crate::{
    Api,
    config::Nova,
    identity::Identity,
    rules::Step,
    writer::{Published, Role, chain},
};

/// What happens within this time travels together.
const GATHER: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;

/// The Nova that is told.
pub(crate) struct Listens {
    settings: Nova,
    client: https::Client,
}

impl Listens {
    pub(crate) fn new(settings: Nova) -> Result<Self, TlsError> {
        Ok(Self {
            client: https::for_peer(&settings.url, settings.authority.as_deref())?,
            settings,
        })
    }
}

/// Tells until `stop` turns true. Of several servers only the writer does.
pub(crate) async fn tell(api: Arc<Api>, nova: Listens, mut stop: watch::Receiver<bool>) {
    let mut news = api.hub.handle.subscribe();
    let mut before = api.hub.state();
    loop {
        let mut events = Vec::new();
        tokio::select! {
            heard = news.recv() => match heard {
                Err(RecvError::Closed) => return,
                // What was missed can't be told: Nova asks when it waits too long.
                Err(RecvError::Lagged(_)) => before = api.hub.state(),
                Ok(published) => {
                    take(&mut before, &published, &mut events);
                    tokio::time::sleep(GATHER).await;
                    while let Ok(published) = news.try_recv() {
                        take(&mut before, &published, &mut events);
                    }
                }
            },
            _ = async { stop.wait_for(|stop| *stop).await.is_ok() } => return,
        }
        let writes = matches!(*api.hub.handle.role().borrow(), Role::Writer { .. });
        if writes && !events.is_empty() {
            send(&api, &nova, events).await;
        }
    }
}

fn take(
    before: &mut Arc<State>,
    published: &Published<crate::rules::Rules>,
    events: &mut Vec<Value>,
) {
    for logged in published.transactions.iter() {
        for step in &logged.changes {
            if let Step::Intent(change) = step {
                events.extend(event(before, change));
            }
        }
    }
    *before = published.state.intent.clone();
}

/// What one change means to Nova.
fn event(before: &State, change: &Change) -> Option<Value> {
    let (was, is) = match change {
        Change::Put(Object::Port(port)) => (before.ports.get(&port.id), Some(port)),
        Change::Delete {
            kind: Kind::Port,
            key,
        } => (before.ports.get(&key.parse::<PortId>().ok()?), None),
        _ => return None,
    };
    let port: &Port = is.or(was)?;
    if !port.device_owner.starts_with("compute:") || port.device_id.is_empty() {
        return None;
    }
    let up = |port: Option<&Arc<Port>>| port.is_some_and(|it| it.status == PortStatus::Active);
    let named = |name: &str| {
        json!({
            "name": name, "server_uuid": port.device_id, "tag": port.id, "status": "completed",
        })
    };
    match (was, is) {
        (Some(_), None) => Some(named("network-vif-deleted")),
        (_, Some(_)) if up(is) && !up(was) => Some(named("network-vif-plugged")),
        (Some(_), Some(_)) if up(was) && !up(is) => Some(named("network-vif-unplugged")),
        (Some(was), Some(is)) if was.fixed_ips != is.fixed_ips => {
            Some(json!({"name": "network-changed", "server_uuid": port.device_id}))
        }
        _ => None,
    }
}

async fn send(api: &Api, nova: &Listens, events: Vec<Value>) {
    let count = events.len();
    let body = json!({ "events": events }).to_string();
    for attempt in 1..=TRIES {
        match once(api, nova, &body, attempt > 1).await {
            Ok(()) => return tracing::info!(count, "Nova was told"),
            Err(error) => tracing::warn!(%error, attempt, "Nova can't be told"),
        }
        tokio::time::sleep(Duration::from_secs(u64::from(attempt))).await;
    }
}

async fn once(api: &Api, nova: &Listens, body: &str, renew: bool) -> Result<(), String> {
    let settings = &nova.settings;
    let token = match &api.identity {
        Identity::Keystone(keystone) if settings.token.is_empty() => keystone
            .own_token(renew)
            .await
            .map_err(|_| "Keystone gives no token".to_owned())?,
        _ => settings.token.clone(),
    };
    let url = settings.url.trim_end_matches('/');
    let request = Request::post(format!("{url}/os-server-external-events"))
        .header("content-type", "application/json")
        .header("x-auth-token", token)
        .body(Full::new(Bytes::from(body.to_owned())))
        .map_err(|error| error.to_string())?;
    let asked = tokio::time::timeout(PATIENCE, nova.client.request(request)).await;
    let response = asked
        .map_err(|_| "it does not answer".to_owned())?
        .map_err(|error| chain(&error))?;
    match response.status() {
        // Some of the machines may be unknown to it: 207 is an answer like any other.
        status if status.is_success() => Ok(()),
        status => Err(format!("it answers {status}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(status: &str, address: &str) -> Arc<Port> {
        let port = json!({
            "id": "00000000-0000-0000-0000-000000000001", "project_id": "p",
            "network_id": "00000000-0000-0000-0000-000000000002", "admin_state_up": true,
            "status": status, "mac_address": "fa:16:3e:00:00:01", "device_id": "vm",
            "device_owner": "compute:nova", "port_security_enabled": true,
            "fixed_ips": [{
                "subnet_id": "00000000-0000-0000-0000-000000000003", "ip_address": address,
            }],
            "meta": {"created_at": 0, "updated_at": 0, "revision_number": 1},
        });
        Arc::new(serde_json::from_value(port).expect("a port"))
    }

    #[test]
    fn a_port_that_comes_up_goes_down_or_goes_away_is_told() {
        let mut state = State::default();
        let name = |state: &State, change: &Change| {
            event(state, change).map(|event| event["name"].as_str().unwrap_or_default().to_owned())
        };
        let put = |port: &Arc<Port>| Change::Put(Object::Port(port.clone()));
        let (down, up) = (port("DOWN", "10.0.0.1"), port("ACTIVE", "10.0.0.1"));
        assert_eq!(name(&state, &put(&down)), None);
        state.apply(put(&down));
        assert_eq!(
            name(&state, &put(&up)).as_deref(),
            Some("network-vif-plugged")
        );
        state.apply(put(&up));
        assert_eq!(name(&state, &put(&up)), None);
        assert_eq!(
            name(&state, &put(&down)).as_deref(),
            Some("network-vif-unplugged")
        );
        let moved = put(&port("ACTIVE", "10.0.0.2"));
        assert_eq!(name(&state, &moved).as_deref(), Some("network-changed"));
        let gone = Change::delete(&*up);
        assert_eq!(name(&state, &gone).as_deref(), Some("network-vif-deleted"));
    }
}

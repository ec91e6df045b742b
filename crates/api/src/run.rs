//! A server from its settings: opened, listening, and ended cleanly.

use std::{path::PathBuf, sync::Arc, time::Duration};

use store::{Store, StoreError};
use tls::{Shown, TlsError, acceptor};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    Api, Hub,
    agents::{Agents, Listener, Socket, Tokens},
    chores,
    config::{AgentsAt, Config, IdentityKind},
    identity::{Identity, embedded::Embedded, keystone::Keystone},
    metadata, nova,
    policy::{Policy, PolicyError},
    replica::{Member, Replica},
    rules::Rules,
    server::{Limits, Metrics, Server},
    writer::StartError,
};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{} can't be read", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the store can't be opened")]
    Store(#[source] StoreError),
    #[error("the server can't begin")]
    Start(#[source] StartError),
    #[error("the policy can't be used")]
    Policy(#[source] PolicyError),
    #[error("{at} can't be listened on")]
    Listen { at: String, source: std::io::Error },
    #[error("agents on {0} need certificates: plainly only loopback is listened on")]
    PlainAgents(std::net::SocketAddr),
    #[error(
        "no agent could prove its host's name on {0}: tokens or a client_authority have to be set"
    )]
    NoProof(std::net::SocketAddr),
    #[error("TLS can't be set up")]
    Tls(#[source] TlsError),
}

/// Serves until `stop` turns true.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let store = Store::open(&config.store).await.map_err(RunError::Store)?;
    let name = format!("{}-{}", std::process::id(), config.listen);
    let member = Member::new(name, address(&config), config.peer_authority.as_deref());
    let member = member.map_err(RunError::Tls)?;
    let rules = Rules::new(config.ledger.clone());
    let replica = Replica::start(rules, store, member)
        .await
        .map_err(RunError::Start)?;
    let hub = Hub {
        handle: replica.handle.clone(),
    };
    let api = Arc::new(open(&config, hub)?);
    let at = config.listen;
    let listener = TcpListener::bind(at).await.map_err(listen_failed(&at))?;
    let tls = match &config.tls {
        Some(tls) => {
            let shown = Shown {
                certificate: &tls.certificate,
                key: &tls.key,
            };
            Some(acceptor(shown, None).map_err(RunError::Tls)?)
        }
        None => None,
    };
    let listener_of_agents = agents(&config, api.clone()).await?;
    tokio::spawn(listener_of_agents.run(stop.clone()));
    if let Some(listener) = metadata(&config, api.clone()).await? {
        tokio::spawn(listener.run(stop.clone()));
    }
    tokio::spawn(chores::run(api.clone(), stop.clone()));
    if let Some(nova) = config.nova.clone() {
        let nova = nova::Listens::new(nova).map_err(RunError::Tls)?;
        tokio::spawn(nova::tell(api.clone(), nova, stop.clone()));
    }
    let limits = Limits {
        body: config.limits.body,
        connections: config.limits.connections,
        requests: config.limits.requests,
        time: Duration::from_secs(config.limits.seconds),
    };
    tracing::info!(%at, tls = tls.is_some(), "the API listens");
    let server = Server {
        api,
        listener,
        tls,
        limits,
    };
    server.run(stop).await;
    replica.stop().await;
    Ok(())
}

fn listen_failed(at: &impl ToString) -> impl FnOnce(std::io::Error) -> RunError {
    let at = at.to_string();
    |source| RunError::Listen { at, source }
}

/// The URL at which other servers find this one.
fn address(config: &Config) -> String {
    match (config.address.as_str(), &config.tls) {
        ("", None) => format!("http://{}", config.listen),
        ("", Some(_)) => format!("https://{}", config.listen),
        (address, _) => address.to_owned(),
    }
}

/// The agents' listener. Whoever can reach it plainly could claim to be any host.
async fn agents(config: &Config, api: Arc<Api>) -> Result<Listener, RunError> {
    let settings = &config.agents;
    let at = &settings.listen;
    let shown = Shown::of(settings.certificate.as_deref(), settings.key.as_deref());
    let authority = settings.client_authority.as_deref();
    let tls = match (at, shown.map_err(RunError::Tls)?) {
        (AgentsAt::Unix(_), _) => None,
        (AgentsAt::Tcp(at), Some(_)) if authority.is_none() && settings.tokens.is_none() => {
            return Err(RunError::NoProof(*at));
        }
        (AgentsAt::Tcp(_), Some(shown)) => Some(acceptor(shown, authority).map_err(RunError::Tls)?),
        (AgentsAt::Tcp(at), None) if at.ip().is_loopback() => None,
        (AgentsAt::Tcp(at), None) => return Err(RunError::PlainAgents(*at)),
    };
    let tokens = match &settings.tokens {
        Some(path) => {
            let tokens = Tokens::read(path);
            Some(tokens.map_err(|source| RunError::File {
                path: path.clone(),
                source,
            })?)
        }
        None => None,
    };
    let socket = Socket::bind(at).await.map_err(listen_failed(at))?;
    tracing::info!(%at, tls = tls.is_some(), "agents may connect");
    Ok(Listener {
        api,
        socket,
        tls,
        tokens,
        connections: config.limits.connections,
    })
}

/// The metadata service's listener, where there is to be one.
async fn metadata(config: &Config, api: Arc<Api>) -> Result<Option<metadata::Listener>, RunError> {
    let Some(settings) = &config.metadata else {
        return Ok(None);
    };
    let path = &settings.secret_file;
    let text = std::fs::read_to_string(path).map_err(|source| RunError::File {
        path: path.clone(),
        source,
    })?;
    let at = settings.listen;
    let listener = TcpListener::bind(at).await.map_err(listen_failed(&at))?;
    tracing::info!(%at, "the metadata service listens");
    let secret = text.lines().next().unwrap_or_default().trim();
    Ok(Some(metadata::Listener {
        api,
        listener,
        secret: metadata::Secret::new(secret),
    }))
}

fn open(config: &Config, hub: Hub) -> Result<Api, RunError> {
    let operator = match &config.policy_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|source| RunError::File {
                path: path.clone(),
                source,
            })?)
        }
        None => None,
    };
    let policy = Policy::read(operator.as_deref()).map_err(RunError::Policy)?;
    let identity = match config.identity {
        IdentityKind::None => Identity::None,
        IdentityKind::Embedded => Identity::Embedded(Box::new(Embedded {
            hub: hub.clone(),
            settings: config.embedded.clone(),
        })),
        IdentityKind::Keystone => {
            let keystone = Keystone::new(config.keystone.clone()).map_err(RunError::Tls)?;
            Identity::Keystone(Box::new(keystone))
        }
    };
    Ok(Api {
        hub,
        policy,
        filter_validation: config.filter_validation,
        identity,
        metrics: Metrics::default(),
        agents: Agents::default(),
        heartbeat: Duration::from_secs(config.agents.heartbeat),
    })
}

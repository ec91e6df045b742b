//! A server from its settings: opened, listening, and ended cleanly.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};

use crate::{
    Api, Hub,
    config::{Config, IdentityKind},
    identity::Identity,
    policy::{Policy, PolicyError},
    replica::{Member, Replica},
    rules::Rules,
    server::{Limits, Metrics, Server, TlsError, acceptor},
    writer::{Handle, StartError},
};
use store::{Store, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{} can't be read", path.display())]
    PolicyFile {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("the store {url} can't be opened")]
    Store { url: String, source: StoreError },
    #[error("the state can't be loaded")]
    Start(#[source] StartError),
    #[error("the policy can't be used")]
    Policy(#[source] PolicyError),
    #[error("{at} can't be listened on")]
    Listen {
        at: std::net::SocketAddr,
        source: std::io::Error,
    },
    #[error("identity {0:?} is not there yet")]
    Identity(IdentityKind),
    #[error("TLS can't be set up")]
    Tls(#[source] TlsError),
}

/// Serves until `stop` turns true.
pub async fn run(config: Config, stop: watch::Receiver<bool>) -> Result<(), RunError> {
    let at = config.listen;
    let replica = start(&config).await?;
    let api = Arc::new(open(&config, replica.handle.clone())?);
    let listener = TcpListener::bind(at)
        .await
        .map_err(|source| RunError::Listen { at, source })?;
    let tls = match &config.tls {
        Some(tls) => Some(acceptor(&tls.certificate, &tls.key, None).map_err(RunError::Tls)?),
        None => None,
    };
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

/// Opens the store, and begins to follow it or to write.
async fn start(config: &Config) -> Result<Replica<Rules>, RunError> {
    let opened = Store::open(&config.store).await;
    let store = opened.map_err(|source| RunError::Store {
        url: config.store.clone(),
        source,
    })?;
    let address = match config.address.as_str() {
        "" => format!("http://{}", config.listen),
        address => address.to_owned(),
    };
    let member = Member {
        name: address.clone(),
        address,
    };
    let rules = Rules::new(config.ledger.clone());
    Replica::start(rules, store, member)
        .await
        .map_err(RunError::Start)
}

fn open(config: &Config, handle: Handle<Rules>) -> Result<Api, RunError> {
    let operator = match &config.policy_file {
        Some(path) => {
            let text = std::fs::read_to_string(path);
            Some(text.map_err(|source| RunError::PolicyFile {
                path: path.clone(),
                source,
            })?)
        }
        None => None,
    };
    let policy = Policy::read(operator.as_deref()).map_err(RunError::Policy)?;
    let identity = match config.identity {
        IdentityKind::None => Identity::None,
        kind => return Err(RunError::Identity(kind)),
    };
    Ok(Api {
        hub: Hub { handle },
        policy,
        identity,
        metrics: Metrics::default(),
    })
}

//! A server from its settings: opened, listening, and ended cleanly.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::{net::TcpListener, sync::watch};

use crate::{
    Api, Hub,
    config::{Config, IdentityKind},
    identity::Identity,
    policy::{Policy, PolicyError},
    server::{Limits, Metrics, Server, TlsError, acceptor},
};

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{} can't be read", path.display())]
    PolicyFile {
        path: PathBuf,
        source: std::io::Error,
    },
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
    let api = Arc::new(open(&config)?);
    let at = config.listen;
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
    Ok(())
}

fn open(config: &Config) -> Result<Api, RunError> {
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
        hub: Hub::new(config.ledger.clone()),
        policy,
        identity,
        metrics: Metrics::default(),
    })
}

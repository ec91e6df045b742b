//! The HTTP server: connections in bounds, requests with an id, answers, a clean end.

mod metrics;
mod respond;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tls::TlsAcceptor;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

pub use metrics::Metrics;
pub use respond::Limits;

use crate::Api;

/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_secs(10);
/// How long requests under way may take when the server is told to stop.
const FAREWELL: Duration = Duration::from_secs(10);

/// One listener of the API.
pub struct Server {
    pub api: Arc<Api>,
    pub listener: TcpListener,
    pub tls: Option<TlsAcceptor>,
    pub limits: Limits,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("listener", &self.listener)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Serves until `stop` turns true; then lets requests under way end.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let shared = Arc::new(respond::Shared {
            api: self.api,
            limits: self.limits,
            secure: self.tls.is_some(),
            requests: Semaphore::new(self.limits.requests),
        });
        let (listener, tls) = (self.listener, self.tls);
        let connections = Arc::new(Semaphore::new(self.limits.connections));
        let graceful = GracefulShutdown::new();
        loop {
            // A connection too many waits in the kernel's queue until another ends.
            let Ok(room) = connections.clone().acquire_owned().await else {
                break;
            };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection can't be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            };
            let watcher = graceful.watcher();
            let (shared, tls) = (shared.clone(), tls.clone());
            tokio::spawn(async move {
                connection(shared, tls, stream, peer, watcher).await;
                drop(room);
            });
        }
        // Who comes now is to go elsewhere at once, not to wait in the kernel's queue.
        drop(listener);
        if tokio::time::timeout(FAREWELL, graceful.shutdown())
            .await
            .is_err()
        {
            tracing::warn!("requests still under way are cut off");
        }
    }
}

async fn connection(
    shared: Arc<respond::Shared>,
    tls: Option<TlsAcceptor>,
    stream: TcpStream,
    peer: SocketAddr,
    watcher: hyper_util::server::graceful::Watcher,
) {
    // Answers are small and complete: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    let Some(tls) = tls else {
        return serve(shared, TokioIo::new(stream), watcher).await;
    };
    match tokio::time::timeout(HEAD, tls.accept(stream)).await {
        Ok(Ok(stream)) => serve(shared, TokioIo::new(stream), watcher).await,
        Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS"),
        Err(_) => tracing::debug!(%peer, "TLS takes too long"),
    }
}

async fn serve<I>(
    shared: Arc<respond::Shared>,
    io: I,
    watcher: hyper_util::server::graceful::Watcher,
) where
    I: hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, std::convert::Infallible>(respond::respond(&shared, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_headers(64)
        .serve_connection(io, service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

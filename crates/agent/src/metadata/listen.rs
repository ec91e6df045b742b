//! A listener in a namespace: opened by a thread that joins it, served by tasks of this process.

use std::{
    io,
    net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6},
    sync::Arc,
    time::Duration,
};

use host::{NsName, netns::Listener};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinHandle};

use super::{Shared, forward, guest::Serves};
use crate::netns::{NetnsError, within};

/// Connections that one listener serves at a time.
const CONNECTIONS: usize = 256;
/// What a request's head may take, in time and in bytes.
const HEAD_TIME: Duration = Duration::from_secs(30);
const HEAD_BYTES: usize = 32 * 1024;
/// How long one connection may last.
const CONNECTION_TIME: Duration = Duration::from_secs(300);

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("metadata: {ns} serves neither a router nor a network")]
    Foreign { ns: NsName },
    #[error("metadata: cannot listen on port {port} in {ns}")]
    Open {
        ns: NsName,
        port: u16,
        #[source]
        source: NetnsError,
    },
    #[error("metadata: cannot serve what listens in {ns}")]
    Serve {
        ns: NsName,
        #[source]
        source: io::Error,
    },
}

/// A listener that is served until this is dropped.
#[derive(Debug)]
pub(super) struct Open(JoinHandle<()>);

impl Open {
    pub(super) fn is_alive(&self) -> bool {
        !self.0.is_finished()
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn open(
    ns: &NsName,
    listener: &Listener,
    shared: &Arc<Shared>,
) -> Result<Open, ListenError> {
    let Some(serves) = Serves::of(ns) else {
        return Err(ListenError::Foreign { ns: ns.clone() });
    };
    let wanted = listener.clone();
    let socket = within(ns, move || bind(&wanted)).map_err(|source| ListenError::Open {
        ns: ns.clone(),
        port: listener.port,
        source,
    })?;
    let serve = |source| ListenError::Serve {
        ns: ns.clone(),
        source,
    };
    socket.set_nonblocking(true).map_err(serve)?;
    let socket = TcpListener::from_std(socket).map_err(serve)?;
    Ok(Open(tokio::spawn(accept(socket, serves, shared.clone()))))
}

/// Runs inside the namespace. Every address of both families where none is named.
fn bind(listener: &Listener) -> io::Result<std::net::TcpListener> {
    let address = match listener.addr {
        None => SocketAddr::from((Ipv6Addr::UNSPECIFIED, listener.port)),
        Some(IpAddr::V4(address)) => SocketAddr::from((address, listener.port)),
        Some(IpAddr::V6(address)) => {
            let scope = match &listener.dev {
                Some(dev) => nix::net::if_::if_nametoindex(dev.as_str())?,
                None => 0,
            };
            SocketAddrV6::new(address, listener.port, 0, scope).into()
        }
    };
    std::net::TcpListener::bind(address)
}

async fn accept(socket: TcpListener, serves: Serves, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else {
            return;
        };
        match socket.accept().await {
            Ok((stream, from)) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let served = connection(stream, from.ip(), serves, shared);
                    // A guest that holds its connection for ever gives its place back.
                    let _ = tokio::time::timeout(CONNECTION_TIME, served).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::debug!(%error, "a guest's connection was lost before it began");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(
    stream: tokio::net::TcpStream,
    from: IpAddr,
    serves: Serves,
    shared: Arc<Shared>,
) {
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move {
            Ok::<_, std::convert::Infallible>(forward::answer(&shared, serves, from, request).await)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, %from, "a guest's request for metadata broke off");
    }
}

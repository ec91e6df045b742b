//! A proxy between a store and its database that cuts the connection at a chosen moment.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::AbortHandle,
};

/// What the proxy does to the connections through it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Everything passes.
    Never,
    /// The connection goes before the database sees the next commit.
    BeforeCommit,
    /// The database commits, and nobody hears of it.
    AfterCommit,
    /// Every connection is gone, and new ones are closed at once.
    Away,
    /// Nothing passes any more, and nothing is closed.
    Silent,
}

/// Cuts once (at a commit), then lets everything pass again; `Away` and `Silent` last.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    cut: watch::Sender<Cut>,
    happened: Arc<AtomicUsize>,
    accept: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accept.abort();
        self.cut.send_replace(Cut::Away);
    }
}

impl Proxy {
    /// Begins to listen on loopback.
    pub async fn start(target: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let (cut, _) = watch::channel(Cut::Never);
        let happened = Arc::default();
        let plan = Plan {
            cut: cut.clone(),
            happened: Arc::clone(&happened),
        };
        let accept = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(plan.clone().serve(client, target));
            }
        });
        Ok(Self {
            port,
            cut,
            happened,
            accept: accept.abort_handle(),
        })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, cut: Cut) {
        self.cut.send_replace(cut);
    }

    /// How many commits were cut so far.
    pub fn happened(&self) -> usize {
        self.happened.load(Ordering::SeqCst)
    }
}

#[derive(Debug, Clone)]
struct Plan {
    cut: watch::Sender<Cut>,
    happened: Arc<AtomicUsize>,
}

impl Plan {
    async fn serve(self, client: TcpStream, target: u16) -> io::Result<()> {
        if *self.cut.borrow() == Cut::Away {
            return Ok(());
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
        let (from_server, to_server) = TcpStream::connect(address).await?.into_split();
        let (from_client, to_client) = client.into_split();
        // Set while an answer to a commit must not reach the client.
        let mute = Arc::new(Mutex::new(false));
        let mut cut = self.cut.subscribe();
        tokio::select! {
            // Whichever ends first, both sides are closed.
            done = self.clone().up(from_client, to_server, mute.clone()) => done,
            done = self.clone().down(from_server, to_client, mute) => done,
            _ = cut.wait_for(|cut| *cut == Cut::Away) => Ok(()),
        }
    }

    async fn silence(&self) {
        let mut cut = self.cut.subscribe();
        let _ = cut.wait_for(|cut| *cut != Cut::Silent).await;
    }

    /// From the client to the database: where commits are seen.
    async fn up(
        self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        mute: Arc<Mutex<bool>>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            if read == 0 {
                return Ok(());
            }
            self.silence().await;
            let bytes = &buffer[..read];
            // A commit travels alone, so it is never split over two reads.
            if bytes.windows(6).any(|window| window == b"COMMIT") {
                let mut cut = Cut::Never;
                self.cut.send_if_modified(|now| {
                    let once = matches!(now, Cut::BeforeCommit | Cut::AfterCommit);
                    if once {
                        cut = std::mem::replace(now, Cut::Never);
                    }
                    once
                });
                if cut != Cut::Never {
                    self.happened.fetch_add(1, Ordering::SeqCst);
                }
                if cut == Cut::BeforeCommit {
                    return Ok(());
                }
                *mute.lock().expect("not poisoned") = cut == Cut::AfterCommit;
            }
            to.write_all(bytes).await?;
        }
    }

    /// From the database to the client.
    async fn down(
        self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        mute: Arc<Mutex<bool>>,
    ) -> io::Result<()> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from.read(&mut buffer).await?;
            // The answer to a commit that is to be lost ends the connection.
            if read == 0 || *mute.lock().expect("not poisoned") {
                return Ok(());
            }
            self.silence().await;
            to.write_all(&buffer[..read]).await?;
        }
    }
}

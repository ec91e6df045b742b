//! A server's process: started, asked how it is, killed.

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use http::StatusCode;
use tokio::time::sleep;

use crate::Client;

/// How long a server may take to be ready, with a large store on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The `nucleon` binary.
    pub binary: PathBuf,
    /// The store's URL.
    pub store: String,
    /// Further settings, TOML.
    pub config: String,
    /// Where its log goes, and beside it the settings.
    pub log: PathBuf,
}

/// A running server. It is killed when this is dropped.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    listen: SocketAddr,
    agents: SocketAddr,
    child: Child,
}

fn free_port() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

fn spawn(settings: &Settings, listen: SocketAddr, agents: SocketAddr) -> io::Result<Child> {
    let log = File::options()
        .create(true)
        .append(true)
        .open(&settings.log)?;
    let config = settings.log.with_extension("toml");
    fs::write(&config, &settings.config)?;
    Command::new(&settings.binary)
        .arg("server")
        .arg("--config")
        .arg(config)
        .args(["--identity", "none", "--store", &settings.store])
        .args([
            "--listen",
            &listen.to_string(),
            "--agents",
            &agents.to_string(),
        ])
        .env("NUCLEON_LOG", "warn,api::replica=info")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
}

impl Server {
    /// Starts a server on free ports of loopback, and waits until it is ready.
    pub async fn start(settings: Settings) -> io::Result<Self> {
        let (listen, agents) = (free_port()?, free_port()?);
        let child = spawn(&settings, listen, agents)?;
        let mut this = Self {
            settings,
            listen,
            agents,
            child,
        };
        this.ready().await?;
        Ok(this)
    }

    /// Starts it again where it was. Returns before it is ready.
    pub fn go_on(&mut self) -> io::Result<()> {
        self.child = spawn(&self.settings, self.listen, self.agents)?;
        Ok(())
    }

    /// Ends it with SIGKILL, in the middle of whatever it does.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(|_| ())
    }

    /// Tells it to stop, and leaves it to it when.
    pub fn terminate(&self) -> io::Result<()> {
        let process = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &process]).status()?;
        match told.success() {
            true => Ok(()),
            false => Err(io::Error::other("it can't be told to stop")),
        }
    }

    /// How it ended, when it did.
    pub fn ended(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until `/readyz` says so, and tells how long that took.
    pub async fn ready(&mut self) -> io::Result<Duration> {
        let begun = Instant::now();
        let mut client = self.client();
        loop {
            match client.get("/readyz").await {
                Ok(answer) if answer.status == StatusCode::OK => return Ok(begun.elapsed()),
                _ if begun.elapsed() > PATIENCE || self.child.try_wait()?.is_some() => {
                    return Err(io::Error::other(format!(
                        "the server is not up: {}",
                        self.log()
                    )));
                }
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    }

    pub fn client(&self) -> Client {
        Client::new(self.listen)
    }

    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where agents connect.
    pub fn agents(&self) -> SocketAddr {
        self.agents
    }

    /// What it logged last.
    pub fn log(&self) -> String {
        let log = fs::read_to_string(&self.settings.log).unwrap_or_default();
        let from = log.len().saturating_sub(4_000);
        log.get(from..).unwrap_or_default().to_owned()
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> io::Result<u64> {
        let status = fs::read_to_string(self.proc().join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Processor time so far.
    pub fn cpu(&self) -> io::Result<Duration> {
        cpu_of(self.child.id())
    }

    fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().to_string())
    }
}

/// A process's processor time so far, user and system. Linux counts it in hundredths of a second.
pub fn cpu_of(process: u32) -> io::Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.kill();
    }
}

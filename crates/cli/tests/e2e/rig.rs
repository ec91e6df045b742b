//! What every end-to-end test stands on: a lab of its own that ends with the test, and guests
//! that can be asked to do things.

use lab::{Guest, Lab, Options, Place, Progress, Topology};
use std::io::{BufRead, BufReader, Read};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdout, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The binary under test.
pub(crate) const NUCLEON: &str = env!("CARGO_BIN_EXE_nucleon");

/// Where the tests' labs are kept. Short, as sockets live below it.
pub(crate) fn labs_folder() -> PathBuf {
    std::env::temp_dir().join("nucleon-e2e")
}

pub(crate) fn options() -> Options {
    Options {
        dir: labs_folder(),
        binary: NUCLEON.into(),
        api_port: 0,
    }
}

/// A name that no other test has, of this run or of another one.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!(
        "t{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A lab that ends when the test does, however it ends.
pub(crate) struct Rig {
    pub(crate) lab: Lab,
}

impl Rig {
    pub(crate) fn up(topology: Topology) -> Self {
        let topology = Topology {
            name: unique_name(),
            ..topology
        };
        let name = topology.name.clone();
        match Lab::up(topology, options(), &Progress::silent()) {
            Ok(lab) => Self { lab },
            Err(error) => {
                let _ = Lab::down(&name, &options());
                panic!("the lab did not come up: {}", chain(&error));
            }
        }
    }

    /// Two compute hosts without server and agents.
    pub(crate) fn bare() -> Self {
        let mut topology = Topology {
            control: false,
            ..Topology::default()
        };
        topology.hosts.retain(|host| !host.controller);
        Self::up(topology)
    }

    /// Runs in a host or guest; a failure ends the test with what the command said.
    pub(crate) fn run(&self, place: &str, command: &str) -> String {
        self.lab
            .place(place)
            .unwrap()
            .run(&words(command))
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub(crate) fn guest(&self, name: &str) -> GuestAt<'_> {
        let guest = &self.lab.guests()[name];
        GuestAt {
            place: self.lab.place(name).unwrap(),
            guest,
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("KEEP_LAB").is_some() {
            eprintln!(
                "kept: nucleon lab --state-dir {} --name {}",
                labs_folder().display(),
                self.lab.name()
            );
            return;
        }
        let ended = Lab::down(self.lab.name(), &options());
        if !std::thread::panicking() {
            ended.expect("the lab ends");
        }
    }
}

/// A guest, and where it is.
pub(crate) struct GuestAt<'a> {
    pub(crate) place: Place,
    pub(crate) guest: &'a Guest,
}

impl GuestAt<'_> {
    pub(crate) fn ip(&self) -> IpAddr {
        self.guest.address().expect("an address")
    }

    pub(crate) fn exec(&self, command: &str) -> Output {
        self.place
            .output(&words(command), "")
            .expect("the command starts")
    }

    /// Runs it; a failure ends the test with what the command said.
    pub(crate) fn run(&self, command: &str) -> String {
        self.place
            .run(&words(command))
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    /// Whether one of a few echo requests was answered. The first may be lost to a switch that
    /// has yet to find the tunnel's other end.
    pub(crate) fn pings(&self, to: IpAddr) -> bool {
        self.exec(&format!("ping -n -c 5 -i 0.2 -W 1 {to}"))
            .status
            .success()
    }

    pub(crate) fn must_ping(&self, to: IpAddr) {
        assert!(self.pings(to), "{} cannot ping {to}", self.guest.name);
    }

    pub(crate) fn must_not_ping(&self, to: IpAddr) {
        assert!(!self.pings(to), "{} can ping {to}", self.guest.name);
    }

    /// How much of `bytes` of echo payload comes back unfragmented, or in fragments.
    pub(crate) fn pings_with(&self, to: IpAddr, bytes: u32, fragments: bool) -> bool {
        let discovery = if fragments { "dont" } else { "do" };
        self.exec(&format!(
            "ping -n -c 3 -i 0.2 -W 1 -M {discovery} -s {bytes} {to}"
        ))
        .status
        .success()
    }

    /// Starts to write down what arrives and fits the filter of tcpdump.
    pub(crate) fn capture(&self, filter: &str) -> Capture {
        // The shell says the pid, as the host knows it, before it becomes tcpdump.
        let script = format!("echo $$; exec tcpdump -i eth0 -l -n -e -Q in '{filter}'");
        let mut child = self
            .place
            .command(&["sh", "-c", &script])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("tcpdump starts");
        let mut said = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut line = String::new();
        while !line.starts_with("listening on") {
            line.clear();
            assert!(
                said.read_line(&mut line).unwrap() > 0,
                "tcpdump in {} ended",
                self.guest.name
            );
        }
        let mut packets = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut pid = String::new();
        packets.read_line(&mut pid).unwrap();
        Capture {
            child,
            packets,
            _said: said,
            place: self.place.clone(),
            pid: pid.trim().to_owned(),
        }
    }

    /// Sends frames past the guest's own kernel.
    pub(crate) fn send(&self, frames: &[Vec<u8>]) {
        let mut argv = vec![NUCLEON.to_owned(), "lab-send".to_owned(), "eth0".to_owned()];
        argv.extend(frames.iter().map(|frame| lab::frame::to_hex(frame)));
        self.place
            .run(&argv)
            .unwrap_or_else(|error| panic!("{}", chain(&error)));
    }
}

fn words(command: &str) -> Vec<&str> {
    command.split_whitespace().collect()
}

/// What a guest's card receives.
pub(crate) struct Capture {
    child: Child,
    packets: BufReader<ChildStdout>,
    /// Kept open: a tcpdump that cannot say its closing words dies of it.
    _said: BufReader<ChildStderr>,
    place: Place,
    pid: String,
}

impl Capture {
    /// Ends it, and gives a line for each packet that came.
    pub(crate) fn finish(mut self) -> Vec<String> {
        self.place
            .run(&["kill", "-INT", &self.pid])
            .expect("tcpdump runs");
        let mut lines = String::new();
        self.packets.read_to_string(&mut lines).unwrap();
        self.child.wait().unwrap();
        lines.lines().map(str::to_owned).collect()
    }
}

/// An error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line = format!("{line}: {error}");
        cause = error.source();
    }
    line
}

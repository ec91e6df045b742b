//! What every end-to-end test stands on: a lab of its own that ends with the test, and guests
//! that can be asked to do things.

use lab::client::{Client, text};
use lab::{Guest, GuestWish, Lab, Options, Place, Progress, Topology};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Child, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The binary under test.
pub(crate) const NUCLEON: &str = env!("CARGO_BIN_EXE_nucleon");

/// The project that the tests' resources belong to.
const PROJECT: &str = "e2e";

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
        Self::bare_with(Topology::default())
    }

    pub(crate) fn bare_with(topology: Topology) -> Self {
        let mut topology = Topology {
            control: false,
            ..topology
        };
        topology.hosts.retain(|host| !host.controller);
        Self::up(topology)
    }

    /// The default topology: a controller, two compute hosts, an outside world.
    pub(crate) fn cloud() -> Self {
        Self::up(Topology::default())
    }

    pub(crate) fn client(&self) -> Client {
        self.lab.client().unwrap()
    }

    pub(crate) fn network(&self, name: &str, cidr: &str) {
        self.network_with(name, cidr, &json!({}));
    }

    /// A network with one subnet, and further attributes.
    pub(crate) fn network_with(&self, name: &str, cidr: &str, more: &Value) {
        let network = self.create("networks", "network", &json!({"name": name}), more);
        let version = if cidr.contains(':') { 6 } else { 4 };
        // Without DHCP, which has tests of its own: guests' addresses are written.
        let subnet = json!({
            "network_id": network["id"], "cidr": cidr, "ip_version": version, "enable_dhcp": false,
        });
        self.create("subnets", "subnet", &subnet, &json!({}));
    }

    /// Makes a resource of the tests' project.
    pub(crate) fn create(&self, collection: &str, kind: &str, body: &Value, more: &Value) -> Value {
        let mut body = body.as_object().unwrap().clone();
        body.insert("project_id".to_owned(), json!(PROJECT));
        body.extend(more.as_object().unwrap().clone());
        self.client()
            .create(collection, kind, Value::Object(body))
            .unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub(crate) fn add(&mut self, name: &str, host: &str, network: &str) {
        self.add_with(name, host, network, |wish| wish);
    }

    pub(crate) fn add_with(
        &mut self,
        name: &str,
        host: &str,
        network: &str,
        more: impl FnOnce(GuestWish) -> GuestWish,
    ) {
        let added = self
            .lab
            .add_guest(more(GuestWish::new(name, host, network)));
        added.unwrap_or_else(|error| panic!("{}{}", chain(&error), self.logs()));
    }

    pub(crate) fn add_in_group(&mut self, name: &str, host: &str, network: &str, group: &str) {
        let group = self.group_id(group);
        self.add_with(name, host, network, |wish| {
            wish.port("security_groups", json!([group]))
        });
    }

    /// A group that lets everything out and nothing in.
    pub(crate) fn group(&self, name: &str) -> String {
        let group = self.create(
            "security-groups",
            "security_group",
            &json!({"name": name}),
            &json!({}),
        );
        text(&group, "id").unwrap().to_owned()
    }

    pub(crate) fn group_id(&self, name: &str) -> String {
        let group = self.client().find("security-groups", name).unwrap();
        text(&group, "id").unwrap().to_owned()
    }

    /// The first group that a guest is in.
    pub(crate) fn group_id_of(&self, guest: &str) -> String {
        let path = format!("ports/{}", self.guest(guest).guest.port.id);
        let port = self.client().get(&path).unwrap();
        port["security_groups"][0].as_str().unwrap().to_owned()
    }

    /// Lets something into a group; gives the rule's id.
    pub(crate) fn rule(&self, group: &str, what: &Value) -> String {
        self.rule_of(&self.group_id(group), what)
    }

    /// Lets something into all groups that a guest is in.
    pub(crate) fn allow(&self, what: &Value, guest: &str) {
        let port = self
            .client()
            .get(&format!("ports/{}", self.guest(guest).guest.port.id))
            .unwrap();
        for group in port["security_groups"].as_array().unwrap() {
            self.rule_of(group.as_str().unwrap(), what);
        }
    }

    fn rule_of(&self, group: &str, what: &Value) -> String {
        let rule = json!({"security_group_id": group, "direction": "ingress", "ethertype": "IPv4"});
        let rule = self.create("security-group-rules", "security_group_rule", &rule, what);
        text(&rule, "id").unwrap().to_owned()
    }

    pub(crate) fn update_port(&self, guest: &str, attributes: &Value) {
        let path = format!("ports/{}", self.guest(guest).guest.port.id);
        self.client()
            .update(&path, &json!({"port": attributes}))
            .unwrap();
    }

    /// TCP stalls, while ping works, where checksums are left to a device that never was.
    pub(crate) fn tcp_flows(&self, from: &str, to: &str) {
        let server = self.guest(to);
        server.run("iperf3 -s -D");
        let client = format!("iperf3 -c {} -t 1 -J", server.ip());
        let mut report = String::new();
        soon("a throughput test runs", || {
            let output = self.guest(from).exec(&client);
            report = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.success()
        });
        let report: Value = serde_json::from_str(&report).unwrap();
        let received = report["end"]["sum_received"]["bits_per_second"]
            .as_f64()
            .unwrap();
        println!("tcp {from} to {to}: {:.0} Mbit/s", received / 1e6);
        // Emulated machines are slow too; a stalled connection moves next to nothing.
        assert!(received > 1e6, "{received} bit/s");
    }

    /// What a host's agent has said so far.
    pub(crate) fn log(&self, host: &str) -> String {
        fs::read_to_string(lab::Daemon::Agent.log(self.lab.machine(host).unwrap())).unwrap()
    }

    /// The last lines of every daemon's log, for a test that failed.
    fn logs(&self) -> String {
        let mut said = String::new();
        for host in &self.lab.topology().hosts {
            for daemon in [lab::Daemon::Server, lab::Daemon::Agent] {
                let log = daemon.log(self.lab.machine(&host.name).unwrap());
                let lines = fs::read_to_string(&log).unwrap_or_default();
                let last: Vec<&str> = lines.lines().rev().take(8).collect();
                for line in last.iter().rev() {
                    said.push_str(&format!("\n{} {daemon:?}: {line}", host.name));
                }
            }
        }
        said
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

    /// Soon: what other hosts must know of a new guest travels after its port is ACTIVE.
    pub(crate) fn must_ping(&self, to: IpAddr) {
        soon(&format!("{} pings {to}", self.guest.name), || {
            self.pings_once(to)
        });
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

    /// Whether one echo request is answered.
    pub(crate) fn pings_once(&self, to: IpAddr) -> bool {
        self.exec(&format!("ping -n -c 1 -W 1 {to}"))
            .status
            .success()
    }

    /// Runs a line of shell, whatever becomes of it.
    pub(crate) fn sh(&self, line: &str) {
        self.place
            .output(&["sh", "-c", line], "")
            .expect("the shell starts");
    }

    /// Listens on a TCP port until the lab ends.
    pub(crate) fn listens(&self, port: u16) {
        self.sh(&format!("nc -l -k {port} >/dev/null 2>&1 </dev/null &"));
        soon("it listens", || {
            !self.run(&format!("ss -Hltn sport = :{port}")).is_empty()
        });
    }

    /// Whether a TCP connection comes about.
    pub(crate) fn connects(&self, to: IpAddr, port: u16) -> bool {
        self.exec(&format!("nc -z -w 1 {to} {port}"))
            .status
            .success()
    }

    /// Starts a command and goes on.
    pub(crate) fn begins(&self, command: &str) -> Background {
        Background::begin(&self.place, command)
    }

    /// Starts to write down what arrives and fits the filter of tcpdump.
    pub(crate) fn capture(&self, filter: &str) -> Background {
        Background::capture(&self.place, &format!("-i eth0 -Q in '{filter}'"))
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

/// A command that runs in a guest while the test goes on.
pub(crate) struct Background {
    child: Child,
    said: tempfile::NamedTempFile,
    place: Place,
}

impl Background {
    pub(crate) fn begin(place: &Place, command: &str) -> Self {
        // The shell says the pid, as the host knows it, before it becomes the command.
        let script = format!("echo $$; exec {command}");
        let said = tempfile::NamedTempFile::new().unwrap();
        let output = said.reopen().unwrap();
        let child = place
            .command(&["sh", "-c", &script])
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .expect("the command starts");
        Self {
            child,
            said,
            place: place.clone(),
        }
    }

    /// Starts to write down what tcpdump, with these arguments, sees in a place.
    pub(crate) fn capture(place: &Place, arguments: &str) -> Self {
        let capture = Self::begin(
            place,
            &format!("tcpdump --immediate-mode -l -n -e {arguments}"),
        );
        soon("tcpdump listens", || {
            capture.text().contains("listening on")
        });
        capture
    }

    /// What it has said so far, with its pid on the first line.
    pub(crate) fn text(&self) -> String {
        fs::read_to_string(self.said.path()).unwrap()
    }

    pub(crate) fn lines(&self) -> usize {
        self.text().lines().count()
    }

    /// Waits until it ends by itself, and gives all that it said.
    pub(crate) fn finish(mut self) -> String {
        self.child.wait().unwrap();
        self.text()
    }

    /// Ends it, and gives all that it said.
    pub(crate) fn stop(self) -> String {
        let text = self.text();
        let pid = text.lines().next().expect("the pid");
        self.place.run(&["kill", "-INT", pid]).expect("it runs");
        self.finish()
    }
}

/// How long a change may take to be in force before a test calls it lost.
const SOON: Duration = Duration::from_secs(10);

/// Waits until it is so.
pub(crate) fn soon(what: &str, so: impl FnMut() -> bool) {
    within(SOON, what, so);
}

/// Waits until it is so, for as long as it may take.
pub(crate) fn within(usual: Duration, what: &str, mut so: impl FnMut() -> bool) {
    let patience = lab::patience(usual);
    let deadline = Instant::now() + patience;
    while !so() {
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            patience.as_secs()
        );
        std::thread::sleep(Duration::from_millis(20));
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

/// Which of so many echo requests were not answered, by what `ping` said.
pub(crate) fn lost(said: &str, sent: u32) -> Vec<u32> {
    let number = |line: &str| {
        line.split("icmp_seq=")
            .nth(1)?
            .split(' ')
            .next()?
            .parse::<u32>()
            .ok()
    };
    let answered: BTreeSet<u32> = said.lines().filter_map(number).collect();
    (1..=sent).filter(|seq| !answered.contains(seq)).collect()
}

/// The number of the last echo request that was answered.
pub(crate) fn last_number(said: &str) -> u32 {
    let numbers = said.lines().filter_map(|line| {
        let (_, after) = line.split_once("icmp_seq=")?;
        after.split(' ').next()?.parse().ok()
    });
    numbers.max().unwrap_or_default()
}

/// The last lines, where a command says what came of it.
pub(crate) fn tail(text: &str) -> String {
    text.lines().rev().take(4).collect::<Vec<_>>().join(" | ")
}

//! One host for the agent's benchmarks: a switch in userspace, a server and an agent, all in network
//! namespaces of the benchmark's own, which end with it.

pub(crate) mod bare;
pub(crate) mod cloud;
pub(crate) mod guests;
pub(crate) mod process;

use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use process::{Daemon, Log};

/// The host's name, to which ports are bound.
pub(crate) const HOST: &str = "bench1";
/// Longer than anything here may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
/// An agent that said nothing for so long has nothing to do, unless its passes take longer.
const QUIET: Duration = Duration::from_millis(300);
/// How many passes tell how long one takes.
const RECENT: usize = 8;

/// The switch, and where everything of this run stands.
pub(crate) struct Machine {
    folder: tempfile::TempDir,
    binary: PathBuf,
    agent: Option<Daemon>,
    // Ended in this order, after the agent.
    _switch: Daemon,
    _database: Daemon,
}

/// How long a pass took, as the agent says it.
fn took(line: &str) -> Option<Duration> {
    let (_, rest) = line.split_once("pass ms=")?;
    let ms: f64 = rest.split(' ').next()?.parse().ok()?;
    Some(Duration::from_secs_f64(ms / 1e3))
}

impl Machine {
    /// New namespaces for this thread and all that it starts, and a switch in them.
    pub(crate) fn start(binary: &Path) -> io::Result<Machine> {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS)?;
        let none = None::<&str>;
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
        std::fs::create_dir_all("/run/netns")?;
        let tmpfs = Some("tmpfs");
        mount(tmpfs, "/run/netns", tmpfs, MsFlags::empty(), none)?;
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        run(&["ip", "link", "set", "lo", "up"])?;
        // Hundreds of devices that look for IPv6 routers would be measured with everything else.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")?;
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        run(&["ovsdb-tool", "create", &at("conf.db"), schema])?;
        let remote = format!("--remote=punix:{}", at("db.sock"));
        let quiet = "-vconsole:off";
        let control = |name: &str| format!("--unixctl={}", at(&format!("{name}.ctl")));
        let log = |name: &str| format!("--log-file={}", at(&format!("{name}.log")));
        let own = |mut command: Command| {
            for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"] {
                command.env(variable, folder.path());
            }
            command
        };
        let mut command = own(Command::new("ovsdb-server"));
        command.args([&at("conf.db"), &remote, &control("db"), &log("db"), quiet]);
        let database = Daemon::start(command, Log::None)?;
        wait("the database", || folder.path().join("db.sock").exists())?;
        let socket = format!("unix:{}", at("db.sock"));
        let db = format!("--db={socket}");
        run(&["ovs-vsctl", &db, "--no-wait", "init"])?;
        let mut command = own(Command::new("ovs-vswitchd"));
        command.args([
            &socket,
            "--disable-system",
            &control("sw"),
            &log("sw"),
            quiet,
        ]);
        let switch = Daemon::start(command, Log::None)?;
        Ok(Machine {
            binary: binary.to_owned(),
            agent: None,
            _switch: switch,
            _database: database,
            folder,
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// One transaction.
    pub(crate) fn vsctl(&self, args: &[&str]) -> io::Result<String> {
        let db = format!("--db=unix:{}", self.text("db.sock"));
        let mut argv = vec!["ovs-vsctl", &db];
        argv.extend(args);
        run(&argv)
    }

    pub(crate) fn ofctl(
        &self,
        command: &[&str],
        bridge: &str,
        rest: &[&str],
    ) -> io::Result<String> {
        let socket = format!("unix:{}", self.text(&format!("{bridge}.mgmt")));
        let mut argv = vec!["ovs-ofctl", "-O", "OpenFlow14", "--names"];
        argv.extend(command);
        argv.push(&socket);
        argv.extend(rest);
        run(&argv)
    }

    /// Writes the agent's settings.
    pub(crate) fn configure(&self, agents: std::net::SocketAddr, roles: &str) -> io::Result<()> {
        let text = format!(
            "host = '{HOST}'\nserver = 'http://{agents}'\novsdb = '{}'\nstate_dir = '{}'\n\
             datapath_type = 'netdev'\nlocal_ip = '10.30.0.12'\ntunnel_types = ['vxlan']\n\
             roles = {roles}\nbridge_mappings = {{ external = 'br-ex' }}\n",
            self.text("db.sock"),
            self.text("state"),
        );
        std::fs::write(self.path("agent.toml"), text)
    }

    /// Starts the agent; a running one is killed first, without a goodbye.
    pub(crate) fn start_agent(&mut self) -> io::Result<Instant> {
        self.agent = None;
        let mut command = Command::new(&self.binary);
        command.args(["agent", "--config", &self.text("agent.toml")]);
        command.env("NUCLEON_LOG", "agent=debug");
        let begun = Instant::now();
        let log = Log::Kept(self.path("agent.log"));
        self.agent = Some(Daemon::start(command, log)?);
        Ok(begun)
    }

    pub(crate) fn stop_agent(&mut self) {
        self.agent = None;
    }

    /// Until the agent has nothing to do for a while: for longer than a pass takes, of which it says
    /// something only at its end.
    pub(crate) fn settle(&self) -> io::Result<()> {
        let agent = self.agent()?;
        wait("a quiet agent", || {
            std::thread::sleep(Duration::from_millis(20));
            let passes = agent.said(&["pass ms="]);
            let lately = passes.iter().rev().take(RECENT);
            let longest = lately.filter_map(|(_, line)| took(line)).max();
            let quiet = QUIET.max(longest.unwrap_or_default() * 2);
            passes.last().is_none_or(|(at, _)| at.elapsed() > quiet)
        })
        .map(drop)
    }

    /// The same after something that it has to look at.
    pub(crate) fn settle_after(&self, begun: Instant) -> io::Result<()> {
        let agent = self.agent()?;
        wait("a pass after a change", || {
            let last = agent.said(&["pass"]).pop();
            last.is_some_and(|(at, _)| at > begun)
        })?;
        self.settle()
    }

    /// Lets an agent go on that stood still while the tools changed what is its own.
    pub(crate) fn go_on(&self) -> io::Result<()> {
        let begun = Instant::now();
        self.agent()?.go_on()?;
        self.settle_after(begun)
    }

    /// From the agent's start to the first pass that left nothing; what its passes said.
    pub(crate) fn verified(&mut self) -> io::Result<(Duration, Vec<String>)> {
        let begun = self.start_agent()?;
        let agent = self.agent()?;
        let words = ["pass ", "left=0", "waiting=0"];
        wait("a whole pass", || !agent.said(&words).is_empty())?;
        let (at, _) = agent.said(&words).remove(0);
        let passes = agent.said(&["pass "]).into_iter().map(|(_, line)| line);
        Ok((at - begun, passes.collect()))
    }

    /// How much of a core the agent uses while nothing happens.
    pub(crate) fn idle(&self, time: Duration) -> io::Result<f64> {
        let agent = self.agent()?;
        let cpu = agent.cpu()?;
        std::thread::sleep(time);
        let used = agent.cpu()?.saturating_sub(cpu);
        Ok(used.as_secs_f64() / time.as_secs_f64())
    }

    /// Ends the DHCP servers that agents of this machine started.
    pub(crate) fn end_servers(&self) -> io::Result<()> {
        let entries = std::fs::read_dir(self.path("state/dhcp"));
        for entry in entries.into_iter().flatten().flatten() {
            if let Ok(pid) = std::fs::read_to_string(entry.path().join("pid")) {
                // It may have ended by itself.
                let _ = run(&["kill", pid.trim()]);
            }
        }
        Ok(())
    }

    pub(crate) fn agent(&self) -> io::Result<&Daemon> {
        let none = || io::Error::other("no agent runs");
        self.agent.as_ref().ok_or_else(none)
    }
}

/// Runs a program to the end; what it printed.
pub(crate) fn run(argv: &[&str]) -> io::Result<String> {
    feed(argv, "")
}

/// The same for a program that reads.
pub(crate) fn feed(argv: &[&str], input: &str) -> io::Result<String> {
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdin = child.stdin.take();
    let output: Output = std::thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not read says why by its status.
            stdin.map(|mut stdin| io::Write::write_all(&mut stdin, input.as_bytes()))
        });
        child.wait_with_output()
    })?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{program}: {said}")));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until something holds, and tells how long it took.
pub(crate) fn wait(what: &str, mut holds: impl FnMut() -> bool) -> io::Result<Duration> {
    let begun = Instant::now();
    while !holds() {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{what}: not within {PATIENCE:?}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(begun.elapsed())
}

/// The middle one.
pub(crate) fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_says_how_long_a_pass_took() {
        let line = "2026-11-21T18:53:32.189538Z  INFO agent::run: pass ms=22.5 database=0";
        assert_eq!(took(line), Some(Duration::from_micros(22_500)));
        assert_eq!(took("INFO agent::run: stopped"), None);
    }
}

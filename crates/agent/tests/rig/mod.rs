//! A real Open vSwitch for one test: its own daemons, database and namespaces, gone with the test.
//! The test's own thread moves into new namespaces, and what it starts lives there too.
// Each test binary uses its own part of this.
#![allow(dead_code)]
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent::ovsdb::Ovsdb;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// The switch of one test.
pub(crate) struct Rig {
    dir: tempfile::TempDir,
    database: Option<Child>,
    switch: Option<Child>,
}

impl Rig {
    pub(crate) fn start() -> Rig {
        let own = CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS;
        unshare(own).expect("namespaces of its own (this test needs root)");
        let none = None::<&str>;
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(none, "/", none, private, none).expect("mounts of its own");
        std::fs::create_dir_all("/run/netns").expect("a folder");
        mount(
            Some("tmpfs"),
            "/run/netns",
            Some("tmpfs"),
            MsFlags::empty(),
            none,
        )
        .expect("a tmpfs");
        let dir = tempfile::tempdir().expect("a folder");
        let mut rig = Rig {
            dir,
            database: None,
            switch: None,
        };
        rig.run(&["ip", "link", "set", "lo", "up"]);
        let file = rig.path("conf.db");
        let schema = "/usr/share/openvswitch/vswitch.ovsschema";
        rig.run(&["ovsdb-tool", "create", text(&file), schema]);
        rig.start_database();
        rig.start_switch();
        rig
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn start_database(&mut self) {
        let remote = format!("--remote=punix:{}", text(&self.path("db.sock")));
        let file = self.path("conf.db");
        self.database = Some(self.daemon("ovsdb-server", &[text(&file), &remote]));
        wait("the database's socket", || self.path("db.sock").exists());
    }

    pub(crate) fn start_switch(&mut self) {
        self.run(&["ovs-vsctl", "--no-wait", "init"]);
        let remote = format!("unix:{}", text(&self.path("db.sock")));
        self.switch = Some(self.daemon("ovs-vswitchd", &[&remote, "--disable-system"]));
    }

    pub(crate) fn kill_switch(&mut self) {
        end(&mut self.switch);
    }

    pub(crate) fn kill_database(&mut self) {
        end(&mut self.database);
        let _ = std::fs::remove_file(self.path("db.sock"));
    }

    fn daemon(&self, program: &str, args: &[&str]) -> Child {
        let log = format!("--log-file={}", text(&self.path(&format!("{program}.log"))));
        let control = format!("--unixctl={}", text(&self.path(&format!("{program}.ctl"))));
        let mut command = self.command(program);
        command.args(args).args([&log, &control, "-vconsole:off"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().expect("a daemon starts")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for variable in ["OVS_RUNDIR", "OVS_DBDIR", "OVS_LOGDIR"] {
            command.env(variable, self.dir.path());
        }
        command
    }

    /// Run a program; what it printed.
    pub(crate) fn run(&self, argv: &[&str]) -> String {
        self.try_run(argv)
            .unwrap_or_else(|error| panic!("{argv:?}: {error}"))
    }

    /// Run a program; what it printed, or what it complained of.
    pub(crate) fn try_run(&self, argv: &[&str]) -> Result<String, String> {
        let mut command = self.command(argv[0]);
        if argv[0] == "ovs-vsctl" {
            command.arg(format!("--db=unix:{}", text(&self.path("db.sock"))));
        }
        command.args(&argv[1..]);
        let output = command.output().expect("a program runs");
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    /// `ovs-ofctl` on a bridge of this switch.
    pub(crate) fn ofctl(&self, command: &str, bridge: &str, rest: &[&str]) -> String {
        self.try_ofctl(command, bridge, rest)
            .unwrap_or_else(|error| panic!("{command} {bridge}: {error}"))
    }

    pub(crate) fn try_ofctl(
        &self,
        command: &str,
        bridge: &str,
        rest: &[&str],
    ) -> Result<String, String> {
        let socket = format!("unix:{}", text(&self.path(&format!("{bridge}.mgmt"))));
        let mut argv = vec!["ovs-ofctl", "-O", "OpenFlow14", command, &socket];
        argv.extend(rest);
        self.try_run(&argv)
    }

    pub(crate) fn ovsdb(&self, wake: impl Fn() + Send + 'static) -> Ovsdb {
        Ovsdb::start(self.path("db.sock"), wake)
    }
}

impl Rig {
    /// The processes that DHCP servers run as.
    pub(crate) fn services(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("state/dhcp"))
            .into_iter()
            .flatten()
            .flatten();
        let mut pids: Vec<String> = entries
            .filter_map(|entry| std::fs::read_to_string(entry.path().join("pid")).ok())
            .map(|pid| pid.trim().to_owned())
            .collect();
        pids.sort();
        pids
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        for pid in self.services().iter().filter_map(|pid| pid.parse().ok()) {
            let _ = nix::sys::signal::kill(
                nix::unistd::Pid::from_raw(pid),
                nix::sys::signal::Signal::SIGKILL,
            );
        }
        end(&mut self.switch);
        end(&mut self.database);
    }
}

fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ASCII")
}

/// Wait until something holds; ten seconds are for ever.
pub(crate) fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The same, for what tasks do.
pub(crate) async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what}: not within ten seconds");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

//! The lab's own Nucleon: `nucleon server` in the controller and `nucleon agent` in every host.

use crate::command::{CommandError, Place};
use crate::machine::Machine;
use crate::topology::{Topology, management_address, tunnel_address};
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The API's port, on the controller's management address.
pub(crate) const API_PORT: u16 = 9696;

/// Name the daemons that a host may run, which is also how their files are called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Daemon {
    Server,
    Agent,
    /// Carries connections from the machine's loopback device to the API.
    Forward,
}

impl Daemon {
    fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Agent => "agent",
            Self::Forward => "forward",
        }
    }

    /// Its standard output and error, as a file of the machine.
    #[must_use]
    pub fn log(self, machine: &Machine) -> PathBuf {
        machine.dir.join(format!("{}.log", self.name()))
    }

    fn pid_file(self) -> String {
        format!("/run/lab-{}.pid", self.name())
    }

    /// Starts it, detached from whoever starts it; the host's first process becomes its parent.
    pub(crate) fn start(
        self,
        machine: &Machine,
        binary: &Path,
        args: &[String],
        input: Stdio,
    ) -> Result<(), CommandError> {
        let binary = binary.display().to_string();
        let log = self.log(machine).display().to_string();
        let pid_file = self.pid_file();
        let mut argv = vec![
            &*binary,
            "lab-init",
            "detach",
            "--log",
            &log,
            "--pid-file",
            &pid_file,
            "--",
            &binary,
        ];
        argv.extend(args.iter().map(String::as_str));
        machine.place.run_with(&argv, input).map(drop)
    }

    /// Ends it without a goodbye, as a crash does.
    pub(crate) fn kill(self, machine: &Machine) -> Result<(), CommandError> {
        let pid = machine.place.run(&["cat", &self.pid_file()])?;
        machine.place.run(&["kill", "-9", pid.trim()]).map(drop)
    }

    /// Whether it runs.
    pub(crate) fn is_alive(self, machine: &Machine) -> bool {
        let pid = machine
            .place
            .run(&["cat", &self.pid_file()])
            .unwrap_or_default();
        !pid.is_empty() && machine.place.run(&["kill", "-0", pid.trim()]).is_ok()
    }
}

/// Starts `argv` in a process group of its own, writes its pid down, and does not wait for it.
/// Standard input is handed on: a listening socket may come that way.
pub fn detach(log: &Path, pid_file: &Path, argv: &[String]) -> io::Result<()> {
    let log = File::options().create(true).append(true).open(log)?;
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let child = Command::new(program)
        .args(args)
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    fs::write(pid_file, child.id().to_string())
}

/// Where the agents' listener is: a socket in the lab's folder, which every host sees.
pub(crate) fn agents_socket(lab: &Path) -> PathBuf {
    lab.join("agents.sock")
}

pub(crate) fn api_address(position: usize) -> SocketAddr {
    (management_address(position), API_PORT).into()
}

/// `nucleon server`'s command line.
pub(crate) fn server_args(machine: &Machine, lab: &Path, position: usize) -> Vec<String> {
    vec![
        "server".to_owned(),
        "--listen".to_owned(),
        api_address(position).to_string(),
        "--store".to_owned(),
        format!("sqlite:{}", machine.dir.join("nucleon.sqlite").display()),
        "--identity".to_owned(),
        "none".to_owned(),
        "--agents".to_owned(),
        format!("unix:{}", agents_socket(lab).display()),
    ]
}

/// Writes the agent's configuration (see `docs/agent.md`); gives its command line.
pub(crate) fn agent_args(
    machine: &Machine,
    topology: &Topology,
    lab: &Path,
    datapath: &str,
    position: usize,
) -> io::Result<Vec<String>> {
    let file = machine.dir.join("agent.toml");
    let controller = topology.controller().map_or(0, |(position, _)| position);
    let config = AgentConfig {
        machine,
        topology,
        lab,
        datapath,
        position,
        controller: management_address(controller),
    };
    fs::write(&file, config.to_toml())?;
    Ok(vec![
        "agent".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ])
}

struct AgentConfig<'a> {
    machine: &'a Machine,
    topology: &'a Topology,
    lab: &'a Path,
    datapath: &'a str,
    position: usize,
    controller: Ipv4Addr,
}

impl AgentConfig<'_> {
    fn to_toml(&self) -> String {
        let host = &self.topology.hosts[self.position];
        let mut lines = vec![
            setting("host", &host.name),
            setting(
                "server",
                &format!("unix:{}", agents_socket(self.lab).display()),
            ),
            setting("datapath_type", self.datapath),
            setting(
                "state_dir",
                &self.machine.dir.join("agent").display().to_string(),
            ),
            setting("local_ip", &tunnel_address(self.position).to_string()),
            format!("roles = {:?}", host.roles),
            format!("tunnel_types = {:?}", ["vxlan", "gre", "geneve"]),
            format!("l2_population = {}", self.topology.l2_population),
            format!("arp_responder = {}", self.topology.arp_responder),
            "report_interval = 5".to_owned(),
        ];
        if host.external {
            lines.push("[bridge_mappings]".to_owned());
            lines.push(setting("external", "br-ex"));
        }
        lines.push("[l3]".to_owned());
        lines.push(setting("agent_mode", &host.agent_mode));
        lines.push("[metadata]".to_owned());
        lines.push(setting(
            "target",
            &format!("http://{}:8775", self.controller),
        ));
        lines.join("\n") + "\n"
    }
}

fn setting(key: &str, value: &str) -> String {
    format!("{key} = {}", toml::Value::from(value))
}

/// Whether something listens at the address, asked from inside the host.
pub(crate) fn listens(place: &Place, address: SocketAddr) -> bool {
    place
        .run(&["ss", "-Hltn", &format!("src {address}")])
        .is_ok_and(|said| !said.trim().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;

    #[test]
    fn the_agents_configuration_is_toml_with_the_hosts_own_numbers() {
        let topology = Topology::default();
        let machine = Machine {
            name: "c1".to_owned(),
            process: Process { pid: 1, start: 1 },
            place: Place::here(),
            dir: "/lab/hosts/c1".into(),
        };
        let config = AgentConfig {
            machine: &machine,
            topology: &topology,
            lab: Path::new("/lab"),
            datapath: "netdev",
            position: 1,
            controller: management_address(0),
        };
        let read: toml::Table = toml::from_str(&config.to_toml()).unwrap();
        assert_eq!(read["host"].as_str(), Some("c1"));
        assert_eq!(read["local_ip"].as_str(), Some("10.30.0.12"));
        assert_eq!(read["server"].as_str(), Some("unix:/lab/agents.sock"));
        assert_eq!(read["bridge_mappings"]["external"].as_str(), Some("br-ex"));
        assert_eq!(
            read["metadata"]["target"].as_str(),
            Some("http://10.20.0.11:8775")
        );
    }
}

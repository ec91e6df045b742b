//! The lab's own Nucleon: `nucleon server` in the controller and `nucleon agent` in every host.

use crate::command::{CommandError, Place};
use crate::machine::Machine;
use crate::secrets::Secrets;
use crate::topology::{Topology, management_address, tunnel_address};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The API's port, on the controller's management address.
pub(crate) const API_PORT: u16 = 9696;

/// The agents' listener's, there too.
const AGENTS_PORT: u16 = 9697;
/// Of the external network, which is as most are.
const EXTERNAL_MTU: u32 = 1500;
/// Nova's, whose place the server's own small service takes here.
const METADATA_PORT: u16 = 8775;

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

pub(crate) fn api_address(position: usize) -> SocketAddr {
    (management_address(position), API_PORT).into()
}

/// Writes the server's configuration; gives its command line.
pub(crate) fn server_args(lab: &Setting<'_>) -> io::Result<Vec<String>> {
    let file = lab.machine.dir.join("server.toml");
    fs::write(&file, toml_text(&server_config(lab)))?;
    Ok(vec![
        "server".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ])
}

/// Writes the agent's configuration (see `docs/agent.md`); gives its command line.
pub(crate) fn agent_args(lab: &Setting<'_>) -> io::Result<Vec<String>> {
    let file = lab.machine.dir.join("agent.toml");
    fs::write(&file, toml_text(&agent_config(lab)))?;
    Ok(vec![
        "agent".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ])
}

/// A daemon's host, and the lab around it.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    pub(crate) machine: &'a Machine,
    pub(crate) topology: &'a Topology,
    /// The lab's folder.
    pub(crate) folder: &'a Path,
    pub(crate) datapath: &'a str,
    /// The host's position in the topology.
    pub(crate) position: usize,
}

impl Setting<'_> {
    fn controller(&self) -> usize {
        self.topology
            .controller()
            .map_or(0, |(position, _)| position)
    }
}

fn server_config(lab: &Setting<'_>) -> Value {
    let secrets = Secrets::of(lab.folder);
    let at = |port: u16| SocketAddr::from((management_address(lab.position), port)).to_string();
    let mut config = json!({
        "listen": at(API_PORT),
        "store": format!("sqlite:{}", lab.machine.dir.join("nucleon.sqlite").display()),
        "identity": "none",
        "agents": {
            "listen": at(AGENTS_PORT),
            "certificate": secrets.certificate(),
            "key": secrets.key(),
            "tokens": secrets.tokens(),
        },
        "metadata": {
            "listen": at(METADATA_PORT),
            "secret_file": secrets.metadata(),
        },
        "ledger": {
            "tenant_network_types": [lab.topology.tunnel_type.as_str()],
            "network_vlan_ranges": ["external:100:199"],
            "global_physnet_mtu": lab.topology.underlay_mtu,
            "physical_network_mtus": {"external": EXTERNAL_MTU},
        },
    });
    lay_over(&mut config, &lab.topology.server);
    config
}

fn agent_config(lab: &Setting<'_>) -> Value {
    let host = &lab.topology.hosts[lab.position];
    let secrets = Secrets::of(lab.folder);
    let controller = management_address(lab.controller());
    let mut config = json!({
        "host": host.name,
        "server": format!("https://{controller}:{AGENTS_PORT}"),
        "server_ca": secrets.authority(),
        "token_file": secrets.token(&host.name),
        "datapath_type": lab.datapath,
        "state_dir": lab.machine.dir.join("agent"),
        "local_ip": tunnel_address(lab.position),
        "roles": host.roles,
        "tunnel_types": ["vxlan", "gre", "geneve"],
        "l2_population": lab.topology.l2_population,
        "arp_responder": lab.topology.arp_responder,
        "report_interval": 5,
        "l3": {"agent_mode": host.agent_mode},
        "metadata": {
            "target": format!("http://{controller}:{METADATA_PORT}"),
            "shared_secret_file": secrets.metadata(),
        },
    });
    if host.external {
        config["bridge_mappings"] = json!({"external": "br-ex"});
    }
    lay_over(&mut config, &lab.topology.agent);
    config
}

/// What the topology says goes over what the lab says, table by table.
fn lay_over(config: &mut Value, over: &toml::Table) {
    for (key, value) in over {
        match (value, &mut config[key]) {
            (toml::Value::Table(table), inner @ Value::Object(_)) => lay_over(inner, table),
            (value, slot) => *slot = json!(value),
        }
    }
}

fn toml_text(config: &Value) -> String {
    toml::to_string(config).unwrap_or_default()
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

    fn read(config: &Value) -> toml::Table {
        toml::from_str(&toml_text(config)).unwrap()
    }

    #[test]
    fn configurations_are_toml_with_the_hosts_own_numbers() {
        let topology = Topology {
            server: toml::from_str("[ledger]\nagent_down_time = 9").unwrap(),
            ..Topology::default()
        };
        let machine = Machine {
            name: "c1".to_owned(),
            process: Process { pid: 1, start: 1 },
            place: Place::here(),
            dir: "/lab/hosts/c1".into(),
        };
        let mut lab = Setting {
            machine: &machine,
            topology: &topology,
            folder: Path::new("/lab"),
            datapath: "netdev",
            position: 1,
        };
        let agent = read(&agent_config(&lab));
        assert_eq!(agent["host"].as_str(), Some("c1"));
        assert_eq!(agent["local_ip"].as_str(), Some("10.30.0.12"));
        assert_eq!(agent["server"].as_str(), Some("https://10.20.0.11:9697"));
        assert_eq!(agent["bridge_mappings"]["external"].as_str(), Some("br-ex"));
        assert_eq!(
            agent["metadata"]["target"].as_str(),
            Some("http://10.20.0.11:8775")
        );
        lab.position = 0;
        let server = read(&server_config(&lab));
        assert_eq!(server["listen"].as_str(), Some("10.20.0.11:9696"));
        assert_eq!(server["ledger"]["agent_down_time"].as_integer(), Some(9));
        assert_eq!(
            server["ledger"]["tenant_network_types"][0].as_str(),
            Some("vxlan")
        );
    }
}

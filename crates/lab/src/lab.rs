//! A lab as a whole: made, found again, changed, and ended.

use crate::client::{Client, ClientError};
use crate::command::{CommandError, Place};
use crate::daemons::{self, Daemon, Setting};
use crate::fabric::{self, FABRIC, Machines, OUTSIDE};
use crate::guest::{DHCP_SCRIPT, Guest, GuestError, INTEGRATION_BRIDGE};
use crate::machine::{HostError, Machine};
use crate::ovs;
use crate::patience::wait_for;
use crate::progress::Progress;
use crate::secrets::{SecretError, Secrets};
use crate::state::{DEFAULT_DIR, Folder, Record};
use crate::topology::{GuestKind, Topology, TopologyError, management_address};
use crate::vm::Vm;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// What a lab needs to know of its surroundings.
#[derive(Debug, Clone)]
pub struct Options {
    /// The folder that keeps labs.
    pub dir: PathBuf,
    /// The `nucleon` binary: the hosts' first processes, servers and agents are made of it.
    pub binary: PathBuf,
    /// Where the API is to answer on the machine's loopback device; any free port when 0.
    pub api_port: u16,
}

impl Options {
    /// As the command line has them: `/var/lib/nucleon/lab`, this very binary, port 9696.
    pub fn standard() -> io::Result<Self> {
        Ok(Self {
            dir: DEFAULT_DIR.into(),
            binary: std::env::current_exe()?,
            api_port: daemons::API_PORT,
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the lab needs root")]
    NotRoot,
    #[error("{program} is missing: install the package {package}")]
    MissingProgram {
        program: &'static str,
        package: &'static str,
    },
    #[error("lab {name} is up already")]
    Up { name: String },
    #[error("there is no lab {name} in {dir}")]
    NoLab {
        name: String,
        dir: String,
        source: io::Error,
    },
    #[error("lab {name} has no host or guest called {place}")]
    NoPlace { name: String, place: String },
    #[error("lab {name} has a guest called {guest} already")]
    GuestExists { name: String, guest: String },
    #[error("lab {name} has no API: its topology says control = false")]
    NoApi { name: String },
    #[error(
        "guest {guest} was refused: its port has port security, and only a hybrid plug filters it"
    )]
    DirectWithPortSecurity { guest: String },
    #[error("{what} did not happen within {seconds} s{hint}")]
    Late {
        what: String,
        seconds: u64,
        hint: String,
    },
    #[error("the record of lab {name} could not be kept")]
    State { name: String, source: io::Error },
    #[error("the API answered something else than it should: {what}")]
    Answer { what: String },
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(transparent)]
    Guest(#[from] GuestError),
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Host(#[from] HostError),
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// Programs that a lab runs, and the Debian packages that bring them.
const PROGRAMS: [(&str, &str); 8] = [
    ("openssl", "openssl"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("sysctl", "procps"),
    ("ethtool", "ethtool"),
    ("ovsdb-server", "openvswitch-switch"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("udhcpc", "udhcpc"),
];

/// A lab that runs.
#[derive(Debug)]
pub struct Lab {
    pub(crate) options: Options,
    pub(crate) folder: Folder,
    pub(crate) record: Record,
    machines: BTreeMap<String, Machine>,
}

impl Lab {
    /// Makes the lab. What an earlier one of that name left behind is taken away first.
    pub fn up(topology: Topology, options: Options, progress: &Progress) -> Result<Self, Error> {
        topology.check()?;
        check_surroundings()?;
        let folder = Folder::new(&options.dir, &topology.name);
        let name = topology.name.clone();
        let state = |source| Error::State {
            name: name.clone(),
            source,
        };
        let lock = folder.lock().map_err(state)?;
        if Self::open(&name, options.clone()).is_ok_and(|lab| lab.is_alive()) {
            return Err(Error::Up { name });
        }
        folder.clear().map_err(state)?;
        progress.step("hosts: namespaces and cables");
        let datapath = topology
            .datapath
            .clone()
            .unwrap_or_else(|| ovs::detect_datapath().to_owned());
        let record = Record {
            topology,
            datapath,
            api: None,
            guests: BTreeMap::new(),
        };
        let machines = create_machines(&options.binary, &folder, &record.topology, &lock)?;
        let mut lab = Self {
            options,
            folder,
            record,
            machines,
        };
        lab.join_machines()?;
        progress.step(&format!(
            "Open vSwitch in {} hosts, datapath {}",
            lab.record.topology.hosts.len(),
            lab.record.datapath
        ));
        lab.start_switches()?;
        if lab.record.topology.control {
            progress.step("nucleon server, and an agent in every host");
            lab.start_control()?;
        }
        lab.folder.save(&lab.record).map_err(state)?;
        lab.make_intent(progress)?;
        Ok(lab)
    }

    /// Finds a lab that is up.
    pub fn open(name: &str, options: Options) -> Result<Self, Error> {
        let folder = Folder::new(&options.dir, name);
        let missing = |source| Error::NoLab {
            name: name.to_owned(),
            dir: options.dir.display().to_string(),
            source,
        };
        let record = folder.load().map_err(missing)?;
        let mut machines = BTreeMap::new();
        for host in machine_names(&record.topology) {
            machines.insert(
                host.to_owned(),
                Machine::find(&folder, host).map_err(missing)?,
            );
        }
        Ok(Self {
            options,
            folder,
            record,
            machines,
        })
    }

    /// Ends the lab of this name, or what is left of it. Gives how many hosts still ran.
    pub fn down(name: &str, options: &Options) -> Result<usize, Error> {
        let state = |source| Error::State {
            name: name.to_owned(),
            source,
        };
        let folder = Folder::new(&options.dir, name);
        let lock = folder.lock().map_err(state)?;
        let ended = folder.clear().map_err(state)?;
        folder.forget_lock(lock).map_err(state)?;
        Ok(ended)
    }

    /// Whether every host of it still runs.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.machines
            .values()
            .all(|machine| machine.process.is_alive())
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.record.topology.name
    }

    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.record.topology
    }

    /// `netdev` or `system`.
    #[must_use]
    pub fn datapath(&self) -> &str {
        &self.record.datapath
    }

    pub(crate) fn userspace(&self) -> bool {
        self.record.datapath == "netdev"
    }

    /// Where the lab keeps everything.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    #[must_use]
    pub fn guests(&self) -> &BTreeMap<String, Guest> {
        &self.record.guests
    }

    /// Where the API answers on this machine.
    #[must_use]
    pub fn api(&self) -> Option<&str> {
        self.record.api.as_deref()
    }

    /// A client of the lab's API.
    pub fn client(&self) -> Result<Client, Error> {
        let api = self.api().ok_or_else(|| Error::NoApi {
            name: self.name().to_owned(),
        })?;
        Ok(Client::new(api)?)
    }

    /// A host, the fabric or the outside world.
    pub fn machine(&self, name: &str) -> Result<&Machine, Error> {
        self.machines.get(name).ok_or_else(|| self.no_place(name))
    }

    /// Where commands run in a host, a guest, or the outside world.
    pub fn place(&self, name: &str) -> Result<Place, Error> {
        match self.record.guests.get(name) {
            Some(guest) => Ok(guest.place(self.machine(&guest.host)?, &self.options.binary)),
            None => Ok(self.machine(name)?.place.clone()),
        }
    }

    /// The console of a guest that is a virtual machine.
    pub fn console(&self, guest: &str) -> Result<PathBuf, Error> {
        let found = self
            .record
            .guests
            .get(guest)
            .filter(|guest| guest.kind == GuestKind::Qemu);
        let guest = found.ok_or_else(|| self.no_place(guest))?;
        Ok(Vm::of(self.machine(&guest.host)?, &guest.name).console())
    }

    pub(crate) fn no_place(&self, place: &str) -> Error {
        Error::NoPlace {
            name: self.name().to_owned(),
            place: place.to_owned(),
        }
    }

    pub(crate) fn save(&self) -> Result<(), Error> {
        self.folder
            .save(&self.record)
            .map_err(|source| Error::State {
                name: self.name().to_owned(),
                source,
            })
    }

    fn position(&self, host: &str) -> Result<usize, Error> {
        let hosts = &self.record.topology.hosts;
        hosts
            .iter()
            .position(|candidate| candidate.name == host)
            .ok_or_else(|| self.no_place(host))
    }

    fn join_machines(&self) -> Result<(), Error> {
        let hosts: Vec<Machine> = self
            .record
            .topology
            .hosts
            .iter()
            .map(|host| self.machine(&host.name).cloned())
            .collect::<Result<_, _>>()?;
        let machines = Machines {
            fabric: self.machine(FABRIC)?,
            outside: self.machine(OUTSIDE)?,
            hosts: &hosts,
        };
        Ok(fabric::build(
            &self.record.topology,
            &machines,
            self.userspace(),
        )?)
    }

    fn start_switches(&self) -> Result<(), Error> {
        let hosts = self.record.topology.hosts.iter().enumerate();
        at_once(hosts.map(|(position, host)| {
            let machine = self.machine(&host.name);
            move || Ok(ovs::start(machine?, position, host, &self.record.datapath)?)
        }))?;
        for host in &self.record.topology.hosts {
            let machine = self.machine(&host.name)?;
            std::fs::write(machine.dir.join("udhcpc.sh"), DHCP_SCRIPT)
                .and_then(|()| make_executable(&machine.dir.join("udhcpc.sh")))
                .map_err(|source| Error::State {
                    name: self.name().to_owned(),
                    source,
                })?;
        }
        Ok(())
    }

    fn start_control(&mut self) -> Result<(), Error> {
        let Some((position, host)) = self.record.topology.controller() else {
            return Err(Error::NoApi {
                name: self.name().to_owned(),
            });
        };
        let host = host.name.clone();
        let names = self
            .record
            .topology
            .hosts
            .iter()
            .map(|host| host.name.as_str());
        Secrets::of(self.path()).make(management_address(position), names)?;
        let listener = listen(self.options.api_port).map_err(|source| Error::State {
            name: self.name().to_owned(),
            source,
        })?;
        let address = listener.local_addr().map_err(|source| Error::State {
            name: self.name().to_owned(),
            source,
        })?;
        let api = format!("http://{address}");
        std::fs::write(self.path().join("clouds.yaml"), clouds(self.name(), &api)).map_err(
            |source| Error::State {
                name: self.name().to_owned(),
                source,
            },
        )?;
        self.record.api = Some(api);
        let to = daemons::api_address(position).to_string();
        let args = ["lab-init".to_owned(), "forward".to_owned(), to];
        let machine = self.machine(&host)?;
        Daemon::Forward.start(
            machine,
            &self.options.binary,
            &args,
            Stdio::from(std::os::fd::OwnedFd::from(listener)),
        )?;
        self.start(Daemon::Server, &host)?;
        for host in &self.record.topology.hosts {
            self.start(Daemon::Agent, &host.name)?;
        }
        self.await_bridges()
    }

    /// Guests are plugged into br-int, which is the agent's to make.
    fn await_bridges(&self) -> Result<(), Error> {
        for host in &self.record.topology.hosts {
            let machine = self.machine(&host.name)?;
            let hint = format!(
                " on {}; see {}",
                host.name,
                Daemon::Agent.log(machine).display()
            );
            wait_for(
                "a bridge made by the agent",
                Duration::from_secs(30),
                &hint,
                || {
                    Ok(machine
                        .place
                        .run(&["ovs-vsctl", "br-exists", INTEGRATION_BRIDGE])
                        .is_ok())
                },
            )?;
        }
        Ok(())
    }

    /// Starts a daemon in a host; a server's API answers when this comes back.
    pub fn start(&self, daemon: Daemon, host: &str) -> Result<(), Error> {
        let machine = self.machine(host)?;
        let position = self.position(host)?;
        let setting = Setting {
            machine,
            topology: &self.record.topology,
            folder: self.path(),
            datapath: &self.record.datapath,
            position,
        };
        let args = match daemon {
            Daemon::Server => daemons::server_args(&setting),
            Daemon::Agent => daemons::agent_args(&setting),
            Daemon::Forward => return Err(self.no_place("forward")),
        };
        let args = args.map_err(|source| Error::State {
            name: self.name().to_owned(),
            source,
        })?;
        daemon.start(machine, &self.options.binary, &args, Stdio::null())?;
        if daemon != Daemon::Server {
            return Ok(());
        }
        let address = daemons::api_address(position);
        let hint = format!("; see {}", daemon.log(machine).display());
        wait_for(
            "an API that listens",
            Duration::from_secs(20),
            &hint,
            || Ok(daemons::listens(&machine.place, address)),
        )
    }

    /// Ends a daemon without a goodbye, as a crash does.
    pub fn kill(&self, daemon: Daemon, host: &str) -> Result<(), Error> {
        Ok(daemon.kill(self.machine(host)?)?)
    }

    /// Whether a daemon runs in a host.
    pub fn is_running(&self, daemon: Daemon, host: &str) -> Result<bool, Error> {
        Ok(daemon.is_alive(self.machine(host)?))
    }

    /// Ends and starts a host's Open vSwitch, with `ovsdb-server` or without.
    pub fn restart_switch(&self, host: &str, with_database: bool) -> Result<(), Error> {
        let place = &self.machine(host)?.place;
        ovs::kill(place, "ovs-vswitchd")?;
        if with_database {
            ovs::kill(place, "ovsdb-server")?;
            ovs::start_database(place)?;
        }
        ovs::start_switch(place)?;
        if self.userspace() {
            // The bridge's own device is made anew, without the address that was on it.
            let position = self.position(host)?;
            ovs::address_underlay(place, position)?;
        }
        Ok(())
    }
}

/// What unchanged OpenStack clients read to find the API, which asks nobody who they are.
fn clouds(name: &str, api: &str) -> String {
    format!(
        "clouds:\n  nucleon-{name}:\n    auth_type: none\n    auth:\n      endpoint: {api}\n    \
         network_endpoint_override: {api}\n    region_name: RegionOne\n"
    )
}

fn check_surroundings() -> Result<(), Error> {
    if !nix::unistd::geteuid().is_root() {
        return Err(Error::NotRoot);
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let missing = |program: &str| !folders.iter().any(|folder| folder.join(program).is_file());
    match PROGRAMS.iter().find(|(program, _)| missing(program)) {
        Some(&(program, package)) => Err(Error::MissingProgram { program, package }),
        None => Ok(()),
    }
}

fn machine_names(topology: &Topology) -> impl Iterator<Item = &str> {
    [FABRIC, OUTSIDE]
        .into_iter()
        .chain(topology.hosts.iter().map(|host| host.name.as_str()))
}

fn create_machines(
    binary: &Path,
    folder: &Folder,
    topology: &Topology,
    lock: &File,
) -> Result<BTreeMap<String, Machine>, Error> {
    let created = at_once(
        machine_names(topology)
            .map(|name| move || Ok::<_, Error>(Machine::create(binary, folder, name, lock)?)),
    )?;
    Ok(created
        .into_iter()
        .map(|machine| (machine.name.clone(), machine))
        .collect())
}

/// Runs every job in a thread of its own; the first error, when all have ended.
fn at_once<T: Send, J: FnOnce() -> Result<T, Error> + Send>(
    jobs: impl Iterator<Item = J>,
) -> Result<Vec<T>, Error> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = jobs.map(|job| scope.spawn(job)).collect();
        threads
            .into_iter()
            .map(|thread| {
                thread
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect()
    })
}

/// The wanted port of the loopback device, or any when that one is taken.
fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
        .or_else(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
}

fn make_executable(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
}

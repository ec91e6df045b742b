//! `nucleon lab`: makes, shows, uses and ends a lab.

use crate::Outcome;
use clap::Subcommand;
use lab::topology::{Addressing, GuestKind, TopologyError};
use lab::{Daemon, GuestWish, Lab, Options, Progress, Topology};
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which lab, when there are several
    #[arg(long, global = true, default_value = "lab")]
    name: String,
    /// The folder that keeps labs
    #[arg(long, global = true, value_name = "DIR")]
    state_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a lab out of a topology file, or out of nothing: one controller and network node,
    /// two compute hosts, an outside world
    Up {
        file: Option<PathBuf>,
        /// What guests are made of; the file's word unless given
        #[arg(long, value_parser = ["namespace", "qemu"])]
        guests: Option<String>,
        /// The API's port on this machine's loopback device; another one when it is taken
        #[arg(long, default_value_t = 9696)]
        api_port: u16,
    },
    /// Show hosts, daemons, guests, and where the API is
    Status,
    /// Run a command in a host, in a guest, or in `outside`
    Exec {
        place: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        command: Vec<String>,
    },
    /// Join the console of a guest that is a virtual machine; control-] leaves
    Console { guest: String },
    /// Guests
    #[command(subcommand)]
    Guest(Guest),
    /// End the lab, or what is left of one
    Down,
}

#[derive(Debug, Subcommand)]
enum Guest {
    /// Make a port and a guest that has it
    Add {
        guest: String,
        #[arg(long)]
        host: String,
        /// The network's name or id
        #[arg(long)]
        network: String,
        /// Further attributes of the port, as JSON: '{"port_security_enabled": false}'
        #[arg(long, value_name = "JSON")]
        port: Option<String>,
        /// Plug into br-int itself; refused for a port with port security
        #[arg(long)]
        direct: bool,
        /// Run a DHCP client, or write the addresses
        #[arg(long, value_parser = ["dhcp", "static"])]
        addressing: Option<String>,
    },
    /// Take a guest away, and its port
    Remove { guest: String },
}

pub(crate) fn run(args: Args) -> Outcome {
    let mut options = Options::standard()?;
    if let Some(dir) = args.state_dir {
        options.dir = dir;
    }
    match args.command {
        Command::Up {
            file,
            guests,
            api_port,
        } => {
            let topology = topology(file, guests.as_deref(), args.name)?;
            up(
                topology,
                Options {
                    api_port,
                    ..options
                },
            )
        }
        Command::Status => status(&Lab::open(&args.name, options)?),
        Command::Exec { place, command } => {
            exec(&Lab::open(&args.name, options)?, &place, &command)
        }
        Command::Console { guest } => {
            lab::vm::serial::console(&Lab::open(&args.name, options)?.console(&guest)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Guest(guest) => change_guests(&mut Lab::open(&args.name, options)?, guest),
        Command::Down => down(&args.name, &options),
    }
}

fn topology(
    file: Option<PathBuf>,
    guests: Option<&str>,
    name: String,
) -> Result<Topology, TopologyError> {
    let mut topology = match file {
        Some(file) => Topology::read(&file)?,
        None => Topology {
            name,
            ..Topology::default()
        },
    };
    match guests {
        Some("qemu") => topology.guests_are = GuestKind::Qemu,
        Some(_) => topology.guests_are = GuestKind::Namespace,
        None => {}
    }
    Ok(topology)
}

fn up(topology: Topology, options: Options) -> Outcome {
    let progress = Progress::new();
    let lab = Lab::up(topology, options, &progress)?;
    progress.done(&format!("lab {} is up", lab.name()));
    if let Some(api) = lab.api() {
        println!("API: {api}");
    }
    Ok(ExitCode::SUCCESS)
}

fn status(lab: &Lab) -> Outcome {
    println!(
        "lab {}: {}, datapath {}, in {}",
        lab.name(),
        if lab.is_alive() { "up" } else { "not whole" },
        lab.datapath(),
        lab.path().display()
    );
    if let Some(api) = lab.api() {
        println!("API: {api}");
    }
    println!(
        "{:<12} {:<8} {:<8} {:<8} ROLES",
        "HOST", "PID", "AGENT", "SERVER"
    );
    for host in &lab.topology().hosts {
        let pid = lab.machine(&host.name)?.process.pid;
        let shown = |daemon| {
            lab.is_running(daemon, &host.name)
                .map(|runs| if runs { "up" } else { "-" })
        };
        let (agent, server) = (shown(Daemon::Agent)?, shown(Daemon::Server)?);
        println!(
            "{:<12} {pid:<8} {agent:<8} {server:<8} {}",
            host.name,
            host.roles.join(",")
        );
    }
    println!("{:<12} {:<8} {:<37} ADDRESSES", "GUEST", "HOST", "PORT");
    for guest in lab.guests().values() {
        let addresses: Vec<String> = guest.addresses.iter().map(ToString::to_string).collect();
        println!(
            "{:<12} {:<8} {:<37} {}",
            guest.name,
            guest.host,
            guest.port.id,
            addresses.join(" ")
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// The command has this process's own input, output and error, and its exit code is ours.
fn exec(lab: &Lab, place: &str, command: &[String]) -> Outcome {
    let status = lab.place(place)?.command(command).status()?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

fn change_guests(lab: &mut Lab, change: Guest) -> Outcome {
    match change {
        Guest::Add {
            guest,
            host,
            network,
            port,
            direct,
            addressing,
        } => {
            let mut wish = GuestWish::new(&guest, &host, &network);
            wish.port = port
                .map(|json| serde_json::from_str(&json))
                .transpose()?
                .unwrap_or_default();
            wish.direct = direct;
            wish.addressing = addressing.as_deref().map(|word| match word {
                "dhcp" => Addressing::Dhcp,
                _ => Addressing::Static,
            });
            let made = lab.add_guest(wish)?;
            let addresses: Vec<String> = made.addresses.iter().map(ToString::to_string).collect();
            println!("{guest}: port {} {}", made.port.id, addresses.join(" "));
        }
        Guest::Remove { guest } => lab.remove_guest(&guest)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn down(name: &str, options: &Options) -> Result<ExitCode, Box<dyn Error + Send + Sync>> {
    match Lab::down(name, options)? {
        0 => println!("lab {name}: nothing was running"),
        hosts => println!("lab {name}: {hosts} namespaces ended"),
    }
    Ok(ExitCode::SUCCESS)
}

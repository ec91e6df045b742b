//! `nucleon walk`: follows a packet, and says what happens to it and why.

use crate::Outcome;
use crate::live;
use crate::picture;
use crate::source::{Source, read};
use std::io::IsTerminal;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use walk::print::Style;
use walk::question::Question;
use walk::report::Verdict;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Who sends: a port's name or id, a guest, an address, a floating IP, `outside`
    from: String,
    /// Who should get it: the same, or `metadata`, `metadata6`, `dhcp`, `dhcp6`, `ra` (who
    /// announces routers), `router`
    to: String,
    #[command(flatten)]
    source: Source,
    #[command(flatten)]
    packet: Packet,
    /// Print the walk as JSON (docs/walk.md describes it)
    #[arg(long)]
    json: bool,
    /// Print every step, also those that only lead to the next table
    #[arg(long)]
    all: bool,
    /// Draw hosts, bridges and namespaces with the packet's way on them
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Send the real packet too, look for it wherever it should pass, and say what was foretold
    /// and what was seen side by side
    #[arg(long, conflicts_with_all = ["snapshot", "with", "svg", "all"])]
    live: bool,
}

/// The packet's headers, where the defaults are not what is wanted.
#[derive(Debug, clap::Args)]
struct Packet {
    /// icmp, tcp, udp, arp, dhcp, dhcp6, ra or a number; icmp unless there is a port
    #[arg(long)]
    proto: Option<String>,
    /// The destination port
    #[arg(long, visible_alias = "dst-port")]
    port: Option<u16>,
    #[arg(long)]
    src_port: Option<u16>,
    #[arg(long)]
    src_ip: Option<IpAddr>,
    #[arg(long)]
    dst_ip: Option<IpAddr>,
    #[arg(long)]
    src_mac: Option<host::Mac>,
    #[arg(long)]
    dst_mac: Option<host::Mac>,
    #[arg(long)]
    icmp_type: Option<u8>,
    /// Bytes of payload, as `ping -s` counts them; the packet must then not be split
    #[arg(long)]
    size: Option<u32>,
    /// The tag that the guest itself puts on the frame
    #[arg(long)]
    vlan: Option<u16>,
}

impl Args {
    fn question(&self) -> Question {
        let packet = &self.packet;
        Question {
            from: self.from.clone(),
            to: self.to.clone(),
            proto: packet.proto.clone(),
            port: packet.port,
            src_port: packet.src_port,
            src_ip: packet.src_ip,
            dst_ip: packet.dst_ip,
            src_mac: packet.src_mac,
            dst_mac: packet.dst_mac,
            icmp_type: packet.icmp_type,
            size: packet.size,
            vlan: packet.vlan,
        }
    }
}

/// The process ends with 0 when the packet is delivered and answered, 1 when not, 3 when it
/// cannot be told.
pub(crate) fn run(args: &Args) -> Outcome {
    let world = read(&args.source)?;
    if args.live {
        return live::run(&args.source, &world, &args.question(), args.json);
    }
    let walk = walk::walk(&world, &args.question())?;
    if let Some(file) = &args.svg {
        picture::write(file, &walk::picture::walk(&world, &walk))?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&walk)?);
    } else {
        let style = Style {
            colour: std::io::stdout().is_terminal(),
            all: args.all,
        };
        print!("{}", walk::print::print(&walk, style));
    }
    Ok(match (walk.verdict, walk.replied) {
        (Verdict::Delivered, true) => ExitCode::SUCCESS,
        (Verdict::Unknown, _) => ExitCode::from(3),
        _ => ExitCode::from(1),
    })
}

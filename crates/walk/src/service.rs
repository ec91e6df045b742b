//! What a namespace does with a packet that is for itself: the kernel's own answers, programs
//! that listen, radvd, and the metadata proxy.
use std::net::{IpAddr, Ipv6Addr};

use host::HostState;
use host::netns::{Listener, Netns};

use crate::autoconf;
use crate::packet::{ICMP_ECHO, ICMP6_ECHO, Ip, Load, ND_ROUTER_SOLICIT, TCP_ACK, TCP_SYN};
use crate::sim::Fate;
use crate::stack::Seat;
use crate::world::World;

/// Does something take the packet?
pub enum Takes {
    Yes {
        what: String,
        rule: Option<String>,
        wants_answer: bool,
    },
    No {
        what: String,
        fate: Fate,
        /// The transport answers all the same.
        answered: bool,
    },
}

pub const METADATA: &str = "169.254.169.254";
pub const METADATA_6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0xa9fe, 0xa9fe);

pub fn takes(world: &World, seat: Seat<'_>, netns: &Netns, ip: &Ip) -> Takes {
    match &ip.load {
        Load::Icmp6 { kind, .. } if *kind == ND_ROUTER_SOLICIT => announces(world, seat),
        Load::Icmp { kind, .. } | Load::Icmp6 { kind, .. } => Takes::Yes {
            what: "the kernel takes it".to_owned(),
            rule: None,
            wants_answer: matches!(*kind, ICMP_ECHO | ICMP6_ECHO),
        },
        // The answer to something this namespace sent.
        Load::Tcp { flags, .. } if flags & TCP_ACK != 0 => Takes::Yes {
            what: "the kernel takes the answer".to_owned(),
            rule: None,
            wants_answer: false,
        },
        Load::Tcp { dport, flags, .. } if flags & TCP_SYN != 0 => {
            listens(world, seat, netns, ("tcp", ip.dst, *dport))
        }
        Load::Udp { dport, .. } => listens(world, seat, netns, ("udp", ip.dst, *dport)),
        load => Takes::No {
            what: format!("what takes protocol {} is not known", load.proto()),
            fate: Fate::Unknown,
            answered: false,
        },
    }
}

/// radvd takes questions for routers, by a socket that no list of listeners shows.
fn announces(world: &World, (host, ns, dev): Seat<'_>) -> Takes {
    let state = world.hosts.get(host);
    let said = state.map(|state| autoconf::announces(state, ns.as_str(), dev));
    match said {
        None | Some(Ok(())) => Takes::Yes {
            what: format!("radvd announces the router on {dev}"),
            rule: None,
            wants_answer: true,
        },
        Some(Err((what, unknown))) => Takes::No {
            what,
            fate: match unknown {
                true => Fate::Unknown,
                false if ns.as_str().starts_with("qrouter-") => Fate::Dropped,
                false => Fate::Ignored,
            },
            answered: false,
        },
    }
}

fn listens(
    world: &World,
    (host, ns, dev): Seat<'_>,
    netns: &Netns,
    (proto, dst, port): (&str, IpAddr, u16),
) -> Takes {
    let state = world.hosts.get(host).map(AsRef::as_ref);
    if netns.listeners.is_empty() && !watches_sockets(state) {
        return Takes::No {
            what: format!("who listens in {ns} is not in the state given: cannot tell"),
            fate: Fate::Unknown,
            answered: false,
        };
    }
    let fits = |l: &&Listener| {
        l.proto == proto
            && l.port == port
            && l.addr.is_none_or(|a| a == dst || a.is_unspecified())
            && l.dev.as_deref().is_none_or(|d| d == dev)
    };
    let Some(listener) = netns.listeners.iter().find(fits) else {
        return Takes::No {
            what: format!("nothing listens on {proto}/{port} in {ns}"),
            fate: Fate::Dropped,
            answered: false,
        };
    };
    let program = listener
        .process
        .as_ref()
        .map_or("a program", |p| p.0.as_str());
    if program == "haproxy" && state.is_some_and(|s| !has_metadata_agent(s)) {
        return Takes::No {
            what: "haproxy listens, but no metadata agent runs behind it".to_owned(),
            fate: Fate::Dropped,
            answered: true,
        };
    }
    Takes::Yes {
        what: format!("{program} listens on {proto}/{port}"),
        rule: None,
        wants_answer: true,
    }
}

/// Were listening sockets recorded on this host at all?
fn watches_sockets(state: Option<&HostState>) -> bool {
    state.is_some_and(|s| s.netns.values().any(|n| !n.listeners.is_empty()))
}

/// Is the agent behind haproxy alive? Without a list of processes it counts as alive.
fn has_metadata_agent(state: &HostState) -> bool {
    let named = |name: &str| {
        let mut processes = state.processes.values();
        processes.any(|p| p.argv.iter().any(|a| a.contains(name)))
    };
    state.processes.is_empty() || named("neutron-metadata-agent") || named("nucleon")
}

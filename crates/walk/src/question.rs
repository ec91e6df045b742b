//! What is asked: from whom, to whom, with which headers. Names become ports and addresses here.
use std::net::IpAddr;

use host::{Mac, NsName};

use crate::autoconf;
use crate::cloud::{Network, Port};
use crate::outside;
use crate::packet::{Arp, ICMP_ECHO, ICMP6_ECHO, Ip, Load, Net, Packet, TCP_SYN};
use crate::service::{METADATA, METADATA_6};
use crate::sim::Party;
use crate::world::World;

/// The packet to send, as the command line says it.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub from: String,
    pub to: String,
    /// `icmp`, `tcp`, `udp`, `arp`, `dhcp`, `dhcp6`, `ra`, or a protocol's number; else what fits the addressee.
    pub proto: Option<String>,
    pub port: Option<u16>,
    pub src_port: Option<u16>,
    pub src_ip: Option<IpAddr>,
    pub dst_ip: Option<IpAddr>,
    pub src_mac: Option<Mac>,
    pub dst_mac: Option<Mac>,
    pub icmp_type: Option<u8>,
    /// Bytes of payload, as `ping -s` counts them; sets the don't-fragment bit.
    pub size: Option<u32>,
    pub vlan: Option<u16>,
}

/// The question does not name things that exist.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum QuestionError {
    #[error("'{0}' is no port, guest, address or floating IP of this state")]
    Nobody(String),
    #[error("'{0}' has no address of the family asked for")]
    NoAddress(String),
    #[error("no external network of this state leads outside")]
    NoOutside,
    #[error("'{0}' is no protocol")]
    NoProtocol(String),
    #[error("for addresses and routers a guest's port asks, and '{0}' is none")]
    NotAGuest(String),
}

/// Who sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sender {
    Guest(String),
    Outside(String),
    Netns { host: String, ns: NsName },
}

/// Who should get it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Goal {
    Guest(String),
    Outside,
    /// Whoever has the address: a router, a server.
    Owner(IpAddr),
    Metadata,
    /// The DHCP servers of a network.
    Dhcp {
        network: String,
    },
    /// Whoever announces routers of a network; the port of such a router, if it has one.
    Announcer {
        port: Option<String>,
    },
}

/// What a guest asks of whoever serves its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    Dhcp,
    Dhcp6,
    Routers,
}

/// A question with names resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub sender: Sender,
    pub goal: Goal,
    pub packet: Packet,
    /// The frame goes to this MAC, whatever ARP would say.
    pub dst_mac: Option<Mac>,
    pub from_name: String,
    pub to_name: String,
}

impl Goal {
    /// Is this party the one?
    pub fn is(&self, world: &World, party: &Party, dst: Option<IpAddr>) -> bool {
        match (self, party) {
            (Goal::Guest(want), Party::Guest(got)) => want == got,
            (Goal::Outside, Party::Outside(_)) => true,
            (Goal::Metadata, Party::Netns { .. }) => true,
            (Goal::Announcer { .. }, Party::Netns { ns, .. }) => {
                ns.as_str().starts_with("qrouter-")
            }
            (Goal::Dhcp { network }, Party::Netns { ns, .. }) => *ns == host::names::qdhcp(network),
            (Goal::Owner(ip), Party::Netns { host, ns }) => {
                let has = world.netns(host, ns);
                dst == Some(*ip) && has.is_some_and(|n| n.addrs.keys().any(|a| a.net.addr() == *ip))
            }
            _ => false,
        }
    }
}

/// Resolve a question's names.
pub fn plan(world: &World, question: &Question) -> Result<Plan, QuestionError> {
    let proto = question.proto.as_deref().map(str::to_ascii_lowercase);
    if let Some(asks) = asks(question, proto.as_deref()) {
        return asked(world, question, asks);
    }
    let v6 = question
        .dst_ip
        .or_else(|| question.to.parse().ok())
        .is_some_and(|ip| ip.is_ipv6());
    let (goal, dst, to_name) = goal(world, question, v6)?;
    let (sender, src, mac, from_name) = sender(world, question, dst)?;
    let src = question.src_ip.unwrap_or(src);
    let net = net(
        question,
        proto.as_deref(),
        &goal,
        (src, dst),
        question.src_mac.unwrap_or(mac),
    )?;
    let asks_arp = matches!(net, Net::Arp(_));
    let packet = Packet {
        eth_src: question.src_mac.unwrap_or(mac),
        eth_dst: question.dst_mac.unwrap_or(Mac::BROADCAST),
        tags: question.vlan.into_iter().collect(),
        net,
    };
    Ok(Plan {
        sender,
        goal,
        packet,
        dst_mac: question.dst_mac.or(asks_arp.then_some(Mac::BROADCAST)),
        from_name,
        to_name,
    })
}

/// Is the question for whoever serves the guest's network? Then it goes to no address.
fn asks(question: &Question, proto: Option<&str>) -> Option<Asks> {
    let to = question.to.split(':').next();
    [to, proto]
        .into_iter()
        .flatten()
        .find_map(|word| match word {
            "dhcp" => Some(Asks::Dhcp),
            "dhcp6" => Some(Asks::Dhcp6),
            "ra" => Some(Asks::Routers),
            _ => None,
        })
}

fn asked(world: &World, question: &Question, asks: Asks) -> Result<Plan, QuestionError> {
    let cloud = &world.cloud;
    let (sender, _, mac, from_name) = sender(world, question, IpAddr::from([255; 4]))?;
    let Sender::Guest(id) = &sender else {
        return Err(QuestionError::NotAGuest(question.from.clone()));
    };
    let named = question.to.split_once(':');
    let named = named.and_then(|(_, name)| cloud.network(name));
    let own = || cloud.networks.get(&cloud.ports.get(id)?.network_id);
    let network = named
        .or_else(own)
        .ok_or_else(|| QuestionError::Nobody(question.to.clone()))?;
    let mac = question.src_mac.unwrap_or(mac);
    let (goal, packet, whom) = match asks {
        Asks::Dhcp => (servers(network), autoconf::discover(mac), "DHCP"),
        Asks::Dhcp6 => (servers(network), autoconf::solicit_lease(mac), "DHCPv6"),
        Asks::Routers => {
            let goal = announcer(world, network);
            (goal, autoconf::solicit_router(mac), "the routers")
        }
    };
    Ok(Plan {
        goal,
        dst_mac: Some(question.dst_mac.unwrap_or(packet.eth_dst)),
        packet,
        from_name,
        to_name: format!("{whom} of {}", network.name),
        sender,
    })
}

fn servers(network: &Network) -> Goal {
    Goal::Dhcp {
        network: network.id.clone(),
    }
}

fn announcer(world: &World, network: &Network) -> Goal {
    let mut ports = world.cloud.ports.values();
    let of_router = |p: &&Port| {
        p.network_id == network.id
            && p.device_owner.starts_with("network:router_interface")
            && p.ip(true).is_some()
    };
    Goal::Announcer {
        port: ports.find(of_router).map(|p| p.id.clone()),
    }
}

fn goal(
    world: &World,
    question: &Question,
    v6: bool,
) -> Result<(Goal, IpAddr, String), QuestionError> {
    let to = question.to.as_str();
    let cloud = &world.cloud;
    let nobody = || QuestionError::Nobody(to.to_owned());
    if to == "metadata" || to == METADATA {
        let dst = METADATA.parse().map_err(|_| nobody())?;
        return Ok((Goal::Metadata, dst, "metadata".to_owned()));
    }
    if to == "metadata6" || to.parse() == Ok(METADATA_6) {
        return Ok((Goal::Metadata, METADATA_6.into(), "metadata".to_owned()));
    }
    if to == "outside" || to == "ext" {
        let gateway = outside::any_source(world, v6)
            .ok_or(QuestionError::NoOutside)?
            .1;
        let dst = question.dst_ip.unwrap_or(gateway);
        return Ok((Goal::Outside, dst, "outside".to_owned()));
    }
    if to == "router" || to == "gateway" {
        let from = cloud.port(&question.from).ok_or_else(nobody)?;
        let gateway = from
            .fixed_ips
            .iter()
            .find_map(|f| cloud.subnets.get(&f.subnet_id)?.gateway_ip)
            .ok_or_else(nobody)?;
        let dst = question.dst_ip.unwrap_or(gateway);
        return Ok((Goal::Owner(dst), dst, "the router".to_owned()));
    }
    if let Ok(ip) = to.parse::<IpAddr>() {
        return Ok((
            goal_of_address(world, ip),
            question.dst_ip.unwrap_or(ip),
            to.to_owned(),
        ));
    }
    let port = cloud.port(to).ok_or_else(nobody)?;
    let own = port.ip(v6).or_else(|| port.ip(!v6));
    let dst = question
        .dst_ip
        .or(own)
        .ok_or_else(|| QuestionError::NoAddress(to.to_owned()))?;
    let goal = match port.is_guest() {
        true => Goal::Guest(port.id.clone()),
        false => Goal::Owner(dst),
    };
    Ok((goal, dst, cloud.call(port)))
}

/// Whose an address is, by intent.
fn goal_of_address(world: &World, ip: IpAddr) -> Goal {
    if let Some(floating) = world.cloud.floating_ip(ip)
        && let Some(port) = &floating.port_id
    {
        return Goal::Guest(port.clone());
    }
    if is_link_local(ip) {
        let mut ports = world.cloud.ports.values();
        let guest = ports.find(|p| {
            let own = p.mac().map(|mac| IpAddr::V6(mac.link_local()));
            p.is_guest() && own == Some(ip)
        });
        return guest.map_or(Goal::Owner(ip), |p| Goal::Guest(p.id.clone()));
    }
    match world.cloud.port_by_ip(ip) {
        Some(port) if port.is_guest() => Goal::Guest(port.id.clone()),
        Some(_) => Goal::Owner(ip),
        None if world
            .cloud
            .subnet_with(ip)
            .is_some_and(|s| s.gateway_ip != Some(ip)) =>
        {
            Goal::Owner(ip)
        }
        None => Goal::Outside,
    }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

type From = (Sender, IpAddr, Mac, String);

fn sender(world: &World, question: &Question, dst: IpAddr) -> Result<From, QuestionError> {
    let from = question.from.as_str();
    let nobody = || QuestionError::Nobody(from.to_owned());
    if from == "outside" || from == "ext" {
        let near = outside::source_for(world, dst);
        let (segment, src) = near
            .or_else(|| outside::any_source(world, dst.is_ipv6()))
            .ok_or(QuestionError::NoOutside)?;
        return Ok((
            Sender::Outside(segment),
            src,
            outside::mac(world),
            "outside".to_owned(),
        ));
    }
    let by_ip = from.parse::<IpAddr>().ok();
    let port = match by_ip {
        Some(ip) => world.cloud.port_by_ip(ip),
        None => world.cloud.port(from),
    };
    let Some(port) = port else {
        let outer =
            by_ip.filter(|ip| world.cloud.subnet_with(*ip).is_none() || outside_has(world, *ip));
        let ip = outer.ok_or_else(nobody)?;
        let near =
            outside::source_for(world, dst).or_else(|| outside::any_source(world, ip.is_ipv6()));
        let (segment, _) = near.ok_or(QuestionError::NoOutside)?;
        return Ok((
            Sender::Outside(segment),
            ip,
            outside::mac(world),
            from.to_owned(),
        ));
    };
    let ip = port.ip(dst.is_ipv6()).or_else(|| port.ip(!dst.is_ipv6()));
    let ip = by_ip
        .or(ip)
        .ok_or_else(|| QuestionError::NoAddress(from.to_owned()))?;
    let mac = port.mac().ok_or_else(nobody)?;
    // To its own link a machine speaks from its own address there.
    let ip = match is_link_local(dst) {
        true => mac.link_local().into(),
        false => ip,
    };
    if port.is_guest() {
        return Ok((
            Sender::Guest(port.id.clone()),
            ip,
            mac,
            world.cloud.call(port),
        ));
    }
    let owner = owner(world, port, ip).ok_or_else(nobody)?;
    Ok((owner, ip, mac, world.cloud.call(port)))
}

fn outside_has(world: &World, ip: IpAddr) -> bool {
    world
        .cloud
        .subnets
        .values()
        .any(|s| s.gateway_ip == Some(ip))
}

/// The namespace that has a port's address.
fn owner(world: &World, port: &Port, ip: IpAddr) -> Option<Sender> {
    let hosts = world
        .hosts
        .iter()
        .filter(|(name, _)| port.host.is_empty() || port.host == **name);
    for (host, state) in hosts {
        for (ns, netns) in &state.netns {
            if netns.addrs.keys().any(|a| a.net.addr() == ip) && !ns.is_root() {
                return Some(Sender::Netns {
                    host: host.clone(),
                    ns: ns.clone(),
                });
            }
        }
    }
    None
}

fn net(
    question: &Question,
    proto: Option<&str>,
    goal: &Goal,
    (src, dst): (IpAddr, IpAddr),
    mac: Mac,
) -> Result<Net, QuestionError> {
    let sport = question.src_port.unwrap_or(40000);
    let by_goal = match (question.port, goal) {
        (_, Goal::Metadata) | (Some(_), _) => "tcp",
        _ => "icmp",
    };
    let metadata = matches!(goal, Goal::Metadata).then_some(80);
    let dport = question.port.or(metadata).unwrap_or(80);
    let (header, load) = match proto.unwrap_or(by_goal) {
        "arp" => {
            let (IpAddr::V4(spa), IpAddr::V4(tpa)) = (src, dst) else {
                return Err(QuestionError::NoAddress(question.to.clone()));
            };
            return Ok(Net::Arp(Arp {
                op: 1,
                sha: mac,
                spa,
                tha: Mac::ZERO,
                tpa,
            }));
        }
        "icmp" | "icmp6" | "icmpv6" | "1" | "58" => (8, echo(question, dst.is_ipv6())),
        "tcp" | "6" => (
            20,
            Load::Tcp {
                sport,
                dport,
                flags: TCP_SYN,
            },
        ),
        "udp" | "17" => (8, Load::Udp { sport, dport }),
        other => match other.parse() {
            Ok(number) => (0, Load::Other(number)),
            Err(_) => return Err(QuestionError::NoProtocol(other.to_owned())),
        },
    };
    let outer = if dst.is_ipv6() { 40 } else { 20 };
    Ok(Net::Ip(Ip {
        src,
        dst,
        ttl: 64,
        dont_fragment: question.size.is_some(),
        size: question
            .size
            .unwrap_or(if header == 8 { 56 } else { 0 })
            .saturating_add(outer + header),
        load,
    }))
}

fn echo(question: &Question, v6: bool) -> Load {
    let kind = question.icmp_type;
    if v6 {
        return Load::Icmp6 {
            kind: kind.unwrap_or(ICMP6_ECHO),
            code: 0,
            id: 1,
            target: None,
            lladdr: None,
        };
    }
    Load::Icmp {
        kind: kind.unwrap_or(ICMP_ECHO),
        code: 0,
        id: 1,
    }
}

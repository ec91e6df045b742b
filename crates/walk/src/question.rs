//! What is asked: from whom, to whom, with which headers. Names become ports and addresses here.
use std::net::IpAddr;

use host::{Mac, NsName};

use crate::cloud::Port;
use crate::outside;
use crate::packet::{Arp, ICMP_ECHO, ICMP6_ECHO, Ip, Load, Net, Packet, TCP_SYN};
use crate::service::METADATA;
use crate::sim::Party;
use crate::world::World;

/// The packet to send, as the command line says it.
#[derive(Clone, Debug, Default)]
pub struct Question {
    pub from: String,
    pub to: String,
    /// `icmp`, `tcp`, `udp`, `arp`, `dhcp`, or a protocol's number; else what fits the addressee.
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
    #[error("DHCP asks from a guest's port, and '{0}' is none")]
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
    Dhcp {
        network: String,
    },
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
    let asks_dhcp = proto.as_deref() == Some("dhcp") || question.to.starts_with("dhcp");
    let v6 = question
        .dst_ip
        .or_else(|| question.to.parse().ok())
        .is_some_and(|ip| ip.is_ipv6());
    let (goal, dst, to_name) = goal(world, question, v6, asks_dhcp)?;
    let (sender, src, mac, from_name) = sender(world, question, dst)?;
    let src = question.src_ip.unwrap_or(src);
    if asks_dhcp {
        let Sender::Guest(_) = sender else {
            return Err(QuestionError::NotAGuest(question.from.clone()));
        };
        let packet = discover(question.src_mac.unwrap_or(mac));
        return Ok(Plan {
            sender,
            goal,
            packet,
            dst_mac: Some(question.dst_mac.unwrap_or(Mac::BROADCAST)),
            from_name,
            to_name,
        });
    }
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

fn goal(
    world: &World,
    question: &Question,
    v6: bool,
    asks_dhcp: bool,
) -> Result<(Goal, IpAddr, String), QuestionError> {
    let to = question.to.as_str();
    let cloud = &world.cloud;
    let nobody = || QuestionError::Nobody(to.to_owned());
    if asks_dhcp {
        let named = to.split_once(':').and_then(|(_, name)| cloud.network(name));
        let of_sender = cloud
            .port(&question.from)
            .and_then(|p| cloud.networks.get(&p.network_id));
        let network = named.or(of_sender).ok_or_else(nobody)?;
        let goal = Goal::Dhcp {
            network: network.id.clone(),
        };
        return Ok((
            goal,
            IpAddr::from([255; 4]),
            format!("DHCP of {}", network.name),
        ));
    }
    if to == "metadata" || to == METADATA {
        let dst = METADATA.parse().map_err(|_| nobody())?;
        return Ok((Goal::Metadata, dst, "metadata".to_owned()));
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

/// A DISCOVER, as a client broadcasts it.
fn discover(mac: Mac) -> Packet {
    Packet {
        eth_src: mac,
        eth_dst: Mac::BROADCAST,
        tags: Vec::new(),
        net: Net::Ip(Ip {
            src: IpAddr::from([0; 4]),
            dst: IpAddr::from([255; 4]),
            ttl: 64,
            dont_fragment: false,
            size: 328,
            load: Load::Udp {
                sport: 68,
                dport: 67,
            },
        }),
    }
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

//! What would let a packet pass that policy or design stops: the smallest change, as the command
//! that makes it.
use std::net::IpAddr;

use host::Why;
use host::iptables::{Condition, Maybe, PortRange, Rule, Target};
use host::names::{self, PortChain};

use crate::cloud::{Cloud, Port};
use crate::packet::{Ip, Load};
use crate::question::{Goal, Plan, Sender};
use crate::report::Step;
use crate::run::Loss;
use crate::world::World;

/// Why a loss is as it should be, what would let the packet pass, and the command for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fix {
    pub why: Option<String>,
    /// The rule that is not there and would accept it, as the host would print it.
    pub rule: Option<String>,
    pub command: Option<String>,
    /// Who asked for an address that nobody has: then that is the place, and no rule is to blame.
    pub asker: Option<Step>,
}

/// What would help against a loss that is no host's fault.
pub fn fix(world: &World, plan: &Plan, loss: &Loss, reply: bool) -> Fix {
    let step = &loss.step;
    let rule = step.rule.as_deref().unwrap_or("");
    if step.host == "outside" {
        return outside(world, plan, loss);
    }
    if plan.goal == (Goal::Announcer { port: None }) {
        let why = "no router has an interface with an address of IPv6 on this network";
        return Fix {
            why: Some(why.to_owned()),
            ..Fix::default()
        };
    }
    if let Some(fix) = unowned(&world.cloud, plan, loss) {
        return fix;
    }
    if let Some(port) = spoofed(world, loss, rule) {
        return address_pair(world, plan, port);
    }
    let drops = rule.contains("sg-fallback") || rule.contains("table=93,");
    if drops && let Some((port, ingress)) = guarded(world, plan, loss, reply) {
        return group_rule(&world.cloud, plan, port, ingress);
    }
    Fix::default()
}

/// Lost in the world outside: nobody there has the address.
fn outside(world: &World, plan: &Plan, loss: &Loss) -> Fix {
    let Some(dst) = plan.packet.ip().map(|ip| ip.dst) else {
        return Fix::default();
    };
    let cloud = &world.cloud;
    if matches!(plan.sender, Sender::Outside(_)) {
        let Some(port) = cloud.port_by_ip(dst) else {
            return Fix::default();
        };
        let mut networks = cloud.networks.values();
        let external = networks
            .find(|n| n.external)
            .map_or("EXTERNAL", |n| n.name.as_str());
        return Fix {
            why: Some(format!(
                "{dst} is an address of the inside, to which the outside has no route"
            )),
            rule: None,
            command: Some(format!(
                "openstack floating ip create --port {} {external}",
                port.id
            )),
            ..Fix::default()
        };
    }
    let subnet = cloud.subnet_with(dst);
    let router = loss
        .way
        .iter()
        .rev()
        .find_map(|s| s.place.strip_prefix("qrouter-"));
    let way = loss.way.iter().rev().find_map(|s| {
        s.rule
            .clone()
            .filter(|r| s.place.starts_with("qrouter-") && r.starts_with("default"))
    });
    match (subnet, router) {
        (Some(subnet), Some(router)) => {
            let cidr = subnet.cidr.map(|c| c.to_string()).unwrap_or_default();
            let hop = way
                .as_deref()
                .and_then(|w| w.split(" dev ").next())
                .unwrap_or("default");
            Fix {
                why: Some(format!("no route to {cidr} in the router except {hop}")),
                rule: way,
                command: Some(format!(
                    "openstack router add subnet {router} {}",
                    subnet.id
                )),
                ..Fix::default()
            }
        }
        _ => Fix::default(),
    }
}

/// Somebody asks for an address of a network of tenants', and no port there has it.
fn unowned(cloud: &Cloud, plan: &Plan, loss: &Loss) -> Option<Fix> {
    let address: IpAddr = loss.arp.as_ref()?.parse().ok()?;
    let asker = loss.way.last()?.clone();
    let guest = cloud.ports.values().find(|p| cloud.call(p) == asker.place);
    let own = guest.and_then(|port| {
        let mut subnets = cloud.subnets_of(&port.network_id);
        subnets.find(|s| s.cidr.is_some_and(|net| net.contains(&address)))
    });
    let subnet = own.or_else(|| cloud.subnet_with(address))?;
    let network = cloud.networks.get(&subnet.network_id)?;
    let mut ports = cloud.ports.values();
    let owned = ports.any(|port| {
        port.network_id == network.id && port.fixed_ips.iter().any(|f| f.ip_address == address)
    });
    // Behind a physical network there may be routers that no API knows of.
    if owned || network.external || network.physical_network.is_some() {
        return None;
    }
    let nobody = format!("nobody on the network {} has {address}", network.name);
    let (why, command) = match subnet.cidr.filter(|_| subnet.gateway_ip == Some(address)) {
        Some(cidr) => (
            format!("{nobody}, the gateway of its subnet {cidr}"),
            Some(format!(
                "openstack router add subnet {} {}",
                router_for(cloud, plan),
                subnet.id
            )),
        ),
        None => (nobody, None),
    };
    Some(Fix {
        why: Some(why),
        command,
        asker: Some(asker),
        ..Fix::default()
    })
}

/// The router to give an interface: the one that is where the packet goes already, or the only one.
fn router_for<'c>(cloud: &'c Cloud, plan: &Plan) -> &'c str {
    let there = plan.packet.ip().and_then(|ip| cloud.subnet_with(ip.dst));
    let interface = there.and_then(|subnet| {
        cloud.ports.values().find(|port| {
            port.device_owner.starts_with("network:router_interface")
                && port.fixed_ips.iter().any(|f| f.subnet_id == subnet.id)
        })
    });
    let mut routers = cloud.routers.keys();
    let only = routers.next().filter(|_| routers.next().is_none());
    interface
        .map(|port| port.device_id.as_str())
        .or(only.map(String::as_str))
        .unwrap_or("ROUTER")
}

/// The port whose rules against forged sources stopped it.
fn spoofed<'w>(world: &'w World, loss: &Loss, rule: &str) -> Option<&'w Port> {
    let by_chain = rule.contains("Drop traffic without an IP/MAC allow rule");
    let by_table = ["table=24,", "table=25,", "table=71,"].iter().any(|t| {
        let last = loss.way.iter().rev().take(3);
        last.filter_map(|s| s.rule.as_deref())
            .any(|r| r.contains(t) && !r.contains("ct_state"))
    });
    if !by_chain && !by_table {
        return None;
    }
    loss.way
        .iter()
        .find_map(|s| port_at(world, &s.host, &s.device))
}

fn port_at<'w>(world: &'w World, host: &str, dev: &str) -> Option<&'w Port> {
    let short = dev
        .strip_prefix("tap")
        .or(dev.strip_prefix("qvo"))
        .or(dev.strip_prefix("qvb"))?;
    let mut ports = world.cloud.ports.values();
    ports.find(|p| p.is_guest() && p.host == host && p.id.starts_with(short))
}

fn address_pair(world: &World, plan: &Plan, port: &Port) -> Fix {
    let source = plan.packet.ip().map(|ip| ip.src);
    let source = source.or(plan.packet.arp().map(|a| a.spa.into()));
    let name = world.cloud.call(port);
    let source = source.map(|ip| ip.to_string()).unwrap_or_default();
    let mac = plan.packet.eth_src;
    Fix {
        why: Some(format!("{name} may not send as {source} from {mac}")),
        rule: None,
        command: Some(format!(
            "openstack port set --allowed-address ip-address={source},mac-address={mac} {}",
            port.id
        )),
        ..Fix::default()
    }
}

/// The port whose groups stopped it, and whether on its way in.
fn guarded<'w>(
    world: &'w World,
    plan: &Plan,
    loss: &Loss,
    reply: bool,
) -> Option<(&'w Port, bool)> {
    let sender = match &plan.sender {
        Sender::Guest(id) => world.cloud.ports.get(id),
        _ => None,
    };
    let goal = match &plan.goal {
        Goal::Guest(id) => world.cloud.ports.get(id),
        _ => None,
    };
    let (from, to) = if reply {
        (goal, sender)
    } else {
        (sender, goal)
    };
    let rules = loss
        .way
        .iter()
        .rev()
        .filter_map(|s| s.rule.as_deref())
        .take(12);
    let rules: Vec<&str> = rules.collect();
    let ingress_table = rules
        .iter()
        .any(|r| r.contains("table=82,") || r.contains("table=81,"));
    let bridged = port_at(world, &loss.step.host, &loss.step.device);
    let last_dev = loss.step.device.as_str();
    match bridged {
        // The frame was leaving the bridge by the tap: towards the guest.
        Some(port) if last_dev.starts_with("tap") && Some(&port.id) == to.map(|p| &p.id) => {
            Some((port, true))
        }
        Some(port) if last_dev.starts_with("qvb") => Some((port, false)),
        _ if ingress_table => to.map(|port| (port, true)),
        _ => from.map(|port| (port, false)),
    }
}

fn group_rule(cloud: &Cloud, plan: &Plan, port: &Port, ingress: bool) -> Fix {
    let Some(ip) = plan.packet.ip() else {
        return Fix::default();
    };
    let name = cloud.call(port);
    let mut groups = port.security_groups.iter();
    let group = groups.next().map_or("GROUP", String::as_str);
    let direction = if ingress { "--ingress" } else { "--egress" };
    let (family, bits) = if ip.src.is_ipv6() {
        ("IPv6", 128)
    } else {
        ("IPv4", 32)
    };
    let other = if ingress { ip.src } else { ip.dst };
    let (proto, ports) = words(ip);
    let towards = if ingress { "from" } else { "to" };
    let groups: Vec<&str> = port
        .security_groups
        .iter()
        .filter_map(|id| cloud.groups.get(id))
        .map(|g| g.name.as_str())
        .collect();
    Fix {
        why: Some(match groups.is_empty() {
            true => format!("{name} is in no security group: nothing is allowed {towards} {other}"),
            false => format!(
                "no rule of {name}'s security groups ({}) allows {proto}{ports} {towards} {other}",
                groups.join(", ")
            ),
        }),
        rule: Some(would_accept(port, ip, ingress)),
        command: Some(format!(
            "openstack security group rule create {direction} --ethertype {family} --protocol \
             {proto}{} --remote-ip {other}/{bits} {group}",
            dst_port(ip)
        )),
        ..Fix::default()
    }
}

fn words(ip: &Ip) -> (String, String) {
    let proto = match &ip.load {
        Load::Icmp { .. } => "icmp",
        Load::Icmp6 { .. } => "ipv6-icmp",
        Load::Tcp { .. } => "tcp",
        Load::Udp { .. } => "udp",
        Load::Other(number) => return (number.to_string(), String::new()),
    };
    let ports = ip.load.ports().map(|(_, to)| format!("/{to}"));
    (proto.to_owned(), ports.unwrap_or_default())
}

fn dst_port(ip: &Ip) -> String {
    match ip.load.ports() {
        Some((_, port)) => format!(" --dst-port {port}"),
        None => String::new(),
    }
}

/// The rule of iptables that would accept the packet, whoever sends it.
fn would_accept(port: &Port, ip: &Ip, ingress: bool) -> String {
    let chain = if ingress {
        PortChain::Ingress
    } else {
        PortChain::Egress
    };
    let (proto, _) = words(ip);
    let mut rule = Rule::new(Target::Return, Why::none());
    rule.proto = Some(Maybe::is(proto.clone()));
    if let Some((_, dport)) = ip.load.ports() {
        rule.conditions.push(Condition::Ports {
            module: proto,
            sport: None,
            dport: Some(Maybe::is(PortRange::one(dport))),
            flags: None,
        });
    }
    crate::text::rule(&names::port_chain(chain, &port.id), &rule)
}

//! A small cloud that random steps are taken in: few hosts, few projects, tight pools and quotas,
//! so that commands meet each other.

mod more;
mod routing;

use std::collections::BTreeSet;

use intent::{AgentType, HostName, Kind, State, Timestamp, attrs};
use ledger::{
    Actor, AgentReport, Command, Config, Context, Decision, Liveness, Refusal, VlanRange, decide,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

pub(crate) const HOSTS: [&str; 4] = ["c1", "c2", "c3", "net"];

/// One random wish: what kind of command, and which of what there is it is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    what: u8,
    a: u16,
    b: u16,
    c: u16,
    /// Which hosts' streams break before it, and which hosts connect again.
    connections: u8,
}

impl Step {
    /// Whether a host's stream stands after this step, if it stood before.
    pub(crate) fn is_connected(&self, host: usize, before: bool) -> bool {
        let drawn = self.connections >> (2 * host) & 3;
        if before { drawn != 0 } else { drawn == 3 }
    }
}

impl Arbitrary for Step {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        (
            0..COMMANDS.len() + more::MORE.len(),
            any::<u16>(),
            any::<u16>(),
            any::<u16>(),
            any::<u8>(),
        )
            .prop_map(|(what, a, b, c, connections)| Self {
                what: u8::try_from(what).expect("few commands"),
                a,
                b,
                c,
                connections,
            })
            .boxed()
    }
}

pub(crate) struct World {
    pub(crate) state: State,
    config: Config,
    liveness: Liveness,
    seed: u128,
    now: i64,
}

type Make = fn(&World, Step) -> Option<Command>;

/// What may be wished for; what is wished for more often stands here more often.
const COMMANDS: &[Make] = &[
    World::network,
    World::external_network,
    World::subnet,
    World::subnet,
    World::subnet6,
    World::pool,
    World::port,
    World::port,
    World::bound_port,
    World::bound_port,
    World::bound_port,
    World::change_port,
    World::rebind,
    World::rebind,
    World::addresses,
    World::report,
    World::report,
    World::report,
    World::migrate,
    World::activate,
    World::group,
    World::rule,
    World::rule,
    World::address_group,
    World::share,
    World::router,
    World::router,
    World::interface,
    World::interface,
    World::interface,
    World::gateway,
    World::no_interface,
    World::floating_ip,
    World::associate,
    World::dhcp_port,
    World::schedule,
    World::unschedule,
    World::agent,
    World::reschedule,
    World::change_subnet,
    World::delete_any,
    World::delete_any,
    World::delete_port,
    World::tags,
];

fn pick<T: Copy>(list: &[T], at: u16) -> Option<T> {
    list.get(usize::from(at) % list.len().max(1)).copied()
}

fn map(body: &Value) -> Map<String, Value> {
    body.as_object().cloned().expect("an object")
}

impl World {
    pub(crate) fn new() -> Self {
        let limits = [
            ("network", 12),
            ("port", 60),
            ("router", 6),
            ("floatingip", 5),
        ];
        let config = Config {
            vxlan_vni_ranges: vec![(1, 9)],
            network_vlan_ranges: vec![VlanRange {
                physical_network: "physnet1".to_owned(),
                range: Some((100, 103)),
            }],
            default_quotas: limits.map(|(name, limit)| (name.to_owned(), limit)).into(),
            router_auto_schedule: true,
            allow_automatic_l3agent_failover: true,
            allow_automatic_dhcp_failover: true,
            ..Config::default()
        };
        let mut world = Self {
            state: State::default(),
            config,
            liveness: Liveness::default(),
            seed: 1,
            now: 1_795_210_526,
        };
        world.grant(&Command::Found);
        for host in HOSTS {
            for kind in [AgentType::OpenVswitch, AgentType::L3, AgentType::Dhcp] {
                let report = report_of(kind, host, 0);
                world
                    .liveness
                    .heard
                    .extend(report.id.map(|id| (id, Timestamp(i64::MAX / 2))));
                // This one lets go of what is taken from it; the others never say so.
                if kind == AgentType::L3 && host == "net" {
                    let said = report.id.map(|id| (id, u64::MAX));
                    world.liveness.brought_to.extend(said);
                }
                if kind != AgentType::Dhcp || host == "net" || host == "c1" {
                    world.grant(&Command::ReportAgent(report));
                }
            }
        }
        world.lay_ground();
        world
    }

    fn grant(&mut self, command: &Command) {
        let decision = self.decide(&actor(0), command);
        self.state = decision.expect("the world's beginning is granted").state;
    }

    pub(crate) fn decide(&mut self, actor: &Actor, command: &Command) -> Result<Decision, Refusal> {
        self.seed = self
            .seed
            .wrapping_mul(0x2360_ed05_1fc6_5da5)
            .wrapping_add(1);
        self.now += 1;
        let context = Context {
            now: Timestamp(self.now),
            seed: self.seed,
            config: &self.config,
            liveness: &self.liveness,
        };
        decide(&self.state, actor, command, &context)
    }

    /// Who asks for what, if there is what the step is about and the API would pass it on.
    pub(crate) fn command(&self, step: &Step) -> Option<(Actor, Command)> {
        let mut wishes = COMMANDS.iter().chain(more::MORE);
        let make = wishes.nth(usize::from(step.what))?;
        let command = make(self, *step)?;
        Some((actor(step.c), command))
    }

    fn keys(&self, kind: Kind) -> Vec<String> {
        let objects = self.state.objects().filter(|object| object.kind() == kind);
        objects.map(|object| object.key()).collect()
    }

    fn one(&self, kind: Kind, at: u16) -> Option<String> {
        let keys = self.keys(kind);
        keys.get(usize::from(at) % keys.len().max(1)).cloned()
    }

    fn create(kind: Kind, body: &Value) -> Option<Command> {
        let draft = attrs::table_of(kind)?.read_create(map(body), "p").ok()?;
        Some(Command::Create {
            kind,
            drafts: vec![draft],
        })
    }

    fn update(kind: Kind, key: String, body: &Value) -> Option<Command> {
        let draft = attrs::table_of(kind)?.read_update(map(body)).ok()?;
        Some(Command::Update {
            kind,
            key,
            draft,
            if_match: None,
        })
    }

    fn network(&self, step: Step) -> Option<Command> {
        let mut body = json!({"shared": step.a.is_multiple_of(5), "project_id": project(step.b)});
        if step.a.is_multiple_of(7) {
            body["provider:network_type"] = json!("vlan");
            body["provider:physical_network"] = json!("physnet1");
        }
        Self::create(Kind::Network, &body)
    }

    fn external_network(&self, step: Step) -> Option<Command> {
        let name = format!("outside{}", step.a % 2);
        let body = json!({"router:external": true, "provider:network_type": "flat",
                          "provider:physical_network": name});
        Self::create(Kind::Network, &body)
    }

    fn subnet(&self, step: Step) -> Option<Command> {
        let mut body = json!({"network_id": self.one(Kind::Network, step.a)?, "ip_version": 4,
                              "enable_dhcp": !step.c.is_multiple_of(3)});
        match (step.b % 4, self.one(Kind::SubnetPool, step.c)) {
            (0, Some(pool)) => body["subnetpool_id"] = json!(pool),
            _ => body["cidr"] = json!(format!("10.0.{}.0/{}", step.b % 6, 26 + step.c % 4)),
        }
        Self::create(Kind::Subnet, &body)
    }

    fn subnet6(&self, step: Step) -> Option<Command> {
        let mode = pick(&["slaac", "dhcpv6-stateless", "dhcpv6-stateful"], step.b);
        let body = json!({"network_id": self.one(Kind::Network, step.a)?, "ip_version": 6,
                          "cidr": format!("fd00:{}::/64", step.c % 4),
                          "ipv6_ra_mode": mode, "ipv6_address_mode": mode});
        Self::create(Kind::Subnet, &body)
    }

    fn pool(&self, step: Step) -> Option<Command> {
        let body = json!({"name": "pool", "prefixes": [format!("10.{}.0.0/26", 20 + step.a % 3)],
                          "default_prefixlen": 28, "shared": step.b.is_multiple_of(2)});
        Self::create(Kind::SubnetPool, &body)
    }

    fn port_body(&self, step: Step) -> Option<Value> {
        let mut body = json!({"network_id": self.one(Kind::Network, step.a)?,
                              "project_id": project(step.b)});
        if let (0, Some(group)) = (step.b % 2, self.one(Kind::SecurityGroup, step.c)) {
            body["security_groups"] = json!([group]);
        }
        if let (0, Some(subnet)) = (step.c % 5, self.one(Kind::Subnet, step.b)) {
            body["fixed_ips"] = json!([{"subnet_id": subnet}]);
        }
        if step.b % 5 == 1 {
            body["allowed_address_pairs"] = json!([{"ip_address": "10.99.0.0/24"}]);
        }
        Some(body)
    }

    fn port(&self, step: Step) -> Option<Command> {
        Self::create(Kind::Port, &self.port_body(step)?)
    }

    fn bound_port(&self, step: Step) -> Option<Command> {
        let mut body = self.port_body(step)?;
        body["binding:host_id"] = json!(pick(&HOSTS, step.c));
        body["device_owner"] = json!("compute:nova");
        Self::create(Kind::Port, &body)
    }

    fn change_port(&self, step: Step) -> Option<Command> {
        let groups = self.one(Kind::SecurityGroup, step.b);
        let body = match step.c % 5 {
            0 => json!({"name": format!("n{}", step.b), "description": "d"}),
            1 => json!({"security_groups": groups.into_iter().collect::<Vec<_>>()}),
            2 => json!({"port_security_enabled": false, "security_groups": [],
                        "allowed_address_pairs": []}),
            3 => json!({"mac_address": format!("fa:16:3e:00:00:{:02x}", step.b % 4)}),
            _ => json!({"allowed_address_pairs": [{"ip_address": "10.98.0.1"}]}),
        };
        Self::update(Kind::Port, self.one(Kind::Port, step.a)?, &body)
    }

    /// A user's machine's port: what Nova binds.
    fn guest(&self, at: u16) -> Option<String> {
        let ports = self
            .state
            .ports
            .values()
            .filter(|port| !port.is_network_owned());
        let keys: Vec<String> = ports.map(|port| port.id.to_string()).collect();
        keys.get(usize::from(at) % keys.len().max(1)).cloned()
    }

    fn rebind(&self, step: Step) -> Option<Command> {
        let host = pick(&["c1", "c2", "c3", "net", "", "nowhere"], step.b);
        let body = json!({"binding:host_id": host, "device_owner": "compute:nova"});
        Self::update(Kind::Port, self.guest(step.a)?, &body)
    }

    fn addresses(&self, step: Step) -> Option<Command> {
        let fixed = match self.one(Kind::Subnet, step.b) {
            Some(subnet) if !step.c.is_multiple_of(4) => json!([{"subnet_id": subnet}]),
            _ => json!([]),
        };
        Self::update(
            Kind::Port,
            self.one(Kind::Port, step.a)?,
            &json!({"fixed_ips": fixed}),
        )
    }

    fn report(&self, step: Step) -> Option<Command> {
        let host: HostName = pick(&HOSTS, step.a)?.into();
        let here: Vec<_> = self.state.index.ports_of_host.of(&host).copied().collect();
        let (up, down): (Vec<_>, Vec<_>) = here
            .into_iter()
            .enumerate()
            .partition(|(at, _)| (step.b >> (at % 16)) & 1 == 1);
        let ids = |list: Vec<(usize, _)>| list.into_iter().map(|(_, id)| id).collect();
        let down = if step.c.is_multiple_of(3) {
            down
        } else {
            Vec::new()
        };
        let waiting = self.state.ports.values().filter(|port| port.awaits_dhcp);
        let dhcp = waiting
            .map(|port| port.id)
            .take(usize::from(step.c % 9))
            .collect();
        Some(Command::ReportPorts {
            host,
            up: ids(up),
            down: ids(down),
            dhcp,
        })
    }

    fn migrate(&self, step: Step) -> Option<Command> {
        let body = json!({"host": pick(&HOSTS, step.b)});
        Some(Command::CreateBinding {
            port: self.guest(step.a)?,
            draft: attrs::BINDING.read_create(map(&body), "").ok()?,
        })
    }

    fn activate(&self, step: Step) -> Option<Command> {
        let ports = self
            .state
            .ports
            .values()
            .filter(|port| port.bindings.len() > 1);
        let ports: Vec<_> = ports.collect();
        let port = ports.get(usize::from(step.a) % ports.len().max(1))?;
        let binding = port
            .bindings
            .get(usize::from(step.b) % port.bindings.len())?;
        let (port, host) = (port.id.to_string(), binding.host.to_string());
        Some(match step.c % 2 {
            0 => Command::ActivateBinding { port, host },
            _ => Command::DeleteBinding { port, host },
        })
    }

    fn group(&self, step: Step) -> Option<Command> {
        let body = json!({"name": format!("g{}", step.a % 3), "project_id": project(step.b)});
        Self::create(Kind::SecurityGroup, &body)
    }

    fn rule(&self, step: Step) -> Option<Command> {
        let mut body = json!({"security_group_id": self.one(Kind::SecurityGroup, step.a)?,
                              "direction": "ingress", "protocol": "tcp",
                              "port_range_min": step.c % 9 + 1, "port_range_max": step.c % 9 + 1});
        match (step.b % 3, self.one(Kind::AddressGroup, step.b)) {
            (0, Some(group)) => body["remote_address_group_id"] = json!(group),
            (1, _) => body["remote_group_id"] = json!(self.one(Kind::SecurityGroup, step.b)?),
            _ => {}
        }
        Self::create(Kind::SecurityGroupRule, &body)
    }

    fn address_group(&self, step: Step) -> Option<Command> {
        if let (true, Some(group)) = (
            step.a.is_multiple_of(2),
            self.one(Kind::AddressGroup, step.b),
        ) {
            let body = json!({"addresses": [format!("192.0.2.{}/32", step.c % 8)]});
            return Some(match step.c % 2 {
                0 => Command::AddAddresses { group, body },
                _ => Command::RemoveAddresses { group, body },
            });
        }
        Self::create(
            Kind::AddressGroup,
            &json!({"name": "a", "addresses": ["192.0.2.0/28"]}),
        )
    }

    fn share(&self, step: Step) -> Option<Command> {
        let body = json!({"object_type": "network", "action": "access_as_shared",
                          "object_id": self.one(Kind::Network, step.a)?,
                          "target_tenant": "*"});
        Self::create(Kind::RbacPolicy, &body)
    }

    fn agent(&self, step: Step) -> Option<Command> {
        let kind = pick(
            &[AgentType::OpenVswitch, AgentType::L3, AgentType::Dhcp],
            step.b,
        )?;
        if step.c.is_multiple_of(4) {
            return Some(deletion(Kind::Agent, self.one(Kind::Agent, step.a)?));
        }
        Some(Command::ReportAgent(report_of(
            kind,
            pick(&HOSTS, step.a)?,
            step.c,
        )))
    }

    fn reschedule(&self, _: Step) -> Option<Command> {
        Some(Command::Reschedule)
    }

    fn change_subnet(&self, step: Step) -> Option<Command> {
        let body = match step.c % 3 {
            0 => json!({"enable_dhcp": step.b.is_multiple_of(2)}),
            1 => json!({"name": "s", "dns_nameservers": ["9.9.9.9"]}),
            _ => json!({"gateway_ip": null}),
        };
        Self::update(Kind::Subnet, self.one(Kind::Subnet, step.a)?, &body)
    }

    fn delete_any(&self, step: Step) -> Option<Command> {
        const KINDS: [Kind; 11] = [
            Kind::AddressScope,
            Kind::Network,
            Kind::Subnet,
            Kind::SubnetPool,
            Kind::Router,
            Kind::FloatingIp,
            Kind::SecurityGroup,
            Kind::SecurityGroupRule,
            Kind::AddressGroup,
            Kind::RbacPolicy,
            Kind::Port,
        ];
        let kind = pick(&KINDS, step.b)?;
        Some(deletion(kind, self.one(kind, step.a)?))
    }

    fn delete_port(&self, step: Step) -> Option<Command> {
        Some(deletion(Kind::Port, self.one(Kind::Port, step.a)?))
    }

    fn tags(&self, step: Step) -> Option<Command> {
        let kind = pick(&[Kind::Port, Kind::Network, Kind::Router], step.b)?;
        Some(Command::ReplaceTags {
            kind,
            key: self.one(kind, step.a)?,
            tags: vec![format!("t{}", step.c % 3)],
        })
    }
}

fn deletion(kind: Kind, key: String) -> Command {
    Command::Delete {
        kind,
        key,
        if_match: None,
    }
}

fn project(at: u16) -> &'static str {
    ["p", "p", "q"][usize::from(at) % 3]
}

/// An administrator, mostly; else a user of one project or another.
fn actor(at: u16) -> Actor {
    Actor {
        project: project(at).into(),
        user: "u".to_owned(),
        roles: BTreeSet::new(),
        is_admin: !at.is_multiple_of(4),
    }
}

fn report_of(agent_type: AgentType, host: &str, variant: u16) -> AgentReport {
    let id = Uuid::new_v5(
        &Uuid::NAMESPACE_DNS,
        format!("{agent_type} {host}").as_bytes(),
    );
    let mode = match (host, variant % 3) {
        ("net", _) => "dvr_snat",
        (_, 1) => "legacy",
        _ => "dvr",
    };
    let configurations = match agent_type {
        AgentType::OpenVswitch => json!({
            "tunnel_types": ["vxlan"], "bridge_mappings": {"physnet1": "br-phy", "outside0": "br-ex"},
            "tunneling_ip": format!("10.0.0.{}", variant % 3 + 1),
        }),
        AgentType::L3 => json!({"agent_mode": mode}),
        _ => json!({}),
    };
    AgentReport {
        id: Some(intent::Id::new(id)),
        agent_type,
        host: host.into(),
        availability_zone: Some("nova".to_owned()),
        configurations: map(&configurations),
        started: variant == 0,
    }
}

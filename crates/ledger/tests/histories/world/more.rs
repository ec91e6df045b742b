//! Wishes that come less often: what is changed after it was made, and what hardly any host hears
//! of, which must be as true of the views.

use std::{collections::BTreeMap, net::IpAddr};

use intent::{AgentType, Kind, RouterId, attrs, owner};
use ledger::Command;
use serde_json::{Value, json};

use super::{HOSTS, Make, Step, World, map, pick, project};

pub(super) const MORE: &[Make] = &[
    World::change_network,
    World::change_router,
    World::change_group,
    World::change_floating_ip,
    World::change_address_group,
    World::change_pool,
    World::change_agent,
    World::routes,
    World::scope,
    World::prefixes,
    World::onboard,
    World::share_other,
    World::unshare,
    World::quota,
    World::topology,
    World::default_group,
    World::default_rule,
    World::report_routers,
    World::change_binding,
    World::some_tags,
    World::reach,
    World::reach,
    World::reach,
    World::lose_switch,
    World::delete_unused,
];

impl World {
    fn change_network(&self, step: Step) -> Option<Command> {
        let on = step.b.is_multiple_of(2);
        let body = match step.c % 5 {
            0 => json!({"admin_state_up": on}),
            1 => json!({"mtu": 1200 + step.b % 200}),
            2 => json!({"shared": on}),
            3 => json!({"port_security_enabled": on}),
            _ => json!({"is_default": on}),
        };
        Self::update(Kind::Network, self.one(Kind::Network, step.a)?, &body)
    }

    /// A router is made distributed, or not, while it is down.
    fn change_router(&self, step: Step) -> Option<Command> {
        let on = step.b.is_multiple_of(2);
        let body = match step.c % 3 {
            0 => json!({"admin_state_up": on}),
            1 => json!({"admin_state_up": false, "distributed": on}),
            _ => json!({"name": format!("r{}", step.b % 9)}),
        };
        Self::update(Kind::Router, self.one(Kind::Router, step.a)?, &body)
    }

    fn change_group(&self, step: Step) -> Option<Command> {
        let body = match step.c % 2 {
            0 => json!({"description": format!("d{}", step.b)}),
            _ => json!({"stateful": step.b.is_multiple_of(2)}),
        };
        let group = self.one(Kind::SecurityGroup, step.a)?;
        Self::update(Kind::SecurityGroup, group, &body)
    }

    fn change_floating_ip(&self, step: Step) -> Option<Command> {
        let body = json!({"description": format!("d{}", step.b)});
        Self::update(Kind::FloatingIp, self.one(Kind::FloatingIp, step.a)?, &body)
    }

    fn change_address_group(&self, step: Step) -> Option<Command> {
        let body = json!({"name": format!("a{}", step.b)});
        let group = self.one(Kind::AddressGroup, step.a)?;
        Self::update(Kind::AddressGroup, group, &body)
    }

    fn change_pool(&self, step: Step) -> Option<Command> {
        let scope = self.one(Kind::AddressScope, step.b);
        let body = match step.c % 4 {
            0 => json!({"address_scope_id": null}),
            1 | 2 => json!({"address_scope_id": scope?}),
            _ => json!({"is_default": step.b.is_multiple_of(2)}),
        };
        Self::update(Kind::SubnetPool, self.one(Kind::SubnetPool, step.a)?, &body)
    }

    fn change_agent(&self, step: Step) -> Option<Command> {
        let body = json!({"admin_state_up": !step.b.is_multiple_of(3)});
        Self::update(Kind::Agent, self.one(Kind::Agent, step.a)?, &body)
    }

    /// An address beside one of a router's own.
    fn next_hop(&self, router: &str) -> Option<IpAddr> {
        let mut ports = self.state.ports.values();
        let own = ports.find(|port| {
            &*port.device_id == router && owner::ROUTER_INTERFACES.contains(&&*port.device_owner)
        })?;
        match own.fixed_ips.first()?.ip_address {
            IpAddr::V4(it) => Some(IpAddr::from(it.to_bits().wrapping_add(3).to_be_bytes())),
            IpAddr::V6(it) => Some(IpAddr::from(it.to_bits().wrapping_add(3).to_be_bytes())),
        }
    }

    fn routes(&self, step: Step) -> Option<Command> {
        let router = self.one(Kind::Router, step.a)?;
        if step.c.is_multiple_of(2) {
            let id: RouterId = router.parse().ok()?;
            let routes = &self.state.routers.get(&id)?.routes;
            let body = json!({ "routes": [routes.first()?] });
            return Some(Command::RemoveExtraRoutes { router, body });
        }
        let destination = format!("192.168.{}.0/24", step.b % 4);
        let route = json!({"destination": destination, "nexthop": self.next_hop(&router)?});
        let body = json!({ "routes": [route] });
        Some(Command::AddExtraRoutes { router, body })
    }

    fn scope(&self, step: Step) -> Option<Command> {
        let body = json!({"name": "s", "ip_version": 4, "shared": step.a.is_multiple_of(2)});
        Self::create(Kind::AddressScope, &body)
    }

    fn prefixes(&self, step: Step) -> Option<Command> {
        let pool = self.one(Kind::SubnetPool, step.a)?;
        let body = json!({"prefixes": [format!("10.{}.1.0/26", 30 + step.b % 3)]});
        Some(match step.c % 3 {
            0 => Command::RemovePrefixes { pool, body },
            _ => Command::AddPrefixes { pool, body },
        })
    }

    fn onboard(&self, step: Step) -> Option<Command> {
        Some(Command::OnboardSubnets {
            pool: self.one(Kind::SubnetPool, step.a)?,
            body: json!({"network_id": self.one(Kind::Network, step.b)?}),
        })
    }

    fn share_other(&self, step: Step) -> Option<Command> {
        let shared = [
            ("security_group", Kind::SecurityGroup, "access_as_shared"),
            ("address_scope", Kind::AddressScope, "access_as_shared"),
            ("address_group", Kind::AddressGroup, "access_as_shared"),
            ("subnetpool", Kind::SubnetPool, "access_as_shared"),
            ("network", Kind::Network, "access_as_external"),
        ];
        let (word, kind, action) = pick(&shared, step.b)?;
        let body = json!({"object_type": word, "action": action,
                          "object_id": self.one(kind, step.a)?,
                          "target_tenant": project(step.c)});
        Self::create(Kind::RbacPolicy, &body)
    }

    fn unshare(&self, step: Step) -> Option<Command> {
        let policy = self.one(Kind::RbacPolicy, step.a)?;
        Self::update(
            Kind::RbacPolicy,
            policy,
            &json!({"target_tenant": project(step.b)}),
        )
    }

    fn quota(&self, step: Step) -> Option<Command> {
        let project = project(step.a).into();
        if step.c.is_multiple_of(3) {
            return Some(Command::ResetQuota { project });
        }
        let limits: BTreeMap<&str, Value> = [("port", json!(20 + step.b % 40))].into();
        let draft = limits.into_iter().collect();
        Some(Command::SetQuota { project, draft })
    }

    fn topology(&self, step: Step) -> Option<Command> {
        if let (0 | 1, Some(project)) = (step.c % 3, self.one(Kind::AutoTopology, step.a)) {
            let project = project.as_str().into();
            return Some(Command::DeleteAutoTopology { project });
        }
        let project = project(step.a).into();
        Some(match step.c % 3 {
            1 => Command::CheckAutoTopology { project },
            _ => Command::AutoTopology { project },
        })
    }

    fn default_group(&self, step: Step) -> Option<Command> {
        let project = ["p", "q", "new"][usize::from(step.a) % 3].into();
        Some(Command::EnsureDefaultGroup { project })
    }

    fn default_rule(&self, step: Step) -> Option<Command> {
        if step.c.is_multiple_of(2) {
            return Some(super::deletion(
                Kind::DefaultRule,
                self.one(Kind::DefaultRule, step.a)?,
            ));
        }
        let body = json!({"direction": "ingress", "protocol": "udp",
                          "port_range_min": step.b % 9 + 1, "port_range_max": step.b % 9 + 1});
        Self::create(Kind::DefaultRule, &body)
    }

    fn report_routers(&self, step: Step) -> Option<Command> {
        let routers: Vec<RouterId> = self.state.routers.keys().copied().collect();
        let chosen = |bit: u16| {
            let all = routers.iter().enumerate();
            let some = all.filter(move |(at, _)| (step.b >> (at % 5 * 3)) & 7 == bit);
            some.map(|(_, id)| *id).collect()
        };
        Some(Command::ReportRouters {
            host: pick(&HOSTS, step.a)?.into(),
            up: chosen(1),
            down: chosen(2),
            failed: chosen(3),
        })
    }

    fn change_binding(&self, step: Step) -> Option<Command> {
        let port = self.guest(step.a)?;
        let body = json!({"profile": {"n": step.b % 5}});
        Some(Command::UpdateBinding {
            port,
            host: pick(&HOSTS, step.b)?.to_owned(),
            draft: attrs::BINDING.read_update(map(&body)).ok()?,
        })
    }

    fn some_tags(&self, step: Step) -> Option<Command> {
        let kinds = [
            Kind::Subnet,
            Kind::SecurityGroup,
            Kind::FloatingIp,
            Kind::SubnetPool,
            Kind::Port,
        ];
        let kind = pick(&kinds, step.b)?;
        let key = self.one(kind, step.a)?;
        let tag = format!("t{}", step.c % 2);
        Some(match step.c % 3 {
            0 => Command::RemoveTag { kind, key, tag },
            _ => Command::AddTags {
                kind,
                key,
                tags: vec![tag],
            },
        })
    }

    /// A way out and where addresses come from: short histories would hardly come to have them.
    pub(super) fn lay_ground(&mut self) {
        let network = json!({"router:external": true, "is_default": true,
                             "provider:network_type": "flat",
                             "provider:physical_network": "outside0"});
        self.grant(&Self::create(Kind::Network, &network).expect("a network"));
        let network = self.one(Kind::Network, 0).expect("it is there");
        let subnet = json!({"network_id": network, "ip_version": 4, "enable_dhcp": false,
                            "cidr": "203.0.113.0/27"});
        self.grant(&Self::create(Kind::Subnet, &subnet).expect("a subnet"));
        let pool = json!({"name": "pool", "prefixes": ["10.40.0.0/24"], "is_default": true,
                          "default_prefixlen": 28, "shared": true});
        self.grant(&Self::create(Kind::SubnetPool, &pool).expect("a pool"));
        for (at, distributed) in [(0, false), (1, true)] {
            self.lay_inside(&network, at, distributed);
        }
    }

    /// A network behind a router with a gateway.
    fn lay_inside(&mut self, external: &str, at: u16, distributed: bool) {
        let newest = |world: &World, kind, before: &[String]| -> String {
            let keys = world.keys(kind).into_iter();
            let mut new = keys.filter(|key| !before.contains(key));
            new.next().expect("it was made")
        };
        let before = [Kind::Network, Kind::Subnet, Kind::Router].map(|kind| self.keys(kind));
        self.grant(&Self::create(Kind::Network, &json!({"project_id": "p"})).expect("a network"));
        let network = newest(self, Kind::Network, &before[0]);
        let subnet = json!({"network_id": network, "ip_version": 4,
                            "cidr": format!("10.50.{at}.0/26")});
        self.grant(&Self::create(Kind::Subnet, &subnet).expect("a subnet"));
        let subnet = newest(self, Kind::Subnet, &before[1]);
        let router = json!({"distributed": distributed, "project_id": "p",
                            "external_gateway_info": {"network_id": external}});
        self.grant(&Self::create(Kind::Router, &router).expect("a router"));
        let router = newest(self, Kind::Router, &before[2]);
        let body = json!({ "subnet_id": subnet });
        self.grant(&Command::AddRouterInterface { router, body });
    }

    /// A floating IP for a port that a router leads to.
    fn reach(&self, step: Step) -> Option<Command> {
        let ports = self.state.ports.values();
        let routed = &self.state.index.router_ports_of_network;
        let ports: Vec<_> = ports
            .filter(|port| !port.is_network_owned() && routed.any(&port.network_id))
            .collect();
        let port = ports.get(usize::from(step.b) % ports.len().max(1))?;
        let floating_ip = self.one(Kind::FloatingIp, step.a)?;
        Self::update(Kind::FloatingIp, floating_ip, &json!({"port_id": port.id}))
    }

    /// A host that is taken out of service.
    fn lose_switch(&self, step: Step) -> Option<Command> {
        let agents = self.state.agents.values();
        let switches: Vec<_> = agents
            .filter(|agent| agent.agent_type == AgentType::OpenVswitch)
            .collect();
        let agent = switches.get(usize::from(step.a) % switches.len().max(1))?;
        Some(super::deletion(Kind::Agent, agent.id.to_string()))
    }

    /// What hardly ever is free to be deleted when it is drawn among all.
    fn delete_unused(&self, step: Step) -> Option<Command> {
        let (state, index) = (&self.state, &self.state.index);
        let holds = |port: &intent::Port, id: &intent::SubnetId| {
            port.fixed_ips.iter().any(|fixed| fixed.subnet_id == *id)
        };
        let used = |id: &intent::SubnetId| state.ports.values().any(|port| holds(port, id));
        let groups = state.security_groups.values();
        let mut groups = groups
            .filter(|group| !group.is_default)
            .map(|group| group.id);
        let (kind, key) = match step.c % 5 {
            0 => (
                Kind::AddressGroup,
                state
                    .address_groups
                    .keys()
                    .find(|id| !index.rules_of_address_group.any(*id))?
                    .to_string(),
            ),
            1 => (
                Kind::Subnet,
                state.subnets.keys().find(|id| !used(id))?.to_string(),
            ),
            2 => (
                Kind::AddressScope,
                state
                    .address_scopes
                    .keys()
                    .find(|id| !index.pools_of_scope.any(*id))?
                    .to_string(),
            ),
            3 => (
                Kind::Network,
                state
                    .networks
                    .keys()
                    .find(|id| !index.ports_of_network.any(*id))?
                    .to_string(),
            ),
            _ => (
                Kind::SecurityGroup,
                groups.find(|id| !index.ports_of_group.any(id))?.to_string(),
            ),
        };
        Some(super::deletion(kind, key))
    }
}

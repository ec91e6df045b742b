//! Wishes about routers, floating IPs, and where they and DHCP are served.

use intent::{DeviceId, Kind, NetworkId};
use ledger::Command;
use serde_json::{Value, json};

use super::{Step, World, pick, project};

impl World {
    fn external_networks(&self) -> Vec<NetworkId> {
        let networks = self.state.networks.values();
        let external = networks.filter(|network| network.external);
        external.map(|network| network.id).collect()
    }

    pub(super) fn router(&self, step: Step) -> Option<Command> {
        let mut body = json!({"name": "r", "project_id": project(step.b)});
        if step.a.is_multiple_of(2) {
            body["distributed"] = json!(true);
        }
        Self::create(Kind::Router, &body)
    }

    pub(super) fn interface(&self, step: Step) -> Option<Command> {
        Some(Command::AddRouterInterface {
            router: self.one(Kind::Router, step.a)?,
            body: json!({"subnet_id": self.one(Kind::Subnet, step.b)?}),
        })
    }

    pub(super) fn no_interface(&self, step: Step) -> Option<Command> {
        let ports = self.state.ports.values();
        let inside: Vec<_> = ports
            .filter(|port| port.is_router_port() && port.device_owner.contains("interface"))
            .collect();
        let port = inside.get(usize::from(step.a) % inside.len().max(1))?;
        Some(Command::RemoveRouterInterface {
            router: DeviceId::to_string(&port.device_id),
            body: json!({"port_id": port.id}),
        })
    }

    pub(super) fn gateway(&self, step: Step) -> Option<Command> {
        let outside = self.external_networks();
        let gateway = match pick(&outside, step.b) {
            Some(network) if !step.c.is_multiple_of(4) => json!({"network_id": network}),
            _ => Value::Null,
        };
        let body = json!({"external_gateway_info": gateway});
        Self::update(Kind::Router, self.one(Kind::Router, step.a)?, &body)
    }

    pub(super) fn floating_ip(&self, step: Step) -> Option<Command> {
        let outside = self.external_networks();
        let mut body = json!({"floating_network_id": pick(&outside, step.a)?,
                              "project_id": project(step.c)});
        if let (0, Some(port)) = (step.b % 2, self.guest(step.b)) {
            body["port_id"] = json!(port);
        }
        Self::create(Kind::FloatingIp, &body)
    }

    pub(super) fn associate(&self, step: Step) -> Option<Command> {
        let port = if step.c.is_multiple_of(3) {
            None
        } else {
            self.guest(step.b)
        };
        let body = json!({"port_id": port});
        Self::update(Kind::FloatingIp, self.one(Kind::FloatingIp, step.a)?, &body)
    }

    pub(super) fn dhcp_port(&self, step: Step) -> Option<Command> {
        let bindings: Vec<_> = self.state.dhcp_bindings.values().collect();
        let binding = bindings.get(usize::from(step.a) % bindings.len().max(1))?;
        Some(Command::EnsureDhcpPort {
            host: self.state.agents.get(&binding.agent_id)?.host.clone(),
            network: binding.network_id,
        })
    }

    pub(super) fn schedule(&self, step: Step) -> Option<Command> {
        let agent = self.one(Kind::Agent, step.a)?;
        Some(match step.c % 2 {
            0 => Command::ScheduleNetwork {
                agent,
                network: self.one(Kind::Network, step.b)?,
            },
            _ => Command::ScheduleRouter {
                agent,
                router: self.one(Kind::Router, step.b)?,
            },
        })
    }

    pub(super) fn unschedule(&self, step: Step) -> Option<Command> {
        if step.c.is_multiple_of(2) {
            let bindings: Vec<_> = self.state.dhcp_bindings.values().collect();
            let binding = bindings.get(usize::from(step.a) % bindings.len().max(1))?;
            return Some(Command::UnscheduleNetwork {
                agent: binding.agent_id.to_string(),
                network: binding.network_id.to_string(),
            });
        }
        let bindings: Vec<_> = self.state.router_bindings.values().collect();
        let binding = bindings.get(usize::from(step.a) % bindings.len().max(1))?;
        Some(Command::UnscheduleRouter {
            agent: binding.agent_id.to_string(),
            router: binding.router_id.to_string(),
        })
    }
}

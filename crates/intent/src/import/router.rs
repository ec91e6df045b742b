//! Routers and floating IPs.

use std::net::IpAddr;

use serde_json::Value;

use super::{Import, read::*};
use crate::{id::*, noun::*, state::*};

impl Import {
    pub(super) fn router(&mut self, item: &Value) -> Option<()> {
        let id: RouterId = parsed(item, "id")?;
        self.state.put(Object::from(Router {
            id,
            project_id: project(item),
            name: text(item, "name").unwrap_or_default(),
            admin_state_up: flag(item, "admin_state_up", true),
            distributed: flag(item, "distributed", false),
            gateway: self.gateway(id, item.get("external_gateway_info")),
            routes: routes(item, "routes"),
            availability_zone_hints: texts(item, "availability_zone_hints"),
            enable_ndp_proxy: flag(item, "enable_ndp_proxy", false),
            flavor_id: text(item, "flavor_id"),
            meta: meta(item),
        }));
        Some(())
    }

    fn gateway(&self, router: RouterId, info: Option<&Value>) -> Option<Gateway> {
        let info = info?;
        let port = self.device_port(&router.to_string(), owner::ROUTER_GATEWAY)?;
        Some(Gateway {
            network_id: parsed(info, "network_id")?,
            port_id: port,
            enable_snat: flag(info, "enable_snat", true),
        })
    }

    /// The port of a device with this owner.
    fn device_port(&self, device: &str, owner: &str) -> Option<PortId> {
        let device = DeviceId::from(device);
        let mut ports = self.state.index.ports_of_device.of(&device);
        let owned = |id: &&PortId| {
            let port = self.state.ports.get(*id);
            port.is_some_and(|port| port.device_owner == owner)
        };
        ports.find(owned).copied()
    }

    pub(super) fn floating_ip(&mut self, item: &Value) -> Option<()> {
        let id = text(item, "id")?;
        let floating_port_id = self.device_port(&id, owner::FLOATING_IP)?;
        // A port forwarding ties a floating IP that leads to no port to a router all the same.
        let port_id: Option<PortId> = parsed(item, "port_id");
        let router_id = port_id.and_then(|_| parsed(item, "router_id"));
        self.state.put(Object::from(FloatingIp {
            id: id.parse().ok()?,
            project_id: project(item),
            floating_network_id: parsed(item, "floating_network_id")?,
            floating_ip_address: parsed::<IpAddr>(item, "floating_ip_address")?,
            floating_port_id,
            port_id,
            fixed_ip_address: parsed(item, "fixed_ip_address"),
            router_id,
            status: parsed(item, "status").unwrap_or(FloatingIpStatus::Down),
            dns_name: text(item, "dns_name").unwrap_or_default(),
            dns_domain: text(item, "dns_domain").unwrap_or_default(),
            meta: meta(item),
        }));
        Some(())
    }
}

//! Who asks: the guest by the namespace that its request came into and the address it came from.

use std::net::IpAddr;

use host::NsName;
use intent::{DeviceId, NetworkId, Port, PortId, ProjectId, RouterId, View};

/// The guest that asks, as the metadata service is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) port: PortId,
    pub(super) instance: DeviceId,
    pub(super) project: ProjectId,
    pub(super) address: IpAddr,
}

/// What a namespace serves, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Serves {
    Router(RouterId),
    Network(NetworkId),
}

impl Serves {
    pub(super) fn of(ns: &NsName) -> Option<Serves> {
        let name = ns.as_str();
        if let Some(id) = name.strip_prefix("qrouter-") {
            return id.parse().ok().map(Serves::Router);
        }
        let id = name.strip_prefix("qdhcp-")?;
        id.parse().ok().map(Serves::Network)
    }

    /// The networks whose guests may ask here.
    fn networks(self, view: &View) -> Vec<NetworkId> {
        match self {
            Serves::Network(network) => vec![network],
            Serves::Router(router) => {
                let device = router.to_string();
                let ports = view.ports.values();
                let own = ports.filter(|port| {
                    port.device_id == device.as_str()
                        && intent::owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str())
                });
                own.map(|port| port.network_id).collect()
            }
        }
    }
}

/// The guest with this source address. A guest without an IPv4 address asks from its link-local
/// one, which its MAC makes.
pub(super) fn find(view: &View, serves: Serves, source: IpAddr) -> Option<Guest> {
    let source = source.to_canonical();
    let networks = serves.networks(view);
    let mut ports = view
        .ports
        .values()
        .filter(|port| networks.contains(&port.network_id));
    let port = ports.find(|port| speaks_for(port, source))?;
    if port.device_id.is_empty() || port.is_network_owned() {
        return None;
    }
    Some(Guest {
        port: port.id,
        instance: port.device_id.clone(),
        project: port.project_id.clone(),
        address: source,
    })
}

fn speaks_for(port: &Port, source: IpAddr) -> bool {
    let own = port.addresses().any(|address| address == source);
    own || matches!(source, IpAddr::V6(source) if source == port.mac_address.link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use intent::import::import;
    use serde_json::json;

    const RED: &str = "b795f5d9-0400-490f-b200-7e6beb38701f";
    const BLUE: &str = "70aa5117-eaaf-4879-b9b8-57567413cd4b";
    const ROUTER: &str = "002ea5ce-d115-4711-97f7-24f6888df313";
    const SUBNET: &str = "33a48f1f-4485-4935-a495-97d0fc52ef28";

    fn port(id: &str, network: &str, ip: &str, owner: &str, device: &str) -> serde_json::Value {
        json!({"id": id, "network_id": network, "mac_address": "fa:16:3e:00:00:11",
            "project_id": "p", "device_owner": owner, "device_id": device,
            "fixed_ips": [{"subnet_id": SUBNET, "ip_address": ip}]})
    }

    fn view() -> View {
        let guest = "compute:nova";
        let documents = json!({"ports": [
            port("0f6432ed-0cb0-45ef-b2d8-000000000001", RED, "10.1.0.11", guest, "vm-red"),
            port("0f6432ed-0cb0-45ef-b2d8-000000000002", BLUE, "10.1.0.11", guest, "vm-blue"),
            port("0f6432ed-0cb0-45ef-b2d8-000000000003", RED, "10.1.0.1", "network:router_interface", ROUTER),
        ]});
        let (state, notes) = import([&documents], []);
        assert!(notes.is_empty(), "{notes:?}");
        let ports = state.ports.iter();
        View {
            ports: ports.map(|(id, port)| (*id, port.clone())).collect(),
            ..View::default()
        }
    }

    fn asks(ns: &str, source: &str) -> Option<String> {
        let serves = Serves::of(&NsName::new(ns))?;
        let source = source.parse().expect("an address");
        find(&view(), serves, source).map(|guest| guest.instance.to_string())
    }

    #[test]
    fn the_same_address_in_two_networks_is_two_guests() {
        let (router, dhcp) = (format!("qrouter-{ROUTER}"), format!("qdhcp-{BLUE}"));
        assert_eq!(asks(&router, "10.1.0.11").as_deref(), Some("vm-red"));
        assert_eq!(asks(&dhcp, "10.1.0.11").as_deref(), Some("vm-blue"));
    }

    #[test]
    fn a_dual_stack_listener_and_a_link_local_source_name_the_guest_too() {
        let router = format!("qrouter-{ROUTER}");
        assert_eq!(asks(&router, "::ffff:10.1.0.11").as_deref(), Some("vm-red"));
        assert_eq!(
            asks(&router, "fe80::f816:3eff:fe00:11").as_deref(),
            Some("vm-red")
        );
    }

    #[test]
    fn who_is_no_guest_is_nobody() {
        let router = format!("qrouter-{ROUTER}");
        assert_eq!(asks(&router, "10.1.0.1"), None, "a router");
        assert_eq!(asks(&router, "10.1.0.99"), None, "nobody's address");
        assert_eq!(asks("fip-x", "10.1.0.11"), None, "no such service there");
    }
}

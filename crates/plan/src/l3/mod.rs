//! Routers: for each one that has a part here, the namespaces that route for it.
//!
//! - `site`: one namespace with its devices, addresses and settings, whatever it is for.
//! - `routes`: the way out, extra routes.
//! - `filters`: iptables: NAT, metadata, address scopes.
//! - `memo`: what filters are made from.
//! - `radvd`: who announces IPv6 prefixes.
//!
//! A centralized router is one site, `qrouter-ROUTER`; a distributed one is several (`dvr`), and
//! what leads from them to the outside is the host's `fip-NETWORK` (`fip`).

mod dvr;
mod filters;
mod fip;
mod memo;
mod radvd;
mod routes;
mod site;

use host::names;
use intent::{FloatingIp, Port, Router, owner, view::RouterRole};

use crate::Draft;
pub(crate) use memo::From;
pub(crate) use routes::way_out;
use site::{By, Outside, Site};

pub fn emit(draft: &mut Draft<'_>) {
    draft.memo.l3.begin();
    for role in draft.view.router_roles.values() {
        let Some(router) = draft.view.routers.get(&role.router_id) else {
            draft.note(
                format!("router {}", role.router_id),
                "has a part here, but is not known",
            );
            continue;
        };
        if router.admin_state_up {
            place(draft, router, role);
        }
    }
}

fn place<'a>(draft: &mut Draft<'a>, router: &'a Router, role: &RouterRole) {
    let id = router.id.to_string();
    let in_one_place = if role.centralized {
        centralized(draft, router);
        names::qrouter(&id)
    } else {
        dvr::emit(draft, router, role);
        names::snat(&id)
    };
    if role.contested {
        draft.contested.insert(in_one_place);
    }
}

/// The whole router in one namespace.
fn centralized<'a>(draft: &mut Draft<'a>, router: &'a Router) {
    let id = router.id.to_string();
    let site = Site {
        router,
        ns: names::qrouter(&id),
        inside: interfaces(draft, router),
        outside: gateway(draft, router),
        floating: floating_ips(draft, router),
        metadata: true,
    };
    site::emit(draft, &site);
    routes::emit(draft, &site);
    filters::emit(draft, &site);
    radvd::emit(draft, &site);
}

/// The router's interfaces towards subnets, with their devices.
fn interfaces<'a>(draft: &Draft<'a>, router: &Router) -> Vec<(String, &'a Port)> {
    let device = router.id.to_string();
    let ports = draft.view.ports.values().map(|port| &**port);
    ports
        .filter(|port| port.device_id == device.as_str())
        .filter(|port| owner::ROUTER_INTERFACES.contains(&port.device_owner.as_str()))
        .map(|port| (names::qr(&port.id.to_string()), port))
        .collect()
}

fn gateway<'a>(draft: &mut Draft<'a>, router: &Router) -> Option<Outside<'a>> {
    let gateway = router.gateway.as_ref()?;
    let Some(port) = draft.view.ports.get(&gateway.port_id) else {
        let about = format!("router {}", router.id);
        draft.note(
            about,
            format!("its gateway port {} is not known", gateway.port_id),
        );
        return None;
    };
    Some(Outside {
        device: names::qg(&port.id.to_string()),
        port,
        by: By::Gateway {
            snat: gateway.enable_snat,
        },
    })
}

/// The router's floating IPs that lead to a port, in the order of their ids.
fn floating_ips<'a>(draft: &Draft<'a>, router: &Router) -> Vec<&'a FloatingIp> {
    let all = draft
        .view
        .floating_ips
        .values()
        .map(|floating_ip| &**floating_ip);
    all.filter(|floating_ip| floating_ip.router_id == Some(router.id))
        .filter(|floating_ip| floating_ip.fixed_ip_address.is_some())
        .collect()
}

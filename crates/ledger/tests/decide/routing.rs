//! Routers with their interfaces and routes, and floating IPs.

use crate::rig::{Rig, deletion, member};
use intent::{Kind, Object, Router, owner};
use ledger::Command;
use serde_json::{Value, json};

pub(crate) fn add(router: &str, body: Value) -> Command {
    Command::AddRouterInterface {
        router: router.to_owned(),
        body,
    }
}

fn remove(router: &str, body: Value) -> Command {
    Command::RemoveRouterInterface {
        router: router.to_owned(),
        body,
    }
}

fn router(rig: &Rig, id: &str) -> Router {
    match rig.object(Kind::Router, id) {
        Object::Router(router) => Router::clone(&router),
        other => panic!("no router but {other:?}"),
    }
}

#[test]
fn an_interface_takes_the_gateways_address_and_no_other_may_overlap() {
    let mut rig = Rig::new();
    let (_, subnet) = rig.network("10.0.0.0/24");
    let (_, twin) = rig.network("10.0.0.0/16");
    let r1 = rig.create(Kind::Router, json!({"name": "r1"}));
    let r2 = rig.create(Kind::Router, json!({"name": "r2"}));
    rig.act(add(&r1, json!({"subnet_id": subnet})));
    let interface = rig.ports_of_owner(owner::ROUTER_INTERFACE)[0].clone();
    assert_eq!(interface.fixed_ips[0].ip_address.to_string(), "10.0.0.1");
    assert_eq!(
        rig.refuses(add(&r1, json!({"subnet_id": subnet}))),
        format!(
            "400 BadRequest: Bad router request: Router already has a port on subnet {subnet}."
        )
    );
    assert_eq!(
        rig.refuses(add(&r1, json!({"subnet_id": twin}))),
        format!(
            "400 BadRequest: Bad router request: Cidr 10.0.0.0/16 of subnet {twin} overlaps with \
             cidr 10.0.0.0/24 of subnet {subnet}."
        )
    );
    assert_eq!(
        rig.refuses(add(&r2, json!({"subnet_id": subnet}))),
        format!(
            "409 IpAddressAlreadyAllocated: IP address 10.0.0.1 already allocated in subnet {subnet}"
        )
    );
    assert_eq!(
        rig.refuses(deletion(Kind::Router, &r1)),
        format!(
            "409 RouterInUse: Router {r1} has ports still attached: {}",
            interface.id
        )
    );
    rig.act(remove(&r1, json!({"port_id": interface.id})));
    rig.delete(Kind::Router, &r1);
    assert!(rig.ports_of_owner(owner::ROUTER_INTERFACE).is_empty());
}

#[test]
fn no_port_becomes_a_routers_by_saying_so() {
    let mut rig = Rig::new();
    let (network, _) = rig.network("10.0.0.0/24");
    let router = rig.create(Kind::Router, json!({}));
    let mine = rig.create(Kind::Port, json!({"network_id": network}));
    let asks_for_it = format!(
        "400 BadRequest: Bad ports request: A port becomes router {router}'s by \
         add_router_interface or as its gateway."
    );
    for owner in owner::ROUTER_PORTS {
        let claim = json!({"device_owner": owner, "device_id": router});
        let mut new = claim.clone();
        new["network_id"] = json!(network);
        let new = rig.creation(Kind::Port, &new);
        assert_eq!(rig.refuses(new), asks_for_it);
        let change = rig.change(Kind::Port, &mine, &claim);
        assert_eq!(rig.refuses(change), asks_for_it);
    }
    // With no such router it is but a word.
    rig.update(
        Kind::Port,
        &mine,
        json!({"device_owner": owner::ROUTER_INTERFACE, "device_id": "elsewhere"}),
    );
    let other = rig.create(Kind::Port, json!({"network_id": network}));
    rig.act(add(&router, json!({"port_id": other})));
    let interface = rig.ports_of_owner(owner::ROUTER_INTERFACE);
    let interface = interface.iter().find(|port| *port.device_id == *router);
    let interface = interface.expect("the router took it").id.to_string();
    rig.update(
        Kind::Port,
        &interface,
        json!({"device_owner": owner::ROUTER_INTERFACE, "device_id": router, "name": "same"}),
    );

    rig.actor = member("stranger");
    let theirs = rig.create(Kind::Network, json!({}));
    let claim = json!({
        "network_id": theirs, "device_owner": owner::ROUTER_INTERFACE, "device_id": router,
    });
    let claim = rig.creation(Kind::Port, &claim);
    assert_eq!(
        rig.refuses(claim),
        format!(
            "409 DeviceIDNotOwnedByTenant: The following device_id {router} is not owned by your \
             tenant or matches another tenants router."
        )
    );
}

#[test]
fn floating_ips_that_lead_nowhere_go_with_their_network() {
    let mut rig = Rig::new();
    let public = rig.public();
    let (network, subnet) = rig.network("10.0.0.0/24");
    let gateway = json!({"external_gateway_info": {"network_id": public}});
    let router = rig.create(Kind::Router, gateway);
    rig.act(add(&router, json!({"subnet_id": subnet})));
    let port = rig.create(Kind::Port, json!({"network_id": network}));
    rig.create(Kind::FloatingIp, json!({"floating_network_id": public}));
    let used = json!({"floating_network_id": public, "port_id": port});
    let used = rig.create(Kind::FloatingIp, used);
    let refused = rig.refuses(deletion(Kind::Network, &public));
    assert!(refused.starts_with("409 NetworkInUse"), "{refused}");
    assert_eq!(rig.state.floating_ips.len(), 2, "a refusal changes nothing");

    rig.update(Kind::FloatingIp, &used, json!({"port_id": null}));
    rig.update(Kind::Router, &router, json!({"external_gateway_info": {}}));
    rig.delete(Kind::Network, &public);
    assert!(rig.state.floating_ips.is_empty());
    assert!(rig.ports_of_owner(owner::FLOATING_IP).is_empty());
}

#[test]
fn a_floating_ip_finds_its_router_and_keeps_what_it_needs() {
    let mut rig = Rig::new();
    let public = rig.public();
    let (network, subnet) = rig.network("10.0.0.0/24");
    let port = rig.create(Kind::Port, json!({"network_id": network}));
    let wish = json!({"floating_network_id": public, "port_id": port});
    let command = rig.creation(Kind::FloatingIp, &wish);
    assert_eq!(
        rig.refuses(command.clone()),
        format!(
            "404 ExternalGatewayForFloatingIPNotFound: External network {public} is not reachable \
             from subnet {subnet}.  Therefore, cannot associate Port {port} with a Floating IP."
        )
    );
    assert!(
        rig.ports_of_owner(owner::FLOATING_IP).is_empty(),
        "a refusal leaves nothing"
    );
    let gateway = json!({"external_gateway_info": {"network_id": public}});
    let r1 = rig.create(Kind::Router, gateway);
    rig.act(add(&r1, json!({"subnet_id": subnet})));
    let floating = rig.create(Kind::FloatingIp, wish);
    let refused = rig.refuses(command);
    assert!(
        refused.starts_with("409 FloatingIPPortAlreadyAssociated"),
        "{refused}"
    );
    let refused = rig.refuses(remove(&r1, json!({"subnet_id": subnet})));
    assert!(
        refused.starts_with("409 RouterInterfaceInUseByFloatingIP"),
        "{refused}"
    );
    let clear = rig.change(Kind::Router, &r1, &json!({"external_gateway_info": null}));
    let refused = rig.refuses(clear);
    assert!(
        refused.starts_with("409 RouterExternalGatewayInUseByFloatingIp"),
        "{refused}"
    );

    rig.delete(Kind::Port, &port);
    let Object::FloatingIp(alone) = rig.object(Kind::FloatingIp, &floating) else {
        panic!("no floating IP");
    };
    assert_eq!((alone.port_id, alone.router_id), (None, None));
    assert_eq!(alone.meta.revision_number, 1);
    rig.delete(Kind::FloatingIp, &floating);
    assert!(rig.ports_of_owner(owner::FLOATING_IP).is_empty());
}

#[test]
fn routes_lead_to_neighbours_and_hold_their_interface() {
    let mut rig = Rig::new();
    let (_, subnet) = rig.network("10.0.0.0/24");
    let r1 = rig.create(Kind::Router, json!({}));
    rig.act(add(&r1, json!({"subnet_id": subnet})));
    let routes = |hop: &str| json!({"routes": [{"destination": "10.7.0.0/24", "nexthop": hop}]});
    for hop in ["99.0.0.1", "10.0.0.1"] {
        let command = rig.change(Kind::Router, &r1, &routes(hop));
        assert_eq!(
            rig.refuses(command),
            format!(
                "400 InvalidRoutes: Invalid format for routes: [{{'destination': '10.7.0.0/24', \
                 'nexthop': '{hop}'}}], the nexthop is not connected with router"
            )
        );
    }
    rig.update(Kind::Router, &r1, routes("10.0.0.9"));
    let more = json!({"routes": [{"destination": "10.8.0.0/24", "nexthop": "10.0.0.9"}]});
    rig.act(Command::AddExtraRoutes {
        router: r1.clone(),
        body: more.clone(),
    });
    assert_eq!(router(&rig, &r1).routes.len(), 2);
    let refused = rig.refuses(remove(&r1, json!({"subnet_id": subnet})));
    assert!(
        refused.starts_with("409 RouterInterfaceInUseByRoute"),
        "{refused}"
    );
    rig.act(Command::RemoveExtraRoutes {
        router: r1.clone(),
        body: more,
    });
    assert_eq!(router(&rig, &r1).routes.len(), 1);
    let bad = json!({"routes": [{"destination": "x", "nexthop": "10.0.0.9"}]});
    let refused = rig.refuses(Command::AddExtraRoutes {
        router: r1,
        body: bad,
    });
    assert_eq!(
        refused,
        "400 HTTPBadRequest: Invalid input for routes. Reason: 'x' is not a valid CIDR."
    );
}

#[test]
fn a_member_adds_only_what_it_may() {
    let mut rig = Rig::new();
    let shared = rig.create(Kind::Network, json!({"shared": true}));
    let body = json!({"network_id": shared, "ip_version": 4, "cidr": "10.0.0.0/24"});
    let subnet = rig.create(Kind::Subnet, body);
    let (_, hidden) = rig.network("10.1.0.0/24");
    rig.actor = member("demo");
    let id = rig.create(Kind::Router, json!({}));
    assert_eq!(
        rig.refuses(add(&id, json!({"subnet_id": subnet}))),
        format!(
            "400 BadRequest: Bad router request: Cannot add interface to router because subnet \
             {subnet} is not owned by project making the request."
        )
    );
    assert_eq!(
        rig.refuses(add(&id, json!({"subnet_id": hidden}))),
        format!("404 SubnetNotFound: Subnet {hidden} could not be found.")
    );
}

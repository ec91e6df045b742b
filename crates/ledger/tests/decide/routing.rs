//! Routers, floating IPs, and where they and DHCP are served.

use crate::rig::{Rig, deletion, host_of, member};
use intent::{AgentType, FloatingIpStatus, Kind, Object, PortStatus, Router, owner};
use ledger::{Command, agents_of_router, routers_of_agent};
use serde_json::{Value, json};

fn add(router: &str, body: Value) -> Command {
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
fn a_router_goes_to_the_least_loaded_agent_and_its_ports_with_it() {
    let mut rig = Rig::new();
    for host in ["a", "b"] {
        rig.host(host, "legacy");
    }
    let public = rig.public();
    let mut hosts = Vec::new();
    for at in 0..4 {
        let (_, subnet) = rig.network(&format!("10.{at}.0.0/24"));
        let gateway = json!({"external_gateway_info": {"network_id": public}});
        let id = rig.create(Kind::Router, gateway);
        rig.act(add(&id, json!({"subnet_id": subnet})));
        let bound: Vec<&str> = rig
            .state
            .ports
            .values()
            .filter(|port| *port.device_id == *id)
            .map(|port| host_of(port))
            .collect();
        assert_eq!(bound.len(), 2);
        assert_eq!(bound[0], bound[1], "gateway and interface are together");
        hosts.push(bound[0].to_owned());
    }
    hosts.sort_unstable();
    assert_eq!(hosts, ["a", "a", "b", "b"]);
}

#[test]
fn routers_leave_a_dead_agent_only_where_the_settings_say_so() {
    let mut rig = Rig::new();
    rig.host("a", "legacy");
    let (_, subnet) = rig.network("10.0.0.0/24");
    let id = rig.create(Kind::Router, json!({}));
    rig.act(add(&id, json!({"subnet_id": subnet})));
    rig.host("b", "legacy");
    let dead = *rig
        .state
        .index
        .agents_of_router
        .one(&id.parse().expect("id"))
        .expect("placed");
    rig.die(dead);
    let host = |rig: &Rig| {
        let port = rig.ports_of_owner(owner::ROUTER_INTERFACE)[0];
        host_of(port).to_owned()
    };
    rig.act(Command::Reschedule);
    assert_eq!(host(&rig), "a");
    rig.config.allow_automatic_l3agent_failover = true;
    rig.act(Command::Reschedule);
    assert_eq!(host(&rig), "b");
}

#[test]
fn a_dhcp_server_has_the_lowest_address_and_follows_the_subnets_and_the_failover() {
    let mut rig = Rig::new();
    rig.host("a", "legacy");
    let (network, first) = rig.network("10.0.0.0/24");
    let addresses = |rig: &Rig| -> Vec<String> {
        let ports = rig.ports_of_owner(owner::DHCP);
        assert_eq!(ports.len(), 1);
        ports[0]
            .addresses()
            .map(|address| address.to_string())
            .collect()
    };
    assert_eq!(addresses(&rig), ["10.0.0.2"]);
    assert_eq!(host_of(rig.ports_of_owner(owner::DHCP)[0]), "a");
    let more = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.1.0/24"});
    let second = rig.create(Kind::Subnet, more);
    assert_eq!(addresses(&rig), ["10.0.0.2", "10.0.1.2"]);
    rig.update(Kind::Subnet, &second, json!({"enable_dhcp": false}));
    assert_eq!(addresses(&rig), ["10.0.0.2"]);

    rig.host("b", "legacy");
    let network_id = network.parse().expect("id");
    let dead = *rig
        .state
        .index
        .dhcp_agents_of_network
        .one(&network_id)
        .expect("served");
    rig.die(dead);
    rig.config.allow_automatic_dhcp_failover = true;
    rig.act(Command::Reschedule);
    assert_eq!(
        addresses(&rig),
        ["10.0.0.2"],
        "the server keeps its address"
    );
    assert_eq!(host_of(rig.ports_of_owner(owner::DHCP)[0]), "b");

    rig.update(Kind::Subnet, &first, json!({"enable_dhcp": false}));
    assert!(rig.ports_of_owner(owner::DHCP).is_empty());
    rig.update(Kind::Subnet, &first, json!({"enable_dhcp": true}));
    assert_eq!(addresses(&rig), ["10.0.0.2"]);
}

#[test]
fn a_network_goes_with_its_servers_whatever_its_subnets() {
    let mut rig = Rig::new();
    rig.host("a", "legacy");
    let (network, _) = rig.network("10.0.0.0/24");
    for cidr in ["10.0.1.0/24", "10.0.2.0/24"] {
        let more = json!({"network_id": network, "ip_version": 4, "cidr": cidr});
        rig.create(Kind::Subnet, more);
    }
    assert_eq!(rig.ports_of_owner(owner::DHCP)[0].fixed_ips.len(), 3);
    rig.delete(Kind::Network, &network);
    assert!(rig.state.ports.is_empty());
    assert!(rig.state.subnets.is_empty());
    assert!(rig.state.dhcp_bindings.is_empty());
}

#[test]
fn an_agent_that_is_deleted_leaves_nothing_bound_to_it() {
    let mut rig = Rig::new();
    rig.host("a", "legacy");
    let (_, subnet) = rig.network("10.0.0.0/24");
    let id = rig.create(Kind::Router, json!({}));
    rig.act(add(&id, json!({"subnet_id": subnet})));
    let agents: Vec<String> = rig.state.agents.keys().map(ToString::to_string).collect();
    for agent in agents {
        rig.delete(Kind::Agent, &agent);
    }
    assert!(rig.state.dhcp_bindings.is_empty());
    assert!(rig.state.router_bindings.is_empty());
    assert!(
        rig.state
            .ports
            .values()
            .all(|port| port.bindings.is_empty())
    );
}

#[test]
fn networks_and_routers_are_given_and_taken_by_hand() {
    let mut rig = Rig::new();
    rig.config.router_auto_schedule = false;
    rig.config.network_auto_schedule = false;
    let l3 = rig
        .agent(AgentType::L3, "a", &json!({"agent_mode": "legacy"}))
        .to_string();
    let dvr = rig
        .agent(AgentType::L3, "b", &json!({"agent_mode": "dvr"}))
        .to_string();
    let dhcp = rig.agent(AgentType::Dhcp, "a", &json!({})).to_string();
    let (network, _) = rig.network("10.0.0.0/24");
    let id = rig.create(Kind::Router, json!({}));
    let to = |agent: &str, router: &str| Command::ScheduleRouter {
        agent: agent.to_owned(),
        router: router.to_owned(),
    };
    assert_eq!(
        rig.refuses(to(&dvr, &id)),
        "409 DVRL3CannotAssignToDvrAgent: Not allowed to manually assign a router to an agent in \
         'dvr' mode."
    );
    assert_eq!(
        rig.refuses(to(&dhcp, &id)),
        format!("404 InvalidL3Agent: Agent {dhcp} is not a L3 Agent or has been disabled")
    );
    rig.act(to(&l3, &id));
    rig.act(to(&l3, &id));
    let off = Command::UnscheduleRouter {
        agent: l3.clone(),
        router: id.clone(),
    };
    rig.act(off.clone());
    assert_eq!(
        rig.refuses(off),
        format!("409 RouterNotHostedByL3Agent: The router {id} is not hosted by L3 agent {l3}.")
    );
    let on = Command::ScheduleNetwork {
        agent: dhcp.clone(),
        network: network.clone(),
    };
    rig.act(on.clone());
    assert_eq!(rig.ports_of_owner(owner::DHCP).len(), 1);
    assert_eq!(
        rig.refuses(on),
        format!(
            "409 NetworkHostedByDHCPAgent: The network {network} has been already hosted by the \
             DHCP Agent {dhcp}."
        )
    );
    rig.act(Command::UnscheduleNetwork {
        agent: dhcp,
        network: network.clone(),
    });
    assert_eq!(
        *rig.ports_of_owner(owner::DHCP)[0].device_id,
        *owner::RESERVED_DHCP_DEVICE
    );
    rig.delete(Kind::Network, &network);
}

/// The steps that make a distributed router with a floating IP at home, in any order.
const STEPS: usize = 5;

struct Dvr {
    rig: Rig,
    public: String,
    router: String,
    subnets: [String; 2],
    port: String,
}

impl Dvr {
    fn new() -> Self {
        let mut rig = Rig::new();
        rig.host("net", "dvr_snat");
        for host in ["c1", "c2"] {
            rig.host(host, "dvr");
        }
        let public = rig.public();
        let (network, first) = rig.network("10.0.0.0/24");
        let (_, second) = rig.network("10.0.1.0/24");
        let router = rig.create(Kind::Router, json!({"distributed": true}));
        let guest = json!({"network_id": network, "device_owner": "compute:nova"});
        let port = rig.create(Kind::Port, guest);
        Self {
            rig,
            public,
            router,
            subnets: [first, second],
            port,
        }
    }

    /// `false`: not yet, it needs another step first.
    fn step(&mut self, step: usize) -> bool {
        let command = match step {
            0 => {
                let info = json!({"external_gateway_info": {"network_id": self.public}});
                self.rig.change(Kind::Router, &self.router, &info)
            }
            1 | 2 => add(&self.router, json!({"subnet_id": self.subnets[step - 1]})),
            3 => self
                .rig
                .change(Kind::Port, &self.port, &json!({"binding:host_id": "c1"})),
            _ => {
                let wish = json!({"floating_network_id": self.public, "port_id": self.port});
                self.rig.creation(Kind::FloatingIp, &wish)
            }
        };
        self.rig.try_to(&command).is_ok()
    }

    /// What stands in the end: the ports of the kinds that only distributed routers have.
    fn standing(&self) -> Vec<(String, String, usize)> {
        let mut all: Vec<_> = [
            owner::ROUTER_INTERFACE_DVR,
            owner::ROUTER_SNAT,
            owner::ROUTER_GATEWAY,
            owner::FIP_AGENT_GATEWAY,
        ]
        .into_iter()
        .flat_map(|owner| self.rig.ports_of_owner(owner))
        .map(|port| {
            let host = host_of(port).to_owned();
            (port.device_owner.clone(), host, port.fixed_ips.len())
        })
        .collect();
        all.sort();
        all
    }
}

fn orders() -> Vec<Vec<usize>> {
    fn grow(done: &[usize], all: &mut Vec<Vec<usize>>) {
        if done.len() == STEPS {
            all.push(done.to_vec());
        }
        for next in (0..STEPS).filter(|next| !done.contains(next)) {
            grow(&[done, &[next]].concat(), all);
        }
    }
    let mut all = Vec::new();
    grow(&[], &mut all);
    all
}

#[test]
fn a_distributed_router_stands_the_same_whatever_the_order_of_calls() {
    let expected: Vec<(String, String, usize)> = [
        (owner::FIP_AGENT_GATEWAY, "c1"),
        (owner::ROUTER_SNAT, "net"),
        (owner::ROUTER_SNAT, "net"),
        (owner::ROUTER_GATEWAY, "net"),
        (owner::ROUTER_INTERFACE_DVR, ""),
        (owner::ROUTER_INTERFACE_DVR, ""),
    ]
    .map(|(owner, host)| (owner.to_owned(), host.to_owned(), 1))
    .into();
    let mut expected = expected;
    expected.sort();
    for order in orders() {
        let mut dvr = Dvr::new();
        let mut waiting = Vec::new();
        for step in &order {
            if !dvr.step(*step) {
                waiting.push(*step);
            }
        }
        for step in waiting {
            assert!(dvr.step(step), "{order:?}: step {step} at last");
        }
        assert_eq!(dvr.standing(), expected, "{order:?}");
    }
}

fn dvr() -> Dvr {
    let mut dvr = Dvr::new();
    for step in 0..STEPS {
        assert!(dvr.step(step));
    }
    dvr
}

#[test]
fn a_floating_ip_takes_its_hosts_gateway_port_along() {
    let mut dvr = dvr();
    let gateways = |dvr: &Dvr| -> Vec<String> {
        let ports = dvr.rig.ports_of_owner(owner::FIP_AGENT_GATEWAY);
        ports.iter().map(|port| host_of(port).to_owned()).collect()
    };
    assert_eq!(gateways(&dvr), ["c1"]);
    let port = dvr.port.clone();
    dvr.rig
        .update(Kind::Port, &port, json!({"binding:host_id": "c2"}));
    assert_eq!(gateways(&dvr), ["c2"]);
    dvr.rig.delete(Kind::Port, &port);
    assert!(gateways(&dvr).is_empty());
}

#[test]
fn a_floating_ip_is_up_when_the_host_that_serves_it_says_so() {
    let mut dvr = dvr();
    let id = dvr.router.parse().expect("id");
    let status = |dvr: &Dvr| {
        dvr.rig
            .state
            .floating_ips
            .values()
            .next()
            .expect("one")
            .status
    };
    for (host, expected) in [
        ("net", FloatingIpStatus::Down),
        ("c1", FloatingIpStatus::Active),
    ] {
        dvr.rig.act(Command::ReportRouters {
            host: host.into(),
            up: vec![id],
            down: vec![],
            failed: vec![],
        });
        assert_eq!(status(&dvr), expected, "{host}");
    }
    for (host, expected) in [
        ("net", FloatingIpStatus::Active),
        ("c1", FloatingIpStatus::Error),
    ] {
        dvr.rig.act(Command::ReportRouters {
            host: host.into(),
            up: vec![],
            down: vec![],
            failed: vec![id],
        });
        assert_eq!(status(&dvr), expected, "{host}");
    }
    let interfaces = dvr.rig.ports_of_owner(owner::ROUTER_INTERFACE_DVR);
    assert!(
        interfaces
            .iter()
            .all(|port| port.status == PortStatus::Active)
    );
}

#[test]
fn interfaces_of_a_distributed_router_are_down_when_it_is_on_no_host() {
    let mut rig = Rig::new();
    rig.host("c1", "dvr");
    rig.host("c2", "dvr");
    let (network, subnet) = rig.network("10.0.0.0/24");
    let id = rig.create(Kind::Router, json!({"distributed": true}));
    rig.act(add(&id, json!({"subnet_id": subnet})));
    let report = |rig: &mut Rig, host: &str| {
        rig.act(Command::ReportRouters {
            host: host.into(),
            up: vec![id.parse().expect("id")],
            down: vec![],
            failed: vec![],
        });
    };
    let status = |rig: &Rig| rig.ports_of_owner(owner::ROUTER_INTERFACE_DVR)[0].status;
    let mut guests = Vec::new();
    for host in ["c1", "c2"] {
        let guest = json!({
            "network_id": network, "device_owner": "compute:nova", "binding:host_id": host,
        });
        guests.push(rig.create(Kind::Port, guest));
        report(&mut rig, host);
        assert_eq!(status(&rig), PortStatus::Active);
    }
    for (on, expected) in [(false, PortStatus::Down), (true, PortStatus::Down)] {
        rig.update(Kind::Router, &id, json!({"admin_state_up": on}));
        assert_eq!(status(&rig), expected, "until a host says that it stands");
    }
    report(&mut rig, "c1");
    assert_eq!(status(&rig), PortStatus::Active);
    rig.delete(Kind::Port, &guests[0]);
    assert_eq!(status(&rig), PortStatus::Active, "c2 has it still");
    rig.update(Kind::Port, &guests[1], json!({"binding:host_id": ""}));
    assert_eq!(status(&rig), PortStatus::Down);
    report(&mut rig, "c2");
    assert_eq!(status(&rig), PortStatus::Down, "said too late");
}

#[test]
fn every_host_of_a_distributed_router_is_listed() {
    let dvr = dvr();
    let id = dvr.router.parse().expect("id");
    let state = &dvr.rig.state;
    let agents = agents_of_router(state, id);
    let mut hosts: Vec<&str> = agents.iter().map(|id| &*state.agents[id].host).collect();
    hosts.sort_unstable();
    assert_eq!(hosts, ["c1", "net"]);
    for agent in agents {
        assert!(routers_of_agent(state, agent).contains(&id));
    }
}

#[test]
fn a_router_becomes_distributed_and_centralized_again_while_it_is_down() {
    let mut dvr = dvr();
    let id = dvr.router.clone();
    let back = dvr
        .rig
        .change(Kind::Router, &id, &json!({"distributed": false}));
    let refused = dvr.rig.refuses(back);
    assert!(refused.contains("Cannot change the 'distributed' attribute of active routers"));
    dvr.rig
        .update(Kind::Router, &id, json!({"admin_state_up": false}));
    dvr.rig
        .update(Kind::Router, &id, json!({"distributed": false}));
    assert!(dvr.rig.ports_of_owner(owner::ROUTER_SNAT).is_empty());
    assert!(dvr.rig.ports_of_owner(owner::FIP_AGENT_GATEWAY).is_empty());
    let interfaces = dvr.rig.ports_of_owner(owner::ROUTER_INTERFACE);
    assert!(interfaces.iter().all(|port| host_of(port) == "net"));
    assert_eq!(interfaces.len(), 2);
    dvr.rig
        .update(Kind::Router, &id, json!({"distributed": true}));
    assert_eq!(dvr.rig.ports_of_owner(owner::ROUTER_SNAT).len(), 2);
    assert_eq!(dvr.rig.ports_of_owner(owner::FIP_AGENT_GATEWAY).len(), 1);
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

//! Where routers and DHCP are served, and what becomes of them when that host is dead.

use crate::rig::{Rig, host_of};
use crate::routing::add;
use intent::{AgentType, Kind, owner};
use ledger::Command;
use serde_json::json;

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
    rig.act(Command::Reschedule);
    assert_eq!(host_of(rig.ports_of_owner(owner::DHCP)[0]), "a");
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

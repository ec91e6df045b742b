//! Distributed routers: the same whatever the order of calls, on every host that has guests.

use crate::rig::{Rig, host_of};
use crate::routing::add;
use intent::{FloatingIpStatus, Kind, PortStatus, owner};
use ledger::{Command, agents_of_router, routers_of_agent};
use serde_json::json;

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

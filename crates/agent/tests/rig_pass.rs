//! Whole passes on a host of a recorded scenario: from an empty switch to what is wanted, nothing
//! written when nothing differs, and damage healed.
#[path = "../../plan/tests/reference/mod.rs"]
mod reference;
mod rig;

use std::time::{Duration, Instant};

use agent::config::Config;
use agent::machine::Applied;
use agent::run::{Agent, Pass};
use agent::server::Held;
use intent::view;
use rig::Rig;

/// A compute host of the scenario, its guests' ports plugged.
fn host(rig: &Rig) -> Config {
    configure(rig, "c1", "['l2']")
}

/// A host of the scenario.
fn configure(rig: &Rig, name: &str, roles: &str) -> Config {
    let state = reference::intent("vxlan-legacy-hybrid");
    let view = view(&state, &name.into());
    rig.run(&[
        "ovs-vsctl",
        "--no-wait",
        "add-br",
        "br-ex",
        "--",
        "set",
        "Bridge",
        "br-ex",
        "datapath_type=netdev",
    ]);
    for port in view
        .ports
        .values()
        .filter(|port| port.is_bound_to(name) && !port.is_network_owned())
    {
        let id = port.id.to_string();
        let (qvo, qvb) = (host::names::qvo(&id), host::names::qvb(&id));
        rig.run(&[
            "ip", "link", "add", &qvo, "type", "veth", "peer", "name", &qvb,
        ]);
        let iface = format!("external_ids:iface-id={id}");
        rig.run(&[
            "ovs-vsctl",
            "--no-wait",
            "--may-exist",
            "add-br",
            "br-int",
            "--",
            "set",
            "Bridge",
            "br-int",
            "datapath_type=netdev",
            "--",
            "add-port",
            "br-int",
            &qvo,
            "--",
            "set",
            "Interface",
            &qvo,
            &iface,
        ]);
    }
    let held = Held {
        view: view.into(),
        store: "store".to_owned(),
        revision: 1,
        mark: None,
    };
    held.save(&rig.path("state/view.json"))
        .expect("a kept view");
    let text = format!(
        "host = '{name}'\nserver = 'unix:/nowhere'\novsdb = '{}'\nstate_dir = '{}'\ndatapath_type = 'netdev'\n\
         local_ip = '10.30.0.12'\ntunnel_types = ['vxlan']\nroles = {roles}\nbridge_mappings = {{ external = 'br-ex' }}",
        rig.path("db.sock").display(),
        rig.path("state").display(),
    );
    toml::from_str(&text).expect("a configuration")
}

async fn ready(config: Config) -> Agent {
    let mut agent = Agent::look(config, false).expect("an agent");
    agent.ready(Duration::from_secs(5)).await.expect("a host");
    agent
}

/// Passes until nothing is left to do.
async fn converge(agent: &mut Agent) -> Pass {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        agent.take_events().await;
        let pass = agent.pass(true).await.expect("a pass");
        if pass.left.is_empty()
            && pass.waiting.is_empty()
            && pass.problems.is_empty()
            && pass.applied == Applied::default()
        {
            return pass;
        }
        let left: Vec<String> = pass.left.iter().map(ToString::to_string).collect();
        assert!(
            Instant::now() < end,
            "left {left:#?}\nwaiting {:#?}\nproblems {:#?}",
            pass.waiting,
            pass.problems
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_host_becomes_what_is_wanted_and_a_restart_writes_nothing() {
    let rig = Rig::start();
    let config = host(&rig);
    let mut agent = ready(config.clone()).await;
    converge(&mut agent).await;
    let rules = rig.run(&["iptables-save"]);
    assert!(
        rules.contains("-A neutron-openvswi-sg-chain -j ACCEPT"),
        "{rules}"
    );
    assert!(rig.run(&["ipset", "list", "-n"]).contains("NIPv4"));
    let flows = rig.ofctl("dump-flows", "br-tun", &["--no-stats", "--names"]);
    assert!(flows.contains("vxlan-0a1e000b"), "{flows}");
    drop(agent);

    let mut agent = ready(config).await;
    let pass = agent.pass(true).await.expect("a pass");
    assert_eq!(pass.applied, Applied::default(), "a restart writes nothing");
    assert_eq!(pass.left, []);
}

/// Passes, as events ask for them, until something holds again.
async fn heal(what: &str, agent: &mut Agent, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !holds() {
        assert!(Instant::now() < end, "{what} within ten seconds");
        tokio::time::sleep(Duration::from_millis(10)).await;
        agent.take_events().await;
        agent.pass(true).await;
    }
}

fn rules(rig: &Rig) -> Vec<String> {
    let text = rig.run(&["iptables-save", "-t", "filter"]);
    text.lines()
        .filter(|line| line.starts_with('-'))
        .map(str::to_owned)
        .collect()
}

/// How many flows a bridge has; none when it can't be asked.
fn flows(rig: &Rig, bridge: &str) -> usize {
    let dump = rig.try_ofctl("dump-flows", bridge, &["--no-stats"]);
    dump.map_or(0, |dump| dump.lines().count())
}

#[tokio::test]
async fn damage_is_healed() {
    let rig = Rig::start();
    let mut agent = ready(host(&rig)).await;
    converge(&mut agent).await;
    let (wanted_rules, wanted_flows) = (rules(&rig), flows(&rig, "br-int"));
    rig.ofctl("del-flows", "br-int", &[]);
    rig.run(&["iptables", "-F", "neutron-openvswi-sg-chain"]);
    rig.run(&["ovs-vsctl", "--no-wait", "del-port", "patch-tun"]);
    heal("rules and flows", &mut agent, || {
        rules(&rig) == wanted_rules && flows(&rig, "br-int") == wanted_flows
    })
    .await;
    assert!(
        rig.run(&["ovs-vsctl", "list-ports", "br-int"])
            .contains("patch-tun")
    );

    let wanted_flows = flows(&rig, "br-tun");
    rig.run(&["ovs-vsctl", "--no-wait", "del-br", "br-tun"]);
    heal("a bridge", &mut agent, || {
        flows(&rig, "br-tun") == wanted_flows
    })
    .await;
}

#[tokio::test]
async fn a_switch_that_was_restarted_gets_everything_back() {
    let mut rig = Rig::start();
    let mut agent = ready(host(&rig)).await;
    converge(&mut agent).await;
    let before = flows(&rig, "br-int");
    rig.kill_switch();
    rig.start_switch();
    heal("flows", &mut agent, || flows(&rig, "br-int") == before).await;
}

#[tokio::test]
async fn a_network_node_serves_dhcp_and_routes_and_a_restart_writes_nothing() {
    let rig = Rig::start();
    let config = configure(&rig, "net", "['l2', 'dhcp', 'l3', 'metadata']");
    let mut agent = ready(config.clone()).await;
    converge(&mut agent).await;
    let namespaces = rig.run(&["ip", "netns", "list"]);
    assert_eq!(namespaces.matches("qdhcp-").count(), 3, "{namespaces}");
    let router = namespaces
        .split_whitespace()
        .find(|name| name.starts_with("qrouter-"))
        .expect("a router");
    let addresses = rig.run(&["ip", "netns", "exec", router, "ip", "-o", "-4", "addr"]);
    assert!(
        addresses.contains("10.1.0.1/24") && addresses.contains("172.24.4."),
        "{addresses}"
    );
    let nat = rig.run(&["ip", "netns", "exec", router, "iptables-save", "-t", "nat"]);
    assert!(nat.contains("neutron-l3-agent-float-snat"), "{nat}");
    assert_eq!(rig.services().len(), 3, "a dnsmasq a network");
    drop(agent);

    let before = rig.services();
    let mut agent = ready(config).await;
    let pass = agent.pass(true).await.expect("a pass");
    let left: Vec<String> = pass.left.iter().map(ToString::to_string).collect();
    // The listeners for metadata are this process's own.
    assert_eq!(
        (
            pass.applied.database,
            pass.applied.flows,
            pass.applied.filters,
            left
        ),
        (0, 0, 0, vec![])
    );
    assert_eq!(rig.services(), before, "the servers go on");
}

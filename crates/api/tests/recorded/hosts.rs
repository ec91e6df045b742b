//! What real Neutrons showed of clouds whose hosts they had programmed, brought over: when our
//! agents come in place of theirs, every port that stands on a host is the one that is wanted there.

use std::{collections::BTreeMap, fs, path::PathBuf};

use api::import::{Answers, Terms, judge};
use intent::{AgentType, Change, DhcpBinding, Object, Port, PortId, State, import::Served, owner};
use ledger::{Actor, AgentReport, Command, Config, Context, Liveness, decide};
use serde_json::Value;

const SCENARIOS: [&str; 4] = [
    "gre-legacy-hybrid",
    "vxlan-dvr-hybrid",
    "vxlan-legacy-hybrid",
    "vxlan-legacy-ovsfw",
];

/// The recorded answers of a scenario. Whole lists are there by their collection, and of each network
/// and router, by its name, the agents that serve it.
fn answers(scenario: &str) -> Answers {
    let folder = format!("../../tests/reference/dataplane/{scenario}/api");
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder);
    let files = fs::read_dir(folder).expect("a folder").map(|entry| {
        let path = entry.expect("a file").path();
        let text = fs::read_to_string(&path).expect("text");
        let name = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        (name, serde_json::from_str(&text).expect("JSON"))
    });
    let files: BTreeMap<String, Value> = files.collect();
    let mut answers = Answers::default();
    let collections = [
        "networks",
        "subnets",
        "subnetpools",
        "ports",
        "routers",
        "floatingips",
        "agents",
        "security_groups",
        "security_group_rules",
    ];
    for plural in collections {
        let file = &files[&plural
            .replace("security_group", "security-group")
            .replace("_rules", "-rules")];
        answers
            .lists
            .insert(plural, file[plural].as_array().expect("a list").clone());
    }
    let id_of = |plural: &str, name: &str| -> String {
        let mut members = answers.of(plural).iter();
        let named = members.find(|it| it["name"] == name).expect("a member");
        named["id"].as_str().expect("an id").to_owned()
    };
    let told = files.iter().filter_map(|(file, answer)| {
        let (kind, rest) = file.split_once('-')?;
        let of = match kind {
            "network" => {
                let id = id_of("networks", rest.strip_suffix("-dhcp-agents")?);
                Served::Network(id.parse().expect("an id"))
            }
            "router" => {
                let id = id_of("routers", rest.strip_suffix("-l3-agents")?);
                Served::Router(id.parse().expect("an id"))
            }
            _ => return None,
        };
        Some((of, answer.clone()))
    });
    answers.told = told.collect();
    answers
}

/// The state after a command, and what the command changed.
fn after(state: &State, command: &Command) -> (State, Vec<Change>) {
    let now = intent::Timestamp(1_795_300_000);
    let liveness = Liveness {
        grace_until: intent::Timestamp(now.0 + 75),
        ..Liveness::default()
    };
    let context = Context {
        now,
        seed: 1,
        config: &Config::default(),
        liveness: &liveness,
    };
    let decision = decide(state, &Actor::system(), command, &context);
    let decision = decision.unwrap_or_else(|refusal| panic!("{command:?}: {refusal:?}"));
    (decision.state, decision.changes)
}

/// All that our agents say when they come: what they are, which servers' ports they want, what stands.
fn agents_come(state: &State) -> Vec<Command> {
    // What the server does by itself before anybody comes.
    let mut commands = vec![Command::Reschedule];
    for agent in state.agents.values() {
        let mut configurations = agent.configurations.clone();
        // Ours do not count what they serve.
        configurations.retain(|_, value| !value.is_number());
        commands.push(Command::ReportAgent(AgentReport {
            id: None,
            agent_type: agent.agent_type,
            host: agent.host.clone(),
            availability_zone: agent.availability_zone.clone(),
            configurations,
            started: true,
        }));
    }
    for DhcpBinding {
        network_id,
        agent_id,
    } in state.dhcp_bindings.values().map(|it| &**it)
    {
        commands.push(Command::EnsureDhcpPort {
            host: state.agents[agent_id].host.clone(),
            network: *network_id,
        });
    }
    let switches = state.agents.values();
    for agent in switches.filter(|it| it.agent_type == AgentType::OpenVswitch) {
        let here = state
            .ports
            .values()
            .filter(|port| port.host() == Some(&agent.host));
        commands.push(Command::ReportPorts {
            host: agent.host.clone(),
            up: here.map(|port| port.id).collect(),
            down: Vec::new(),
            dhcp: Vec::new(),
        });
    }
    commands.push(Command::Reschedule);
    commands
}

/// Ports that are not on a host where they aren't needed: the gateways of agents without a floating
/// IP, which `docs/compatibility.md` has as `fip-namespace-only-where-needed`.
fn is_idle_gateway(state: &State, port: &Port) -> bool {
    let guests = state
        .floating_ips
        .values()
        .filter_map(|it| state.ports.get(&it.port_id?));
    let mut hosts = guests.filter_map(|port| port.host());
    port.device_owner == owner::FIP_AGENT_GATEWAY && !hosts.any(|host| Some(host) == port.host())
}

#[test]
fn our_agents_find_the_ports_of_neutrons() {
    for scenario in SCENARIOS {
        let terms = Terms {
            leave_out: ["dvr_macs".to_owned()].into(),
            ..Terms::default()
        };
        let (imported, report) = judge(&answers(scenario), &terms);
        assert!(report.is_clean(), "{scenario}:\n{report}");
        assert!(!imported.dhcp_bindings.is_empty() && !imported.router_bindings.is_empty());
        let mut state = imported.clone();
        for command in agents_come(&imported) {
            let (next, changes) = after(&state, &command);
            for change in changes {
                let harmless = match &change {
                    Change::Put(object) => matches!(object, Object::Agent(_) | Object::DvrMac(_)),
                    Change::Delete { key, .. } => {
                        let id: Option<PortId> = key.parse().ok();
                        let port = id.and_then(|id| imported.ports.get(&id));
                        port.is_some_and(|port| is_idle_gateway(&imported, port))
                    }
                };
                assert!(harmless, "{scenario}: {command:?} changes {change:?}");
            }
            state = next;
        }
    }
}

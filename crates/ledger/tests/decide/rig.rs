//! A ledger to try commands on: requests go through the attribute tables as the API's do, and each
//! granted command becomes the state that the next is judged on.

use std::collections::BTreeSet;

use intent::{
    AgentId, AgentType, HostName, Kind, Object, Port, ProjectId, State, Timestamp, attrs,
};
use ledger::{Actor, AgentReport, Answer, Command, Config, Context, Liveness, Refusal, decide};
use serde_json::{Map, Value};

pub(crate) struct Rig {
    pub(crate) state: State,
    pub(crate) config: Config,
    pub(crate) liveness: Liveness,
    pub(crate) now: Timestamp,
    /// Who asks.
    pub(crate) actor: Actor,
    seed: u128,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let mut rig = Self {
            state: State::default(),
            config: Config::default(),
            liveness: Liveness::default(),
            now: Timestamp(1_795_210_526),
            actor: admin(),
            seed: 1,
        };
        rig.act(Command::Found);
        rig
    }

    pub(crate) fn try_to(&mut self, command: &Command) -> Result<Answer, Refusal> {
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let context = Context {
            now: self.now,
            seed: self.seed,
            config: &self.config,
            liveness: &self.liveness,
        };
        let decision = decide(&self.state, &self.actor, command, &context)?;
        self.state = decision.state;
        Ok(decision.answer)
    }

    pub(crate) fn act(&mut self, command: Command) -> Answer {
        let refused = |refusal| panic!("{command:?} is refused: {refusal}");
        self.try_to(&command).unwrap_or_else(refused)
    }

    pub(crate) fn refuses(&mut self, command: Command) -> String {
        match self.try_to(&command) {
            Ok(_) => panic!("{command:?} is granted"),
            Err(refusal) => format!("{} {}: {refusal}", refusal.status, refusal.kind),
        }
    }

    /// A creation, as the API reads it.
    pub(crate) fn creation(&self, kind: Kind, body: &Value) -> Command {
        let table = attrs::table_of(kind).expect("it has a table");
        let draft = table.read_create(map(body), &self.actor.project);
        let draft = draft.expect("a well-formed request");
        Command::Create {
            kind,
            drafts: vec![draft],
        }
    }

    /// Makes one resource; its id.
    pub(crate) fn create(&mut self, kind: Kind, body: Value) -> String {
        let command = self.creation(kind, &body);
        match self.act(command) {
            Answer::Objects(objects) => objects[0].key(),
            other => panic!("no resource but {other:?}"),
        }
    }

    pub(crate) fn change(&self, kind: Kind, key: &str, body: &Value) -> Command {
        let table = attrs::table_of(kind).expect("it has a table");
        let draft = table.read_update(map(body)).expect("a well-formed request");
        Command::Update {
            kind,
            key: key.to_owned(),
            draft,
            if_match: None,
        }
    }

    pub(crate) fn update(&mut self, kind: Kind, key: &str, body: Value) {
        let command = self.change(kind, key, &body);
        self.act(command);
    }

    pub(crate) fn delete(&mut self, kind: Kind, key: &str) {
        self.act(deletion(kind, key));
    }

    /// An agent of ours reports for the first time, and is alive from now on.
    pub(crate) fn agent(
        &mut self,
        agent_type: AgentType,
        host: &str,
        configurations: &Value,
    ) -> AgentId {
        // Heard of before it is given work.
        let id = AgentId::new(uuid::Uuid::new_v5(
            &uuid::Uuid::NAMESPACE_DNS,
            format!("{agent_type} {host}").as_bytes(),
        ));
        self.liveness.heard.insert(id, Timestamp(i64::MAX / 2));
        self.act(Command::ReportAgent(AgentReport {
            id: Some(id),
            agent_type,
            host: host.into(),
            availability_zone: Some("nova".to_owned()),
            configurations: map(configurations),
            started: true,
        }));
        id
    }

    /// The agents of a host, its L3 agent in this mode; compute hosts have no DHCP.
    pub(crate) fn host(&mut self, host: &str, mode: &str) {
        let ovs = serde_json::json!({
            "tunnel_types": ["vxlan"], "bridge_mappings": {"public": "br-ex"},
            "enable_distributed_routing": true,
        });
        self.agent(AgentType::OpenVswitch, host, &ovs);
        if mode != "dvr" {
            self.agent(AgentType::Dhcp, host, &Value::Object(Map::new()));
        }
        self.agent(
            AgentType::L3,
            host,
            &serde_json::json!({"agent_mode": mode}),
        );
    }

    pub(crate) fn die(&mut self, agent: AgentId) {
        self.liveness.heard.remove(&agent);
    }

    pub(crate) fn ports_of_owner(&self, owner: &str) -> Vec<&Port> {
        let ports = self.state.ports.values().map(|port| &**port);
        ports.filter(|port| port.device_owner == owner).collect()
    }

    pub(crate) fn object(&self, kind: Kind, key: &str) -> Object {
        self.state.object(kind, key).expect("it is there")
    }

    /// A network with one subnet; their ids.
    pub(crate) fn network(&mut self, cidr: &str) -> (String, String) {
        let network = self.create(Kind::Network, serde_json::json!({"name": cidr}));
        let body = serde_json::json!({"network_id": network, "ip_version": 4, "cidr": cidr});
        let subnet = self.create(Kind::Subnet, body);
        (network, subnet)
    }

    /// The external network `public` with 172.24.4.0/24.
    pub(crate) fn public(&mut self) -> String {
        let network = self.create(
            Kind::Network,
            serde_json::json!({
                "name": "public", "router:external": true, "provider:network_type": "flat",
                "provider:physical_network": "public",
            }),
        );
        let body = serde_json::json!({
            "network_id": network, "ip_version": 4, "cidr": "172.24.4.0/24", "enable_dhcp": false,
        });
        self.create(Kind::Subnet, body);
        network
    }
}

pub(crate) fn map(body: &Value) -> Map<String, Value> {
    body.as_object().cloned().expect("an object")
}

pub(crate) fn deletion(kind: Kind, key: &str) -> Command {
    Command::Delete {
        kind,
        key: key.to_owned(),
        if_match: None,
    }
}

pub(crate) fn admin() -> Actor {
    Actor {
        project: ProjectId::from("ad"),
        user: "admin".to_owned(),
        roles: BTreeSet::new(),
        is_admin: true,
    }
}

pub(crate) fn member(project: &str) -> Actor {
    Actor {
        project: ProjectId::from(project),
        user: project.to_owned(),
        roles: BTreeSet::new(),
        is_admin: false,
    }
}

pub(crate) fn host_of(port: &Port) -> &str {
    port.host().map_or("", HostName::as_str)
}

//! Bad requests that a real Neutron was sent, and its answers: ours are the same, word for word.
//!
//! The recorded ids are those of a cloud that is made again here; what of it the requests name is
//! called by the ids that it had there.

use std::collections::BTreeMap;

use crate::rig::{Rig, admin, map, member};
use intent::{Kind, attrs};
use ledger::{Answer, Command, Draft, LIMITED};
use serde_json::{Value, json};

const DEMO: &str = "e6f84c3a75674fecbe2663df4abbc4ac";
const ALT: &str = "f3a6abf355aa45438bc16c10fc559688";

/// Requests whose answers differ, and why.
const APART: [(&str, &str); 7] = [
    (
        "quota below usage",
        "the sentence says how many networks the project had there",
    ),
    (
        "quota check_limit",
        "the sentence says how many networks the project had there",
    ),
    (
        "iface port in use",
        "a user there had given a router's interface another device, which is refused here",
    ),
    (
        "routes too many",
        "for the same reason the router there was not connected with the next hop",
    ),
    (
        "fip port taken",
        "the sentence names the address that the refused floating IP would have had",
    ),
    (
        "rbac object missing",
        "the sentence names functions of the real one's program",
    ),
    (
        "rbac object of alt",
        "the sentence names functions of the real one's program",
    ),
];

struct Cloud {
    rig: Rig,
    /// From an id there to the id here.
    ids: BTreeMap<String, String>,
}

impl Cloud {
    fn make(&mut self, there: &str, kind: Kind, body: Value) {
        let body = self.here(&body.to_string());
        let body = serde_json::from_str(&body).expect("JSON");
        let here = self.rig.create(kind, body);
        self.ids.insert(there.to_owned(), here);
    }

    fn here(&self, text: &str) -> String {
        let replace = |text: String, (there, here): (&String, &String)| text.replace(there, here);
        self.ids.iter().fold(text.to_owned(), replace)
    }

    fn new() -> Self {
        let mut cloud = Self {
            rig: Rig::new(),
            ids: BTreeMap::new(),
        };
        cloud.networks();
        cloud.guests();
        cloud.groups();
        cloud
    }

    fn networks(&mut self) {
        let external = json!({"name": "ext", "router:external": true});
        self.make(
            "ddcb0b56-ba7e-48bd-9187-ebc9de331323",
            Kind::Network,
            external,
        );
        let body = json!({"network_id": "ddcb0b56-ba7e-48bd-9187-ebc9de331323",
            "ip_version": 4, "cidr": "203.0.113.0/24", "enable_dhcp": false});
        self.make("public-subnet", Kind::Subnet, body);
        let shared = json!({"name": "shared", "shared": true});
        self.make("shared-net", Kind::Network, shared);
        let body = json!({"network_id": "shared-net", "ip_version": 4, "cidr": "10.9.0.0/24"});
        self.make("46f8c9a0-e1e7-4015-81d7-936516a65947", Kind::Subnet, body);
        self.rig.actor = member(ALT);
        self.make(
            "d7e09aad-bae8-4a89-ad92-c5d05e34bf3b",
            Kind::Network,
            json!({}),
        );
        self.rig.actor = member(DEMO);
        for (network, subnet) in [
            (
                "705f0c3b-dfc1-43ec-8b18-4ba2978ef624",
                "2d08da85-60f2-44a0-9861-79d287f16538",
            ),
            (
                "0f7fa371-abf7-4bab-a94b-f91dc8c3c50d",
                "6e035754-f984-4755-b52a-b31448ea37fa",
            ),
        ] {
            self.make(network, Kind::Network, json!({}));
            let body = json!({"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"});
            self.make(subnet, Kind::Subnet, body);
        }
        let share = json!({"object_type": "network", "action": "access_as_shared",
            "object_id": "705f0c3b-dfc1-43ec-8b18-4ba2978ef624", "target_tenant": ALT});
        self.make(
            "c322d204-6d11-4e82-815e-4a220bea3317",
            Kind::RbacPolicy,
            share,
        );
    }

    fn guests(&mut self) {
        let first = "705f0c3b-dfc1-43ec-8b18-4ba2978ef624";
        let guest = json!({"network_id": first, "fixed_ips": [{"ip_address": "10.0.0.50"}]});
        self.make("31c48b06-243e-40e3-9f92-7e67b720c9c4", Kind::Port, guest);
        let bare = json!({"network_id": first, "fixed_ips": [], "security_groups": []});
        self.make("59675391-770a-466f-9583-adfa6766bad4", Kind::Port, bare);
        let other = json!({"network_id": "0f7fa371-abf7-4bab-a94b-f91dc8c3c50d"});
        self.make("179ba68b-c2b1-46bc-96ad-c6cb165bbbd8", Kind::Port, other);
        let external = "ddcb0b56-ba7e-48bd-9187-ebc9de331323";
        let gateway = json!({"external_gateway_info": {"network_id": external}});
        self.make(
            "a40f9b20-6fdb-407c-aa1d-3ad1dc2f7761",
            Kind::Router,
            gateway,
        );
        self.make(
            "21043003-4e15-4fc8-965d-edfcedf1bab4",
            Kind::Router,
            json!({}),
        );
        let subnet = self.ids["2d08da85-60f2-44a0-9861-79d287f16538"].clone();
        let added = self.rig.act(Command::AddRouterInterface {
            router: self.ids["a40f9b20-6fdb-407c-aa1d-3ad1dc2f7761"].clone(),
            body: json!({"subnet_id": subnet}),
        });
        if let Answer::Value(added) = added {
            let interface = added["port_id"].as_str().expect("a port").to_owned();
            let there = "2a80c172-2cb6-4f1d-bb22-b3bd14560716";
            self.ids.insert(there.to_owned(), interface);
        }
        let floating = json!({"floating_network_id": external,
            "port_id": "31c48b06-243e-40e3-9f92-7e67b720c9c4"});
        self.make(
            "c178ec93-7365-4d25-a5b0-b509e3942ea1",
            Kind::FloatingIp,
            floating,
        );
        self.rig.actor = admin();
        let alone = json!({"floating_network_id": external, "project_id": DEMO,
            "floating_ip_address": "203.0.113.9"});
        self.make(
            "866a8a67-0ca1-4027-a615-1d57da91be63",
            Kind::FloatingIp,
            alone,
        );
        self.rig.actor = member(DEMO);
    }

    fn groups(&mut self) {
        let groups = &self.rig.state.index.groups_of_name;
        let default = groups
            .one(&(DEMO.into(), "default".to_owned()))
            .expect("made");
        let there = "007b0cec-d1c2-4512-abf7-4b5c5f5c04a9";
        self.ids.insert(there.to_owned(), default.to_string());
        let group = "52e275e8-fc4a-4778-ac95-d878d352e369";
        self.make(group, Kind::SecurityGroup, json!({"name": "g"}));
        let rule = json!({"security_group_id": group, "direction": "ingress",
            "protocol": "tcp", "port_range_min": 1, "port_range_max": 2});
        let there = "4c4f0d17-282b-4d42-9821-f8204278edff";
        self.make(there, Kind::SecurityGroupRule, rule);
        let user = json!({"network_id": "0f7fa371-abf7-4bab-a94b-f91dc8c3c50d",
            "security_groups": [group]});
        self.make("user-of-group", Kind::Port, user);
        let addresses = json!({"name": "a", "addresses": ["10.0.0.0/8"]});
        let there = "d1cb1aec-b3cf-466f-bf77-a27e8c19631f";
        self.make(there, Kind::AddressGroup, addresses);
    }

    /// What a recorded request asks of the ledger, or the refusal that the tables give it.
    fn command(&self, request: &Value) -> Option<Result<Command, String>> {
        let path = request["path"].as_str()?.strip_prefix("/v2.0/")?;
        let path = self.here(path);
        let parts: Vec<&str> = path.split('/').collect();
        let body: Value = serde_json::from_str(&self.here(&request["body"].to_string())).ok()?;
        if let ["quotas", project] = parts[..] {
            return quota(project, &body).map(Ok);
        }
        let table = attrs::TABLES.iter().find(|table| table.path == parts[0])?;
        let kind = table.kind.filter(|kind| JUDGED.contains(kind))?;
        let bad = |bad: attrs::BadInput| format!("400 {}: {}", bad.kind, bad.message);
        let create = |body: &Value| table.read_create(map(body), &self.rig.actor.project);
        let key = |at: usize| parts.get(at).map(|key| (*key).to_owned());
        let command = match (request["method"].as_str()?, parts.len()) {
            ("POST", 1) => {
                let many = body.get(table.plural).and_then(Value::as_array).cloned();
                let all = many.or_else(|| Some(vec![body.get(table.name)?.clone()]))?;
                let drafts = all
                    .iter()
                    .map(create)
                    .collect::<Result<_, _>>()
                    .map_err(bad);
                drafts.map(|drafts| Command::Create { kind, drafts })
            }
            ("PUT", 2) => table
                .read_update(map(body.get(table.name)?))
                .map_err(bad)
                .map(|draft| Command::Update {
                    kind,
                    key: parts[1].to_owned(),
                    draft,
                    if_match: None,
                }),
            ("DELETE", 2) => Ok(crate::rig::deletion(kind, parts[1])),
            ("PUT", 3) => Ok(action(key(1)?, parts[2], body)?),
            _ => return None,
        };
        Some(command)
    }
}

const JUDGED: [Kind; 7] = [
    Kind::Router,
    Kind::FloatingIp,
    Kind::SecurityGroup,
    Kind::SecurityGroupRule,
    Kind::RbacPolicy,
    Kind::AddressGroup,
    Kind::Agent,
];

fn action(key: String, name: &str, body: Value) -> Option<Command> {
    Some(match name {
        "add_router_interface" => Command::AddRouterInterface { router: key, body },
        "remove_router_interface" => Command::RemoveRouterInterface { router: key, body },
        "add_addresses" => Command::AddAddresses { group: key, body },
        "remove_addresses" => Command::RemoveAddresses { group: key, body },
        _ => return None,
    })
}

fn quota(project: &str, body: &Value) -> Option<Command> {
    let mut draft = Draft::new();
    let names = LIMITED.iter().map(|(name, _)| *name).chain(["force"]);
    for name in names {
        if let Some(value) = body["quota"].get(name) {
            draft.insert(name, value.clone());
        }
    }
    let well_formed = draft
        .values()
        .all(|value| value.as_i64() >= Some(-1) || value.is_boolean());
    // Trunks are not limited: there are none.
    let mut given = body["quota"].as_object()?.clone();
    given.remove("trunk");
    let known = draft.len() == given.len();
    (well_formed && known).then(|| Command::SetQuota {
        project: project.into(),
        draft,
    })
}

#[test]
fn bad_requests_are_refused_word_for_word() {
    let recorded = include_str!("../../../../tests/reference/api/errors.json");
    let recorded: Vec<Value> = serde_json::from_str(recorded).expect("JSON");
    let mut cloud = Cloud::new();
    let (mut judged, mut wrong) = (0, Vec::new());
    for request in &recorded {
        let label = request["label"].as_str().unwrap_or_default();
        let status = request["status"].as_u64().unwrap_or_default();
        let why = APART.iter().find(|(apart, _)| *apart == label);
        if why.is_some() || matches!(status, 401 | 403 | 405 | 406 | 500) {
            continue;
        }
        cloud.rig.actor = match request["as"].as_str() {
            Some("admin") => admin(),
            Some("demo") => member(DEMO),
            _ => continue,
        };
        let Some(command) = cloud.command(request) else {
            continue;
        };
        judged += 1;
        let got = match command {
            Err(refusal) => refusal,
            Ok(command) => match cloud.rig.try_to(&command) {
                Ok(_) => "granted".to_owned(),
                Err(refusal) => format!("{} {}: {refusal}", refusal.status, refusal.kind),
            },
        };
        let error = &request["response"]["NeutronError"];
        let wanted = match (error["type"].as_str(), error["message"].as_str()) {
            (Some(kind), Some(message)) => cloud.here(&format!("{status} {kind}: {message}")),
            _ => "granted".to_owned(),
        };
        if got != wanted {
            wrong.push(format!("{label}\n  wanted {wanted}\n  got    {got}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{}\n{} of {judged}",
        wrong.join("\n"),
        wrong.len()
    );
    assert!(judged > 90, "{judged} were judged");
}

//! Asks a Neutron for all it has, as an administrator.

use std::{collections::BTreeMap, path::Path, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use intent::{
    AgentType,
    attrs::{TABLES, Table},
    import::Served,
    owner,
};
use serde_json::{Map, Value};
use tls::{TlsError, http as https};

/// Members of one page.
const PAGE: usize = 500;
/// Requests under way at once, where there is one for each of many resources.
const WIDTH: usize = 8;
/// How long one answer may take: a list of everything is slow where there is much.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a request is tried that gets no answer, or one that blames the server.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// A collection of an extension that isn't served here: under which name the report has it, what
/// announces it, where it is, and under which name its members come.
struct Foreign {
    word: &'static str,
    alias: &'static str,
    path: &'static str,
    plural: &'static str,
}

const fn foreign(alias: &'static str, path: &'static str, plural: &'static str) -> Foreign {
    Foreign {
        word: plural,
        alias,
        path,
        plural,
    }
}

const FOREIGN: &[Foreign] = &[
    foreign("trunk", "trunks", "trunks"),
    Foreign {
        word: "qos_policies",
        ..foreign("qos", "qos/policies", "policies")
    },
    foreign("metering", "metering/metering-labels", "metering_labels"),
    foreign("flavors", "flavors", "flavors"),
    foreign("flavors", "service_profiles", "service_profiles"),
    foreign("local_ip", "local-ips", "local_ips"),
    foreign("l3-ndp-proxy", "ndp-proxies", "ndp_proxies"),
    foreign("logging", "log/logs", "logs"),
    foreign(
        "network-segment-range",
        "network-segment-ranges",
        "network_segment_ranges",
    ),
    foreign(
        "security-groups-default-statefulness",
        "security-groups-default-statefulness",
        "security_groups_default_statefulness",
    ),
    foreign("bgp", "bgp-speakers", "bgp_speakers"),
    foreign("bgpvpn", "bgpvpn/bgpvpns", "bgpvpns"),
    foreign("vpnaas", "vpn/vpnservices", "vpnservices"),
    foreign("fwaas_v2", "fwaas/firewall_groups", "firewall_groups"),
    foreign("sfc", "sfc/port_chains", "port_chains"),
    foreign("taas", "taas/tap_services", "tap_services"),
];

/// Extensions that aren't served here and have no collections: what they add to a resource is seen
/// in the resource.
const ATTRIBUTES: &[&str] = &[
    "aap-reject-multicast",
    "dns-integration-domain-keywords",
    "expose-l3-conntrack-helper",
    "expose-port-forwarding-in-fip",
    "floating-ip-port-forwarding-description",
    "floating-ip-port-forwarding-detail",
    "floating-ip-port-forwarding-port-ranges",
    "floating-ip-router-writable",
    "l3-ext-ndp-proxy",
    "l3-flavors",
    "l3-ha",
    "metering_source_and_destination_fields",
    "network_ha",
    "port-mac-override",
    "qos-bw-limit-direction",
    "qos-bw-minimum-ingress",
    "qos-default",
    "qos-fip",
    "qos-gateway-ip",
    "qos-port-network-policy",
    "qos-pps",
    "qos-pps-minimum",
    "qos-pps-minimum-rule-alias",
    "qos-rule-type-details",
    "qos-rule-type-filter",
    "qos-rules-alias",
    "segments-peer-subnet-host-routes",
    "subnet-segmentid-writable",
    "trunk-details",
];

/// Extensions whose collections are below each floating IP or router, and those that show them in it.
const SHOWN_BY: &[(&str, &str)] = &[
    (
        "floating-ip-port-forwarding",
        "expose-port-forwarding-in-fip",
    ),
    ("l3-conntrack-helper", "expose-l3-conntrack-helper"),
];

/// What a Neutron answered.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// The members of collections that are served here, by their plural.
    pub lists: BTreeMap<&'static str, Vec<Value>>,
    /// What was asked of one resource.
    pub told: Vec<(Served, Value)>,
    /// The limits of a project for which nothing is set.
    pub default_quota: Map<String, Value>,
    /// How many there are of what isn't served here.
    pub foreign: BTreeMap<&'static str, usize>,
    /// Extensions by their aliases.
    pub extensions: Vec<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("TLS can't be set up")]
    Tls(#[source] TlsError),
    #[error("{path} can't be asked for")]
    Request { path: String, source: http::Error },
    #[error("{path} got no answer in {tries} tries: {last}")]
    NoAnswer {
        path: String,
        tries: u32,
        last: String,
    },
    #[error("{path} was answered with {status}: {said}")]
    Refused {
        path: String,
        status: StatusCode,
        said: String,
    },
    #[error("the answer to {path} has no {what}")]
    Shape { path: String, what: String },
    #[error(
        "Neutron is being changed while it is read ({}): stop what writes to it and try again",
        .0.join(", ")
    )]
    Changing(Vec<String>),
}

/// A Neutron's API, asked with an administrator's token.
#[derive(Debug)]
pub struct Neutron {
    origin: String,
    token: Option<String>,
    client: https::Client,
}

impl Neutron {
    /// At `http://HOST:PORT` or `https://HOST:PORT`; an `https` one is believed by the authorities in
    /// a file or, without one, by this machine's own.
    pub fn new(
        url: &str,
        token: Option<String>,
        authority: Option<&Path>,
    ) -> Result<Self, ReadError> {
        let origin = url
            .trim_end_matches('/')
            .trim_end_matches("/v2.0")
            .to_owned();
        let client = https::for_peer(&origin, authority).map_err(ReadError::Tls)?;
        Ok(Self {
            origin,
            token,
            client,
        })
    }

    /// `GET` of a path below `/v2.0/`, tried again while the server is not up to it.
    async fn get(&self, path: &str) -> Result<Value, ReadError> {
        let mut pause = FIRST_PAUSE;
        let mut last = String::new();
        for attempt in 0..TRIES {
            if attempt > 0 {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            match self.ask(path).await? {
                Ok((status, body)) if status.is_success() => return Ok(body),
                Ok((status, body)) if status.is_server_error() => {
                    last = format!("{status}: {}", said(&body));
                }
                Ok((status, body)) => {
                    return Err(ReadError::Refused {
                        path: path.to_owned(),
                        status,
                        said: said(&body),
                    });
                }
                Err(error) => last = error,
            }
        }
        Err(ReadError::NoAnswer {
            path: path.to_owned(),
            tries: TRIES,
            last,
        })
    }

    /// One request; what went wrong on the way comes as a sentence.
    async fn ask(&self, path: &str) -> Result<Result<(StatusCode, Value), String>, ReadError> {
        let mut request = Request::get(format!("{}/v2.0/{path}", self.origin));
        if let Some(token) = &self.token {
            request = request.header("x-auth-token", token);
        }
        let request = request
            .body(Full::default())
            .map_err(|source| ReadError::Request {
                path: path.to_owned(),
                source,
            })?;
        let exchange = async {
            let answer = self.client.request(request).await;
            let (head, body) = answer
                .map_err(|error| crate::writer::chain(&error))?
                .into_parts();
            let body = body.collect().await;
            let body = body
                .map_err(|error| crate::writer::chain(&error))?
                .to_bytes();
            Ok((
                head.status,
                serde_json::from_slice(&body).unwrap_or_default(),
            ))
        };
        let late = || Err(format!("nothing came in {PATIENCE:?}"));
        Ok(tokio::time::timeout(PATIENCE, exchange)
            .await
            .unwrap_or_else(|_| late()))
    }

    /// The members of a collection, page by page.
    async fn list(&self, path: &str, plural: &str) -> Result<Vec<Value>, ReadError> {
        let mut members = Vec::new();
        let mut marker = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}{marker}");
            let mut answer = self.get(&page).await?;
            let Value::Array(some) = answer[plural].take() else {
                return Err(ReadError::Shape {
                    path: page,
                    what: plural.to_owned(),
                });
            };
            let last = some.last().and_then(|it| it["id"].as_str());
            let next = last.map(|id| format!("&marker={id}"));
            members.extend(some);
            let links = answer[format!("{plural}_links")].as_array();
            let has_more = links.is_some_and(|links| links.iter().any(|it| it["rel"] == "next"));
            match next {
                Some(next) if has_more && next != marker => marker = next,
                _ => return Ok(members),
            }
        }
    }

    async fn all(&self) -> Result<Answers, ReadError> {
        let extensions = self.get("extensions").await?;
        let extensions = extensions["extensions"].as_array().into_iter().flatten();
        let aliases = extensions.filter_map(|it| it["alias"].as_str().map(str::to_owned));
        let mut answers = Answers {
            extensions: aliases.collect(),
            ..Answers::default()
        };
        for table in TABLES {
            if !is_listed(table, &answers) {
                continue;
            }
            let members = self.list(table.path, table.plural).await?;
            answers.lists.insert(table.plural, members);
        }
        let quotas = self.list("quotas", "quotas").await?;
        answers.lists.insert("quotas", quotas);
        // A project that nobody has heard of: nothing is set for it.
        let default = self.get("quotas/none/default").await?;
        answers.default_quota = default["quota"].as_object().cloned().unwrap_or_default();
        for foreign in FOREIGN {
            if !answers.has(foreign.alias) {
                continue;
            }
            let members = match self.list(foreign.path, foreign.plural).await {
                // It is said that nobody looked.
                Err(ReadError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
                    continue;
                }
                members => members?,
            };
            // Ranges that its settings gave it are no one's work.
            let made = members.iter().filter(|it| it["default"] != true).count();
            answers.foreign.insert(foreign.word, made);
        }
        let questions = questions(&answers);
        let told = stream::iter(questions)
            .map(|(of, path)| async move { Ok((of, self.get(&path).await?)) })
            .buffered(WIDTH);
        answers.told = told.try_collect().await?;
        Ok(answers)
    }
}

impl Answers {
    fn has(&self, alias: &str) -> bool {
        self.extensions.iter().any(|it| it == alias)
    }

    /// Whether all that an extension, which isn't served here, keeps was looked at.
    pub(super) fn covers(&self, alias: &str) -> bool {
        let counted = |it: &Foreign| self.foreign.contains_key(it.word);
        let mut foreign = FOREIGN.iter().filter(|it| it.alias == alias).peekable();
        let is_foreign = foreign.peek().is_some();
        let mut shown = SHOWN_BY.iter().filter(|(it, _)| *it == alias);
        ATTRIBUTES.contains(&alias)
            || is_foreign && foreign.all(counted)
            || shown.any(|(_, by)| self.has(by))
    }

    pub fn of(&self, plural: &str) -> &[Value] {
        self.lists.get(plural).map_or(&[], Vec::as_slice)
    }

    /// Members under their collection and id, without what changes by itself.
    fn members(&self) -> BTreeMap<(&str, String), Value> {
        let mut members = BTreeMap::new();
        for (plural, list) in &self.lists {
            for member in list {
                let mut member = member.clone();
                if let (&"agents", Some(agent)) = (plural, member.as_object_mut()) {
                    let kept = ["id", "host", "admin_state_up", "agent_type"];
                    agent.retain(|name, _| kept.contains(&name.as_str()));
                }
                let id = member.get("id").or_else(|| member.get("project_id"));
                let id = id.and_then(Value::as_str).unwrap_or_default().to_owned();
                members.insert((*plural, id), member);
            }
        }
        members
    }

    /// What differs from an earlier reading.
    fn changed_since(&self, earlier: &Self) -> Vec<String> {
        let (was, is) = (earlier.members(), self.members());
        let names = was
            .keys()
            .chain(is.keys().filter(|it| !was.contains_key(*it)));
        let mut changed: Vec<String> = names
            .filter(|name| was.get(*name) != is.get(*name))
            .map(|(plural, id)| format!("{plural} {id}"))
            .collect();
        let scheduled = |answers: &Self| {
            let told = answers.told.iter();
            let told = told.map(|(of, answer)| (format!("{of:?}"), ids(answer)));
            told.collect::<BTreeMap<_, _>>()
        };
        if scheduled(earlier) != scheduled(self) {
            changed.push("what is scheduled to which agent".to_owned());
        }
        if earlier.foreign != self.foreign {
            changed.push("what is not served here".to_owned());
        }
        changed.sort_unstable();
        changed
    }
}

/// Those that an answer lists: their ids, or the hosts that are bindings' own.
fn ids(answer: &Value) -> Vec<String> {
    let lists = answer.as_object().into_iter().flat_map(Map::values);
    let members = lists.filter_map(Value::as_array).flatten();
    let ids = members.filter_map(|it| it.get("id").or_else(|| it.get("host"))?.as_str());
    ids.map(str::to_owned).collect()
}

/// Whether a table is a collection that stands by itself, and this Neutron has it.
fn is_listed(table: &Table, answers: &Answers) -> bool {
    let is_there = table.extension.is_empty() || answers.has(table.extension);
    table.kind.is_some() && table.parent.is_none() && is_there
}

/// What no list says: whom each agent serves, and the hosts that guests are about to move to.
fn questions(answers: &Answers) -> Vec<(Served, String)> {
    let mut questions = Vec::new();
    for agent in answers.of("agents") {
        let calls = match agent["agent_type"].as_str().map(str::parse) {
            Some(Ok(AgentType::Dhcp)) if answers.has("dhcp_agent_scheduler") => "dhcp-networks",
            Some(Ok(AgentType::L3)) if answers.has("l3_agent_scheduler") => "l3-routers",
            _ => continue,
        };
        if let Some(id) = agent["id"].as_str()
            && let Ok(key) = id.parse()
        {
            questions.push((Served::By(key), format!("agents/{id}/{calls}")));
        }
    }
    let can_move = |port: &&Value| {
        let owner = port["device_owner"].as_str().unwrap_or_default();
        let host = port["binding:host_id"].as_str().unwrap_or_default();
        owner.starts_with(owner::COMPUTE_PREFIX) && !host.is_empty()
    };
    let bound = answers.of("ports").iter().filter(can_move);
    for port in bound.filter(|_| answers.has("binding-extended")) {
        if let Some(id) = port["id"].as_str()
            && let Ok(key) = id.parse()
        {
            questions.push((Served::Port(key), format!("ports/{id}/bindings")));
        }
    }
    questions
}

/// Neutron's sentence, or whatever came in its stead.
fn said(body: &Value) -> String {
    let sentences = [&body["NeutronError"]["message"], &body["error"]["message"]];
    let sentence = sentences.iter().find_map(|it| it.as_str());
    sentence.map_or_else(|| body.to_string(), str::to_owned)
}

/// Everything, as of one moment.
pub async fn read(neutron: &Neutron) -> Result<Answers, ReadError> {
    let first = neutron.all().await?;
    let second = neutron.all().await?;
    let changed = second.changed_since(&first);
    match changed.is_empty() {
        true => Ok(second),
        false => Err(ReadError::Changing(changed)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_changed_between_two_readings_is_named() {
        let answers = |name: &str, beat: &str| Answers {
            lists: BTreeMap::from([
                ("networks", vec![json!({"id": "n", "name": name})]),
                (
                    "agents",
                    vec![json!({"id": "a", "heartbeat_timestamp": beat})],
                ),
            ]),
            ..Answers::default()
        };
        let first = answers("red", "10:00");
        assert_eq!(
            answers("red", "10:01").changed_since(&first),
            Vec::<String>::new()
        );
        assert_eq!(
            answers("blue", "10:00").changed_since(&first),
            ["networks n"]
        );
        let mut gone = first.clone();
        gone.lists.remove("networks");
        assert_eq!(gone.changed_since(&first), ["networks n"]);
        assert_eq!(first.changed_since(&gone), ["networks n"]);
    }

    #[test]
    fn agents_and_guests_ports_are_asked_for_what_no_list_says() {
        let id = |n: u8| format!("b795f5d9-0400-490f-b200-7e6beb3870{n:02}");
        let port = |n: u8, owner: &str, host: &str| json!({"id": id(n), "device_owner": owner, "binding:host_id": host});
        let agent = |n: u8, kind: &str| json!({"id": id(n), "agent_type": kind});
        let mut answers = Answers {
            lists: BTreeMap::from([
                (
                    "agents",
                    vec![
                        agent(1, "L3 agent"),
                        agent(2, "DHCP agent"),
                        agent(3, "Metering agent"),
                    ],
                ),
                (
                    "ports",
                    vec![
                        port(4, "compute:nova", "c1"),
                        port(5, "compute:nova", ""),
                        port(6, "network:dhcp", "c1"),
                    ],
                ),
            ]),
            ..Answers::default()
        };
        assert!(
            questions(&answers).is_empty(),
            "nothing that isn't announced"
        );
        let aliases = [
            "l3_agent_scheduler",
            "dhcp_agent_scheduler",
            "binding-extended",
        ];
        answers.extensions = aliases.map(str::to_owned).into();
        let paths: Vec<String> = questions(&answers).into_iter().map(|it| it.1).collect();
        let wanted = [
            format!("agents/{}/l3-routers", id(1)),
            format!("agents/{}/dhcp-networks", id(2)),
            format!("ports/{}/bindings", id(4)),
        ];
        assert_eq!(paths, wanted);
    }
}

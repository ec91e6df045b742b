//! What operators ask beyond Neutron's API: which hosts are connected, and questions to them.
//!
//! ```text
//! GET  /nucleon/hosts                    the hosts with a watch on this server
//! POST /nucleon/hosts/HOST/ask/QUESTION  the host's answer; the body is the question's parameters
//! ```

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{Api, agents::AskError, fault::Fault, identity::Caller, neutron::Reply};

/// What these paths begin with.
pub const PATH: &str = "/nucleon/hosts";

/// How long a host may take: a snapshot of a large one is slow.
const PATIENCE: Duration = Duration::from_secs(30);

/// Administrators only.
pub async fn answer(
    api: &Api,
    caller: &Caller,
    method: &Method,
    below: &str,
    body: &[u8],
) -> Result<Reply, Fault> {
    if !caller.is_admin {
        return Err(Fault::not_authorized());
    }
    let parts: Vec<&str> = below.split('/').filter(|part| !part.is_empty()).collect();
    match (method, &parts[..]) {
        (&Method::GET, []) => Ok(Reply::value(&json!({ "hosts": api.agents.hosts() }))),
        (&Method::POST, [host, "ask", question]) => {
            let parameters: Value = match body {
                [] => json!({}),
                body => serde_json::from_slice(body).map_err(|_| Fault::invalid_body())?,
            };
            let asked = api.agents.ask(host, question, &parameters, PATIENCE).await;
            let answer = asked.map_err(|error| {
                let (status, kind) = match error {
                    AskError::Absent(_) => (StatusCode::NOT_FOUND, "HostNotConnected"),
                    AskError::Late { .. } => (StatusCode::GATEWAY_TIMEOUT, "HostDoesNotAnswer"),
                };
                Fault::neutron(status, kind, error.to_string())
            })?;
            Ok(Reply::value(&answer))
        }
        _ => Err(Fault::not_found()),
    }
}

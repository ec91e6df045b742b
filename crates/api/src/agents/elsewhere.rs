//! Agents whose server is not the writer. Their reports become commands, and their heartbeats
//! decide who is alive, so a follower passes both on to the writer; and it learns from the writer
//! who was heard of anywhere, to show agents as they are.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::Full;
use intent::{AgentId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::report;
use crate::{Api, fault::Fault, replica::PassedOn};

const STATUS: &str = "/nucleon/status";
const HEARD: &str = "/nucleon/heard";

/// A host's report on its way to the writer.
#[derive(Serialize, Deserialize)]
struct Reported<'a> {
    host: &'a str,
    #[serde(borrow)]
    report: &'a RawValue,
}

/// Whether a path is one of those that servers ask each other.
pub(crate) fn is_for_peers(path: &str) -> bool {
    path == STATUS || path == HEARD
}

/// Answers another server.
pub(crate) async fn answer(
    api: &Api,
    path: &str,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response<Full<Bytes>>, Fault> {
    if !api.hub.handle.is_peer(headers) {
        return Err(Fault::not_authorized());
    }
    let mut response = Response::new(Full::default());
    if path == HEARD {
        let heard = serde_json::to_vec(&api.hub.heard()).map_err(|_| Fault::internal())?;
        *response.body_mut() = Full::from(heard);
        return Ok(response);
    }
    let reported: Reported<'_> = serde_json::from_slice(body).map_err(|_| Fault::invalid_body())?;
    let report = serde_json::from_str(reported.report.get()).map_err(|_| Fault::invalid_body())?;
    report::take(api, &reported.host.into(), report).await?;
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

/// Has the writer take a host's report.
pub(super) async fn pass_on(api: &Api, host: &str, report: &[u8]) -> Result<(), Fault> {
    let report = serde_json::from_slice(report).map_err(|_| Fault::invalid_body())?;
    let reported = serde_json::to_vec(&Reported { host, report }).map_err(|_| Fault::internal())?;
    let asked = api
        .hub
        .handle
        .ask_writer(Method::POST, STATUS, reported.into());
    match asked.await {
        PassedOn::Answered(answer) if answer.status().is_success() => Ok(()),
        _ => Err(Fault::unavailable()),
    }
}

/// Learns from the writer who was heard of.
pub(crate) async fn learn(api: &Api) {
    let asked = api.hub.handle.ask_writer(Method::GET, HEARD, Bytes::new());
    if let PassedOn::Answered(answer) = asked.await
        && let Ok(heard) = serde_json::from_slice::<BTreeMap<AgentId, Timestamp>>(answer.body())
    {
        api.hub.hear_of(heard);
    }
}

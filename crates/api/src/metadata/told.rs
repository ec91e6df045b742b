//! What is told of an instance: kept under its id, by administrators.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::Value;

use super::INSTANCE;
use crate::{
    Api,
    fault::Fault,
    identity::{
        Caller,
        people::{Command, Record},
    },
};

/// Where an instance's record is, its id behind it.
pub(crate) const PATH: &str = "/nucleon/v1/instances/";

/// User data that one instance may have, as Nova allows it.
const USER_DATA: usize = 65_535;

/// Answers `PUT` (the whole record anew), `GET` and `DELETE`.
pub(crate) async fn answer(
    api: &Api,
    caller: &Caller,
    method: &Method,
    id: &str,
    body: &Bytes,
) -> Result<Response<Full<Bytes>>, Fault> {
    if !caller.is_admin {
        return Err(Fault::neutron(
            StatusCode::FORBIDDEN,
            "PolicyNotAuthorized",
            "only administrators tell what an instance is",
        ));
    }
    let known = api.hub.people().get(INSTANCE, id).cloned();
    match (method.as_str(), known) {
        ("PUT", _) => {
            let record = record(body)?;
            let command = Command::Put(INSTANCE, id.to_owned(), record.clone());
            api.hub.submit_people(command).await?;
            Ok(json(StatusCode::OK, &record))
        }
        ("GET", Some(record)) => Ok(json(StatusCode::OK, &record)),
        ("DELETE", Some(_)) => {
            api.hub
                .submit_people(Command::Delete(INSTANCE, id.to_owned()))
                .await?;
            Ok(json(StatusCode::OK, &Record::new()))
        }
        _ => Err(Fault::no_api()),
    }
}

fn json(status: StatusCode, record: &Record) -> Response<Full<Bytes>> {
    let text = serde_json::to_vec(record).unwrap_or_default();
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = http::HeaderValue::from_static("application/json");
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, kind);
    response
}

/// The record that a body is, or what is wrong with it.
fn record(body: &Bytes) -> Result<Record, Fault> {
    let bad = |text: String| Fault::bad_request(text);
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    let Value::Object(record) = value else {
        return Err(bad("the body is not an object".to_owned()));
    };
    for (key, value) in &record {
        let right = match key.as_str() {
            "hostname" => value.is_string(),
            "public_keys" => value
                .as_object()
                .is_some_and(|keys| keys.values().all(Value::is_string)),
            "user_data" => value.as_str().is_some_and(|text| {
                let bytes = BASE64_STANDARD.decode(text);
                bytes.is_ok_and(|bytes| bytes.len() <= USER_DATA)
            }),
            _ => return Err(bad(format!("'{key}' is nothing that an instance is told"))),
        };
        if !right {
            return Err(bad(format!("'{key}' is not what it must be")));
        }
    }
    Ok(record)
}

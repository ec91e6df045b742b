//! Questions to hosts by way of the server's API, many hosts at once.
use std::collections::BTreeSet;
use std::error::Error;

use lab::client::Client;
use serde_json::Value;

/// So many hosts are asked at once.
const AT_ONCE: usize = 16;

/// Speaks to the API at a URL; `OS_TOKEN` may hold a token, and `OS_CACERT` name the file of who
/// signs the API's certificate.
pub(crate) fn client(api: &str) -> Result<Client, Box<dyn Error + Send + Sync>> {
    let mut client = Client::new(api)?;
    if let Ok(token) = std::env::var("OS_TOKEN") {
        client = client.with_header("X-Auth-Token", &token);
    }
    if let Some(file) = std::env::var_os("OS_CACERT") {
        client = client.with_authority(file.as_ref());
    }
    Ok(client)
}

/// The hosts that have agents.
pub(crate) fn hosts(client: &Client) -> Result<Vec<String>, Box<dyn Error + Send + Sync>> {
    let agents = client.get("agents")?;
    let agents = agents.as_array().into_iter().flatten();
    let names = agents.filter_map(|agent| Some(agent["host"].as_str()?.to_owned()));
    let names: BTreeSet<String> = names.collect();
    Ok(names.into_iter().collect())
}

/// Do the same for each of many names, some at a time; the answers are in the names' order.
pub(crate) fn each<T: Send>(
    names: &[String],
    work: impl Fn(&str) -> Result<T, String> + Sync,
) -> Vec<Result<T, String>> {
    let work = &work;
    let mut answers = Vec::new();
    for names in names.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = names
                .iter()
                .map(|name| scope.spawn(move || work(name)))
                .collect();
            let failed = || Err("asking it failed".to_owned());
            answers.extend(
                asked
                    .into_iter()
                    .map(|asked| asked.join().unwrap_or_else(|_| failed())),
            );
        });
    }
    answers
}

/// A host's answer to a question without parameters.
pub(crate) fn host(client: &Client, host: &str, question: &str) -> Result<Value, String> {
    host_with(client, host, question, None)
}

/// A host's answer to a question.
pub(crate) fn host_with(
    client: &Client,
    host: &str,
    question: &str,
    parameters: Option<&Value>,
) -> Result<Value, String> {
    let path = format!("/nucleon/hosts/{host}/ask/{question}");
    let answer = client.ask(&http::Method::POST, &path, parameters);
    let answer = answer.map_err(|error| crate::chain(&error))?;
    let refusal = [
        &answer.body["error"],
        &answer.body["NeutronError"]["message"],
    ];
    if let Some(said) = refusal.iter().find_map(|said| said.as_str()) {
        return Err(said.to_owned());
    }
    if answer.status != 200 {
        return Err(format!("the API answered with {}", answer.status));
    }
    Ok(answer.body)
}

//! What administrators ask a host by way of the server, beyond what its loop alone can say: each
//! question is answered by a task of its own, and the loop goes on healing the host meanwhile.
//!
//! | question | parameters | answer |
//! |---|---|---|
//! | `snapshot` | none | `{"host": NAME, "files": {PATH: TEXT, …}}`: the files of `tools/collect.sh` |
//! | `capture` | [`capture::Request`] | `{"frames": [FRAME, …]}` |
//! | `inject` | [`inject::Request`] | `{"injected": true}` |
//!
//! What can't be answered is answered with `{"error": SENTENCE}`.
pub mod capture;
pub mod inject;
pub mod snapshot;

use std::error::Error;

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::server::Question;

/// The answer to a question.
pub async fn answer(config: &Config, asked: &Question) -> Json {
    let answer = try_answer(config, asked).await;
    answer.unwrap_or_else(|error| json!({ "error": crate::chain(&*error) }))
}

async fn try_answer(
    config: &Config,
    asked: &Question,
) -> Result<Json, Box<dyn Error + Send + Sync>> {
    let parameters = asked.parameters.clone();
    Ok(match asked.question.as_str() {
        "snapshot" => {
            let files = snapshot::collect(config).await?;
            json!({ "host": config.host, "files": files })
        }
        "capture" => {
            let frames = capture::capture(&serde_json::from_value(parameters)?).await?;
            json!({ "frames": frames })
        }
        "inject" => {
            inject::inject(config, &serde_json::from_value(parameters)?).await?;
            json!({ "injected": true })
        }
        other => return Err(format!("this agent does not know the question '{other}'").into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_nobody_knows_is_answered_so() {
        let config = toml::from_str("host = 'c1'\nserver = 'unix:/s'").expect("a configuration");
        let asked = Question {
            id: "7".into(),
            question: "weather".into(),
            parameters: json!({}),
            deadline: std::time::Duration::from_secs(1),
        };
        let said = answer(&config, &asked).await;
        assert_eq!(
            said,
            json!({"error": "this agent does not know the question 'weather'"})
        );
    }
}

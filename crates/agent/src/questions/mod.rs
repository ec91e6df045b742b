//! What administrators ask a host by way of the server, beyond what its loop alone can say: each
//! question is answered by a task of its own, and the loop goes on healing the host meanwhile.
//!
//! | question | parameters | answer |
//! |---|---|---|
//! | `snapshot` | none | `{"host": NAME, "files": {PATH: TEXT, …}}`: the files of `tools/collect.sh` |
//!
//! What can't be answered is answered with `{"error": SENTENCE}`.
pub mod snapshot;

use std::error::Error;

use serde_json::{Value as Json, json};

use crate::config::Config;
use crate::server::Question;

/// The answer to a question.
pub async fn answer(config: &Config, asked: &Question) -> Json {
    let answer: Result<Json, Box<dyn Error + Send + Sync>> = match asked.question.as_str() {
        "snapshot" => snapshot::collect(config)
            .await
            .map(|files| json!({ "host": config.host, "files": files }))
            .map_err(Into::into),
        other => Err(format!("this agent does not know the question '{other}'").into()),
    };
    answer.unwrap_or_else(|error| json!({ "error": crate::chain(&*error) }))
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

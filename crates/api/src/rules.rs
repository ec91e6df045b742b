//! The ledger as what the writer decides by, and resources as the store's documents.

use std::sync::{Arc, PoisonError, RwLock};

use intent::{Change, Kind, Object, State, Timestamp};
use ledger::{Actor, Answer, Command, Config, Context, Liveness, Refusal};

use crate::writer::{BadDocument, Decide, Decided};

/// What a document begins with: the version of its format. Attributes may be added under the same
/// version; one that means something else needs the next, and a reader of this one.
const FORMAT: &str = r#"{"format":1,"resource":"#;

/// The ledger with what its decisions depend on besides the state and the command.
#[derive(Debug)]
pub struct Rules {
    pub config: Config,
    /// Who was heard of, by heartbeats that no log keeps.
    pub liveness: RwLock<Liveness>,
}

/// A command, who gave it, and when.
#[derive(Debug)]
pub struct Asked {
    pub actor: Actor,
    pub command: Command,
    pub now: Timestamp,
    /// Fresh random bits.
    pub seed: u128,
}

/// What a granted command leaves behind.
#[derive(Debug, Clone)]
pub struct Done {
    pub answer: Answer,
    /// The state in which it is done.
    pub state: Arc<State>,
}

#[derive(Debug, thiserror::Error)]
enum DocumentError {
    #[error("no such kind of resource is known")]
    Kind,
    #[error("its format is not known: {begins}")]
    Format { begins: String },
    #[error("its content is wrong")]
    Content(#[source] serde_json::Error),
}

impl Rules {
    pub fn new(config: Config) -> Self {
        Self {
            config,
            liveness: RwLock::default(),
        }
    }
}

impl Decide for Rules {
    /// Shared with those who answer out of it.
    type State = Arc<State>;
    type Command = Asked;
    type Answer = Done;
    type Refusal = Refusal;
    type Change = Change;

    fn decide(&self, state: &Arc<State>, asked: Asked) -> Result<Decided<Self>, Refusal> {
        let liveness = self.liveness.read().unwrap_or_else(PoisonError::into_inner);
        let context = Context {
            now: asked.now,
            seed: asked.seed,
            config: &self.config,
            liveness: &liveness,
        };
        let decision = ledger::decide(state, &asked.actor, &asked.command, &context)?;
        let state = Arc::new(decision.state);
        Ok(Decided {
            answer: Done {
                answer: decision.answer,
                state: state.clone(),
            },
            changes: decision.changes,
            state,
        })
    }

    fn empty(&self) -> Arc<State> {
        Arc::default()
    }

    fn apply(&self, state: &mut Arc<State>, change: &Change) {
        Arc::make_mut(state).apply(change.clone());
    }

    fn set_revision(&self, state: &mut Arc<State>, revision: u64) {
        Arc::make_mut(state).revision = revision;
    }

    fn encode(&self, change: &Change) -> store::Change {
        let (project, document) = match change {
            Change::Put(object) => {
                let project = object.project().map(|project| project.as_str().to_owned());
                (project, Some(encode(object)))
            }
            Change::Delete { .. } => (None, None),
        };
        store::Change {
            kind: change.kind().as_str().into(),
            id: change.key(),
            project,
            document,
        }
    }

    fn decode(&self, kind: &str, id: &str, document: Option<&str>) -> Result<Change, BadDocument> {
        decode(kind, id, document).map_err(|source| BadDocument {
            kind: kind.to_owned(),
            id: id.to_owned(),
            source: Box::new(source),
        })
    }
}

fn encode(object: &Object) -> String {
    let mut document = FORMAT.to_owned();
    let resource = object
        .to_document()
        .expect("resources have string keys and finite numbers");
    document.push_str(&String::from_utf8(resource).expect("JSON is UTF-8"));
    document.push('}');
    document
}

fn decode(kind: &str, id: &str, document: Option<&str>) -> Result<Change, DocumentError> {
    let known = Kind::ALL
        .iter()
        .copied()
        .find(|known| known.as_str() == kind);
    let kind = known.ok_or(DocumentError::Kind)?;
    let Some(document) = document else {
        let key = id.to_owned();
        return Ok(Change::Delete { kind, key });
    };
    let resource = document
        .strip_prefix(FORMAT)
        .and_then(|rest| rest.strip_suffix('}'));
    let resource = resource.ok_or_else(|| DocumentError::Format {
        begins: document.chars().take(FORMAT.len()).collect(),
    })?;
    let object = Object::from_document(kind, resource.as_bytes());
    object.map(Change::Put).map_err(DocumentError::Content)
}

#[cfg(test)]
mod tests {
    use intent::ProjectId;

    use super::*;

    fn rules() -> Rules {
        Rules::new(Config::default())
    }

    #[test]
    fn a_resource_comes_back_out_of_its_document() {
        let quota = intent::Quota {
            project_id: ProjectId::from("demo"),
            limits: [("port".to_owned(), 7)].into(),
        };
        let put = Change::put(quota);
        let kept = rules().encode(&put);
        assert_eq!((kept.kind.as_ref(), kept.id.as_str()), ("quota", "demo"));
        assert_eq!(kept.project.as_deref(), Some("demo"));
        let back = rules().decode(&kept.kind, &kept.id, kept.document.as_deref());
        assert_eq!(back.expect("it can be read"), put);

        let delete = Change::Delete {
            kind: Kind::AutoTopology,
            key: "demo".into(),
        };
        let kept = rules().encode(&delete);
        let back = rules()
            .decode(&kept.kind, &kept.id, None)
            .expect("it can be read");
        assert_eq!(back, delete);
    }

    #[test]
    fn a_document_of_a_newer_format_or_of_none_is_refused_with_its_name() {
        for (kind, document, why) in [
            (
                "port",
                r#"{"format":2,"resource":{}}"#,
                "its format is not known",
            ),
            ("port", "{}", "its format is not known: {}"),
            (
                "port",
                r#"{"format":1,"resource":{"id":3}}"#,
                "its content is wrong",
            ),
            ("toaster", "{}", "no such kind"),
        ] {
            let error = rules()
                .decode(kind, "x", Some(document))
                .expect_err(document);
            assert_eq!(
                error.to_string(),
                format!("the document of {kind} x can't be read")
            );
            assert!(
                error.source.to_string().starts_with(why),
                "{}",
                error.source
            );
        }
    }
}

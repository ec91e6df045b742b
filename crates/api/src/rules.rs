//! What the writer decides by (the ledger, and the embedded identity's records), and both as the
//! store's documents.

use std::sync::{Arc, PoisonError, RwLock};

use intent::{Change, Kind, Object, State, Timestamp};
use ledger::{Actor, Answer, Command, Config, Context, Liveness};

use crate::{
    fault::Fault,
    identity::people::{self, People},
    writer::{BadDocument, Decide, Decided},
};

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

/// All that the store keeps, at one revision. A version costs two reference counts.
#[derive(Debug, Clone, Default)]
pub struct Whole {
    /// Shared with those who answer out of it.
    pub intent: Arc<State>,
    pub people: Arc<People>,
}

/// What the writer is asked for.
#[derive(Debug)]
pub enum Wish {
    Ledger(Box<Asked>),
    People(people::Command),
}

/// What changed.
#[derive(Debug, PartialEq)]
pub enum Step {
    Intent(Change),
    People(people::Change),
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

impl Rules {
    fn decide_intent(
        &self,
        state: &Whole,
        asked: &Asked,
        next: u64,
    ) -> Result<Decided<Self>, Fault> {
        let liveness = self.liveness.read().unwrap_or_else(PoisonError::into_inner);
        let context = Context {
            now: asked.now,
            seed: asked.seed,
            config: &self.config,
            liveness: &liveness,
        };
        let mut decision = ledger::decide(&state.intent, &asked.actor, &asked.command, &context)?;
        if !decision.changes.is_empty() {
            decision.state.revision = next;
        }
        let intent = Arc::new(decision.state);
        Ok(Decided {
            answer: Done {
                answer: decision.answer,
                state: intent.clone(),
            },
            changes: decision.changes.into_iter().map(Step::Intent).collect(),
            state: Whole {
                intent,
                people: state.people.clone(),
            },
        })
    }

    fn decide_people(
        &self,
        state: &Whole,
        command: people::Command,
        next: u64,
    ) -> Result<Decided<Self>, Fault> {
        let changes = people::decide(&state.people, command)?;
        let changes: Vec<Step> = changes.into_iter().map(Step::People).collect();
        let mut state = state.clone();
        for change in &changes {
            self.apply(&mut state, change);
        }
        if !changes.is_empty() {
            self.set_revision(&mut state, next);
        }
        Ok(Decided {
            answer: Done {
                answer: Answer::Done,
                state: state.intent.clone(),
            },
            changes,
            state,
        })
    }
}

impl Decide for Rules {
    type State = Whole;
    type Command = Wish;
    type Answer = Done;
    type Refusal = Fault;
    type Change = Step;

    fn decide(&self, state: &Whole, wish: Wish, next: u64) -> Result<Decided<Self>, Fault> {
        match wish {
            Wish::Ledger(asked) => self.decide_intent(state, &asked, next),
            Wish::People(command) => self.decide_people(state, command, next),
        }
    }

    fn empty(&self) -> Whole {
        Whole::default()
    }

    fn apply(&self, state: &mut Whole, step: &Step) {
        match step {
            Step::Intent(change) => Arc::make_mut(&mut state.intent).apply(change.clone()),
            Step::People(change) => Arc::make_mut(&mut state.people).apply(change),
        }
    }

    fn set_revision(&self, state: &mut Whole, revision: u64) {
        Arc::make_mut(&mut state.intent).revision = revision;
    }

    fn encode(&self, step: &Step) -> store::Change {
        let change = match step {
            Step::Intent(change) => change,
            Step::People(change) => return change.encode(),
        };
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

    fn decode(&self, kind: &str, id: &str, document: Option<&str>) -> Result<Step, BadDocument> {
        let step = match people::KINDS.iter().find(|known| **known == kind) {
            Some(kind) => {
                let change = people::Change::decode(kind, id, document);
                change.map(Step::People).map_err(DocumentError::Content)
            }
            None => decode(kind, id, document).map(Step::Intent),
        };
        step.map_err(|source| BadDocument {
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
        let put = Step::Intent(put);
        let kept = rules().encode(&put);
        assert_eq!((kept.kind.as_ref(), kept.id.as_str()), ("quota", "demo"));
        assert_eq!(kept.project.as_deref(), Some("demo"));
        let back = rules().decode(&kept.kind, &kept.id, kept.document.as_deref());
        assert_eq!(back.expect("it can be read"), put);

        let delete = Change::Delete {
            kind: Kind::AutoTopology,
            key: "demo".into(),
        };
        let delete = Step::Intent(delete);
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

//! What a walk finds, as values: the verdict, the place, the steps there and back. The JSON of
//! `nucleon walk --json` is this, and `docs/walk.md` documents it.
use serde::{Deserialize, Serialize};

/// Did it arrive?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Delivered,
    Dropped,
    /// Something on the road is not known: which, stands in `at`.
    Unknown,
}

/// One header field before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub field: String,
    pub before: String,
    pub after: String,
}

/// One thing that happened to the packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub host: String,
    /// The namespace or the bridge it happened in.
    pub place: String,
    pub device: String,
    /// Where this is on the map of the documents, A to P.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub letter: Option<char>,
    /// What happened, in words.
    pub what: String,
    /// The flow, rule, route that did it, as the host prints it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub changes: Vec<Change>,
    /// The packet as it was when this happened.
    pub packet: String,
    /// The object of intent behind it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intent: Option<String>,
}

/// The place that decided, and what is at fault there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct At {
    pub host: String,
    pub place: String,
    pub device: String,
    /// What is to blame in the host's own words. `MISSING …` when it is what should be there.
    pub rule: String,
    /// Should `rule` be there, and is not?
    pub missing: bool,
    /// What finally discarded the packet, when that is not `rule` itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub dropped_by: Option<String>,
    /// What should stand in the place of `rule`, when it stands there changed.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub wanted: Option<String>,
    /// The rule that is not there and would let it pass, when policy stopped it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub would_pass: Option<String>,
    /// A sentence.
    pub why: String,
    /// The object of intent that asked for it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub intent: Option<String>,
    /// Is it a fault of a host, or what the policy and the network's design say?
    pub fault: bool,
}

/// A walk, there and back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    pub verdict: Verdict,
    /// Did the sender get the answer?
    pub replied: bool,
    /// The verdict in a sentence.
    pub summary: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub at: Option<At>,
    /// The command that makes the smallest change that would let it pass.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub fix: Option<String>,
    /// Address resolution that had to come first, and what was learned by it.
    pub arp: Vec<Resolution>,
    pub forward: Vec<Step>,
    pub reverse: Vec<Step>,
    /// What had to be assumed, because the state given does not say.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub notes: Vec<String>,
}

/// One question for the MAC of an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    pub who: String,
    pub address: String,
    /// The answer, if one came.
    pub mac: Option<String>,
    /// The way of the question, up to its answer or its loss.
    pub steps: Vec<Step>,
}

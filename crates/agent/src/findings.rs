//! What a look at a host found, as `nucleon doctor` prints it, on the host or from afar.
use serde::{Deserialize, Serialize};

use crate::drift::Drift;
use crate::run::Pass;

/// Lines of what is not as intent wants it, each with the intent behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Findings {
    /// `+` missing, `~` different, `-` unwanted.
    pub drift: Vec<String>,
    /// What could not be read or asked.
    pub problems: Vec<String>,
    /// What of intent can't be planned.
    pub notes: Vec<String>,
    /// How many things wait for others to do their part: a guest's device that is not plugged.
    pub waiting: usize,
}

impl Findings {
    pub fn of(pass: &Pass) -> Findings {
        Findings {
            drift: pass.left.iter().map(Drift::to_string).collect(),
            problems: pass.problems.iter().map(|it| it.text.clone()).collect(),
            notes: pass.plan.notes.iter().map(ToString::to_string).collect(),
            waiting: pass.waiting.len(),
        }
    }

    /// Whether the host is as it should be. What waits for others, or can't be planned, is not the
    /// host's fault.
    pub fn is_healthy(&self) -> bool {
        self.drift.is_empty() && self.problems.is_empty()
    }

    /// All of it, a line each, with a closing one that names the host.
    pub fn lines(&self, host: &str) -> Vec<String> {
        let marked = |line: &String| format!("! {line}");
        let mut lines = self.drift.clone();
        lines.extend(self.notes.iter().map(marked));
        lines.extend(self.problems.iter().map(marked));
        let (drift, waiting) = (self.drift.len(), self.waiting);
        lines.push(format!(
            "{host}: {drift} things differ, {waiting} wait for others"
        ));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_planned_is_said_and_makes_no_host_ill() {
        let mut found = Findings {
            notes: vec!["no such segment".to_owned()],
            waiting: 2,
            ..Findings::default()
        };
        assert!(found.is_healthy());
        let lines = [
            "! no such segment",
            "c1: 0 things differ, 2 wait for others",
        ];
        assert_eq!(found.lines("c1"), lines);
        found.drift.push("+ bridge br-tun".to_owned());
        assert!(!found.is_healthy());
        assert_eq!(found.lines("c1")[0], "+ bridge br-tun");
    }
}

//! Processes and files that belong to a network: dnsmasq with its files, keepalived, radvd.
use crate::{Merge, NsName, Shown, Why};

/// A process, wanted or seen. Wanted ones are found again by the key they stand under in
/// [`HostState::processes`](crate::HostState::processes).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// The namespace it runs in, when that is known: `ps` does not say.
    pub netns: Shown<Option<NsName>>,
    pub pid: Shown<Option<u32>>,
    pub ppid: Shown<Option<u32>>,
    pub user: Shown<Option<String>>,
    pub why: Why,
}

/// A file, line by line, each with its reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct File {
    pub lines: Vec<Line>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    pub text: String,
    pub why: Why,
}

impl Merge for Process {
    fn why_mut(&mut self) -> &mut Why {
        &mut self.why
    }
}

impl File {
    /// A file as it was read.
    pub fn read(text: &str) -> File {
        let lines = text.lines().map(|line| Line {
            text: line.to_owned(),
            why: Why::none(),
        });
        File {
            lines: lines.collect(),
        }
    }

    pub fn push(&mut self, text: impl Into<String>, why: Why) {
        self.lines.push(Line {
            text: text.into(),
            why,
        });
    }

    /// The file as it is written: every line ends.
    pub fn print(&self) -> String {
        self.lines.iter().map(|l| format!("{}\n", l.text)).collect()
    }
}

//! Running the machine's own tools. A program that has to run in a namespace is started by a
//! thread of its own that has joined it: a task's thread never changes its namespace.
use std::fmt;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use host::NsName;

/// One program with its arguments, where it runs, what it reads.
#[derive(Clone, Debug, Default)]
pub struct Program {
    argv: Vec<String>,
    netns: Option<NsName>,
    stdin: Vec<u8>,
}

/// What a program that failed said.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    #[error("{program} could not be started")]
    Start {
        program: Box<Program>,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} could not be fed or read")]
    Pipe {
        program: Box<Program>,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} failed ({status}): {stderr}")]
    Failed {
        program: Box<Program>,
        status: std::process::ExitStatus,
        stderr: String,
    },
    #[error("{program} was given up: its thread ended")]
    Lost { program: Box<Program> },
}

impl Program {
    pub fn new<I: IntoIterator<Item = S>, S: Into<String>>(argv: I) -> Program {
        Program {
            argv: argv.into_iter().map(Into::into).collect(),
            ..Program::default()
        }
    }

    /// Run it in this namespace; the host's own is where the agent itself runs.
    #[must_use]
    pub fn within(mut self, netns: &NsName) -> Program {
        self.netns = (!netns.is_root()).then(|| netns.clone());
        self
    }

    #[must_use]
    pub fn reading(mut self, stdin: impl Into<Vec<u8>>) -> Program {
        self.stdin = stdin.into();
        self
    }

    /// Run to the end; what it printed.
    pub async fn run(self) -> Result<String, ExecError> {
        let (done, result) = tokio::sync::oneshot::channel();
        let program = Box::new(self.clone());
        std::thread::spawn(move || {
            // The receiver may have gone: then nobody wants to know any more.
            let _ = done.send(self.run_here());
        });
        result.await.unwrap_or(Err(ExecError::Lost { program }))
    }

    /// Run to the end on this thread, which joins the namespace and has to end after it.
    fn run_here(self) -> Result<String, ExecError> {
        let (name, arguments) = self
            .argv
            .split_first()
            .map_or(("", &[][..]), |(n, a)| (n, a));
        let start = |source| ExecError::Start {
            program: Box::new(self.clone()),
            source,
        };
        let pipe = |source| ExecError::Pipe {
            program: Box::new(self.clone()),
            source,
        };
        if let Some(netns) = &self.netns {
            crate::netns::join(netns).map_err(start)?;
        }
        let mut child = Command::new(name)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(start)?;
        let stdin = child.stdin.take();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                // A program that ends without reading says why by its status.
                stdin.map(|mut stdin| stdin.write_all(&self.stdin))
            });
            child.wait_with_output()
        })
        .map_err(pipe)?;
        if !output.status.success() {
            return Err(ExecError::Failed {
                stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
                status: output.status,
                program: Box::new(self),
            });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.argv.join(" "))?;
        match &self.netns {
            Some(netns) => write!(f, " in namespace {netns}"),
            None => Ok(()),
        }
    }
}

/// Where `ip netns` keeps the namespaces' names.
pub fn netns_path(name: &NsName) -> PathBuf {
    PathBuf::from("/run/netns").join(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_program_reads_and_prints() {
        let text = "x".repeat(300_000);
        let out = Program::new(["cat"]).reading(text.clone()).run().await;
        assert_eq!(out.expect("cat runs"), text);
    }

    #[tokio::test]
    async fn a_failure_says_which_program_and_what_it_said() {
        let error = Program::new(["sh", "-c", "echo no >&2; exit 3"])
            .run()
            .await;
        let text = error.expect_err("it fails").to_string();
        assert!(text.contains("sh -c") && text.ends_with("no"), "{text}");
        let error = Program::new(["no-such-program-here"]).run().await;
        assert!(matches!(error, Err(ExecError::Start { .. })));
    }
}

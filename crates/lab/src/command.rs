//! Running commands in a place: here, in a host, or in a namespace of a host.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

/// Why a command did not do what it was to do. Says where, what, and what it said itself.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error("`{command}` in {place} could not be started")]
    Start {
        place: Place,
        command: String,
        source: io::Error,
    },
    #[error("`{command}` in {place} ended with {status}: {said}")]
    Failed {
        place: Place,
        command: String,
        status: String,
        said: String,
    },
}

/// Where a command runs. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Place {
    name: Arc<str>,
    prefix: Arc<[String]>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Place {
    /// This process's own namespaces.
    #[must_use]
    pub fn here() -> Self {
        Self {
            name: "this machine".into(),
            prefix: Arc::new([]),
        }
    }

    /// All namespaces of the process `pid`, which is process 1 of the host `name`.
    #[must_use]
    pub fn host(name: &str, pid: i32) -> Self {
        let pid = pid.to_string();
        let prefix = ["nsenter", "-t", &pid, "-n", "-m", "-u", "-p", "--wd", "--"];
        Self {
            name: name.into(),
            prefix: prefix.map(str::to_owned).into(),
        }
    }

    /// A named network namespace inside this place.
    #[must_use]
    pub fn netns(&self, netns: &str) -> Self {
        let more = ["ip", "netns", "exec", netns].map(str::to_owned);
        Self {
            name: format!("{netns} on {}", self.name).into(),
            prefix: self.prefix.iter().cloned().chain(more).collect(),
        }
    }

    /// A virtual machine, by the socket that takes its commands.
    #[must_use]
    pub fn vm(name: &str, binary: &Path, socket: &Path) -> Self {
        let shown = |path: &Path| path.display().to_string();
        let prefix = [
            shown(binary),
            "lab-init".into(),
            "serial".into(),
            shown(socket),
            "--".into(),
        ];
        Self {
            name: name.into(),
            prefix: prefix.into(),
        }
    }

    /// The command with what leads into this place before it.
    pub fn command<S: AsRef<OsStr>>(&self, argv: &[S]) -> Command {
        let mut words = self
            .prefix
            .iter()
            .map(OsStr::new)
            .chain(argv.iter().map(AsRef::as_ref));
        let mut command = Command::new(words.next().unwrap_or_else(|| OsStr::new("true")));
        command.args(words);
        command
    }

    /// Runs to the end; gives standard output, or the error that it says itself.
    pub fn run<S: AsRef<OsStr>>(&self, argv: &[S]) -> Result<String, CommandError> {
        let output = self.output(argv, "")?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(self.failed(argv, &output))
    }

    /// As `run`, with `input` on standard input.
    pub fn feed<S: AsRef<OsStr>>(&self, argv: &[S], input: &str) -> Result<String, CommandError> {
        let output = self.output(argv, input)?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(self.failed(argv, &output))
    }

    /// As `run`, with the given standard input. Standard output and error are read only once the
    /// command has ended, so a daemon that it leaves behind must not keep them.
    pub fn run_with<S: AsRef<OsStr>>(
        &self,
        argv: &[S],
        input: Stdio,
    ) -> Result<String, CommandError> {
        let output = self
            .command(argv)
            .stdin(input)
            .output()
            .map_err(|source| self.unstarted(argv, source))?;
        if output.status.success() {
            return Ok(text(&output.stdout));
        }
        Err(self.failed(argv, &output))
    }

    /// Runs to the end, whatever the end is.
    pub fn output<S: AsRef<OsStr>>(&self, argv: &[S], input: &str) -> Result<Output, CommandError> {
        self.try_output(argv, input)
            .map_err(|source| self.unstarted(argv, source))
    }

    /// Many `ip` commands as one process: a line each, without the leading `ip`.
    pub fn ip(&self, lines: &[String]) -> Result<(), CommandError> {
        let batch = lines
            .iter()
            .map(|line| format!("{line}\n"))
            .collect::<String>();
        self.feed(&["ip", "-batch", "-"], &batch).map(drop)
    }

    fn try_output<S: AsRef<OsStr>>(&self, argv: &[S], input: &str) -> io::Result<Output> {
        let mut child = self
            .command(argv)
            .stdin(if input.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that ends before it has read everything says why on its own.
            let _ = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    }

    fn unstarted<S: AsRef<OsStr>>(&self, argv: &[S], source: io::Error) -> CommandError {
        CommandError::Start {
            place: self.clone(),
            command: shown(argv),
            source,
        }
    }

    fn failed<S: AsRef<OsStr>>(&self, argv: &[S], output: &Output) -> CommandError {
        let said = [text(&output.stderr), text(&output.stdout)];
        CommandError::Failed {
            place: self.clone(),
            command: shown(argv),
            status: output.status.to_string(),
            said: said
                .iter()
                .map(|part| part.trim())
                .find(|part| !part.is_empty())
                .unwrap_or("it said nothing")
                .replace('\n', "; "),
        }
    }
}

fn shown<S: AsRef<OsStr>>(argv: &[S]) -> String {
    argv.iter()
        .map(|word| word.as_ref().to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_where_what_and_why() {
        let error = Place::here()
            .run(&["sh", "-c", "echo no such thing >&2; exit 3"])
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo no such thing >&2; exit 3` in this machine ended with exit status: 3: no such thing"
        );
    }

    #[test]
    fn input_reaches_the_command() {
        assert_eq!(Place::here().feed(&["cat"], "hello").unwrap(), "hello");
    }

    #[test]
    fn a_namespace_of_a_host_is_entered_through_the_host() {
        let command = Place::host("c1", 42).netns("red1").command(&["ip", "a"]);
        let words: Vec<_> = command
            .get_args()
            .map(|word| word.to_string_lossy())
            .collect();
        assert_eq!(command.get_program(), "nsenter");
        assert_eq!(
            words.join(" "),
            "-t 42 -n -m -u -p --wd -- ip netns exec red1 ip a"
        );
    }
}

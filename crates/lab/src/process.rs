//! A process that is told apart from a later one with the same number.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io;
use std::time::{Duration, Instant};

/// A pid and the time, in clock ticks since the machine's start, at which that process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    pub start: u64,
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> io::Result<Self> {
        let (_, start) = read_stat(pid)?;
        Ok(Self { pid, start })
    }

    /// Whether it is still this process, and not ended: a zombie counts as ended.
    #[must_use]
    pub fn is_alive(self) -> bool {
        read_stat(self.pid).is_ok_and(|(state, start)| start == self.start && state != 'Z')
    }

    /// Ends it at once, if it is still this process, and waits until it is gone.
    pub fn end(self, patience: Duration) -> io::Result<()> {
        if !self.is_alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => return Err(errno.into()),
        }
        let deadline = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() > deadline {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("process {} has not ended", self.pid),
                ));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn read_stat(pid: i32) -> io::Result<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_stat(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("/proc/{pid}/stat has another form"),
        )
    })
}

/// State and start time out of `/proc/PID/stat`. The second field is the command in parentheses
/// and may hold spaces and parentheses itself, so fields are counted from the last `)`.
fn parse_stat(text: &str) -> Option<(char, u64)> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_with_parentheses_does_not_shift_the_fields() {
        let text = "71 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(parse_stat(text), Some(('S', 4711)));
    }

    #[test]
    fn a_recycled_pid_is_another_process() {
        let me = Process::of(std::process::id() as i32).unwrap();
        assert!(me.is_alive());
        let earlier = Process {
            start: me.start.wrapping_sub(1),
            ..me
        };
        assert!(!earlier.is_alive());
        earlier.end(Duration::ZERO).unwrap();
    }

    #[test]
    fn ending_waits_until_it_is_gone() {
        let mut child = std::process::Command::new("sleep")
            .arg("1000")
            .spawn()
            .unwrap();
        let process = Process::of(child.id() as i32).unwrap();
        process.end(Duration::from_secs(5)).unwrap();
        assert!(!process.is_alive());
        assert!(!child.wait().unwrap().success());
    }
}

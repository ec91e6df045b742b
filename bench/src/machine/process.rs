//! A process of a benchmark: ended when it is dropped, asked for memory and processor time, and its
//! log read while it writes it.

use std::{
    fs,
    io::{self, BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What becomes of standard error.
pub(crate) enum Log {
    None,
    /// Its lines are kept with the moment they came, and appended to a file.
    Kept(PathBuf),
}

type Lines = Arc<Mutex<Vec<(Instant, String)>>>;

pub(crate) struct Daemon {
    child: Child,
    lines: Lines,
}

impl Daemon {
    pub(crate) fn start(mut command: Command, log: Log) -> io::Result<Daemon> {
        let to = |log: &Log| match log {
            Log::None => Stdio::null(),
            Log::Kept(_) => Stdio::piped(),
        };
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(to(&log)).spawn()?;
        let lines = Lines::default();
        if let (Log::Kept(path), Some(stderr)) = (log, child.stderr.take()) {
            let mut file = fs::File::options().create(true).append(true).open(path)?;
            let lines = lines.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    // The file is for people; what is measured is kept here.
                    let _ = writeln!(file, "{line}");
                    let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                    lines.push((Instant::now(), line));
                }
            });
        }
        Ok(Daemon { child, lines })
    }

    /// The lines that hold all of these words, and when they came.
    pub(crate) fn said(&self, words: &[&str]) -> Vec<(Instant, String)> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let found = lines
            .iter()
            .filter(|(_, line)| words.iter().all(|word| line.contains(word)));
        found.cloned().collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Resident memory in MB.
    pub(crate) fn memory(&self) -> io::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0)
            .ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Processor time so far, its own and that of the programs it ran to their end.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(4);
        let ticks: u64 = ticks.filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_millis(ticks * 10))
    }

    /// Stands still until [`Daemon::go_on`].
    pub(crate) fn stand_still(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    pub(crate) fn go_on(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        super::run(&["kill", signal, &self.pid().to_string()]).map(drop)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

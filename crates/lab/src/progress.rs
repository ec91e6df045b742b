//! What the lab is doing, while it does it: a line that moves on a terminal, plain lines elsewhere.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

#[derive(Debug)]
pub struct Progress {
    shown: Shown,
    start: Instant,
}

#[derive(Debug)]
enum Shown {
    Moving(ProgressBar),
    Lines,
    Nothing,
}

impl Progress {
    /// On standard error.
    #[must_use]
    pub fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::of(Shown::Lines);
        }
        let bar = ProgressBar::new_spinner();
        bar.set_style(ProgressStyle::default_spinner());
        bar.enable_steady_tick(Duration::from_millis(100));
        Self::of(Shown::Moving(bar))
    }

    /// For tests.
    #[must_use]
    pub fn silent() -> Self {
        Self::of(Shown::Nothing)
    }

    fn of(shown: Shown) -> Self {
        Self {
            shown,
            start: Instant::now(),
        }
    }

    /// Says what is being done now.
    pub fn step(&self, what: &str) {
        match &self.shown {
            Shown::Moving(bar) => bar.set_message(what.to_owned()),
            Shown::Lines => eprintln!("[{:5.1} s] {what}", self.start.elapsed().as_secs_f64()),
            Shown::Nothing => {}
        }
    }

    /// Says what has come of it, on a line that stays.
    pub fn done(&self, what: &str) {
        match &self.shown {
            Shown::Moving(bar) => {
                bar.finish_and_clear();
                eprintln!("{what} ({:.1} s)", self.start.elapsed().as_secs_f64());
            }
            Shown::Lines => self.step(what),
            Shown::Nothing => {}
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

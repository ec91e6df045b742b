//! How long is waited for what a lab does.

use crate::lab::Error;
use std::time::{Duration, Instant};

/// How many times longer than usual: for an emulated machine, which is slow.
const FACTOR: &str = "NUCLEON_LAB_PATIENCE";

/// What takes so long at most where nothing is emulated.
#[must_use]
pub fn patience(usual: Duration) -> Duration {
    scaled(usual, std::env::var(FACTOR).ok().as_deref())
}

fn scaled(usual: Duration, factor: Option<&str>) -> Duration {
    usual * factor.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Waits until `done` says so, asking again and again.
pub fn wait_for(
    what: &str,
    usual: Duration,
    hint: &str,
    mut done: impl FnMut() -> Result<bool, Error>,
) -> Result<(), Error> {
    let patience = patience(usual);
    let deadline = Instant::now() + patience;
    while !done()? {
        if Instant::now() > deadline {
            return Err(Error::Late {
                what: what.to_owned(),
                seconds: patience.as_secs(),
                hint: hint.to_owned(),
            });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_machine_is_given_more_time() {
        let usual = Duration::from_secs(3);
        assert_eq!(scaled(usual, None), usual);
        assert_eq!(scaled(usual, Some("ten")), usual);
        assert_eq!(scaled(usual, Some("10")), usual * 10);
    }
}

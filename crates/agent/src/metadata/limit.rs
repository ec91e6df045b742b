//! How much one guest may ask: a bucket of permits each, filled at a steady rate.

use std::{collections::BTreeMap, sync::Mutex, time::Instant};

use intent::PortId;

/// Requests a second, and how many at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    pub burst: f64,
}

impl Default for Rate {
    fn default() -> Rate {
        Rate {
            per_second: 50.0,
            burst: 200.0,
        }
    }
}

#[derive(Debug)]
pub(super) struct Limits {
    rate: Rate,
    buckets: Mutex<BTreeMap<PortId, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    permits: f64,
    at: Instant,
}

/// Buckets kept at most; a full one says nothing that is not known without it.
const KEPT: usize = 4096;

impl Limits {
    pub(super) fn new(rate: Rate) -> Limits {
        Limits {
            rate,
            buckets: Mutex::default(),
        }
    }

    pub(super) fn admits(&self, port: PortId, now: Instant) -> bool {
        let Ok(mut buckets) = self.buckets.lock() else {
            return true;
        };
        if buckets.len() >= KEPT {
            buckets.retain(|_, bucket| self.filled(bucket, now) < self.rate.burst);
        }
        let bucket = buckets.entry(port).or_insert(Bucket {
            permits: self.rate.burst,
            at: now,
        });
        let permits = self.filled(bucket, now);
        let admitted = permits >= 1.0;
        *bucket = Bucket {
            permits: if admitted { permits - 1.0 } else { permits },
            at: now,
        };
        admitted
    }

    fn filled(&self, bucket: &Bucket, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
        (bucket.permits + passed * self.rate.per_second).min(self.rate.burst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_guest_that_asks_too_much_waits_and_the_others_do_not() {
        let limits = Limits::new(Rate {
            per_second: 10.0,
            burst: 3.0,
        });
        let (one, other) = (
            PortId::new(uuid::Uuid::from_u128(1)),
            PortId::new(uuid::Uuid::from_u128(2)),
        );
        let start = Instant::now();
        let admitted = (0..5).filter(|_| limits.admits(one, start)).count();
        assert_eq!(admitted, 3);
        assert!(limits.admits(other, start));
        assert!(!limits.admits(one, start + Duration::from_millis(50)));
        assert!(limits.admits(one, start + Duration::from_millis(150)));
    }
}

//! What the server counts, for Prometheus.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    method: String,
    status: u16,
}

/// The server's counters, and their registry.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Call, Counter>,
    seconds: Histogram,
    revision: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let requests = Family::<Call, Counter>::default();
        let seconds = Histogram::new([
            0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
        ]);
        let revision = Gauge::default();
        let mut registry = Registry::with_prefix("nucleon");
        registry.register(
            "requests",
            "API requests by method and status",
            requests.clone(),
        );
        registry.register(
            "request_seconds",
            "How long API requests took",
            seconds.clone(),
        );
        registry.register(
            "revision",
            "The store's revision that is shown",
            revision.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            revision,
        }
    }
}

impl Metrics {
    pub(super) fn count(&self, method: &str, status: u16, took: Duration) {
        let call = Call {
            method: method.to_owned(),
            status,
        };
        self.requests.get_or_create(&call).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn text(&self, revision: u64) -> String {
        self.revision.set(revision);
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

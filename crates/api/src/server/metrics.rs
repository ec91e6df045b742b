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
    watches: Gauge<u64, AtomicU64>,
    watch_overflows: Counter,
    watch_cut_offs: Counter,
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
        let watches = Gauge::default();
        registry.register("watches", "Hosts that follow their view", watches.clone());
        let watch_overflows = Counter::default();
        registry.register(
            "watch_overflows",
            "Times that a host read so slowly that steps of its view were left out for it",
            watch_overflows.clone(),
        );
        let watch_cut_offs = Counter::default();
        registry.register(
            "watch_cut_offs",
            "Hosts that were cut off because they read nothing",
            watch_cut_offs.clone(),
        );
        Self {
            registry,
            requests,
            seconds,
            revision,
            watches,
            watch_overflows,
            watch_cut_offs,
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

    pub(crate) fn watch_overflowed(&self) {
        self.watch_overflows.inc();
    }

    pub(crate) fn watch_cut_off(&self) {
        self.watch_cut_offs.inc();
    }

    pub(super) fn text(&self, revision: u64, watches: usize) -> String {
        self.revision.set(revision);
        self.watches.set(watches as u64);
        let mut text = String::new();
        // Writing into memory does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
